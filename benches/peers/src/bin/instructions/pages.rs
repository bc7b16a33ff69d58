//! Generates the tables: one for the terminal, one for the documentation, and one for each README.

use crate::counts::{CaseCounts, Counted, Counts};
use onelane_peers::text::{three_digits, times};
use std::fmt::Write;

/// Returns the generated texts. Each has the page to which it belongs, and the name of its marks
/// there.
pub(crate) fn all(counts: &Counts) -> Vec<(&'static str, &'static str, String)> {
    vec![
        ("docs/performance/instructions_of_peers.md", "table", table(counts)),
        ("README.md", "instructions-of-peers", ratios(counts, "instructions")),
        ("README.zh-CN.md", "instructions-of-peers", ratios(counts, "指令数")),
    ]
}

/// The table for the terminal: for each case, the runtimes in ascending order.
pub(crate) fn text(counts: &Counts) -> String {
    let mut out = String::new();
    for case in &counts.cases {
        let _ = writeln!(out, "{}: instructions for each {}", case.id, case.operation);
        let mut ranking: Vec<&Counted> = case.counts.iter().collect();
        ranking.sort_by(|a, b| a.instructions.total_cmp(&b.instructions));
        for counted in ranking {
            let ratio = case.ratio(counted).map_or_else(String::new, times);
            let calls = calls(counted).map_or_else(String::new, |calls| format!("  {calls} system calls"));
            let inexact = match counted.difference {
                0.0 => String::new(),
                difference => format!("  inexact, ±{:.2} %", difference * 50.0),
            };
            let _ =
                writeln!(out, "    {:<20} {:>10.1} {ratio:>9}{calls}{inexact}", counted.runtime, counted.instructions);
        }
    }
    for failure in &counts.failures {
        let _ = writeln!(out, "\nFAILED: {} in {}: {}", failure.runtime, failure.case, failure.why);
    }
    for absent in &counts.absent {
        let _ = writeln!(out, "\n{} was not counted: {}", absent.id, absent.why);
    }
    out
}

/// The number of system calls of an operation, if there are any.
fn calls(counted: &Counted) -> Option<String> {
    (counted.system_calls >= 0.005).then(|| three_digits(counted.system_calls))
}

/// Marks the counts and ratios of a runtime whose two counts differ.
fn inexact(counts: &Counts, runtime: &str) -> &'static str {
    if counts.difference(runtime).is_some() { "≈" } else { "" }
}

/// The table for the documentation, with a row per case and a column per runtime, then descriptions
/// of the runtimes.
fn table(counts: &Counts) -> String {
    let mut out = format!("Of {}.\n\n| case | one operation |", counts.origin);
    for runtime in &counts.runtimes {
        let _ = write!(out, " {} |", if runtime.id == "onelane" { "**onelane**" } else { &runtime.id });
    }
    let _ = writeln!(out, "\n| --- | --- |{}", " ---: |".repeat(counts.runtimes.len()));
    for case in &counts.cases {
        let _ = write!(out, "| `{}` | {} |", case.id, case.operation);
        for runtime in &counts.runtimes {
            let _ =
                write!(out, " {} |", case.of(&runtime.id).map_or("-".into(), |counted| cell(counts, case, counted)));
        }
        out.push('\n');
    }
    for runtime in &counts.runtimes {
        if let Some(largest) = counts.difference(&runtime.id) {
            let (id, per_cent) = (&runtime.id, largest * 100.0);
            let _ = writeln!(out, "\n≈: the counts of {id} differ from run to run, here by at most {per_cent:.2} %.");
        }
    }
    for failure in &counts.failures {
        let _ = writeln!(out, "\n`{}` of {} failed: {}", failure.case, failure.runtime, failure.why);
    }
    out.push_str("\n### The runtimes\n\n");
    for runtime in &counts.runtimes {
        let _ = writeln!(out, "- **{}** {}: {}", runtime.id, runtime.version, runtime.note);
    }
    for absent in &counts.absent {
        let _ = writeln!(out, "- **{}** was not counted: {}", absent.id, absent.why);
    }
    out
}

fn cell(counts: &Counts, case: &CaseCounts, counted: &Counted) -> String {
    let mut cell = format!("{}{}", inexact(counts, &counted.runtime), number(counted.instructions));
    if counted.runtime != "onelane" {
        let _ = write!(cell, "<br>{}", case.ratio(counted).map_or("-".into(), times));
    }
    if let Some(calls) = calls(counted) {
        let _ = write!(cell, "<br>+ {calls} calls");
    }
    cell
}

