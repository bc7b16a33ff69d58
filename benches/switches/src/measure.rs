//! Takes one sample of each program and shape per round.

use crate::programs::{Prepared, Program};
use std::process::Command;
use std::time::Duration;

/// What the tasks of a sample do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One task that yields.
    Yield1,
    /// A thousand tasks that yield in turn.
    Yield1000,
    /// Two that hand over to each other.
    Handover,
}

impl Shape {
    pub(crate) const ALL: [Shape; 3] = [Shape::Yield1, Shape::Yield1000, Shape::Handover];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Shape::Yield1 => "one task yields",
            Shape::Yield1000 => "1,000 tasks yield",
            Shape::Handover => "two hand over",
        }
    }

    fn tasks(self) -> usize {
        match self {
            Shape::Yield1 => 1,
            Shape::Yield1000 => 1000,
            Shape::Handover => 2,
        }
    }

    /// The number of switches in a sample.
    fn switches(self, rounds: usize) -> u64 {
        (self.tasks() * rounds) as u64
    }

    /// The arguments of a program.
    fn arguments(self, rounds: usize) -> [String; 3] {
        let name = if self == Shape::Handover { "hand-over" } else { "yield" };
        [name.into(), self.tasks().to_string(), rounds.to_string()]
    }
}

/// Number and duration of the samples.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    /// How long a sample should last.
    pub(crate) target: Duration,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Self {
        let (rounds, milliseconds) = if quick { (3, 10) } else { (21, 100) };
        Plan { rounds, target: Duration::from_millis(milliseconds) }
    }
}

/// The results of a run.
pub(crate) struct Figures {
    pub(crate) plan: Plan,
    pub(crate) pinned: String,
    pub(crate) programs: Vec<Program>,
    /// The languages that are not installed, each with the command that installs it.
    pub(crate) missing: Vec<String>,
    /// Which programs failed, and how.
    pub(crate) failures: Vec<String>,
    pub(crate) cells: Vec<Cell>,
}

/// One program with one shape.
pub(crate) struct Cell {
    pub(crate) program: &'static str,
    pub(crate) shape: Shape,
    /// The size of a sample.
    rounds: usize,
    /// Nanoseconds per switch, one value per round.
    pub(crate) samples: Vec<f64>,
}

impl Cell {
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.samples, 0.5)
    }

    /// Half of the interquartile range, as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        (quantile(&self.samples, 0.75) - quantile(&self.samples, 0.25)) / 2.0 / self.median()
    }
}

/// Interpolates linearly if the quantile is between two values.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = part * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

/// Measures all programs. One that fails is left out of the rest of the rounds for this shape.
pub(crate) fn measure(prepared: Prepared, plan: Plan) -> Figures {
    let Prepared { programs, missing, mut failures } = prepared;
    let pinned = pin();
    let mut cells = Vec::new();
    for (shape, program) in pairs(&programs) {
        match calibrate(program, shape, plan.target) {
            Ok(rounds) => {
                let samples = Vec::with_capacity(plan.rounds);
                cells.push((program, Cell { program: program.id, shape, rounds, samples }));
            }
            Err(why) => failures.push(failure(program, shape, &why)),
        }
    }
    for round in 1..=plan.rounds {
        eprintln!("round {round} of {}", plan.rounds);
        cells.retain_mut(|(program, cell)| match sample(program, cell.shape, cell.rounds) {
            Ok(took) => {
                cell.samples.push(took / cell.shape.switches(cell.rounds) as f64);
                true
            }
            Err(why) => {
                failures.push(failure(program, cell.shape, &why));
                false
            }
        });
    }
    let cells = cells.into_iter().map(|(_, cell)| cell).collect();
    Figures { plan, pinned, programs, missing, failures, cells }
}

