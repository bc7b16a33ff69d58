//! The figures as tables: one for the terminal, one for the documents.

use crate::figures::{Figures, show, times};
use crate::targets;
use std::fmt::Write;

/// The table for the terminal: each case, its runtimes from the cheapest to the dearest.
pub(crate) fn text(figures: &Figures) -> String {
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
    for held in targets::hold(figures) {
        let Some(measured) = held.measured else { continue };
        let verdict = if held.met == Some(true) { "met" } else { "NOT MET" };
        let _ = writeln!(out, "    {:<18} {:<52} {measured:<28} {verdict}", held.case, held.wanted);
    }
    for absent in &figures.absent {
        let _ = writeln!(out, "\n{} was not measured: {}", absent.id, absent.why);
    }
    out
}

/// The tables for the documents: one a family, a row for each runtime, then the targets, then what the runtimes are.
pub(crate) fn markdown(figures: &Figures) -> String {
    let mut out = String::new();
    let machine = &figures.machine;
    let _ = writeln!(
        out,
        "Medians of {} rounds{}. {}; {}; {}; {}.\n\nA cell: the median, how many times `onelane`'s it is, and half of the range in which the \
         middle half of the samples lies, in per cent of the median. A dash: the runtime does not have what the case asks for, or does not \
         take part in it; the notes below say why.",
        figures.rounds,
        if figures.quick { " of a quick look, with small sizes" } else { "" },
        machine.processor,
        machine.system,
        machine.compiler,
        machine.pinned,
    );
    for (family, cases) in figures.families() {
        let _ = writeln!(out, "\n### {}\n", family.title);
        for case in &cases {
            let _ = writeln!(out, "- `{}`: {}; {}", case.id, case.title, case.measured());
        }
        let heads: Vec<String> = cases.iter().map(|case| format!("`{}`", case.id)).collect();
        let _ = writeln!(out, "\n| runtime | {} |\n| --- |{}", heads.join(" | "), " ---: |".repeat(cases.len()));
        for runtime in &figures.runtimes {
            let cells: Vec<Option<String>> = cases
                .iter()
                .map(|case| {
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
    }
    out.push_str("\n### Targets\n\n| case | wanted | measured | |\n| --- | --- | ---: | --- |\n");
    for held in targets::hold(figures) {
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

/// What stands between the marks is replaced.
pub(crate) const MARKS: (&str, &str) = ("<!-- table -->\n", "<!-- /table -->");

/// The page with the table put between its marks; `None` if it has no marks.
pub(crate) fn put_between_marks(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS.0)?;
    let (_, after) = rest.split_once(MARKS.1)?;
    Some(format!("{before}{}\n{table}\n{}{after}", MARKS.0, MARKS.1))
}
