//! The feature `probe`: what each included probe does with events, and how a loop calls its probe.
#![cfg(feature = "probe")]
#![allow(unsafe_code, reason = "counting allocations takes an allocator of one's own")]

mod common;
#[path = "common/counting.rs"]
mod counting;
#[path = "common/strict.rs"]
mod strict;
#[path = "common/trace.rs"]
mod trace;

use common::{Trace, ms, on_drop, telling_loop, virtual_loop};
use counting::MADE;
use futures_util::future::select;
use onelane::probe::{
    Choice, Counters, Counts, Ending, Event, EventKind, Failure, Printer, Probe, Recorder, Ring, Source, Tee,
    WaitTarget, WakeOutcome,
};
use onelane::sync::Lock;
use onelane::{
    Budget, Clock, EventLoop, Metrics, TaskId, call_later, call_soon, current_task, finally, gather, sleep, spawn,
    task, timeout, yield_now,
};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Write};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;
use strict::Strict;
use trace::{check_trace, events_of};

// ---- helpers ----

/// The numbers of the first tasks of a loop. Only a loop can create a `TaskId`.
fn ids<const N: usize>() -> [TaskId; N] {
    let event_loop = virtual_loop();
    std::array::from_fn(|_| event_loop.spawn(async {}).id())
}

fn here() -> &'static Location<'static> {
    Location::caller()
}

fn feed(probe: &impl Probe, time: Duration, kinds: &[EventKind<'_>]) {
    for &kind in kinds {
        probe.event(&Event::new(time, kind));
    }
}

fn spawned<'a>(task: TaskId, name: &'a str, by: Source) -> EventKind<'a> {
    EventKind::Spawn { task, name, at: here(), by, row: 3, generation: 4 }
}

fn woken(task: TaskId, by: Source) -> EventKind<'static> {
    EventKind::Wake { task: Some(task), by, outcome: WakeOutcome::Queued }
}

fn waits<'a>(task: TaskId, wait: u64, what: &'a str) -> EventKind<'a> {
    EventKind::WaitBegin { task, wait, what, on: WaitTarget::Elsewhere, at: here() }
}

fn waited(task: TaskId, wait: u64) -> EventKind<'static> {
    EventKind::WaitEnd { task, wait, at: here() }
}

fn begins(task: TaskId) -> EventKind<'static> {
    EventKind::StepBegin { task }
}

fn pauses(task: TaskId) -> EventKind<'static> {
    EventKind::StepEnd { task, ended: false }
}

fn ends(task: TaskId) -> EventKind<'static> {
    EventKind::StepEnd { task, ended: true }
}

/// A writer whose content can be read while the printer owns the writer.
#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A probe made of a function.
struct Told<F>(F);

impl<F: Fn(&Event<'_>)> Probe for Told<F> {
    fn event(&self, event: &Event<'_>) {
        (self.0)(event);
    }
}

/// Each kind of event, with each outcome.
fn all_kinds([one, two]: [TaskId; 2]) -> Vec<EventKind<'static>> {
    let wake = |outcome, task| EventKind::Wake { task, by: Source::Kernel, outcome };
    vec![
        EventKind::TurnBegin,
        EventKind::TurnEnd,
        spawned(one, "one", Source::Outside),
        wake(WakeOutcome::Queued, Some(one)),
        wake(WakeOutcome::Merged, Some(two)),
        wake(WakeOutcome::Late, None),
        begins(one),
        ends(one),
        EventKind::Cancel { task: two, by: Source::Task(one) },
        EventKind::Uncancel { task: two, by: Source::Task(one), left: 1, revoked: false },
        EventKind::Yield { task: one, at: Location::caller() },
        EventKind::Suspend { task: one },
        EventKind::Choose { what: Choice::Entry, among: 3, index: 1 },
        EventKind::CallQueue { by: Source::Task(two) },
        EventKind::CallSkip,
        EventKind::CallBegin,
        EventKind::CallEnd,
        waits(two, 7, "a \"lock\"\n"),
        waited(two, 7),
        EventKind::TimerArm { timer: 8, deadline: ms(1500), task: Some(two) },
        EventKind::TimerArm { timer: 9, deadline: ms(2500), task: None },
        EventKind::Expire { now: ms(1500) },
        EventKind::TimerFire { timer: 8 },
        EventKind::TimerCancel { timer: 9 },
        EventKind::End { task: one, ending: Ending::Value },
        EventKind::End { task: one, ending: Ending::Cancelled },
        EventKind::End { task: one, ending: Ending::Panicked },
        EventKind::Park { until: Some(ms(1500)) },
        EventKind::Park { until: None },
        EventKind::Unpark,
        EventKind::Fail { why: Failure::Deadlock },
    ]
}

/// The line without its place, because places change when this file changes.
fn without_place(line: &str) -> String {
    line.split(" at=").next().unwrap().to_string()
}

// ---- the printer ----

#[test]
fn print_each_kind_in_a_line() {
    let lines = Trace::new();
    let copy = lines.clone();
    let printer = Printer::with(move |line| copy.push(line));
    feed(&printer, Duration::new(1, 2), &all_kinds(ids()));
    feed(&printer, ms(0), &[spawned(ids::<1>()[0], "a\u{1b}[31m \"b\"\nc", Source::Callback)]);
    let lines = lines.take();
    let place = format!(" at={}:", file!());
    assert_eq!(lines.iter().filter(|line| line.contains(&place)).count(), 5);
    assert_eq!(
        lines.iter().map(|line| without_place(line)).collect::<Vec<_>>(),
        [
            "1.000000002 turn-begin",
            "1.000000002 turn-end",
            "1.000000002 spawn task=1 name=\"one\" by=outside",
            "1.000000002 wake task=1 by=kernel outcome=queued",
            "1.000000002 wake task=2 by=kernel outcome=merged",
            "1.000000002 wake by=kernel outcome=late",
            "1.000000002 step-begin task=1",
            "1.000000002 step-end task=1 ended=true",
            "1.000000002 cancel task=2 by=task:1",
            "1.000000002 uncancel task=2 by=task:1 left=1 revoked=false",
            "1.000000002 yield task=1",
            "1.000000002 suspend task=1",
            "1.000000002 choose what=entry among=3 index=1",
            "1.000000002 call-queue by=task:2",
            "1.000000002 call-skip",
            "1.000000002 call-begin",
            "1.000000002 call-end",
            "1.000000002 wait-begin task=2 wait=7 what=\"a \\\"lock\\\"\\n\"",
            "1.000000002 wait-end task=2 wait=7",
            "1.000000002 timer-arm timer=8 deadline=1.500000000 task=2",
            "1.000000002 timer-arm timer=9 deadline=2.500000000",
            "1.000000002 expire now=1.500000000",
            "1.000000002 timer-fire timer=8",
            "1.000000002 timer-cancel timer=9",
            "1.000000002 end task=1 ending=value",
            "1.000000002 end task=1 ending=cancelled",
            "1.000000002 end task=1 ending=panicked",
            "1.000000002 park until=1.500000000",
            "1.000000002 park",
            "1.000000002 unpark",
            "1.000000002 fail why=deadlock",
            "0.000000000 spawn task=1 name=\"a\\u{1b}[31m \\\"b\\\"\\nc\" by=callback",
        ]
    );
}

/// A writer that accepts this number of bytes.
struct Short(usize, Paper);

impl Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn print_until_an_error_and_again_when_it_was_taken() {
    let paper = Paper::default();
    let printer = Printer::new(Short(42, paper.clone()));
    // The last event would have fitted.
    feed(&printer, ms(0), &[EventKind::TurnBegin, EventKind::CallBegin, EventKind::Unpark]);
    assert_eq!(paper.text(), "0.000000000 turn-begin\n");
    assert_eq!(printer.take_error().unwrap().kind(), ErrorKind::StorageFull);
    feed(&printer, ms(0), &[EventKind::Park { until: None }]);
    assert_eq!(paper.text(), "0.000000000 turn-begin\n0.000000000 park\n");
    assert!(printer.take_error().is_none());
}

