//! Runs random programs over the whole vocabulary, and checks laws.
//!
//! There is no other executor whose traces could be compared. The laws hold for all programs. Each
//! program ends, and leaves the same trace when it runs twice or in a host with a budget. Each of
//! its futures is dropped once, a cancelled task ends after its cleanups, and a satisfied wait
//! wakes its task. `random_programs/laws.rs` lists all laws.
//!
//! A program is generated from its seed (`program.rs`). Programs run in another process, two
//! hundred in each, because a broken one may hang or crash. A program that fails is made smaller
//! (`shrink.rs`) and printed.
//!
//! ```text
//! cargo test --test random_programs                                     a fixed set of seeds
//! ONELANE_SEEDS=100..5000 cargo test --test random_programs             other seeds, or a count
//! ONELANE_SECONDS=60 cargo test --test random_programs -- --nocapture   new seeds for a minute
//!
//! ONELANE_WITHOUT=catch,group    leaves words out
//! ONELANE_FAILURES=10            goes on until this number of programs has failed
//! ONELANE_SHRINK=120             seconds for making a program smaller; 0 leaves it as it is
//! ONELANE_EDITS=3,17             the edits of the shrinker, for a single seed in ONELANE_SEEDS
//! ```
//!
//! The order in this file: the tests, the process that runs programs, the process that watches it.

#[path = "random_programs/acts.rs"]
mod acts;
#[path = "random_programs/futures.rs"]
mod futures;
#[path = "random_programs/laws.rs"]
mod laws;
#[path = "random_programs/machine.rs"]
mod machine;
#[path = "random_programs/parts.rs"]
mod parts;
#[path = "random_programs/program.rs"]
mod program;
#[path = "random_programs/random.rs"]
mod random;
#[path = "random_programs/shrink.rs"]
mod shrink;

#[path = "common/mod.rs"]
mod common;
#[cfg(feature = "probe")]
#[path = "common/strict.rs"]
mod strict;

use machine::{Failure, Line, Machine};
use onelane::{Budget, Clock, EventLoop, Exception, LoopBuilder, RunError, yield_now};
use parts::{Payload, explode};
use program::{Ending, Program, WORDS, Word};
use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// The seeds of a plain `cargo test`.
const SEEDS: Range<u64> = 0..1500;

/// A program that takes longer is considered hung.
const HANGS: Duration = Duration::from_secs(20);

/// The same for programs that the shrinker tries.
const SMALL_HANGS: Duration = Duration::from_secs(4);

#[test]
fn run_random_programs() {
    let asked = Asked::from_environment();
    let begun = Instant::now();
    let mut failed = Vec::new();
    let mut next = asked.seeds.start;
    let mut run = 0;
    while failed.len() < asked.failures && asked.has_time(begun) && next < asked.seeds.end {
        let seeds = next..asked.seeds.end.min(next + 200);
        let (last, failure) = run_seeds(seeds.clone(), &[], HANGS);
        next = if failure.is_some() { last + 1 } else { seeds.end };
        run += next - seeds.start;
        if let Some(failure) = failure {
            let report = report(&asked, last, failure);
            println!("{report}\n");
            failed.push(report);
        }
    }
    let took = begun.elapsed().as_secs_f64();
    println!("{run} programs, seeds {}..{next}, {:.0} a second", asked.seeds.start, run as f64 / took);
    let them = failed.join("\n\n");
    assert!(failed.is_empty(), "{} program(s) failed:\n\n{them}", failed.len());
}

/// The test of the other process. It does nothing without a request from the test above.
#[test]
fn run_programs_for_another_process() {
    let Ok(seeds) = std::env::var(WORK) else { return };
    let asked = Asked::from_environment();
    let edits = numbers("ONELANE_EDITS_OF_ONE").unwrap_or_default();
    std::panic::set_hook(Box::new(note_panic));
    for seed in range(&seeds).expect("it is a range") {
        say(&format!("{SEED} {seed}"));
        let program = shrink::edited(Program::from_seed(seed, &asked.without), &edits);
        let ended = catch_unwind(AssertUnwindSafe(|| run_one(&program)));
        let failure = ended.unwrap_or_else(|payload| {
            Some(Failure { law: "no panic escapes from the test".into(), text: common::text_of(&*payload) })
        });
        if let Some(failure) = failure {
            say_and_exit(&failure);
        }
    }
    say(DONE);
}

const WORK: &str = "ONELANE_RANDOM_PROGRAMS";
const SEED: &str = "@ seed";
const FAILED: &str = "@ failed";
/// The message for a program that leaks by design. A sanitizer would report the leak.
const LEAKS: &str = "@ leaks";
const DONE: &str = "@ done";

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    _ = writeln!(out, "{what}");
    _ = out.flush();
}

