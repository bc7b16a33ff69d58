//! The laws of awaits, callbacks, gather, wait and cancellation. The same random programs run on the reader's kernel and on
//! the book's, which leaves CPython's traces. The first line that differs breaks a law.
//!
//! With `--cfg cancel` the kernel has `cancel` and `finally`.

use crate::common::{self, Random, fail};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

mod theirs {
    use crate::kernel as lane;
    include!("machine.rs");
}

mod ours {
    use crate::reference as lane;
    include!("machine.rs");
}

const PROGRAMS: u64 = 3_000;
const VARIABLES: usize = 4;

enum Op {
    Log,
    Yield,
    Sleep(u64),
    Spawn(usize, usize),
    Await(usize),
    /// Tasks, perhaps a bare body, and whether an error stops it.
    Gather(Vec<usize>, Option<usize>, bool),
    Wait(Vec<usize>, Option<u64>, bool),
    Callback(usize),
    Cancel(usize),
    /// A sleep in a block with a cleanup, which sleeps too.
    Finally(u64, u64),
    Return(u64),
    Raise(u64),
}

pub struct Program {
    bodies: Vec<Vec<Op>>,
    lines: Vec<String>,
}

/// Small programs, each for one law. They run first.
fn small() -> Vec<Program> {
    use Op::*;
    let mut programs = vec![
        vec![vec![Spawn(0, 1), Await(0), Await(0)], vec![Yield, Return(5)]],
        vec![vec![Spawn(0, 1), Callback(0), Callback(0), Yield, Yield, Yield], vec![Return(5)]],
        vec![
            vec![Spawn(0, 1), Spawn(1, 2), Gather(vec![1, 0], None, true)],
            vec![Sleep(1), Return(5)],
            vec![Return(6)],
        ],
        vec![vec![Spawn(0, 1), Spawn(1, 2), Gather(vec![1, 0], None, true)], vec![Sleep(1), Return(5)], vec![Raise(6)]],
        vec![vec![Gather(vec![], None, true), Gather(vec![], Some(1), false)], vec![Raise(5)]],
        vec![vec![Spawn(0, 1), Spawn(1, 2), Wait(vec![1, 0], None, false)], vec![Sleep(1), Return(5)], vec![Return(6)]],
        vec![vec![Spawn(0, 1), Spawn(1, 2), Wait(vec![1, 0], None, true)], vec![Sleep(1), Return(5)], vec![Return(6)]],
        vec![vec![Spawn(0, 1), Wait(vec![0], Some(2), false), Sleep(3)], vec![Sleep(4), Return(5)]],
        vec![vec![Spawn(0, 1), Yield, Yield, Callback(0), Wait(vec![0], None, false)], vec![Return(5)]],
    ];
    if cfg!(cancel) {
        programs.extend([
            vec![vec![Spawn(0, 1), Cancel(0), Await(0), Cancel(0)], vec![Log]],
            vec![vec![Spawn(0, 1), Yield, Cancel(0), Await(0)], vec![Sleep(3), Log]],
            vec![vec![Spawn(0, 1), Yield, Yield, Cancel(0), Await(0)], vec![Spawn(1, 2), Await(1)], vec![Sleep(3)]],
            vec![
                vec![Spawn(0, 1), Yield, Yield, Cancel(0), Await(0)],
                vec![Spawn(1, 2), Gather(vec![1], Some(2), true)],
                vec![Sleep(3)],
            ],
            vec![
                vec![Spawn(0, 1), Yield, Yield, Cancel(0), Await(0), Sleep(5)],
                vec![Spawn(1, 2), Wait(vec![1], None, false)],
                vec![Sleep(3), Log],
            ],
            vec![vec![Spawn(0, 1), Yield, Cancel(0), Await(0)], vec![Finally(3, 2), Log]],
            vec![vec![Spawn(0, 1), Yield, Cancel(0), Sleep(1), Cancel(0), Await(0)], vec![Finally(3, 2), Log]],
            vec![vec![Spawn(0, 1), Yield], vec![Finally(3, 2), Log]],
            // A circle.
            vec![
                vec![Spawn(0, 1), Spawn(1, 2), Yield, Yield, Cancel(0), Await(0), Await(1)],
                vec![Await(1)],
                vec![Await(0)],
            ],
        ]);
    }
    if cfg!(cancel) {
        // A gather that is decided, and whose task is cancelled before it steps.
        for pauses in 1..7 {
            let mut main = vec![Spawn(0, 1)];
            main.extend((0..pauses).map(|_| Yield));
            main.extend([Cancel(0), Await(0), Sleep(5)]);
            let gatherer = vec![Spawn(1, 2), Gather(vec![1], Some(3), true)];
            programs.push(vec![main, gatherer, vec![Yield, Raise(1)], vec![Sleep(3), Log]]);
        }
    }
    let program = |bodies: Vec<Vec<Op>>| {
        let mut lines = Vec::new();
        for (nth, body) in bodies.iter().enumerate() {
            lines.push(format!("body {nth}:"));
            lines.extend(body.iter().map(show));
        }
        Program { bodies, lines }
    };
    programs.into_iter().map(program).collect()
}

