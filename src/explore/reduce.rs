//! The reduced search: one order of each class of orders that make no difference.
//!
//! # Which orders make no difference
//!
//! Two steps *commute* if, where both could run, both orders of them lead to one state, and neither of
//! them makes the other one ready. Orders that come from each other by exchanging neighbours that
//! commute are one class. All orders of a class end in the same state, so they all fail, or none does.
//!
//! ```text
//!   a: counts its tea      b: counts its coffee      c: reads both
//!
//!   a b c  =  b a c        two orders, one class: a and b commute
//!   a c b  ,  c a b  ..    others: c does not commute with a or b
//! ```
//!
//! # How the search knows that steps commute
//!
//! Each step notes what it touches (`kernel/explore/touched.rs`): primitives of `sync`, promises,
//! `Tracked` values; the tasks that it wakes or spawns; the ends of tasks that it reads or awaits. Two
//! steps commute if nothing that one of them writes was touched by the other. What the search does not
//! know must not be shared, so `reduce` is a promise of the user: no task reads in a `Cell` what another
//! task writes there. Beyond that:
//!
//! - A step of a task writes the task, and a wake adds to it. So a step does not commute with a wake of
//!   its task, and two wakes of one task commute.
//! - Spawns write one object: tasks are numbered, and the program can see the numbers.
//! - A cancellation, each step of a cancelled task, and each callback touch everything. What they reach
//!   depends on what all tasks wait for. One callback is known better: that of a gather, which counts.
//! - A footprint must not depend on a step with which it commutes. So a wake is noted even if the task
//!   was woken before, and the callback of a gather always notes the wake.
//! - Virtual time passes only when nothing is ready. All steps before that come before all steps behind
//!   it. Timers that only wake tasks commute; all orders of other timers are run.
//! - Own choices and cancellations are branches inside a step. The footprint of the step is that of
//!   all its branches together.
//!
//! # What the program must not see
//!
//! Orders of a class differ in the order of the ready queue, and in where turns begin. Nothing else may
//! depend on these, or the classes are wrong. Where something could, the search *gives up*: it begins
//! again without reduction, and the statement says so. It gives up if
//!
//! - a timer is due while something is ready (it fires at the end of a turn);
//! - `late_timers` has a choice at the beginning of a turn;
//! - main ends while tasks, callbacks or timers with callbacks are left (the rest of the turn still
//!   runs, and then the tasks are cancelled in an order that depends on the queue);
//! - a value with a destructor is dropped with the last handle of its task: the destructor runs in the
//!   step of the task, or of the one that dropped the handle, whichever comes last;
//! - the program uses what `unknown` is called for: reports, metrics, groups, scopes, cleanups, ..
//!
//! Before anything of this happens, the classes are right. So if any order comes to such a point, the
//! reduced search comes to it too.
//!
//! A cost is the place in the ready queue, so it differs within a class. The reduced search therefore
//! goes depth first, and does not look at costs. If it finds a failure, the search by cost begins.
//!
//! # The algorithm
//!
//! It is dynamic partial order reduction with source sets and sleep sets (Abdulla, Aronsson, Jonsson,
//! Sagonas 2014). A run goes on with the first ready entry. Then each *race* is searched: two steps that
//! do not commute, with no step between them that must come after the first and before the second. Before
//! the first step of the race, an entry is noted that has to run there in a later run, so that the second
//! step comes first.
//!
//! One race is left out, because it cannot be reversed: a gather wakes its task when all its children
//! were counted, so the task does not run before any of the callbacks that count.
//!
//! When all orders behind an entry were run, the entry *sleeps*: it is not run before the next steps,
//! until one of them does not commute with it. If all ready entries sleep, the order repeats a class
//! that was run, and is given up.
//!
//! This file does not know how a step is run, or how a report looks.

use crate::kernel::Kernel;
use crate::kernel::explore::touched::{
    Touched, begin_step, mixed, seen_unknown, take_queued, take_touched, touch_callback,
};
use crate::kernel::explore::{Entry, Mode, Of, touch};
use std::collections::VecDeque;