/// Reports a failure and ends the process, because the rest of a failed program may never end.
fn say_and_exit(failure: &Failure) -> ! {
    say(&format!("{FAILED} {}\n{}", failure.law, failure.text));
    std::process::exit(0)
}

// ---- the settings ----

struct Asked {
    seeds: Range<u64>,
    seconds: Option<u64>,
    without: Vec<Word>,
    failures: usize,
    shrink: u64,
}

impl Asked {
    fn from_environment() -> Self {
        let seconds = number("ONELANE_SECONDS");
        // New seeds each time.
        let now = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()) * 100_000;
        let seeds = std::env::var("ONELANE_SEEDS").ok().map(|text| range(&text).expect("from..to, or a count"));
        let seeds = seeds.unwrap_or_else(|| if seconds.is_some() { now()..u64::MAX } else { SEEDS });
        let has_edits = std::env::var_os("ONELANE_EDITS").is_some();
        assert!(!has_edits || seeds.end - seeds.start == 1, "ONELANE_EDITS needs one seed in ONELANE_SEEDS");
        let names = std::env::var("ONELANE_WITHOUT").unwrap_or_default();
        let word = |name: &str| {
            let spec = WORDS.iter().find(|spec| spec.name == name);
            spec.unwrap_or_else(|| panic!("ONELANE_WITHOUT names {name:?}, which is not a word")).word
        };
        Asked {
            seeds,
            seconds,
            without: names.split(',').filter(|name| !name.is_empty()).map(word).collect(),
            failures: number("ONELANE_FAILURES").unwrap_or(1) as usize,
            shrink: number("ONELANE_SHRINK").unwrap_or(30),
        }
    }

    fn has_time(&self, begun: Instant) -> bool {
        self.seconds.is_none_or(|seconds| begun.elapsed() < Duration::from_secs(seconds))
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn numbers(name: &str) -> Option<Vec<usize>> {
    let text = std::env::var(name).ok()?;
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{name} is not a list of numbers"));
    Some(text.split(',').filter(|text| !text.is_empty()).map(number).collect())
}

fn range(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => Some(0..text.parse().ok()?),
    }
}

// ---- the process that runs programs ----

thread_local! {
    /// The messages of all panics of the program.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn note_panic(info: &std::panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    if payload.is::<Payload>() {
        return;
    }
    let text = common::text_of(payload);
    if text.contains("cannot unwind") || text.contains("during cleanup") {
        // The process is about to abort.
        say(&format!("the process ends: {text}, {:?}", info.location()));
    }
    let at = info.location().map_or_else(String::new, ToString::to_string);
    let text = if text.starts_with(parts::BOMB) { text } else { format!("{text}, at {at}") };
    _ = PANICS.try_with(|panics| panics.borrow_mut().push(text));
}

/// How a program is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Run,
    /// In debug mode.
    Debug,
    Turns(Budget),
}

/// Runs a program in several ways, which must leave the same trace.
fn run_one(program: &Program) -> Option<Failure> {
    // A host runs the program first, because a host can stop a program that does not end.
    let (first, failure) = run_in(program, Way::Turns(Budget::steps(3)));
    if failure.is_some() {
        return failure;
    }
    let budgets = [Budget::steps(1), Budget::UNLIMITED, Budget::time(Duration::ZERO)].map(Way::Turns);
    let others = [Way::Debug, budgets[0], budgets[1], budgets[2], Way::Run];
    let others = [Way::Run, others[program.len() % others.len()]];
    // `run` cannot notice every deadlock, and would then wait for ever. A host can stop.
    let ends = |way: &Way| program.ending != Ending::Stuck || matches!(way, Way::Turns(_)) || program.is_plain();
    for way in others.into_iter().filter(ends) {
        let (trace, failure) = run_in(program, way);
        if failure.is_some() {
            return failure;
        }
        // Before `run` returns a deadlock, it cancels the tasks. That adds lines to the trace, so
        // only the lines before are compared.
        let are_stuck = [&first, &trace].map(|trace| trace.last().is_some_and(Line::is_of_stuck));
        if are_stuck == [true; 2] && trace.starts_with(&first[..first.len() - 1]) {
            continue;
        }
        if trace != first {
            return Some(Failure {
                law: "a program leaves the same trace in each way of running".into(),
                text: show_difference(&format!("{way:?}"), &first, &trace),
            });
        }
    }
    None
}

