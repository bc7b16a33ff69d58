//! The last events, in memory that is allocated at the beginning.
//!
//! The records contain shortened texts. Names are kept separately, for living tasks and for tasks
//! of which an event is left. The event of the spawn, which has the name, may be overwritten
//! already.

use crate::inspect::probe::by_id::ById;
use crate::kernel::callbacks::exceptions::complain;
use crate::kernel::observe::probe::{Event, EventKind, Probe};
use std::cell::{Ref, RefCell};
use std::fmt;
use std::time::Duration;

/// Keeps the last events, and reports them when the program fails: on stderr, or to the function
/// that [`on_failure`](Self::on_failure) sets.
///
/// `Display` formats each event as a line, like [`Printer`](crate::probe::Printer), oldest first.
/// Before them is the number of lost events, and after them the names of their tasks. Names and
/// descriptions of waits are cut after 31 bytes.
///
/// # Cost
///
/// About 150 bytes per event that is kept, allocated at once, and nothing later. As many names as
/// events are kept; if there are more living tasks, the youngest are shown by their numbers.
///
/// # Examples
///
/// ```
/// use onelane::{Clock, EventLoop, RunError};
/// use onelane::probe::Ring;
/// use std::{cell::RefCell, future::pending, rc::Rc};
///
/// let told = Rc::new(RefCell::new(String::new()));
/// let copy = told.clone();
/// let ring = Ring::new(1000).on_failure(move |ring| *copy.borrow_mut() = ring.to_string());
/// let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(ring).build();
/// let result = event_loop.try_run(pending::<()>());
/// assert!(matches!(result, Err(RunError::Deadlock(_))));
/// println!("{}", told.borrow());
/// ```
pub struct Ring {
    state: RefCell<State>,
    tell: Box<dyn Fn(&Ring)>,
}

struct State {
    events: Vec<Kept>,
    /// Number of events, and of names, that are kept.
    most: usize,
    /// The index of the oldest event, when all places are used.
    oldest: usize,
    /// Number of events that were recorded, including overwritten ones.
    seen: u64,
    names: ById<Name>,
    /// Number of tasks that were spawned since names were last removed.
    spawned: usize,
}

struct Kept {
    time: Duration,
    /// The event without its text.
    kind: EventKind<'static>,
    text: Text,
}

struct Name {
    name: Text,
    /// The number of the event with which the task ended.
    ended: Option<u64>,
}

impl Ring {
    /// Creates a ring for the last `events` events, at least one.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::probe::{Event, EventKind, Probe, Ring};
    /// use std::time::Duration;
    ///
    /// let ring = Ring::new(2);
    /// for kind in [EventKind::TurnBegin, EventKind::TurnEnd, EventKind::Unpark] {
    ///     ring.event(&Event::new(Duration::ZERO, kind));
    /// }
    /// assert_eq!(ring.to_string(), "the last 2 events, 1 before them lost:\n0.000000000 turn-end\n0.000000000 unpark\n");
    /// ```
    pub fn new(events: usize) -> Self {
        let events = events.max(1);
        let state = State {
            events: Vec::with_capacity(events),
            most: events,
            oldest: 0,
            seen: 0,
            names: ById::with_capacity(events),
            spawned: 0,
        };
        Ring { state: RefCell::new(state), tell: Box::new(|ring| complain(ring)) }
    }

    /// Calls `tell` when the program fails: its main task panics, or nothing can continue. By
    /// default the events are printed on stderr.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::probe::{Event, EventKind, Failure, Probe, Ring};
    /// use std::{cell::Cell, rc::Rc, time::Duration};
    ///
    /// let kept = Rc::new(Cell::new(0));
    /// let copy = kept.clone();
    /// let ring = Ring::new(100).on_failure(move |ring| copy.set(ring.len()));
    /// ring.event(&Event::new(Duration::ZERO, EventKind::Fail { why: Failure::Panic }));
    /// assert_eq!(kept.get(), 1); // the failure itself
    /// ```
    pub fn on_failure(mut self, tell: impl Fn(&Ring) + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Returns the number of events in the ring.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::probe::Ring::new(100).len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.state.borrow().events.len()
    }

