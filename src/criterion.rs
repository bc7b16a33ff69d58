//! criterion 0.8 on this loop, with the feature `criterion`: an [`EventLoop`], or a reference to one, is an [`AsyncExecutor`].
//!
//! `to_async(&event_loop)` runs a future a measurement, with [`EventLoop::run`]: what is measured is in there, and the loop's
//! beginning and end of a run are paid once for all the iterations of a measurement. Each iteration of `iter` awaits one future
//! in the main task. A future that awaits nothing which pauses costs the loop nothing; spawn it, to measure a task.
//!
//! ```
//! use criterion::Criterion;
//! use onelane::{EventLoop, gather, yield_now};
//! use std::time::Duration;
//!
//! let mut criterion = Criterion::default().without_plots().sample_size(10);
//! # let folder = std::env::temp_dir().join(format!("onelane-criterion-{}", std::process::id()));
//! # criterion = criterion.output_directory(&folder);
//! # criterion = criterion.warm_up_time(Duration::from_millis(1)).measurement_time(Duration::from_millis(10));
//! let event_loop = EventLoop::new();
//! criterion.bench_function("a gather of ten that yield", |bencher| {
//!     bencher.to_async(&event_loop).iter(|| gather((0..10).map(|_| yield_now())));
//! });
//! # std::fs::remove_dir_all(folder).unwrap();
//! ```
//!
//! Sleeps on a virtual clock take no time, here as elsewhere, so a measurement of them tells what the loop costs.
//!
//! # Panics
//!
//! As [`EventLoop::run`] does, so also if the program cannot go on.

use crate::event_loop::EventLoop;
use criterion::async_executor::AsyncExecutor;

impl AsyncExecutor for EventLoop {
    #[track_caller]
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.run(future)
    }
}

impl AsyncExecutor for &EventLoop {
    #[track_caller]
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.run(future)
    }
}
