//! Random tiny programs, and a model of the loop that tries every order by brute force: the orders are
//! as many, and the first failure has the smallest cost.

use onelane::explore::Fault;
use onelane::sync::Event;
use onelane::{Promise, explore, spawn, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let number = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) % limit
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Yield,
    /// The task remembers the value of a variable.
    Read(usize),
    /// A variable becomes what the task remembers, plus this.
    Write(usize, u64),
    /// Waits for an event, unless it is set.
    Wait(usize),
    Set(usize),
}

pub(crate) type Program = Vec<Vec<Act>>;

pub(crate) fn program(random: &mut Random) -> Program {
    let (tasks, suspensions) = if random.below(2) == 0 { (2, 2) } else { (3, 1) };
    let task = |_| {
        let mut acts = Vec::new();
        let mut left = random.below(suspensions + 1);
        while acts.len() < 6 {
            acts.push(match random.below(9) {
                0..3 => Act::Read(random.below(2) as usize),
                3..6 => Act::Write(random.below(2) as usize, 1 + random.below(2)),
                6 => Act::Set(random.below(2) as usize),
                _ if left == 0 => break,
                7 if random.below(3) > 0 => Act::Yield,
                7 => Act::Wait(random.below(2) as usize),
                _ => Act::Yield,
            });
            left -= u64::from(matches!(acts.last(), Some(Act::Yield | Act::Wait(_))));
        }
        acts
    };
    (0..tasks).map(task).collect()
}

// ---- the model ----

#[derive(Clone, Default)]
struct Model {
    ready: VecDeque<usize>,
    at: Vec<usize>,
    memory: Vec<u64>,
    variables: [u64; 2],
    is_set: [bool; 2],
    waiting: [Vec<usize>; 2],
}

/// The variables at the end; `None` if a task waits for ever.
type Outcome = Option<[u64; 2]>;

impl Model {
    fn new(program: &Program) -> Self {
        let tasks = program.len();
        Model { ready: (0..tasks).collect(), at: vec![0; tasks], memory: vec![0; tasks], ..Model::default() }
    }

    fn step(&mut self, program: &Program, task: usize) {
        while let Some(&act) = program[task].get(self.at[task]) {
            match act {
                Act::Yield => {
                    self.at[task] += 1;
                    return self.ready.push_back(task);
                }
                Act::Read(variable) => self.memory[task] = self.variables[variable],
                Act::Write(variable, more) => self.variables[variable] = self.memory[task] + more,
                Act::Wait(event) if self.is_set[event] => {}
                Act::Wait(event) => {
                    self.at[task] += 1;
                    return self.waiting[event].push(task);
                }
                Act::Set(event) => {
                    self.is_set[event] = true;
                    self.ready.extend(self.waiting[event].drain(..));
                }
            }
            self.at[task] += 1;
        }
    }

    /// Adds the cost and the outcome of each order.
    fn orders(&self, program: &Program, cost: u64, found: &mut Vec<(u64, Outcome)>) {
        if self.ready.is_empty() {
            let has_ended = self.waiting.iter().all(Vec::is_empty);
            return found.push((cost, has_ended.then_some(self.variables)));
        }
        for index in 0..self.ready.len() {
            let mut next = self.clone();
            let task = next.ready.remove(index).unwrap();
            next.step(program, task);
            next.orders(program, cost + index as u64, found);
        }
    }
}

// ---- the same, in a loop ----

#[derive(Default)]
struct World {
    variables: RefCell<[u64; 2]>,
    events: [Event; 2],
    left: Cell<usize>,
    over: Promise<()>,
}

async fn run(task: Vec<Act>, world: Rc<World>) {
    let mut memory = 0;
    for act in task {
        match act {
            Act::Yield => yield_now().await,
            Act::Read(variable) => memory = world.variables.borrow()[variable],
            Act::Write(variable, more) => world.variables.borrow_mut()[variable] = memory + more,
            Act::Wait(event) => _ = world.events[event].wait().await,
            Act::Set(event) => world.events[event].set(),
        }
    }
    world.left.set(world.left.get() - 1);
    if world.left.get() == 0 {
        world.over.set_result(()).unwrap();
    }
}

pub(crate) async fn outcome(program: Program) -> [u64; 2] {
    let world = Rc::new(World::default());
    world.left.set(program.len());
    for task in program {
        drop(spawn(run(task, world.clone())));
    }
    (&world.over).await.unwrap();
    world.variables.take()
}

#[test]
fn first_failure_costs_as_little_as_brute_force_finds() {
    let (mut fail, mut at_some_cost, mut stuck, mut orders_run) = (0, 0, 0, 0);
    for seed in 0..10_000 {
        let mut random = Random(seed);
        let program = program(&mut random);
        let mut orders = Vec::new();
        Model::new(&program).orders(&program, 0, &mut orders);
        // One of the outcomes is the wrong one, mostly.
        let wrong = match random.below(5) {
            0 => Some([99, 99]),
            _ => orders[random.below(orders.len() as u64) as usize].1,
        };
        let smallest =
            orders.iter().filter(|(_, outcome)| outcome.is_none() || *outcome == wrong).map(|&(cost, _)| cost).min();
        let found = explore(|| {
            let program = program.clone();
            async move { if Some(outcome(program).await) == wrong { Err("wrong") } else { Ok(()) } }
        })
        .check();
        match found {
            Ok(statement) => {
                assert_eq!(smallest, None, "seed {seed}: {program:?}");
                assert!(statement.is_complete(), "seed {seed}: {statement}");
                assert_eq!(statement.orders, orders.len() as u64, "seed {seed}: {program:?}");
                let mut costs = vec![0; statement.costs.len()];
                orders.iter().for_each(|&(cost, _)| costs[cost as usize] += 1);
                assert_eq!(statement.costs, costs, "seed {seed}: {program:?}");
                orders_run += statement.orders;
            }
            Err(failure) => {
                assert_eq!(Some(failure.cost), smallest, "seed {seed}: {program:?}\n{failure}");
                fail += 1;
                at_some_cost += u32::from(failure.cost > 0);
                stuck += u32::from(matches!(failure.fault, Fault::Deadlock(_)));
            }
        }
    }
    println!("{fail} fail, {at_some_cost} of them not in the normal order, {stuck} by a deadlock; {orders_run} orders");
    assert!(fail > 1_000 && at_some_cost > 300 && stuck > 100, "{fail}, {at_some_cost}, {stuck}");
}
