//! Debug mode: measures each entry of the ready queue.

use crate::kernel::callbacks::exceptions::{self, NeverTaken, complain};
use crate::kernel::cell::{AnyTask, Header};
use crate::kernel::timers::Alarm;
use crate::kernel::{Instant, Kernel, State};
use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::time::Duration;

/// The longest step of a task.
#[derive(Clone)]
pub(crate) struct LongestStep {
    pub(crate) took: Duration,
    /// The id of the task.
    pub(crate) task: u64,
    pub(crate) name: Rc<str>,
    /// The await at which the step ended, or where the task was spawned.
    pub(crate) place: &'static Location<'static>,
}

/// Called with the task (`None` for a callback), and with the time that the step took.
type Report = Box<dyn Fn(Option<AnyTask>, Duration)>;

/// The measuring of debug mode: checks each entry of the ready queue after it has run.
pub(crate) struct StepWatch {
    /// Is called instead of `run_marked`, and runs one entry at a time. `over` is called when a step
    /// or a callback has ended: it measures how long that took, and reports it if it was slow. Both
    /// are function pointers, so that a program that watches no steps does not contain these functions.
    pub(in crate::kernel) run: fn(&Kernel),
    over: fn(&Kernel, Option<AnyTask>),
    /// Reports a value that was never read.
    never_taken: NeverTaken,
    limit: Duration,
    /// Called for steps and callbacks that took `limit` or longer.
    slow: Report,
    /// Called for each task that waits after its step.
    suspended: Box<dyn Fn(&AnyTask)>,
    /// When the current step or callback began.
    began: Cell<Option<Instant>>,
    longest: RefCell<Option<LongestStep>>,
}

impl StepWatch {
    pub(crate) fn new(limit: Duration, slow: Report, suspended: Box<dyn Fn(&AnyTask)>) -> Self {
        StepWatch {
            run: Kernel::run_marked_watched,
            over: Kernel::step_is_over,
            never_taken,
            limit,
            slow,
            suspended,
            began: Cell::new(None),
            longest: RefCell::default(),
        }
    }

    pub(crate) fn never_taken(&self) -> NeverTaken {
        self.never_taken
    }

    pub(in crate::kernel) fn begin(&self) {
        self.began.set(Some(Instant::now()));
    }

    fn is_longest(&self, took: Duration) -> bool {
        self.longest.borrow().as_ref().is_none_or(|longest| took > longest.took)
    }
}

fn never_taken(task: &Header, type_name: &str) {
    let (name, spawned_at) = (task.name(), task.spawned_at);
    complain(&format_args!("task {name:?}, spawned at {spawned_at}, returned a `{type_name}` that was never read"));
}

impl Kernel {
    /// Called after a timer's callback, and after a panic of a step or callback. In debug mode,
    /// reports the step or callback if it was slow.
    #[inline]
    pub(in crate::kernel) fn tell_if_slow(&self, task: Option<AnyTask>) {
        if let Some(watch) = &self.watch {
            (watch.over)(self, task);
        }
    }

    /// Does the work of `tell_if_slow`. Only code for debug mode or probes calls this directly.
    pub(in crate::kernel) fn step_is_over(&self, task: Option<AnyTask>) {
        let Some(watch) = &self.watch else { return };
        let Some(took) = watch.began.take().map(|began| began.elapsed()) else { return };
        self.table.leave_step();
        if let Some(task) = &task {
            let header = task.header();
            if watch.is_longest(took) {
                let place = self.waits_at(header).unwrap_or(header.spawned_at);
                let longest = LongestStep { took, task: header.id, name: header.name(), place };
                let _former = watch.longest.replace(Some(longest));
            }
            if !header.is_done() && self.table.state(header) == State::Waiting {
                self.tolerate_in(exceptions::IN_A_HANDLER, || (watch.suspended)(task));
            }
        }
        if took >= watch.limit {
            self.tolerate_in(exceptions::IN_A_HANDLER, || (watch.slow)(task, took));
        }
    }

    /// The await at which a task waits: the one that it reached last. `None` if it does not wait.
    pub(in crate::kernel) fn waits_at(&self, header: &Header) -> Option<&'static Location<'static>> {
        let wait = self.table.waits(header).last().map(|(number, begun)| (number, begun.place));
        let wheel = self.wheel.borrow();
        let sleeps = wheel.iter().filter_map(|(number, _, alarm)| match *alarm {
            Alarm::Task(task, place) | Alarm::Within(task, place, _) => {
                (task == header.token()).then_some((number, place))
            }
            Alarm::Call(_) => None,
        });
        wait.into_iter().chain(sleeps).max_by_key(|&(number, _)| number).map(|(_, place)| place)
    }

    /// `None` outside debug mode.
    pub(crate) fn longest_step(&self) -> Option<LongestStep> {
        self.watch.as_ref()?.longest.borrow().clone()
    }
}
