//! What is known of one loop: its tasks, what they wait for, and each wait.
//!
//! ```text
//!   the loop's thread                                the server's thread
//!   Probe::event -- lock --> Table  <-- lock, copy what has changed --  publish, once a second
//! ```
//!
//! The probe changes the table in each event. While clients are connected, the table also lists
//! what has changed since the server copied it last, and keeps what has ended until then. Otherwise
//! what ends is removed at once. So the size of the table is limited by what lives.
//!
//! This file does not know how anything is sent. Next: `wire.rs`.

use crate::histogram::Histogram;
use crate::words::{Theme, Words};
use onelane::TaskId;
use onelane::probe::{Ending, EventKind, Source, WaitTarget, WakeOutcome};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::panic::Location;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Number of things of each kind that begin and end between two updates, and are still sent.
/// Further ones are counted as dropped.
const MAX_BRIEF: usize = 10_000;
/// How long a primitive stays in the list when no task waits for it, and how many such primitives
/// stay. The loop does not report when a primitive is dropped.
const LINGER: Duration = Duration::from_secs(5);
const MAX_UNUSED: usize = 1_000;

/// Mixes the numbers in a key. They come from the loop and not from other people, so a simple hash
/// is enough.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type HashMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Mix>>;

/// A thing in the table: what never changes, what changes, and what the server knows of it.
#[derive(Debug)]
pub(crate) struct Entry<I, S> {
    pub(crate) info: Arc<I>,
    pub(crate) stats: S,
    /// It is in the list of changes.
    has_changed: bool,
    /// It was copied to the server.
    is_known: bool,
    /// What never changes has changed: a task was renamed. The next copy counts as new.
    is_other: bool,
}

/// A copy of a thing for the server.
#[derive(Debug)]
pub(crate) struct Row<I, S> {
    /// Unique in its loop, among things of its kind.
    pub(crate) number: u64,
    pub(crate) info: Arc<I>,
    /// It is not in an earlier copy.
    pub(crate) is_new: bool,
    pub(crate) stats: S,
}

#[derive(Clone, Debug)]
pub(crate) struct TaskInfo {
    /// The number in its id.
    pub(crate) number: u64,
    pub(crate) name: String,
    pub(crate) spawned_at: &'static Location<'static>,
    /// The task that has spawned it.
    pub(crate) parent: Option<u64>,
    pub(crate) spawned_by: Source,
    /// The name of the loop's thread.
    pub(crate) thread: Option<Arc<str>>,
    pub(crate) created: Instant,
}

/// What changes while a task lives.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct TaskStats {
    pub(crate) dropped: Option<Instant>,
    pub(crate) wakes: u64,
    pub(crate) self_wakes: u64,
    /// Waits that have begun, and wakers that were seen outside of onelane's futures; and how many
    /// of both have ended.
    pub(crate) waker_clones: u64,
    pub(crate) waker_drops: u64,
    pub(crate) last_wake: Option<Instant>,
    pub(crate) polls: Polls,
    pub(crate) scheduled: Duration,
}

/// The steps of a task, or of a task during a wait.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Polls {
    pub(crate) count: u64,
    pub(crate) first: Option<Instant>,
    pub(crate) last_begun: Option<Instant>,
    pub(crate) last_ended: Option<Instant>,
    pub(crate) busy: Duration,
}

/// What a task may wait for.
#[derive(Debug)]
pub(crate) struct ResourceInfo {
    pub(crate) theme: Theme,
    pub(crate) concrete_type: &'static str,
    pub(crate) name: Option<String>,
    /// Where it was created, if that is known. Otherwise where a task has waited for it first.
    pub(crate) made_at: Option<console_api::Location>,
    pub(crate) at: Option<&'static Location<'static>>,
    pub(crate) created: Instant,
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct ResourceStats {
    pub(crate) dropped: Option<Instant>,
    /// Number of waits that are open.
    pub(crate) waiting: u64,
    /// Of a timer: its deadline, since the loop was created, and how long that was ahead.
    pub(crate) timer: Option<(Duration, Duration)>,
    /// Of the loop.
    pub(crate) counts: Option<Counts>,
    /// Of a task that is awaited.
    pub(crate) task: Option<u64>,
}

/// What the loop has done. The same counts as in `onelane::Metrics`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) turns: u64,
    pub(crate) callbacks: u64,
    pub(crate) parks: u64,
    pub(crate) spawned: u64,
    pub(crate) finished: u64,
    pub(crate) cancelled: u64,
    pub(crate) panicked: u64,
    pub(crate) wakes_late: u64,
    pub(crate) timers_pending: u64,
}

