//! Draws the figures as charts: an SVG per family, with a panel per case and a bar per runtime.

use crate::figures::{CaseFigures, Figures, show};
use std::fmt::Write;

const PANEL_WIDTH: f64 = 460.0;
const NAME_WIDTH: f64 = 132.0;
const VALUE_WIDTH: f64 = 74.0;
const ROW: f64 = 19.0;
const HEAD: f64 = 44.0;
const MARGIN: f64 = 16.0;

/// A bar that is more than this many times as long as the shortest is cut off; otherwise the other
/// bars would be too short to compare. The correct number is printed beside it.
const LONGEST: f64 = 40.0;

/// Returns the charts, each with the name of its file.
pub(crate) fn all(figures: &Figures) -> Vec<(String, String)> {
    figures.families().map(|(family, cases)| (format!("{}.svg", family.file), chart(family.title, &cases))).collect()
}

fn chart(title: &str, cases: &[&CaseFigures]) -> String {
    let height_of = |case: &&CaseFigures| HEAD + ROW * case.results.len() as f64 + MARGIN;
    // Two columns, filled row by row; a row is as high as its higher panel.
    let rows: Vec<_> = cases.chunks(2).collect();
    let heights: Vec<f64> = rows.iter().map(|row| row.iter().map(height_of).fold(0.0, f64::max)).collect();
    let columns = cases.len().min(2) as f64;
    let (width, height) = (MARGIN + columns * (PANEL_WIDTH + MARGIN), 2.0 * MARGIN + heights.iter().sum::<f64>());
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#222\" role=\"img\">\n<title>{title}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    let mut top = MARGIN;
    for (row, height) in rows.iter().zip(heights) {
        for (column, case) in row.iter().enumerate() {
            panel(&mut out, case, MARGIN + column as f64 * (PANEL_WIDTH + MARGIN), top);
        }
        top += height;
    }
    out.push_str("</svg>\n");
    out
}

/// The value at the end of the axis: the largest that is not cut off. Python's bars are ignored,
/// because they would make the others too short.
fn longest(case: &CaseFigures) -> f64 {
    let medians = || {
        let compiled = case.results.iter().filter(|figure| !["asyncio", "uvloop"].contains(&figure.runtime.as_str()));
        compiled.map(|figure| figure.median())
    };
    let shortest = medians().fold(f64::INFINITY, f64::min);
    medians().filter(|median| *median <= shortest * LONGEST).fold(1e-9, f64::max)
}

fn panel(out: &mut String, case: &CaseFigures, left: f64, top: f64) {
    let longest = longest(case);
    let axis = left + NAME_WIDTH;
    let length = PANEL_WIDTH - NAME_WIDTH - VALUE_WIDTH;
    let ranking = case.ranking();
    let bottom = top + HEAD + ROW * ranking.len() as f64;
    let _ =
        writeln!(out, "<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{}</text>", top + 12.0, escape(&case.title));
    let (measured, id) = (case.measured(), &case.id);
    let _ =
        writeln!(out, "<text x=\"{left}\" y=\"{}\" fill=\"#555\" font-size=\"11\">{id}: {measured}</text>", top + 28.0);
    for (number, figure) in ranking.into_iter().enumerate() {
        let y = top + HEAD + ROW * number as f64;
        let end = |part| axis + (figure.quantile(part) / longest).clamp(0.0, 1.0) * length;
        let is_cut = figure.median() > longest;
        let (color, weight) = match figure.runtime.as_str() {
            "onelane" => ("#1f5c99", "bold"),
            "floor" => ("#c9c9c9", "normal"),
            _ => ("#8fa3b5", "normal"),
        };
        let text = y + ROW / 2.0 + 3.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\" font-weight=\"{weight}\">{}</text>\
             <rect x=\"{axis:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{color}\"/>\
             <text x=\"{:.1}\" y=\"{text:.1}\" font-weight=\"{weight}\">{}</text>",
            axis - 6.0,
            escape(&figure.runtime),
            y + 2.0,
            (end(0.5) - axis).max(0.5),
            ROW - 5.0,
            end(0.75).max(end(0.5)) + 5.0,
            show(case.unit, figure.median()),
        );
        let middle = y + (ROW - 1.0) / 2.0;
        let _ = if is_cut {
            let (x, top, bottom) = (axis + length - 16.0, y + 1.0, y + ROW - 2.0);
            writeln!(out, "<path d=\"M{x:.1} {bottom:.1}l6 -{0:.1}h5l-6 {0:.1}z\" fill=\"#fff\"/>", bottom - top)
        } else {
            // The range of the middle half of the samples.
            writeln!(out, "<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#222\"/>", end(0.25), end(0.75))
        };
    }
    let _ = writeln!(out, "<path d=\"M{axis:.1} {:.1}V{bottom:.1}\" stroke=\"#222\"/>", top + HEAD - 4.0);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('`', "")
}
