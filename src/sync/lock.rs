//! Locks: one task at a time, across awaits.
//!
//! A released lock is not handed over: it is free until the first waiter is stepped and takes it.
//! But a task that comes in between goes to the end of the queue, so no task overtakes another.
//!
//! The value is in a box, which the guard takes and puts back. This needs no `unsafe`, and a guard
//! can own its lock.
//!
//! Next: `condition.rs`.

use crate::kernel::{Token, context};
use crate::sync::label::Label;
use crate::sync::waiters::{Place, Ticket, Waiters};
use alloc::boxed::Box;
use alloc::{rc::Rc, vec::Vec};
use core::cell::Cell;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::pin::Pin;
use core::task::{Context, Poll, ready};

/// A value that one task at a time can use, also across awaits.
///
/// On one thread, no other task runs between two awaits anyway; a lock protects a value across an
/// await. It is fair: first come, first served. It is not re-entrant: a task that locks it twice
/// waits for itself. It belongs to no task, so a guard may be passed to another task.
///
/// Until it is released, the lock remembers the task that took it: for reports, and for a cleanup
/// that waits for a lock of its own task. A guard that was passed to another task, or leaked
/// (`mem::forget`), still counts as held by the first task.
///
/// asyncio: `Lock`, with a guard instead of `release()`, and optionally with a value. Without a
/// value it is `Lock::new(())`, or `Lock::default()`.
///
/// # Cost
///
/// Two allocations for the lock (one if the value has no size), and memory for the
/// greatest number of tasks that ever waited at once.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, gather, sleep, sync::Lock};
/// use std::{rc::Rc, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let balance = Rc::new(Lock::new(0));
///     let deposits = [1, 2, 3].map(|amount| {
///         let balance = balance.clone();
///         async move {
///             let mut balance = balance.lock().await;
///             let before = *balance;
///             sleep(Duration::from_millis(1)).await; // no other task in between
///             *balance = before + amount;
///         }
///     });
///     gather(deposits).await.unwrap();
///     assert_eq!(*balance.lock().await, 6);
/// });
/// ```
#[doc(alias = "acquire")]
#[doc(alias = "Mutex")]
pub struct Lock<T = ()> {
    raw: Rc<RawLock>,
    /// `None` while the guard has it.
    value: Cell<Option<Box<T>>>,
}

/// A lock without its value.
struct RawLock {
    /// While it is locked, the task that took it: `NOBODY` if it was taken outside any task.
    holder: Cell<Option<Token>>,
    taken_at: Cell<u64>,
    /// Whether the guard is an `OwnedLockGuard`, which borrows nothing: it may be in another task
    /// now.
    is_owned: Cell<bool>,
    waiters: Waiters,
    label: Label,
}

impl RawLock {
    fn is_locked(&self) -> bool {
        self.holder.get().is_some()
    }

    fn is_free(&self) -> bool {
        !self.is_locked() && !self.waiters.any()
    }

    fn take(&self) {
        let (taker, number) = context::running().map(|kernel| kernel.table.take()).unwrap_or_default();
        self.holder.set(Some(taker));
        self.taken_at.set(number);
    }

    fn release(&self) {
        self.label.touch();
        self.holder.set(None);
        self.is_owned.set(false);
        self.wake_first();
    }

    /// If the lock is free, wakes the first waiter.
    fn wake_first(&self) {
        if !self.is_locked() {
            if let Some(waiter) = self.waiters.take_foremost() {
                waiter.wake();
            }
        }
    }
}

impl Place for RawLock {
    fn line(&self, _: u8) -> &Waiters {
        &self.waiters
    }

    fn resumed(&self, _: u8) {
        self.wake_first();
    }

    /// A waiter that leaves unwoken may have delayed the next one too: see `take_foremost`.
    fn left(&self, _: u8, _: bool) {
        self.wake_first();
    }

    fn gives_way(&self, _: u8) -> bool {
        true
    }

    fn holders(&self, _: u8) -> Vec<Token> {
        self.holder.get().into_iter().collect()
    }

    fn takers(&self, _: u8) -> Option<Vec<Token>> {
        Some(self.holder.get().into_iter().collect())
    }

