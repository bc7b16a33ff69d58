//! A loop that has a guide: where the guide is asked, and what it can see.

use crate::kernel::cell::AnyTask;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::{Choice, EventKind};
use crate::kernel::timers::Alarm;
use crate::kernel::{Kernel, Time};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeSet;
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// What is chosen. See the table in `explore/mod.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Kind {
    Ready,
    Timer,
    Clock,
    Cancel,
    Own,
}

#[cfg(feature = "probe")]
impl From<Kind> for Choice {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Ready => Choice::Entry,
            Kind::Timer => Choice::Timer,
            Kind::Clock => Choice::Time,
            Kind::Cancel => Choice::Cancellation,
            Kind::Own => Choice::Own,
        }
    }
}

/// Something that runs: an entry of the ready queue, or a timer.
#[derive(Clone)]
pub(crate) enum Entry {
    Task(AnyTask),
    Callback,
    /// A timer, and the task that sleeps, if the timer is a sleep's.
    Timer(Option<AnyTask>),
}

/// Chooses what happens next, and receives what has happened. It calls no user code.
pub(crate) trait Guide {
    /// Returns a number below `among`, which is at least 2. 0 is what happens without a guide.
    fn choose(&self, kernel: &Kernel, kind: Kind, among: usize) -> usize;

    /// An entry is about to run. The guide may cancel its task. Returns false if the run is to end.
    fn begins(&self, kernel: &Kernel, entry: &Entry) -> bool;

    /// The entry, or the timer's callback, has run. `task` is the entry's task.
    fn ended(&self, kernel: &Kernel, task: Option<&AnyTask>);

    /// The main task has ended, or the loop is stuck. The tasks that are left are not cancelled yet.
    fn main_ended(&self, kernel: &Kernel);

    /// The loop shuts down, and an entry is about to run. Nothing is chosen. Returns false if the
    /// shutdown is to give up.
    fn ends(&self, kernel: &Kernel, entry: &Entry) -> bool;
}

/// Which choices there are beside `Ready` and `Timer`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Options {
    pub(crate) late_timers: bool,
    /// The largest number of tasks that are cancelled.
    pub(crate) cancellations: u32,
}

struct Guided {
    guide: Rc<dyn Guide>,
    late_timers: bool,
    cancellations_left: Cell<u32>,
    /// The ids of the tasks that were polled, if tasks are cancelled.
    started: RefCell<BTreeSet<u64>>,
    has_stalled: Cell<bool>,
    /// The guide has given the shutdown up.
    gave_up: Cell<bool>,
    /// Whether a `Remote` was made.
    had_remote: Cell<bool>,
}

/// The loop's guide, if it has one.
#[derive(Default)]
pub(crate) struct Slot(OnceCell<Guided>);

/// What a loop has used that no guide chooses.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sources {
    /// Messages from other threads arrived, or could have: there was a `Remote`.
    pub(crate) messages: bool,
    /// Code outside the loop holds a waker of a task that has not ended, or the loop has waited for
    /// such a waker in real time.
    pub(crate) wakers: bool,
    /// The loop has sockets, or other file descriptors.
    pub(crate) sockets: bool,
}

thread_local! {
    /// The last `yield_now` of the running step.
    static YIELDED_AT: Cell<Option<&'static Location<'static>>> = const { Cell::new(None) };
}

/// Records that the running task yields here. It records no wait, because it is queued.
#[inline]
pub(crate) fn yields_at(place: &'static Location<'static>) {
    YIELDED_AT.set(Some(place));
}

/// The last `yield_now` since the last call.
pub(crate) fn take_place() -> Option<&'static Location<'static>> {
    YIELDED_AT.take()
}

impl Kernel {
    /// Sets the guide. A loop has at most one in its life.
    pub(crate) fn set_guide(&self, guide: Rc<dyn Guide>, options: Options) {
        let Options { late_timers, cancellations } = options;
        let guided = Guided {
            guide,
            late_timers,
            cancellations_left: Cell::new(cancellations),
            started: RefCell::default(),
            has_stalled: Cell::new(false),
            gave_up: Cell::new(false),
            had_remote: Cell::new(false),
        };
        assert!(self.guide.0.set(guided).is_ok(), "a loop got a second guide");
    }

    fn guided(&self) -> Option<&Guided> {
        self.guide.0.get().filter(|_| !self.cancels.closing.get())
    }

    #[inline]
    pub(in crate::kernel) fn is_guided(&self) -> bool {
        self.guide.0.get().is_some()
    }

