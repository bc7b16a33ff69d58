//! Waiting until the value under a lock has changed.
//!
//! A condition has its lock. A wait takes the guard and returns one; a notification takes a
//! reference to the guard. So what asyncio checks at run time (that the lock is held), the compiler
//! checks.

use crate::sync::label::Label;
use crate::sync::lock::{Lock, LockAcquire, LockGuard};
use crate::sync::waiters::{Place, Ticket, Waiters};
use alloc::rc::Rc;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

/// A value under a lock, and tasks that wait until it has changed.
///
/// A wait releases the lock, waits for a notification, and takes the lock again. Several tasks may
/// wait at once. After a wait, check the value again: other tasks may have changed it in between.
/// Also, a wait that is dropped notifies another waiter, even if the value has not changed.
///
/// asyncio: `Condition`. `async with condition:` is `let guard = condition.lock().await;`. A
/// condition without a value is `Condition::default()`.
///
/// # Cost
///
/// One allocation for the condition besides its lock, and memory for the greatest number of tasks
/// that ever waited at once.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, spawn, sync::Condition};
/// use std::{rc::Rc, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let stock = Rc::new(Condition::new(0));
///     let buyer = spawn({
///         let stock = stock.clone();
///         async move {
///             let guard = stock.lock().await;
///             let mut guard = stock.wait_for(guard, |pieces| *pieces >= 3).await;
///             *guard -= 3;
///         }
///     });
///     for _ in 0..3 {
///         sleep(Duration::from_secs(1)).await;
///         let mut guard = stock.lock().await;
///         *guard += 1;
///         stock.notify_one(&guard);
///     }
///     buyer.await.unwrap();
///     assert_eq!(*stock.lock().await, 0);
/// });
/// ```
pub struct Condition<T = ()> {
    lock: Rc<Lock<T>>,
    /// Whether the lock was created here, and so has the condition's name.
    owns_lock: bool,
    core: Rc<Core>,
}

struct Core {
    label: Label,
    waiters: Waiters,
}

impl Place for Core {
    fn line(&self, _: u8) -> &Waiters {
        &self.waiters
    }

    fn describe(&self, _: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a notification of ")?;
        self.label.write("a condition", f)
    }
}

impl<T> Condition<T> {
    /// Creates a condition with a lock of its own around a value.
    ///
    /// asyncio: `Condition()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let condition = onelane::sync::Condition::new(5);
    /// assert_eq!(condition.try_lock().as_deref(), Some(&5));
    /// ```
    #[track_caller]
    pub fn new(value: T) -> Self {
        Condition { owns_lock: true, ..Condition::with_lock(Rc::new(Lock::new(value))) }
    }

    /// Creates a condition on an existing lock, for example that of another condition.
    ///
    /// asyncio: `Condition(lock)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::{Condition, Lock};
    /// use std::rc::Rc;
    ///
    /// let lock = Rc::new(Lock::new(Vec::<u8>::new()));
    /// let not_empty = Condition::with_lock(lock.clone());
    /// let not_full = Condition::with_lock(lock);
    /// let guard = not_empty.try_lock();
    /// assert!(guard.is_some() && not_full.is_locked());
    /// ```
    #[track_caller]
    pub fn with_lock(lock: Rc<Lock<T>>) -> Self {
        let core = Core { label: Label::here(), waiters: Waiters::default() };
        Condition { lock, owns_lock: false, core: Rc::new(core) }
    }

