//! The board without a loop, for its size: `docs/performance/footprint.md` shows the difference.
#![no_std]
#![no_main]

extern crate alloc;

#[path = "../board.rs"]
#[allow(dead_code, reason = "there is no task that waits for the button")]
mod board;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug;

#[entry]
fn main() -> ! {
    board::start();
    board::print(format_args!("done"));
    debug::exit(debug::EXIT_SUCCESS);
    unreachable!("QEMU has ended")
}