/// A function that receives a line may cause another event for the printer. The printer ignores
/// this event.
#[test]
fn print_nothing_from_inside_of_the_printer() {
    let lines = Trace::new();
    let copy = lines.clone();
    let printer = Rc::new_cyclic(|weak: &std::rc::Weak<Printer>| {
        let weak = weak.clone();
        Printer::with(move |line| {
            copy.push(line);
            feed(&weak.upgrade().unwrap(), ms(1), &[EventKind::Unpark]);
        })
    });
    feed(&printer, ms(0), &[EventKind::TurnBegin, EventKind::TurnEnd]);
    assert_eq!(lines.take(), ["0.000000000 turn-begin", "0.000000000 turn-end"]);
}

// ---- the counters, and two probes at once ----

#[test]
fn count_each_kind() {
    let (counters, others) = (Rc::new(Counters::new()), Counters::new());
    let tee = Tee(counters.clone(), &others);
    feed(&tee, ms(0), &all_kinds(ids()));
    assert_eq!(counters.counts(), others.counts());
    let Counts { timers_armed, parks, .. } = counters.counts();
    assert_eq!((timers_armed, parks), (2, 2));
    // Each other counter is 1, so the sum equals the number of events.
    let shown = format!("{:?}", counters.counts());
    let numbers: Vec<u32> = shown.split([' ', ',', '}']).filter_map(|word| word.parse().ok()).collect();
    assert_eq!((numbers.len(), numbers.iter().sum::<u32>()), (29, 31));
    assert_eq!(numbers.iter().filter(|&&number| number == 1).count(), 27);
}

// ---- the ring ----

#[test]
fn keep_the_last_and_count_the_lost() {
    let ring = Ring::new(3);
    assert_eq!((ring.len(), ring.overwritten(), ring.is_empty()), (0, 0, true));
    let mut seen = Vec::new();
    for timer in 0..8 {
        feed(&ring, ms(timer), &[EventKind::TimerFire { timer }]);
        seen.push((ring.len(), ring.overwritten()));
    }
    assert_eq!(seen, [(1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 5)]);
    assert_eq!(
        ring.to_string(),
        "the last 3 events, 5 before them lost:\n\
         0.005000000 timer-fire timer=5\n\
         0.006000000 timer-fire timer=6\n\
         0.007000000 timer-fire timer=7\n"
    );
}

/// The ring keeps the names of living tasks, and of ended tasks that still have an event in it.
#[test]
fn keep_names_as_long_as_they_are_needed() {
    let tasks: [TaskId; 100] = ids();
    let ring = Ring::new(8);
    feed(&ring, ms(0), &[spawned(tasks[0], "main", Source::Outside)]);
    for &task in &tasks[1..99] {
        let name = format!("worker {task}");
        let end = EventKind::End { task, ending: Ending::Value };
        feed(&ring, ms(0), &[spawned(task, &name, Source::Task(tasks[0])), begins(task), end, ends(task)]);
    }
    feed(&ring, ms(0), &[begins(tasks[0]), spawned(tasks[99], "", Source::Task(tasks[0]))]);
    let told = ring.to_string();
    let names: Vec<&str> = told.lines().filter(|line| line.contains(" is ")).collect();
    assert_eq!(
        names,
        ["task 1 is \"main\"", "task 98 is \"worker 98\"", "task 99 is \"worker 99\"", "task 100 is \"\""]
    );
    // The texts of the events are kept as well.
    assert!(told.contains("spawn task=99 name=\"worker 99\" by=task:1 at="), "{told}");
}

/// The ring forgets a name together with the last event of its task, not before. Then it has room
/// for another name.
#[test]
fn give_a_name_up_with_the_last_event() {
    for (between, names) in [(2, [Some("task 1 is \"t1\""), None]), (3, [None, Some("task 5 is \"t5\"")])] {
        let tasks: [TaskId; 5] = ids();
        let ring = Ring::new(4);
        for (task, name) in tasks.iter().zip(["t1", "t2", "t3", "t4"]) {
            feed(&ring, ms(0), &[spawned(*task, name, Source::Outside)]);
        }
        feed(&ring, ms(0), &[EventKind::End { task: tasks[0], ending: Ending::Value }]);
        for _ in 0..between {
            feed(&ring, ms(0), &[begins(tasks[1])]);
        }
        feed(&ring, ms(0), &[spawned(tasks[4], "t5", Source::Outside)]);
        let told = ring.to_string();
        let find = |start: &str| told.lines().find(|line| line.starts_with(start));
        assert_eq!([find("task 1 is"), find("task 5 is")], names, "{told}");
    }
}

/// Printing the ring may cause an event for the ring. The ring drops this event.
#[test]
fn keep_nothing_from_inside_of_the_ring() {
    struct Echo<'a>(&'a Ring, String);

    impl std::fmt::Write for Echo<'_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            feed(self.0, ms(1), &[EventKind::Unpark]);
            self.1.push_str(text);
            Ok(())
        }
    }

    let ring = Ring::new(3);
    feed(&ring, ms(0), &[EventKind::TurnBegin]);
    let mut echo = Echo(&ring, String::new());
    std::fmt::Write::write_fmt(&mut echo, format_args!("{ring}")).unwrap();
    assert_eq!((echo.1, ring.len()), (ring.to_string(), 1));
}

/// There are more living tasks than room for names. The tasks that have names keep them.
#[test]
fn go_on_without_names_if_there_are_too_many() {
    let tasks: [TaskId; 40] = ids();
    let ring = Ring::new(4);
    for &task in &tasks {
        feed(&ring, ms(0), &[spawned(task, &format!("t{task}"), Source::Outside)]);
    }
    for &task in &tasks[1..4] {
        feed(&ring, ms(0), &[EventKind::End { task, ending: Ending::Cancelled }]);
    }
    feed(&ring, ms(0), &[begins(tasks[39])]);
    let told = ring.to_string();
    let names: Vec<&str> = told.lines().filter(|line| line.contains(" is ")).collect();
    assert_eq!(names, ["task 2 is \"t2\"", "task 3 is \"t3\"", "task 4 is \"t4\""]);
}

#[test]
fn record_in_the_ring_without_allocations() {
    let tasks: [TaskId; 500] = ids();
    let ring = Ring::new(64);
    let kinds = all_kinds([tasks[0], tasks[1]]);
    let before = MADE.get();
    for (nth, &task) in tasks.iter().enumerate() {
        let what = "something with a name that is longer than what is kept of it";
        feed(&ring, ms(1), &[spawned(task, what, Source::Outside), begins(task), waits(task, 1, what)]);
        // Every third task stays alive.
        if nth % 3 > 0 {
            feed(&ring, ms(1), &[EventKind::End { task, ending: Ending::Value }]);
        }
        for &kind in kinds.iter().filter(|kind| !matches!(kind, EventKind::Fail { .. })) {
            feed(&ring, ms(2), &[kind]);
        }
    }
    assert_eq!(MADE.get() - before, 0);
    assert!(ring.overwritten() > 10_000 && ring.to_string().contains("what=\"something with a name that i…\""));
}

#[test]
fn tell_the_ring_when_the_program_fails() {
    let told = Trace::new();
    let copy = told.clone();
    let ring = Ring::new(10).on_failure(move |ring| copy.push(ring.to_string()));
    feed(&ring, ms(0), &[EventKind::Unpark]);
    assert_eq!(told.take(), [""; 0]);
    feed(&ring, ms(0), &[EventKind::Fail { why: Failure::Panic }]);
    assert_eq!(
        told.take(),
        ["the last 2 events, 0 before them lost:\n0.000000000 unpark\n0.000000000 fail why=panic\n"]
    );
}

// ---- the recorder ----

const HOSTILE: &str = "w\"\\</script><!--\u{0}\u{1b}\n\u{2028}é";

