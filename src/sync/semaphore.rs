//! Semaphores: a limited number of permits.
//!
//! A permit that is returned is handed to the first waiter, so the count does not change. While a
//! task waits, no other task overtakes it.
//!
//! This file knows only its waiters and its name.

use crate::kernel::{Token, context};
use crate::sync::label::Label;
use crate::sync::waiters::{Place, Ticket, Waiters};
use alloc::{rc::Rc, vec::Vec};
use core::cell::{Cell, RefCell};
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use slab::Slab;

/// A number of permits. A task that acquires a permit has it until it drops it; if there is none,
/// the task waits.
///
/// It is fair: a released permit goes to the first waiter, and a task that has just released one
/// goes to the end.
///
/// asyncio: `Semaphore`.
///
/// # Cost
///
/// One allocation for the semaphore, and memory for the greatest numbers of tasks that ever waited,
/// and of permits that were acquired, at the same time.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, gather, sleep, sync::Semaphore, time};
/// use std::{rc::Rc, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let second = Duration::from_secs(1);
///     let semaphore = Rc::new(Semaphore::new(2));
///     let start = time();
///     let downloads = (0..6).map(|_| {
///         let semaphore = semaphore.clone();
///         async move {
///             let _permit = semaphore.acquire().await;
///             sleep(second).await;
///         }
///     });
///     gather(downloads).await.unwrap();
///     assert_eq!(time() - start, second * 3);
/// });
/// ```
pub struct Semaphore {
    core: Rc<Core>,
}

/// A [`Semaphore`] that detects when more permits are released than there were.
///
/// asyncio: `BoundedSemaphore`.
///
/// # Examples
///
/// ```
/// use onelane::sync::BoundedSemaphore;
///
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let semaphore = BoundedSemaphore::new(1);
///     semaphore.acquire().await.forget();
///     assert!(semaphore.is_locked());
///     semaphore.release();
///     assert!(!semaphore.is_locked());
/// });
/// ```
pub struct BoundedSemaphore {
    semaphore: Semaphore,
    bound: usize,
}

struct Core {
    label: Label,
    value: Cell<usize>,
    /// Number of permits that were forgotten and not released since. The total of a
    /// `BoundedSemaphore` never changes: each permit is free, handed over, in a guard, or
    /// forgotten.
    forgotten: Cell<usize>,
    /// For each permit in a guard: the task that took it, `NOBODY` if that was outside any task,
    /// and when. Borrowed while no user code runs.
    takers: RefCell<Slab<(Token, u64)>>,
    waiters: Waiters,
}

impl Core {
    /// Puts a permit that already counts as taken into a guard.
    fn permit(self: &Rc<Self>) -> Permit {
        let taker = context::running().map(|kernel| kernel.table.take()).unwrap_or_default();
        let taken = self.takers.borrow_mut().insert(taker);
        Permit { core: Some(self.clone()), taken }
    }

    /// Whether a task that comes now has to wait.
    fn is_locked(&self) -> bool {
        self.value.get() == 0 || self.waiters.any()
    }

    fn take(&self) {
        self.value.set(self.value.get() - 1);
    }

    #[track_caller]
    fn put_back(&self) {
        let value = self.value.get().checked_add(1);
        self.value.set(value.expect("a semaphore was released more than usize::MAX times; release what was acquired"));
    }

    #[track_caller]
    fn release(&self) {
        self.label.touch();
        self.put_back();
        self.hand_over();
    }

    /// Returns false if no task waits.
    fn hand_over(&self) -> bool {
        let Some(waiter) = self.waiters.take_next() else { return false };
        self.take();
        waiter.wake();
        true
    }

    /// Hands the free permits to waiters. A task that comes after a waiter has to wait even if
    /// there is a permit; when that waiter has left, it gets the permit.
    fn hand_out(&self) {
        while self.value.get() > 0 && self.hand_over() {}
    }
}

impl Place for Core {
    fn line(&self, _: u8) -> &Waiters {
        &self.waiters
    }

    fn resumed(&self, _: u8) {
        self.hand_out();
    }

    fn left(&self, _: u8, given: bool) {
        if given {
            self.put_back();
        }
        self.hand_out();
    }

    fn gives_way(&self, _: u8) -> bool {
        true
    }

