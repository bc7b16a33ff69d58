//! The search: which schedule is run next.
//!
//! Each schedule has one parent: the same without its last deviation. A run of the parent says which
//! choices there are behind its last deviation, and each alternative there is a child, which costs
//! more. So each order is run once, from the beginning, and a queue per cost finds the cheapest
//! first: when a schedule of cost c runs, all cheaper ones have run and passed.
//!
//! ```text
//!   queues    cost 0: the normal order
//!             cost 1: 1=1/3   2=1/3   3=1/2 ..                a child of the normal order each
//!             cost 2: 1=2/3   1=1/3,2=1/3 ..                  a child of 1=1/3
//! ```
//!
//! A schedule is stored as its last deviation and the number of its parent: twenty bytes.
//!
//! This file does not know what a program does, or how a report looks.

use crate::explore::player::{Open, Player, Policy};
use crate::explore::reduce::{LEFT, Path};
use crate::explore::run::{Fault, Program, Run, run};
use crate::explore::schedule::{Deviation, Schedule};
use crate::kernel::explore::{Options, Sources};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::rc::Rc;

/// The limits of a search, and what counts as a failure.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_cost: Option<u64>,
    pub(crate) max_orders: u64,
    pub(crate) max_steps: u64,
    pub(crate) options: Options,
    pub(crate) no_task_left: bool,
    pub(crate) reduce: bool,
}

struct Node {
    parent: u32,
    last: Deviation,
    /// Of what happens before the last deviation.
    hash: u32,
}

/// What a search has found out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Findings {
    pub(crate) orders: u64,
    /// Number of orders by cost.
    pub(crate) costs: Vec<u64>,
    /// All orders of this cost and of every smaller one were run.
    pub(crate) all_to: Option<u64>,
    /// There are orders that were not run.
    pub(crate) has_more: bool,
    pub(crate) most_choices: u32,
    pub(crate) most_steps: u64,
    pub(crate) kinds: u8,
    pub(crate) sources: Sources,
    pub(crate) reduction: Reduction,
}

/// Which orders were left out.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) enum Reduction {
    #[default]
    None,
    /// All but one of each class. This number of orders was begun, and given up as repeats.
    Classes { repeats: u64 },
    /// None, for this reason.
    GivenUp(&'static str),
    /// None: the reduced search has found a failure after this number of orders, and this search looks
    /// for the cheapest.
    Found { orders: u64 },
}

impl fmt::Display for Reduction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const KNOWN: &str = "promised: tasks share state only through sync, Tracked, promises and tasks";
        match self {
            Reduction::None => f.write_str("none"),
            Reduction::Classes { repeats } => {
                write!(
                    f,
                    "one order of each class, by source sets and sleep sets; {repeats} given up as repeats; {KNOWN}"
                )
            }
            Reduction::GivenUp(why) => write!(f, "none; it was asked for, and given up because of {why}"),
            Reduction::Found { orders } => {
                write!(f, "none; with it, order {orders} failed; this search looked for the cheapest failure")
            }
        }
    }
}

impl Findings {
    pub(crate) fn add(&mut self, run: &Run) {
        let player = &run.player;
        self.orders += 1;
        self.most_choices = self.most_choices.max(player.choices.get());
        self.most_steps = self.most_steps.max(player.steps.get());
        self.kinds |= player.kinds.get();
        let seen = player.sources.get();
        self.sources.messages |= seen.messages;
        self.sources.wakers |= seen.wakers;
        self.sources.sockets |= seen.sockets;
    }
}

pub(crate) struct Search<'a, 'p> {
    program: &'a Program<'p>,
    at: &'static Location<'static>,
    limits: &'a Limits,
    nodes: Vec<Node>,
    /// By cost.
    queues: Vec<VecDeque<u32>>,
    pub(crate) findings: Findings,
}

/// The normal order: it has no parent.
const ROOT: u32 = u32::MAX;

impl<'a, 'p> Search<'a, 'p> {
    pub(crate) fn new(program: &'a Program<'p>, at: &'static Location<'static>, limits: &'a Limits) -> Self {
        Search { program, at, limits, nodes: Vec::new(), queues: Vec::new(), findings: Findings::default() }
    }

