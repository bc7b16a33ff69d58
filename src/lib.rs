//! A single-threaded async executor with asyncio's vocabulary.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod callback;
mod deadlock;
mod error;
mod event_loop;
mod gather;
mod introspect;
mod join;
mod kernel;
mod remote;
mod run;
mod sleep;
pub mod task;
mod timeout;
mod wait;
mod yield_now;

pub use callback::{Handle, call_at, call_later, call_soon, time};
pub use deadlock::{DeadlockReport, StuckTask};
pub use error::{LoopClosed, NoRunningLoop, Panic, TaskError};
pub use event_loop::{Builder, Clock, EventLoop, LoopRef, RunError, Turn};
pub use gather::{Gather, GatherAll, IntoTask, TryGatherError, gather, try_gather};
pub use introspect::{all_tasks, current_task};
pub use join::Join;
pub use kernel::exceptions::Exception;
pub use remote::{Remote, RemoteTask};
pub use run::{run, try_run};
pub use sleep::{Sleep, sleep, sleep_until};
pub use task::{CallbackId, Task, TaskId, TaskRef, TaskState, spawn};
pub use timeout::{Awaitable, Elapsed, Timeout, WaitFor, timeout, timeout_at, wait_for};
pub use wait::{ReturnWhen, TaskHandle, Wait, try_wait, wait};
pub use yield_now::{YieldNow, yield_now};

/// What `gather!` expands to.
#[doc(hidden)]
pub mod __private {
    pub use crate::gather::{Spawner, gather_tuple};
}
