//! Read access for reports: the tasks of a loop, and their sleeps.

use crate::kernel::callbacks::calls::Call;
use crate::kernel::cell::AnyTask;
use crate::kernel::observe::tally::Tally;
use crate::kernel::table::TaskTable;
use crate::kernel::table::records::{Awaited, Wait};
use crate::kernel::table::sort::sorted;
use crate::kernel::timers::Alarm;
use crate::kernel::{Inbox, Kernel, Time, Token};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::panic::Location;

/// A sleep of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SleepRecord {
    pub(crate) task: Token,
    /// From the counter of waits.
    pub(crate) number: u64,
    pub(crate) until: Time,
    /// The source location of the await.
    pub(crate) place: &'static Location<'static>,
}

impl Kernel {
    /// Whether the task is, or was, a task of this loop.
    #[inline]
    pub(crate) fn has(&self, task: Token) -> bool {
        self.table.lane().tenancy.has(task)
    }

    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.table.lane().loop_id
    }

    #[inline]
    pub(crate) fn tally(&self) -> &Tally {
        &self.table.tally
    }

    pub(crate) fn inbox(&self) -> &'static Inbox {
        self.table.lane().inbox
    }

    /// The tasks whose time a timer limits, for example the timer of a timeout. Timers that are due
    /// count too, until their callbacks are called.
    pub(crate) fn limited(&self) -> Vec<Token> {
        let limit = |call: &Call| match call {
            Call::Watch(watcher, _) => watcher.limits(),
            Call::Once(_) => None,
        };
        let mut limited: Vec<Token> = self.calls.borrow().iter().filter_map(limit).collect();
        self.table.each_call(&mut |call| limited.extend(limit(call)));
        let wheel = self.wheel.borrow();
        limited.extend(wheel.iter().filter_map(|(_, _, alarm)| match alarm {
            Alarm::Call(call) => limit(call),
            _ => None,
        }));
        limited
    }

    /// The sleeps of all tasks, grouped by task, in the order in which they began.
    pub(crate) fn sleeps(&self) -> Vec<SleepRecord> {
        let mut sleeps = Vec::new();
        for (number, until, alarm) in self.wheel.borrow().iter() {
            match *alarm {
                Alarm::Task(task, place) | Alarm::Within(task, place, _) => {
                    sleeps.push(SleepRecord { task, number, until: Time(until), place });
                }
                Alarm::Call(_) => {}
            }
        }
        let order =
            sleeps.iter().enumerate().map(|(nth, sleep)| (sleep.task.bits(), sleep.number, nth as u64)).collect();
        sorted(order).into_iter().map(|(_, _, nth)| sleeps[nth as usize]).collect()
    }

    /// All living tasks, in the order in which they were spawned.
    pub(crate) fn tasks(&self) -> Vec<AnyTask> {
        let mut tasks = Vec::with_capacity(self.table.len());
        for (_, token, _) in sorted(self.table.ids()) {
            if let Some(task) = self.table.task(Token::from_bits(token)) {
                tasks.push(task);
            }
        }
        tasks
    }
}

/// What a replay compares with the state that it has computed from events.
#[cfg(all(feature = "replay", debug_assertions))]
#[derive(Debug)]
pub(crate) struct Shown {
    /// The entries of the ready queue: ids of tasks, and `None` for a callback.
    pub(crate) ready: Vec<Option<u64>>,
    /// Of each living task: its id, row and generation, and the numbers of its waits.
    pub(crate) tasks: Vec<(u64, u32, u32, Vec<u64>)>,
    /// The number and the deadline of each timer.
    pub(crate) timers: Vec<(u64, u64)>,
    pub(crate) wheel: u64,
}

#[cfg(all(feature = "replay", debug_assertions))]
impl Kernel {
    /// In the order of ids and numbers.
    pub(crate) fn what_a_replay_shows(&self) -> Shown {
        let sleeps = self.sleeps();
        let tasks = self.tasks().into_iter().map(|task| {
            let header = task.header();
            let own = sleeps.iter().filter(|sleep| sleep.task == header.token()).map(|sleep| sleep.number);
            let mut waits: Vec<u64> = self.table.waits(header).map(|(number, _)| number).chain(own).collect();
            waits.sort_unstable();
            (header.id, header.token().slot(), header.token().generation(), waits)
        });
        let wheel = self.wheel.borrow();
        let mut timers: Vec<_> = wheel.iter().map(|(age, deadline, _)| (age, deadline)).collect();
        timers.sort_unstable();
        Shown { ready: self.table.queued(), tasks: tasks.collect(), timers, wheel: wheel.time() }
    }
}

impl TaskTable {
    /// Describes in words what a task waits for.
    pub(crate) fn describe(&self, wait: &Wait) -> String {
        struct Described<'a>(&'a dyn Awaited);
        impl fmt::Display for Described<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.describe(f)
            }
        }
        match wait {
            Wait::Task(Token::NOBODY) => "a task spawned by a Remote".into(),
            Wait::Task(token) => match self.task(*token) {
                Some(task) => format!("task {:?}", task.header().name()),
                None => "a task that has ended".into(),
            },
            awaited @ (Wait::In(..) | Wait::On(_) | Wait::Outside(..)) => match awaited.upgrade() {
                Some(awaited) => format!("{}", Described(&*awaited)),
                None => "what is no longer there".into(),
            },
        }
    }
}

impl core::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kernel").field("id", &self.id()).field("tasks", &self.table.len()).finish_non_exhaustive()
    }
}
