//! The programs that are written in Rust. Each sample is one run of this binary.
//!
//! The bare loop and `onelane` are those of `benches/cases`.

mod threads;

use anyhow::{Context, Result, bail};
use onelane::sync::channel;
use onelane_cases::{Floor, Meter, Onelane, Size, Works};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The number of switches that were made, and the time that they took.
type Sample = (u64, Duration);

/// Takes one sample, after a warm-up.
///
/// # Errors
///
/// Returns an error if there is no such program, or if it does not have this shape.
pub(crate) fn sample(program: &str, shape: &str, tasks: usize, rounds: usize) -> Result<Sample> {
    run(program, shape, tasks, rounds / 10 + 1)?;
    run(program, shape, tasks, rounds)
}

fn run(program: &str, shape: &str, tasks: usize, rounds: usize) -> Result<Sample> {
    Ok(match (program, shape) {
        ("call", "yield") => calls(tasks, rounds),
        ("call", "hand-over") => calls_and_returns(rounds),
        ("floor", "yield") => case(&Floor::works(), "yield-1", tasks, rounds)?,
        ("onelane", "yield") => case(&Onelane::works(), "own-yield-1", tasks, rounds)?,
        ("onelane", "hand-over") => case(&Onelane::works(), "baton", tasks, rounds)?,
        ("onelane-channels", "hand-over") => channels(rounds),
        ("threads", "yield") => threads::yields(tasks, rounds),
        ("threads", "hand-over") => threads::hand_over(rounds),
        _ => bail!("there is no program {program:?} with the shape {shape:?}"),
    })
}

/// Runs a case of `benches/cases`. Cases for different numbers of tasks have the same work.
fn case(works: &Works, id: &str, tasks: usize, rounds: usize) -> Result<Sample> {
    thread_local! {
        static START: Cell<Option<Instant>> = const { Cell::new(None) };
        static STOP: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let meter = Meter { start: || START.set(Some(Instant::now())), stop: || STOP.set(Some(Instant::now())) };
    let (_, work) = works.iter().find(|(case, _)| *case == id).with_context(|| format!("there is no case {id}"))?;
    let switches = work(Size { width: tasks, rounds }, meter);
    let (start, stop) = START.take().zip(STOP.take()).context("the case did not call the meter")?;
    Ok((switches, stop - start))
}

/// Counts a call.
#[inline(never)]
fn step(count: &mut u64) {
    *count += 1;
}

/// Returns a pointer to [`step`] that the compiler knows nothing about, so it cannot inline the call.
fn unknown_step() -> fn(&mut u64) {
    black_box(step)
}

/// Each task is a counter and a function. A call and its return are one yield.
fn calls(tasks: usize, rounds: usize) -> Sample {
    let mut tasks = vec![(unknown_step(), 0); tasks];
    let begun = Instant::now();
    for _ in 0..rounds {
        for (step, count) in &mut tasks {
            step(count);
        }
    }
    let took = begun.elapsed();
    (tasks.iter().map(|(_, count)| count).sum(), took)
}

/// A caller and a function. The call is one hand-over, the return is another.
fn calls_and_returns(rounds: usize) -> Sample {
    let step = unknown_step();
    let (mut called, mut returned) = (0, 0);
    let begun = Instant::now();
    for _ in 0..rounds {
        step(&mut called);
        returned += 1;
    }
    let took = begun.elapsed();
    (called + returned, took)
}

/// Two tasks of `onelane`. Each sends to the other through a channel with room for one message, and
/// then waits for it. There are two hand-overs per round.
fn channels(rounds: usize) -> Sample {
    onelane::run(async move {
        let (there, arriving) = channel::channel(1);
        let (back, returning) = channel::channel(1);
        let other = onelane::spawn(async move {
            let mut answered = 0;
            while arriving.recv().await.is_some() {
                answered += 1;
                back.send(()).await.unwrap();
            }
            answered
        });
        let mut returned = 0;
        let begun = Instant::now();
        for _ in 0..rounds {
            there.send(()).await.unwrap();
            returning.recv().await.unwrap();
            returned += 1;
        }
        let took = begun.elapsed();
        drop(there);
        (returned + other.await.unwrap(), took)
    })
}
