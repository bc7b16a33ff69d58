//! Runs random programs on onelane, and compares their traces with those of CPython's asyncio.
//!
//! A line of a `.jsonl` file in this folder is a program and its trace under CPython: who logged
//! what, in which order, at which millisecond. An interpreter runs the program through the public
//! API only, on a virtual clock, and must leave the same trace. `README.md` describes the levels,
//! the statements and the environment variables.
//!
//! This file has the tests. `comparison.rs` has traces and their differences. `program.rs` reads
//! the files and `statement.rs` the statements. `machine.rs` runs a program with the help of
//! `shared.rs` and `outcome.rs`. The effects of the statements are in `levels_a_to_c.rs` and
//! `level_d.rs`. Read `machine.rs` next.

mod comparison;
mod level_d;
mod levels_a_to_c;
mod machine;
mod outcome;
mod program;
mod shared;
mod statement;
#[cfg(feature = "replay")]
#[path = "../common/states.rs"]
mod states;
#[cfg(all(feature = "probe", feature = "report"))]
#[path = "../common/strict.rs"]
mod strict;
#[cfg(all(feature = "probe", feature = "report"))]
#[path = "../common/trace.rs"]
#[expect(dead_code, reason = "other tests count more")]
mod trace;

use comparison::{Comparison, Trace};
use onelane::{Budget, EventLoop};
use program::{Program, files, programs};
#[cfg(all(feature = "probe", feature = "report"))]
use std::cell::{Cell, RefCell};
#[cfg(all(feature = "probe", feature = "report"))]
use std::rc::Rc;
use std::time::Duration;
#[cfg(all(feature = "probe", feature = "report"))]
use strict::Strict;

#[test]
fn run_and_compare_with_cpython() {
    compare(1, &mut |program| machine::run(&program.bodies, &EventLoop::with_virtual_clock));
}

/// A loop whose guide always chooses what comes first runs in CPython's order.
#[cfg(feature = "explore")]
#[test]
fn run_and_compare_with_a_guide_that_never_deviates() {
    let event_loop = || {
        let order = onelane::explore::Order::default();
        EventLoop::builder().clock(onelane::Clock::Virtual).schedule(order).build()
    };
    compare(1, &mut |program| machine::run(&program.bodies, &event_loop));
}

/// A host may allow the loop one step at a time, a few steps, or almost no time. A budget that ends
/// in the middle of a turn leaves the rest to the next call, and so changes no logged line. The
/// lines after the end of body 0 are not compared, because the host stops there.
#[test]
fn turn_within_budgets_and_compare_with_cpython() {
    let budgets = [Budget::steps(1), Budget::steps(3), Budget::time(Duration::ZERO), Budget::UNLIMITED];
    let mut budgets = budgets.into_iter().cycle();
    let mut turns = 0;
    compare(1, &mut |program| {
        let (lines, taken) = machine::lines_within(&program.bodies, budgets.next().unwrap());
        turns += taken;
        Trace { lines, shutdown: program.trace.shutdown.clone(), end: program.trace.end.clone() }
    });
    assert!(turns > 10_000, "only {turns} turns: the budgets did not end early");
}

/// A probe captures all tasks at each event, and this changes no trace. The events match their
/// docs, the metrics agree with them, and the laws of the metrics hold at every moment.
#[cfg(all(feature = "probe", feature = "report"))]
#[test]
fn look_at_the_call_graph_all_the_time() {
    use onelane::probe::{Counters, Event, EventKind, Probe, Tee};

    /// The number of captures that were not empty, and the complaints.
    type Notes = (Cell<usize>, RefCell<Vec<String>>);

    struct Looks(Strict, Rc<Notes>, Rc<Counters>);

    impl Probe for Looks {
        fn event(&self, event: &Event<'_>) {
            // Events are emitted in the middle of a task's step, too.
            if EventLoop::try_current().is_err() {
                return;
            }
            let graph = onelane::call_graph();
            self.1.0.set(self.1.0.get() + format!("{graph:?}").len().min(1));
            let now = onelane::metrics();
            assert_eq!(now.spawned, now.alive + now.finished + now.cancelled + now.panicked);
            assert_eq!(now.wakes, now.wakes_queued + now.wakes_merged + now.wakes_late);
            assert_eq!(now.timers_armed, now.timers_fired + now.timers_cancelled + now.timers_pending);
            // The counts of the events so far must equal the current metrics.
            let told = self.2.counts();
            let wakes = [told.wakes_queued, told.wakes_merged, told.wakes_late];
            let timers = [told.timers_armed, told.timers_fired, told.timers_cancelled];
            let ends = [told.spawns, told.finished, told.cancelled, told.panicked];
            assert_eq!(wakes, [now.wakes_queued, now.wakes_merged, now.wakes_late], "{event}");
            assert_eq!(timers, [now.timers_armed, now.timers_fired, now.timers_cancelled], "{event}");
            assert_eq!(ends, [now.spawned, now.finished, now.cancelled, now.panicked], "{event}");
            if event.kind == EventKind::TurnEnd {
                let steps = [told.turns_begun, told.steps_begun, told.calls_begun];
                assert_eq!(steps, [now.turns, now.steps, now.callbacks], "{event}");
            }
            assert!(graph.circles().iter().all(|circle| !circle.is_empty()));
        }
    }

    impl Drop for Looks {
        fn drop(&mut self) {
            self.1.1.borrow_mut().extend(self.0.complaints_at_the_end());
        }
    }

    let notes = Rc::new(Notes::default());
    let copy = notes.clone();
    let event_loop = move || {
        let (strict, notes, counters) = (Strict::default(), copy.clone(), Rc::new(Counters::new()));
        let told = notes.clone();
        EventLoop::builder()
            .clock(onelane::Clock::Virtual)
            .probe(Tee(counters.clone(), Tee(strict.clone(), Looks(strict, notes, counters))))
            .exception_handler(move |exception| {
                told.1.borrow_mut().extend(exception.message.contains("a probe").then(|| exception.to_string()))
            })
            .metrics(true)
            .build()
    };
    compare(OBSERVED, &mut |program| machine::run(&program.bodies, &event_loop));
    let complaints = notes.1.take();
    assert!(complaints.is_empty(), "{} complaints: {:#?}", complaints.len(), &complaints[..complaints.len().min(20)]);
    assert!(notes.0.get() > 200_000 / OBSERVED, "{} pictures showed anything", notes.0.get());
}