    fn taker(&self, _: u8) -> Option<Token> {
        self.holder.get()
    }

    fn taken_at(&self, _: u8) -> Vec<u64> {
        vec![self.taken_at.get()]
    }

    fn sole_holder(&self, _: u8) -> Option<Token> {
        self.holder.get().filter(|_| !self.is_owned.get())
    }

    fn describe(&self, _: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.label.write("a lock", f)?;
        match self.holder.get() {
            // Released, and not yet taken by the first waiter.
            None => Ok(()),
            Some(Token::NOBODY) => f.write_str(", held outside of any task"),
            Some(token) => match context::loop_of(token).and_then(|kernel| kernel.table.task(token)) {
                Some(task) => write!(f, ", held by {:?}", task.header().name()),
                None => f.write_str(", held by a task that has ended"),
            },
        }
    }
}

/// A wait for a lock.
struct Acquiring {
    raw: Rc<RawLock>,
    ticket: Ticket,
    over: bool,
}

impl Acquiring {
    #[track_caller]
    fn new(raw: &Rc<RawLock>) -> Self {
        Acquiring { raw: raw.clone(), ticket: Ticket::here(), over: false }
    }

    /// When it is ready, the lock is taken.
    #[track_caller]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.raw.label.touch();
        assert!(!self.over, "a lock() was polled after it was ready; lock again with a new one");
        loop {
            let enters = self.ticket.enters(&*self.raw);
            if enters && !self.raw.is_free() {
                let poll = self.ticket.wait(&self.raw, 0, context);
                self.ticket.tell_taker(&*self.raw);
                ready!(poll);
            } else {
                ready!(self.ticket.poll(&self.raw, context));
            }
            // The destructor of a waker, which is user code, may have taken the lock.
            if !self.raw.is_locked() {
                break;
            }
        }
        self.raw.take();
        self.over = true;
        Poll::Ready(())
    }
}

impl Drop for Acquiring {
    fn drop(&mut self) {
        self.raw.label.touch();
        self.ticket.give_up(&*self.raw);
    }
}

impl<T> Lock<T> {
    /// Creates a free lock around a value.
    ///
    /// asyncio: `Lock()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = onelane::sync::Lock::new(5);
    /// assert_eq!(lock.into_inner(), 5);
    /// ```
    #[track_caller]
    pub fn new(value: T) -> Self {
        let raw = RawLock {
            holder: Cell::new(None),
            taken_at: Cell::new(0),
            is_owned: Cell::new(false),
            waiters: Waiters::default(),
            label: Label::here(),
        };
        Lock { raw: Rc::new(raw), value: Cell::new(Some(Box::new(value))) }
    }

