//! Awaiting something without passing a cancellation on to it.
//!
//! A shield is between the awaiting task and the *inner* task or promise. It registers a done
//! callback with the inner one, and does not link the two in the kernel. So a cancellation of the
//! awaiting task stops at the shield.

use crate::error::TaskError;
use crate::kernel::callbacks::calls::{Call, Watcher};
use crate::kernel::cell::AnyTask;
use crate::kernel::clone_uncounted;
use crate::kernel::explore::unknown;
use crate::kernel::table::records::{Awaited, Wait};
use crate::leaf::Record;
use crate::task::CallbackId;
use crate::task::child::{AnyChild, Child, IntoTask, Spawner, describe_children};
use alloc::{rc::Rc, vec::Vec};
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use core::slice;
use core::task::{Context, Poll, Waker};

/// The argument of [`shield`]: a future, `Task<T>`, `&Task<T>`, [`Promise<T>`](crate::Promise),
/// `&Promise<T>`.
///
/// With a reference, the result is left in place and cloned.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, Shield, Shieldable, shield, spawn};
///
/// /// A save that was begun is not to be broken off, whatever it is.
/// fn save<S: Shieldable>(work: S) -> Shield<S::Output> {
///     println!("saving");
///     shield(work)
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let promise = Promise::new();
///     promise.set_result(3).unwrap();
///     assert_eq!(save(async { 1 }).await, Ok(1));
///     assert_eq!(save(spawn(async { 2 })).await, Ok(2));
///     assert_eq!(save(&promise).await, Ok(3));
/// });
/// ```
pub trait Shieldable: IntoTask<Output: 'static> {}

impl<A: IntoTask<Output: 'static>> Shieldable for A {}

/// Awaits a task or a promise and protects it from cancellation: if the awaiting task is cancelled,
/// the inner task or promise continues.
///
/// A future becomes a task immediately, so it runs even if the shield is never awaited. If the
/// inner task or promise has already ended, the shield is ready at once. If the inner one is
/// cancelled by other code, the shield returns `TaskError::Cancelled`, and the awaiting task is not
/// cancelled.
///
/// Cancel safety: if the shield is dropped, the inner task or promise continues. To read its result
/// later, pass a `&Task` or a `&Promise`. If the inner task panics and no code reads its result,
/// the panic goes to the exception handler.
///
/// asyncio: `shield(aw)`.
///
/// # Errors
///
/// If the inner task or promise was cancelled, or panicked.
///
/// # Panics
///
/// If no loop is running on this thread, or if the task belongs to another loop. When polled, if
/// other code has taken the result.
///
/// # Cost
///
/// One allocation; a future is also spawned. The shield is ready two turns after the end of the
/// inner task or promise, one turn later than an await.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, shield, sleep, spawn};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let inner = spawn(async {
///         sleep(Duration::from_secs(2)).await;
///         "saved"
///     });
///     let shielded = shield(&inner);
///     let outer = spawn(shielded);
///     sleep(Duration::from_secs(1)).await;
///     outer.cancel();
///     assert!(outer.await.unwrap_err().is_cancelled());
///     assert_eq!(inner.await, Ok("saved"));
/// });
/// ```
#[track_caller]
pub fn shield<S: Shieldable>(awaitable: S) -> Shield<S::Output> {
    unknown("shield()");
    let spawner = Spawner::asked_by("shield()");
    let child = awaitable.into_child(&spawner);
    let ended = Rc::new(Ended { behind: child.any(), over: Cell::new(child.is_done()), waker: Cell::new(None) });
    let callback = (!child.is_done()).then(|| ended.behind.add_call(&spawner.0, Call::Watch(ended.clone(), 0)));
    Shield { child, ended, callback, record: Record::here() }
}

/// Whether the end of the inner task or promise was reported. Owned by the callback and by the
/// shield.
struct Ended {
    behind: AnyChild,
    over: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Watcher for Ended {
    fn called(&self, _: u32) {
        self.over.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A shield has no links, so a cancellation ends here.
impl Awaited for Ended {
    fn tasks(&self) -> Vec<AnyTask> {
        self.behind.task().cloned().into_iter().collect()
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a shield on ")?;
        describe_children(slice::from_ref(&self.behind), f)
    }
}

/// The future of [`shield`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Promise, Shield, shield, spawn};
///
/// EventLoop::with_virtual_clock().run(async {
///     let promise = Promise::new();
///     // A task and a promise behind futures of one type.
///     let shields: [Shield<u8>; 2] = [shield(spawn(async { 1 })), shield(&promise)];
///     promise.set_result(2).unwrap();
///     let mut values = Vec::new();
///     for shield in shields {
///         values.push(shield.await.unwrap());
///     }
///     assert_eq!(values, [1, 2]);
/// });
/// ```
#[must_use = "what is behind it runs, but its result is lost unless the shield is awaited"]
pub struct Shield<T> {
    child: Child<T>,
    ended: Rc<Ended>,
    /// Our callback, until the shield is ready.
    callback: Option<CallbackId>,
    record: Record,
}

impl<T> Future for Shield<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.ended.over.get() {
            this.callback = None;
            this.record.end();
            return Poll::Ready(this.child.read());
        }
        let new = clone_uncounted(context.waker());
        let old = this.ended.waker.replace(Some(new));
        drop(old);
        this.record.begin(|| Wait::On(Rc::<Ended>::downgrade(&this.ended)));
        Poll::Pending
    }
}

impl<T> Drop for Shield<T> {
    fn drop(&mut self) {
        self.record.end();
        // Dropped last, because it may be another executor's waker.
        let _waker = self.ended.waker.take();
        if let Some(callback) = self.callback {
            self.ended.behind.remove_call(callback);
        }
    }
}

impl<T> fmt::Debug for Shield<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shield").field("behind", &self.child).field("over", &self.ended.over.get()).finish()
    }
}