impl ResourceInfo {
    /// A task that is awaited.
    fn of_task(now: Instant, at: &'static Location<'static>) -> Self {
        let (theme, concrete_type) = (Theme::Task, "Task");
        ResourceInfo { theme, concrete_type, name: None, made_at: None, at: Some(at), created: now }
    }

    fn is_described_by(&self, what: &str) -> bool {
        let words = Words::of(what);
        (self.concrete_type, &self.name, &self.made_at) == (words.concrete_type, &words.name, &words.made_at)
    }
}

impl Counts {
    /// Each count with the name that the console shows. The names are those of `onelane::Metrics`.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("turns", self.turns),
            ("callbacks", self.callbacks),
            ("parks", self.parks),
            ("spawned", self.spawned),
            ("finished", self.finished),
            ("cancelled", self.cancelled),
            ("panicked", self.panicked),
            ("wakes_late", self.wakes_late),
            ("timers_pending", self.timers_pending),
        ]
        .into_iter()
    }
}

/// A wait of a task.
#[derive(Debug)]
pub(crate) struct WaitInfo {
    pub(crate) resource: u64,
    pub(crate) task: u64,
    /// In words, with what was known when the wait began: `a lock, held by "x"`.
    pub(crate) what: Box<str>,
    /// The source location of the await.
    pub(crate) at: &'static Location<'static>,
    pub(crate) created: Instant,
}

#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct WaitStats {
    pub(crate) dropped: Option<Instant>,
    pub(crate) polls: Polls,
}

/// What only the table knows of a task.
#[derive(Debug)]
struct Task {
    entry: Entry<TaskInfo, TaskStats>,
    /// Since when it is in the ready queue.
    queued: Option<Instant>,
    is_running: bool,
    /// The numbers of its open waits.
    waits: Vec<u64>,
    /// Number of its wakers outside of onelane's futures, when they were last counted, or 1 if it
    /// waits for something that onelane does not know.
    outside: u64,
    poll_times: Histogram,
    scheduled_times: Histogram,
}

/// What a resource is for, as an identity.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    Timer(u64),
    Object(usize),
    Task(TaskId),
    Elsewhere,
}

#[derive(Debug)]
struct Resource {
    entry: Entry<ResourceInfo, ResourceStats>,
    key: Option<Key>,
    /// Since when no task waits for it.
    unused: Option<Instant>,
}

/// What has changed in a loop.
#[derive(Default, Debug)]
pub(crate) struct Changes {
    pub(crate) tasks: Vec<Row<TaskInfo, TaskStats>>,
    pub(crate) resources: Vec<Row<ResourceInfo, ResourceStats>>,
    pub(crate) waits: Vec<Row<WaitInfo, WaitStats>>,
    pub(crate) dropped: [u64; 3],
    /// The name of the loop's thread.
    pub(crate) thread: Option<Arc<str>>,
    /// The loop was dropped; this is the last copy.
    pub(crate) is_last: bool,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// The name of the loop's thread. `None` before the first event.
    thread: Option<Arc<str>>,
    /// Clients are connected.
    is_watched: bool,
    is_closed: bool,
    tasks: HashMap<TaskId, Task>,
    resources: HashMap<u64, Resource>,
    keys: HashMap<Key, u64>,
    waits: HashMap<u64, Entry<WaitInfo, WaitStats>>,
    /// The open waits: onelane's number, and the task and our number.
    open: HashMap<u64, (TaskId, u64)>,
    last_number: u64,
    counts: Counts,
    changed_tasks: Vec<TaskId>,
    changed_resources: Vec<u64>,
    changed_waits: Vec<u64>,
    /// Number of entries that have begun and ended since the last copy.
    brief: [usize; 3],
    dropped: [u64; 3],
    /// Resources that no task waits for.
    unused: HashSet<u64>,
}

