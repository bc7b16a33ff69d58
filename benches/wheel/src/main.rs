//! The kernel's timer wheel beside a heap with lazy removal, as asyncio has one. The same timers, in one run:
//!
//! ```sh
//! cargo run --release --manifest-path benches/wheel/Cargo.toml
//! ```
//!
//! Two patterns, with so many other timers pending. *Taken back*: a timer is set, and taken back before its time, as a timeout does
//! that does not expire. *Fired*: a timer is set, and its time comes.

/// The wheel's own source, with what it imports.
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

/// Timers to be set, and to be taken back or fired.
trait Timers {
    type Key: Copy;

    fn insert(&mut self, deadline: u64, age: u64) -> Self::Key;
    fn remove(&mut self, key: Self::Key);
    /// Fires what is due, and tells how much that was.
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
        // The loop asks after each turn.
        black_box(self.next_deadline());
        fired
    }
}

/// A timer that is taken back stays in the heap until it comes to the top, or until there are more than a hundred of them, and they
/// are more than half: then the heap is made anew without them.
#[derive(Default)]
struct Heap {
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    /// By ages: whether it is still to come.
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

/// Nanoseconds a timer, beside `others` that stay, and of the slowest hundred timers in a row.
fn take_back(timers: &mut impl Timers, others: u64) -> [f64; 2] {
    (0..others).for_each(|age| _ = timers.insert((3_600 + age) * SECOND, age));
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for hundred in 0..OPERATIONS / 100 {
        let begun = Instant::now();
        for nth in hundred * 100..hundred * 100 + 100 {
            // A limit of thirty seconds, and a microsecond later another.
            let key = timers.insert(nth * 1_000 + 30 * SECOND, others + nth);
            timers.remove(key);
        }
        slowest = slowest.max(begun.elapsed());
    }
    [per_operation(begun.elapsed()), slowest.as_nanos() as f64 / 100.0]
}

/// The same of timers whose time comes: `others` are always pending.
fn fire(timers: &mut impl Timers, others: u64) -> f64 {
    // Of one to two seconds each, in no order.
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
    println!("nanoseconds a timer, median of 9 runs that took turns\n");
    println!("| others pending | taken back: wheel | heap | slowest hundred: wheel | heap | fired: wheel | heap |");
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
