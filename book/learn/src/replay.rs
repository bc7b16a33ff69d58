//! The run that broke a law, as a text and as a page. The page is the one of onelane's feature `replay`: it shows the ready
//! queue, the timers and the tasks event by event, with the lines of the program.

use crate::check::Broken;
use crate::laws::sentence;
use crate::page::page;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The last events, numbered, with the program.
pub fn text(broken: &Broken, most: usize) -> String {
    let mut out = String::new();
    if !broken.lines.is_empty() {
        _ = writeln!(out, "{}:", broken.program);
        for (number, line) in (1..).zip(&broken.lines) {
            _ = writeln!(out, "{number:>4}  {line}");
        }
    }
    let count = broken.events.len();
    if count > most {
        _ = writeln!(out, "  ... {} event{} before", count - most, if count - most == 1 { "" } else { "s" });
    }
    for (nth, (numbers, text)) in broken.events.iter().enumerate().skip(count.saturating_sub(most)) {
        let time = numbers.get(1).map_or(String::new(), |ns| format!("{} ms", ns / 1_000_000));
        let mark = if nth + 1 == count { '>' } else { ' ' };
        _ = writeln!(out, "{mark} event {:>4}  {time:>6}  {text}", nth + 1);
    }
    out
}

/// The page. `None` if the check has no events that a page could show.
pub fn html(title: &str, broken: &Broken) -> Option<String> {
    let mut times = Table::default();
    let mut texts = Table::default();
    times.place(0);
    let mut events = Vec::new();
    for (numbers, _) in &broken.events {
        let [code, time, rest @ ..] = &numbers[..] else { continue };
        let mut event = vec![*code, times.place(*time)];
        match (code, rest) {
            // A spawn has the task's name, and a wait its description.
            (2, [task, line, by, row, generation]) => {
                let name = texts.place(format!("task {task}"));
                event.extend([*task, name, *line, *by, *row, *generation]);
            }
            (10, [task, wait, kind, on, line]) => {
                let what = if *kind == 1 { "a timer".into() } else { format!("flag {on}") };
                event.extend([*task, *wait, texts.place(what), *kind, *on, *line]);
            }
            // Deadlines are places in the list of times.
            (12, [timer, deadline, task]) => event.extend([*timer, times.place(*deadline), *task]),
            (15 | 17, [time]) => event.push(times.place(*time)),
            _ => event.extend(rest),
        }
        events.push(format!("[{}]", event.iter().map(i64::to_string).collect::<Vec<_>>().join(",")));
    }
    if events.is_empty() {
        return None;
    }
    let program: String = broken.lines.iter().map(|line| format!("{line}\n")).collect();
    // Place 0 is the last line: `main`.
    let lines = (0..=broken.lines.len()).map(|line| if line == 0 { broken.lines.len() } else { line });
    let places: Vec<_> = lines.map(|line| format!("[0,{line},1]")).collect();
    let times: Vec<_> = times.items.iter().map(|time| format!("\"{time}\"")).collect();
    let texts: Vec<_> = texts.items.iter().map(|text| quoted(text)).collect();
    let fault = format!("{}: {}. {}", broken.law, sentence(&broken.law), broken.what);
    let base = r#"{"time":0,"turns":0,"phase":0,"running":0,"woken":false,"calling":false,"fired":false,"marked":0,"wheel":0,"failure":0,"ready":[],"tasks":[],"timers":[]}"#;
    Some(page(&format!(
        r#"{{"format":"onelane-replay/1","title":{},"version":"","files":[{{"name":{},"text":{}}}],"places":[{}],"texts":[{}],"times":[{}],"first":0,"worlds":[{{"schedule":"","fault":{},"lost":0,"ignored":false,"base":{base},"events":[{}]}}]}}"#,
        quoted(title),
        quoted(&broken.program),
        quoted(&program),
        places.join(","),
        texts.join(","),
        times.join(","),
        quoted(&fault),
        events.join(","),
    )))
}

/// Things in the order of their first use, each once.
struct Table<T> {
    items: Vec<T>,
    places: BTreeMap<T, i64>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { items: Vec::new(), places: BTreeMap::new() }
    }
}

impl<T: Clone + Ord> Table<T> {
    fn place(&mut self, item: T) -> i64 {
        let next = self.items.len() as i64;
        let place = *self.places.entry(item.clone()).or_insert(next);
        if place == next {
            self.items.push(item);
        }
        place
    }
}

/// A text in JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            _ if letter < ' ' => _ = write!(out, "\\u{:04x}", letter as u32),
            _ => out.push(letter),
        }
    }
    out.push('"');
    out
}