/// The number of the loop among its own resources.
pub(crate) const LOOP: u64 = 1;
const TASK: usize = 0;
const RESOURCE: usize = 1;
const WAIT: usize = 2;

impl<I, S: Copy> Entry<I, S> {
    fn new(info: I, stats: S) -> Self {
        Entry { info: Arc::new(info), stats, has_changed: false, is_known: false, is_other: false }
    }

    /// Notes a change. Returns whether the entry must be added to the list of changes.
    fn change(&mut self, is_watched: bool) -> bool {
        is_watched && !std::mem::replace(&mut self.has_changed, true)
    }

    fn row(&mut self, number: u64) -> Row<I, S> {
        self.has_changed = false;
        let is_known = std::mem::replace(&mut self.is_known, true);
        let is_other = std::mem::take(&mut self.is_other);
        Row { number, info: self.info.clone(), is_new: !is_known || is_other, stats: self.stats }
    }

    /// A copy for a client that knows nothing.
    fn full_row(&self, number: u64) -> Row<I, S> {
        Row { number, info: self.info.clone(), is_new: true, stats: self.stats }
    }
}

impl Polls {
    fn begin(&mut self, now: Instant) {
        self.count += 1;
        self.first.get_or_insert(now);
        self.last_begun = Some(now);
    }

    /// Returns how long the step took.
    fn end(&mut self, now: Instant) -> Duration {
        let took = self.last_begun.map_or(Duration::ZERO, |begun| now.saturating_duration_since(begun));
        self.busy += took;
        self.last_ended = Some(now);
        took
    }
}

impl Table {
    pub(crate) fn new(at: &'static Location<'static>) -> Self {
        let info = ResourceInfo {
            theme: Theme::Loop,
            concrete_type: "EventLoop",
            name: None,
            made_at: None,
            at: Some(at),
            created: Instant::now(),
        };
        let stats = ResourceStats { counts: Some(Counts::default()), ..ResourceStats::default() };
        let own = Resource { entry: Entry::new(info, stats), key: None, unused: None };
        Table {
            thread: None,
            is_watched: false,
            is_closed: false,
            tasks: HashMap::default(),
            resources: HashMap::from_iter([(LOOP, own)]),
            keys: HashMap::default(),
            waits: HashMap::default(),
            open: HashMap::default(),
            last_number: LOOP,
            counts: Counts::default(),
            changed_tasks: Vec::new(),
            changed_resources: Vec::new(),
            changed_waits: Vec::new(),
            brief: [0; 3],
            dropped: [0; 3],
            unused: HashSet::new(),
        }
    }

    // ---- the loop's side ----

    /// An event of the loop, which happened `now`, or at `time` on the loop's own clock.
    pub(crate) fn event(&mut self, now: Instant, time: Duration, kind: &EventKind<'_>) {
        if self.thread.is_none() {
            self.thread = Some(std::thread::current().name().unwrap_or("unnamed").into());
        }
        match *kind {
            EventKind::TurnBegin => self.counts.turns += 1,
            EventKind::CallBegin => self.counts.callbacks += 1,
            EventKind::Park { .. } => self.counts.parks += 1,
            EventKind::Spawn { task, name, at, by, .. } => self.spawn(now, task, name, at, by),
            EventKind::Wake { task: Some(task), by, outcome } => self.wake(now, task, by, outcome),
            EventKind::Wake { task: None, .. } => self.counts.wakes_late += 1,
            EventKind::StepBegin { task } => self.begin_step(now, task),
            EventKind::StepEnd { task, ended } => self.end_step(now, task, ended),
            EventKind::WaitBegin { task, wait, what, on, at } => {
                let key = match on {
                    WaitTarget::Timer => Key::Timer(wait),
                    WaitTarget::Object(number) => Key::Object(number),
                    WaitTarget::Task(task) => Key::Task(task),
                    _ => Key::Elsewhere,
                };
                self.begin_wait(now, task, wait, what, key, at);
            }
            EventKind::WaitEnd { wait, .. } => self.end_wait(now, wait),
            EventKind::TimerArm { timer, deadline, task } => {
                self.counts.timers_pending += 1;
                let concrete_type = if task.is_some() { "Sleep" } else { "Timer" };
                let info = ResourceInfo {
                    theme: Theme::Timer,
                    concrete_type,
                    name: None,
                    made_at: None,
                    at: None,
                    created: now,
                };
                let ahead = deadline.saturating_sub(time);
                let stats = ResourceStats { timer: Some((deadline, ahead)), ..ResourceStats::default() };
                self.add_resource(info, stats, Key::Timer(timer));
            }
            EventKind::TimerFire { timer } | EventKind::TimerCancel { timer } => {
                self.counts.timers_pending = self.counts.timers_pending.saturating_sub(1);
                if let Some(number) = self.keys.get(&Key::Timer(timer)).copied() {
                    self.end_resource(now, number);
                }
            }
            EventKind::End { task, ending } => {
                match ending {
                    Ending::Value => self.counts.finished += 1,
                    Ending::Cancelled => self.counts.cancelled += 1,
                    _ => self.counts.panicked += 1,
                }
                self.end_task(now, task);
            }
            _ => {}
        }
    }

