//! The figures of a run. They are written as JSON, and the tables and charts are generated from
//! them.

use onelane_cases::{CASES, Case, Measure, Size};
use onelane_peers::text::three_digits;
use serde::{Deserialize, Serialize};

/// The figures of a run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    /// Whether the run was made with `--quick`.
    pub(crate) quick: bool,
    /// Number of samples per figure, without the warm-up.
    pub(crate) rounds: usize,
    pub(crate) runtimes: Vec<Runtime>,
    pub(crate) absent: Vec<Absent>,
    #[serde(default)]
    pub(crate) failures: Vec<Failure>,
    pub(crate) cases: Vec<CaseFigures>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) system: String,
    pub(crate) compiler: String,
    pub(crate) pinned: String,
    /// The commit of the sources, with a plus sign if they were changed since.
    #[serde(default)]
    pub(crate) commit: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Runtime {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) note: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Absent {
    pub(crate) id: String,
    pub(crate) why: String,
}

/// A runtime that failed in a case, so it has no figure there.
#[derive(Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) case: String,
    pub(crate) runtime: String,
    pub(crate) why: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CaseFigures {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) operation: String,
    pub(crate) unit: Unit,
    pub(crate) results: Vec<Figure>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Nanoseconds,
    CpuNanoseconds,
    Bytes,
    ResidentBytes,
    Allocations,
}

/// What one operation of a case takes on a runtime.
#[derive(Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) runtime: String,
    /// The size of a sample: the number of things at once, and the number of rounds.
    pub(crate) width: usize,
    pub(crate) repeats: usize,
    /// One value per round, for one operation.
    pub(crate) samples: Vec<f64>,
}

impl Figure {
    pub(crate) fn new(runtime: &str, size: Size) -> Self {
        Figure { runtime: runtime.into(), width: size.width, repeats: size.rounds, samples: Vec::new() }
    }

    /// Returns the value below which this part of the samples lies, interpolated.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let place = part * (sorted.len() - 1) as f64;
        let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        below + (above - below) * place.fract()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The interquartile range, as a part of the median.
    pub(crate) fn spread(&self) -> f64 {
        let range = self.quantile(0.75) - self.quantile(0.25);
        if range == 0.0 { 0.0 } else { range / self.median() }
    }
}

impl CaseFigures {
    pub(crate) fn new(case: &Case) -> Self {
        let unit = match case.measure {
            Measure::Wall => Unit::Nanoseconds,
            Measure::Cpu => Unit::CpuNanoseconds,
            Measure::HeapBytes => Unit::Bytes,
            Measure::ResidentBytes => Unit::ResidentBytes,
            Measure::Allocations => Unit::Allocations,
        };
        let (id, title, operation) = (case.id.into(), case.title.into(), case.operation.into());
        CaseFigures { id, title, operation, unit, results: Vec::new() }
    }

    pub(crate) fn of(&self, runtime: &str) -> Option<&Figure> {
        self.results.iter().find(|figure| figure.runtime == runtime)
    }

    pub(crate) fn median(&self, runtime: &str) -> Option<f64> {
        self.of(runtime).map(Figure::median)
    }

    /// The ratio to the median of `onelane`.
    pub(crate) fn ratio(&self, figure: &Figure) -> Option<f64> {
        let ours = self.median("onelane")?;
        (ours > 0.0).then(|| figure.median() / ours)
    }

    /// Returns the figures in ascending order of their medians.
    pub(crate) fn ranking(&self) -> Vec<&Figure> {
        let mut ranking: Vec<&Figure> = self.results.iter().collect();
        ranking.sort_by(|a, b| a.median().total_cmp(&b.median()));
        ranking
    }

    /// Describes what a value of this case means, for a heading.
    pub(crate) fn measured(&self) -> String {
        let what = match self.unit {
            Unit::Nanoseconds => "time",
            Unit::CpuNanoseconds => "CPU time",
            Unit::Bytes => "bytes of heap",
            Unit::ResidentBytes => "resident bytes",
            Unit::Allocations => "allocations",
        };
        format!("{what} for each {}", self.operation)
    }
}

impl Figures {
    pub(crate) fn case(&self, id: &str) -> Option<&CaseFigures> {
        self.cases.iter().find(|case| case.id == id)
    }

    /// Returns the reason why the runtime failed in the case, if it did.
    pub(crate) fn failure(&self, case: &CaseFigures, runtime: &str) -> Option<&str> {
        let failure = self.failures.iter().find(|failure| failure.case == case.id && failure.runtime == runtime)?;
        Some(&failure.why)
    }

    /// Returns the families that have figures, each with its cases.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&'static Family, Vec<&CaseFigures>)> {
        FAMILIES.iter().filter_map(|family| {
            let cases: Vec<_> = family.cases.iter().filter_map(|id| self.case(id)).collect();
            (!cases.is_empty()).then_some((family, cases))
        })
    }
}

/// Cases that are shown together.
pub(crate) struct Family {
    pub(crate) title: &'static str,
    /// The name of its chart's file.
    pub(crate) file: &'static str,
    pub(crate) cases: &'static [&'static str],
}

pub(crate) const FAMILIES: &[Family] = &[
    Family {
        title: "Yields",
        file: "yields",
        cases: &["yield-1", "yield-300", "yield-1000", "yield-1000000", "yield-1-timer"],
    },
    Family {
        title: "Own yields and hand-overs",
        file: "switches",
        cases: &["own-yield-1", "own-yield-1000", "baton", "ring-1000"],
    },
    Family {
        title: "Spawns",
        file: "spawns",
        cases: &["spawn-1", "spawn-1000", "spawn-100000", "spawn-recursive-300", "spawn-recursive-1000"],
    },
    Family {
        title: "Gathers and messages",
        file: "gathers",
        cases: &["gather-10", "gather-100", "gather-1000", "oneshot", "channel-chain"],
    },
    Family { title: "Timers", file: "timers", cases: &["timer-create-drop", "sleepers-100000", "timers-1000000"] },
    Family { title: "Wakes and runs", file: "runs", cases: &["foreign-wake", "run-ready", "make-and-run"] },
    Family {
        title: "Memory",
        file: "memory",
        cases: &["heap-waiting", "heap-sleeping", "resident-waiting", "resident-sleeping", "allocations-spawn"],
    },
];

/// Formats a value with its unit, with about three digits.
pub(crate) fn show(unit: Unit, value: f64) -> String {
    match unit {
        Unit::Bytes | Unit::ResidentBytes => format!("{value:.0} B"),
        Unit::Allocations => format!("{value:.1}"),
        Unit::Nanoseconds | Unit::CpuNanoseconds => {
            let (value, unit) = match value {
                value if value < 1e4 => (value, "ns"),
                value if value < 1e7 => (value / 1e3, "µs"),
                value => (value / 1e6, "ms"),
            };
            format!("{} {unit}", three_digits(value))
        }
    }
}

const _: () = {
    // Each case belongs to exactly one family.
    let (mut places, mut family) = (0, 0);
    while family < FAMILIES.len() {
        places += FAMILIES[family].cases.len();
        family += 1;
    }
    assert!(places == CASES.len(), "a case belongs to no family, or to two");
};
