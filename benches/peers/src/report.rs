//! Formats the figures as tables: one for the terminal, one for the documentation.

use crate::figures::{CaseFigures, Figures, show};
use crate::footprint::Footprint;
use crate::run::RESIDENT_ROUNDS;
use crate::targets;
use onelane_peers::text::times;
use std::fmt::Write;

/// The table for the terminal: for each case, the runtimes in ascending order.
pub(crate) fn text(figures: &Figures, footprint: &Result<Footprint, String>) -> String {
    let mut out = String::new();
    for case in figures.families().flat_map(|(_, cases)| cases) {
        let _ = writeln!(out, "{}: {} ({})", case.id, case.title, case.measured());
        for figure in case.ranking() {
            let ratio = case.ratio(figure).map_or_else(String::new, times);
            let median = show(case.unit, figure.median());
            let spread = format!("±{:.1} %", figure.spread() * 50.0);
            let _ = writeln!(out, "    {:<20} {median:>10} {spread:>9} {ratio:>9}", figure.runtime);
        }
    }
    out.push_str("\nTargets\n");
    for held in targets::hold(figures, footprint) {
        let Some(measured) = held.measured else { continue };
        let verdict = match held.met {
            Some(true) => "met",
            Some(false) => "NOT MET",
            None => "not measured",
        };
        let _ = writeln!(out, "    {:<18} {:<60} {measured:<28} {verdict}", held.case, held.wanted);
    }
    for failure in &figures.failures {
        let _ = writeln!(out, "\nFAILED: {} in {}: {}", failure.runtime, failure.case, failure.why);
    }
    for absent in &figures.absent {
        let _ = writeln!(out, "\n{} was not measured: {}", absent.id, absent.why);
    }
    out
}

/// The tables for the documentation: one per family with a row per runtime, then the targets, then
/// descriptions of the runtimes.
pub(crate) fn markdown(figures: &Figures, footprint: &Result<Footprint, String>) -> String {
    let mut out = String::new();
    let machine = &figures.machine;
    let _ = writeln!(
        out,
        "Medians of {} rounds{}, {} for resident memory. {}; {}; {}; {}; commit {}.\n\nEach cell has the median, its ratio to `onelane`'s median, and half of the interquartile \
         range, in per cent of the median. A dash: the runtime lacks what the case needs, or does not take part in \
         the case; its description below gives the reason. A number alone: the runtime failed; the note with \
         that number gives the reason.",
        figures.rounds,
        if figures.quick { " of a quick run, with small sizes" } else { "" },
        figures.rounds.min(RESIDENT_ROUNDS),
        machine.processor,
        machine.system,
        machine.compiler,
        machine.pinned,
        machine.commit,
    );
    for (family, cases) in figures.families() {
        let _ = writeln!(out, "\n### {}\n", family.title);
        for case in &cases {
            let _ = writeln!(out, "- `{}`: {}; {}", case.id, case.title, case.measured());
        }
        let heads: Vec<String> = cases.iter().map(|case| format!("`{}`", case.id)).collect();
        let _ = writeln!(out, "\n| runtime | {} |\n| --- |{}", heads.join(" | "), " ---: |".repeat(cases.len()));
        let mut notes = Vec::new();
        for runtime in &figures.runtimes {
            let cells: Vec<Option<String>> = cases
                .iter()
                .map(|case| {
                    if let Some(why) = figures.failure(case, &runtime.id) {
                        notes.push(format!("`{}` of {} failed: {why}", case.id, runtime.id));
                        return Some(format!("<sup>{}</sup>", notes.len()));
                    }
                    let figure = case.of(&runtime.id)?;
                    let ratio = case.ratio(figure).map_or_else(|| "-".into(), times);
                    Some(format!("{}<br>{ratio} ±{:.1} %", show(case.unit, figure.median()), figure.spread() * 50.0))
                })
                .collect();
            if cells.iter().all(Option::is_none) {
                continue;
            }
            let cells: Vec<String> = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into())).collect();
            let name = if runtime.id == "onelane" { "**onelane**" } else { &runtime.id };
            let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
        }
        for (number, note) in notes.iter().enumerate() {
            let _ = writeln!(out, "\n<sup>{}</sup> {note}", number + 1);
        }
    }
    out.push_str("\n### Targets\n\n| case | wanted | measured | |\n| --- | --- | ---: | --- |\n");
    for held in targets::hold(figures, footprint) {
        let verdict = match held.met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "not measured",
        };
        let _ =
            writeln!(out, "| `{}` | {} | {} | {verdict} |", held.case, held.wanted, held.measured.unwrap_or_default());
    }
    out.push_str("\n### The runtimes\n\n");
    for runtime in &figures.runtimes {
        let _ = writeln!(out, "- **{}** {}: {}", runtime.id, runtime.version, runtime.note);
    }
    for absent in &figures.absent {
        let _ = writeln!(out, "- **{}** was not measured: {}", absent.id, absent.why);
    }
    out
}

