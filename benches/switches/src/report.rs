//! Writes the figures: to the terminal, and as a table of the documentation.

use crate::measure::{self, Cell, Figures, Shape};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// The lines before and after the table.
const MARKS: [&str; 2] = ["<!-- table -->\n", "<!-- /table -->\n"];

impl Figures {
    fn cell(&self, program: &str, shape: Shape) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.program == program && cell.shape == shape)
    }

    /// The ratio to the median of `onelane`.
    fn ratio(&self, cell: &Cell) -> String {
        let ours = self.cell("onelane", cell.shape);
        ours.map_or_else(|| "-".into(), |ours| format!("{}×", three_digits(cell.median() / ours.median())))
    }
}

/// The text for the terminal: for each shape the programs in the order of the table.
pub(crate) fn text(figures: &Figures) -> String {
    let mut out = String::new();
    for shape in Shape::ALL {
        let _ = writeln!(out, "{}; time for each switch", shape.title());
        for program in &figures.programs {
            let Some(cell) = figures.cell(program.id, shape) else { continue };
            let title = program.title.replace('*', "");
            let (median, spread) = (show(cell.median()), format!("±{:.1} %", cell.spread() * 100.0));
            let _ = writeln!(out, "    {title:<32} {median:>10} {spread:>9} {:>9}", figures.ratio(cell));
        }
    }
    for failure in &figures.failures {
        let _ = writeln!(out, "FAILED: {failure}");
    }
    for missing in &figures.missing {
        let _ = writeln!(out, "not measured: {missing}");
    }
    out
}

/// The table of the page, with a row per program.
fn markdown(figures: &Figures) -> String {
    let about = format!(
        "Medians of {} rounds, with samples of about {} ms. {}; {}.",
        figures.plan.rounds,
        figures.plan.target.as_millis(),
        measure::machine(),
        figures.pinned,
    );
    let mut out = wrapped(&about);
    let heads = Shape::ALL.map(Shape::title).join(" | ");
    let _ = writeln!(out, "\n| | {heads} |\n| --- |{}", " ---: |".repeat(Shape::ALL.len()));
    for program in &figures.programs {
        let cells = Shape::ALL.map(|shape| match figures.cell(program.id, shape) {
            Some(cell) => {
                let spread = cell.spread() * 100.0;
                format!("{}<br>{} ±{spread:.1} %", show(cell.median()), figures.ratio(cell))
            }
            None => "-".into(),
        });
        let _ = writeln!(out, "| {} | {} |", program.title, cells.join(" | "));
    }
    let failures = figures.failures.iter().map(|failure| format!("- Failed: {failure}."));
    let missing = figures.missing.iter().map(|missing| format!("- Not measured: {missing}."));
    for (number, line) in failures.chain(missing).enumerate() {
        let _ = writeln!(out, "{}{line}", if number == 0 { "\n" } else { "" });
    }
    out
}

/// Breaks the text into lines of at most a hundred letters.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split(' ') {
        let letters = word.chars().count();
        if length > 0 {
            let fits = length + 1 + letters <= 100;
            out.push(if fits { ' ' } else { '\n' });
            length = if fits { length + 1 } else { 0 };
        }
        out.push_str(word);
        length += letters;
    }
    out.push('\n');
    out
}

/// Writes the table into the page.
///
/// # Errors
///
/// Returns an error if the page cannot be read or written, or has no marks.
pub(crate) fn write(figures: &Figures) -> Result<()> {
    let page = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance/switches.md"));
    let old = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let new = filled(&old, &markdown(figures)).with_context(|| {
        format!("{} must have the lines `{}` and `{}`", page.display(), MARKS[0].trim(), MARKS[1].trim())
    })?;
    fs::write(page, new).with_context(|| format!("writing {}", page.display()))?;
    eprintln!("written to docs/performance/switches.md");
    Ok(())
}

/// Returns the page with this table between its marks. Returns `None` if there are no marks.
fn filled(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some(format!("{before}{}\n{table}\n{}{after}", MARKS[0], MARKS[1]))
}

/// Formats nanoseconds.
fn show(nanoseconds: f64) -> String {
    if nanoseconds < 1e4 {
        return format!("{} ns", three_digits(nanoseconds));
    }
    format!("{} µs", three_digits(nanoseconds / 1e3))
}

fn three_digits(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_replaces_the_one_before_it() {
        let page = "head\n<!-- table -->\nold\n<!-- /table -->\nfoot\n";
        let new = "head\n<!-- table -->\n\nnew\n<!-- /table -->\nfoot\n";
        assert_eq!(filled(page, "new").as_deref(), Some(new));
        assert_eq!(filled(new, "new").as_deref(), Some(new));
        assert_eq!(filled("head\n<!-- table -->\nfoot\n", "new"), None);
    }

    #[test]
    fn the_page_has_a_place_for_the_table() {
        assert!(filled(include_str!("../../../docs/performance/switches.md"), "new").is_some());
    }

    #[test]
    fn long_lines_are_broken() {
        let text = ["word"; 30].join(" ");
        let lines: Vec<usize> = wrapped(&text).lines().map(str::len).collect();
        assert_eq!(lines, [99, 49]);
    }

    #[test]
    fn times_have_three_digits() {
        assert_eq!([1.2345, 12.345, 1234.5, 12_345.0].map(show), ["1.23 ns", "12.3 ns", "1234 ns", "12.3 µs"]);
    }
}
