//! Compares the kernel's timer wheel with a heap with lazy removal, like asyncio's. Both run the
//! same timers, in one process:
//!
//! ```sh
//! cargo run --release --manifest-path benches/wheel/Cargo.toml
//! ```
//!
//! There are two patterns, with different numbers of other pending timers. *Removed*: a timer is
//! inserted, and removed before its deadline, like the timer of a timeout that does not expire.
//! *Fired*: a timer is inserted, and reaches its deadline.

/// The source code of the wheel, with the modules that it imports.
#[path = "../../../src/kernel"]
mod kernel {
    #![allow(dead_code, unused_imports, reason = "the loop uses more of it")]
    pub(crate) mod table {
        pub(crate) mod lists;
        pub(crate) mod sort;
    }
    pub(crate) mod wheel;
}

use kernel::wheel::Wheel;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// A collection of timers.
trait Timers {
    type Key: Copy;

    fn insert(&mut self, deadline: u64, age: u64) -> Self::Key;
    fn remove(&mut self, key: Self::Key);
    /// Fires all due timers, and returns their number.
    fn expire(&mut self, now: u64) -> u64;
}

impl Timers for Wheel<u64> {
    type Key = kernel::wheel::TimerKey;

    fn insert(&mut self, deadline: u64, age: u64) -> Self::Key {
        Wheel::insert(self, deadline, age, age)
    }

    fn remove(&mut self, key: Self::Key) {
        black_box(Wheel::remove(self, key));
    }

    fn expire(&mut self, now: u64) -> u64 {
        Wheel::expire(self, now);
        let mut fired = 0;
        while black_box(self.pop_due()).is_some() {
            fired += 1;
        }
        // The loop reads the next deadline after each turn.
        black_box(self.next_deadline());
        fired
    }
}

/// A removed timer stays in the heap until it comes to the top. If there are more than a hundred
/// removed timers, and they are more than half of the heap, the heap is rebuilt without them.
#[derive(Default)]
struct Heap {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    /// Whether the timer with this age is still pending.
    pending: Vec<bool>,
    removed: usize,
}

impl Timers for Heap {
    type Key = u64;

    fn insert(&mut self, deadline: u64, age: u64) -> u64 {
        self.heap.push(Reverse((deadline, age)));
        self.pending.resize(self.pending.len().max(age as usize + 1), false);
        self.pending[age as usize] = true;
        age
    }

    fn remove(&mut self, age: u64) {
        if std::mem::take(&mut self.pending[age as usize]) {
            self.removed += 1;
            if self.removed > 100 && self.removed * 2 > self.heap.len() {
                let pending = &self.pending;
                self.heap.retain(|Reverse((_, age))| pending[*age as usize]);
                self.removed = 0;
            }
        }
    }

    fn expire(&mut self, now: u64) -> u64 {
        let mut fired = 0;
        while let Some(&Reverse((deadline, age))) = self.heap.peek() {
            let is_pending = self.pending[age as usize];
            if is_pending && deadline > now {
                break;
            }
            self.heap.pop();
            if std::mem::take(&mut self.pending[age as usize]) {
                fired += 1;
            } else {
                self.removed -= 1;
            }
        }
        fired
    }
}

const OPERATIONS: u64 = 200_000;
const SECOND: u64 = 1_000_000_000;

/// Inserts and removes timers while `others` more timers are pending. Returns the nanoseconds per
/// timer: the mean of all, and the mean of the slowest hundred timers in a row.
fn take_back(timers: &mut impl Timers, others: u64) -> [f64; 2] {
    (0..others).for_each(|age| _ = timers.insert((3_600 + age) * SECOND, age));
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for hundred in 0..OPERATIONS / 100 {
        let begun = Instant::now();
        for nth in hundred * 100..hundred * 100 + 100 {
            // A timeout of thirty seconds; each starts a microsecond after the previous one.
            let key = timers.insert(nth * 1_000 + 30 * SECOND, others + nth);
            timers.remove(key);
        }
        slowest = slowest.max(begun.elapsed());
    }
    [per_operation(begun.elapsed()), slowest.as_nanos() as f64 / 100.0]
}

/// Lets timers fire, and inserts a new one for each, so that `others` timers are always pending.
/// Returns the nanoseconds per timer.
fn fire(timers: &mut impl Timers, others: u64) -> f64 {
    // Delays between one and two seconds. Consecutive ages give unordered delays.
    let delay = |age: u64| SECOND + age.wrapping_mul(0x9E37_79B9_7F4A_7C15) % SECOND;
    (0..others).for_each(|age| _ = timers.insert(delay(age), age));
    let (mut now, mut age, mut fired) = (0, others, 0);
    let step = 1_500_000_000 / others;
    let begun = Instant::now();
    while fired < OPERATIONS {
        now += step;
        let due = timers.expire(now);
        for _ in 0..due {
            timers.insert(now + delay(age), age);
            age += 1;
        }
        fired += due;
    }
    per_operation(begun.elapsed()) * OPERATIONS as f64 / fired as f64
}

fn per_operation(took: Duration) -> f64 {
    took.as_nanos() as f64 / OPERATIONS as f64
}

fn main() {
    println!("nanoseconds per timer; medians of 9 runs, in which wheel and heap take turns\n");
    println!("| others pending | removed: wheel | heap | slowest hundred: wheel | heap | fired: wheel | heap |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for others in [10, 1_000, 100_000] {
        let mut runs = [const { Vec::new() }; 6];
        for _ in 0..9 {
            let wheel = take_back(&mut Wheel::new(), others);
            let heap = take_back(&mut Heap::default(), others);
            let fired = [fire(&mut Wheel::new(), others), fire(&mut Heap::default(), others)];
            let all = [wheel[0], heap[0], wheel[1], heap[1], fired[0], fired[1]];
            runs.iter_mut().zip(all).for_each(|(runs, time)| runs.push(time));
        }
        let medians = runs.map(|mut runs| {
            runs.sort_by(f64::total_cmp);
            runs[runs.len() / 2]
        });
        println!("| {others} | {} |", medians.map(|median| format!("{median:.0}")).join(" | "));
    }
}