    /// Sets a name, for reports of what tasks wait for: `lock "db", held by "b"`. Without a name,
    /// reports show where the lock was created.
    ///
    /// # Cost
    ///
    /// One allocation, unless the name is an `Rc<str>`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::Lock};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     onelane::current_task().unwrap().set_name("main");
    ///     let db = Lock::new(()).named("db");
    ///     let _twice = (db.lock().await, db.lock().await);
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"lock "db", held by "main""#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        self.set_name(name.into());
        self
    }

    pub(super) fn set_name(&self, name: Rc<str>) {
        self.raw.label.set_name(name);
    }

    /// Waits until the lock is free, and takes it. Does not suspend if it is free and no task
    /// waits.
    ///
    /// The lock is free again when the guard is dropped.
    ///
    /// Cancel safety: only the place in the queue is lost; the next waiter is woken.
    ///
    /// asyncio: `Lock.acquire()`.
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Cost
    ///
    /// No allocation unless more tasks wait than ever before; the waiter is stepped in the turn
    /// after the release.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let lock = onelane::sync::Lock::new(String::from("a"));
    ///     lock.lock().await.push('b');
    ///     assert_eq!(*lock.lock().await, "ab");
    /// });
    /// ```
    #[doc(alias = "acquire")]
    #[track_caller]
    pub fn lock(&self) -> LockAcquire<'_, T> {
        LockAcquire { lock: self, acquiring: Acquiring::new(&self.raw) }
    }

    /// Like [`lock`](Lock::lock), but the guard keeps the lock alive and has no lifetime, so it may
    /// be passed to another task.
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, sync::Lock};
    /// use std::rc::Rc;
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let lock = Rc::new(Lock::new(1));
    ///     let mut guard = lock.lock_owned().await;
    ///     let task = spawn(async move { *guard += 1 });
    ///     assert!(lock.is_locked());
    ///     task.await.unwrap();
    ///     assert_eq!(*lock.lock().await, 2);
    /// });
    /// ```
    #[doc(alias = "acquire")]
    #[track_caller]
    pub fn lock_owned(self: &Rc<Self>) -> LockAcquireOwned<T> {
        LockAcquireOwned { acquiring: Acquiring::new(&self.raw), lock: self.clone() }
    }

    /// Takes the lock if it is free and no task waits for it.
    ///
    /// # Examples
    ///
    /// ```
    /// let lock = onelane::sync::Lock::new(());
    /// let guard = lock.try_lock();
    /// assert!(guard.is_some() && lock.try_lock().is_none());
    /// ```
    pub fn try_lock(&self) -> Option<LockGuard<'_, T>> {
        self.raw.label.touch();
        self.raw.is_free().then(|| {
            self.raw.take();
            LockGuard { value: self.value.take(), lock: self }
        })
    }

    /// Whether a guard exists. Between a release and the step of the next waiter there is none.
    ///
    /// asyncio: `Lock.locked()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::Lock};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let printer = Lock::new(());
    ///     let lamp = || if printer.is_locked() { "red" } else { "green" };
    ///     let job = printer.lock().await;
    ///     assert_eq!(lamp(), "red");
    ///     drop(job);
    ///     assert_eq!(lamp(), "green");
    /// });
    /// ```
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.raw.label.look();
        self.raw.is_locked()
    }

    /// Returns the value. The borrow proves that no other task can hold the lock.
    ///
    /// # Panics
    ///
    /// If a guard was leaked (`mem::forget`), and with it the value.
    ///
    /// # Examples
    ///
    /// ```
    /// let mut lock = onelane::sync::Lock::new(5);
    /// *lock.get_mut() = 6;
    /// assert_eq!(lock.into_inner(), 6);
    /// ```
    #[track_caller]
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut().as_deref_mut().expect(FORGOTTEN)
    }

    /// Returns the value, and consumes the lock.
    ///
    /// # Panics
    ///
    /// If a guard was leaked (`mem::forget`), and with it the value.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, gather, sync::Lock};
    /// use std::rc::Rc;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let found = Rc::new(Lock::new(Vec::new()));
    ///     let searches = ["tea", "toast"].map(|word| {
    ///         let found = found.clone();
    ///         async move { found.lock().await.push(word) }
    ///     });
    ///     gather(searches).await.unwrap();
    ///     // All have ended, so it is ours alone.
    ///     assert_eq!(Rc::into_inner(found).unwrap().into_inner(), ["tea", "toast"]);
    /// });
    /// ```
    #[track_caller]
    pub fn into_inner(self) -> T {
        *self.value.into_inner().expect(FORGOTTEN)
    }
}

const FORGOTTEN: &str =
    "the value of a lock was requested, but a leaked guard has it; drop guards instead of forgetting them";

impl<T: Default> Default for Lock<T> {
    #[track_caller]
    fn default() -> Self {
        Lock::new(T::default())
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.label.look();
        f.debug_struct("Lock")
            .field("locked", &self.raw.is_locked())
            .field("waiters", &self.raw.waiters.len())
            .finish_non_exhaustive()
    }
}

/// The future of [`Lock::lock`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sync::{Lock, LockAcquire}};
///
/// #[derive(Default)]
/// struct Account {
///     cents: Lock<u64>,
/// }
///
/// impl Account {
///     fn cents(&self) -> LockAcquire<'_, u64> {
///         println!("somebody looks at the account");
///         self.cents.lock()
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let account = Account::default();
///     *account.cents().await += 5;
///     assert_eq!(*account.cents().await, 5);
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct LockAcquire<'a, T = ()> {
    lock: &'a Lock<T>,
    acquiring: Acquiring,
}