fn show_difference(way: &str, first: &[Line], other: &[Line]) -> String {
    let place = (0..).find(|&nth| first.get(nth) != other.get(nth)).expect("they differ");
    let part = |lines: &[Line]| {
        let lines = lines.iter().enumerate().skip(place.saturating_sub(10)).take(15);
        let line = |(nth, line): (usize, &Line)| format!("  {} {line}\n", if nth == place { '>' } else { ' ' });
        lines.map(line).collect::<String>()
    };
    format!("three steps at a time:\n{}{way}:\n{}", part(first), part(other))
}

fn last_lines(trace: &[Line]) -> String {
    let lines = &trace[trace.len().saturating_sub(30)..];
    lines.iter().map(|line| format!("    {line}\n")).collect()
}

/// A program that takes more steps is considered endless.
const MOST_STEPS: usize = 100_000;

fn run_in(program: &Program, way: Way) -> (Vec<Line>, Option<Failure>) {
    PANICS.take();
    let told = Rc::new(RefCell::new(None::<Rc<Machine>>));
    #[cfg(feature = "probe")]
    let strict = strict::Strict::default();
    let builder = builder(program, way, &told);
    // A recording compares itself with the loop in debug builds. If they differ, the loop removes both
    // probes, and the strict one misses the ends of tasks.
    #[cfg(feature = "replay")]
    let builder = builder.probe(onelane::probe::Tee(strict.clone(), onelane::replay::Recording::new().limit(100)));
    #[cfg(all(feature = "probe", not(feature = "replay")))]
    let builder = builder.probe(strict.clone());
    let event_loop = builder.build();
    let machine = Machine::new(program, &event_loop, true);
    *told.borrow_mut() = Some(machine.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| run_to_the_end(program, way, &event_loop, &machine)));
    if let Err(payload) = &ended {
        machine.broken("no panic escapes from the loop", common::text_of(&**payload));
    }
    if let Some(failure) = machine.failure() {
        // Dropping the loop might hang, so it is leaked. This process runs no further program.
        std::mem::forget((event_loop, ended));
        let trace = machine.trace.take();
        let text = format!("{}\n{way:?}, in the end:\n{}", failure.text.trim_end(), last_lines(&trace));
        return (trace, Some(Failure { text, ..failure }));
    }
    drop(told.take());
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(event_loop)));
    machine.holds("no panic escapes from the loop", dropped.is_ok(), || "when it was dropped".into());
    machine.run_other_loop();
    machine.check_end(&PANICS.take());
    if machine.may_leak() {
        say(LEAKS);
    }
    // The strict probe assumes that a timer causes one wake.
    #[cfg(feature = "probe")]
    if !program.has(|word| matches!(word, Word::Shared | Word::Relay | Word::Foreign)) {
        let complaints = strict.complaints_at_the_end();
        machine
            .holds("the events of a probe obey their documentation", complaints.is_empty(), || complaints[0].clone());
    }
    (machine.trace.take(), machine.failure())
}

fn builder(program: &Program, way: Way, told: &Rc<RefCell<Option<Rc<Machine>>>>) -> LoopBuilder {
    let (handler, told) = (program.handler, told.clone());
    let handle = move |exception: &Exception| {
        let machine = told.borrow().clone();
        if let Some(machine) = machine {
            machine.log(0, exception.message);
        }
        match handler {
            0 => {}
            1 => explode("the exception handler"),
            _ if std::thread::panicking() => {}
            _ => std::panic::panic_any(Payload),
        }
    };
    EventLoop::builder()
        .clock(Clock::Virtual)
        .metrics(true)
        .debug(way == Way::Debug)
        .deadlock_handler(|_| ())
        .slow_step_handler(|_| ())
        .exception_handler(handle)
}

fn run_to_the_end(program: &Program, way: Way, event_loop: &EventLoop, machine: &Rc<Machine>) {
    if let Ending::Drop(turns) = program.ending {
        drop(event_loop.spawn(machine.clone().main()));
        for _ in 0..turns {
            event_loop.turn();
        }
        return;
    }
    let Way::Turns(budget) = way else {
        return match event_loop.try_run(machine.clone().main()) {
            Ok(()) => run_behind(event_loop),
            Err(RunError::Deadlock(_)) if program.ending == Ending::Stuck => {
                event_loop.enter(|| machine.note_end_of_stuck())
            }
            Err(RunError::Deadlock(report)) => machine.broken("each program ends", report.to_string()),
            Err(error) => machine.broken("each program ends", error.to_string()),
        };
    };
    let main = event_loop.spawn(machine.clone().main());
    let mut steps = 0;
    while !main.is_done() {
        let turn = event_loop.turn_within(budget);
        steps += turn.steps + turn.callbacks + turn.timers;
        common::check_metrics(&event_loop.metrics());
        let is_stuck = !main.is_done() && turn.is_idle() && turn.next_deadline.is_none();
        if is_stuck && program.ending == Ending::Stuck {
            return event_loop.enter(|| machine.note_stuck());
        }
        if is_stuck {
            return machine.broken("each program ends", format!("main is stuck:\n{}", event_loop.call_graph()));
        }
        if steps > MOST_STEPS {
            return machine.broken("each program ends", format!("it goes on and on:\n{}", event_loop.call_graph()));
        }
    }
    machine.holds("each program ends", main.result().is_ok(), || "main has failed".into());
    if machine.failure().is_none() {
        run_behind(event_loop);
    }
}

