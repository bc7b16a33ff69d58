//! The list of what is counted, and the counts.
//!
//! Cases about memory and about other threads are left out, because their cost is not in
//! instructions. Cases that wait for real time are left out too. If a runtime has several forms,
//! one or two of them are counted.

use anyhow::{Result, ensure};
use onelane_cases::find;
use onelane_instructions::{Entry, Origin, count};
use onelane_peers::runtimes::{self, Peer};
use serde::{Deserialize, Serialize};

const CASES: &[&str] = &[
    "yield-1",
    "yield-1000",
    "ring-1000",
    "spawn-1",
    "spawn-1000",
    "spawn-recursive-1000",
    "gather-10",
    "gather-100",
    "gather-1000",
    "oneshot",
    "channel-chain",
    "timer-create-drop",
    "run-ready",
    "make-and-run",
];

/// The cases that are not counted on these runtimes. Each of their runs creates a driver, which is
/// mostly work of the operating system's kernel, and that work is not counted.
const MAKE_A_DRIVER: &[(&str, &[&str])] =
    &[("run-ready", &["kimojio"]), ("make-and-run", &["monoio", "compio", "glommio", "nio", "kimojio"])];

/// The counted runtimes, in the order of the columns.
const RUNTIMES: &[&str] = &[
    "onelane",
    "tokio",
    "tokio-local-set",
    "smol",
    "futures",
    "monoio",
    "compio",
    "embassy",
    "glommio",
    "nio",
    "kimojio",
    "local-runtime",
    "async-local-executor",
];

/// The counts of a run of this program.
#[derive(Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The compiler, its target, and the C library.
    pub(crate) origin: String,
    pub(crate) runtimes: Vec<Runtime>,
    pub(crate) absent: Vec<Absent>,
    pub(crate) failures: Vec<Failure>,
    pub(crate) cases: Vec<CaseCounts>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Runtime {
    pub(crate) id: String,
    pub(crate) version: String,
    pub(crate) note: String,
}

/// A runtime that this machine cannot run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Absent {
    pub(crate) id: String,
    pub(crate) why: String,
}

/// A runtime that failed in a case, so it has no count there.
#[derive(Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) case: String,
    pub(crate) runtime: String,
    pub(crate) why: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct CaseCounts {
    pub(crate) id: String,
    pub(crate) operation: String,
    pub(crate) counts: Vec<Counted>,
}

/// What one operation of a case takes on a runtime.
#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) runtime: String,
    /// The mean of both runs, without the instructions of the kernel.
    pub(crate) instructions: f64,
    /// The difference of both runs, as a part of the mean.
    pub(crate) difference: f64,
    pub(crate) system_calls: f64,
}

impl CaseCounts {
    pub(crate) fn of(&self, runtime: &str) -> Option<&Counted> {
        self.counts.iter().find(|counted| counted.runtime == runtime)
    }

    /// The ratio to the count of `onelane`.
    pub(crate) fn ratio(&self, counted: &Counted) -> Option<f64> {
        Some(counted.instructions / self.of("onelane")?.instructions)
    }
}

/// Cases by the beginnings of their names, and runtimes by their names. An empty list stands for
/// all.
#[derive(Default)]
pub(crate) struct Selection {
    pub(crate) cases: Vec<String>,
    pub(crate) runtimes: Vec<String>,
}

impl Selection {
    pub(crate) fn is_all(&self) -> bool {
        self.cases.is_empty() && self.runtimes.is_empty()
    }

    fn has_case(&self, id: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|start| id.starts_with(start))
    }

    /// `onelane` is always selected, because the others are compared with it.
    fn has_runtime(&self, id: &str) -> bool {
        self.runtimes.is_empty() || id == "onelane" || self.runtimes.iter().any(|name| name == id)
    }
}