/// Emits all kinds of events for two tasks. One of them waits for a lock and a sleep at once.
fn tell_a_story(probe: &impl Probe) {
    let [main, worker] = ids();
    let turn = |now, kinds: &[EventKind<'_>]| {
        feed(probe, now, &[EventKind::TurnBegin]);
        feed(probe, now, kinds);
        feed(probe, now, &[EventKind::TurnEnd]);
    };
    feed(probe, ms(0), &[spawned(main, "main", Source::Outside)]);
    turn(
        ms(0),
        &[
            begins(main),
            spawned(worker, HOSTILE, Source::Task(main)),
            EventKind::TimerArm { timer: 1, deadline: ms(5), task: Some(main) },
            waits(main, 1, "a sleep"),
            pauses(main),
        ],
    );
    turn(
        ms(0),
        &[
            begins(worker),
            waits(worker, 2, "a lock"),
            EventKind::TimerArm { timer: 3, deadline: ms(9), task: Some(worker) },
            waits(worker, 3, "a sleep"),
            // The task wakes itself, and then waits.
            woken(worker, Source::Task(worker)),
            EventKind::Wake { task: Some(worker), by: Source::Task(worker), outcome: WakeOutcome::Merged },
            pauses(worker),
            EventKind::CallBegin,
            EventKind::Wake { task: None, by: Source::Callback, outcome: WakeOutcome::Late },
            EventKind::CallEnd,
        ],
    );
    turn(ms(0), &[begins(worker), pauses(worker)]);
    feed(probe, ms(0), &[EventKind::Park { until: Some(ms(5)) }]);
    feed(probe, ms(5), &[EventKind::Unpark]);
    turn(ms(5), &[EventKind::TimerFire { timer: 1 }, woken(main, Source::Timer)]);
    let end = EventKind::End { task: main, ending: Ending::Value };
    turn(ms(5), &[begins(main), waited(main, 1), end, woken(worker, Source::Kernel), ends(main)]);
    let end = EventKind::End { task: worker, ending: Ending::Cancelled };
    let cancel = EventKind::TimerCancel { timer: 3 };
    turn(ms(5), &[begins(worker), waited(worker, 3), cancel, waited(worker, 2), end, ends(worker)]);
}

/// `0 B turn` for `{"tid":0,"ph":"B","name":"turn",..}`, with the other fields of the event.
fn shown(event: &Value) -> String {
    let mut line = format!("{} {}", event["tid"], event["ph"].as_str().unwrap());
    if let Some(name) = event["name"].as_str() {
        line += &format!(" {name}");
    }
    if event["ph"] == "s" || event["ph"] == "f" || event["ph"] == "b" || event["ph"] == "e" {
        line += &format!(" {}", event["id"]);
    }
    for (key, value) in event["args"].as_object().into_iter().flatten().filter(|(key, _)| *key != "at") {
        line += &format!(" {key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_string));
    }
    line
}

#[test]
fn record_a_story() {
    let paper = Paper::default();
    let recorder = Recorder::new(paper.clone());
    tell_a_story(&recorder);
    recorder.finish().unwrap();
    let json = paper.text();
    let lines: Vec<String> = events_of(&json).iter().map(shown).collect();
    let hostile = |before: &str| format!("{before}{HOSTILE}");
    assert_eq!(
        lines,
        [
            "0 M process_name name=onelane".into(),
            "0 M thread_name name=loop".into(),
            "1 M thread_name name=main".into(),
            "1 M thread_sort_index sort_index=1".into(),
            hostile("2 M thread_name name="),
            "2 M thread_sort_index sort_index=2".into(),
            // Between two turns.
            "0 i spawn by=outside name=main task=1".into(),
            "0 B outside".into(),
            "0 s spawn 1".into(),
            "0 E".into(),
            "1 B ready".into(),
            "0 C tasks alive=1 ready=1".into(),
            "0 B turn".into(),
            "1 E".into(),
            "1 B run".into(),
            "1 f spawn 1".into(),
            hostile("1 i spawn by=task:1 name=") + " task=2",
            "1 s spawn 2".into(),
            "2 B ready".into(),
            "0 b timer 1 deadline=0.005000000 task=1".into(),
            "1 E".into(),
            "1 B wait a sleep".into(),
            "0 E".into(),
            "0 C tasks alive=2 ready=1".into(),
            "0 B turn".into(),
            "2 E".into(),
            "2 B run".into(),
            "2 f spawn 2".into(),
            "0 b timer 3 deadline=0.009000000 task=2".into(),
            "2 s wake 3".into(),
            "2 i merged by=task:2".into(),
            "2 E".into(),
            "2 B ready".into(),
            "0 B callback".into(),
            "0 i late by=callback".into(),
            "0 E".into(),
            "0 E".into(),
            "0 B turn".into(),
            "2 E".into(),
            "2 B run".into(),
            "2 f wake 3".into(),
            "2 E".into(),
            "2 B wait a lock + a sleep".into(),
            "0 E".into(),
            "0 C tasks alive=2 ready=0".into(),
            "0 B park until=0.005000000".into(),
            "0 E".into(),
            "0 B turn".into(),
            "0 e timer 1 outcome=fired".into(),
            "0 s wake 4".into(),
            "1 E".into(),
            "1 B ready".into(),
            "0 E".into(),
            "0 C tasks alive=2 ready=1".into(),
            "0 B turn".into(),
            "1 E".into(),
            "1 B run".into(),
            "1 f wake 4".into(),
            "1 i end ending=value".into(),
            "1 s wake 5".into(),
            "2 E".into(),
            "2 B ready".into(),
            "1 E".into(),
            "0 E".into(),
            "0 C tasks alive=1 ready=1".into(),
            "0 B turn".into(),
            "2 E".into(),
            "2 B run".into(),
            "2 f wake 5".into(),
            "0 e timer 3 outcome=cancelled".into(),
            "2 i end ending=cancelled".into(),
            "2 E".into(),
            "0 E".into(),
            "0 C tasks alive=0 ready=0".into(),
        ]
    );
    // Text that would end the script element of a page that contains the JSON.
    assert!(!json.contains("</script") && !json.contains("<!--") && !json.contains('\u{2028}'));
}

#[test]
fn record_as_much_as_the_counters_count() {
    let (paper, counters) = (Paper::default(), Counters::new());
    tell_a_story(&Tee(&counters, Recorder::new(paper.clone())));
    let (trace, counts) = (check_trace(&paper.text()), counters.counts());
    assert_eq!(trace.tracks.len() as u64, 1 + counts.spawns);
    assert_eq!(trace.tracks[&2], HOSTILE);
    let slices = ["turn", "run", "call", "park", "ready"].map(|category| trace.slices(category) as u64);
    assert_eq!(
        slices,
        [counts.turns_begun, counts.steps_begun, counts.calls_begun, counts.parks, counts.spawns + counts.wakes_queued,]
    );
    assert_eq!(trace.slices("wait"), 2);
    let arrows = ["spawn", "wake"].map(|category| trace.arrows(category) as u64);
    assert_eq!(arrows, [counts.spawns, counts.wakes_queued]);
    let instants = ["wake merged", "wake late", "end value", "end cancelled", "spawn spawn"];
    let instants = instants.map(|what| trace.instants(what) as u64);
    let expected = [counts.wakes_merged, counts.wakes_late, counts.finished, counts.cancelled, counts.spawns];
    assert_eq!(instants, expected);
    let timers = ["fired", "cancelled", "pending"].map(|outcome| trace.timers(outcome) as u64);
    assert_eq!(timers, [counts.timers_fired, counts.timers_cancelled, 0]);
}

/// The clock stands still. Each time is still later than the one before, and the next park corrects
/// the difference.
#[test]
fn record_times_that_increase_while_the_clock_stands() {
    let paper = Paper::default();
    let recorder = Recorder::new(paper.clone());
    let turn = [EventKind::TurnBegin, EventKind::TurnEnd];
    for now in [ms(1), ms(1), ms(1), Duration::from_nanos(1_000_002), ms(2)] {
        feed(&recorder, now, &turn);
    }
    recorder.finish().unwrap();
    let stamp = |event: &Value| (event["ts"].as_f64().unwrap() * 1000.0) as u64;
    let events = events_of(&paper.text());
    let stamps: Vec<u64> = events.iter().filter(|event| event["name"] == "turn").map(stamp).collect();
    // The counters come before the first turn.
    assert_eq!(stamps, [1_000_001, 1_000_003, 1_000_005, 1_000_007, 2_000_000]);
}

#[test]
fn name_some_waits_and_count_the_others() {
    let (paper, [task]) = (Paper::default(), ids());
    let recorder = Recorder::new(paper.clone());
    feed(&recorder, ms(0), &[spawned(task, "t", Source::Outside), begins(task)]);
    for wait in 0..100 {
        feed(&recorder, ms(0), &[waits(task, wait, &format!("lock {wait}"))]);
    }
    feed(&recorder, ms(0), &[waited(task, 1), waited(task, 200), pauses(task)]);
    drop(recorder);
    let events = events_of(&paper.text());
    let wait = events.iter().find(|event| event["cat"] == "wait").unwrap();
    assert_eq!(wait["name"], "wait lock 0 + lock 2 + lock 3 + 96 more");
    let at = wait["args"]["at"].as_str().unwrap();
    assert_eq!(at.matches(file!()).count(), 3, "{at}");
}

/// Tasks without an earlier event, and tasks that are still open when the recorder ends.
#[test]
fn record_what_has_no_beginning_and_what_has_no_end() {
    let (paper, [ready, waiting, running]) = (Paper::default(), ids());
    let recorder = Recorder::new(paper.clone());
    feed(&recorder, ms(1), &[EventKind::TimerFire { timer: 1 }, waited(ready, 1), ends(ready), EventKind::CallEnd]);
    feed(&recorder, ms(1), &[EventKind::TurnBegin, woken(ready, Source::Outside), begins(waiting), pauses(waiting)]);
    feed(&recorder, ms(1), &[begins(running), EventKind::TimerArm { timer: 2, deadline: ms(9), task: None }]);
    feed(&recorder, ms(1), &[EventKind::Fail { why: Failure::Deadlock }]);
    recorder.finish().unwrap();
    feed(&recorder, ms(1), &[EventKind::Unpark, begins(ready)]);
    assert!(recorder.finish().is_ok());
    let counts = check_trace(&paper.text());
    assert_eq!(counts.tracks.values().collect::<Vec<_>>(), ["loop", "task 1", "task 2", "task 3"]);
    let slices = ["turn", "ready", "run", "wait"].map(|category| counts.slices(category));
    assert_eq!((slices, counts.timers("pending")), ([1, 1, 2, 1], 1));
    assert_eq!((counts.instants("fail deadlock"), counts.arrows("wake")), (1, 0));
}

/// The recorder writes a valid trace for any events in any order.
#[test]
fn record_nonsense_that_can_be_read() {
    let tasks: [TaskId; 5] = ids();
    for seed in 0..300_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut pick = |most: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % most
        };
        let (paper, counters) = (Paper::default(), Counters::new());
        let recorder = Recorder::new(paper.clone());
        let (mut spawns, mut living, mut now) = (Vec::new(), tasks.to_vec(), 0);
        for timer in 0..pick(150) {
            let task = living[pick(living.len() as u64) as usize];
            now += pick(4) * pick(30);
            let kind = match pick(20) {
                0 => EventKind::TurnBegin,
                1 => EventKind::TurnEnd,
                2 | 3 if !spawns.contains(&task) => {
                    spawns.push(task);
                    spawned(task, "t", Source::Outside)
                }
                4 | 5 => woken(task, Source::Outside),
                6 => EventKind::Wake { task: Some(task), by: Source::Timer, outcome: WakeOutcome::Merged },
                7 => EventKind::Wake { task: None, by: Source::Timer, outcome: WakeOutcome::Late },
                8 | 9 => begins(task),
                10 => pauses(task),
                11 => ends(task),
                12 => EventKind::CallBegin,
                13 => EventKind::CallEnd,
                14 => waits(task, pick(5), "w"),
                15 => waited(task, pick(5)),
                16 => EventKind::TimerArm { timer, deadline: ms(1), task: None },
                17 => EventKind::TimerFire { timer: pick(150) },
                18 if living.len() > 1 => {
                    living.retain(|&other| other != task);
                    EventKind::End { task, ending: Ending::Value }
                }
                19 => EventKind::Park { until: None },
                _ => EventKind::Unpark,
            };
            feed(&Tee(&counters, &recorder), Duration::from_nanos(now), &[kind]);
        }
        drop(recorder);
        let (trace, counts) = (check_trace(&paper.text()), counters.counts());
        assert_eq!(trace.slices("turn") as u64, counts.turns_begun, "seed {seed}");
        assert_eq!(trace.slices("run") as u64, counts.steps_begun, "seed {seed}");
        assert_eq!(trace.instants("end value") as u64, counts.finished, "seed {seed}");
        assert_eq!(trace.timers.values().sum::<usize>() as u64, counts.timers_armed, "seed {seed}");
    }
}