    fn takers(&self, _: u8) -> Option<Vec<Token>> {
        // Any code may release a permit that was forgotten; a permit that was handed over is not in
        // a guard yet.
        match (self.forgotten.get(), self.waiters.given()) {
            (0, 0) => Some(self.takers.borrow().iter().map(|(_, &(taker, _))| taker).collect()),
            (0, _) => Some(Vec::new()),
            _ => None,
        }
    }

    fn taker(&self, _: u8) -> Option<Token> {
        let takers = self.takers.borrow();
        let mut takers = takers.iter().map(|(_, &(taker, _))| taker);
        let first = takers.next().filter(|_| self.forgotten.get() == 0 && self.waiters.given() == 0)?;
        takers.all(|taker| taker == first).then_some(first)
    }

    fn taken_at(&self, _: u8) -> Vec<u64> {
        self.takers.borrow().iter().map(|(_, &(_, number))| number).collect()
    }

    fn describe(&self, _: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a permit of ")?;
        self.label.write_with("a semaphore", Some(format_args!("{} free", self.value.get())), f)
    }
}

impl Semaphore {
    /// Creates a semaphore with `permits` permits, which may be zero.
    ///
    /// asyncio: `Semaphore(value)`.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = onelane::sync::Semaphore::new(0);
    /// assert!(semaphore.is_locked());
    /// ```
    #[track_caller]
    pub fn new(permits: usize) -> Self {
        let core = Core {
            label: Label::here(),
            value: Cell::new(permits),
            forgotten: Cell::new(0),
            takers: RefCell::default(),
            waiters: Waiters::default(),
        };
        Semaphore { core: Rc::new(core) }
    }

    /// Sets a name, for reports of what tasks wait for: `a permit of semaphore "slots" (0 free)`.
    /// Without a name, reports show where the semaphore was created. Reports do not say which tasks
    /// have permits, because any code may [release](Semaphore::release) one.
    ///
    /// # Cost
    ///
    /// One allocation, unless the name is an `Rc<str>`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::Semaphore};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     let slots = Semaphore::new(1).named("slots");
    ///     let _both = (slots.acquire().await, slots.acquire().await);
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"a permit of semaphore "slots" (0 free)"#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        self.core.label.set_name(name.into());
        self
    }

    /// Waits for a permit. Does not suspend if there is one and no task waits.
    ///
    /// Cancel safety: only the place among the waiters is lost; a permit that was already handed
    /// over goes to the next.
    ///
    /// asyncio: `Semaphore.acquire()`.
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
    ///     let semaphore = onelane::sync::Semaphore::new(2);
    ///     let permit = semaphore.acquire().await;
    ///     assert_eq!(semaphore.available_permits(), 1);
    ///     drop(permit);
    ///     assert_eq!(semaphore.available_permits(), 2);
    /// });
    /// ```
    #[track_caller]
    pub fn acquire(&self) -> SemaphoreAcquire {
        SemaphoreAcquire { core: self.core.clone(), ticket: Ticket::here(), over: false }
    }

    /// Takes a permit if there is one and no task waits.
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = onelane::sync::Semaphore::new(1);
    /// let permit = semaphore.try_acquire();
    /// assert!(permit.is_some() && semaphore.try_acquire().is_none());
    /// ```
    pub fn try_acquire(&self) -> Option<Permit> {
        self.core.label.touch();
        (!self.core.is_locked()).then(|| {
            self.core.take();
            self.core.permit()
        })
    }

    /// Adds a permit, whether one was acquired or not: for permits that were
    /// [forgotten](Permit::forget), or to increase their number.
    ///
    /// asyncio: `Semaphore.release()`.
    ///
    /// # Panics
    ///
    /// If there would be more than `usize::MAX` permits.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, sync::Semaphore, yield_now};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let semaphore = Semaphore::new(0);
    ///     let waiter = spawn(semaphore.acquire());
    ///     yield_now().await;
    ///     semaphore.release();
    ///     assert!(waiter.await.is_ok());
    /// });
    /// ```
    #[track_caller]
    pub fn release(&self) {
        self.core.release();
    }

    /// Whether a task that comes now would have to wait: there is no permit, or other tasks wait.
    ///
    /// asyncio: `Semaphore.locked()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sync::Semaphore};
    ///
    /// /// Rejects requests that would have to wait.
    /// async fn visit(tables: &Semaphore) -> Result<&'static str, &'static str> {
    ///     if tables.is_locked() {
    ///         return Err("all tables are taken");
    ///     }
    ///     let _table = tables.acquire().await;
    ///     Ok("enjoyed it")
    /// }
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let tables = Semaphore::new(1);
    ///     assert_eq!(visit(&tables).await, Ok("enjoyed it"));
    ///     let _reserved = tables.acquire().await;
    ///     assert_eq!(visit(&tables).await, Err("all tables are taken"));
    /// });
    /// ```
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.core.label.look();
        self.core.is_locked()
    }

    /// Returns the number of permits that are free, neither acquired nor handed over.
    ///
    /// # Examples
    ///
    /// ```
    /// const LIMIT: usize = 10;
    ///
    /// let semaphore = onelane::sync::Semaphore::new(LIMIT);
    /// let _downloads = [(); 3].map(|()| semaphore.try_acquire());
    /// let under_way = LIMIT - semaphore.available_permits();
    /// assert_eq!(under_way, 3);
    /// ```
    pub fn available_permits(&self) -> usize {
        self.core.label.look();
        self.core.value.get()
    }

    fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.label.look();
        f.debug_struct(name)
            .field("permits", &self.core.value.get())
            .field("locked", &self.is_locked())
            .field("waiters", &self.core.waiters.len())
            .finish()
    }
}