/// Formats a count, with a decimal if it is small.
fn number(count: f64) -> String {
    let decimals = usize::from(count < 100.0);
    format!("{count:.decimals$}")
}

/// The cases of the READMEs.
const SHOWN: &[&str] =
    &["yield-1", "yield-1000", "ring-1000", "spawn-1", "spawn-1000", "gather-1000", "timer-create-drop", "oneshot"];

/// The runtimes of the READMEs, each with the forms whose best is shown.
const SHOWN_RUNTIMES: &[(&str, &[&str])] = &[("smol", &["smol"]), ("tokio", &["tokio", "tokio-local-set"])];

/// The table for a README: the ratios to `onelane`, with a row per runtime.
fn ratios(counts: &Counts, head: &str) -> String {
    let cases: Vec<&CaseCounts> =
        SHOWN.iter().filter_map(|id| counts.cases.iter().find(|case| case.id == *id)).collect();
    let heads: Vec<String> = cases.iter().map(|case| format!("`{}`", case.id)).collect();
    let mut out = format!("| {head} | {} |\n| --- |{}\n", heads.join(" | "), " ---: |".repeat(cases.len()));
    for (name, forms) in SHOWN_RUNTIMES {
        let _ = write!(out, "| {name} |");
        for case in &cases {
            let forms = forms.iter().filter_map(|form| case.of(form));
            let best = forms.min_by(|a, b| a.instructions.total_cmp(&b.instructions));
            let ratio =
                best.and_then(|best| Some(format!("{}{}", inexact(counts, &best.runtime), times(case.ratio(best)?))));
            let _ = write!(out, " {} |", ratio.unwrap_or("-".into()));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::{Absent, Failure, Runtime};

    fn counts() -> Counts {
        let runtime = |id: &str| Runtime { id: id.into(), version: "1.0".into(), note: format!("Runs {id}.") };
        let counted = |runtime: &str, instructions, difference, system_calls| Counted {
            runtime: runtime.into(),
            instructions,
            difference,
            system_calls,
        };
        Counts {
            origin: "rustc 1.0.0".into(),
            runtimes: ["onelane", "tokio", "tokio-local-set", "smol", "nio"].map(runtime).into(),
            absent: vec![Absent { id: "glommio".into(), why: "it cannot start here".into() }],
            failures: vec![Failure { case: "yield-1".into(), runtime: "nio".into(), why: "it stumbled".into() }],
            cases: vec![CaseCounts {
                id: "yield-1".into(),
                operation: "yield".into(),
                counts: vec![
                    counted("onelane", 80.0, 0.0, 0.0),
                    counted("tokio", 400.0, 0.0, 0.016),
                    counted("tokio-local-set", 360.0, 0.0, 0.0),
                    counted("smol", 600.0, 0.004, 0.0),
                ],
            }],
        }
    }

    #[test]
    fn cells_tell_ratios_and_system_calls_and_what_is_inexact() {
        let table = table(&counts());
        for line in [
            "Of rustc 1.0.0.",
            "| case | one operation | **onelane** | tokio | tokio-local-set | smol | nio |",
            "| `yield-1` | yield | 80.0 | 400<br>5.00×<br>+ 0.02 calls | 360<br>4.50× | ≈600<br>7.50× | - |",
            "≈: the counts of smol differ from run to run, here by at most 0.40 %.",
            "`yield-1` of nio failed: it stumbled",
            "- **smol** 1.0: Runs smol.",
            "- **glommio** was not counted: it cannot start here",
        ] {
            assert!(table.lines().any(|found| found == line), "{line} is not in\n{table}");
        }
    }

    #[test]
    fn readmes_show_the_best_form_of_tokio() {
        let expected = "| instructions | `yield-1` |\n| --- | ---: |\n| smol | ≈7.50× |\n| tokio | 4.50× |\n";
        assert_eq!(ratios(&counts(), "instructions"), expected);
    }

    #[test]
    fn the_terminal_shows_the_cheapest_first() {
        let text = text(&counts());
        let names: Vec<_> = text.lines().skip(1).take(4).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(names, ["onelane", "tokio-local-set", "tokio", "smol"]);
        assert!(text.contains("FAILED: nio in yield-1: it stumbled"), "{text}");
    }
}
