//! Compares the targets of `onelane` with the figures of a run, and with those of
//! `benches/footprint`.

use crate::figures::Figures;
use crate::footprint::Footprint;
use onelane_peers::text::times;

/// A bound on the ratio of two medians.
#[derive(Clone, Copy)]
enum Bound {
    /// Our figure is at most this many times the other.
    AtMost(f64),
    /// The other figure is at least this many times ours.
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

struct Target {
    case: &'static str,
    bound: Bound,
    /// A description of the other.
    than: &'static str,
    /// The case of the other, if it is not the same.
    case_of_other: Option<&'static str>,
    /// The runtimes to compare with; the best of them counts.
    others: &'static [&'static str],
}

const TOKIO: &[&str] = &["tokio", "tokio-all", "tokio-local-set", "tokio-local-runtime"];
const SMOL: &[&str] = &["smol"];
const PEERS: &[&str] = &[
    "tokio",
    "tokio-all",
    "tokio-local-set",
    "tokio-local-runtime",
    "smol",
    "futures",
    "monoio",
    "compio",
    "glommio",
    "embassy",
    "nio",
    "kimojio",
    "local-runtime",
    "async-local-executor",
];

const fn target(case: &'static str, bound: Bound, than: &'static str, others: &'static [&'static str]) -> Target {
    Target { case, bound, than, case_of_other: None, others }
}

/// Compares two cases of `onelane`.
const fn own(case: &'static str, bound: Bound, other: &'static str) -> Target {
    Target { case, bound, than: other, case_of_other: Some(other), others: &["onelane"] }
}

const TARGETS: &[Target] = &[
    target("yield-1000", AtMost(2.0), "the floor", &["floor"]),
    target("yield-1000", AtLeast(2.5), "tokio's best", TOKIO),
    target("yield-1000", AtLeast(5.0), "smol", SMOL),
    target("yield-1000", AtLeast(1.3), "monoio", &["monoio"]),
    target("yield-1", AtMost(2.3), "the floor", &["floor"]),
    target("yield-1", AtLeast(2.5), "tokio's best", TOKIO),
    target("yield-1", AtLeast(5.0), "smol", SMOL),
    target("baton", AtLeast(1.8), "the best peer", PEERS),
    target("ring-1000", AtLeast(1.8), "the best peer", PEERS),
    target("spawn-1", AtLeast(4.0), "tokio's best", TOKIO),
    target("spawn-1", AtLeast(4.0), "smol", SMOL),
    target("spawn-1000", AtLeast(1.0), "the best peer", PEERS),
    target("spawn-1000", AtLeast(3.0), "tokio's best", TOKIO),
    target("spawn-1000", AtLeast(2.5), "smol", SMOL),
    target("gather-1000", AtLeast(3.0), "tokio's best `JoinSet`", TOKIO),
    target("gather-1000", AtLeast(3.0), "tokio's `spawn` with `join_all`", &["tokio-join-all"]),
    target("timer-create-drop", AtLeast(2.0), "tokio's best", TOKIO),
    target("timer-create-drop", AtLeast(2.0), "async-io", SMOL),
    target("sleepers-100000", AtMost(0.5), "tokio's best", TOKIO),
    target("heap-waiting", AtMost(0.5), "tokio's best, as requested from the allocator", TOKIO),
    target("resident-waiting", AtMost(0.5), "tokio's best, as the system reports it", TOKIO),
    target("foreign-wake", AtMost(1.0), "tokio's best", TOKIO),
    own("yield-1000000", AtMost(4.0), "yield-1000"),
    own("yield-1-timer", AtMost(1.2), "yield-1"),
    target("yield-1", AtLeast(200.0), "asyncio", &["asyncio"]),
    target("yield-1000", AtLeast(200.0), "asyncio", &["asyncio"]),
    target("spawn-1", AtLeast(100.0), "asyncio", &["asyncio"]),
    target("spawn-1000", AtLeast(100.0), "asyncio", &["asyncio"]),
];

/// A target for the program that `benches/footprint` builds.
struct FootprintTarget {
    figure: &'static str,
    wanted: &'static str,
    bound: Bound,
    /// The runtimes to compare with; the best of them counts. If there are none, the bound is on
    /// our own figure.
    others: &'static [&'static str],
}

const FOOTPRINT_TARGETS: &[FootprintTarget] = &[
    FootprintTarget {
        figure: "debug_seconds",
        wanted: "cold build, debug: at most a third of tokio's time",
        bound: AtMost(1.0 / 3.0),
        others: &["tokio"],
    },
    FootprintTarget {
        figure: "release_seconds",
        wanted: "cold build, release: at most a third of tokio's time",
        bound: AtMost(1.0 / 3.0),
        others: &["tokio"],
    },
    FootprintTarget { figure: "packages", wanted: "at most 3 packages", bound: AtMost(3.0), others: &[] },
    FootprintTarget {
        figure: "binary_bytes",
        wanted: "the smallest binary: at most 1.00× the smallest other",
        bound: AtMost(1.0),
        others: &["tokio", "smol"],
    },
];

