//! The page of an exploration: each order is a world of its own, which was really run.
//!
//! ```text
//!   ""          the normal order           passes
//!   "3=1/2"     deviates at choice 3       fails: the page opens here
//!   "2=1/3"     ..
//! ```
//!
//! At a choice, a click on another entry opens the world where that entry ran.
//! Up to that choice, the events of both worlds are the same.

use crate::event_loop::EventLoop;
use crate::explore::Explore;
use crate::explore::player::{Player, Policy};
use crate::explore::quiet::Quiet;
use crate::explore::run::run_in;
use crate::explore::schedule::{Deviation, Schedule};
use crate::inspect::replay::Recording;
use crate::inspect::replay::data::{World, json, program};
use crate::inspect::replay::page::page;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::rc::Rc;

/// A page has no more orders than this.
const MOST_WORLDS: usize = 200;
/// Nor does it get more orders when it has this many events.
const MOST_EVENTS: usize = 60_000;

struct Recorded {
    schedule: String,
    fault: Option<String>,
    recording: Rc<Recording>,
}

impl Explore<'_> {
    /// The page opens with this order. It also contains the orders from which it deviates, and then the
    /// others, the cheapest first, as long as there is room. Their panics are not printed.
    pub(super) fn page_of(&self, shown: &Schedule) -> String {
        let _quiet = Quiet::begin();
        let mut queues: BTreeMap<u64, VecDeque<Schedule>> = BTreeMap::new();
        let mut known = HashSet::new();
        let mut worlds: Vec<Recorded> = Vec::new();
        let mut events = 0;
        let mut add = |schedule: Schedule, queues: &mut BTreeMap<u64, VecDeque<Schedule>>| {
            if known.insert(schedule.to_string()) {
                queues.entry(schedule.cost()).or_default().push_back(schedule);
            }
        };
        for length in 0..=shown.0.len() {
            add(Schedule::of(shown.0[..length].to_vec()), &mut queues);
        }
        let mut needed = shown.0.len() + 1;
        while worlds.len() < MOST_WORLDS && (events < MOST_EVENTS || needed > 0) {
            let Some(mut cheapest) = queues.first_entry() else { break };
            let Some(schedule) = cheapest.get_mut().pop_front() else {
                cheapest.remove();
                continue;
            };
            let is_needed = shown.0.starts_with(&schedule.0);
            needed -= usize::from(is_needed);
            let is_too_dear = self.limits.max_cost.is_some_and(|max| schedule.cost() > max);
            let is_full = worlds.len() + needed >= MOST_WORLDS || events >= MOST_EVENTS;
            if !is_needed && (is_too_dear || is_full) {
                continue;
            }
            let recording = Rc::new(Recording::new());
            let player = Player::new(schedule.clone(), Policy::Fifo, self.limits.max_steps)
                .asking_for_left(self.limits.no_task_left);
            let builder = EventLoop::builder().without_page().probe(recording.clone());
            let run = run_in(builder, &*self.program, self.at, self.limits.options, player);
            for open in run.player.open.take() {
                for index in 1..open.among {
                    let mut child = schedule.clone();
                    child.0.push(Deviation { at: open.at, index, among: open.among });
                    add(child, &mut queues);
                }
            }
            events += recording.len();
            let fault = run.fault.map(|fault| fault.to_string());
            worlds.push(Recorded { schedule: schedule.to_string(), fault, recording });
        }
        let shown = shown.to_string();
        let first = worlds.iter().position(|world| world.schedule == shown).unwrap_or(0);
        let worlds: Vec<World<'_>> = worlds
            .iter()
            .map(|world| World {
                schedule: &world.schedule,
                fault: world.fault.as_deref(),
                recording: &world.recording,
            })
            .collect();
        page(&json(&title_of(self.type_name), &worlds, first, false))
    }
}

/// The function that has called `explore`, by the type of the program: `shop::tests::pay::{{closure}}`. Its
/// crate is mostly called as the program.
fn title_of(type_name: &str) -> String {
    let function = type_name.split("::{{closure}}").next().unwrap_or_default();
    let (krate, function) = function.split_once("::").unwrap_or(("", function));
    let program = program();
    match function {
        "" | "main" => program,
        _ if krate.is_empty() || program.replace('-', "_") == krate => format!("{program} · {function}"),
        _ => format!("{program} · {krate}::{function}"),
    }
}
