//! The probe that keeps the events of a run.
//!
//! If there are too many, the oldest are dropped. Their effect is kept: `base` is the state of the
//! loop before the first event that is left.

use crate::inspect::replay::data::World;
use crate::inspect::replay::state::State;
use crate::inspect::replay::{data, page, sources};
use crate::kernel::context;
use crate::kernel::observe::probe::{Event, EventKind, Probe};
use std::cell::{Ref, RefCell};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Records the events of a loop, for a page that replays them.
///
/// It is a [probe](crate::probe): give it to [`LoopBuilder::probe`](crate::LoopBuilder::probe), and keep a clone
/// of the `Rc`. The [module](super) shows this.
///
/// A recording is for one loop. It ignores the events of a second loop, and the page says so.
///
/// If it shares the loop with another probe, put it first into [`Tee`](crate::probe::Tee), and let the
/// other probe cause no events. No probe is notified of what a probe spawns, wakes or cancels, and of
/// what it puts into the ready queue. In the page, such a task or callback runs without having been
/// queued, a spawned task has no name, and a notice says at which event this was first seen.
///
/// # Cost
///
/// About 150 bytes per event that is kept, and the state of the loop twice: at the first of them and at
/// the last. The last 200,000 events are kept, or as many as [`limit`](Self::limit) says; the page says
/// how many are lost.
///
/// Each different name of a task and description of a wait is kept once, as long as an event or a living
/// task has it. It is cut to 2,000 bytes; and to 60, while all names and descriptions take more than
/// 16 MiB. The page says how many are cut. The page takes as much memory again while it is made.
///
/// In debug builds, the state that follows from the events is compared with the loop's own state at
/// the end of each turn, if the loop has no more than a few hundred tasks. They differ if another probe
/// has caused events; otherwise a difference is a fault of this crate. It is reported as a panic of the
/// probe.
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
    /// Whether the page may contain source files.
    pub(super) has_sources: bool,
    /// The heading of the page, if it is not the name of the program.
    title: Option<Rc<str>>,
    /// The texts of events, each once.
    texts: HashSet<Rc<str>>,
    /// If there are more texts, those that nothing has any more are removed.
    most_texts: usize,
    /// The bytes of all texts.
    bytes: usize,
    /// As `most_texts`, for the bytes.
    most_bytes: usize,
    /// Number of events whose text was cut.
    pub(super) cut: u64,
    /// The loop, from its first turn on.
    loop_id: Option<u64>,
    /// The last spawned task.
    last_task: u64,
    /// Whether the events are those of another loop.
    is_elsewhere: bool,
    /// Whether events of another loop were ignored.
    pub(super) has_ignored: bool,
}

pub(super) struct Recorded {
    pub(super) time: Duration,
    /// The event, without its text.
    pub(super) kind: EventKind<'static>,
    pub(super) text: Rc<str>,
}

const USUAL_LIMIT: usize = 200_000;

/// A text is cut to this many bytes; and to the smaller number, while all texts have more than `BYTES`.
const LONGEST: usize = 2_000;
const SHORT: usize = 60;
const BYTES: usize = 1 << 24;