/// Runs each program once with small numbers, and prints which counts are right. Returns a
/// description of each failure.
pub(crate) fn check(programs: &[Program]) -> Vec<String> {
    let mut failures = Vec::new();
    for (shape, program) in pairs(programs) {
        let rounds = 7;
        match sample(program, shape, rounds) {
            Ok(_) => println!("{}, {}: {} switches", program.id, shape.title(), shape.switches(rounds)),
            Err(why) => failures.push(failure(program, shape, &why)),
        }
    }
    failures
}

fn pairs(programs: &[Program]) -> impl Iterator<Item = (Shape, &Program)> {
    let having = |shape: Shape| programs.iter().filter(move |program| program.shapes.contains(&shape));
    Shape::ALL.into_iter().flat_map(move |shape| having(shape).map(move |program| (shape, program)))
}

fn failure(program: &Program, shape: Shape, why: &str) -> String {
    format!("{}, {}: {why}", program.id, shape.title())
}

/// Runs the program once. Returns the nanoseconds of all its switches together.
fn sample(program: &Program, shape: Shape, rounds: usize) -> Result<f64, String> {
    let output = program.run(&shape.arguments(rounds)).map_err(|error| format!("it cannot be started: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.trim().lines().last().unwrap_or("it printed no error").to_owned();
        return Err(format!("it has failed ({}): {last}", output.status));
    }
    checked(&String::from_utf8_lossy(&output.stdout), shape.switches(rounds))
}

/// Returns the nanoseconds in what a program has printed, if the number of switches is right. So no
/// program wins by leaving work out, and no compiler by removing it.
fn checked(output: &str, switches: u64) -> Result<f64, String> {
    let numbers = output.trim().split_once(' ');
    let numbers = numbers.and_then(|(made, took)| Some((made.parse::<u64>().ok()?, took.parse::<f64>().ok()?)));
    match numbers {
        Some((made, took)) if made == switches => Ok(took),
        Some((made, _)) => Err(format!("it has made {made} switches where {switches} were to be made")),
        None => Err(format!("it has printed {output:?} instead of two numbers")),
    }
}

/// Finds the number of rounds with which a sample lasts `target`.
fn calibrate(program: &Program, shape: Shape, target: Duration) -> Result<usize, String> {
    let target = target.as_nanos() as f64;
    let mut rounds = 2000 / shape.tasks();
    loop {
        let spent = sample(program, shape, rounds)?.max(1.0);
        let enough = ((rounds as f64 * target / spent) as usize).max(1);
        // The duration of a short sample is not precise enough, so the size grows by steps.
        if spent >= target / 10.0 {
            return Ok(enough);
        }
        rounds = enough.clamp(rounds + 1, rounds * 20);
    }
}

/// Pins this process, and all processes that it starts, to one core. Returns a description of the
/// result.
fn pin() -> String {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.last().copied());
    match core {
        Some(core) if core_affinity::set_for_current(core) => format!("pinned to core {}", core.id),
        _ => "not pinned to a core: this system does not allow it".into(),
    }
}

/// A description of the machine, as far as it is known.
pub(crate) fn machine() -> String {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
    };
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let known = [
        processor.unwrap_or_else(|| "unknown processor".into()),
        first_line("uname", "-srm").unwrap_or_else(|| "unknown system".into()),
        first_line("rustc", "--version").unwrap_or_else(|| "unknown compiler".into()),
    ];
    known.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_count_is_a_failure() {
        assert_eq!(checked("7000 123456\n", 7000), Ok(123456.0));
        assert_eq!(checked("6999 123456\n", 7000).unwrap_err(), "it has made 6999 switches where 7000 were to be made");
        assert_eq!(checked("done\n", 7).unwrap_err(), "it has printed \"done\\n\" instead of two numbers");
    }

    #[test]
    fn the_middle_half_counts() {
        let samples = vec![1.0, 100.0, 4.0, 3.0, 5.0];
        let cell = Cell { program: "call", shape: Shape::Yield1, rounds: 1, samples };
        assert_eq!((cell.median(), cell.spread()), (4.0, 0.25));
    }
}