impl BoundedSemaphore {
    /// Creates a semaphore with `permits` permits, and never more.
    ///
    /// asyncio: `BoundedSemaphore(value)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::sync::BoundedSemaphore;
    ///
    /// let licences = BoundedSemaphore::new(2);
    /// let users = [(); 3].map(|()| licences.try_acquire());
    /// assert_eq!(users.iter().flatten().count(), 2);
    /// ```
    #[track_caller]
    pub fn new(permits: usize) -> Self {
        BoundedSemaphore { semaphore: Semaphore::new(permits), bound: permits }
    }

    /// Like [`Semaphore::named`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::BoundedSemaphore};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     drop(BoundedSemaphore::new(0).named("licences").acquire().await);
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"a permit of semaphore "licences" (0 free)"#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        BoundedSemaphore { semaphore: self.semaphore.named(name), bound: self.bound }
    }

    /// Like [`Semaphore::acquire`].
    ///
    /// # Panics
    ///
    /// When polled after it was ready.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let semaphore = onelane::sync::BoundedSemaphore::new(1);
    ///     let _permit = semaphore.acquire().await;
    ///     assert!(semaphore.is_locked());
    /// });
    /// ```
    #[track_caller]
    pub fn acquire(&self) -> SemaphoreAcquire {
        self.semaphore.acquire()
    }

    /// Like [`Semaphore::try_acquire`].
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = onelane::sync::BoundedSemaphore::new(0);
    /// assert!(semaphore.try_acquire().is_none());
    /// ```
    pub fn try_acquire(&self) -> Option<Permit> {
        self.semaphore.try_acquire()
    }

    /// Releases a permit that was [forgotten](Permit::forget).
    ///
    /// Releasing a permit that was not acquired, or whose guard will release it, is a bug in the
    /// program's counting. So it is a panic, where asyncio raises `ValueError`. asyncio detects it
    /// when the count is full; onelane detects it at once, so dropping a [`Permit`] never fails.
    ///
    /// asyncio: `BoundedSemaphore.release()`.
    ///
    /// # Panics
    ///
    /// If all forgotten permits were already released.
    ///
    /// # Examples
    ///
    /// ```should_panic
    /// onelane::sync::BoundedSemaphore::new(1).release();
    /// ```
    #[track_caller]
    pub fn release(&self) {
        let core = &self.semaphore.core;
        core.label.touch();
        let forgotten = core.forgotten.get().checked_sub(1);
        let Some(forgotten) = forgotten else {
            panic!(
                "a BoundedSemaphore of {} was released too many times; release() gives back permits that were forgotten with \
                 Permit::forget(), all others come back when they are dropped",
                self.bound
            );
        };
        core.forgotten.set(forgotten);
        core.release();
    }

    /// Like [`Semaphore::is_locked`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, spawn, sync::BoundedSemaphore, yield_now};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let semaphore = BoundedSemaphore::new(1);
    ///     let permit = semaphore.acquire().await;
    ///     let next = spawn(semaphore.acquire());
    ///     yield_now().await;
    ///     drop(permit);
    ///     assert!(semaphore.is_locked()); // it went to the next
    ///     assert!(next.await.is_ok());
    /// });
    /// ```
    #[doc(alias = "locked")]
    pub fn is_locked(&self) -> bool {
        self.semaphore.is_locked()
    }

    /// Like [`Semaphore::available_permits`].
    ///
    /// # Examples
    ///
    /// ```
    /// let semaphore = onelane::sync::BoundedSemaphore::new(2);
    /// semaphore.try_acquire().unwrap().forget();
    /// let _guard = semaphore.try_acquire().unwrap();
    /// assert_eq!(semaphore.available_permits(), 0);
    /// semaphore.release(); // the one that was forgotten
    /// assert_eq!(semaphore.available_permits(), 1);
    /// ```
    pub fn available_permits(&self) -> usize {
        self.semaphore.available_permits()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.show("Semaphore", f)
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.semaphore.show("BoundedSemaphore", f)
    }
}