/// A target, and the measured result.
pub(crate) struct Held {
    pub(crate) case: &'static str,
    pub(crate) wanted: String,
    /// `None` if the run did not measure it.
    pub(crate) measured: Option<String>,
    pub(crate) met: Option<bool>,
}

impl Target {
    fn hold(&self, figures: &Figures) -> Held {
        let ours = figures.case(self.case).and_then(|case| case.median("onelane"));
        let other = figures.case(self.case_of_other.unwrap_or(self.case)).and_then(|case| {
            let medians = self.others.iter().filter_map(|other| Some((*other, case.median(other)?)));
            medians.min_by(|a, b| a.1.total_cmp(&b.1))
        });
        let measured = ours.zip(other).map(|(ours, (who, other))| (who, self.bound.ratio(ours, other)));
        let wanted = match self.bound {
            AtMost(bound) => format!("at most {} {}", times(bound), self.than),
            AtLeast(bound) => format!("at least {} faster than {}", times(bound), self.than),
        };
        let met = measured.map(|(_, ratio)| self.bound.holds(ratio));
        let named = |(who, ratio)| named(ratio, who, self.others);
        Held { case: self.case, wanted, measured: measured.map(named), met }
    }
}

impl FootprintTarget {
    fn hold(&self, footprint: &Footprint) -> Held {
        let ours = footprint.of("onelane", self.figure);
        let measured = if self.others.is_empty() {
            ours.map(|ours| (ours, ours.to_string()))
        } else {
            let others = self.others.iter().filter_map(|other| Some((*other, footprint.of(other, self.figure)?)));
            ours.zip(others.min_by(|a, b| a.1.total_cmp(&b.1))).map(|(ours, (who, other))| {
                let ratio = self.bound.ratio(ours, other);
                (ratio, named(ratio, who, self.others))
            })
        };
        let met = measured.as_ref().map(|(value, _)| self.bound.holds(*value));
        Held { case: FOOTPRINT, wanted: self.wanted.into(), measured: measured.map(|(_, text)| text), met }
    }
}

impl Bound {
    fn ratio(self, ours: f64, other: f64) -> f64 {
        match self {
            AtMost(_) => ours / other,
            AtLeast(_) => other / ours,
        }
    }

    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(bound) => value <= bound,
            AtLeast(bound) => value >= bound,
        }
    }
}

/// Formats the ratio. If there are several runtimes to compare with, adds the name of the best.
fn named(ratio: f64, who: &str, others: &[&str]) -> String {
    if others.len() > 1 { format!("{} ({who})", times(ratio)) } else { times(ratio) }
}

const FOOTPRINT: &str = "footprint";

/// Compares all targets. Without the results of `benches/footprint`, one line gives the reason.
pub(crate) fn hold(figures: &Figures, footprint: &Result<Footprint, String>) -> Vec<Held> {
    let mut held: Vec<Held> = TARGETS.iter().map(|target| target.hold(figures)).collect();
    match footprint {
        Ok(footprint) => held.extend(FOOTPRINT_TARGETS.iter().map(|target| target.hold(footprint))),
        Err(why) => {
            let wanted = "cold build, packages, binary".into();
            held.push(Held { case: FOOTPRINT, wanted, measured: Some(why.clone()), met: None });
        }
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn footprint_is_held_against_its_targets() {
        let text = r#"{ "rounds": 3, "programs": [
            { "name": "onelane", "medians": { "debug_seconds": 1.0, "packages": 3, "binary_bytes": 500.0 } },
            { "name": "tokio", "medians": { "debug_seconds": 2.0, "packages": 2, "binary_bytes": 400.0 } },
            { "name": "smol", "medians": { "debug_seconds": 9.0, "packages": 33, "binary_bytes": 600.0 } }
        ] }"#;
        let footprint = Footprint::parse(text).unwrap();
        let held = FOOTPRINT_TARGETS.iter().map(|target| target.hold(&footprint));
        let held: Vec<_> = held.map(|held| (held.measured, held.met)).collect();
        let said = |text: &str, met| (Some(text.to_owned()), Some(met));
        assert_eq!(held, [said("0.50×", false), (None, None), said("3", true), said("1.25× (tokio)", false)]);
    }

    #[test]
    fn targets_name_cases_that_there_are() {
        for target in TARGETS {
            for case in [Some(target.case), target.case_of_other].into_iter().flatten() {
                assert!(onelane_cases::find(case).is_some(), "{case}");
            }
        }
    }
}
