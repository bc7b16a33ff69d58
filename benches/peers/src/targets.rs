//! What `onelane` has set itself, held against the figures of a run. Build time, packages and size are measured elsewhere.

use crate::figures::{Figures, times};

/// A bound on the ratio of two medians.
#[derive(Clone, Copy)]
enum Bound {
    /// We take at most so many times what the other takes.
    AtMost(f64),
    /// The other takes at least so many times what we take.
    AtLeast(f64),
}

use Bound::{AtLeast, AtMost};

struct Target {
    case: &'static str,
    bound: Bound,
    /// The other's name in words.
    than: &'static str,
    /// The other's case, if it is not the same.
    case_of_other: Option<&'static str>,
    /// The others, of whom the best counts.
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
];

const fn target(case: &'static str, bound: Bound, than: &'static str, others: &'static [&'static str]) -> Target {
    Target { case, bound, than, case_of_other: None, others }
}

/// Against ourselves in another case.
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
    target("heap-waiting", AtMost(0.5), "tokio's best", TOKIO),
    target("foreign-wake", AtMost(1.0), "tokio's best", TOKIO),
    own("yield-1000000", AtMost(4.0), "yield-1000"),
    own("yield-1-timer", AtMost(1.2), "yield-1"),
    target("yield-1", AtLeast(200.0), "asyncio", &["asyncio"]),
    target("yield-1000", AtLeast(200.0), "asyncio", &["asyncio"]),
    target("spawn-1", AtLeast(100.0), "asyncio", &["asyncio"]),
    target("spawn-1000", AtLeast(100.0), "asyncio", &["asyncio"]),
];

/// A target beside what was measured.
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
        let measured = ours.zip(other).map(|(ours, (who, other))| match self.bound {
            AtMost(_) => (who, ours / other),
            AtLeast(_) => (who, other / ours),
        });
        let wanted = match self.bound {
            AtMost(bound) => format!("at most {} {}", times(bound), self.than),
            AtLeast(bound) => format!("at least {} faster than {}", times(bound), self.than),
        };
        let met = measured.map(|(_, ratio)| match self.bound {
            AtMost(bound) => ratio <= bound,
            AtLeast(bound) => ratio >= bound,
        });
        let named =
            |(who, ratio)| if self.others.len() > 1 { format!("{} ({who})", times(ratio)) } else { times(ratio) };
        Held { case: self.case, wanted, measured: measured.map(named), met }
    }
}

/// All targets.
pub(crate) fn hold(figures: &Figures) -> Vec<Held> {
    TARGETS.iter().map(|target| target.hold(figures)).collect()
}