    fn spawn(&mut self, now: Instant, task: TaskId, name: &str, at: &'static Location<'static>, by: Source) {
        self.counts.spawned += 1;
        let parent = match by {
            Source::Task(parent) => self.tasks.get(&parent).map(|parent| parent.entry.info.number),
            _ => None,
        };
        let info = TaskInfo {
            number: number_of(task),
            name: name.into(),
            spawned_at: at,
            parent,
            spawned_by: by,
            thread: self.thread.clone(),
            created: now,
        };
        // It is in the ready queue, so it counts as woken. Otherwise the console would call it
        // idle.
        let stats = TaskStats { last_wake: Some(now), ..TaskStats::default() };
        let task_of = Task {
            entry: Entry::new(info, stats),
            queued: Some(now),
            is_running: false,
            waits: Vec::new(),
            outside: 0,
            poll_times: Histogram::default(),
            scheduled_times: Histogram::default(),
        };
        self.tasks.insert(task, task_of);
        self.changed_task(task);
    }

    fn changed_task(&mut self, id: TaskId) -> Option<&mut Task> {
        let task = self.tasks.get_mut(&id)?;
        if task.entry.change(self.is_watched) {
            self.changed_tasks.push(id);
        }
        Some(task)
    }

    fn changed_resource(&mut self, number: u64) -> Option<&mut Resource> {
        let resource = self.resources.get_mut(&number)?;
        if resource.entry.change(self.is_watched) {
            self.changed_resources.push(number);
        }
        Some(resource)
    }

    fn changed_wait(&mut self, number: u64) -> Option<&mut Entry<WaitInfo, WaitStats>> {
        let wait = self.waits.get_mut(&number)?;
        if wait.change(self.is_watched) {
            self.changed_waits.push(number);
        }
        Some(wait)
    }

    fn wake(&mut self, now: Instant, id: TaskId, by: Source, outcome: WakeOutcome) {
        let Some(task) = self.changed_task(id) else { return };
        let stats = &mut task.entry.stats;
        stats.wakes += 1;
        stats.self_wakes += u64::from(by == Source::Task(id));
        if outcome == WakeOutcome::Queued {
            stats.last_wake = Some(now);
            task.queued = Some(now);
        }
    }

    fn begin_step(&mut self, now: Instant, id: TaskId) {
        let Some(task) = self.changed_task(id) else { return };
        task.is_running = true;
        if let Some(queued) = task.queued.take() {
            let waited = now.saturating_duration_since(queued);
            task.entry.stats.scheduled += waited;
            task.scheduled_times.record(waited);
        }
        if task.entry.stats.wakes == 0 {
            // The spawn was no wake.
            task.entry.stats.last_wake = None;
        }
        task.entry.stats.polls.begin(now);
        for wait in task.waits.clone() {
            if let Some(wait) = self.changed_wait(wait) {
                wait.stats.polls.begin(now);
            }
        }
    }

