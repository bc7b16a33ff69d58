//! A schedule: one order of a program, written as its differences from FIFO.
//!
//! ```text
//!   7=2/3,19=1/2     at choice 7, number 2 of 3 is next; at choice 19, number 1 of 2
//!   7=2/3{a b c}     the same, and what there was to choose from
//! ```
//!
//! Choices are numbered from 1, and the things to choose from are numbered from 0, in the order in
//! which they run without a guide. Every choice that is not in the schedule is 0. So the empty
//! schedule is the normal order, which is asyncio's.
//!
//! A report writes the names into the line, for the deviations. So a replay notices that other tasks
//! are ready, even if as many are, and says which were ready then. A name in the line has only letters,
//! digits, and `_-.:<>`; other characters are written as `_`. The line does not have the names at
//! choices that do not deviate, nor those of more than eight entries: it must fit into a line. So a
//! program that has changed before a deviation is noticed only at the deviation, and not at all if the
//! same entries are ready there.
//!
//! This file does not know how a schedule is found or run.

use std::fmt;
use std::str::FromStr;

/// A choice that differs from FIFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deviation {
    /// The number of the choice, from 1.
    pub(crate) at: u32,
    /// What was chosen. At least 1.
    pub(crate) index: u16,
    /// The number of things to choose from.
    pub(crate) among: u16,
}

/// Deviations in the order of their choices, and for some of them what there was to choose from.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Schedule(pub(crate) Vec<Deviation>, Vec<Names>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Names {
    at: u32,
    names: Vec<String>,
}

/// A line has no more names at one choice.
const MOST_NAMES: usize = 8;

/// How a name is written in a line.
pub(crate) fn in_line(name: &str) -> String {
    let allowed = |letter: char| letter.is_alphanumeric() || "_-.:<>".contains(letter);
    name.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect()
}

impl Schedule {
    pub(crate) fn of(deviations: Vec<Deviation>) -> Self {
        Schedule(deviations, Vec::new())
    }

    /// What there was to choose from, if the schedule says so.
    pub(crate) fn names(&self, at: u32) -> Option<&[String]> {
        self.1.iter().find(|names| names.at == at).map(|names| &*names.names)
    }

    /// Adds what there was to choose from at a deviation.
    pub(crate) fn add_names(&mut self, at: u32, names: Vec<String>) {
        let is_deviation =
            self.0.iter().any(|deviation| deviation.at == at && names.len() == usize::from(deviation.among));
        if is_deviation && names.len() <= MOST_NAMES && !names.iter().any(String::is_empty) {
            self.1.push(Names { at, names });
        }
    }

    /// The line for a replay.
    pub(crate) fn with_names(&self) -> String {
        let part = |deviation: &Deviation| {
            let names = self.names(deviation.at).map(|names| format!("{{{}}}", names.join(" ")));
            format!("{deviation}{}", names.unwrap_or_default())
        };
        self.0.iter().map(part).collect::<Vec<_>>().join(",")
    }

    /// The sum of the deviations.
    pub(crate) fn cost(&self) -> u64 {
        self.0.iter().map(|deviation| u64::from(deviation.index)).sum()
    }

    /// # Errors
    ///
    /// What is wrong with the text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut deviations: Vec<Deviation> = Vec::new();
        let mut all_names = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let wrong = |what: &str| Err(format!("{part:?} in the schedule {text:?} {what}"));
            let (numbers, names) = match part.split_once('{') {
                None => (part, None),
                Some((numbers, names)) => match names.strip_suffix('}') {
                    Some(names) => (numbers, Some(names.split_whitespace().map(in_line).collect::<Vec<_>>())),
                    None => return wrong("has names that do not end with }"),
                },
            };
            let numbers = numbers.split_once('=').and_then(|(at, rest)| {
                let (index, among) = rest.split_once('/')?;
                Some((at.trim().parse().ok()?, index.trim().parse().ok()?, among.trim().parse().ok()?))
            });
            let Some((at, index, among)) = numbers else { return wrong("is not of the form 7=2/3") };
            if index == 0 || index >= among {
                return wrong("chooses what is not there: 7=2/3 is the last of three, and 0 is left out");
            }
            if at <= deviations.last().map_or(0, |last| last.at) {
                return wrong("is not in the order of the choices, which are numbered from 1");
            }
            if names.as_ref().is_some_and(|names| names.len() != usize::from(among)) {
                return wrong("has another number of names than it has things to choose from");
            }
            all_names.extend(names.map(|names| Names { at, names }));
            deviations.push(Deviation { at, index, among });
        }
        Ok(Schedule(deviations, all_names))
    }
}

/// The order of a loop: see [`LoopBuilder::schedule`](crate::LoopBuilder::schedule).
///
/// A number is a seed, from which each choice is drawn. A text is the schedule of a
/// [`Failure`](crate::explore::Failure). The default is the normal order, first in, first out.
///
/// # Examples
///
/// ```
/// use onelane::explore::Order;
///
/// let drawn = Order::from(7);
/// let recorded: Order = "7=2/3,19=1/2".parse().unwrap();
/// assert!("7=3/3".parse::<Order>().is_err());
/// # _ = (drawn, recorded, Order::default());
/// ```
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Order(pub(crate) Inner);

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Inner {
    Recorded(Schedule),
    Seed(u64),
}

impl Default for Inner {
    fn default() -> Self {
        Inner::Recorded(Schedule::default())
    }
}

impl From<u64> for Order {
    fn from(seed: u64) -> Self {
        Order(Inner::Seed(seed))
    }
}

impl FromStr for Order {
    type Err = InvalidSchedule;

    fn from_str(text: &str) -> Result<Self, InvalidSchedule> {
        let schedule = Schedule::parse(text).map_err(InvalidSchedule)?;
        Ok(Order(Inner::Recorded(schedule)))
    }
}

/// A text is not a schedule. `Display` says what is wrong.
///
/// # Examples
///
/// ```
/// use onelane::explore::{InvalidSchedule, Order};
///
/// let error: InvalidSchedule = "7".parse::<Order>().unwrap_err();
/// assert_eq!(error.to_string(), "\"7\" in the schedule \"7\" is not of the form 7=2/3");
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidSchedule(String);

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidSchedule {}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}/{}", self.at, self.index, self.among)
    }
}

/// Without names: the page of an exploration tells schedules apart by this text.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, deviation) in self.0.iter().enumerate() {
            write!(f, "{}{deviation}", if nth == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["", "7=2/3", "1=1/2,7=2/3,19=1/2"] {
            assert_eq!(Schedule::parse(text).unwrap().to_string(), text);
        }
        for text in ["7=2/3{a b c}", "1=1/2,7=2/3{a timer:b<x> callback},19=1/2{_ _}"] {
            assert_eq!(Schedule::parse(text).unwrap().with_names(), text);
        }
        assert_eq!(in_line("a task, {b}"), "a_task___b_");
        assert_eq!(Schedule::parse(" 1=1/2 , 7=2/3 ").unwrap().cost(), 3);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, word) in [
            ("7", "form"),
            ("7=2", "form"),
            ("x=2/3", "form"),
            ("7=3/3", "not there"),
            ("7=0/3", "not there"),
            ("7=1/3,7=1/3", "order"),
            ("0=1/3", "order"),
            ("7=1/2{a b", "do not end"),
            ("7=1/2{a}", "number of names"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