fn random_program(seed: u64) -> Program {
    let mut random = Random::new(seed + 7);
    let size = 2 + seed as usize / 300;
    let count = 2 + random.below(size.min(4));
    let (mut bodies, mut lines) = (Vec::new(), Vec::new());
    for body in 0..count {
        lines.push(format!("body {body}:"));
        let mut ops = Vec::new();
        let length = if body == 0 { 2 + size } else { 1 + random.below(size) };
        for nth in 0..length {
            let variable = random.below(VARIABLES);
            let several = |random: &mut Random| (0..random.below(4)).map(|_| random.below(VARIABLES)).collect();
            // Only later bodies, so that no program is endless.
            let later = (body + 1 < count).then(|| body + 1 + random.below(count - body - 1));
            let choice = if nth == 0 && body == 0 { 0 } else { random.below(if cfg!(cancel) { 20 } else { 16 }) };
            let op = match (choice, later) {
                (0..4, Some(later)) => Op::Spawn(random.below(VARIABLES), later),
                (0..4, None) => Op::Log,
                (4, _) => Op::Yield,
                (5 | 6, _) => Op::Sleep(random.below(4) as u64),
                (7 | 8, _) => Op::Await(variable),
                (9 | 10, _) => {
                    Op::Gather(several(&mut random), later.filter(|_| random.below(2) == 0), random.below(2) == 0)
                }
                (11 | 12, _) => {
                    let timeout = [None, None, Some(0), Some(2)][random.below(4)];
                    Op::Wait(several(&mut random), timeout, random.below(2) == 0)
                }
                (13 | 14, _) => Op::Callback(variable),
                (15, _) if nth + 1 == length && body > 0 => Op::Raise(variable as u64),
                (15, _) => Op::Log,
                (16..19, _) => Op::Cancel(variable),
                _ => Op::Finally(random.below(3) as u64, random.below(3) as u64),
            };
            lines.push(show(&op));
            ops.push(op);
        }
        if random.below(2) == 0 {
            ops.push(Op::Return(10 + body as u64));
            lines.push(show(&Op::Return(10 + body as u64)));
        }
        bodies.push(ops);
    }
    Program { bodies, lines }
}

/// A statement as a line of the listing.
fn show(op: &Op) -> String {
    let names = |tasks: &[usize]| tasks.iter().map(|task| format!("task {task}")).collect::<Vec<_>>().join(", ");
    let text = match op {
        Op::Log => "log".into(),
        Op::Yield => "yield_now().await".into(),
        Op::Sleep(ms) => format!("sleep({ms} ms).await"),
        Op::Spawn(task, body) => format!("task {task} = spawn body {body}"),
        Op::Await(task) => format!("(task {task}).await"),
        Op::Gather(tasks, body, stops) => {
            let body = body.map(|body| format!("body {body}"));
            let all = [names(tasks), body.unwrap_or_default()].into_iter().filter(|part| !part.is_empty());
            let stops = if *stops { ", which ends at the first error" } else { "" };
            format!("gather({}).await{stops}", all.collect::<Vec<_>>().join(", "))
        }
        Op::Wait(tasks, timeout, first) => {
            let first = if *first { " for the first" } else { "" };
            let timeout = timeout.map_or(String::new(), |ms| format!(", for {ms} ms at most"));
            format!("wait({}).await{first}{timeout}", names(tasks))
        }
        Op::Callback(task) => format!("add a done callback to task {task}"),
        Op::Cancel(task) => format!("cancel task {task}"),
        Op::Finally(ms, after) => format!("finally(sleep({ms} ms), a cleanup that sleeps {after} ms).await"),
        Op::Return(value) => format!("return {value}"),
        Op::Raise(value) => format!("return the error {value}"),
    };
    format!("    {text}")
}

/// A program that turns and logs nothing does not end.
fn turned(turns: usize) {
    if turns > 5_000 {
        fail("LIVE", "5,000 turns, and the program has not ended".into());
    }
}

thread_local! {
    /// Whether the program that runs cancels a task.
    static CANCELS: Cell<bool> = const { Cell::new(false) };
}