impl Recording {
    /// Creates a recording without events.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(onelane::replay::Recording::new().is_empty());
    /// ```
    pub fn new() -> Self {
        sources::prepare();
        Recording {
            kept: RefCell::new(Kept {
                events: VecDeque::new(),
                base: State::new(),
                last: State::new(),
                lost: 0,
                limit: USUAL_LIMIT,
                has_sources: true,
                title: None,
                texts: HashSet::new(),
                most_texts: 1_000,
                bytes: 0,
                most_bytes: BYTES / 4,
                cut: 0,
                loop_id: None,
                last_task: 0,
                is_elsewhere: false,
                has_ignored: false,
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

    /// Sets the heading of the page. Without this, it is the name of the program's executable.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::replay::Recording;
    ///
    /// let recording = Recording::new().title("tea for two");
    /// assert!(recording.to_json().contains(r#""title":"tea for two""#));
    /// ```
    pub fn title(self, title: impl Into<Rc<str>>) -> Self {
        self.kept.borrow_mut().title = Some(title.into());
        self
    }

    /// Leaves the source files out of the page. It then shows only their names and the numbers of lines.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, replay::Recording};
    /// use std::rc::Rc;
    ///
    /// let recording = Rc::new(Recording::new().without_sources());
    /// EventLoop::builder().probe(recording.clone()).build().run(async {});
    /// assert!(recording.to_json().contains(r#""text":null"#));
    /// ```
    pub fn without_sources(self) -> Self {
        self.kept.borrow_mut().has_sources = false;
        self
    }

    /// Returns the page as a text.
    ///
    /// It contains each source file that an event names, as a whole file. Call
    /// [`without_sources`](Self::without_sources) to leave all of them out.
    ///
    /// A file is looked for in each folder above the program's executable, then in the folder that the
    /// environment variable `CARGO_MANIFEST_DIR` names, and in each folder above that one. A file is left
    /// out if it is newer than the executable, if it lacks a line that an event names, if it is larger
    /// than a megabyte, or if it is outside of the program's workspace. Of the name of a file outside of
    /// the workspace, only the last three parts are shown.
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
        data::json(&self.heading(), &[self.world()], 0, false)
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
        data::json(&self.heading(), &[self.world()], 0, true)
    }

    fn heading(&self) -> Rc<str> {
        self.kept.borrow().title.clone().unwrap_or_else(|| data::program().into())
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
        if self.kept.borrow_mut().is_foreign(&event.kind) {
            return;
        }
        self.kept.borrow_mut().record(event);
        #[cfg(debug_assertions)]
        if let EventKind::TurnEnd | EventKind::Park { .. } = event.kind {
            self.kept.borrow().last.compare();
        }
    }
}

impl Kept {
    /// Whether an event belongs to another loop than the first one. Each loop numbers its tasks from
    /// one, and a turn knows its loop.
    fn is_foreign(&mut self, kind: &EventKind<'_>) -> bool {
        match *kind {
            EventKind::Spawn { task, .. } if task.0 <= self.last_task => self.is_elsewhere = true,
            EventKind::TurnBegin => {
                if let Some(running) = context::running().map(|kernel| kernel.id()) {
                    self.is_elsewhere = *self.loop_id.get_or_insert(running) != running;
                }
            }
            _ => {}
        }
        if let (EventKind::Spawn { task, .. }, false) = (kind, self.is_elsewhere) {
            self.last_task = task.0;
        }
        self.has_ignored |= self.is_elsewhere;
        self.is_elsewhere
    }

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
        // Names of tasks differ, so texts that no kept event and no living task has are removed: each
        // time that their number or their size has doubled, so that this takes constant time per byte.
        if self.texts.len() > self.most_texts || self.bytes > self.most_bytes {
            self.texts.retain(|text| Rc::strong_count(text) > 1);
            self.bytes = self.texts.iter().map(|text| text.len()).sum();
            self.most_texts = self.texts.len().max(500).saturating_mul(2);
            self.most_bytes = self.bytes.max(BYTES / 8).saturating_mul(2);
        }
        let longest = if self.bytes > BYTES { SHORT } else { LONGEST };
        let text: Rc<str> = if text.len() <= longest {
            text.into()
        } else {
            self.cut += 1;
            let end = (0..=longest).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            format!("{}…", &text[..end]).into()
        };
        if self.texts.insert(text.clone()) {
            self.bytes += text.len();
        }
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
        let size = self.tasks.len() + self.timers.len() + self.ready.len();
        if size > MANY || self.tasks.values().map(|task| task.waits.len()).sum::<usize>() > MANY {
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

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

    /// Memory does not depend on the lengths of names. A cut name is still valid text.
    #[test]
    fn cut_long_texts() {
        let mut kept = Recording::new().limit(10).kept.into_inner();
        assert_eq!(&*kept.text(&"é".repeat(1_000)), "é".repeat(1_000));
        assert_eq!(kept.cut, 0);
        assert_eq!(&*kept.text(&("a".to_string() + &"é".repeat(5_000))), "a".to_string() + &"é".repeat(999) + "…");
        assert_eq!(kept.cut, 1);
        let living: Vec<_> = (0..20_000).map(|task| kept.text(&format!("{task:0>3000}"))).collect();
        // All bytes, as they are kept at last.
        let bytes: usize = kept.texts.iter().map(|text| text.len()).sum();
        assert!(bytes == kept.bytes && bytes < BYTES + LONGEST + 3, "{bytes}");
        assert_eq!(kept.cut, 1 + living.len() as u64);
    }

    /// Living tasks keep their names, so looking through all texts at each new one would be too often.
    #[test]
    fn look_through_texts_in_use_seldom() {
        let mut kept = Recording::new().limit(10).kept.into_inner();
        let living: Vec<_> = (0..5_000).map(|task| kept.text(&format!("task {task}"))).collect();
        assert_eq!(kept.texts.len(), living.len());
        assert!(kept.most_texts >= living.len() && kept.most_texts <= 2 * living.len(), "{}", kept.most_texts);
    }
}