    /// Whether nothing was recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(onelane::probe::Ring::new(100).is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of events that were overwritten.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::probe::{Event, EventKind, Probe, Ring};
    /// use std::time::Duration;
    ///
    /// let ring = Ring::new(10);
    /// for timer in 0..25 {
    ///     ring.event(&Event::new(Duration::ZERO, EventKind::TimerFire { timer }));
    /// }
    /// assert_eq!((ring.len(), ring.overwritten()), (10, 15));
    /// ```
    pub fn overwritten(&self) -> u64 {
        self.state.borrow().overwritten()
    }
}

impl Probe for Ring {
    fn event(&self, event: &Event<'_>) {
        // The reader of the events may run a turn of another loop that has the same ring.
        if let Ok(mut state) = self.state.try_borrow_mut() {
            state.record(event);
        }
        if let EventKind::Fail { .. } = event.kind {
            (self.tell)(self);
        }
    }
}

impl State {
    fn record(&mut self, event: &Event<'_>) {
        let text = Text::of(event.kind.text());
        match event.kind {
            EventKind::Spawn { task, .. } => self.name(task.0, &text),
            EventKind::End { task, .. } => {
                if let Some(name) = self.names.get_mut(task.0) {
                    name.ended = Some(self.seen);
                }
            }
            _ => {}
        }
        let kept = Kept { time: event.time, kind: event.kind.with_text(""), text };
        self.seen += 1;
        if self.events.len() < self.most {
            return self.events.push(kept);
        }
        self.events[self.oldest] = kept;
        self.oldest = (self.oldest + 1) % self.most;
    }

    fn name(&mut self, task: u64, name: &Text) {
        self.spawned += 1;
        if self.names.len() >= self.most {
            // Searching all names for each task would take longer than everything else.
            if self.spawned <= self.most / 8 {
                return;
            }
            self.spawned = 0;
            // This event will overwrite the oldest one.
            let oldest = self.overwritten() + 1;
            self.names.retain(|name| name.ended.is_none_or(|ended| ended >= oldest));
            if self.names.len() >= self.most {
                return;
            }
        }
        self.names.entry(task, || Name { name: *name, ended: None });
    }

    fn overwritten(&self) -> u64 {
        self.seen - self.events.len() as u64
    }

    fn events(&self) -> impl Iterator<Item = &Kept> {
        let (later, earlier) = self.events.split_at(self.oldest);
        earlier.iter().chain(later)
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: Ref<'_, State> = self.state.borrow();
        writeln!(f, "the last {} events, {} before them lost:", state.events.len(), state.overwritten())?;
        let mut tasks = Vec::new();
        for Kept { time, kind, text } in state.events() {
            writeln!(f, "{}", Event::new(*time, kind.with_text(text.as_str())))?;
            tasks.extend(kind.task());
        }
        tasks.sort_unstable();
        tasks.dedup();
        for task in tasks {
            if let Some(name) = state.names.get(task.0) {
                writeln!(f, "task {task} is {:?}", name.name.as_str())?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("len", &self.len())
            .field("overwritten", &self.overwritten())
            .finish_non_exhaustive()
    }
}

/// A short text, cut if it is too long.
#[derive(Clone, Copy)]
struct Text {
    bytes: [u8; Self::LONGEST],
    len: u8,
}

impl Text {
    const LONGEST: usize = 31;
    const CUT: &str = "…";

    fn of(text: &str) -> Self {
        let mut bytes = [0; Self::LONGEST];
        if text.len() <= Self::LONGEST {
            bytes[..text.len()].copy_from_slice(text.as_bytes());
            return Text { bytes, len: text.len() as u8 };
        }
        let mut end = Self::LONGEST - Self::CUT.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let len = end + Self::CUT.len();
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        bytes[end..len].copy_from_slice(Self::CUT.as_bytes());
        Text { bytes, len: len as u8 }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or(Self::CUT)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Text;

    #[test]
    fn cut_texts_between_their_letters() {
        for (text, kept) in [
            ("", ""),
            ("0123456789012345678901234567890", "0123456789012345678901234567890"),
            ("01234567890123456789012345678901", "0123456789012345678901234567…"),
            ("0123456789012345678901234567ä890", "0123456789012345678901234567…"),
            ("012345678901234567890123456ä8901", "012345678901234567890123456…"),
        ] {
            assert_eq!(Text::of(text).as_str(), kept);
        }
    }
}
