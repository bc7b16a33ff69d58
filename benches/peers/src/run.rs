//! Runs the benchmark: finds the runtimes, and takes one sample of each per round.

use crate::figures::{Absent, CaseFigures, Failure, Figure, Figures, Machine, Runtime};
use crate::options::Options;
use crate::python::Python;
use crate::{measure, resident};
use indicatif::{ProgressBar, ProgressStyle};
use onelane_cases::{CASES, Case, Measure, Size, Work, Works};
use onelane_peers::runtimes;
use std::process::Command;
use std::time::Duration;

/// A runtime that takes part.
pub(crate) struct Participant {
    pub(crate) id: &'static str,
    version: String,
    note: &'static str,
    place: Place,
}

enum Place {
    /// In this process.
    Here(Works),
    /// In a child.
    Child(Python),
}

impl Participant {
    fn has(&self, case: &Case) -> bool {
        match &self.place {
            Place::Here(_) => self.work(case).is_some(),
            Place::Child(python) => python.cases.iter().any(|id| id == case.id),
        }
    }

    fn work(&self, case: &Case) -> Option<Work> {
        let Place::Here(works) = &self.place else { return None };
        works.iter().find(|(id, _)| *id == case.id).map(|(_, work)| *work)
    }

    /// Returns the total of one run of the case.
    fn sample(&mut self, case: &Case, size: Size) -> Result<f64, String> {
        let work = self.work(case);
        match (&mut self.place, work) {
            (Place::Child(_), _) if is_resident(case) => Python::start(self.id)?.sample(case, size),
            (Place::Child(python), _) => python.sample(case, size).inspect_err(|_| {
                // The child may have died, and a living one is needed for the other cases.
                if let Ok(fresh) = Python::start(self.id) {
                    *python = fresh;
                }
            }),
            (Place::Here(_), Some(_)) if is_resident(case) => resident::sample(self.id, case, size),
            (Place::Here(_), Some(work)) => measure::sample(case, work, size),
            (Place::Here(_), None) => Err("it does not have this case".into()),
        }
    }
}

/// Returns the runtimes that can be measured here, and the reasons why others cannot.
pub(crate) fn participants(options: &Options) -> Result<(Vec<Participant>, Vec<Absent>), String> {
    let mut names = Vec::new();
    let (mut participants, mut absent) = (Vec::new(), Vec::new());
    let (peers, absent_peers) = runtimes::all();
    for peer in peers {
        names.push(peer.id);
        let version = peer.version();
        participants.push(Participant { id: peer.id, version, note: peer.note, place: Place::Here(peer.works) });
    }
    for (id, why) in absent_peers {
        names.push(id);
        absent.push(Absent { id: id.into(), why });
    }
    for (id, note) in [
        (
            "asyncio",
            "CPython's asyncio, in a child process, measured by its own clock; heap as `tracemalloc` reports it. A self-wake \
             is a bare `yield`, a waker is a future, a timer is `call_later`. Of the cases with a million tasks or \
             timers, only those for resident memory are run, because the others take minutes.",
        ),
        ("uvloop", "The same program on uvloop's loop."),
    ] {
        names.push(id);
        if !options.wants_runtime(id) {
            continue;
        }
        match Python::start(id) {
            Ok(python) => {
                let version = python.version.clone();
                participants.push(Participant { id, version, note, place: Place::Child(python) });
            }
            Err(why) => absent.push(Absent { id: id.into(), why }),
        }
    }
    if let Some(unknown) = options.runtimes.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(format!("there is no runtime {unknown:?}; there are {}", names.join(", ")));
    }
    participants.retain(|participant| options.wants_runtime(participant.id));
    absent.retain(|absent| options.wants_runtime(&absent.id));
    Ok((participants, absent))
}

/// Number and duration of the samples.
#[derive(Clone, Copy)]
struct Plan {
    quick: bool,
    rounds: usize,
    /// How long a sample should last.
    target: Duration,
}

