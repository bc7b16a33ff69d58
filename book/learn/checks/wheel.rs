//! The laws of timers, on the reader's wheel. A sorted map does the same, slowly and obviously.

use crate::common::{self, Random, expect, fail};
use crate::kernel::Wheel;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub fn check() {
    for seed in 0..400u64 {
        // The programs before are smaller, and the ones after have far timers.
        if seed == 4 {
            does_not_walk();
        }
        let mut random = Random::new(seed + 17);
        common::begin(format!("wheel {seed}"), Vec::new());
        let mut wheel = Wheel::new();
        let mut model: BTreeMap<(u64, u64), ()> = BTreeMap::new();
        let (mut now, mut ids) = (0u64, 0);
        let reach = [3, 70, 300, 5_000, 300_000][seed as usize % 5];
        for _ in 0..40 {
            match random.below(8) {
                0..4 => {
                    let deadline = now + 1 + random.below(reach) as u64;
                    ids += 1;
                    common::event(&[], format!("insert({ids}, {deadline})"));
                    wheel.insert(ids, deadline);
                    model.insert((deadline, ids), ());
                }
                4 if !model.is_empty() => {
                    let (deadline, id) = *model.keys().nth(random.below(model.len())).unwrap();
                    common::event(&[], format!("remove({id}, {deadline})"));
                    model.remove(&(deadline, id));
                    expect("TIME-2", &format!("remove({id}, {deadline})"), wheel.remove(id, deadline), true);
                    expect("TIME-2", &format!("remove({id}, {deadline}) again"), wheel.remove(id, deadline), false);
                }
                _ => {
                    // Often exactly to a deadline, or one before.
                    let next = model.keys().nth(random.below(3)).map(|key| key.0);
                    now = match (random.below(4), next) {
                        (0, Some(next)) => next,
                        (1, Some(next)) => (next - 1).max(now),
                        _ => now + random.below(reach) as u64,
                    };
                    common::event(&[], format!("expire({now})"));
                    let mut due = Vec::new();
                    while let Some((&(deadline, id), ())) = model.first_key_value().filter(|(key, ())| key.0 <= now) {
                        model.remove(&(deadline, id));
                        due.push(id);
                    }
                    let found = wheel.expire(now);
                    let sorted = |ids: &[u64]| {
                        let mut ids = ids.to_vec();
                        ids.sort_unstable();
                        ids
                    };
                    if let Some(early) = found.iter().find(|id| !due.contains(id)) {
                        fail("TIME-2", format!("timer {early} fires at {now}, and is not due, or has fired before"));
                    }
                    if let Some(late) = due.iter().find(|id| !found.contains(id)) {
                        fail("TIME-2", format!("timer {late} is due at {now}, and does not fire"));
                    }
                    if sorted(&found) != sorted(&due) {
                        fail("TIME-2", format!("a timer fires twice: {found:?}"));
                    }
                    if found != due {
                        fail("TIME-3", format!("timers fire in the order {found:?} instead of {due:?}"));
                    }
                }
            }
        }
    }
}

fn does_not_walk() {
    // No timer costs a walk over all the time before it.
    common::begin("a long time".into(), Vec::new());
    let mut wheel = Wheel::new();
    common::event(&[], "insert(1, 16000000)".into());
    wheel.insert(1, 16_000_000);
    // The right way takes some microseconds. A walk through sixteen million moments takes much longer, on any machine.
    let begun = Instant::now();
    common::hangs_by("LIVE", "`expire` walks through every moment, or does not end".into());
    common::event(&[], "expire(15999999)".into());
    expect("TIME-2", "expire(15999999)", wheel.expire(15_999_999), vec![]);
    common::event(&[], "expire(16000000)".into());
    expect("TIME-2", "expire(16000000)", wheel.expire(16_000_000), vec![1]);
    for nth in 2..10 {
        // Again and again, so that the time tells.
        let mut wheel = Wheel::new();
        wheel.insert(nth, 16_000_000);
        expect("TIME-2", "expire(16000000)", wheel.expire(16_000_000), vec![nth]);
    }
    if begun.elapsed() > Duration::from_secs(2) {
        fail("LIVE", "`expire` walks through every moment".into());
    }
    common::hangs_by("LIVE", "the code hangs".into());
}
