//! Compares the wheel with a simple model: a list that is sorted by deadline and age.

fn pop_due<T>(wheel: &mut Wheel<T>) -> Option<T> {
    wheel.pop_due().map(|(_, value)| value)
}

use super::*;

/// Numbers that look random, and are the same in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Small and large numbers equally often: each number of bits is equally likely.
    fn spread(&mut self) -> u64 {
        let bits = self.below(65) as u32;
        self.next().checked_shr(64 - bits).unwrap_or(0)
    }
}

#[derive(Default)]
struct Model {
    now: u64,
    made: u64,
    /// (deadline, age), sorted.
    pending: Vec<(u64, u64)>,
    due: Vec<(u64, u64)>,
}

impl Model {
    fn insert(&mut self, deadline: u64) {
        self.pending.push((deadline, self.made));
        self.pending.sort_unstable();
        self.made += 1;
    }

    fn expire(&mut self, now: u64) {
        self.now = now;
        let due = self.pending.partition_point(|&(deadline, _)| deadline <= now);
        self.due.extend(self.pending.drain(..due));
    }

    fn next_deadline(&self) -> Option<u64> {
        self.due.iter().chain(&self.pending).map(|&(deadline, _)| deadline).min()
    }

    /// Whether the timer was still there.
    fn remove(&mut self, timer: (u64, u64)) -> bool {
        let before = self.pending.len() + self.due.len();
        self.pending.retain(|&other| other != timer);
        self.due.retain(|&other| other != timer);
        self.pending.len() + self.due.len() < before
    }
}

/// Calls the methods of the wheel that change it, except `drain`, in random order from `start` on.
fn compare(start: u64, seed: u64, operations: u32) {
    let mut random = Random(seed | 1);
    let mut wheel = Wheel::new();
    let mut model = Model::default();
    let mut keys: Vec<(TimerKey, (u64, u64))> = Vec::new();
    wheel.expire(start);
    model.expire(start);
    for _ in 0..operations {
        match random.below(10) {
            0..=4 => {
                // In the near or far future, now, or in the past.
                let deadline = match random.below(8) {
                    0 => model.now,
                    1 => model.now.saturating_sub(random.below(100)),
                    2 => model.now.saturating_add(random.below(4)),
                    3 => u64::MAX - random.below(2),
                    _ => model.now.saturating_add(random.spread()),
                };
                let timer = (deadline, model.made);
                keys.push((wheel.insert(deadline, timer.1, timer), timer));
                model.insert(deadline);
            }
            5..=6 if !keys.is_empty() => {
                let (key, timer) = keys.swap_remove(random.below(keys.len() as u64) as usize);
                let there = model.remove(timer);
                assert_eq!(wheel.get_mut(key).copied(), there.then_some(timer));
                assert_eq!(wheel.remove(key), there.then_some(timer));
                assert_eq!(wheel.remove(key), None);
            }
            #[cfg(feature = "explore")]
            7 if model.due.len() > 1 && random.below(2) == 0 => {
                assert!(wheel.due().map(|(age, _)| age).eq(model.due.iter().map(|&(_, age)| age)));
                let together = model.due.iter().take_while(|timer| timer.0 == model.due[0].0).count();
                assert_eq!(wheel.due_together(), together);
                let nth = random.below(model.due.len() as u64) as usize;
                assert_eq!(wheel.pop_due_at(nth).map(|(_, value)| value), Some(model.due.remove(nth)));
            }
            7 => {
                let due = if model.due.is_empty() { None } else { Some(model.due.remove(0)) };
                assert_eq!(pop_due(&mut wheel), due);
            }
            8 => {
                fire(&mut wheel, &mut model);
                let now = match (random.below(3), model.next_deadline()) {
                    (0, Some(next)) => next.max(model.now),
                    (1, _) => model.now.saturating_add(random.below(200)),
                    _ => model.now.saturating_add(random.spread() / 64),
                };
                wheel.expire(now);
                model.expire(now);
            }
            _ => assert_eq!(wheel.next_deadline(), model.next_deadline()),
        }
        assert_eq!(wheel.timers.len(), model.pending.len() + model.due.len());
        verify(&wheel);
    }
    // What is left fires in order, at the end of time.
    fire(&mut wheel, &mut model);
    wheel.expire(u64::MAX);
    model.expire(u64::MAX);
    fire(&mut wheel, &mut model);
    assert!(wheel.timers.is_empty());
}

fn fire(wheel: &mut Wheel<(u64, u64)>, model: &mut Model) {
    for timer in std::mem::take(&mut model.due) {
        assert_eq!(pop_due(wheel), Some(timer));
    }
    assert_eq!(pop_due(wheel), None);
}

/// A bit is set if and only if its slot has a timer. Such a slot lies ahead of the digit that the
/// time has on its level; on level 0 it may also be at the digit.
fn verify<T>(wheel: &Wheel<T>) {
    for (number, level) in wheel.levels.iter().enumerate() {
        let digit = (wheel.time >> (number as u32 * DIGIT_BITS)) as usize % SLOTS;
        for (slot, list) in level.slots.iter().enumerate() {
            let occupied = level.occupied & 1 << slot != 0;
            assert_eq!(occupied, !list.is_empty(), "level {number}, slot {slot}");
            assert!(!occupied || slot > digit || number == 0 && slot == digit, "level {number}, slot {slot} is past");
        }
    }
}

#[test]
fn fires_as_a_sorted_list_does() {
    for seed in 1..=200 {
        compare(0, seed, 300);
    }
}

#[test]
fn fires_as_a_sorted_list_does_from_each_power_of_two() {
    for bit in 0..64 {
        for start in [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1] {
            compare(start, start ^ 0x5DEE_CE66, 150);
            compare(start, start ^ 0x0DD_BA11, 150);
        }
    }
    compare(u64::MAX, 77, 150);
}

/// tokio-rs/tokio#8334: with one far timer pending, near ones came late after 2^30 ms of uptime.
#[test]
fn far_timer_then_near_ones_at_each_power_of_two() {
    for bit in 0..63 {
        for start in [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1] {
            let mut wheel = Wheel::new();
            wheel.expire(start);
            wheel.insert(u64::MAX, 0, "far");
            for ahead in [1, 2, 63, 64, 65, 4096, 1_000_000] {
                let deadline = wheel.time + ahead;
                wheel.insert(deadline, ahead, "near");
                assert_eq!(wheel.next_deadline(), Some(deadline));
                wheel.expire(deadline - 1);
                assert_eq!(pop_due(&mut wheel), None, "TIME-2: fired early");
                wheel.expire(deadline);
                assert_eq!(pop_due(&mut wheel), Some("near"), "TIME-2: fired late");
            }
            assert_eq!(wheel.timers.len(), 1);
        }
    }
}

#[test]
fn drain_takes_all_wherever_they_stand() {
    let mut wheel = Wheel::new();
    wheel.expire(100);
    wheel.insert(50, 1, "late");
    wheel.insert(100, 2, "due");
    wheel.expire(100);
    wheel.insert(60, 3, "late");
    wheel.insert(101, 4, "near");
    wheel.insert(u64::MAX, 5, "far");
    let mut all = Vec::new();
    wheel.drain(|_, value| all.push(value));
    all.sort_unstable();
    assert_eq!(all, ["due", "far", "late", "late", "near"]);
    assert!(wheel.timers.is_empty());
    assert_eq!((wheel.next_deadline(), pop_due(&mut wheel)), (None, None));
    wheel.insert(102, 6, "again");
    assert_eq!(wheel.next_deadline(), Some(102));
}
