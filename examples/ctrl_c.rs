//! Ctrl-C cancels the main task, everything is dropped in order, and the program says goodbye. A
//! second Ctrl-C kills the program. This example needs Unix.
//!
//! `cargo run --features signals --example ctrl_c` sends Ctrl-C to itself after a second; with
//! `-- wait` at the end it waits for yours.

use onelane::{EventLoop, RunError, sleep, spawn};
use std::time::Duration;

/// Prints a line when it is dropped. Here a program would close a file, release a lock, or remove a
/// temporary folder.
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
    // Main does not wait for this task. It is cancelled when main has ended.
    drop(spawn(work("the clerk's desk", Duration::from_millis(400))));
    if presses_itself {
        onelane::call_later(Duration::from_secs(1), || {
            println!("^C");
            signal_hook::low_level::raise(onelane::signals::SIGINT).unwrap();
        });
    }
    // Main waits for this task, which is cancelled first.
    spawn(work("the boss's desk", Duration::from_millis(700))).await.unwrap();
}

fn main() {
    let waits = std::env::args().any(|argument| argument == "wait");
    let event_loop = EventLoop::builder().cancel_on_ctrl_c(true).build();
    match event_loop.try_run(main_task(!waits)) {
        // By convention, a program that ends because of Ctrl-C exits with
        // `std::process::exit(130)`. This example returns normally instead.
        Err(RunError::Interrupted) => println!("Goodbye."),
        Err(error) => panic!("{error}"),
        Ok(()) => unreachable!("the boss never stops"),
    }
}