    fn end_step(&mut self, now: Instant, id: TaskId, ended: bool) {
        let Some(task) = self.changed_task(id) else { return };
        task.is_running = false;
        let took = task.entry.stats.polls.end(now);
        task.poll_times.record(took);
        if ended {
            return self.remove_task(id);
        }
        if let Some(queued) = &mut task.queued {
            // It was woken in this step, and is queued now.
            *queued = now;
        } else if task.waits.is_empty() && task.outside == 0 {
            // Somebody must have its waker. `look_at` finds out.
            task.outside = 1;
            task.entry.stats.waker_clones += 1;
        }
        for wait in task.waits.clone() {
            if let Some(wait) = self.changed_wait(wait) {
                wait.stats.polls.last_ended = Some(now);
            }
        }
    }

    fn end_task(&mut self, now: Instant, id: TaskId) {
        let Some(task) = self.changed_task(id) else { return };
        task.entry.stats.dropped = Some(now);
        // Its wakers are of no use any more.
        task.entry.stats.waker_drops = task.entry.stats.waker_clones;
        for wait in std::mem::take(&mut task.waits) {
            self.open.retain(|_, &mut (_, number)| number != wait);
            self.end_wait_entry(now, wait);
        }
        if self.tasks.get(&id).is_some_and(|task| !task.is_running) {
            self.remove_task(id);
        }
        if let Some(&resource) = self.keys.get(&Key::Task(id)) {
            self.end_resource(now, resource);
        }
    }

    /// Removes a task that has ended, now or after the next copy.
    fn remove_task(&mut self, id: TaskId) {
        let is_known = self.tasks.get(&id).is_some_and(|task| task.entry.is_known);
        if !self.stays(TASK, is_known) {
            self.tasks.remove(&id);
        }
    }

    /// Whether an entry that has ended must stay until the next copy.
    fn stays(&mut self, kind: usize, is_known: bool) -> bool {
        if !self.is_watched || is_known {
            return self.is_watched;
        }
        let may_stay = self.brief[kind] < MAX_BRIEF;
        if may_stay {
            self.brief[kind] += 1;
        } else {
            self.dropped[kind] += 1;
        }
        may_stay
    }

    fn begin_wait(
        &mut self,
        now: Instant,
        id: TaskId,
        wait: u64,
        what: &str,
        key: Key,
        at: &'static Location<'static>,
    ) {
        let resource = self.resource_of(now, key, what, at);
        self.last_number += 1;
        let number = self.last_number;
        let Some(task) = self.changed_task(id) else { return };
        task.entry.stats.waker_clones += 1;
        task.waits.push(number);
        let info = WaitInfo { resource, task: task.entry.info.number, what: what.into(), at, created: now };
        let mut stats = WaitStats::default();
        stats.polls.begin(now);
        self.waits.insert(number, Entry::new(info, stats));
        self.open.insert(wait, (id, number));
        self.changed_wait(number);
        if let Some(resource) = self.changed_resource(resource) {
            resource.entry.stats.waiting += 1;
            resource.unused = None;
        }
    }

    fn end_wait(&mut self, now: Instant, wait: u64) {
        let Some((id, number)) = self.open.remove(&wait) else { return };
        if let Some(task) = self.changed_task(id) {
            task.entry.stats.waker_drops += 1;
            task.waits.retain(|&other| other != number);
        }
        self.end_wait_entry(now, number);
    }

    fn end_wait_entry(&mut self, now: Instant, number: u64) {
        let Some(wait) = self.changed_wait(number) else { return };
        wait.stats.dropped = Some(now);
        wait.stats.polls.last_ended = Some(now);
        let (resource, is_known) = (wait.info.resource, wait.is_known);
        if !self.stays(WAIT, is_known) {
            self.waits.remove(&number);
        }
        let Some(resource_of) = self.changed_resource(resource) else { return };
        resource_of.entry.stats.waiting -= 1;
        // The loop reports the ends of timers and tasks.
        let has_no_end = matches!(resource_of.key, Some(Key::Object(_) | Key::Elsewhere));
        if resource_of.entry.stats.waiting == 0 && has_no_end {
            resource_of.unused = Some(now);
            if self.is_watched && self.unused.len() < MAX_UNUSED {
                self.unused.insert(resource);
            } else {
                self.end_resource(now, resource);
            }
        }
    }