    /// The seam: which of `among` things happens next. 0 without a guide, and if there is no choice.
    pub(crate) fn choose(&self, kind: Kind, among: usize) -> usize {
        let Some(guided) = self.guided().filter(|_| among > 1) else { return 0 };
        let index = guided.guide.choose(self, kind, among);
        assert!(index < among, "a guide chose {index} of {among}");
        tell!(self.table, EventKind::Choose { what: kind.into(), among, index });
        index
    }

    /// The entry that runs next; its turn is limited to it. `None` for a callback.
    pub(in crate::kernel) fn next_entry(&self) -> Option<AnyTask> {
        if self.guided().is_none() {
            let task = self.table.mark_next();
            self.ends(&task);
            return task;
        }
        self.table.bring_forward(self.choose(Kind::Ready, self.table.ready_len()));
        let task = self.table.mark_next();
        self.begins(&task.clone().map_or(Entry::Callback, Entry::Task));
        // A task that was never polled is at no await.
        if let (Some(guided), Some(task)) = (self.guided(), &task) {
            if guided.started.borrow().contains(&task.header().id) {
                self.cancel_perhaps(task);
            }
        }
        task
    }

    fn begins(&self, entry: &Entry) {
        if self.guided().is_some_and(|guided| !guided.guide.begins(self, entry)) {
            self.stop_run();
        }
    }

    /// Asks the guide of a loop that shuts down whether it is to go on.
    fn ends(&self, task: &Option<AnyTask>) {
        let Some(guided) = self.guide.0.get() else { return };
        let entry = task.clone().map_or(Entry::Callback, Entry::Task);
        if !guided.guide.ends(self, &entry) {
            guided.gave_up.set(true);
        }
    }

    /// Whether the guide has given the shutdown up: it may go on for ever.
    pub(in crate::kernel) fn gives_up_shutdown(&self) -> bool {
        self.guide.0.get().is_some_and(|guided| guided.gave_up.get())
    }

    /// Ends the run of the main task after this turn.
    pub(crate) fn stop_run(&self) {
        self.idling.over.set(true);
    }

    pub(in crate::kernel) fn entry_ended(&self, task: Option<&AnyTask>) {
        let Some(guided) = self.guided() else { return };
        guided.guide.ended(self, task);
        if let Some(task) = task.filter(|_| guided.cancellations_left.get() > 0) {
            guided.started.borrow_mut().insert(task.header().id);
        }
        if let Some(task) = task.filter(|task| !self.table.is_queued(task.header())) {
            self.cancel_perhaps(task);
        }
    }

    /// Cancels a task at its await, if the guide chooses it. The main task is never cancelled.
    fn cancel_perhaps(&self, task: &AnyTask) {
        let header = task.header();
        let is_done = header.is_done() || header.is_ending() || header.id == MAIN;
        let Some(guided) = self.guided().filter(|guided| !is_done && guided.cancellations_left.get() > 0) else {
            return;
        };
        if self.choose(Kind::Cancel, 2) == 1 {
            guided.cancellations_left.set(guided.cancellations_left.get() - 1);
            self.cancel(task);
        }
    }

    /// The deadline to which virtual time jumps when nothing is ready. A loop that is busy with
    /// something else sees the time late, so with late timers it may be any later deadline.
    pub(in crate::kernel) fn next_jump(&self) -> Option<Time> {
        let next = self.next_deadline()?;
        if self.guided().is_none_or(|guided| !guided.late_timers) {
            return Some(next);
        }
        let deadlines = self.deadlines();
        Some(deadlines.get(self.choose(Kind::Clock, deadlines.len())).map_or(next, |&later| later))
    }

    /// With late timers: the time may pass while entries are ready. It passes to a deadline. The
    /// timers that are due then fire at the end of the turn.
    pub(in crate::kernel) fn pass_time(&self) {
        let is_asked = self.guided().is_some_and(|guided| guided.late_timers);
        if !is_asked || self.firing.get() || self.table.is_idle() {
            return;
        }
        let deadlines = self.deadlines();
        let passed = self.choose(Kind::Clock, deadlines.len() + 1);
        if passed > 0 {
            let now = deadlines[passed - 1].max(self.clock.seen());
            self.clock.jump(now);
            self.expire(now);
        }
    }

    /// The moments for which timers are set, the earliest first, without those that never come.
    fn deadlines(&self) -> Vec<Time> {
        let wheel = self.wheel.borrow();
        let mut deadlines: Vec<u64> = wheel.iter().map(|(_, deadline, _)| deadline).collect();
        deadlines.sort_unstable();
        deadlines.dedup();
        deadlines.into_iter().map(Time).filter(|&deadline| deadline != Time::NEVER).collect()
    }

