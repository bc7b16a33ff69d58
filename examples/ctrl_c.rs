//! Ctrl-C: the main task is cancelled, everything is dropped in order, and the program says goodbye. A second one kills it. On Unix.
//!
//! `cargo run --features signals --example ctrl_c` presses Ctrl-C itself, after a second; with `-- wait` at the end it waits
//! for yours.

use onelane::{EventLoop, RunError, sleep, spawn};
use std::time::Duration;

/// Says when it is dropped: a file would be closed here, a lock released, a temporary folder removed.
struct Desk(&'static str);

impl Drop for Desk {
    fn drop(&mut self) {
        println!("{} is tidied up", self.0);
    }
}

async fn work(name: &'static str, pause: Duration) {
    let _desk = Desk(name);
    for number in 1.. {
        println!("{name}: {number}");
        sleep(pause).await;
    }
}

async fn main_task(presses_itself: bool) {
    let _desk = Desk("the main task's desk");
    // Main does not wait for this one. It is cancelled when main has ended.
    drop(spawn(work("the clerk's desk", Duration::from_millis(400))));
    if presses_itself {
        onelane::call_later(Duration::from_secs(1), || {
            println!("^C");
            signal_hook::low_level::raise(onelane::signals::SIGINT).unwrap();
        });
    }
    // It waits for this one, which is cancelled first.
    spawn(work("the boss's desk", Duration::from_millis(700))).await.unwrap();
}

fn main() {
    let waits = std::env::args().any(|argument| argument == "wait");
    let event_loop = EventLoop::builder().cancel_on_ctrl_c(true).build();
    match event_loop.try_run(main_task(!waits)) {
        // A program that ends because of Ctrl-C should tell its caller: `std::process::exit(130)`, by the shells' custom. This
        // one has shown what it was to show.
        Err(RunError::Interrupted) => println!("Goodbye."),
        Err(error) => panic!("{error}"),
        Ok(()) => unreachable!("the boss never stops"),
    }
}