    /// The number of the resource with this key. It is created if it is missing.
    fn resource_of(&mut self, now: Instant, key: Key, what: &str, at: &'static Location<'static>) -> u64 {
        if let Some(&number) = self.keys.get(&key)
            && let Some(resource) = self.resources.get_mut(&number)
        {
            match key {
                Key::Timer(_) => {
                    // The loop has set the timer before the wait began.
                    if let Some(info) = Arc::get_mut(&mut resource.entry.info) {
                        info.at = Some(at);
                    }
                    return number;
                }
                Key::Object(_) if !resource.entry.info.is_described_by(what) => {
                    // Another object has got the memory of one that was dropped.
                    self.end_resource(now, number);
                }
                _ => return number,
            }
        }
        let (mut info, mut stats) = (ResourceInfo::of_task(now, at), ResourceStats::default());
        match key {
            Key::Task(task) => stats.task = Some(number_of(task)),
            _ => {
                let words = Words::of(what);
                (info.theme, info.concrete_type) = (words.theme, words.concrete_type);
                (info.name, info.made_at) = (words.name, words.made_at);
            }
        }
        self.add_resource(info, stats, key)
    }

    fn add_resource(&mut self, info: ResourceInfo, stats: ResourceStats, key: Key) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.resources.insert(number, Resource { entry: Entry::new(info, stats), key: Some(key), unused: None });
        self.keys.insert(key, number);
        self.changed_resource(number);
        number
    }

    fn end_resource(&mut self, now: Instant, number: u64) {
        let Some(resource) = self.changed_resource(number) else { return };
        resource.entry.stats.dropped = Some(now);
        let is_known = resource.entry.is_known;
        if let Some(key) = resource.key.take()
            && self.keys.get(&key) == Some(&number)
        {
            self.keys.remove(&key);
        }
        if !self.stays(RESOURCE, is_known) {
            self.resources.remove(&number);
        }
    }

    /// What the loop does not report in events: the numbers of wakers that are held outside of
    /// onelane's futures, and new names.
    pub(crate) fn look_at(&mut self, tasks: &[(TaskId, u64, Rc<str>)]) {
        for &(id, count, ref name) in tasks {
            let is_same = |task: &Task| task.outside == count && *task.entry.info.name == **name;
            if self.tasks.get(&id).is_none_or(is_same) {
                continue;
            }
            let Some(task) = self.changed_task(id) else { continue };
            if *task.entry.info.name != **name {
                task.entry.info = Arc::new(TaskInfo { name: (**name).into(), ..(*task.entry.info).clone() });
                task.entry.is_other = true;
            }
            task.entry.stats.waker_clones += count.saturating_sub(task.outside);
            task.entry.stats.waker_drops += task.outside.saturating_sub(count);
            task.outside = count;
        }
    }

    /// The loop was dropped.
    pub(crate) fn close(&mut self, now: Instant) {
        self.is_closed = true;
        let living: Vec<TaskId> = self.tasks.keys().copied().collect();
        for id in living {
            if self.tasks.get(&id).is_some_and(|task| task.entry.stats.dropped.is_none()) {
                self.end_task(now, id);
            }
        }
        let living: Vec<u64> = self.resources.keys().copied().collect();
        for number in living {
            if self.resources.get(&number).is_some_and(|resource| resource.entry.stats.dropped.is_none()) {
                self.end_resource(now, number);
            }
        }
    }

    // ---- the server's side ----

    /// From now on, changes are listed, or not.
    pub(crate) fn watch(&mut self, is_watched: bool) {
        if self.is_watched == is_watched {
            return;
        }
        self.is_watched = is_watched;
        if is_watched {
            // Whoever begins to watch gets a snapshot, or everything as new.
            self.changed_tasks.extend(self.tasks.keys());
            self.changed_resources.extend(self.resources.keys());
            self.changed_waits.extend(self.waits.keys());
        }
        for task in self.tasks.values_mut() {
            (task.entry.has_changed, task.entry.is_known) = (is_watched, false);
        }
        for resource in self.resources.values_mut() {
            (resource.entry.has_changed, resource.entry.is_known) = (is_watched, false);
        }
        for wait in self.waits.values_mut() {
            (wait.has_changed, wait.is_known) = (is_watched, false);
        }
        if !is_watched {
            self.forget_changes();
        }
    }

    fn forget_changes(&mut self) {
        (self.changed_tasks, self.changed_resources, self.changed_waits) = Default::default();
        (self.brief, self.dropped) = Default::default();
        self.tasks.retain(|_, task| task.entry.stats.dropped.is_none() || task.is_running);
        self.waits.retain(|_, wait| wait.stats.dropped.is_none());
        self.resources.retain(|_, resource| resource.entry.stats.dropped.is_none());
        let now = Instant::now();
        for number in std::mem::take(&mut self.unused) {
            if self.resources.get(&number).is_some_and(|resource| resource.unused.is_some()) {
                self.end_resource(now, number);
            }
        }
    }

    /// Shortens the lists of changes while nothing is copied.
    pub(crate) fn compact(&mut self) {
        self.changed_tasks.retain(|id| self.tasks.contains_key(id));
        self.changed_resources.retain(|number| self.resources.contains_key(number));
        self.changed_waits.retain(|number| self.waits.contains_key(number));
    }

    /// Copies what has changed since the last copy, and forgets what has ended.
    pub(crate) fn take_changes(&mut self, now: Instant) -> Changes {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= LINGER;
        for number in std::mem::take(&mut self.unused) {
            match self.resources.get(&number).map(|resource| (resource.unused, resource.entry.stats.dropped)) {
                Some((Some(since), None)) if is_over(since) => self.end_resource(now, number),
                Some((Some(_), None)) => {
                    self.unused.insert(number);
                }
                _ => {}
            }
        }
        self.count();
        let mut changes = Changes { thread: self.thread.clone(), is_last: self.is_closed, ..Changes::default() };
        for id in std::mem::take(&mut self.changed_tasks) {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            changes.tasks.push(task.entry.row(task.entry.info.number));
            if task.entry.stats.dropped.is_some() && !task.is_running {
                self.tasks.remove(&id);
            }
        }
        for number in std::mem::take(&mut self.changed_resources) {
            let Some(resource) = self.resources.get_mut(&number) else { continue };
            changes.resources.push(resource.entry.row(number));
            if resource.entry.stats.dropped.is_some() {
                self.resources.remove(&number);
            }
        }
        // A parent comes before its children.
        changes.resources.sort_unstable_by_key(|row| row.number);
        for number in std::mem::take(&mut self.changed_waits) {
            let Some(wait) = self.waits.get_mut(&number) else { continue };
            changes.waits.push(wait.row(number));
            if wait.stats.dropped.is_some() {
                self.waits.remove(&number);
            }
        }
        self.brief = [0; 3];
        changes.dropped = std::mem::take(&mut self.dropped);
        changes
    }

    /// Copies everything that lives, for a client that connects.
    pub(crate) fn snapshot(&mut self) -> Changes {
        self.count();
        let mut changes = Changes { thread: self.thread.clone(), ..Changes::default() };
        for task in self.tasks.values() {
            changes.tasks.push(task.entry.full_row(task.entry.info.number));
        }
        for (&number, resource) in &self.resources {
            changes.resources.push(resource.entry.full_row(number));
        }
        for (&number, wait) in &self.waits {
            changes.waits.push(wait.full_row(number));
        }
        // The console numbers what it receives, in order.
        changes.tasks.sort_unstable_by_key(|row| row.number);
        changes.resources.sort_unstable_by_key(|row| row.number);
        changes.waits.sort_unstable_by_key(|row| row.number);
        changes
    }

    /// Updates the entry of the loop itself.
    fn count(&mut self) {
        let counts = self.counts;
        if self.resources.get(&LOOP).is_some_and(|own| own.entry.stats.counts != Some(counts))
            && let Some(own) = self.changed_resource(LOOP)
        {
            own.entry.stats.counts = Some(counts);
        }
    }

    /// The histograms of a task: the times of its steps, and the times in the ready queue.
    pub(crate) fn histograms(&self, number: u64) -> Option<[Histogram; 2]> {
        let task = self.tasks.values().find(|task| task.entry.info.number == number)?;
        Some([task.poll_times.clone(), task.scheduled_times.clone()])
    }
}

fn number_of(task: TaskId) -> u64 {
    task.to_string().parse().expect("the id of a task is a number")
}