    /// Sets a name, for reports of what tasks wait for: `a notification of condition "stock"`.
    /// Without a name, reports show where the condition was created. A lock that
    /// [`new`](Condition::new) has created gets the same name; an existing lock keeps its own.
    ///
    /// # Cost
    ///
    /// One allocation, unless the name is an `Rc<str>`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::Condition};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     let stock = Condition::new(0).named("stock");
    ///     let guard = stock.lock().await;
    ///     drop(stock.wait_for(guard, |pieces| *pieces > 0).await); // without a notification
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"a notification of condition "stock""#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        let name = name.into();
        if self.owns_lock {
            self.lock.set_name(name.clone());
        }
        self.core.label.set_name(name);
        self
    }

    /// Takes the lock: [`Lock::lock`].
    ///
    /// asyncio: `Condition.acquire()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let condition = onelane::sync::Condition::new(1);
    ///     *condition.lock().await += 1;
    ///     assert_eq!(*condition.lock().await, 2);
    /// });
    /// ```
    #[doc(alias = "acquire")]
    #[track_caller]
    pub fn lock(&self) -> LockAcquire<'_, T> {
        self.lock.lock()
    }

    /// Takes the lock if it is free: [`Lock::try_lock`].
    ///
    /// # Examples
    ///
    /// ```
    /// let condition = onelane::sync::Condition::new(());
    /// assert!(condition.try_lock().is_some());
    /// ```
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        self.lock.try_lock()
    }

    /// Whether a task holds the lock.
    ///
    /// asyncio: `Condition.locked()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, sync::Condition, yield_now};
    /// use std::rc::Rc;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let condition = Rc::new(Condition::new(()));
    ///     let copy = condition.clone();
    ///     spawn(async move { drop(copy.wait(copy.lock().await).await) });
    ///     yield_now().await;
    ///     assert!(!condition.is_locked()); // a waiter does not hold it
    /// });
    /// ```
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.lock.is_locked()
    }

    /// Releases the lock, waits for a notification, and takes the lock again.
    ///
    /// Cancel safety: a wait that is dropped leaves the lock released. (asyncio takes the lock once
    /// more, only to release it.) It notifies another waiter, whether it was notified itself or
    /// not.
    ///
    /// asyncio: `Condition.wait()`.
    ///
    /// # Panics
    ///
    /// If the guard belongs to a lock other than the condition's.
    ///
    /// # Cost
    ///
    /// No allocation unless more tasks wait than ever before. The waiter is stepped in the turn
    /// after the notification. If it then has to wait for the lock, it is stepped again in the turn
    /// after the release.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, sync::Condition, yield_now};
    /// use std::rc::Rc;
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let condition = Rc::new(Condition::new(false));
    ///     let waiter = spawn({
    ///         let condition = condition.clone();
    ///         async move {
    ///             let mut guard = condition.lock().await;
    ///             while !*guard {
    ///                 guard = condition.wait(guard).await;
    ///             }
    ///         }
    ///     });
    ///     yield_now().await;
    ///     let mut guard = condition.lock().await;
    ///     *guard = true;
    ///     condition.notify_all(&guard);
    ///     drop(guard);
    ///     waiter.await.unwrap();
    /// });
    /// ```
    #[track_caller]
    pub fn wait<'a>(&self, guard: LockGuard<'a, T>) -> ConditionWait<'a, T> {
        self.check(&guard, "wait");
        ConditionWait { core: self.core.clone(), stage: Stage::Holding(guard), ticket: Ticket::here() }
    }

    /// Waits until the value satisfies `predicate`. It calls the predicate first, and after each
    /// notification, always under the lock. Does not suspend if the predicate is true at once.
    ///
    /// Cancel safety: as for [`wait`](Condition::wait).
    ///
    /// asyncio: `Condition.wait_for(predicate)`.
    ///
    /// # Panics
    ///
    /// If the guard belongs to a lock other than the condition's, or if the predicate panics.
    ///
    /// # Cost
    ///
    /// As for [`wait`](Condition::wait), per notification.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let condition = onelane::sync::Condition::new(7);
    ///     let guard = condition.lock().await;
    ///     let guard = condition.wait_for(guard, |value| *value > 5).await;
    ///     assert_eq!(*guard, 7);
    /// });
    /// ```
    #[track_caller]
    pub fn wait_for<'a, P>(&self, guard: LockGuard<'a, T>, predicate: P) -> ConditionWaitFor<'a, T, P>
    where
        P: FnMut(&mut T) -> bool,
    {
        self.check(&guard, "wait_for");
        ConditionWaitFor { core: self.core.clone(), guard: Some(guard), wait: None, predicate }
    }

    /// Notifies one waiter, like [`notify`](Condition::notify) with 1.
    ///
    /// asyncio: `Condition.notify()`.
    ///
    /// # Panics
    ///
    /// If the guard belongs to a lock other than the condition's.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let condition = onelane::sync::Condition::new(());
    ///     condition.notify_one(&condition.lock().await); // no waiter: nothing happens
    /// });
    /// ```
    #[doc(alias = "notify")]
    #[track_caller]
    pub fn notify_one(&self, guard: &LockGuard<'_, T>) {
        self.notify(guard, 1);
    }

    /// Notifies the first `count` waiters, or as many as there are. They continue when they have
    /// the lock, so not before the guard is dropped. Later waiters are not affected.
    ///
    /// asyncio: `Condition.notify(n)`.
    ///
    /// # Panics
    ///
    /// If the guard belongs to a lock other than the condition's.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, sync::Condition, yield_now};
    /// use std::rc::Rc;
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let condition = Rc::new(Condition::new(()));
    ///     let waiters = [(); 3].map(|()| {
    ///         let condition = condition.clone();
    ///         spawn(async move { drop(condition.wait(condition.lock().await).await) })
    ///     });
    ///     yield_now().await;
    ///     condition.notify(&condition.lock().await, 2);
    ///     yield_now().await;
    ///     assert_eq!(waiters.map(|waiter| waiter.is_done()), [true, true, false]);
    /// });
    /// ```
    #[track_caller]
    pub fn notify(&self, guard: &LockGuard<'_, T>, count: usize) {
        self.core.label.touch();
        self.check(guard, "notify");
        self.core.waiters.give(count);
    }

    /// Notifies all waiters. Otherwise like [`notify`](Condition::notify).
    ///
    /// asyncio: `Condition.notify_all()`.
    ///
    /// # Panics
    ///
    /// If the guard belongs to a lock other than the condition's.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let condition = onelane::sync::Condition::new(());
    ///     condition.notify_all(&condition.lock().await); // no waiter: nothing happens
    /// });
    /// ```
    #[track_caller]
    pub fn notify_all(&self, guard: &LockGuard<'_, T>) {
        self.notify(guard, usize::MAX);
    }

    #[track_caller]
    fn check(&self, guard: &LockGuard<'_, T>, asked: &str) {
        assert!(
            core::ptr::eq(guard.lock(), &*self.lock),
            "{asked}() of a condition was called with a guard of another lock; lock the condition's own: condition.lock().await"
        );
    }
}

