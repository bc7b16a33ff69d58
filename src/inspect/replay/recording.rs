//! The probe that keeps the events of a run.
//!
//! If there are too many, the oldest are dropped. Their effect is kept: `base` is the state of the
//! loop before the first event that is left.

use crate::inspect::replay::data::World;
use crate::inspect::replay::state::State;
use crate::inspect::replay::{data, page};
use crate::kernel::callbacks::exceptions::complain;
#[cfg(debug_assertions)]
use crate::kernel::context;
use crate::kernel::observe::probe::{Event, EventKind, Probe};
use std::cell::{Ref, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Records the events of a loop, for a page that replays them.
///
/// It is a [probe](crate::probe): give it to [`LoopBuilder::probe`](crate::LoopBuilder::probe), and keep a clone
/// of the `Rc`. The [module](super) shows this.
///
/// # Cost
///
/// About 150 bytes per event that is kept. The last 200,000 events are kept, or as many as
/// [`limit`](Self::limit) says; the page says how many are lost.
///
/// In debug builds, the state that follows from the events is compared with the loop's own state at
/// the end of each turn, if the loop has no more than a few hundred tasks. A difference would be a
/// fault of this crate; it is reported as a panic of the probe.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, replay::Recording};
/// use std::rc::Rc;
///
/// let recording = Rc::new(Recording::new());
/// EventLoop::builder().probe(recording.clone()).build().run(async {});
/// assert!(recording.len() > 4);
/// assert_eq!(recording.lost(), 0);
/// ```
pub struct Recording {
    kept: RefCell<Kept>,
}

pub(super) struct Kept {
    pub(super) events: VecDeque<Recorded>,
    /// The state before the first event.
    pub(super) base: State,
    /// The state after the last event.
    pub(super) last: State,
    /// Number of events that were dropped.
    pub(super) lost: u64,
    limit: usize,
    /// The texts of events, each once.
    texts: HashSet<Rc<str>>,
}

pub(super) struct Recorded {
    pub(super) time: Duration,
    /// The event, without its text.
    pub(super) kind: EventKind<'static>,
    pub(super) text: Rc<str>,
}

const USUAL_LIMIT: usize = 200_000;

impl Recording {
    /// Creates a recording without events.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(onelane::replay::Recording::new().is_empty());
    /// ```
    pub fn new() -> Self {
        Recording {
            kept: RefCell::new(Kept {
                events: VecDeque::new(),
                base: State::new(),
                last: State::new(),
                lost: 0,
                limit: USUAL_LIMIT,
                texts: HashSet::new(),
            }),
        }
    }

    /// Keeps the last `events` events, at least one.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, replay::Recording};
    /// use std::rc::Rc;
    ///
    /// let recording = Rc::new(Recording::new().limit(3));
    /// EventLoop::builder().probe(recording.clone()).build().run(async {});
    /// assert_eq!(recording.len(), 3);
    /// assert!(recording.lost() > 0);
    /// ```
    pub fn limit(self, events: usize) -> Self {
        self.kept.borrow_mut().limit = events.max(1);
        self
    }

    /// Returns the number of events that are kept.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::replay::Recording::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.kept.borrow().events.len()
    }

    /// Whether nothing was recorded.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(onelane::replay::Recording::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of events that were dropped because there were too many.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(onelane::replay::Recording::new().lost(), 0);
    /// ```
    pub fn lost(&self) -> u64 {
        self.kept.borrow().lost
    }

    /// Returns the page as a text. It contains the source files that the events name, if they are found
    /// from the current folder or from the folder of the package, and are no larger than a megabyte.
    ///
    /// # Examples
    ///
    /// ```
    /// let page = onelane::replay::Recording::new().to_html();
    /// assert!(page.contains("</html>"));
    /// ```
    pub fn to_html(&self) -> String {
        page::page(&self.to_json())
    }

    /// Returns the events and the state before the first one, as JSON: the data of the page. The format
    /// may change in any release.
    ///
    /// # Examples
    ///
    /// ```
    /// let json = onelane::replay::Recording::new().to_json();
    /// assert!(json.starts_with(r#"{"format":"onelane-replay/1""#));
    /// ```
    pub fn to_json(&self) -> String {
        data::json(&[self.world()], 0, false)
    }

    /// Like [`to_json`](Self::to_json), with a hash of the loop's state after each event. The page
    /// computes the same states, and compares them with the hashes.
    ///
    /// # Cost
    ///
    /// For each event, time in proportion to the number of tasks and timers.
    ///
    /// # Examples
    ///
    /// ```
    /// let json = onelane::replay::Recording::new().to_checked_json();
    /// assert!(json.contains(r#""hashes":[]"#));
    /// ```
    pub fn to_checked_json(&self) -> String {
        data::json(&[self.world()], 0, true)
    }

    fn world(&self) -> World<'_> {
        World { schedule: "", fault: None, recording: self }
    }

    pub(super) fn kept(&self) -> Ref<'_, Kept> {
        self.kept.borrow()
    }

    /// Like [`to_html`](Self::to_html), with the hashes of [`to_checked_json`](Self::to_checked_json).
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(onelane::replay::Recording::new().to_checked_html().contains("\"hashes\":[]"));
    /// ```
    pub fn to_checked_html(&self) -> String {
        page::page(&self.to_checked_json())
    }
}

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl Probe for Recording {
    fn event(&self, event: &Event<'_>) {
        // A wait's description, which ran before, is the only user code. So nothing is borrowed here.
        self.kept.borrow_mut().record(event);
        #[cfg(debug_assertions)]
        if let EventKind::TurnEnd | EventKind::Park { .. } = event.kind {
            self.kept.borrow().last.compare();
        }
    }
}