    /// The timer that fires next. The guide chooses among those for the same moment.
    pub(in crate::kernel) fn pop_due(&self) -> Option<(u64, Alarm)> {
        if self.guided().is_none() {
            return self.wheel.borrow_mut().pop_due();
        }
        let together = self.wheel.borrow().due_together();
        let index = self.choose(Kind::Timer, together);
        let due = self.wheel.borrow_mut().pop_due_at(index);
        if let Some((_, alarm)) = &due {
            let task = match *alarm {
                Alarm::Task(token, _) | Alarm::Within(token, ..) => self.table.task(token),
                Alarm::Call(_) => None,
            };
            self.begins(&Entry::Timer(task));
        }
        due
    }

    pub(crate) fn main_ended(&self) {
        if let Some(guided) = self.guided() {
            guided.guide.main_ended(self);
        }
    }

    /// The running task is the main task, and is shown as such.
    pub(crate) fn name_main(&self) {
        if let Some(main) = self.current() {
            main.header().set_name("main".into());
        }
    }

    /// What is ready, in the order of the queue.
    pub(crate) fn ready_entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.table.each_ready(&mut |task| entries.push(task.map_or(Entry::Callback, Entry::Task)));
        entries
    }

    /// The timers for the next moment, in the order in which they fire.
    pub(crate) fn due_entries(&self) -> Vec<Entry> {
        let wheel = self.wheel.borrow();
        let sleeper = |alarm: &Alarm| match *alarm {
            Alarm::Task(token, _) | Alarm::Within(token, ..) => self.table.task(token),
            Alarm::Call(_) => None,
        };
        wheel.due().take(wheel.due_together()).map(|(_, alarm)| Entry::Timer(sleeper(alarm))).collect()
    }

    /// Whether the timers for the next moment only wake tasks of this loop, so that their order does not
    /// matter.
    pub(crate) fn due_timers_only_wake(&self) -> bool {
        let wheel = self.wheel.borrow();
        wheel.due().take(wheel.due_together()).all(|(_, alarm)| matches!(alarm, Alarm::Task(..)))
    }

    /// Whether the main task has ended, and the turn goes on.
    pub(crate) fn run_is_over(&self) -> bool {
        self.idling.over.get()
    }

    /// Whether tasks, callbacks or timers with callbacks are left.
    pub(crate) fn leaves_something(&self) -> bool {
        let is_call = |alarm: &Alarm| matches!(alarm, Alarm::Call(_));
        !self.table.is_idle() || self.table.len() > 0 || self.wheel.borrow().iter().any(|(_, _, alarm)| is_call(alarm))
    }

    /// The loop's time since it was created.
    pub(crate) fn time_passed(&self) -> Duration {
        self.clock.seen().since(Time(0))
    }

    /// The await at which a task waits, or the `yield_now` at which it was queued again in its last
    /// step.
    pub(crate) fn place_of(&self, task: &AnyTask) -> Option<&'static Location<'static>> {
        let yielded = take_place();
        self.waits_at(task.header()).or(yielded)
    }

    /// A `Remote` is made.
    pub(crate) fn note_remote(&self) {
        if let Some(guided) = self.guide.0.get() {
            guided.had_remote.set(true);
        }
    }

    pub(crate) fn sources(&self) -> Sources {
        #[cfg(all(unix, feature = "io"))]
        let sockets = self.idling.reactor.get().is_some();
        #[cfg(not(all(unix, feature = "io")))]
        let sockets = false;
        let is_alive = |token| self.table.is_alive(token);
        Sources {
            messages: self.tally().messages.get() > 0
                || self.guide.0.get().is_some_and(|guided| guided.had_remote.get()),
            wakers: self.tally().parks.get() > 0 || self.inbox().may_receive(&is_alive),
            sockets,
        }
    }

    /// Ends the run of the main task if the loop has waited for a message for `patience` of real time,
    /// and gives the shutdown up if it has waited for so long.
    pub(crate) fn limit_waits(&self, patience: Duration) {
        fn waited(kernel: &Kernel) {
            kernel.idling.tell_of_long_rest.set(Some(waited));
            if let Some(guided) = kernel.guide.0.get() {
                guided.has_stalled.set(true);
                guided.gave_up.set(kernel.cancels.closing.get());
            }
            kernel.stop_run();
        }
        self.idling.patience.set(patience);
        self.idling.tell_of_long_rest.set(Some(waited));
    }

    /// Whether a wait has ended the run.
    pub(crate) fn has_stalled(&self) -> bool {
        self.guide.0.get().is_some_and(|guided| guided.has_stalled.get())
    }
}

/// The id of the main task of an explored loop, which is its first task.
pub(crate) const MAIN: u64 = 1;
