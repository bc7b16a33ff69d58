//! A run: who takes part, and round by round a sample of each.

use crate::figures::{Absent, CaseFigures, Figure, Figures, Machine, Runtime};
use crate::options::Options;
use crate::python::Python;
use crate::{measure, runtimes};
use indicatif::{ProgressBar, ProgressStyle};
use onelane_cases::{CASES, Case, Size, Work, Works};
use std::process::Command;
use std::time::Duration;

/// Who takes part.
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

    /// What an operation took in one run of the case.
    fn sample(&mut self, case: &Case, size: Size) -> Result<f64, String> {
        let work = self.work(case);
        let result = match (&mut self.place, work) {
            (Place::Child(python), _) => python.sample(case, size),
            (Place::Here(_), Some(work)) => measure::sample(case, work, size),
            (Place::Here(_), None) => Err("it does not have this case".into()),
        };
        result.map_err(|error| format!("{} in {}: {error}", self.id, case.id))
    }
}

/// All runtimes that can be measured here, and why the others cannot.
pub(crate) fn participants(options: &Options) -> Result<(Vec<Participant>, Vec<Absent>), String> {
    let mut names = Vec::new();
    let (mut participants, mut absent) = (Vec::new(), Vec::new());
    let (peers, absent_peers) = runtimes::all();
    for peer in peers {
        names.push(peer.id);
        let version = peer.package.map(version).unwrap_or_default();
        participants.push(Participant { id: peer.id, version, note: peer.note, place: Place::Here(peer.works) });
    }
    for (id, why) in absent_peers {
        names.push(id);
        absent.push(Absent { id: id.into(), why });
    }
    for (id, note) in [
        (
            "asyncio",
            "CPython's, in a child process, by its own clock; memory as `tracemalloc` sees it. A task that wakes itself is one that \
             yields bare, a waker is a future, a timer is `call_later`; the cases of a million are left out, they take minutes.",
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

/// The version of a package in our lock file.
fn version(package: &str) -> String {
    let lock = include_str!("../Cargo.lock");
    let after = lock.split_once(&format!("name = \"{package}\"\nversion = \"")).map(|(_, after)| after);
    after.and_then(|after| after.split('"').next()).unwrap_or("of an unknown version").into()
}

/// Measures all that was asked for.
pub(crate) fn run(options: &Options) -> Result<Figures, String> {
    let pinned = measure::pin();
    let (mut participants, absent) = participants(options)?;
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 11 });
    let target = Duration::from_millis(if options.quick { 3 } else { 35 });
    let cases: Vec<&Case> = CASES.iter().filter(|case| options.wants_case(case.id)).collect();

    let pairs: usize = cases.iter().map(|case| participants.iter().filter(|who| who.has(case)).count()).sum();
    let progress = ProgressBar::new((pairs * (rounds + 1)) as u64);
    let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {elapsed} of {duration}  {msg}");
    progress.set_style(style.map_err(|error| error.to_string())?);

    let mut figures = Figures {
        machine: machine(pinned),
        quick: options.quick,
        rounds,
        runtimes: participants
            .iter()
            .map(|who| Runtime { id: who.id.into(), version: who.version.clone(), note: who.note.into() })
            .collect(),
        absent,
        cases: Vec::new(),
    };
    for case in cases {
        if progress.is_hidden() {
            eprintln!("{}", case.id);
        }
        let mut results = CaseFigures::new(case);
        let mut sizes = Vec::new();
        // The warm-up, in which each finds how large its samples have to be.
        for (number, who) in participants.iter_mut().enumerate().filter(|(_, who)| who.has(case)) {
            progress.set_message(format!("{}: {} warms up", case.id, who.id));
            let size = measure::calibrate(case, options.quick, target, |size| who.sample(case, size))?;
            results.results.push(Figure::new(who.id, size));
            sizes.push((number, size));
            progress.inc(1);
        }
        for _ in 0..rounds {
            for ((number, size), figure) in sizes.iter().zip(&mut results.results) {
                let who = &mut participants[*number];
                progress.set_message(format!("{}: {}", case.id, who.id));
                figure.samples.push(who.sample(case, *size)? / size.operations() as f64);
                progress.inc(1);
            }
        }
        if !results.results.is_empty() {
            figures.cases.push(results);
        }
    }
    progress.finish_and_clear();
    Ok(figures)
}

/// What it runs on, as far as it can be known.
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
    Machine {
        processor: processor.unwrap_or_else(|| unknown("processor")),
        system: first_line("uname", &["-srm"]).unwrap_or_else(|| unknown("system")),
        compiler: first_line("rustc", &["--version"]).unwrap_or_else(|| unknown("compiler")),
        pinned,
    }
}
