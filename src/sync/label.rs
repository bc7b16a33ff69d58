//! What a primitive is called, for those who look at what waits: by its name, or by where it was made.
//!
//! Knows no primitive and no waiter. Next: `waiters.rs`.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

pub(super) struct Label {
    /// Taken out while it is looked at.
    name: Cell<Option<Rc<str>>>,
    made_at: &'static Location<'static>,
}

impl Label {
    /// Of a primitive that is made where the caller was called, and has no name.
    #[track_caller]
    pub(super) fn here() -> Self {
        Label { name: Cell::new(None), made_at: Location::caller() }
    }

    pub(super) fn set_name(&self, name: Rc<str>) {
        self.name.set(Some(name));
    }

    /// `lock "db"`, or `a lock (made at src/main.rs:3:14)`. `what` is said with its article.
    pub(super) fn write(&self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_with(what, None, f)
    }

    /// The same with its state: `queue "jobs" (3 of 3 taken)`, or `a queue (made at src/main.rs:3:14, 3 of 3 taken)`.
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
