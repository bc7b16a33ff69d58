//! Draws a recording: one row per task, one column per step.
//!
//! ```text
//!          0 ms  ~~~~~~~~ 2001 ms
//!   main   ███···············███
//!   任务1  ░░░███·········███
//! ```
//!
//! A wait of the loop is drawn wider than a step, but not in proportion, because a wait may last
//! seconds and a step microseconds.

use crate::recorder::{Column, Kind, Recording, State};

/// The width of the terminal.
const TERMINAL: usize = 100;
/// Room for a label of the scale, `2001 ms`, and a space.
const REST: usize = 9;
const INDENT: &str = "  ";

/// The lines of the drawing: a scale, the rows, a legend.
pub(crate) fn draw(recording: &Recording) -> Vec<String> {
    let names = recording.rows.iter().map(|name| display_width(name)).max().unwrap_or(0);
    let step = step_width(&recording.columns, INDENT.len() + names + 2);
    let mut lines = vec![format!("{INDENT}{}  {}", " ".repeat(names), scale(&recording.columns, step))];
    for (nth, name) in recording.rows.iter().enumerate() {
        let padding = " ".repeat(names - display_width(name));
        let line = format!("{INDENT}{name}{padding}  {}", cells(&recording.columns, nth, step));
        lines.push(line.trim_end().into());
    }
    lines.push(format!("{INDENT}{}  {}", " ".repeat(names), legend(&recording.columns)));
    lines
}

/// As wide as there is room for, but no wider than looks good.
fn step_width(columns: &[Column], margin: usize) -> usize {
    let width = |step| margin + columns.iter().map(|column| column_width(column.kind, step)).sum::<usize>();
    (1..=4).rev().find(|&step| width(step) <= TERMINAL).unwrap_or(1)
}

fn column_width(kind: Kind, step: usize) -> usize {
    match kind {
        Kind::Step => step,
        Kind::Rest => REST.max(3 * step),
    }
}

/// A wave over each wait, and the time at the first step and at each step after a wait, where the
/// clock has visibly advanced. A wait is wider than a label, so labels never touch.
fn scale(columns: &[Column], step: usize) -> String {
    let mut line = String::new();
    let mut begin = 0;
    let mut rested = true;
    for column in columns {
        let end = begin + column_width(column.kind, step);
        if column.kind == Kind::Rest {
            let gap = begin.saturating_sub(line.len()).max(1);
            line += &" ".repeat(gap);
            line += &"~".repeat((end - 1).saturating_sub(line.len()));
        } else if rested {
            line += &" ".repeat(begin - line.len());
            line += &format!("{} ms", column.at.as_millis());
        }
        rested = column.kind == Kind::Rest;
        begin = end;
    }
    line
}

fn cells(columns: &[Column], row: usize, step: usize) -> String {
    let cell = |column: &Column| {
        // The columns before it was spawned do not contain it.
        let state = column.states.get(row).copied().unwrap_or(State::Absent);
        symbol(state).to_string().repeat(column_width(column.kind, step))
    };
    columns.iter().map(cell).collect()
}

fn symbol(state: State) -> char {
    match state {
        State::Absent => ' ',
        State::Ready => '░',
        State::Running => '█',
        State::Asleep => '·',
        State::Cancelled => '×',
    }
}

/// The symbols that occur.
fn legend(columns: &[Column]) -> String {
    let words = [
        (State::Running, "running"),
        (State::Ready, "ready"),
        (State::Asleep, "sleeping"),
        (State::Cancelled, "cancelled"),
    ];
    let occurs = |state| columns.iter().any(|column| column.states.contains(&state));
    let occurring = words.into_iter().filter(|&(state, _)| occurs(state));
    let mut entries: Vec<String> = occurring.map(|(state, word)| format!("{} {word}", symbol(state))).collect();
    if columns.iter().any(|column| column.kind == Kind::Rest) {
        entries.push("~ the loop at rest".into());
    }
    entries.join("   ")
}

/// How many columns of a terminal a text takes.
fn display_width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Two for characters that are wide in East Asian typography. No combining marks here: a name is
/// text that a programmer typed.
fn char_width(char: char) -> usize {
    match u32::from(char) {
        0x1100..=0x115F       // Hangul initials
        | 0x2E80..=0xA4CF     // radicals, kana, Han, Yi
        | 0xAC00..=0xD7A3     // Hangul syllables
        | 0xF900..=0xFAFF     // Han, for compatibility
        | 0xFE30..=0xFE6F     // forms for compatibility
        | 0xFF00..=0xFF60     // forms that are wide on purpose
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF   // pictures
        | 0x20000..=0x3FFFD   // more Han
        => 2,
        _ => 1,
    }
}
