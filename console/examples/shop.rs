//! A tea shop to look at: `cargo run --example shop -- 600`, and in another terminal
//! `tokio-console`.
//!
//! The argument is the time in seconds, by default one. `TOKIO_CONSOLE_BIND=127.0.0.1:6670` chooses
//! another address.

use onelane::sync::{Event, Lock, Queue, Semaphore};
use onelane::{EventLoop, gather, sleep, task, yield_now};
use onelane_console::Console;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

struct Shop {
    orders: Queue<u32>,
    stove: Lock<u32>,
    cups: Semaphore,
    closing: Event,
}

async fn guest(shop: Rc<Shop>, number: u32) {
    for round in 0.. {
        let _cup = shop.cups.acquire().await;
        shop.orders.put(number * 100 + round).await.unwrap();
        sleep(SECOND * 2).await;
    }
}

async fn cook(shop: Rc<Shop>) {
    loop {
        let _order = shop.orders.get().await;
        let mut stove = shop.stove.lock().await;
        *stove += 1;
        // The water boils in a busy loop, which delays everybody.
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_millis(20) {}
        sleep(SECOND / 3).await;
    }
}

async fn washer() {
    loop {
        // A task that wakes itself again and again.
        for _ in 0..1000 {
            yield_now().await;
        }
        sleep(SECOND / 10).await;
    }
}

fn main() -> std::io::Result<()> {
    let seconds = std::env::args().nth(1).map_or(1, |seconds| seconds.parse().expect("a number of seconds"));
    let console = Console::from_env()?;
    println!("the shop is open for {seconds} s; now run: tokio-console http://{}", console.address());
    let event_loop = EventLoop::builder().probe(console).build();
    event_loop.run(async move {
        let shop = Rc::new(Shop {
            orders: Queue::bounded(2).named("orders"),
            stove: Lock::new(0).named("stove"),
            cups: Semaphore::new(3).named("cups"),
            closing: Event::new(),
        });
        for number in 1..=5 {
            task::Builder::new().name(format!("guest {number}")).spawn(guest(shop.clone(), number));
        }
        for number in 1..=2 {
            task::Builder::new().name(format!("cook {number}")).spawn(cook(shop.clone()));
        }
        task::Builder::new().name("washer").spawn(washer());
        task::Builder::new().name("forgotten").spawn(pending::<()>());
        let lamps = [1, 2].map(|number| {
            let shop = shop.clone();
            let lamp = task::Builder::new().name(format!("lamp {number}"));
            lamp.spawn(async move { shop.closing.wait().await })
        });
        task::Builder::new().name("clock").spawn(async move {
            sleep(SECOND * seconds).await;
            shop.closing.set();
        });
        gather(lamps).await.unwrap();
    });
    println!("the shop is closed");
    Ok(())
}