#[test]
fn write_in_pieces_and_end_when_it_is_dropped() {
    let (paper, [task]) = (Paper::default(), ids());
    let recorder = Recorder::new(paper.clone());
    feed(&recorder, ms(0), &[spawned(task, "t", Source::Outside)]);
    assert_eq!(paper.text(), "");
    for _ in 0..2000 {
        feed(&recorder, ms(0), &[begins(task), woken(task, Source::Task(task)), pauses(task)]);
    }
    let early = paper.text().len();
    assert!(early > 100_000 && serde_json::from_str::<Value>(&paper.text()).is_err());
    drop(recorder);
    assert!(paper.text().len() > early);
    let counts = check_trace(&paper.text());
    assert_eq!((counts.slices("run"), counts.arrows("wake"), counts.slices("ready")), (2000, 1999, 2001));
}

#[test]
fn keep_the_error_of_the_writer() {
    let (paper, [task]) = (Paper::default(), ids());
    let recorder = Recorder::new(Short(100_000, paper.clone()));
    for _ in 0..2000 {
        feed(&recorder, ms(0), &[begins(task), pauses(task)]);
    }
    let written = paper.text().len();
    assert!(written > 60_000, "the first piece");
    assert_eq!(recorder.finish().unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(recorder.finish().is_ok());
    drop(recorder);
    assert_eq!(paper.text().len(), written);
}

// ---- a probe in a loop ----

fn spawns_of(told: &Trace) -> impl Fn(&Event<'_>) + use<> {
    let told = told.clone();
    move |event| {
        if let EventKind::Spawn { .. } = event.kind {
            told.push(without_place(&event.to_string()));
        }
    }
}

#[test]
fn tell_of_spawns_who_when_and_where() {
    let (told, place) = (Trace::new(), Rc::new(Cell::new(None)));
    let (tell, seen) = (spawns_of(&told), place.clone());
    let probe = Told(move |event: &Event<'_>| {
        tell(event);
        if let EventKind::Spawn { at, .. } = event.kind {
            seen.set(Some(at));
        }
    });
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(probe).build();
    let named = |name: &str| drop(task::Builder::new().name(name).spawn(async {}));
    drop(event_loop.spawn(async {}));
    assert_eq!((place.get().unwrap().file(), place.get().unwrap().line()), (file!(), line!() - 1));
    event_loop.run(async move {
        named("by the main task");
        onelane::sleep(ms(1500)).await;
        call_soon(move || named("by a callback"));
        yield_now().await;
    });
    let told = told.take();
    let lines: Vec<&str> = told.iter().map(String::as_str).collect();
    let [first, main, others @ ..] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(first.starts_with("0.000000000 spawn task=1 name=\"") && first.ends_with(" by=outside"), "{first}");
    assert!(main.starts_with("0.000000000 spawn task=2 name=\"") && main.ends_with(" by=outside"), "{main}");
    assert_eq!(
        others,
        [
            "0.000000000 spawn task=3 name=\"by the main task\" by=task:2",
            "1.500000000 spawn task=4 name=\"by a callback\" by=callback",
        ]
    );
}