impl Plan {
    fn new(options: &Options) -> Self {
        let (rounds, milliseconds) = if options.quick { (3, 3) } else { (11, 35) };
        Plan {
            quick: options.quick,
            rounds: options.rounds.unwrap_or(rounds),
            target: Duration::from_millis(milliseconds),
        }
    }

    fn rounds(self, case: &Case) -> usize {
        if is_resident(case) { self.rounds.min(RESIDENT_ROUNDS) } else { self.rounds }
    }

    /// A sample in a new process gains nothing from a warm-up.
    fn warm_ups(self, case: &Case) -> usize {
        usize::from(!is_resident(case))
    }
}

/// Resident memory hardly differs from sample to sample.
pub(crate) const RESIDENT_ROUNDS: usize = 3;

fn is_resident(case: &Case) -> bool {
    case.measure == Measure::ResidentBytes
}

/// Measures all selected cases. A failure is recorded in the figures, and the rest is still
/// measured.
///
/// # Errors
///
/// Returns an error if a selected runtime does not exist.
pub(crate) fn run(options: &Options) -> Result<Figures, String> {
    let pinned = measure::pin();
    let (mut participants, mut absent) = participants(options)?;
    let plan = Plan::new(options);
    let mut cases: Vec<&Case> = CASES.iter().filter(|case| options.wants_case(case.id)).collect();
    if let Err(why) = resident::bytes() {
        let (left_out, rest) = cases.into_iter().partition(|case| is_resident(case));
        cases = rest;
        absent.extend(Vec::into_iter(left_out).map(|case| Absent { id: case.id.into(), why: why.clone() }));
    }

    let samples = |case: &&Case| {
        let takers = participants.iter().filter(|who| who.has(case)).count();
        takers * (plan.warm_ups(case) + plan.rounds(case))
    };
    let progress = ProgressBar::new(cases.iter().map(samples).sum::<usize>() as u64);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed} of {duration}  {msg}");
    progress.set_style(style.map_err(|error| error.to_string())?);

    let mut figures = Figures {
        machine: machine(pinned),
        quick: options.quick,
        rounds: plan.rounds,
        runtimes: participants
            .iter()
            .map(|who| Runtime { id: who.id.into(), version: who.version.clone(), note: who.note.into() })
            .collect(),
        absent,
        failures: Vec::new(),
        cases: Vec::new(),
    };
    for case in cases {
        if progress.is_hidden() {
            eprintln!("{}", case.id);
        }
        let (results, failures) = measure_case(case, plan, &mut participants, &progress);
        if !results.results.is_empty() || !failures.is_empty() {
            figures.cases.push(results);
        }
        figures.failures.extend(failures);
    }
    progress.finish_and_clear();
    Ok(figures)
}

/// Takes one sample per round of each runtime that has the case. A runtime that fails once is left
/// out.
fn measure_case(
    case: &Case,
    plan: Plan,
    participants: &mut [Participant],
    progress: &ProgressBar,
) -> (CaseFigures, Vec<Failure>) {
    let mut failures = Vec::new();
    let mut fail = |who: &Participant, why: String, samples_left: usize| {
        progress.suspend(|| eprintln!("{} in {}: {why}", who.id, case.id));
        progress.inc(samples_left as u64);
        failures.push(Failure { case: case.id.into(), runtime: who.id.into(), why });
    };
    let (rounds, warm_ups) = (plan.rounds(case), plan.warm_ups(case));
    let mut takers = Vec::new();
    for (number, who) in participants.iter_mut().enumerate().filter(|(_, who)| who.has(case)) {
        let size = if warm_ups == 0 {
            Ok(case.least(plan.quick))
        } else {
            progress.set_message(format!("{}: {} warms up", case.id, who.id));
            measure::calibrate(case, plan.quick, plan.target, |size| who.sample(case, size))
        };
        match size {
            Ok(size) => {
                takers.push((number, size, Figure::new(who.id, size)));
                progress.inc(warm_ups as u64);
            }
            Err(why) => fail(who, why, warm_ups + rounds),
        }
    }
    for round in 0..rounds {
        takers.retain_mut(|(number, size, figure)| {
            let who = &mut participants[*number];
            progress.set_message(format!("{}: {}", case.id, who.id));
            match who.sample(case, *size) {
                Ok(value) => {
                    figure.samples.push(value / size.operations() as f64);
                    progress.inc(1);
                    true
                }
                Err(why) => {
                    fail(who, why, rounds - round);
                    false
                }
            }
        });
    }
    let mut results = CaseFigures::new(case);
    results.results = takers.into_iter().map(|(_, _, figure)| figure).collect();
    (results, failures)
}

