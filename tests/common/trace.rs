//! Reads and checks a trace of `onelane::probe::Recorder`.

use serde_json::Value;
use std::collections::BTreeMap;

/// The number of each kind of event in a trace.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    /// The names of the tracks.
    pub(crate) tracks: BTreeMap<u64, String>,
    /// By category.
    pub(crate) slices: BTreeMap<String, usize>,
    /// By category.
    pub(crate) arrows: BTreeMap<String, usize>,
    /// By category, and name or ending: `wake merged`, `end value`.
    pub(crate) instants: BTreeMap<String, usize>,
    /// By their end.
    pub(crate) timers: BTreeMap<String, usize>,
    /// The number of events with counters.
    pub(crate) counters: usize,
}

impl Counts {
    pub(crate) fn slices(&self, category: &str) -> usize {
        self.slices.get(category).copied().unwrap_or(0)
    }

    pub(crate) fn arrows(&self, category: &str) -> usize {
        self.arrows.get(category).copied().unwrap_or(0)
    }

    pub(crate) fn instants(&self, what: &str) -> usize {
        self.instants.get(what).copied().unwrap_or(0)
    }

    pub(crate) fn timers(&self, outcome: &str) -> usize {
        self.timers.get(outcome).copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Arrow {
    tail: Option<u64>,
    head: Option<u64>,
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_else(|| panic!("there is no {key} in {event}"))
}

/// The time in whole nanoseconds. Some readers round it and others truncate it, so both must agree.
fn stamp(event: &Value) -> u64 {
    let nanos = event["ts"].as_f64().unwrap_or_else(|| panic!("there is no time in {event}")) * 1000.0;
    assert_eq!(nanos as u64, nanos.round() as u64, "{event}");
    nanos as u64
}

/// The events of a trace in the order of their times. Metadata has no time, and comes first.
pub(crate) fn events_of(json: &str) -> Vec<Value> {
    let trace: Value = serde_json::from_str(json).unwrap_or_else(|error| panic!("{error} in {json}"));
    let mut events = trace["traceEvents"].as_array().expect("a list of events").clone();
    events.sort_by_key(|event| if event["ph"] == "M" { 0 } else { stamp(event) });
    events
}

/// Counts what is in a trace.
///
/// # Panics
///
/// If the trace is not well-formed:
///
/// - slices of a track do not nest, or have no length;
/// - two times are equal;
/// - an arrow has no tail or no head, its end is outside of a slice, or its head is not in a step;
/// - a timer begins or ends twice, or does not end;
/// - the counters differ from those that the slices give;
/// - a track has no name, or has the number of the process, which some readers take for track 0.
pub(crate) fn check_trace(json: &str) -> Counts {
    let mut counts = Counts::default();
    let mut open: BTreeMap<u64, Vec<(String, u64)>> = BTreeMap::new();
    let mut arrows: BTreeMap<(String, u64), Arrow> = BTreeMap::new();
    let mut timers: BTreeMap<u64, bool> = BTreeMap::new();
    let mut last = 0;
    let (mut ready, mut alive) = (0_u64, 0_u64);
    let mut process = None;
    for event in events_of(json) {
        assert_eq!(event["pid"].as_u64(), *process.get_or_insert(event["pid"].as_u64()), "{event}");
        let track = event["tid"].as_u64().unwrap_or_else(|| panic!("no track: {event}"));
        let phase = text(&event, "ph");
        if phase == "M" {
            if event["name"] == "thread_name" {
                assert_ne!(text(&event["args"], "name"), "");
                let before = counts.tracks.insert(track, text(&event["args"], "name").to_string());
                assert_eq!(before, None, "a track has two names: {event}");
                alive += u64::from(track > 0);
            }
            continue;
        }
        let now = stamp(&event);
        assert!(now > last, "two events at the same time: {event}");
        last = now;
        let stack = open.entry(track).or_default();
        let arrow = |event: &Value| (text(event, "cat").to_string(), event["id"].as_u64().expect("a number"));
        match phase {
            "B" => {
                let category = text(&event, "cat");
                let around = stack.iter().map(|(category, _)| category.as_str()).collect::<Vec<_>>();
                let fits = match (track, category) {
                    (0, "turn" | "park" | "outside") => around.is_empty(),
                    (0, "call") => around.iter().all(|around| ["turn", "call", "park"].contains(around)),
                    (1.., "ready" | "run" | "wait") => around.is_empty(),
                    _ => false,
                };
                assert!(fits, "in {around:?}: {event}");
                assert!(!text(&event, "name").is_empty());
                stack.push((category.to_string(), now));
                *counts.slices.entry(category.to_string()).or_default() += 1;
                ready += u64::from(category == "ready");
            }
            "E" => {
                let (category, began) = stack.pop().unwrap_or_else(|| panic!("nothing is open: {event}"));
                assert!(began < now, "a slice without length: {event}");
                ready -= u64::from(category == "ready");
            }
            "s" => {
                assert!(!stack.is_empty(), "an arrow begins in no slice: {event}");
                let before = arrows.entry(arrow(&event)).or_default().tail.replace(now);
                assert_eq!(before, None, "an arrow has two tails: {event}");
            }
            "f" => {
                assert!(stack.last().is_some_and(|(category, _)| category == "run"), "no step at its head: {event}");
                assert_eq!(text(&event, "bp"), "e");
                let before = arrows.entry(arrow(&event)).or_default().head.replace(now);
                assert_eq!(before, None, "an arrow has two heads: {event}");
                *counts.arrows.entry(text(&event, "cat").to_string()).or_default() += 1;
            }
            "i" => {
                assert!(["t", "g"].contains(&text(&event, "s")));
                let category = text(&event, "cat");
                let what = match category {
                    "end" => text(&event["args"], "ending"),
                    _ => text(&event, "name"),
                };
                *counts.instants.entry(format!("{category} {what}")).or_default() += 1;
            }
            "b" => {
                let before = timers.insert(event["id"].as_u64().unwrap(), false);
                assert_eq!(before, None, "a timer begins twice: {event}");
            }
            "e" => {
                let before = timers.insert(event["id"].as_u64().unwrap(), true);
                assert_eq!(before, Some(false), "a timer ends but has not begun: {event}");
                *counts.timers.entry(text(&event["args"], "outcome").to_string()).or_default() += 1;
            }
            "C" => {
                assert_eq!(event["args"]["ready"], ready, "{event}");
                assert!(event["args"]["alive"].as_u64().unwrap() <= alive, "{event}");
                counts.counters += 1;
            }
            _ => panic!("an unknown phase: {event}"),
        }
    }
    let process = process.flatten().expect("the number of the process");
    assert!(process > 0 && u32::try_from(process).is_ok() && !counts.tracks.contains_key(&process), "{process}");
    for (track, stack) in &open {
        assert!(stack.is_empty(), "on track {track} these are still open: {stack:?}");
        assert!(counts.tracks.contains_key(track), "track {track} has no name");
    }
    for (name, Arrow { tail, head }) in &arrows {
        assert!(tail.is_some() && tail < head, "arrow {name:?} goes from {tail:?} to {head:?}");
    }
    assert!(timers.values().all(|&over| over), "a timer does not end: {timers:?}");
    counts
}