/// A ratio closer to 1 is not counted as a difference.
const CLEARLY: f64 = 0.95;

/// The table of cases in which other runtimes are clearly cheaper than `onelane`, with these
/// runtimes. The floor is not a runtime.
pub(crate) fn losses(figures: &Figures) -> String {
    let mut out = String::from("| case | cheaper there |\n| --- | --- |\n");
    for case in figures.families().flat_map(|(_, cases)| cases) {
        let cheaper = |(runtime, ratio): (&str, f64)| format!("{runtime} {}", times(ratio));
        let cheaper: Vec<String> = losses_in(case).into_iter().map(cheaper).collect();
        if !cheaper.is_empty() {
            let _ = writeln!(out, "| `{}` | {} |", case.id, cheaper.join(", "));
        }
    }
    let _ = writeln!(out, "\nThe ratios of their medians to `onelane`'s, where these are below {}.", times(CLEARLY));
    out
}

/// The runtimes that are clearly cheaper, in ascending order.
fn losses_in(case: &CaseFigures) -> Vec<(&str, f64)> {
    let ranking = case.ranking().into_iter().filter(|figure| figure.runtime != "floor");
    let ratios = ranking.filter_map(|figure| Some((figure.runtime.as_str(), case.ratio(figure)?)));
    ratios.filter(|(_, ratio)| *ratio < CLEARLY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Failure, Figure, Machine, Runtime};
    use onelane_cases::find;

    fn figures() -> Figures {
        let case = find("spawn-1").unwrap();
        let mut spawns = CaseFigures::new(case);
        for (runtime, median) in [("floor", 1.0), ("onelane", 10.0), ("smol", 9.8), ("tokio", 8.0)] {
            let mut figure = Figure::new(runtime, case.least(true));
            figure.samples.push(median);
            spawns.results.push(figure);
        }
        let runtime = |id: &str| Runtime { id: id.into(), version: String::new(), note: String::new() };
        Figures {
            machine: Machine {
                processor: String::new(),
                system: String::new(),
                compiler: String::new(),
                pinned: String::new(),
                commit: String::new(),
            },
            quick: true,
            rounds: 1,
            runtimes: ["onelane", "smol", "tokio", "monoio"].map(runtime).into(),
            absent: Vec::new(),
            failures: vec![Failure { case: "spawn-1".into(), runtime: "monoio".into(), why: "it stumbled".into() }],
            cases: vec![spawns],
        }
    }

    #[test]
    fn who_failed_has_a_note_in_place_of_a_figure() {
        let footprint = Err("no footprint was taken".into());
        let table = markdown(&figures(), &footprint);
        for line in [
            "| monoio | <sup>1</sup> |",
            "<sup>1</sup> `spawn-1` of monoio failed: it stumbled",
            "| `footprint` | cold build, packages, binary | no footprint was taken | not measured |",
        ] {
            assert!(table.lines().any(|found| found == line), "{line} is not in\n{table}");
        }
        let text = text(&figures(), &footprint);
        assert!(text.contains("\nFAILED: monoio in spawn-1: it stumbled\n"), "{text}");
    }

    #[test]
    fn losses_are_runtimes_that_take_clearly_less() {
        assert!(losses(&figures()).contains("| `spawn-1` | tokio 0.80× |\n"), "{}", losses(&figures()));
    }
}
