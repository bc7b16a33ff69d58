//! What a task waits for, taken from the words in which onelane describes it.
//!
//! ```text
//!   a lock (made at src/shop.rs:3:14), held by "x"     Lock          made at src/shop.rs:3:14
//!   room in queue "jobs" (3 of 3 taken)                Queue         name "jobs"
//!   something to read, TCP 127.0.0.1:80                Socket
//! ```
//!
//! `tests/console.rs` compares this table with the library. Words that are not in the table are
//! shown as they are.

use console_api::Location;

/// A group of resources, as the console shows it in the columns Kind and Target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Theme {
    Loop,
    Timer,
    Sync,
    Task,
    Net,
    Outside,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Words {
    pub(crate) theme: Theme,
    /// The type of the thing: `Lock`.
    pub(crate) concrete_type: &'static str,
    /// The name that the program has given to it.
    pub(crate) name: Option<String>,
    /// Where it was created.
    pub(crate) made_at: Option<Location>,
    /// What is waited for, without its place and its state: `room in queue "jobs"`.
    pub(crate) short: String,
}

/// The first part that occurs in the words decides.
const PARTS: [(&str, Theme, &str); 20] = [
    ("something to read", Theme::Net, "Socket"),
    ("room to write", Theme::Net, "Socket"),
    ("semaphore", Theme::Sync, "Semaphore"),
    ("condition", Theme::Sync, "Condition"),
    ("barrier", Theme::Sync, "Barrier"),
    ("oneshot", Theme::Sync, "Oneshot"),
    ("channel", Theme::Sync, "Channel"),
    ("queue", Theme::Sync, "Queue"),
    ("event", Theme::Sync, "Event"),
    ("lock", Theme::Sync, "Lock"),
    ("promise made", Theme::Task, "Promise"),
    ("gather of", Theme::Task, "Gather"),
    ("group of", Theme::Task, "TaskGroup"),
    ("shield on", Theme::Task, "Shield"),
    ("wait on", Theme::Task, "Wait"),
    ("next to complete", Theme::Task, "AsCompleted"),
    ("end of task", Theme::Timer, "Timeout"),
    ("that it has cancelled", Theme::Timer, "Timeout"),
    ("signal", Theme::Outside, "Signal"),
    ("thread", Theme::Outside, "Thread"),
];

impl Words {
    pub(crate) fn of(what: &str) -> Words {
        let name = quoted(what);
        let (before, after) = name.map_or((what, ""), |(from, to)| (&what[..from], &what[to..]));
        let own = |text: &str| -> usize { text.find(" (").or(text.find(", held")).unwrap_or(text.len()) };
        // The state stands behind the name, if there is one.
        let short = match name {
            Some((_, to)) if own(before) == before.len() => &what[..to + own(after)],
            _ => &what[..own(what)],
        };
        // A name may contain any words.
        let unnamed = if name.is_some() { before } else { short };
        let found = PARTS.iter().find(|(part, ..)| unnamed.contains(part));
        let (theme, concrete_type) = match found {
            Some(&(_, theme, concrete_type)) => (theme, concrete_type),
            None if before.starts_with("task ") || what.starts_with("a task ") => (Theme::Task, "Task"),
            None if what == "a sleep" => (Theme::Timer, "Sleep"),
            None => (Theme::Outside, "Unknown"),
        };
        let is_primitive = theme == Theme::Sync;
        Words {
            theme,
            concrete_type,
            name: name.filter(|_| is_primitive).map(|(from, to)| what[from + 1..to - 1].into()),
            made_at: made_at(what),
            short: short.into(),
        }
    }
}

/// The first text in quotation marks, with them, if it stands before the state in parentheses.
fn quoted(what: &str) -> Option<(usize, usize)> {
    let from = what.find('"')?;
    if what[..from].contains(" (") || what[..from].contains(", ") {
        return None;
    }
    let mut escaped = false;
    for (at, letter) in what[from + 1..].char_indices() {
        match letter {
            '"' if !escaped => return Some((from, from + at + 2)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// The place behind `made at`.
fn made_at(what: &str) -> Option<Location> {
    let place = what.split_once("made at ")?.1;
    let end = place.find([')', ',']).unwrap_or(place.len());
    let mut parts = place[..end].rsplitn(3, ':');
    let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    Some(Location {
        file: Some(file.into()),
        line: Some(line.parse().ok()?),
        column: Some(column.parse().ok()?),
        module_path: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_names_places_and_types() {
        for (what, concrete_type, name, line, short) in [
            ("a lock (made at src/a.rs:3:14)", "Lock", None, Some(3), "a lock"),
            ("a lock (made at a.rs:3:14), held by \"queue\"", "Lock", None, Some(3), "a lock"),
            (
                "lock \"the \\\"event\\\"\", held by \"x\"",
                "Lock",
                Some("the \\\"event\\\""),
                None,
                "lock \"the \\\"event\\\"\"",
            ),
            ("room in queue \"jobs\" (3 of 3 taken)", "Queue", Some("jobs"), None, "room in queue \"jobs\""),
            ("room in a queue (made at a.rs:1:2, 3 of 3 taken)", "Queue", None, Some(1), "room in a queue"),
            (
                "a permit of a semaphore (made at a.rs:1:2, 0 free)",
                "Semaphore",
                None,
                Some(1),
                "a permit of a semaphore",
            ),
            ("a promise made at a.rs:7:2", "Promise", None, Some(7), "a promise made at a.rs:7:2"),
            ("task \"lock\"", "Task", None, None, "task \"lock\""),
            ("a sleep", "Sleep", None, None, "a sleep"),
            ("something unheard of", "Unknown", None, None, "something unheard of"),
            ("", "Unknown", None, None, ""),
            ("a lock \"", "Lock", None, None, "a lock \""),
        ] {
            let words = Words::of(what);
            let found =
                (words.concrete_type, words.name.as_deref(), words.made_at.and_then(|at| at.line), &*words.short);
            assert_eq!(found, (concrete_type, name, line, short), "{what}");
        }
    }
}
