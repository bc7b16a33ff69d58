//! A single-threaded async executor with asyncio's vocabulary: tasks run in the order in which
//! CPython's asyncio would run them, step for step.
//!
//! ```
//! use onelane::{EventLoop, gather, sleep};
//! use std::time::Duration;
//!
//! async fn fetch(name: &'static str, seconds: u64) -> String {
//!     sleep(Duration::from_secs(seconds)).await;
//!     format!("{name} took {seconds} s")
//! }
//!
//! // On the virtual clock, so that this takes no time. `onelane::run(..)` takes three seconds.
//! let results = EventLoop::with_virtual_clock().run(async {
//!     gather([fetch("tea", 3), fetch("toast", 1), fetch("egg", 2)]).await
//! });
//! assert_eq!(results.unwrap(), ["tea took 3 s", "toast took 1 s", "egg took 2 s"]);
//! ```
//!
//! # The map
//!
//! - Running a program: [`run()`], [`try_run`], [`EventLoop`]; for other threads [`Remote`] and
//!   [`RemoteSender`].
//! - Inside another event loop: [`turn`](EventLoop::turn), [`turn_within`](EventLoop::turn_within)
//!   a [`Budget`], [`set_wake_hook`](EventLoop::set_wake_hook), [`enter`](EventLoop::enter),
//!   [`drive`](EventLoop::drive).
//! - Tasks: [`spawn()`], [`task::Builder`], [`Task`], [`TaskRef`], [`TaskError`], [`current_task`],
//!   [`all_tasks`].
//! - Several futures at once: [`gather()`], [`try_gather`], [`gather!`], [`wait()`], [`try_wait`],
//!   [`as_completed()`]; with the feature `groups`, on by default: [`task_group()`],
//!   [`try_task_group`]; with borrowed variables: [`scope()`], [`try_scope`].
//! - Time: [`sleep()`], [`sleep_until`], [`timeout()`], [`timeout_at`], [`Deadline`], [`wait_for`],
//!   [`interval()`], [`yield_now()`], [`time()`].
//! - Cancellation: [`Task::cancel`], [`shield()`]; with `groups`: [`finally`], [`on_cancel`],
//!   [`catch_cancel`], [`raise_cancelled`].
//! - Callbacks: [`Task::add_done_callback`], [`call_soon`], [`call_later`], [`call_at`].
//! - Communication between tasks: [`Promise`], [`task_local!`], and the module [`sync`] with
//!   events, locks, conditions, semaphores, barriers, queues and channels (feature `sync`, on by
//!   default).
//! - Inside frameworks whose handlers must be `Send`: [`local`].
//! - Inspection: [`call_graph()`] and [`print_call_graph`] show where each task waits, for what,
//!   and for which task (feature `report`, on by default); [`metrics`](metrics()) counts.
//! - With the feature `io`, on Unix: `net` with sockets and asyncio's streams and servers;
//!   `io::Async` for other file descriptors. With the feature `hyper`, hyper's traits for them; with
//!   `hyper-util`, what its client with a pool needs; with `tokio-io`, tokio's `AsyncRead` and
//!   `AsyncWrite`.
//! - With the feature `tls`, on Unix: TLS on the streams: `net::TlsConnector`, `net::TlsAcceptor`.
//! - With the feature `threads`: `to_thread`, which calls a blocking function on another thread.
//! - With the feature `stream`: `futures_core::Stream` for `as_completed`, channels, queues,
//!   intervals, signals and listeners; `FusedFuture` and `FusedStream`.
//! - With the feature `signals`, on Unix: `LoopBuilder::cancel_on_ctrl_c`, `signals::listen`, and
//!   with `report` also `LoopBuilder::print_call_graph_on`.
//! - With the feature `process`, on Unix: the module `process` with child processes.
//! - With the feature `web`, on `wasm32-unknown-unknown`: the module `web` with loops in a page, a
//!   worker or Node, and promises of JavaScript. [`Instant`] has a clock there.
//! - With the feature `probe`: `LoopBuilder::probe` and the module `probe`, which report each event of
//!   the loop.
//! - With the feature `replay`: `LoopBuilder::replay` and the module `replay`, which write a run as an
//!   HTML page that replays it.
//! - Which other crates run here, and how: `docs/works-with.md`.
//!
//! - With the feature `explore`: the module `explore`, which runs a test in each order in which its
//!   tasks could run.
//!
//! # Four rules
//!
//! 1. A turn steps what was ready when it began. What becomes ready during the turn waits for the
//!    next one.
//! 2. Dropping a [`Task`] detaches it: the task continues to run. Dropping an await of the task
//!    cancels the task, if the await was polled before.
//! 3. Cancelling a task drops its future at its next turn. Tasks that it awaits are cancelled
//!    first, and each [`finally`] in it runs its cleanup.
//! 4. Your errors are values, the end of a task is a [`TaskError`], and misuse is a panic whose
//!    message says how to correct it.
//!
//! Tags such as READY-2 or END-1 name the invariants in `docs/architecture.md`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(
    not(all(feature = "groups", feature = "report", feature = "sync")),
    allow(dead_code, reason = "what only reports, groups, locks and queues use is still there")
)]

#[macro_use]
extern crate alloc;

