//! A loop of onelane as a task of tokio: both run on one thread, and each awaits futures of the
//! other.
//!
//! In the first part, our loop has no sockets, and `drive` needs only tokio's `sleep_until`. Inside
//! the loop, tokio's own timers, sockets and channels work as well, because tokio polls our loop,
//! which polls them. In the second part, our loop has sockets, and tokio's `AsyncFd` watches the
//! loop's file descriptor.
//!
//! `cargo run --release --bin inside_tokio`, in `examples/hosts`.

use futures_util::io::{AsyncReadExt, AsyncWriteExt, copy};
use onelane::{Budget, EventLoop, gather, net, sleep, spawn, yield_now};
use std::cell::Cell;
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::task::{LocalSet, spawn_local};

const MOMENT: Duration = Duration::from_millis(20);

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, without_sockets())?;
    tasks.block_on(&runtime, with_sockets())
}

/// Ticks on tokio as long as it exists, to show that our loop leaves room for other tasks.
fn tick() -> (Rc<Cell<u32>>, tokio::task::JoinHandle<()>) {
    let ticks = Rc::new(Cell::new(0));
    let copy = ticks.clone();
    let ticking = spawn_local(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            copy.set(copy.get() + 1);
        }
    });
    (ticks, ticking)
}

// ---- timers, other threads, and primitives of tokio ----

async fn without_sockets() -> io::Result<()> {
    let (ticks, ticking) = tick();
    let event_loop = EventLoop::new();
    let begun = Instant::now();

    let sleeper = event_loop.spawn(async {
        let pauses = (1..=3).map(|number| sleep(MOMENT * number));
        gather(pauses).await
    });
    // This task is always ready, for a while. Each poll of the loop runs a limited number of steps;
    // then tokio's other tasks run.
    let busy = event_loop.spawn(async move {
        while begun.elapsed() < MOMENT * 2 {
            yield_now().await;
        }
    });
    let remote = event_loop.remote();
    let thread = thread::spawn(move || {
        thread::sleep(MOMENT);
        remote.spawn(async { 6 * 7 }).map(|task| task.wait())
    });
    let guest = event_loop.spawn(with_what_is_tokios());

    event_loop.drive(|moment| tokio::time::sleep_until(moment.into())).budget(Budget::steps(64)).await;
    ticking.abort();
    assert!(sleeper.await.is_ok() && busy.is_done() && begun.elapsed() >= MOMENT * 3);
    let answer = thread.join().expect("that thread does not panic");
    assert_eq!(answer, Ok(Ok(42)));
    let echoed = event_loop.enter(|| guest.result().map(|result| result.as_ref().ok().cloned()));
    assert_eq!(echoed, Ok(Some("by tokio".into())));
    println!("without sockets: {:?}, and tokio ticked {} times meanwhile", begun.elapsed(), ticks.get());
    assert!(ticks.get() >= 3);
    Ok(())
}

/// A task of onelane that awaits tokio's timers, sockets and channels.
async fn with_what_is_tokios() -> io::Result<String> {
    tokio::time::sleep(MOMENT).await;
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut client = tokio::net::TcpStream::connect(listener.local_addr()?).await?;
    let (mut peer, _) = listener.accept().await?;
    client.write_all(b"by tokio").await?;
    drop(client);
    let mut text = String::new();
    peer.read_to_string(&mut text).await?;

    // The channel holds more messages than tokio lets one of its own tasks receive before it runs
    // other tasks.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1000);
    let sending = spawn(async move {
        for number in 0..10_000 {
            sender.send(number).await.expect("it is received below");
        }
    });
    let mut count = 0;
    while receiver.recv().await.is_some() {
        count += 1;
    }
    assert!(count == 10_000 && sending.is_done());
    Ok(text)
}

// ---- sockets of onelane ----

async fn with_sockets() -> io::Result<()> {
    let (ticks, ticking) = tick();
    let event_loop = EventLoop::new();
    let begun = Instant::now();
    let main = event_loop.spawn(async {
        let listener = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = spawn(serve(listener));
        let clients = (1..=20).map(|number| client(address, number * 100_000));
        let lengths = gather(clients).await.map_err(io::Error::other)?;
        server.cancel();
        lengths.into_iter().sum::<io::Result<usize>>()
    });

    // tokio gets a descriptor of its own for the same poller. The `AsyncFd` closes it at the end.
    let fd: OwnedFd = event_loop.as_fd()?.try_clone_to_owned()?;
    #[allow(
        deprecated,
        reason = "its heir is unsafe, for types whose descriptor may change; that of an OwnedFd does not"
    )]
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    let readable = || async {
        match fd.readable().await {
            // tokio is notified only when something new arrives. It treats the descriptor as
            // readable until `clear_ready`. So `clear_ready` is called before the turn in which our
            // loop polls. A call after that turn could clear what has arrived in between.
            Ok(mut guard) => guard.clear_ready(),
            // tokio is shutting down, and no more events arrive.
            Err(_) => pending().await,
        }
    };
    let drive = event_loop.drive(|moment| tokio::time::sleep_until(moment.into())).with_io(readable);
    // A step that writes a megabyte takes long, so the budget is a time, not a number of steps.
    drive.budget(Budget::time(Duration::from_micros(500))).await;
    ticking.abort();
    let total = main.into_future().await.map_err(io::Error::other)??;
    assert_eq!(total, 21_000_000);
    println!("with sockets: {:?} for {total} bytes, and tokio ticked {} times meanwhile", begun.elapsed(), ticks.get());
    Ok(())
}

async fn serve(listener: net::TcpListener) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        // The client receives errors of the connection.
        drop(spawn(async move { drop(copy(&stream, &mut &stream).await) }));
    }
}

/// Sends this many bytes, and reads them back.
async fn client(address: SocketAddr, length: usize) -> io::Result<usize> {
    let stream = net::TcpStream::connect(address).await?;
    let mut received = Vec::new();
    let (mut reader, mut writer) = (&stream, &stream);
    let sent = async {
        writer.write_all(&vec![7; length]).await?;
        writer.close().await
    };
    let (sent, read) = futures_util::join!(sent, reader.read_to_end(&mut received));
    sent.and(read)
}