/// A description of the machine, as far as it is known.
fn machine(pinned: String) -> Machine {
    let first_line = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let unknown = |what: &str| format!("unknown {what}");
    let git = |arguments: &[&str]| first_line("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], arguments].concat());
    // What the programs do not contain may have changed.
    let changed = git(&["status", "--porcelain", "--", "../../src", "../cases", "src"]);
    let commit = git(&["rev-parse", "--short", "HEAD"]).map(|commit| match changed {
        Some(_) => format!("{commit}+"),
        None => commit,
    });
    Machine {
        processor: processor.unwrap_or_else(|| unknown("processor")),
        system: first_line("uname", &["-srm"]).unwrap_or_else(|| unknown("system")),
        compiler: first_line("rustc", &["--version"]).unwrap_or_else(|| unknown("compiler")),
        pinned,
        commit: commit.unwrap_or_else(|| unknown("commit")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onelane_cases::find;

    fn participant(id: &'static str, work: Work) -> Participant {
        let place = Place::Here(vec![("yield-1", work)]);
        Participant { id, version: String::new(), note: "", place }
    }

    #[test]
    fn who_fails_is_told_of_and_the_others_are_measured() {
        let mut participants = [
            participant("lazy", |size, meter| {
                (meter.start)();
                (meter.stop)();
                size.operations() - 1
            }),
            participant("sound", |size, meter| {
                (meter.start)();
                (meter.stop)();
                size.operations()
            }),
            participant("panics", |_, _| panic!("no fuel")),
            participant("has no meter", |size, _| size.operations()),
        ];
        let plan = Plan { quick: true, rounds: 2, target: Duration::ZERO };
        let case = find("yield-1").unwrap();
        let (results, failures) = measure_case(case, plan, &mut participants, &ProgressBar::hidden());
        let measured: Vec<_> = results.results.iter().map(|figure| (&*figure.runtime, figure.samples.len())).collect();
        assert_eq!(measured, [("sound", 2)]);
        let failures: Vec<_> = failures.iter().map(|failure| (&*failure.runtime, &*failure.why)).collect();
        assert_eq!(
            failures,
            [
                ("lazy", "it has done 99 operations where 100 were to be done"),
                ("panics", "it panicked: no fuel"),
                ("has no meter", "it has not told the meter of its beginning and its end"),
            ]
        );
    }

    #[test]
    fn who_fails_in_a_later_round_has_no_figure() {
        thread_local! {
            static RUNS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
        }
        let mut participants = [participant("tired", |size, meter| {
            (meter.start)();
            (meter.stop)();
            RUNS.set(RUNS.get() + 1);
            if RUNS.get() < 3 { size.operations() } else { 0 }
        })];
        let case = Case { rounds: onelane_cases::Rounds::Exactly(1), ..*find("yield-1").unwrap() };
        let plan = Plan { quick: true, rounds: 9, target: Duration::ZERO };
        let (results, failures) = measure_case(&case, plan, &mut participants, &ProgressBar::hidden());
        assert!(results.results.is_empty());
        assert_eq!((failures.len(), RUNS.get()), (1, 3));
    }
}