/// The recording of each program is valid: its slices nest, and its arrows begin and end in slices.
#[cfg(all(feature = "probe", feature = "report"))]
#[test]
fn record_each_program() {
    struct Paper(Vec<u8>, Rc<Cell<usize>>);

    impl std::io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Drop for Paper {
        fn drop(&mut self) {
            let counts = trace::check_trace(std::str::from_utf8(&self.0).unwrap());
            self.1.set(self.1.get() + counts.slices("run"));
        }
    }

    let steps = Rc::new(Cell::new(0));
    let copy = steps.clone();
    let event_loop = move || {
        let recorder = onelane::probe::Recorder::new(Paper(Vec::new(), copy.clone()));
        EventLoop::builder().clock(onelane::Clock::Virtual).probe(recorder).build()
    };
    compare(OBSERVED, &mut |program| machine::run(&program.bodies, &event_loop));
    assert!(steps.get() > 20_000 / OBSERVED, "{} steps", steps.get());
}

/// The page of a replay computes the states of a hundred programs as the Rust code does.
#[cfg(feature = "replay")]
#[test]
fn compute_the_states_of_programs_in_javascript() {
    let recordings = Rc::new(RefCell::new(Vec::new()));
    let copy = recordings.clone();
    let event_loop = move || {
        let recording = Rc::new(onelane::replay::Recording::new());
        copy.borrow_mut().push(recording.clone());
        EventLoop::builder().clock(onelane::Clock::Virtual).probe(recording).build()
    };
    // Programs of each level.
    for path in files() {
        for program in programs(&path).step_by(30).take(40) {
            machine::run(&program.bodies, &event_loop);
        }
    }
    let lines: Vec<_> = recordings.take().iter().map(|recording| recording.to_checked_json()).collect();
    assert!(lines.len() >= 100, "{} programs", lines.len());
    match states::compare_states("programs.jsonl", &lines.join("\n")) {
        Some(states) => assert!(states > 10_000, "{states} states"),
        None => println!("skipped: node is not installed"),
    }
}

/// A replay computes the state of the loop from its events. In debug builds, the recording compares it
/// with the loop's own state at the end of each turn.
#[cfg(all(feature = "replay", debug_assertions))]
#[test]
fn replay_each_program() {
    let (complaints, events) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    struct Counted(onelane::replay::Recording, Rc<Cell<usize>>);

    impl onelane::probe::Probe for Counted {
        fn event(&self, event: &onelane::probe::Event<'_>) {
            self.0.event(event);
            self.1.set(self.1.get() + 1);
        }
    }

    let (told, count) = (complaints.clone(), events.clone());
    let event_loop = move || {
        let told = told.clone();
        EventLoop::builder()
            .clock(onelane::Clock::Virtual)
            .probe(Counted(onelane::replay::Recording::new(), count.clone()))
            .exception_handler(move |exception| {
                told.borrow_mut().extend(exception.message.contains("a probe").then(|| exception.to_string()))
            })
            .build()
    };
    compare(OBSERVED, &mut |program| machine::run(&program.bodies, &event_loop));
    let complaints = complaints.take();
    assert!(complaints.is_empty(), "{} complaints: {:#?}", complaints.len(), &complaints[..complaints.len().min(20)]);
    assert!(events.get() > 50_000, "{} events", events.get());
}

/// With a probe, only every eighth program runs in an unoptimized build, because all of them would
/// take minutes.
#[cfg(all(feature = "probe", feature = "report"))]
const OBSERVED: usize = if cfg!(debug_assertions) { 8 } else { 1 };

/// Runs every program, or one of `one_of`, and compares the trace that it leaves with CPython's.
fn compare(one_of: usize, run: &mut dyn FnMut(&Program) -> Trace) {
    let mut comparison = Comparison::new();
    for path in files() {
        for program in programs(&path).step_by(one_of) {
            comparison.begin(&path, &program);
            let ours = run(&program);
            comparison.end(&path, &program, ours);
        }
    }
    comparison.finish();
}
