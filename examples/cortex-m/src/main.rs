//! onelane on a Cortex-M without an operating system: two tasks, a tick, and a wake from an interrupt.
//!
//! ```text
//!   SysTick, each millisecond     counts the time; at 25 ms and at 45 ms it requests PendSV
//!   PendSV, "the button"          wakes the task that waits for it
//!   main                          runs the loop, which sleeps by WFE
//! ```
//!
//! `.ci/platforms` builds it, runs it under QEMU, and compares what it prints.
#![no_std]
#![no_main]

extern crate alloc;

mod board;

use board::{pressed, print};
use core::time::Duration;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug;
use onelane::{Instant, sleep, spawn};

#[entry]
fn main() -> ! {
    board::start();
    onelane::run(async {
        let begun = Instant::now();
        let blinker = spawn(async move {
            for blink in 1..=5 {
                sleep(Duration::from_millis(10)).await;
                print(format_args!("{:>2} ms: blink {blink}", begun.elapsed().as_millis()));
            }
        });
        let listener = spawn(async move {
            for press in 1..=2 {
                pressed().await;
                print(format_args!("{:>2} ms: press {press}", begun.elapsed().as_millis()));
            }
        });
        blinker.await.unwrap();
        listener.await.unwrap();
    });
    print(format_args!("done"));
    debug::exit(debug::EXIT_SUCCESS);
    unreachable!("QEMU has ended")
}