/// The future of [`Semaphore::acquire`].
///
/// # Examples
///
/// ```
/// use futures_util::poll;
/// use onelane::{EventLoop, sync::{Semaphore, SemaphoreAcquire}};
///
/// EventLoop::with_virtual_clock().run(async {
///     let semaphore = Semaphore::new(0);
///     let mut line: [SemaphoreAcquire; 2] = [semaphore.acquire(), semaphore.acquire()];
///     // The first poll takes a place in the line.
///     assert!(poll!(&mut line[1]).is_pending() && poll!(&mut line[0]).is_pending());
///     semaphore.release();
///     assert!(poll!(&mut line[1]).is_ready());
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct SemaphoreAcquire {
    core: Rc<Core>,
    ticket: Ticket,
    over: bool,
}

impl Future for SemaphoreAcquire {
    type Output = Permit;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        self.core.label.touch();
        let this = &mut *self;
        assert!(!this.over, "an acquire() was polled after it was ready; acquire again with a new one");
        let enters = this.ticket.enters(&*this.core);
        if enters && !this.core.is_locked() {
            this.core.take();
            this.over = true;
            return Poll::Ready(this.core.permit());
        }
        if enters {
            let poll = this.ticket.wait(&this.core, 0, context);
            this.ticket.tell_taker(&*this.core);
            ready!(poll);
        } else {
            ready!(this.ticket.poll(&this.core, context));
        }
        this.over = true;
        let permit = this.core.permit();
        this.core.hand_out();
        Poll::Ready(permit)
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedFuture for SemaphoreAcquire {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl Drop for SemaphoreAcquire {
    fn drop(&mut self) {
        self.core.label.touch();
        self.ticket.give_up(&*self.core);
    }
}

impl fmt::Debug for SemaphoreAcquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphoreAcquire")
            .field("begun", &self.ticket.is_in_line(&*self.core))
            .field("over", &self.over)
            .finish()
    }
}

/// One permit of a [`Semaphore`], which is released when this is dropped. It keeps the semaphore's
/// count alive and has no lifetime, so it may be passed to another task.
///
/// # Examples
///
/// ```
/// onelane::EventLoop::with_virtual_clock().run(async {
///     let semaphore = onelane::sync::Semaphore::new(1);
///     let permit = semaphore.acquire().await;
///     onelane::spawn(async move { drop(permit) }).await.unwrap();
///     assert!(!semaphore.is_locked());
/// });
/// ```
#[must_use = "the permit goes back when this is dropped"]
pub struct Permit {
    /// `None` after it was forgotten.
    core: Option<Rc<Core>>,
    /// Its place among the acquired permits.
    taken: usize,
}

impl Permit {
    /// Forgets the permit: only `release()` returns it.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let semaphore = onelane::sync::Semaphore::new(1);
    ///     semaphore.acquire().await.forget();
    ///     assert_eq!(semaphore.available_permits(), 0);
    ///     semaphore.release();
    ///     assert_eq!(semaphore.available_permits(), 1);
    /// });
    /// ```
    pub fn forget(mut self) {
        if let Some(core) = self.core.take() {
            core.label.touch();
            core.takers.borrow_mut().remove(self.taken);
            core.forgotten.set(core.forgotten.get().saturating_add(1));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(core) = self.core.take() {
            core.label.touch();
            core.takers.borrow_mut().remove(self.taken);
            core.release();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