/// Why the search gives up.
pub(crate) const LEFT: &str = "tasks, callbacks or timers that are left when main has ended";

/// What can run: a task, by its id, or a callback, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Who {
    Task(u64),
    Callback(u64),
}

#[derive(Debug)]
enum Node {
    Step(Box<Step>),
    /// A choice that is not reduced.
    Choice {
        index: usize,
        among: usize,
    },
}

#[derive(Debug)]
struct Step {
    ready: Vec<Who>,
    chosen: Who,
    /// What has to run here, in one order or another.
    needed: Vec<Who>,
    /// What sleeps here, with what it touches: nothing of it has to run here.
    asleep: Vec<(Who, Touched)>,
    touched: Touched,
    /// The same, of all branches inside the step.
    of_branches: Touched,
    /// Number of times that virtual time has passed.
    epoch: u64,
}

/// The path that the search takes through the orders.
#[derive(Default, Debug)]
pub(crate) struct Path {
    nodes: Vec<Node>,
    /// The nodes before this one were run in the same way before.
    known: usize,

    // The run.
    at: usize,
    epoch: u64,
    asleep: Vec<(Who, Touched)>,
    /// The step that runs.
    running: Option<usize>,
    /// Whether the next step was chosen, and has not begun.
    is_chosen: bool,
    /// The callbacks in the ready queue.
    callbacks: VecDeque<u64>,
    steps: u64,
    /// The order repeats others, and is given up.
    repeats: bool,
    /// The run does not go the way of the runs before.
    differs: bool,
    gives_up: Option<&'static str>,
    leaves_something: bool,
}

impl Path {
    pub(crate) fn begin_run(&mut self) {
        let Path { nodes, known, .. } = std::mem::take(self);
        *self = Path { nodes, known, ..Path::default() };
    }

    pub(crate) fn repeats(&self) -> bool {
        self.repeats
    }

    pub(crate) fn differs(&self) -> bool {
        self.differs
    }

