//! Events: flags for which tasks wait.
//!
//! This file knows only its waiters and its name.

use crate::sync::label::Label;
use crate::sync::waiters::{Place, Ticket, Waiters};
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

/// A flag for which tasks can wait: when it is set, all of them continue.
///
/// `set` wakes every task that waits. Each of them continues, even if the flag is cleared before
/// the task is stepped. A task that calls `wait` while the flag is set does not wait. So it
/// continues before the tasks that `set` has woken.
///
/// asyncio: `Event`.
///
/// # Cost
///
/// One allocation for the event, and memory for the greatest number of tasks that
/// ever waited at once.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, sleep, spawn, sync::Event};
/// use std::{rc::Rc, time::Duration};
///
/// EventLoop::with_virtual_clock().run(async {
///     let event = Rc::new(Event::new());
///     let waiter = spawn(event.wait());
///     sleep(Duration::from_secs(1)).await;
///     assert!(!waiter.is_done());
///     event.set();
///     assert_eq!(waiter.await, Ok(()));
/// });
/// ```
pub struct Event {
    core: Rc<Core>,
}

struct Core {
    label: Label,
    set: Cell<bool>,
    waiters: Waiters,
}

impl Place for Core {
    fn line(&self, _: u8) -> &Waiters {
        &self.waiters
    }

    fn describe(&self, _: u8, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.label.write("an event", f)
    }
}

impl Event {
    /// Creates an event that is not set.
    ///
    /// asyncio: `Event()`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!onelane::sync::Event::new().is_set());
    /// ```
    #[track_caller]
    pub fn new() -> Self {
        let core = Core { label: Label::here(), set: Cell::new(false), waiters: Waiters::default() };
        Event { core: Rc::new(core) }
    }

    /// Sets a name, for reports of what tasks wait for: `event "ready"`. Without a name, reports
    /// show where the event was created.
    ///
    /// # Cost
    ///
    /// One allocation, unless the name is an `Rc<str>`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, RunError, sync::Event};
    ///
    /// let result = EventLoop::with_virtual_clock().try_run(async {
    ///     Event::new().named("ready").wait().await; // and it is never set
    /// });
    /// let Err(RunError::Deadlock(report)) = result else { unreachable!() };
    /// assert_eq!(report.tasks[0].waits_for[0].what, r#"event "ready""#);
    /// ```
    #[must_use = "it gives back what was named"]
    pub fn named(self, name: impl Into<Rc<str>>) -> Self {
        self.core.label.set_name(name.into());
        self
    }

    /// Sets the flag and wakes all waiters, in the order in which they came. Does nothing if it is
    /// already set.
    ///
    /// asyncio: `Event.set()`.
    ///
    /// # Cost
    ///
    /// The waiters are stepped in the next turn.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{spawn, sync::Event, yield_now};
    ///
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let event = Event::new();
    ///     let waiter = spawn(event.wait());
    ///     yield_now().await;
    ///     event.set();
    ///     event.clear(); // too late to hold the waiter back
    ///     assert_eq!(waiter.await, Ok(()));
    /// });
    /// ```
    pub fn set(&self) {
        self.core.label.touch();
        if !self.core.set.replace(true) {
            self.core.waiters.give_all();
        }
    }

    /// Clears the flag: tasks that wait from now on wait for the next [`set`](Event::set).
    ///
    /// asyncio: `Event.clear()`.
    ///
    /// # Examples
    ///
    /// ```
    /// let event = onelane::sync::Event::new();
    /// event.set();
    /// event.clear();
    /// assert!(!event.is_set());
    /// ```
    pub fn clear(&self) {
        self.core.label.touch();
        self.core.set.set(false);
    }

    /// Whether the flag is set.
    ///
    /// asyncio: `Event.is_set()`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, sleep, spawn, sync::Event};
    /// use std::{rc::Rc, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let stop = Rc::new(Event::new());
    ///     let copy = stop.clone();
    ///     let worker = spawn(async move {
    ///         let mut rounds = 0;
    ///         while !copy.is_set() {
    ///             rounds += 1;
    ///             sleep(Duration::from_secs(1)).await; // is finished before it stops
    ///         }
    ///         rounds
    ///     });
    ///     sleep(Duration::from_millis(2500)).await;
    ///     stop.set();
    ///     assert_eq!(worker.await, Ok(3));
    /// });
    /// ```
    pub fn is_set(&self) -> bool {
        self.core.label.look();
        self.core.set.get()
    }

    /// Waits until the flag is set. Does not suspend if it is set.
    ///
    /// Cancel safety: nothing is lost.
    ///
    /// asyncio: `Event.wait()`.
    ///
    /// # Examples
    ///
    /// ```
    /// onelane::EventLoop::with_virtual_clock().run(async {
    ///     let event = onelane::sync::Event::new();
    ///     event.set();
    ///     event.wait().await;
    /// });
    /// ```
    #[track_caller]
    pub fn wait(&self) -> EventWait {
        EventWait { core: self.core.clone(), over: false, ticket: Ticket::here() }
    }
}

impl Default for Event {
    #[track_caller]
    fn default() -> Self {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.label.look();
        f.debug_struct("Event").field("set", &self.is_set()).field("waiters", &self.core.waiters.len()).finish()
    }
}

/// The future of [`Event::wait`].
///
/// # Examples
///
/// ```
/// use futures_util::FutureExt;
///
/// // It knows no loop: what is set is seen without one.
/// let event = onelane::sync::Event::new();
/// assert_eq!(event.wait().now_or_never(), None);
/// event.set();
/// assert_eq!(event.wait().now_or_never(), Some(()));
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct EventWait {
    core: Rc<Core>,
    over: bool,
    ticket: Ticket,
}

impl Future for EventWait {
    type Output = ();

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.core.label.touch();
        let this = &mut *self;
        if !this.over && this.ticket.enters(&*this.core) {
            if this.core.set.get() {
                this.over = true;
            } else {
                this.ticket.enter(&*this.core, 0);
            }
        }
        ready!(this.ticket.poll(&this.core, context));
        this.over = true;
        Poll::Ready(())
    }
}

#[cfg(feature = "stream")]
#[cfg_attr(docsrs, doc(cfg(feature = "stream")))]
impl futures_core::FusedFuture for EventWait {
    fn is_terminated(&self) -> bool {
        self.over
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        self.core.label.touch();
        self.ticket.leave(&*self.core);
    }
}

impl fmt::Debug for EventWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWait")
            .field("begun", &self.ticket.is_in_line(&*self.core))
            .field("over", &self.over)
            .finish()
    }
}
