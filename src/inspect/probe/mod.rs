//! The events of a loop, one by one: for a debugger, a log, a trace.
//!
//! [`LoopBuilder::probe`](crate::LoopBuilder::probe) sets a [`Probe`], which receives each [`Event`]:
//! spawns, wakes and their causes, steps, waits and their locations, timers, ends, sleeps of the
//! loop. Five probes are included, and a function can be your own:
//!
//! | probe | what it does with the events |
//! | --- | --- |
//! | [`Printer`] | prints a line for each |
//! | [`Counters`] | counts each kind |
//! | [`Ring`] | keeps the last ones, and reports them when the program fails |
//! | [`Recorder`] | writes a file for Perfetto or Chrome: a track for each task, arrows for wakes |
//! | [`Tee`] | passes them to two other probes |
//!
//! ```
//! use onelane::{Clock, EventLoop, spawn};
//! use onelane::probe::{Counters, Printer, Tee};
//! use std::{cell::RefCell, rc::Rc};
//!
//! let (counters, lines) = (Rc::new(Counters::new()), Rc::new(RefCell::new(Vec::new())));
//! let copy = lines.clone();
//! let printer = Printer::with(move |line| copy.borrow_mut().push(line.to_string()));
//! let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(Tee(counters.clone(), printer)).build();
//! event_loop.run(async { spawn(async {}).await }).unwrap();
//! assert_eq!(counters.counts().spawns, 2);
//! assert!(lines.borrow().iter().any(|line| line.starts_with("0.000000000 spawn task=2 ")));
//! ```

mod by_id;
mod counters;
mod printer;
mod recorder;
mod ring;
mod tee;
mod trace;

pub use crate::kernel::observe::probe::{
    Choice, Ending, Event, EventKind, Failure, Probe, Source, WaitTarget, WakeOutcome,
};
pub use counters::{Counters, Counts};
pub use printer::Printer;
pub use recorder::Recorder;
pub use ring::Ring;
pub use tee::Tee;
