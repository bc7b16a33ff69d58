//! The name of a primitive for reports: its own name, or where it was created.
//!
//! This file knows no primitives and no waiters. Next: `waiters.rs`.

use crate::kernel::explore::Known;
use alloc::rc::Rc;
use core::cell::Cell;
use core::fmt;
use core::panic::Location;

pub(super) struct Label {
    /// Taken out while it is read.
    name: Cell<Option<Rc<str>>>,
    made_at: &'static Location<'static>,
    /// For an exploration that asks what a step touches.
    known: Known,
}

impl Label {
    /// For a primitive without a name, created at the caller's location.
    #[track_caller]
    pub(super) fn here() -> Self {
        Label { name: Cell::new(None), made_at: Location::caller(), known: Known::new() }
    }

    /// The running step uses the primitive.
    #[inline(always)]
    pub(super) fn touch(&self) {
        self.known.writes();
    }

    /// The running step looks at the primitive.
    #[inline(always)]
    pub(super) fn look(&self) {
        self.known.reads();
    }

    pub(super) fn set_name(&self, name: Rc<str>) {
        self.name.set(Some(name));
    }

    /// `lock "db"`, or `a lock (made at src/main.rs:3:14)`. `what` includes the article.
    pub(super) fn write(&self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_with(what, None, f)
    }

    /// The same with a state: `queue "jobs" (3 of 3 taken)`, or
    /// `a queue (made at src/main.rs:3:14, 3 of 3 taken)`.
    pub(super) fn write_with(
        &self,
        what: &str,
        state: Option<fmt::Arguments<'_>>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let name = self.name.take();
        self.name.set(name.clone());
        match (name, state) {
            (None, None) => write!(f, "{what} (made at {})", self.made_at),
            (None, Some(state)) => write!(f, "{what} (made at {}, {state})", self.made_at),
            (Some(name), state) => {
                let bare = what.split_once(' ').map_or(what, |(_article, bare)| bare);
                write!(f, "{bare} {name:?}")?;
                state.map_or(Ok(()), |state| write!(f, " ({state})"))
            }
        }
    }
}