/// Runs the same loop twice more, to call the done callbacks that are still queued.
fn run_behind(event_loop: &EventLoop) {
    event_loop.run(async {});
    event_loop.run(async {
        yield_now().await;
        yield_now().await;
    });
}

// ---- the process that watches ----

/// Runs programs in another process. Returns the seed of the last one, and its failure.
fn run_seeds(seeds: Range<u64>, edits: &[usize], hangs_after: Duration) -> (u64, Option<Failure>) {
    let edits: Vec<String> = edits.iter().map(usize::to_string).collect();
    let first = numbers("ONELANE_EDITS").unwrap_or_default().iter().map(|edit| format!("{edit},")).collect::<String>();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "run_programs_for_another_process", "--nocapture"])
        .env(WORK, format!("{}..{}", seeds.start, seeds.end))
        .env("ONELANE_EDITS_OF_ONE", first + &edits.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (tell, told) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| _ = tell.send(line)));
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        _ = errors.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let (mut last, mut lines, mut hangs, mut leaks, mut is_done) = (seeds.start, Vec::new(), false, false, false);
    loop {
        match told.recv_timeout(hangs_after) {
            Ok(line) => {
                if let Some(seed) = line.strip_prefix(SEED) {
                    last = seed.trim().parse().unwrap();
                    lines.clear();
                } else if line == LEAKS {
                    leaks = true;
                } else if line == DONE {
                    is_done = true;
                } else {
                    lines.push(line);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                hangs = true;
                break;
            }
        }
    }
    if hangs {
        _ = child.kill();
    }
    let status = child.wait().unwrap();
    reader.join().unwrap();
    let complaints = complaints.join().unwrap();
    if is_done && (status.success() || leaks) {
        return (last, None);
    }
    let failed = lines.iter().position(|line| line.starts_with(FAILED));
    let failure = match failed {
        _ if hangs => Failure { law: "each program ends".into(), text: "it hangs".into() },
        Some(place) => {
            Failure { law: lines[place][FAILED.len()..].trim().to_string(), text: lines[place + 1..].join("\n") }
        }
        None => Failure {
            law: "no program crashes its process".into(),
            text: format!("{status}\n{}\n{}", lines.join("\n"), end_of(&complaints)),
        },
    };
    (last, Some(failure))
}

/// The last lines of a text.
fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// Makes a failed program smaller, and describes it.
fn report(asked: &Asked, seed: u64, failure: Failure) -> String {
    let begun = Instant::now();
    let has_time = || begun.elapsed() < Duration::from_secs(asked.shrink);
    let given = numbers("ONELANE_EDITS").unwrap_or_default();
    let program = shrink::edited(Program::from_seed(seed, &asked.without), &given);
    let mut smallest = failure.clone();
    let fails = |_: &Program, edits: &[usize]| {
        let (_, other) = run_seeds(seed..seed + 1, edits, SMALL_HANGS);
        let fails = other.as_ref().is_some_and(|other| other.law == failure.law);
        smallest = other.filter(|_| fails).unwrap_or_else(|| smallest.clone());
        fails
    };
    let edits = shrink::shrink(&program, fails, has_time);
    let small = shrink::edited(program.clone(), &edits);
    let edits = given.iter().chain(&edits).map(usize::to_string).collect::<Vec<_>>().join(",");
    let without = std::env::var("ONELANE_WITHOUT").map(|names| format!("ONELANE_WITHOUT={names} ")).unwrap_or_default();
    format!(
        "seed {seed}: {} ({} words, {} were left)\n{small}\n{}\nAgain: {without}ONELANE_SEEDS={seed}..{} ONELANE_EDITS={edits}",
        smallest.law,
        program.len(),
        small.len(),
        smallest.text,
        seed + 1,
    )
}