impl<T: Default> Default for Condition<T> {
    #[track_caller]
    fn default() -> Self {
        Condition::new(T::default())
    }
}

impl<T> fmt::Debug for Condition<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.label.look();
        f.debug_struct("Condition")
            .field("locked", &self.is_locked())
            .field("waiters", &self.core.waiters.len())
            .finish_non_exhaustive()
    }
}

/// The future of [`Condition::wait`].
///
/// # Examples
///
/// ```
/// use futures_util::poll;
/// use onelane::{EventLoop, sync::{Condition, ConditionWait}};
///
/// EventLoop::with_virtual_clock().run(async {
///     let condition = Condition::new(1);
///     let mut wait: ConditionWait<'_, i32> = condition.wait(condition.lock().await);
///     assert!(condition.is_locked()); // until the first poll
///     assert!(poll!(&mut wait).is_pending() && !condition.is_locked());
///     assert_eq!(format!("{wait:?}"), r#"ConditionWait("waits for a notification")"#);
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ConditionWait<'a, T = ()> {
    core: Rc<Core>,
    stage: Stage<'a, T>,
    ticket: Ticket,
}

enum Stage<'a, T> {
    /// Not polled yet.
    Holding(LockGuard<'a, T>),
    /// Waiting for a notification.
    Released(&'a Lock<T>),
    /// Notified; waiting for the lock.
    Acquiring(LockAcquire<'a, T>),
    Over,
}

impl<'a, T> Future for ConditionWait<'a, T> {
    type Output = LockGuard<'a, T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<LockGuard<'a, T>> {
        self.core.label.touch();
        let this = &mut *self;
        if let Stage::Holding(guard) = &this.stage {
            let lock = guard.lock();
            // Before the lock is released, because the release wakes a task, which may notify.
            this.ticket.enter(&*this.core, 0);
            drop(core::mem::replace(&mut this.stage, Stage::Released(lock)));
        }
        if let Stage::Released(lock) = &this.stage {
            ready!(this.ticket.poll(&this.core, context));
            this.stage = Stage::Acquiring(lock.lock());
        }
        let Stage::Acquiring(acquire) = &mut this.stage else {
            panic!("a wait() of a condition was polled after it was ready; wait again with a new one")
        };
        let guard = ready!(Pin::new(acquire).poll(context));
        this.stage = Stage::Over;
        Poll::Ready(guard)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedFuture for ConditionWait<'_, T> {
    fn is_terminated(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }
}

impl<T> Drop for ConditionWait<'_, T> {
    fn drop(&mut self) {
        self.core.label.touch();
        self.ticket.leave(&*self.core);
        // Dropping the stage comes first: it passes the lock to the next task that waits for it.
        let stage = core::mem::replace(&mut self.stage, Stage::Over);
        let has_waited = matches!(stage, Stage::Released(_) | Stage::Acquiring(_));
        drop(stage);
        if has_waited {
            self.core.waiters.give(1);
        }
    }
}

impl<T> fmt::Debug for ConditionWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::Holding(_) => "not begun",
            Stage::Released(_) => "waits for a notification",
            Stage::Acquiring(_) => "waits for the lock",
            Stage::Over => "over",
        };
        f.debug_tuple("ConditionWait").field(&stage).finish()
    }
}