/// A spawn in the probe itself emits no event. The spawns after it do.
#[test]
fn spawn_in_a_probe_untold() {
    let told = Trace::new();
    let tell = spawns_of(&told);
    let probe = Told(move |event: &Event<'_>| {
        tell(event);
        if EventLoop::try_current().is_ok() && matches!(event.kind, EventKind::Spawn { .. }) {
            drop(spawn(async {}));
        }
    });
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(probe).build();
    let [own, other] = event_loop.run(async { [spawn(async {}).id(), spawn(async {}).id()] });
    let told = told.take();
    let numbers: Vec<&str> = told.iter().filter_map(|line| line.split(['=', ' ']).nth(3)).collect();
    let expected = [1, 2].map(|nth: u32| nth.to_string());
    assert_eq!(numbers[0], expected[0]);
    assert_eq!(numbers[1..], [own.to_string(), other.to_string()], "{told:?}");
    assert!(own.to_string() > expected[0] && all_different(&numbers));
}

fn all_different(numbers: &[&str]) -> bool {
    numbers.iter().enumerate().all(|(nth, number)| !numbers[..nth].contains(number))
}

#[test]
fn take_out_a_probe_that_panics() {
    let (told, life) = (Trace::new(), Trace::new());
    let (copy, events) = (told.clone(), life.clone());
    let gone = life.clone();
    let guard = on_drop(move || gone.push("dropped"));
    let probe = Told(move |_: &Event<'_>| {
        let _ = &guard;
        events.push("event");
        panic!("in the probe");
    });
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .probe(probe)
        .exception_handler(move |exception| copy.push(exception.to_string()))
        .build();
    let value = event_loop.run(async { spawn(async { 7 }).await });
    assert_eq!(value, Ok(7));
    assert_eq!(life.take(), ["event", "dropped"]);
    assert_eq!(told.take(), ["a probe panicked, and was taken out: in the probe"]);
}

#[test]
fn drop_the_probe_with_its_loop() {
    let counters = Rc::new(Counters::new());
    let event_loop = EventLoop::builder().probe(Counters::new()).probe(counters.clone()).build();
    assert_eq!(Rc::strong_count(&counters), 2);
    event_loop.run(async {});
    drop(event_loop);
    assert_eq!((Rc::strong_count(&counters), counters.counts().spawns), (1, 1));
    // A loop without a probe does not use the probe of another loop.
    let (event_loop, told) = telling_loop();
    event_loop.run(async {});
    assert_eq!((counters.counts().spawns, told.take().len()), (1, 0));
}