/// The future of [`Lock::lock_owned`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, gather, sync::{Lock, LockAcquireOwned}};
/// use std::rc::Rc;
///
/// EventLoop::with_virtual_clock().run(async {
///     let forks = [(); 2].map(|()| Rc::new(Lock::new(())));
///     // They borrow nothing, so each can become a task.
///     let both: [LockAcquireOwned; 2] = forks.each_ref().map(|fork| fork.lock_owned());
///     let guards = gather(both).await.unwrap();
///     assert!(guards.len() == 2 && forks.iter().all(|fork| fork.is_locked()));
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct LockAcquireOwned<T = ()> {
    acquiring: Acquiring,
    lock: Rc<Lock<T>>,
}

/// Keeps the lock locked as long as it exists, and gives access to the value.
///
/// # Examples
///
/// ```
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let lock = onelane::sync::Lock::new(1);
///     let mut guard = lock.lock().await;
///     *guard += 1;
///     assert!(lock.is_locked());
///     drop(guard);
///     assert!(!lock.is_locked());
/// });
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct LockGuard<'a, T = ()> {
    lock: &'a Lock<T>,
    /// `None` only while it is dropped.
    value: Option<Box<T>>,
}

/// Like [`LockGuard`], but keeps the lock alive.
///
/// # Examples
///
/// ```
/// use onelane::sync::Lock;
/// use std::rc::Rc;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let lock = Rc::new(Lock::new(1));
///     let guard = lock.lock_owned().await;
///     drop(lock);
///     assert_eq!(*guard, 1);
/// });
/// ```
#[must_use = "the lock is released when the guard is dropped"]
pub struct OwnedLockGuard<T = ()> {
    lock: Rc<Lock<T>>,
    /// `None` only while it is dropped.
    value: Option<Box<T>>,
}

impl<'a, T> LockGuard<'a, T> {
    pub(super) fn lock(&self) -> &'a Lock<T> {
        self.lock
    }
}

impl<'a, T> Future for LockAcquire<'a, T> {
    type Output = LockGuard<'a, T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<LockGuard<'a, T>> {
        ready!(self.acquiring.poll(context));
        Poll::Ready(LockGuard { value: self.lock.value.take(), lock: self.lock })
    }
}

impl<T> Future for LockAcquireOwned<T> {
    type Output = OwnedLockGuard<T>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<OwnedLockGuard<T>> {
        ready!(self.acquiring.poll(context));
        self.lock.raw.is_owned.set(true);
        Poll::Ready(OwnedLockGuard { value: self.lock.value.take(), lock: self.lock.clone() })
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedFuture for LockAcquire<'_, T> {
    fn is_terminated(&self) -> bool {
        self.acquiring.over
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl<T> futures_core::FusedFuture for LockAcquireOwned<T> {
    fn is_terminated(&self) -> bool {
        self.acquiring.over
    }
}

macro_rules! guard {
    ($name:literal, [$($generics:tt)*], $guard:ty, $acquire:ty) => {
        impl<$($generics)*> Deref for $guard {
            type Target = T;

            fn deref(&self) -> &T {
                self.value.as_deref().expect("a guard has the value")
            }
        }

        impl<$($generics)*> DerefMut for $guard {
            fn deref_mut(&mut self) -> &mut T {
                self.value.as_deref_mut().expect("a guard has the value")
            }
        }

        impl<$($generics)*> Drop for $guard {
            fn drop(&mut self) {
                self.lock.value.set(self.value.take());
                self.lock.raw.release();
            }
        }

        impl<$($generics)*> fmt::Debug for $guard
        where
            T: fmt::Debug,
        {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple($name).field(&**self).finish()
            }
        }

        impl<$($generics)*> fmt::Debug for $acquire {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let begun = self.acquiring.ticket.is_in_line(&*self.acquiring.raw);
                f.debug_struct("LockAcquire").field("lock", &self.lock).field("begun", &begun).finish()
            }
        }
    };
}

guard!("LockGuard", ['a, T], LockGuard<'a, T>, LockAcquire<'a, T>);
guard!("OwnedLockGuard", [T], OwnedLockGuard<T>, LockAcquireOwned<T>);