mod absent;
mod callback;
mod cancel;
mod combine;
mod error;
mod event_loop;
#[cfg(feature = "explore")]
#[cfg_attr(docsrs, doc(cfg(feature = "explore")))]
pub mod explore;
mod host;
#[cfg(all(unix, feature = "hyper"))]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper")))]
pub mod hyper;
#[cfg(all(unix, feature = "hyper-util"))]
#[cfg_attr(docsrs, doc(cfg(feature = "hyper-util")))]
pub mod hyper_util;
mod inspect;
mod kernel;
mod leaf;
#[cfg(all(unix, feature = "io"))]
#[cfg_attr(docsrs, doc(cfg(feature = "io")))]
pub mod net;
mod outside;
#[cfg(any(not(feature = "std"), doc))]
#[cfg_attr(docsrs, doc(cfg(not(feature = "std"))))]
pub mod platform;
#[cfg(not(any(not(feature = "std"), doc)))]
mod platform;
mod run;
mod stepping;
#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
pub mod sync;
pub mod task;
mod time;
#[cfg(all(unix, feature = "tokio-io"))]
mod tokio_io;
#[cfg(all(target_arch = "wasm32", target_os = "unknown", feature = "web"))]
#[cfg_attr(docsrs, doc(cfg(feature = "web")))]
pub mod web;

pub use callback::{CallHandle, call_at, call_later, call_soon, time};
#[cfg(feature = "groups")]
#[cfg_attr(docsrs, doc(cfg(feature = "groups")))]
pub use cancel::cleanup::{
    CatchCancel, Finally, OnCancel, RaiseCancelled, catch_cancel, finally, on_cancel, raise_cancelled,
};
#[cfg(feature = "groups")]
#[cfg_attr(docsrs, doc(cfg(feature = "groups")))]
pub use cancel::scope::{RunScope, Scope, ScopedJoin, ScopedTask, TryRunScope, scope, try_scope};
#[cfg(feature = "groups")]
#[cfg_attr(docsrs, doc(cfg(feature = "groups")))]
pub use cancel::task_group::{
    ChildError, ChildFailed, GroupError, RunGroup, TaskGroup, TryRunGroup, task_group, try_task_group,
};
pub use combine::as_completed::{AsCompleted, AsCompletedWithin, NextCompleted, as_completed};
pub use combine::gather::{Gather, GatherAll, TryGatherError, gather, try_gather};
pub use combine::shield::{Shield, Shieldable, shield};
pub use combine::wait::{ReturnWhen, TaskHandle, TryWaitable, Wait, Waitable, try_wait, wait};
pub use error::{Cancelled, LoopClosed, NoRunningLoop, Panic, TaskError};
#[cfg(feature = "report")]
#[cfg_attr(docsrs, doc(cfg(feature = "report")))]
pub use event_loop::SlowStep;
pub use event_loop::{Clock, EventLoop, LoopBuilder, LoopRef, RunError};
#[cfg(feature = "explore")]
#[cfg_attr(docsrs, doc(cfg(feature = "explore")))]
pub use explore::explore;
pub use host::{Budget, Drive, Turn};
#[cfg(feature = "report")]
#[cfg_attr(docsrs, doc(cfg(feature = "report")))]
pub use inspect::call_graph::{CallGraph, TaskSnapshot, WaitSnapshot, call_graph, print_call_graph};
#[cfg(feature = "report")]
pub use inspect::deadlock::DeadlockReport;
pub use inspect::introspect::{all_tasks, current_task};
#[cfg(feature = "report")]
#[cfg_attr(docsrs, doc(cfg(feature = "report")))]
pub use inspect::metrics::LongestStep;
pub use inspect::metrics::{Metrics, metrics};
#[cfg(feature = "probe")]
#[cfg_attr(docsrs, doc(cfg(feature = "probe")))]
pub use inspect::probe;
#[cfg(feature = "replay")]
#[cfg_attr(docsrs, doc(cfg(feature = "replay")))]
pub use inspect::replay;
#[cfg(not(feature = "report"))]
pub use inspect::unreported::DeadlockReport;
pub use kernel::callbacks::exceptions::Exception;
pub use kernel::clock::instant::Instant;
#[cfg(all(unix, feature = "io"))]
#[cfg_attr(docsrs, doc(cfg(feature = "io")))]
pub use outside::io;
pub use outside::local::{Local, local};
#[cfg(all(unix, feature = "process"))]
#[cfg_attr(docsrs, doc(cfg(feature = "process")))]
pub use outside::process;
pub use outside::remote::{Remote, RemoteTask};
#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
pub use outside::remote_sender::RemoteSender;
#[cfg(all(unix, feature = "signals"))]
#[cfg_attr(docsrs, doc(cfg(feature = "signals")))]
pub use outside::signals;
#[cfg(feature = "threads")]
#[cfg_attr(docsrs, doc(cfg(feature = "threads")))]
pub use outside::to_thread::{ToThread, to_thread};
pub use run::{run, try_run};
pub use task::child::{IntoTask, IntoTasks, TaskOrPromise};
pub use task::join::Join;
pub use task::promise::{Promise, Promised};
pub use task::task_local::{TaskLocal, TaskLocalToken};
pub use task::yield_now::{YieldNow, yield_now};
pub use task::{CallbackId, Task, TaskId, TaskRef, TaskState, spawn};
pub use time::interval::{Interval, MissedTickBehavior, Tick, interval, interval_at};
pub use time::sleep::{Sleep, sleep, sleep_until};
pub use time::timeout::{Awaitable, Deadline, Elapsed, Timeout, WaitFor, timeout, timeout_at, wait_for};

/// The programs of the README are run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The programs of the page for users of asyncio are run as tests too.
#[cfg(doctest)]
#[doc = include_str!("../docs/asyncio.md")]
struct ForThoseWhoComeFromAsyncio;

/// So are those of the page for a program that is ported.
#[cfg(doctest)]
#[doc = include_str!("../docs/porting.md")]
struct Porting;

/// What `gather!` expands to.
#[doc(hidden)]
pub mod __private {
    pub use crate::combine::gather::gather_tuple;
    pub use crate::task::child::Spawner;
}