impl Kept {
    fn record(&mut self, event: &Event<'_>) {
        let text = self.text(event.kind.text());
        let kind = event.kind.with_text("");
        self.last.apply(event.time, &kind, &text);
        if self.events.len() == self.limit {
            if let Some(Recorded { time, kind, text }) = self.events.pop_front() {
                self.base.apply(time, &kind, &text);
                self.lost += 1;
            }
        }
        self.events.push_back(Recorded { time: event.time, kind, text });
    }

    fn text(&mut self, text: &str) -> Rc<str> {
        if let Some(text) = self.texts.get(text) {
            return text.clone();
        }
        // Names of tasks differ, so texts that no kept event has are removed now and then.
        if self.texts.len() > self.limit.max(500).saturating_mul(2) {
            self.texts.retain(|text| Rc::strong_count(text) > 1);
        }
        let text: Rc<str> = text.into();
        self.texts.insert(text.clone());
        text
    }
}

#[cfg(debug_assertions)]
impl State {
    /// Compares this state with that of the running loop.
    fn compare(&self) {
        /// Comparing takes time in proportion to all of these.
        const MANY: usize = 300;
        let Some(kernel) = context::running() else { return };
        if self.tasks.len() + self.timers.len() + self.ready.len() > MANY {
            return;
        }
        let its = kernel.what_a_replay_shows();
        let ready: Vec<_> = self.ready.iter().map(|entry| entry.task).collect();
        assert_eq!(ready, its.ready, "the ready queue");
        let tasks: Vec<_> = self
            .tasks
            .iter()
            .map(|(&id, task)| (id, task.row, task.generation, task.waits.keys().copied().collect()))
            .collect();
        assert_eq!(tasks, its.tasks, "the tasks");
        let timers: Vec<_> = self.timers.iter().map(|(&id, timer)| (id, timer.deadline)).collect();
        assert_eq!(timers, its.timers, "the timers");
        assert_eq!(self.wheel, its.wheel, "the wheel's time");
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("len", &self.len()).field("lost", &self.lost()).finish_non_exhaustive()
    }
}

/// A recording that writes its page when it is dropped, with its loop.
pub(crate) struct WrittenAtTheEnd {
    recording: Recording,
    path: PathBuf,
}

impl WrittenAtTheEnd {
    pub(crate) fn to(path: PathBuf) -> Self {
        WrittenAtTheEnd { recording: Recording::new(), path }
    }
}

impl Probe for WrittenAtTheEnd {
    fn event(&self, event: &Event<'_>) {
        self.recording.event(event);
    }
}

impl Drop for WrittenAtTheEnd {
    fn drop(&mut self) {
        if let Err(error) = std::fs::write(&self.path, self.recording.to_html()) {
            complain(&format_args!("the replay was not written to {}: {error}", self.path.display()));
        }
    }
}

/// The value of `ONELANE_REPLAY`, with the number of the loop if it is not the first.
pub(crate) fn path_of_next_loop() -> Option<PathBuf> {
    static LOOPS: AtomicUsize = AtomicUsize::new(0);
    let path = PathBuf::from(std::env::var_os("ONELANE_REPLAY").filter(|path| !path.is_empty())?);
    Some(numbered(&path, LOOPS.fetch_add(1, Ordering::Relaxed) + 1))
}

/// `run.html`, `run-2.html`, `run-3.html`.
fn numbered(path: &Path, nth: usize) -> PathBuf {
    if nth == 1 {
        return path.to_path_buf();
    }
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{nth}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn number_the_pages_of_a_program() {
        let name = |path: &str, nth| numbered(Path::new(path), nth).display().to_string();
        assert_eq!(name("a/run.html", 1), "a/run.html");
        assert_eq!(name("a/run.html", 2), "a/run-2.html");
        assert_eq!(name("run", 3), "run-3");
    }

    /// Texts that only dropped events had are not kept.
    #[test]
    fn forget_the_texts_of_lost_events() {
        let recording = Recording::new().limit(10);
        for wait in 0..5_000 {
            let mut kept = recording.kept.borrow_mut();
            let text = kept.text(&format!("wait {wait}"));
            drop(text);
        }
        assert!(recording.kept.borrow().texts.len() <= 1_001);
    }
}