/// Counts all that is selected, twice.
///
/// # Errors
///
/// Returns an error if nothing is selected.
pub(crate) fn take(selection: &Selection) -> Result<Counts> {
    for name in &selection.runtimes {
        ensure!(RUNTIMES.contains(&name.as_str()), "{name} is not counted; there are {}", RUNTIMES.join(", "));
    }
    let cases: Vec<_> = CASES.iter().filter(|id| selection.has_case(id)).collect();
    ensure!(!cases.is_empty(), "no case begins with {}; there are {}", selection.cases.join(" or "), CASES.join(", "));
    let place = |id: &str| RUNTIMES.iter().position(|runtime| *runtime == id).filter(|_| selection.has_runtime(id));
    let (mut peers, absent) = runtimes::all();
    peers.retain(|peer| place(peer.id).is_some());
    peers.sort_by_key(|peer| place(peer.id));
    let absent = absent.into_iter().filter(|(id, _)| place(id).is_some());

    let runtime = |peer: &Peer| Runtime { id: peer.id.into(), version: peer.version(), note: peer.note.into() };
    let mut counts = Counts {
        origin: Origin::here()?.to_string(),
        runtimes: peers.iter().map(runtime).collect(),
        absent: absent.map(|(id, why)| Absent { id: id.into(), why }).collect(),
        failures: Vec::new(),
        cases: Vec::new(),
    };
    for (number, id) in cases.iter().enumerate() {
        eprintln!("{id} ({} of {})", number + 1, cases.len());
        counts.take(id, &peers);
    }
    Ok(counts)
}

impl Counts {
    /// The largest difference of two counts of a runtime, or `None` if it counts the same each
    /// time.
    pub(crate) fn difference(&self, runtime: &str) -> Option<f64> {
        let largest = self.cases.iter().filter_map(|case| case.of(runtime)).map(|counted| counted.difference);
        Some(largest.fold(0.0, f64::max)).filter(|largest| *largest > 0.0)
    }

    /// Counts a case on all runtimes that have it.
    fn take(&mut self, id: &str, peers: &[Peer]) {
        let case = find(id).unwrap_or_else(|| panic!("benches/cases has no case `{id}`"));
        let entry = |peer: &Peer| {
            if MAKE_A_DRIVER.iter().any(|(case, runtimes)| *case == id && runtimes.contains(&peer.id)) {
                return None;
            }
            let (_, work) = peer.works.iter().find(|(works_id, _)| *works_id == id)?;
            Some(Entry::repeated(case, peer.id, *work))
        };
        let entries: Vec<Entry> = peers.iter().filter_map(entry).collect();
        let (first, second) = (count::all(&entries), count::all(&entries));
        let mut counted = CaseCounts { id: id.into(), operation: case.operation.into(), counts: Vec::new() };
        for (entry, runs) in entries.iter().zip(first.into_iter().zip(second)) {
            let runtime = entry.runtime.to_owned();
            match runs {
                (Ok(first), Ok(second)) => {
                    let instructions = (first.instructions() + second.instructions()) / 2.0;
                    let difference = (first.instructions() - second.instructions()).abs() / instructions;
                    let system_calls = (first.system_calls() + second.system_calls()) / 2.0;
                    counted.counts.push(Counted { runtime, instructions, difference, system_calls });
                }
                (Err(error), _) | (_, Err(error)) => {
                    eprintln!("{id} on {runtime}: {error:#}");
                    self.failures.push(Failure { case: id.into(), runtime, why: format!("{error:#}") });
                }
            }
        }
        self.cases.push(counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_cases_and_runtimes() {
        assert!(CASES.iter().all(|id| find(id).is_some()));
        let (peers, absent) = runtimes::all();
        let names: Vec<&str> = peers.iter().map(|peer| peer.id).chain(absent.iter().map(|(id, _)| *id)).collect();
        for id in RUNTIMES.iter().chain(MAKE_A_DRIVER.iter().flat_map(|(_, runtimes)| *runtimes)) {
            assert!(names.contains(id), "there is no runtime {id}");
        }
        assert!(MAKE_A_DRIVER.iter().all(|(case, _)| CASES.contains(case)));
    }
}