/// The end of each timer is reported, also of those that the loop drops at its end. A late wake is
/// reported once.
#[test]
fn tell_of_the_last_timers_and_of_a_late_wake() {
    let counters = Rc::new(Counters::new());
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(counters.clone()).build();
    // Outlives the task that created it.
    let kept = Rc::new(RefCell::new(None));
    let copy = kept.clone();
    event_loop.run(async {
        call_later(ms(100), || ());
        let mut join = Box::pin(spawn(sleep(ms(5))).into_future());
        let forgetful = spawn(async move {
            std::future::poll_fn(|context| {
                assert!(join.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            *copy.borrow_mut() = Some(join);
        });
        forgetful.await.unwrap();
        sleep(ms(10)).await;
    });
    drop(event_loop);
    let counts = counters.counts();
    assert_eq!([counts.timers_armed, counts.timers_fired, counts.timers_cancelled], [3, 2, 1]);
    assert_eq!(counts.wakes_late, 1);
}

// ---- what a loop emits, and when ----

/// A loop whose events are checked against their docs. `told` receives the events that `tell`
/// selects, without their places.
fn strict_loop(clock: Clock, tell: fn(&EventKind<'_>) -> bool) -> (EventLoop, Strict, Trace) {
    let (strict, told) = (Strict::default(), Trace::new());
    let copy = told.clone();
    let probe = Told(move |event: &Event<'_>| {
        if tell(&event.kind) {
            copy.push(without_place(&event.to_string()));
        }
    });
    let event_loop = EventLoop::builder()
        .clock(clock)
        .probe(Tee(strict.clone(), probe))
        .exception_handler(|_| ())
        .metrics(true)
        .build();
    (event_loop, strict, told)
}

/// Cleanups, panics in each place, what is left at the end, and a host that turns the loop by hand
/// after two runs.
#[test]
fn tell_all_in_order() {
    let (event_loop, strict, told) = strict_loop(Clock::Virtual, |_| true);
    let named = |name: &str| task::Builder::new().name(name);
    event_loop.run(async move {
        drop(named("cleans up").spawn(finally(sleep(ms(10)), sleep(ms(3)))));
        drop(named("panics").spawn(async {
            let _guard = on_drop(|| panic!("as it is dropped"));
            std::future::pending::<()>().await;
        }));
        call_soon(|| panic!("in a callback"));
        yield_now().await;
        call_later(ms(1), || panic!("in the callback of a timer"));
        sleep(ms(1)).await;
    });
    event_loop.run(async {});
    event_loop.spawn(async { panic!("in a task") });
    event_loop.turn();
    drop(event_loop);
    assert_eq!(strict.complaints_at_the_end(), [""; 0]);
    assert_eq!(
        told.take(),
        [
            "0.000000000 spawn task=1 name=\"tell_all_in_order-1\" by=outside",
            "0.000000000 turn-begin",
            "0.000000000 step-begin task=1",
            "0.000000000 spawn task=2 name=\"cleans up\" by=task:1",
            "0.000000000 spawn task=3 name=\"panics\" by=task:1",
            "0.000000000 call-queue by=task:1",
            "0.000000000 yield task=1",
            "0.000000000 wake task=1 by=task:1 outcome=queued",
            "0.000000000 step-end task=1 ended=false",
            "0.000000000 turn-end",
            "0.000000000 turn-begin",
            "0.000000000 step-begin task=2",
            "0.000000000 timer-arm timer=3 deadline=0.010000000 task=2",
            "0.000000000 wait-begin task=2 wait=3 what=\"a sleep\"",
            "0.000000000 step-end task=2 ended=false",
            "0.000000000 step-begin task=3",
            "0.000000000 step-end task=3 ended=false",
            "0.000000000 call-begin",
            "0.000000000 call-end",
            "0.000000000 step-begin task=1",
            "0.000000000 timer-arm timer=4 deadline=0.001000000",
            "0.000000000 timer-arm timer=5 deadline=0.001000000 task=1",
            "0.000000000 wait-begin task=1 wait=5 what=\"a sleep\"",
            "0.000000000 step-end task=1 ended=false",
            "0.000000000 turn-end",
            "0.001000000 expire now=0.001000000",
            "0.001000000 turn-begin",
            "0.001000000 timer-fire timer=4",
            "0.001000000 call-begin",
            "0.001000000 call-end",
            "0.001000000 timer-fire timer=5",
            "0.001000000 wait-end task=1 wait=5",
            "0.001000000 wake task=1 by=timer outcome=queued",
            "0.001000000 turn-end",
            "0.001000000 turn-begin",
            "0.001000000 step-begin task=1",
            "0.001000000 end task=1 ending=value",
            "0.001000000 call-queue by=kernel",
            "0.001000000 step-end task=1 ended=true",
            "0.001000000 turn-end",
            "0.001000000 turn-begin",
            "0.001000000 call-begin",
            "0.001000000 call-end",
            "0.001000000 turn-end",
            "0.001000000 cancel task=2 by=kernel",
            "0.001000000 wake task=2 by=kernel outcome=queued",
            "0.001000000 cancel task=3 by=kernel",
            "0.001000000 wake task=3 by=kernel outcome=queued",
            "0.001000000 turn-begin",
            "0.001000000 step-begin task=2",
            "0.001000000 timer-cancel timer=3",
            "0.001000000 wait-end task=2 wait=3",
            "0.001000000 timer-arm timer=6 deadline=0.003000000 task=2",
            "0.001000000 wait-begin task=2 wait=6 what=\"a sleep\"",
            "0.001000000 suspend task=2",
            "0.001000000 step-end task=2 ended=false",
            "0.001000000 step-begin task=3",
            "0.001000000 end task=3 ending=panicked",
            "0.001000000 step-end task=3 ended=true",
            "0.001000000 turn-end",
            "0.003000000 expire now=0.003000000",
            "0.003000000 turn-begin",
            "0.003000000 timer-fire timer=6",
            "0.003000000 wait-end task=2 wait=6",
            "0.003000000 wake task=2 by=timer outcome=queued",
            "0.003000000 turn-end",
            "0.003000000 turn-begin",
            "0.003000000 step-begin task=2",
            "0.003000000 end task=2 ending=cancelled",
            "0.003000000 step-end task=2 ended=true",
            "0.003000000 turn-end",
            "0.003000000 turn-begin",
            "0.003000000 turn-end",
            "0.003000000 turn-begin",
            "0.003000000 turn-end",
            "0.003000000 spawn task=4 name=\"tell_all_in_order-4\" by=outside",
            "0.003000000 turn-begin",
            "0.003000000 step-begin task=4",
            "0.003000000 end task=4 ending=value",
            "0.003000000 call-queue by=kernel",
            "0.003000000 step-end task=4 ended=true",
            "0.003000000 turn-end",
            "0.003000000 turn-begin",
            "0.003000000 call-begin",
            "0.003000000 call-end",
            "0.003000000 turn-end",
            "0.003000000 spawn task=5 name=\"tell_all_in_order-5\" by=outside",
            "0.003000000 turn-begin",
            "0.003000000 step-begin task=5",
            "0.003000000 end task=5 ending=panicked",
            "0.003000000 step-end task=5 ended=true",
            "0.003000000 turn-end",
        ]
    );
}

/// The line of the await, also behind a box, whose poll is in the standard library.
#[test]
fn tell_where_a_task_yields() {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let (copy, strict) = (lines.clone(), Strict::default());
    let probe = Told(move |event: &Event<'_>| {
        if let EventKind::Yield { task, at } = event.kind {
            assert_eq!(at.file(), file!());
            copy.borrow_mut().push((task.to_string(), at.line()));
        }
    });
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(Tee(strict.clone(), probe)).build();
    let first = line!() + 2;
    event_loop.run(async {
        yield_now().await;
        let boxed: Pin<Box<dyn Future<Output = ()>>> = Box::pin(yield_now());
        boxed.await;
        spawn(async { yield_now().await }).await.unwrap();
    });
    drop(event_loop);
    assert_eq!(strict.complaints_at_the_end(), [""; 0]);
    let told: Vec<_> = lines.borrow().iter().map(|(task, line)| (task.clone(), line - first)).collect();
    assert_eq!(told, [("1".into(), 0), ("1".into(), 1), ("2".into(), 3)]);
}

/// Outside of a task and of a loop there is nobody to yield, and nothing to tell.
#[test]
fn tell_of_no_yield_outside_of_a_task() {
    let is_yield = |kind: &EventKind<'_>| matches!(kind, EventKind::Yield { .. });
    let (event_loop, strict, told) = strict_loop(Clock::Virtual, is_yield);
    let poll = || {
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(Pin::new(&mut yield_now()).poll(&mut context).is_pending());
    };
    poll();
    event_loop.run(async move {
        call_soon(poll);
        sleep(ms(1)).await;
    });
    drop(event_loop);
    assert_eq!((strict.complaints_at_the_end(), told.take()), (vec![], vec![]));
}

#[test]
fn tell_of_requests_that_are_taken_back() {
    let is_about_requests = |kind: &EventKind<'_>| {
        matches!(kind, EventKind::Cancel { .. } | EventKind::Uncancel { .. } | EventKind::End { .. })
    };
    let (event_loop, strict, told) = strict_loop(Clock::Virtual, is_about_requests);
    event_loop.run(async {
        let task = spawn(sleep(ms(5)));
        yield_now().await;
        task.cancel();
        task.cancel();
        assert_eq!((task.uncancel(), task.uncancel(), task.uncancel()), (1, 0, 0));
        task.await.unwrap();
        // Taken back in the step in which it came.
        let own = current_task().unwrap();
        own.cancel();
        assert_eq!(own.uncancel(), 0);
        yield_now().await;
    });
    drop(event_loop);
    assert_eq!(strict.complaints_at_the_end(), [""; 0]);
    assert_eq!(
        told.take(),
        [
            "0.000000000 cancel task=2 by=task:1",
            "0.000000000 cancel task=2 by=task:1",
            "0.000000000 uncancel task=2 by=task:1 left=1 revoked=false",
            "0.000000000 uncancel task=2 by=task:1 left=0 revoked=true",
            "0.005000000 end task=2 ending=value",
            "0.005000000 cancel task=1 by=task:1",
            "0.005000000 uncancel task=1 by=task:1 left=0 revoked=true",
            "0.005000000 end task=1 ending=value",
        ]
    );
}

#[test]
fn tell_who_wakes() {
    let is_wake = |kind: &EventKind<'_>| matches!(kind, EventKind::Wake { .. });
    let (event_loop, strict, told) = strict_loop(Clock::Virtual, is_wake);
    // Another thread wakes it between two turns.
    let (waker, polls) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(0)));
    let copy = waker.clone();
    let _sleeper = event_loop.spawn(std::future::poll_fn(move |context| {
        *copy.borrow_mut() = Some(context.waker().clone());
        polls.set(polls.get() + 1);
        if polls.get() == 5 { Poll::Ready(()) } else { Poll::Pending }
    }));
    event_loop.turn();
    let wake = move || waker.borrow().as_ref().unwrap().wake_by_ref();
    let other = wake.clone();
    wake();
    event_loop.turn();
    event_loop.run(async move {
        // Another thread wakes the task while the loop is in a step.
        let waker = current_waker().await;
        std::thread::spawn(move || waker.wake()).join().unwrap();
        once_pending().await;
        other(); // task 1, by a task
        yield_now().await;
        call_soon(other); // by a callback
        sleep(ms(1)).await; // by a timer
        // The end of another task, which is cancelled, wakes it.
        let slow = spawn(sleep(ms(5)));
        let victim = slow.task_ref();
        call_later(ms(1), move || _ = victim.cancel());
        assert!(slow.await.unwrap_err().is_cancelled());
        // Cancelled in its own step. The step then runs on to the next wait.
        let own = spawn(async {
            current_task().unwrap().cancel();
            sleep(ms(1)).await;
        });
        yield_now().await;
        drop(own);
        spawn(sleep(ms(7)));
        yield_now().await;
    });
    drop(event_loop);
    assert_eq!(strict.complaints_at_the_end(), [""; 0]);
    assert_eq!(
        told.take(),
        [
            "0.000000000 wake task=1 by=outside outcome=queued",
            "0.000000000 wake task=2 by=outside outcome=queued",
            "0.000000000 wake task=1 by=task:2 outcome=queued",
            "0.000000000 wake task=2 by=task:2 outcome=queued",
            "0.000000000 wake task=1 by=callback outcome=queued",
            "0.001000000 wake task=2 by=timer outcome=queued",
            "0.002000000 wake task=3 by=callback outcome=queued",
            "0.002000000 wake task=2 by=kernel outcome=queued",
            "0.002000000 wake task=2 by=task:2 outcome=queued",
            "0.002000000 wake task=4 by=kernel outcome=queued",
            "0.002000000 wake task=2 by=task:2 outcome=queued",
            "0.002000000 wake task=1 by=kernel outcome=queued",
            "0.002000000 wake task=5 by=kernel outcome=queued",
        ]
    );
}

async fn current_waker() -> std::task::Waker {
    std::future::poll_fn(|context| Poll::Ready(context.waker().clone())).await
}

/// Pending once, and wakes no task.
async fn once_pending() {
    let mut is_first = true;
    std::future::poll_fn(|_| if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }).await;
}