    pub(crate) fn gives_up(&self) -> Option<&'static str> {
        self.gives_up
    }

    /// The classes may be wrong from here on.
    pub(crate) fn give_up(&mut self, why: &'static str) {
        self.gives_up.get_or_insert(why);
    }

    /// Something was left when main had ended.
    pub(crate) fn leaves_something(&self) -> bool {
        self.leaves_something
    }

    pub(crate) fn main_ended(&mut self, leaves_something: bool) {
        self.end_step();
        self.leaves_something = leaves_something;
    }

    /// Whether a step runs, or has run since virtual time has passed.
    pub(crate) fn is_in_step(&self) -> bool {
        self.running.is_some()
    }

    /// The ready entries, in the order of the queue. Callbacks are first in, first out among themselves
    /// if each step that was chosen has left the queue.
    pub(crate) fn ready(&mut self, kernel: &Kernel) -> Option<Vec<Who>> {
        self.callbacks.extend(take_queued());
        let mut callbacks = self.callbacks.iter();
        let who = |entry: &Entry| match entry {
            Entry::Task(task) => Some(Who::Task(task.header().id)),
            _ => callbacks.next().map(|&number| Who::Callback(number)),
        };
        let ready: Option<Vec<Who>> = kernel.ready_entries().iter().map(who).collect();
        self.differs |= ready.is_none();
        ready
    }

    /// The only ready entry is a callback.
    pub(crate) fn only_callback(&mut self) -> Who {
        self.callbacks.extend(take_queued());
        Who::Callback(self.callbacks.front().copied().unwrap_or(0))
    }

    pub(crate) fn end_run(&mut self) {
        self.end_step();
        // This says more than another reason.
        self.gives_up = seen_unknown().or(self.gives_up);
    }

    /// Which of the ready entries runs next. `None` if the run is to end.
    pub(crate) fn choose_step(&mut self, ready: Vec<Who>) -> Option<usize> {
        self.end_step();
        let known = match self.nodes.get(self.at) {
            Some(Node::Step(step)) if step.ready == ready => Some(step.chosen),
            Some(_) => {
                self.differs = true;
                return None;
            }
            None => None,
        };
        let is_asleep = |who: &Who| self.asleep.iter().any(|(asleep, _)| asleep == who);
        let Some(index) = (match known {
            Some(chosen) => ready.iter().position(|who| *who == chosen),
            None => ready.iter().position(|who| !is_asleep(who)),
        }) else {
            self.repeats = true;
            return None;
        };
        if known.is_none() {
            let chosen = ready[index];
            let (touched, of_branches) = (Touched::default(), Touched::default());
            let (needed, asleep) = (vec![chosen], std::mem::take(&mut self.asleep));
            let step = Step { ready, chosen, needed, asleep, touched, of_branches, epoch: self.epoch };
            self.nodes.push(Node::Step(Box::new(step)));
        }
        self.running = Some(self.at);
        self.is_chosen = true;
        self.at += 1;
        Some(index)
    }

    /// The chosen entry, or the only one, begins to run. Returns false if the run is to end.
    pub(crate) fn begin_step(&mut self, only: impl FnOnce(&mut Self) -> Who) -> bool {
        if !std::mem::take(&mut self.is_chosen) {
            let only = only(self);
            if self.choose_step(vec![only]).is_none() {
                return false;
            }
            self.is_chosen = false;
        }
        self.steps += 1;
        let Some(Node::Step(step)) = self.running.and_then(|at| self.nodes.get(at)) else { return false };
        match step.chosen {
            Who::Task(id) => {
                // A task has as many steps before this one in all orders of a class.
                let before = self.nodes[..self.at - 1].iter();
                let nth =
                    before.filter(|node| matches!(node, Node::Step(other) if other.chosen == step.chosen)).count();
                begin_step(mixed(id, nth as u64 + 1));
                touch(Of::Steps, id, Mode::Write);
            }
            Who::Callback(number) => {
                self.callbacks.retain(|&other| other != number);
                begin_step(number);
                touch_callback(number);
            }
        }
        true
    }

    /// What was touched since the step began belongs to it.
    pub(crate) fn end_step(&mut self) {
        self.callbacks.extend(take_queued());
        let Some(at) = self.running.take() else { return };
        let Node::Step(step) = &mut self.nodes[at] else { return };
        let touched = take_touched();
        self.differs |= at < self.known && step.touched != touched;
        step.touched = touched;
        step.of_branches.merge(&step.touched);
        let stays = |(who, asleep): &&(Who, Touched)| *who != step.chosen && !asleep.conflicts(&step.touched);
        self.asleep = step.asleep.iter().filter(stays).cloned().collect();
    }

    /// Virtual time passes, or a timer fires: nothing was ready.
    pub(crate) fn time_passes(&mut self) {
        self.end_step();
        self.epoch += 1;
        self.asleep.clear();
        begin_step(mixed(0, self.epoch));
    }

    /// A choice that is not reduced.
    pub(crate) fn choose(&mut self, among: usize) -> usize {
        let index = match self.nodes.get(self.at) {
            Some(&Node::Choice { index, among: known }) if known == among => index,
            Some(_) => {
                self.differs = true;
                return 0;
            }
            None => {
                self.nodes.push(Node::Choice { index: 0, among });
                0
            }
        };
        self.at += 1;
        index
    }

    // ---- after a run ----

    /// Searches for races, and goes to the next order. Returns false if there is none.
    pub(crate) fn advance(&mut self) -> bool {
        self.nodes.truncate(self.at);
        self.find_races();
        while let Some(node) = self.nodes.last_mut() {
            match node {
                Node::Choice { index, among } if *index + 1 < *among => {
                    *index += 1;
                    break;
                }
                Node::Choice { .. } => {}
                Node::Step(step) => {
                    step.asleep.push((step.chosen, std::mem::take(&mut step.of_branches)));
                    let is_asleep = |who: &&Who| step.asleep.iter().any(|(asleep, _)| asleep == *who);
                    if let Some(&next) = step.needed.iter().find(|who| !is_asleep(who)) {
                        step.chosen = next;
                        break;
                    }
                }
            }
            self.nodes.pop();
        }
        // The step with the changed choice is not the same step any more.
        self.known = self.nodes.iter().rposition(|node| matches!(node, Node::Step(_))).unwrap_or(0);
        !self.nodes.is_empty()
    }

    fn find_races(&mut self) {
        // All steps since virtual time has passed before the first new step.
        let epoch = self.nodes[self.known.min(self.nodes.len())..].iter().find_map(|node| match node {
            Node::Step(step) => Some(step.epoch),
            Node::Choice { .. } => None,
        });
        let Some(epoch) = epoch else { return };
        let steps: Vec<usize> = (0..self.nodes.len())
            .filter(|&at| matches!(&self.nodes[at], Node::Step(step) if step.epoch >= epoch))
            .collect();
        // Which steps come before a step in all orders of the class.
        let mut before: Vec<Vec<bool>> = Vec::new();
        for later in 0..steps.len() {
            let mut comes_before = vec![false; later];
            let mut races = Vec::new();
            for earlier in (0..later).rev() {
                let (one, other) = (self.step(steps[earlier]), self.step(steps[later]));
                if one.epoch != other.epoch {
                    break;
                }
                if comes_before[earlier] || !one.touched.conflicts(&other.touched) {
                    continue;
                }
                if one.chosen != other.chosen {
                    races.push(earlier);
                }
                comes_before[earlier] = true;
                before[earlier].iter().enumerate().filter(|(_, is)| **is).for_each(|(nth, _)| comes_before[nth] = true);
            }
            before.push(comes_before);
            if steps[later] >= self.known {
                races.into_iter().for_each(|earlier| self.reverse(&steps, &before, earlier, later));
            }
        }
    }

    fn step(&self, at: usize) -> &Step {
        match &self.nodes[at] {
            Node::Step(step) => step,
            Node::Choice { .. } => unreachable!("it was a step when it was listed"),
        }
    }

    /// Whether the earlier step is a callback of a gather, and the later one is the step of the awaiting
    /// task, which only this gather wakes. It wakes the task when all children were counted, so the task
    /// cannot run before the callback. `between` does not come after the callback.
    fn only_counts(&self, steps: &[usize], between: &[usize], earlier: usize, later: usize) -> bool {
        let (callback, step) = (self.step(steps[earlier]), self.step(steps[later]));
        let Who::Task(id) = step.chosen else { return false };
        let wakes = |other: &&Step| other.touched.may_add(Of::Steps, id);
        let counts_too =
            |other: &Step| matches!(other.chosen, Who::Callback(_)) && other.touched.counts_with(&callback.touched, id);
        let mut wakers = between.iter().map(|&nth| self.step(steps[nth])).filter(wakes);
        !callback.ready.contains(&step.chosen) && counts_too(callback) && wakers.all(counts_too)
    }

    /// Makes sure that the later step of a race will run before the earlier one.
    fn reverse(&mut self, steps: &[usize], before: &[Vec<bool>], earlier: usize, later: usize) {
        let mut between: Vec<usize> = (earlier + 1..later).filter(|&nth| !before[nth][earlier]).collect();
        if self.only_counts(steps, &between, earlier, later) {
            return;
        }
        between.push(later);
        // What can begin there: nothing in between comes before it.
        let begins = |&nth: &usize| between.iter().take_while(|&&other| other < nth).all(|&other| !before[nth][other]);
        let first: Vec<usize> = between.iter().copied().filter(begins).collect();
        let starts: Vec<Who> = first.iter().map(|&nth| self.step(steps[nth]).chosen).collect();
        let Node::Step(step) = &mut self.nodes[steps[earlier]] else { return };
        if starts.iter().any(|who| step.needed.contains(who)) {
            return;
        }
        let last = starts.last().filter(|_| first.last() == Some(&later));
        if last.is_some_and(|last| !step.ready.contains(last)) {
            // The earlier step has made it ready.
            return;
        }
        match starts.iter().rev().find(|who| step.ready.contains(who)) {
            Some(&who) => step.needed.push(who),
            None => {
                let others: Vec<Who> = step.ready.iter().copied().filter(|who| !step.needed.contains(who)).collect();
                step.needed.extend(others);
            }
        }
    }
}