    /// Runs orders until one fails, until there are no more, or until a limit is reached. Returns the
    /// schedule that fails, and its run.
    pub(crate) fn run(&mut self) -> Option<(Schedule, Run)> {
        self.queues.push(VecDeque::from([ROOT]));
        let mut cost = 0;
        while cost < self.queues.len() {
            while let Some(node) = self.queues[cost].pop_front() {
                if self.findings.orders >= self.limits.max_orders {
                    self.findings.has_more = true;
                    return None;
                }
                let schedule = self.schedule(node);
                let mut player = Player::new(schedule, Policy::Fifo, self.limits.max_steps);
                if node != ROOT {
                    player = player.expect(self.nodes[node as usize].hash);
                }
                let run =
                    run(self.program, self.at, self.limits.options, player.asking_for_left(self.limits.no_task_left));
                self.findings.add(&run);
                self.findings.costs.resize(cost + 1, 0);
                self.findings.costs[cost] += 1;
                if run.fault.is_some() {
                    self.findings.has_more = true;
                    return Some((self.schedule(node), run));
                }
                let open = std::mem::take(&mut *run.player.open.borrow_mut());
                self.add_children(node, cost, &open);
            }
            self.queues[cost] = VecDeque::new();
            self.findings.all_to = Some(cost as u64);
            cost += 1;
        }
        None
    }

    fn add_children(&mut self, parent: u32, cost: usize, open: &[Open]) {
        let left = self.limits.max_orders - self.findings.orders;
        for &Open { at, among, hash } in open {
            for index in 1..among {
                let child_cost = cost + usize::from(index);
                if self.limits.max_cost.is_some_and(|max| child_cost as u64 > max) {
                    self.findings.has_more = true;
                    break;
                }
                if self.queues.len() <= child_cost {
                    self.queues.resize(child_cost + 1, VecDeque::new());
                }
                let queue = &mut self.queues[child_cost];
                // More orders of this cost than may still be run.
                if queue.len() as u64 >= left || self.nodes.len() >= ROOT as usize {
                    self.findings.has_more = true;
                    break;
                }
                queue.push_back(self.nodes.len() as u32);
                self.nodes.push(Node { parent, last: Deviation { at, index, among }, hash });
            }
        }
    }

    fn schedule(&self, mut node: u32) -> Schedule {
        let mut deviations = Vec::new();
        while node != ROOT {
            let Node { parent, last, .. } = self.nodes[node as usize];
            deviations.push(last);
            node = parent;
        }
        deviations.reverse();
        Schedule::of(deviations)
    }
}

/// What the reduced search has found out.
pub(crate) enum Reduced {
    AllPass(Findings),
    Fails(Findings, Schedule, Fault),
    /// It cannot leave out orders, for this reason.
    GivesUp(&'static str),
}

/// Runs one order of each class (`reduce.rs`).
pub(crate) fn reduced(program: &Program<'_>, at: &'static Location<'static>, limits: &Limits) -> Reduced {
    let path = Rc::new(RefCell::new(Path::default()));
    let (mut findings, mut repeats) = (Findings::default(), 0);
    loop {
        if findings.orders + repeats >= limits.max_orders {
            findings.has_more = true;
            break;
        }
        path.borrow_mut().begin_run();
        let player = Player::new(Schedule::default(), Policy::Reduced(path.clone()), limits.max_steps);
        let run = run(program, at, limits.options, player.asking_for_left(limits.no_task_left));
        let mut path = path.borrow_mut();
        if path.differs() {
            findings.add(&run);
            let schedule = Schedule::of(run.player.drawn.take());
            let fault = Fault::Differs("an order does not begin as the one before it began".into());
            findings.reduction = Reduction::Classes { repeats };
            return Reduced::Fails(findings, schedule, fault);
        }
        if path.repeats() {
            repeats += 1;
        } else {
            findings.add(&run);
            if let Some(fault) = run.fault {
                findings.has_more = true;
                findings.reduction = Reduction::Classes { repeats };
                return Reduced::Fails(findings, Schedule::of(run.player.drawn.take()), fault);
            }
        }
        let leaves_something = !path.repeats() && path.leaves_something();
        if let Some(why) = path.gives_up().or(leaves_something.then_some(LEFT)) {
            return Reduced::GivesUp(why);
        }
        if !path.advance() {
            break;
        }
    }
    findings.reduction = Reduction::Classes { repeats };
    Reduced::AllPass(findings)
}
