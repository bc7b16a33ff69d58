//! Threads of the operating system, through the standard library. On Linux, a yield is
//! `sched_yield`, and parking is a futex.

use super::Sample;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::sync::{Barrier, OnceLock};
use std::thread::{self, Builder};
use std::time::Instant;

/// What the yielding threads share.
struct Turns {
    threads: usize,
    /// Here the threads wait until all exist, without taking turns.
    exist: Barrier,
    arrived: AtomicUsize,
    left: AtomicUsize,
    /// The thread that ran last.
    last: AtomicUsize,
    begun: OnceLock<Instant>,
    ended: OnceLock<Instant>,
}

impl Turns {
    /// Lets another thread run. If there is only one thread, it yields once. Otherwise a thread
    /// yields until another one has run, because the system may choose the same thread again.
    fn pass(&self, me: usize) {
        loop {
            thread::yield_now();
            if self.last.swap(me, Relaxed) != me || self.threads == 1 {
                return;
            }
        }
    }

    /// Yields `rounds` times. The clock starts when all threads have started, and stops when the
    /// last has returned from its last counted yield. Returns the number of counted yields.
    fn run(&self, me: usize, rounds: usize) -> u64 {
        self.exist.wait();
        if self.arrived.fetch_add(1, AcqRel) + 1 == self.threads {
            self.begun.get_or_init(Instant::now);
        }
        self.pass(me);
        while self.arrived.load(Acquire) < self.threads {
            self.pass(me);
        }
        let mut done = 1;
        for _ in 1..rounds {
            self.pass(me);
            done += 1;
        }
        if self.left.fetch_add(1, AcqRel) + 1 == self.threads {
            self.ended.get_or_init(Instant::now);
        }
        // No thread ends while the clock runs, because the others may wait until it has run.
        while self.left.load(Acquire) < self.threads {
            thread::yield_now();
            self.last.store(me, Relaxed);
        }
        done
    }
}

pub(super) fn yields(threads: usize, rounds: usize) -> Sample {
    let turns = Turns {
        threads,
        exist: Barrier::new(threads),
        arrived: AtomicUsize::new(0),
        left: AtomicUsize::new(0),
        last: AtomicUsize::new(threads),
        begun: OnceLock::new(),
        ended: OnceLock::new(),
    };
    let switches = thread::scope(|scope| {
        let turns = &turns;
        let start = |me| {
            let thread = Builder::new().stack_size(64 << 10).spawn_scoped(scope, move || turns.run(me, rounds));
            thread.unwrap_or_else(|error| {
                // The threads that were started wait for the others, and cannot be joined.
                eprintln!("thread {me} of {threads} cannot be started: {error}");
                process::exit(1)
            })
        };
        let all: Vec<_> = (0..threads).map(start).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let (begun, ended) = turns.begun.get().zip(turns.ended.get()).expect("at least one thread yields");
    (switches, *ended - *begun)
}

/// The main thread and another one. Each unparks the other, and then parks. There are two
/// hand-overs per round.
pub(super) fn hand_over(rounds: usize) -> Sample {
    let (is_other_turn, over) = (AtomicBool::new(false), AtomicBool::new(false));
    let main = thread::current();
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut answered = 0;
            loop {
                while !is_other_turn.load(Acquire) {
                    thread::park();
                }
                if over.load(Acquire) {
                    return answered;
                }
                answered += 1;
                is_other_turn.store(false, Release);
                main.unpark();
            }
        });
        let give_turn = || {
            is_other_turn.store(true, Release);
            other.thread().unpark();
        };
        let mut returned = 0;
        let begun = Instant::now();
        for _ in 0..rounds {
            give_turn();
            while is_other_turn.load(Acquire) {
                thread::park();
            }
            returned += 1;
        }
        let took = begun.elapsed();
        over.store(true, Release);
        give_turn();
        (returned + other.join().unwrap(), took)
    })
}