/// A sleep that another task polls later becomes a wait of this other task.
#[test]
fn tell_whose_wait_a_moved_sleep_is() {
    let is_wait = |kind: &EventKind<'_>| matches!(kind, EventKind::WaitBegin { .. } | EventKind::WaitEnd { .. });
    let (event_loop, strict, told) = strict_loop(Clock::Virtual, is_wait);
    event_loop.run(async {
        let slot = Rc::new(RefCell::new(Some(sleep(ms(10)))));
        let copy = slot.clone();
        let first = spawn(async move {
            std::future::poll_fn(|context| {
                assert!(Pin::new(copy.borrow_mut().as_mut().unwrap()).poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        let sleep = slot.take().unwrap();
        sleep.await;
        first.cancel();
    });
    drop(event_loop);
    assert_eq!(strict.complaints_at_the_end(), [""; 0]);
    assert_eq!(
        told.take(),
        [
            "0.000000000 wait-begin task=2 wait=2 what=\"a sleep\"",
            "0.000000000 wait-end task=2 wait=2",
            "0.000000000 wait-begin task=1 wait=2 what=\"a sleep\"",
            "0.010000000 wait-end task=1 wait=2",
        ]
    );
}

/// A park reports when the next timer is due, to the nanosecond, and no deadline if there is no
/// timer.
#[test]
fn tell_until_when_the_loop_parks() {
    let (event_loop, _, told) = strict_loop(Clock::Virtual, |kind| matches!(kind, EventKind::Park { .. }));
    // Another thread could send something, until it drops its `Remote`.
    let remote = event_loop.remote();
    let other = std::thread::spawn(move || {
        std::thread::sleep(ms(20));
        drop(remote);
    });
    assert!(event_loop.try_run(std::future::pending::<()>()).is_err());
    other.join().unwrap();
    // There is no line if the thread dropped its `Remote` before the loop parked.
    assert!(told.take().iter().all(|line| line == "0.000000000 park"));

    let seen = Rc::new(RefCell::new((Vec::new(), Vec::new())));
    let copy = seen.clone();
    let probe = Told(move |event: &Event<'_>| match event.kind {
        EventKind::TimerArm { deadline, .. } => copy.borrow_mut().0.push(Some(deadline)),
        EventKind::Park { until } => copy.borrow_mut().1.push(until),
        _ => {}
    });
    EventLoop::builder().probe(probe).build().run(sleep_in_the_loop(ms(30)));
    let (mut deadlines, parks) = seen.take();
    // A park may return early, and the loop parks again.
    deadlines.resize(parks.len(), deadlines[0]);
    assert_eq!(parks, deadlines);
}

async fn sleep_in_the_loop(duration: Duration) {
    sleep(duration).await;
}

/// The loop does not park if the probe makes a task ready when it receives the park event.
#[test]
fn go_on_if_the_probe_makes_something_ready() {
    let acts: [fn(&Rc<onelane::sync::Event>); 2] = [
        |event| event.set(),
        |event| {
            let event = event.clone();
            drop(call_later(ms(1), move || event.set()));
        },
    ];
    for clock in [Clock::Virtual, Clock::Real] {
        for act in acts {
            let event = Rc::new(onelane::sync::Event::new());
            let (copy, parks) = (event.clone(), Rc::new(Cell::new(0)));
            let (counters, count) = (Rc::new(Counters::new()), parks.clone());
            let probe = Told(move |told: &Event<'_>| {
                if let EventKind::Park { .. } = told.kind {
                    if count.replace(count.get() + 1) == 0 {
                        act(&copy);
                    }
                }
            });
            let probe = Tee(counters.clone(), probe);
            let event_loop = EventLoop::builder().clock(clock).debug(true).probe(probe).build();
            // The loop parks as long as another thread could send something. That thread ends when
            // this test drops `end`.
            let (remote, (end, ended)) = (event_loop.remote(), std::sync::mpsc::channel::<()>());
            let other = std::thread::spawn(move || {
                let _ = ended.recv_timeout(Duration::from_secs(60));
                drop(remote);
            });
            assert!(event_loop.try_run(async move { event.wait().await }).is_ok(), "{clock:?}");
            drop(end);
            other.join().unwrap();
            assert!(parks.get() > 0);
            assert_eq!(counters.counts().parks, counters.counts().unparks);
        }
    }
}

/// A probe may create and drop a loop at each event, and the inner loop runs to its end.
#[test]
fn end_another_loop_at_each_event() {
    let ended = Rc::new(Cell::new(0));
    let count = ended.clone();
    let probe = Told(move |_: &Event<'_>| {
        let other = EventLoop::with_virtual_clock();
        let copy = count.clone();
        let guard = on_drop(move || copy.set(copy.get() + 1));
        drop(other.spawn(async move { drop(guard) }));
    });
    let told = Trace::new();
    let copy = told.clone();
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .probe(probe)
        .exception_handler(move |exception| copy.push(exception.to_string()))
        .build();
    event_loop.run(busy());
    assert_eq!(told.take(), [""; 0]);
    assert!(ended.get() > 100, "{} loops", ended.get());
}

// ---- a loop with all kinds of events ----

/// A program that causes many kinds of events. The events from outside are caused before it begins.
async fn busy() {
    let lock = Rc::new(Lock::new(()).named("pen"));
    let writers = (0..3).map(|nth| {
        let lock = lock.clone();
        spawn(async move {
            let _pen = lock.lock().await;
            sleep(ms(nth)).await;
            yield_now().await;
            nth
        })
    });
    let writers: Vec<_> = writers.collect();
    let doomed = spawn(sleep(Duration::from_secs(60)));
    let angry = spawn(async { panic!("told of as a panic") });
    let late = call_later(ms(1), || ());
    let twice = call_later(ms(500), || ());
    twice.cancel();
    call_soon(move || drop(late));
    call_soon(|| ()).cancel();
    assert!(timeout(ms(5), std::future::pending::<()>()).await.is_err());
    // The task wakes itself twice in a step, and once more in its last step.
    std::future::poll_fn({
        let mut polls = 0;
        move |context: &mut Context<'_>| {
            polls += 1;
            context.waker().wake_by_ref();
            context.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        }
    })
    .await;
    // A waker that is used too late.
    let kept = Rc::new(RefCell::new(None));
    let copy = kept.clone();
    let gone = spawn(std::future::poll_fn(move |context| {
        *copy.borrow_mut() = Some(context.waker().clone());
        Poll::Ready(())
    }));
    gone.await.unwrap();
    kept.take().unwrap().wake();
    doomed.cancel();
    select(sleep(ms(2)), sleep(ms(1))).await;
    assert!(angry.await.unwrap_err().is_panic());
    assert_eq!(gather(writers).await, Ok(vec![0, 1, 2]));
}

fn tell_of_a_busy_program(clock: Clock, probe: impl Probe + 'static) -> Metrics {
    let event_loop = EventLoop::builder().clock(clock).probe(probe).metrics(true).build();
    // Queued before the run, and woken from outside: one wake is queued, one is merged.
    let task = event_loop.spawn(yield_now());
    let waker = Rc::new(RefCell::new(None));
    let copy = waker.clone();
    let other = event_loop.spawn(std::future::poll_fn(move |context| {
        let first = copy.borrow().is_none();
        *copy.borrow_mut() = Some(context.waker().clone());
        if first { Poll::Pending } else { Poll::Ready(()) }
    }));
    event_loop.turn();
    waker.borrow().as_ref().unwrap().wake_by_ref();
    event_loop.run(busy());
    assert!(task.is_done() && other.is_done());
    event_loop.metrics()
}

#[test]
fn count_what_the_loop_counts() {
    for clock in [Clock::Virtual, Clock::Real] {
        let counters = Rc::new(Counters::new());
        let metrics = tell_of_a_busy_program(clock, counters.clone());
        let counts = counters.counts();
        let counted = [
            [counts.turns_begun, counts.turns_ended, counts.steps_begun, counts.steps_ended],
            [counts.wakes_queued, counts.wakes_merged, counts.wakes_late, counts.spawns],
            [counts.calls_begun, counts.calls_ended, counts.parks, counts.unparks],
            [counts.timers_armed, counts.timers_fired, counts.timers_cancelled, 0],
            [counts.finished, counts.cancelled, counts.panicked, counts.failures],
        ];
        let expected = [
            [metrics.turns, metrics.turns, metrics.steps, metrics.steps],
            [metrics.wakes_queued, metrics.wakes_merged, metrics.wakes_late, metrics.spawned],
            [metrics.callbacks, metrics.callbacks, metrics.parks, metrics.parks],
            [metrics.timers_armed, metrics.timers_fired, metrics.timers_cancelled, metrics.timers_pending],
            [metrics.finished, metrics.cancelled, metrics.panicked, 0],
        ];
        assert_eq!(counted, expected, "{clock:?}");
        assert_eq!(metrics.wakes, metrics.wakes_queued + metrics.wakes_merged + metrics.wakes_late);
        assert!(metrics.wakes_merged > 0 && metrics.wakes_late > 0 && metrics.wakes_foreign > 0, "{metrics:?}");
        // Each wait that began has ended, for any reason.
        assert_eq!(counts.waits_begun, counts.waits_ended, "{clock:?}");
    }
}

/// A program causes many kinds of events, and each event is emitted where its docs say.
#[test]
fn tell_of_a_busy_program_what_the_docs_say() {
    for clock in [Clock::Virtual, Clock::Real] {
        let strict = Strict::default();
        tell_of_a_busy_program(clock, strict.clone());
        assert_eq!(strict.complaints_at_the_end(), [""; 0], "{clock:?}");
    }
}

#[test]
fn record_a_busy_program() {
    for clock in [Clock::Virtual, Clock::Real] {
        let paper = Paper::default();
        let metrics = tell_of_a_busy_program(clock, Recorder::new(paper.clone()));
        let trace = check_trace(&paper.text());
        let shown = [trace.slices("turn"), trace.slices("run"), trace.slices("call"), trace.slices("park")];
        assert_eq!(shown.map(|count| count as u64), [metrics.turns, metrics.steps, metrics.callbacks, metrics.parks]);
        assert_eq!(trace.tracks.len() as u64, 1 + metrics.spawned);
        let ends = ["end value", "end cancelled", "end panicked", "wake merged", "wake late"];
        assert_eq!(
            ends.map(|what| trace.instants(what) as u64),
            [metrics.finished, metrics.cancelled, metrics.panicked, metrics.wakes_merged, metrics.wakes_late]
        );
        let timers = ["fired", "cancelled", "pending"].map(|outcome| trace.timers(outcome) as u64);
        assert_eq!(timers, [metrics.timers_fired, metrics.timers_cancelled, 0]);
    }
}

/// At each event the numbers obey their laws, whatever the probe does at that event.
#[test]
fn act_at_each_event() {
    let check = || {
        let now = onelane::metrics();
        let alive = now.spawned - now.finished - now.cancelled - now.panicked;
        let pending = now.timers_armed - now.timers_fired - now.timers_cancelled;
        assert_eq!((now.alive, now.timers_pending), (alive, pending), "{now:?}");
        assert_eq!(now.wakes, now.wakes_queued + now.wakes_merged + now.wakes_late, "{now:?}");
    };
    let acts: [fn(); 6] = [
        || drop(onelane::call_graph().to_string()),
        || drop(spawn(yield_now())),
        || {
            let task = spawn(sleep(ms(1)));
            task.cancel();
            call_soon(|| drop(task));
        },
        || drop(call_later(ms(1), || drop(spawn(async {})))),
        || assert!(call_later(ms(1), || ()).cancel()),
        // Another loop, which ends with a task in it.
        || drop(virtual_loop().spawn(yield_now())),
    ];
    for (clock, act) in [Clock::Virtual, Clock::Real].into_iter().flat_map(|clock| acts.map(|act| (clock, act))) {
        let failures = Rc::new(Cell::new(0));
        let (copy, events) = (failures.clone(), Cell::new(0));
        let probe = Told(move |_: &Event<'_>| {
            events.set(events.get() + 1);
            if EventLoop::try_current().is_ok() && events.get() < 500 {
                check();
                act();
                check();
            }
        });
        let builder = EventLoop::builder().clock(clock).probe(probe);
        let event_loop = builder.exception_handler(move |_| copy.set(copy.get() + 1)).build();
        event_loop.run(busy());
        drop(event_loop);
        assert_eq!(failures.get(), 0, "the probe panicked");
    }
}

