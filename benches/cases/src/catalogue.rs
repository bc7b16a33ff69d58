//! The list of cases: what each case measures, and its size.
//!
//! The list does not depend on a runtime. A runtime's works, which are the functions that run the
//! cases, refer to the cases by id.

/// What a case measures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Nanoseconds of wall-clock time.
    Wall,
    /// Nanoseconds of the process's CPU time, for cases that wait.
    Cpu,
    /// Growth of the allocated heap between start and stop, in bytes.
    HeapBytes,
    /// Growth of the process's resident memory, in bytes. It must be measured in a new process:
    /// memory that an earlier run has freed would be reused, and not counted.
    ResidentBytes,
    /// Number of allocations.
    Allocations,
}

/// The size of a case: `width` things at once (tasks, timers, children), each of which does its
/// work `rounds` times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Number of things at once.
    pub width: usize,
    /// Number of times that each of them does its work.
    pub rounds: usize,
}

impl Size {
    /// The number of operations in one run. The [`Work`](crate::Work) must return it.
    pub fn operations(self) -> u64 {
        self.width as u64 * self.rounds as u64
    }
}

/// How often a sample repeats the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounds {
    /// At least this often, and as often as needed for a sample to last long enough.
    AtLeast(usize),
    /// Exactly this often, because more rounds would be different work.
    Exactly(usize),
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line and in the figures.
    pub id: &'static str,
    /// A description for readers.
    pub title: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// What it measures.
    pub measure: Measure,
    /// Number of things at once.
    pub width: usize,
    /// Number of things at once in a quick run.
    pub quick_width: usize,
    /// Number of times that each of them does its work.
    pub rounds: Rounds,
}

impl Case {
    /// The smallest useful size of the case.
    pub fn least(&self, quick: bool) -> Size {
        let (Rounds::AtLeast(rounds) | Rounds::Exactly(rounds)) = self.rounds;
        Size { width: if quick { self.quick_width } else { self.width }, rounds }
    }
}

/// Returns the case with this id.
pub fn find(id: &str) -> Option<&'static Case> {
    CASES.iter().chain(ONELANE_ONLY).find(|case| case.id == id)
}

const fn wall(id: &'static str, width: usize, least: usize, operation: &'static str, title: &'static str) -> Case {
    Case { id, title, operation, measure: Measure::Wall, width, quick_width: width, rounds: Rounds::AtLeast(least) }
}

/// Gives a case a fixed size, because the case exists to measure this size.
const fn large(case: Case, quick_width: usize, rounds: usize) -> Case {
    Case { quick_width, rounds: Rounds::Exactly(rounds), ..case }
}

const fn of(measure: Measure, case: Case) -> Case {
    Case { measure, ..case }
}

/// All cases, in the order in which they are shown.
pub const CASES: &[Case] = &[
    wall("yield-1", 1, 100, "yield", "one task that wakes itself and is pending, again and again"),
    wall("yield-300", 300, 10, "yield", "300 tasks that wake themselves"),
    wall("yield-1000", 1000, 10, "yield", "1,000 tasks that wake themselves"),
    large(wall("yield-1000000", 1_000_000, 5, "yield", "1,000,000 tasks that wake themselves"), 50_000, 5),
    wall("yield-1-timer", 1, 100, "yield", "one task that wakes itself, while a timer is pending"),
    wall("own-yield-1", 1, 100, "yield", "one task, with the runtime's own `yield_now`"),
    wall("own-yield-1000", 1000, 10, "yield", "1,000 tasks, with the runtime's own `yield_now`"),
    wall("baton", 2, 50, "hand-over", "two tasks that wake each other in turn"),
    wall("ring-1000", 1000, 10, "hand-over", "1,000 tasks in a ring, each wakes the next"),
    wall("spawn-1", 1, 100, "task", "spawn an empty task and await it, one by one"),
    wall("spawn-1000", 1000, 3, "task", "spawn 1,000 empty tasks, then await all"),
    large(wall("spawn-100000", 100_000, 1, "task", "spawn 100,000 empty tasks, then await all"), 10_000, 1),
    wall("spawn-recursive-300", 300, 3, "task", "a task spawns and awaits the next, 300 deep"),
    wall("spawn-recursive-1000", 1000, 3, "task", "a task spawns and awaits the next, 1,000 deep"),
    wall("gather-10", 10, 10, "child", "gather 10 children that yield once"),
    wall("gather-100", 100, 3, "child", "gather 100 children that yield once"),
    wall("gather-1000", 1000, 3, "child", "gather 1,000 children that yield once"),
    wall("oneshot", 1, 100, "message", "two tasks play ping-pong, each stroke a new oneshot"),
    wall("channel-chain", 300, 300, "message", "300 tasks in a chain of bounded channels with room for one"),
    wall("timer-create-drop", 1, 100, "timer", "create a timer of one second, poll it, drop it"),
    of(
        Measure::Cpu,
        large(wall("sleepers-100000", 100_000, 1, "sleeper", "100,000 tasks that sleep, over 100 ms"), 10_000, 1),
    ),
    large(wall("timers-1000000", 1_000_000, 1, "timer", "1,000,000 timers: create, poll, then drop all"), 50_000, 1),
    wall("foreign-wake", 1, 100, "round trip", "a task rings another thread, which wakes it"),
    wall("run-ready", 1, 100, "run", "run a ready future on a runtime that exists"),
    wall("make-and-run", 1, 10, "run", "make a runtime, run a ready future on it, drop it"),
    of(
        Measure::HeapBytes,
        large(
            wall("heap-waiting", 10_000, 1, "task", "heap of a task that waits, with its waker kept by another"),
            1000,
            1,
        ),
    ),
    of(Measure::HeapBytes, large(wall("heap-sleeping", 10_000, 1, "task", "heap of a task that sleeps"), 1000, 1)),
    of(
        Measure::ResidentBytes,
        large(
            wall(
                "resident-waiting",
                1_000_000,
                1,
                "task",
                "1,000,000 tasks that wait, with their wakers kept by another",
            ),
            100_000,
            1,
        ),
    ),
    of(
        Measure::ResidentBytes,
        large(wall("resident-sleeping", 1_000_000, 1, "task", "1,000,000 tasks that sleep"), 100_000, 1),
    ),
    of(
        Measure::Allocations,
        large(wall("allocations-spawn", 1, 1, "task", "allocations to spawn an empty task and await it"), 1, 1000),
    ),
];

/// Cases that only onelane runs, because other runtimes lack the primitive or its order. They are
/// not compared with other runtimes; `benches/instructions` counts them.
pub const ONELANE_ONLY: &[Case] = &[
    wall("lock-contended", 2, 100, "acquisition", "two tasks take a lock in turn, and yield while they hold it"),
    wall("queue-wait", 2, 100, "item", "two tasks play ping-pong through two queues; each `get` waits"),
];