/// The future of [`Condition::wait_for`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sync::{Condition, ConditionWaitFor, LockGuard}};
///
/// type IsFull = fn(&mut Vec<u8>) -> bool;
///
/// /// With a function as predicate, the future has a type that can be written down.
/// fn full<'a>(cups: &Condition<Vec<u8>>, guard: LockGuard<'a, Vec<u8>>) -> ConditionWaitFor<'a, Vec<u8>, IsFull> {
///     cups.wait_for(guard, |cups| cups.len() == cups.capacity())
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let cups = Condition::new(Vec::new());
///     assert_eq!(full(&cups, cups.lock().await).await.len(), 0);
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ConditionWaitFor<'a, T, P> {
    core: Rc<Core>,
    /// The lock is held; the predicate is called next.
    guard: Option<LockGuard<'a, T>>,
    wait: Option<ConditionWait<'a, T>>,
    predicate: P,
}

// The predicate is only called, never pinned.
impl<T, P> Unpin for ConditionWaitFor<'_, T, P> {}

impl<'a, T, P: FnMut(&mut T) -> bool> Future for ConditionWaitFor<'a, T, P> {
    type Output = LockGuard<'a, T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<LockGuard<'a, T>> {
        let this = &mut *self;
        loop {
            if let Some(mut guard) = this.guard.take() {
                if (this.predicate)(&mut guard) {
                    return Poll::Ready(guard);
                }
                let stage = Stage::Holding(guard);
                this.wait = Some(ConditionWait { core: this.core.clone(), stage, ticket: Ticket::here() });
            }
            let Some(wait) = &mut this.wait else {
                panic!("a wait_for() of a condition was polled after it was ready; wait again with a new one")
            };
            this.guard = Some(ready!(Pin::new(wait).poll(context)));
            this.wait = None;
        }
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T, P: FnMut(&mut T) -> bool> futures_core::FusedFuture for ConditionWaitFor<'_, T, P> {
    fn is_terminated(&self) -> bool {
        self.guard.is_none() && self.wait.is_none()
    }
}

impl<T, P> fmt::Debug for ConditionWaitFor<'_, T, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConditionWaitFor").field("wait", &self.wait).finish_non_exhaustive()
    }
}