/// The events before a failure are printed to stderr by default. Here `on_failure` receives them.
#[test]
fn show_the_ring_on_a_panic_and_on_a_deadlock() {
    let told = Trace::new();
    for (nth, why) in ["deadlock", "panic"].into_iter().enumerate() {
        let copy = told.clone();
        let ring = Ring::new(3).on_failure(move |ring: &Ring| copy.push(ring.to_string()));
        let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(ring).build();
        let ended = common::panic_of(|| {
            event_loop.run(async {
                assert!(nth == 0, "out of the main task");
                std::future::pending::<()>().await;
            })
        });
        assert!(ended.contains(["deadlock", "out of the main task"][nth]), "{ended}");
        let shown = told.take();
        assert_eq!(shown.len(), 1);
        assert!(shown[0].contains(&format!("\n0.000000000 fail why={why}\n")), "{shown:?}");
    }
}

/// Without `on_failure`, a ring prints itself to stderr when the program fails.
#[test]
fn print_the_ring_on_stderr() {
    let told = common::stderr_of("print_the_ring_on_stderr", || {
        let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(Ring::new(2)).build();
        assert!(event_loop.try_run(std::future::pending::<()>()).is_err());
    });
    let Some(told) = told else { return };
    assert!(told.contains("fail why=deadlock") && !told.contains("spawn task=1"), "{told}");
}

/// A host drops a loop in the middle of a turn. This turn ends before the last turns of the loop
/// begin.
#[test]
fn drop_a_loop_whose_turn_was_paused() {
    let strict = Strict::default();
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(strict.clone()).build();
    let tasks = [(); 3].map(|()| event_loop.spawn(std::future::pending::<()>()));
    assert_eq!(event_loop.turn_within(Budget::steps(1)).steps, 1);
    drop(tasks);
    drop(event_loop);
    assert_eq!(strict.complaints_at_the_end(), [""; 0]);
}

/// Waits for the same thing have the same target, and others have other targets.
#[test]
fn targets_of_waits() {
    /// The targets of all waits, in order.
    #[derive(Default)]
    struct Targets(RefCell<Vec<WaitTarget>>);

    impl Probe for Targets {
        fn event(&self, event: &Event<'_>) {
            if let EventKind::WaitBegin { on, .. } = event.kind {
                self.0.borrow_mut().push(on);
            }
        }
    }

    let targets = Rc::new(Targets::default());
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(targets.clone()).build();
    let locks = [(); 2].map(|()| Rc::new(Lock::new(0)));
    let [first, second] = locks.clone();
    let task = event_loop.spawn(async move {
        let _both = (first.lock().await, second.lock().await);
        std::future::pending::<()>().await;
    });
    let awaited = task.id();
    for lock in [0, 1, 0].map(|n| locks[n].clone()) {
        drop(event_loop.spawn(async move { drop(lock.lock().await) }));
    }
    drop(event_loop.spawn(async { sleep(ms(1)).await }));
    drop(event_loop.spawn(async { drop(task.await) }));
    let other_loop = virtual_loop();
    drop(event_loop.spawn(other_loop.remote().spawn(async {}).unwrap()));
    event_loop.turn();
    let targets = targets.0.take();
    let [one, other, same, timer, task, elsewhere] = targets[..] else { panic!("{targets:?}") };
    assert!(matches!((one, other), (WaitTarget::Object(_), WaitTarget::Object(_))) && one == same && one != other);
    assert_eq!((timer, task), (WaitTarget::Timer, WaitTarget::Task(awaited)));
    assert_eq!(elsewhere, WaitTarget::Elsewhere);
}