/// The law that lines are about.
fn law(expected: Option<&str>, found: Option<&str>) -> &'static str {
    let has =
        |words: &[&str]| [expected, found].iter().flatten().any(|line| words.iter().any(|word| line.contains(word)));
    match () {
        _ if has(&["cancel", "cleanup"]) || cfg!(cancel) && has(&["guard"]) => "CANCEL-1",
        _ if has(&["gather"]) => "GATHER-1",
        _ if has(&["wait:"]) => "WAIT-1",
        _ if has(&["callback"]) => "CALL-1",
        _ if has(&["await"]) => "AWAIT-1",
        _ if has(&["slept"]) => "TIME-2",
        _ => "ORDER",
    }
}

/// If two lines differ only in their time: what to say.
fn later(expected: Option<&str>, found: Option<&str>) -> Option<String> {
    let (wanted, line) = expected?.split_once(": ")?;
    let (time, other) = found?.split_once(": ")?;
    (line == other).then(|| format!("`{line}` at {time} instead of {wanted}"))
}

fn differs(expected: Option<&str>, found: Option<&str>) -> ! {
    let show = |line: Option<&str>| line.map_or("nothing".to_string(), |line| format!("`{line}`"));
    if let Some(what) = later(expected, found) {
        let law = law(expected, found);
        let is_about_waits = ["GATHER-1", "WAIT-1", "CALL-1"].contains(&law);
        fail(if CANCELS.get() && !is_about_waits { "CANCEL-1" } else { law }, what);
    }
    fail(law(expected, found), format!("{} where asyncio's order has {}", show(found), show(expected)))
}

fn run_one(name: String, program: Program) {
    let program = Rc::new(program);
    CANCELS.set(cfg!(cancel) && program.bodies.iter().flatten().any(|op| matches!(op, Op::Cancel(_))));
    common::begin(name, program.lines.clone());
    // The book's kernel first.
    let expected = Rc::new(RefCell::new(Vec::new()));
    let lines = expected.clone();
    let over = Cell::new(0);
    let sink: ours::Sink = Rc::new(move |at, line| lines.borrow_mut().push(format!("{at} ms: {line}")));
    ours::run(&program, sink, &|how| {
        over.set(expected.borrow().len() + 1);
        expected.borrow_mut().push(how);
    });
    let expected = expected.take();
    let (main, rest) = expected.split_at(over.get());
    let main: Rc<[String]> = main.into();
    // The reader's kernel. Until main has ended, each line is compared at once; then their order has no meaning.
    let found = Rc::new(RefCell::new(Vec::new()));
    let (lines, wanted) = (found.clone(), main.clone());
    let add = Rc::new(move |line: String| {
        common::event(&[], line.clone());
        let nth = lines.borrow().len();
        if nth < wanted.len() && wanted[nth] != line {
            differs(Some(&wanted[nth]), Some(&line));
        }
        lines.borrow_mut().push(line);
    });
    let to = add.clone();
    let sink: theirs::Sink = Rc::new(move |at, line| to(format!("{at} ms: {line}")));
    let living = theirs::run(&program, sink, &|how| add(how));
    let found = found.take();
    if found.len() < main.len() {
        differs(Some(&main[found.len()]), None);
    }
    if living > 0 {
        fail("END-1", format!("{living} futures were not dropped when run returned"));
    }
    if cfg!(cancel) {
        let (mut rest, mut found) = (rest.to_vec(), found[main.len()..].to_vec());
        rest.sort();
        found.sort();
        let missing = rest.iter().find(|line| !found.contains(line));
        let extra = found.iter().find(|line| !rest.contains(line));
        if rest != found {
            // A cancellation that is lost, or too late.
            let same = |line: &&String| missing.is_some_and(|missing| later(Some(missing), Some(line)).is_some());
            let other = found.iter().find(|line| !rest.contains(line) && same(line));
            if let Some(what) = later(missing.map(|line| &**line), other.map(|line| &**line)) {
                fail("CANCEL-1", format!("after main has ended: {what}"));
            }
            let show = |line: Option<&String>| line.map_or("none".into(), |line| format!("`{line}`"));
            let what = format!(
                "after main has ended, these lines differ: missing {}, too much {}",
                show(missing),
                show(extra)
            );
            fail("END-1", what);
        }
    }
}

pub fn check() {
    for (nth, program) in small().into_iter().enumerate() {
        run_one(format!("small program {nth}"), program);
    }
    for seed in 0..PROGRAMS {
        run_one(format!("random program {seed}"), random_program(seed));
    }
}
