//! One line per event.

use crate::kernel::observe::probe::{Event, Probe};
use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io;

/// Prints each event as a line: the time in seconds with nanoseconds, the kind, and the data as
/// `key=value`.
///
/// ```text
/// 0.000000000 spawn task=1 name="main-1" by=outside at=src/main.rs:4:5
/// 0.000000000 turn-begin
/// 0.000000000 step-begin task=1
/// 0.000000000 timer-arm timer=1 deadline=1.500000000 task=1
/// 0.000000000 wait-begin task=1 wait=1 what="a sleep" at=src/main.rs:5:24
/// 0.000000000 step-end task=1 ended=false
/// 0.000000000 turn-end
/// 0.000000000 park until=1.500000000
/// 1.500000000 unpark
/// 1.500000000 turn-begin
/// 1.500000000 timer-fire timer=1
/// 1.500000000 wake task=1 by=timer outcome=queued
/// ```
///
/// The words, the keys and their order are stable; new kinds, and new keys before `at`, may be
/// added. Texts are in quotes; characters that would break the line are escaped as in Rust. A key
/// without a value is left out: `task` in the `wake` of a task that has ended and in the
/// `timer-arm` of a callback, and `until` in a `park` without a pending timer. `by` is `task:` and
/// a number, `callback`, `timer`, `kernel` or `outside`.
///
/// # Cost
///
/// The cost of its writer. The printer calls `write` once per line. If that is slow, wrap the
/// writer in a [`BufWriter`](io::BufWriter).
///
/// # Examples
///
/// ```
/// use onelane::{Clock, EventLoop};
/// use onelane::probe::Printer;
///
/// let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(Printer::new(std::io::stdout())).build();
/// event_loop.run(async {});
/// ```
pub struct Printer {
    state: RefCell<State>,
    error: Cell<Option<io::Error>>,
}

struct State {
    tell: Box<Tell>,
    /// The buffer of the last line, reused for the next one.
    line: String,
}

/// Called with a line, including its end.
type Tell = dyn FnMut(&str) -> io::Result<()>;

impl Printer {
    /// Writes each line to `out`. After an error, nothing more is written; see
    /// [`take_error`](Self::take_error).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane::probe::Printer;
    /// use std::{fs::File, io::BufWriter};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// # let path = std::env::temp_dir().join(format!("onelane-printer-{}", std::process::id()));
    /// let file = BufWriter::new(File::create(&path)?);
    /// EventLoop::builder().probe(Printer::new(file)).build().run(async {});
    /// assert!(std::fs::read_to_string(&path)?.contains(" spawn task=1 "));
    /// # std::fs::remove_file(path)
    /// # }
    /// ```
    pub fn new(mut out: impl io::Write + 'static) -> Self {
        Self::telling(Box::new(move |line| out.write_all(line.as_bytes())))
    }

    /// Calls `tell` with each line, without its end.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane::probe::Printer;
    ///
    /// // The events are among the lines that the program logs.
    /// let printer = Printer::with(|line| println!("[loop] {line}"));
    /// EventLoop::builder().probe(printer).build().run(async {});
    /// ```
    pub fn with(mut tell: impl FnMut(&str) + 'static) -> Self {
        Self::telling(Box::new(move |line| {
            tell(line.trim_end());
            Ok(())
        }))
    }

    fn telling(tell: Box<Tell>) -> Self {
        Printer { state: RefCell::new(State { tell, line: String::new() }), error: Cell::new(None) }
    }

    /// Takes the error that has stopped the writing, if there was one. After that, writing begins
    /// again.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane::probe::Printer;
    /// use std::rc::Rc;
    ///
    /// let full: &mut [u8] = &mut [];
    /// let printer = Rc::new(Printer::new(full));
    /// EventLoop::builder().probe(printer.clone()).build().run(async {});
    /// assert_eq!(printer.take_error().unwrap().kind(), std::io::ErrorKind::WriteZero);
    /// ```
    pub fn take_error(&self) -> Option<io::Error> {
        self.error.take()
    }
}

impl Probe for Printer {
    fn event(&self, event: &Event<'_>) {
        let error = self.error.take();
        if error.is_some() {
            return self.error.set(error);
        }
        // The writer may run a turn of another loop that has the same printer.
        let Ok(mut state) = self.state.try_borrow_mut() else { return };
        let State { tell, line } = &mut *state;
        line.clear();
        // Writing into a string does not fail.
        let _ = writeln!(line, "{event}");
        self.error.set(tell(line).err());
    }
}

impl fmt::Debug for Printer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Printer").finish_non_exhaustive()
    }
}
