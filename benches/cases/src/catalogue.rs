//! Which cases there are, what is counted in each, and how large they are.
//!
//! It knows no runtime. A runtime's works name their case by its id.

/// What there is to measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Nanoseconds of the wall's clock.
    Wall,
    /// Nanoseconds of the process's CPU time, for work that waits.
    Cpu,
    /// Bytes of heap that are held at the end and were not at the beginning.
    HeapBytes,
    /// Bytes by which the process's resident memory grows. To be measured in a process that has done nothing else: memory that an
    /// earlier run has freed would be used again, and not seen.
    ResidentBytes,
    /// Calls of the allocator.
    Allocations,
}

/// How large a case is: `width` things at once (tasks, timers, children), and the work of each so many `rounds`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// How many at once.
    pub width: usize,
    /// How often.
    pub rounds: usize,
}

impl Size {
    /// The operations of a run, and what its [`Work`](crate::Work) must return.
    pub fn operations(self) -> u64 {
        self.width as u64 * self.rounds as u64
    }
}

/// How often the work is done in a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounds {
    /// As often as it takes for a sample to last long enough; not less often than this.
    AtLeast(usize),
    /// So often, because more would be other work.
    Exactly(usize),
}

/// A case.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name on the command line and in the figures.
    pub id: &'static str,
    /// What it is, for a reader.
    pub title: &'static str,
    /// What one operation is.
    pub operation: &'static str,
    /// What is measured of it.
    pub measure: Measure,
    /// How many things at once.
    pub width: usize,
    /// The same for a quick look.
    pub quick_width: usize,
    /// How often.
    pub rounds: Rounds,
}

impl Case {
    /// The smallest size in which the case makes sense.
    pub fn least(&self, quick: bool) -> Size {
        let (Rounds::AtLeast(rounds) | Rounds::Exactly(rounds)) = self.rounds;
        Size { width: if quick { self.quick_width } else { self.width }, rounds }
    }
}

/// The case of that id.
pub fn find(id: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.id == id)
}

const fn wall(id: &'static str, width: usize, least: usize, operation: &'static str, title: &'static str) -> Case {
    Case { id, title, operation, measure: Measure::Wall, width, quick_width: width, rounds: Rounds::AtLeast(least) }
}

/// One that has one size, because it is about the size.
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
