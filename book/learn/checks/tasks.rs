//! The laws of the ready queue, of wakers and of timers. Random programs run on the reader's kernel. A model of a few
//! lines knows which task must be stepped next; the kernel's steps are compared with it, one by one.
//!
//! With `--cfg turns` the kernel has `turn`, with `--cfg time` it has `sleep`.

use crate::common::{self, Random, fail};
use crate::kernel;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const PROGRAMS: u64 = 400;
const SLOTS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// Wakes itself and pauses.
    Yield,
    /// Waits until a flag is set, and clears it.
    Wait(usize),
    /// Sets a flag, and wakes who waits for it: in one of four ways.
    Signal(usize, usize),
    /// Wakes by a waker that was used before, perhaps of a task that has ended.
    Old(usize),
    Spawn(usize),
    Sleep(u64),
    /// Begins to sleep, and drops the sleep.
    Forget(u64),
    /// Works for some time: the clock moves during the step.
    Compute(u64),
    /// Makes a sleep, which is awaited later.
    Make(u64),
    Await,
}

struct Program {
    scripts: Vec<Vec<(Op, i64)>>,
    lines: Vec<String>,
    /// Whether main waits until the last task wakes it, and does nothing else.
    is_quiet: bool,
}

/// Small programs, each for one law. They run first, so that a mistake is shown by the smallest program.
fn small() -> Vec<Program> {
    use Op::*;
    let programs: &[&[&[Op]]] = &[
        // A wake steps its own task.
        &[&[Wait(0)], &[Wait(1)], &[Yield, Signal(1, 0), Yield, Signal(0, 1)]],
        // A wake by the task itself.
        &[&[Yield, Yield]],
        // Three wakes, one step.
        &[&[Wait(0), Wait(0)], &[Yield, Signal(0, 3), Yield, Yield, Signal(0, 0)]],
        // The order of wakes is the order of steps.
        &[&[Wait(0)], &[Wait(1)], &[Wait(2)], &[Yield, Signal(2, 0), Signal(0, 0), Signal(1, 0)]],
        // A waker of a task that has ended, and a new tenant in its row.
        &[&[], &[Spawn(2), Yield, Old(0), Yield, Signal(0, 0)], &[Wait(0)]],
        // The same, with one more tenant in between.
        &[&[], &[Spawn(2), Yield, Spawn(3), Yield, Old(0), Yield, Signal(0, 0)], &[], &[Wait(0)]],
        #[cfg(time)]
        &[&[Sleep(2)], &[Sleep(1)], &[Sleep(2)], &[Sleep(0), Sleep(3)]],
        #[cfg(time)]
        &[&[Forget(5), Sleep(1)], &[Yield, Sleep(1)]],
        // A turn reads the clock once: what comes to be due during its steps fires in the next turn.
        #[cfg(time)]
        &[&[Sleep(1)], &[Yield, Compute(2), Yield, Yield]],
        // Timers fire after the entries that were ready, so what these wake steps first.
        #[cfg(time)]
        &[&[Sleep(1)], &[Wait(0)], &[Compute(2), Yield, Signal(0, 0)]],
        // A timer that is made in this turn does not fire in it, although it is due.
        #[cfg(time)]
        &[&[Make(2), Compute(2), Yield, Await], &[Yield, Yield, Yield, Yield]],
    ];
    let program = |scripts: &&[&[Op]]| {
        let (mut lines, mut numbered) = (Vec::new(), Vec::new());
        for (nth, ops) in scripts.iter().enumerate() {
            lines.push(format!("script {nth}:"));
            let line = |op: &Op| {
                lines.push(show(op));
                (op.clone(), lines.len() as i64)
            };
            numbered.push(ops.iter().map(line).collect());
        }
        lines.push("main: spawns each script, and waits until all tasks have ended".into());
        Program { scripts: numbered, lines, is_quiet: true }
    };
    programs.iter().map(program).collect()
}

fn show(op: &Op) -> String {
    match op {
        Op::Yield => "    yield_now().await".into(),
        Op::Wait(slot) => format!("    flag {slot}: wait"),
        Op::Signal(slot, 3) => format!("    flag {slot}: set, and wake three times"),
        Op::Signal(slot, _) => format!("    flag {slot}: set, and wake"),
        Op::Old(_) => "    wake by an old waker".into(),
        Op::Spawn(script) => format!("    spawn script {script}"),
        Op::Sleep(ms) => format!("    sleep({ms} ms).await"),
        Op::Forget(ms) => format!("    begin to sleep {ms} ms, and drop the sleep"),
        Op::Compute(ms) => format!("    compute for {ms} ms"),
        Op::Make(ms) => format!("    let pause = sleep({ms} ms)"),
        Op::Await => "    pause.await".into(),
    }
}

fn random_program(seed: u64) -> Program {
    let mut random = Random::new(seed + 1);
    let size = 1 + seed as usize / 40;
    let count = 2 + random.below(size.min(6));
    let (mut scripts, mut lines) = (Vec::new(), Vec::new());
    for script in 0..count {
        lines.push(format!("script {script}:"));
        let mut ops = Vec::new();
        for _ in 0..1 + random.below(size + 1) {
            let slot = random.below(SLOTS);
            let time = random.below(4) as u64;
            let op = match random.below(if cfg!(time) { 15 } else { 10 }) {
                0 | 1 => Op::Yield,
                2 | 3 => Op::Wait(slot),
                4 | 5 => Op::Signal(slot, random.below(4)),
                6 | 7 => Op::Old(random.below(16)),
                // Only later scripts, so that no program is endless.
                8 | 9 if script + 1 < count => Op::Spawn(script + 1 + random.below(count - script - 1)),
                8 | 9 => Op::Yield,
                10..13 => Op::Sleep(time),
                13 => Op::Forget(time),
                _ => Op::Compute(time),
            };
            lines.push(show(&op));
            ops.push((op, lines.len() as i64));
        }
        scripts.push(ops);
    }
    lines.push("main: spawns each script, then sets all flags again and again until all tasks have ended".into());
    Program { scripts, lines, is_quiet: false }
}

#[derive(Default)]
struct Task {
    is_queued: bool,
    /// Whether it was queued by a timer.
    by_timer: bool,
    /// Whether it was woken once more while it was queued.
    is_merged: bool,
    has_ended: bool,
    is_dropped: bool,
    timer: Option<(u64, u64)>,
}

/// What must happen.
#[derive(Default)]
struct Model {
    tasks: BTreeMap<usize, Task>,
    queue: VecDeque<usize>,
    running: usize,
    /// The entries that are left of this turn.
    marked: usize,
    now: u64,
    /// The time when the turn began: its one reading of the clock.
    read: u64,
    timers: BTreeMap<(u64, u64), usize>,
    ages: u64,
    /// The ended task that was woken last, if no step has come since.
    late: Option<usize>,
}

#[derive(Default)]
struct World {
    model: Model,
    flags: [bool; SLOTS],
    waiting: [Option<(usize, Waker)>; SLOTS],
    old: Vec<(usize, Waker)>,
    /// The waker of a quiet main.
    main: Option<Waker>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Nothing of the kernel is called in here.
fn world<R>(f: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(f)
}

impl Model {
    /// Before chapter 5, a task that is woken twice steps twice.
    fn may_wake(&self, id: usize) -> bool {
        cfg!(turns) || !self.tasks[&id].is_queued
    }

    fn tell(&self, code: i64, rest: &[i64], text: String) {
        let mut numbers = vec![code, self.now as i64 * 1_000_000];
        numbers.extend(rest);
        common::event(&numbers, text);
    }

    fn spawn(&mut self, line: i64) -> usize {
        let id = self.tasks.len() + 1;
        let by = if self.running == 0 { -4 } else { self.running as i64 };
        self.tasks.insert(id, Task { is_queued: true, ..Task::default() });
        self.queue.push_back(id);
        self.tell(2, &[id as i64, line, by, id as i64, 0], format!("task {id} is spawned"));
        id
    }

    fn wake(&mut self, id: usize, is_timer: bool) {
        let by = if is_timer { -2 } else { self.running as i64 };
        let who = if is_timer { "a timer".into() } else { format!("task {}", self.running) };
        let task = self.tasks.get_mut(&id).expect("a task of this program");
        let (outcome, text) = if task.has_ended {
            self.late = Some(id);
            (2, format!("{who} wakes task {id}, which has ended: nothing must come of it"))
        } else if task.is_queued {
            task.is_merged = true;
            (1, format!("{who} wakes task {id} once more: it is queued already"))
        } else {
            (task.is_queued, task.by_timer, task.is_merged) = (true, is_timer, false);
            self.queue.push_back(id);
            (0, format!("{who} wakes task {id}"))
        };
        self.tell(3, &[id as i64, by, outcome], text);
    }

    fn step(&mut self, id: usize) {
        self.tell(4, &[id as i64], format!("task {id} is stepped"));
        let front = self.queue.front().copied();
        let late = self.late.take();
        let (now, marked, task) = (self.now, self.marked, &self.tasks[&id]);
        if self.running != 0 {
            fail("STEP-2", format!("task {id} is stepped inside of the step of task {}", self.running));
        }
        if task.has_ended {
            fail("POLL-1", format!("task {id} has returned Ready, and is polled again"));
        }
        if !task.is_queued {
            if let Some((deadline, _)) = task.timer.filter(|timer| timer.0 > now) {
                fail("TIME-2", format!("task {id} sleeps until {deadline} ms, and is stepped at {now} ms"));
            }
            if let Some((deadline, _)) = task.timer.filter(|timer| self.timers.contains_key(timer)) {
                let why = format!("that turn began before {deadline} ms, or the timer was made in it");
                fail("TIME-2", format!("the timer of task {id} has fired a turn too early: {why}"));
            }
            match (late, task.is_merged, front) {
                (Some(late), ..) => {
                    fail("WAKE-1", format!("a waker of task {late}, which has ended, has stepped task {id}"))
                }
                (_, true, _) => fail("READY-1", format!("task {id} was woken twice before its step, and steps twice")),
                (.., Some(front)) => {
                    fail("WAKE-3", format!("task {front} was woken, and task {id}, which was not, is stepped"))
                }
                _ => fail("WAKE-3", format!("task {id} is stepped, and nobody has woken it since its last step")),
            }
        }
        if cfg!(turns) && marked == 0 {
            fail("READY-2", format!("task {id} became ready in this turn, and must wait for the next one"));
        }
        if let Some(front) = front.filter(|&front| front != id) {
            let law = if self.tasks[&front].by_timer && task.by_timer { "TIME-3" } else { "FIFO" };
            fail(law, format!("task {front} was ready first, and task {id} is stepped before it"));
        }
        self.queue.pop_front();
        self.marked = marked.saturating_sub(1);
        self.running = id;
        let task = self.tasks.get_mut(&id).unwrap();
        (task.is_queued, task.by_timer) = (false, false);
    }

    fn pause(&mut self, id: usize) {
        self.running = 0;
        self.tell(5, &[id as i64, 0], format!("task {id} returns Pending"));
    }

    fn end(&mut self, id: usize) {
        self.running = 0;
        self.tasks.get_mut(&id).unwrap().has_ended = true;
        self.tell(5, &[id as i64, 1], format!("task {id} returns Ready"));
        self.tell(16, &[id as i64, 0], format!("task {id} has ended"));
    }

    fn drop_of(&mut self, id: usize) {
        common::event(&[], format!("the future of task {id} is dropped"));
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if std::mem::replace(&mut task.is_dropped, true) {
            fail("END-1", format!("the future of task {id} is dropped twice"));
        }
    }

    /// A turn begins. Returns whether there is anything to do.
    fn turn_begins(&mut self) -> bool {
        if let (true, Some((&(deadline, _), _))) = (self.queue.is_empty(), self.timers.first_key_value()) {
            self.tell(
                17,
                &[deadline as i64 * 1_000_000],
                format!("nothing is ready: the loop waits for {deadline} ms"),
            );
            self.now = self.now.max(deadline);
            self.tell(18, &[], format!("it is {} ms", self.now));
        }
        self.read = self.now;
        self.marked = self.queue.len();
        self.tell(0, &[], format!("a turn begins, with {} entries", self.marked));
        self.marked > 0 || !self.timers.is_empty()
    }

    #[cfg(turns)]
    fn turn_ends(&mut self, young: u64) {
        if self.marked > 0 {
            let front = self.queue[0];
            if self.tasks[&front].by_timer {
                fail("TIME-2", format!("the timer of task {front} was due in the turn before, and it is not stepped"));
            }
            fail("WAKE-0", format!("task {front} was ready when the turn began, and was not stepped in it"));
        }
        #[cfg(time)]
        {
            let now = kernel::now().as_millis() as u64;
            if now != self.now {
                fail("TIME-1", format!("the clock shows {now} ms instead of {} ms", self.now));
            }
            self.tell(15, &[self.read as i64 * 1_000_000], format!("timers until {} ms are due", self.read));
        }
        while let Some((&timer, &id)) =
            self.timers.first_key_value().filter(|(timer, _)| timer.0 <= self.read && timer.1 < young)
        {
            self.timers.remove(&timer);
            self.tell(13, &[timer.1 as i64 + 1], format!("the timer of task {id} fires"));
            self.wake(id, true);
        }
        self.tell(1, &[], "the turn ends".into());
    }
}

/// A task that runs a script.
struct Run {
    id: usize,
    script: Vec<(Op, i64)>,
    at: usize,
    has_begun: bool,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The deadline of a sleep that was made, and is not awaited yet.
    made: Option<u64>,
    scripts: Rc<Vec<Vec<(Op, i64)>>>,
}

fn new_run(script: usize, scripts: &Rc<Vec<Vec<(Op, i64)>>>, line: i64) -> Run {
    let id = world(|world| world.model.spawn(line));
    let ops = scripts[script].clone();
    Run { id, script: ops, at: 0, has_begun: false, sleep: None, made: None, scripts: scripts.clone() }
}

impl Run {
    /// Runs one statement. Returns false if it pauses.
    fn run(&mut self, op: &Op, line: i64, cx: &mut Context<'_>) -> bool {
        let id = self.id;
        let is_new = !std::mem::replace(&mut self.has_begun, true);
        match *op {
            Op::Yield if is_new => {
                world(|world| {
                    world.old.push((id, cx.waker().clone()));
                    if world.model.may_wake(id) {
                        world.model.wake(id, false);
                        true
                    } else {
                        false
                    }
                })
                .then(|| cx.waker().wake_by_ref());
                return false;
            }
            Op::Yield => {}
            Op::Wait(slot) => {
                let is_set = world(|world| std::mem::take(&mut world.flags[slot]));
                if !is_set {
                    let waker = cx.waker().clone();
                    let old = world(|world| {
                        if is_new {
                            let text = format!("task {id} waits for flag {slot}");
                            world.model.tell(10, &[id as i64, line, 2, slot as i64, line], text);
                        }
                        // Two may wait for one flag: the first is woken by an old waker, or at the end.
                        world.waiting[slot].replace((id, waker))
                    });
                    if let Some(old) = old.filter(|old| old.0 != id) {
                        world(|world| world.old.push(old));
                    }
                    return false;
                }
                if !is_new {
                    let text = format!("task {id} has waited for flag {slot}");
                    world(|world| world.model.tell(11, &[id as i64, line, line], text));
                }
            }
            Op::Signal(slot, way) => signal(slot, way),
            Op::Old(nth) => {
                let chosen = world(|world| {
                    let count = world.old.len();
                    let chosen = (count > 0).then(|| world.old[nth % count].clone());
                    // A wake of itself comes last in a step, so not here.
                    let chosen = chosen.filter(|chosen| chosen.0 != id && world.model.may_wake(chosen.0));
                    if let Some(chosen) = &chosen {
                        world.model.wake(chosen.0, false);
                    }
                    chosen
                });
                if let Some((_, waker)) = chosen {
                    waker.wake();
                }
            }
            Op::Spawn(script) => _ = kernel::spawn(new_run(script, &self.scripts, line)),
            #[cfg(time)]
            Op::Compute(ms) => {
                kernel::computes(std::time::Duration::from_millis(ms));
                world(|world| {
                    world.model.now += ms;
                    world.model.tell(18, &[], format!("task {id} has computed: it is {} ms", world.model.now));
                });
            }
            #[cfg(time)]
            Op::Make(ms) => {
                self.sleep = Some(Box::pin(kernel::sleep(std::time::Duration::from_millis(ms))));
                self.made = Some(world(|world| world.model.now + ms));
                common::event(&[], format!("task {id} makes a sleep of {ms} ms, and does not await it yet"));
            }
            #[cfg(time)]
            Op::Sleep(_) | Op::Await => {
                if is_new {
                    let made = self.made.take();
                    let ms = if let Op::Sleep(ms) = *op { ms } else { 1 };
                    if made.is_none() {
                        self.sleep = Some(Box::pin(kernel::sleep(std::time::Duration::from_millis(ms))));
                    }
                    world(|world| {
                        let model = &mut world.model;
                        let timer = (made.unwrap_or(model.now + ms), model.ages);
                        if ms > 0 {
                            model.ages += 1;
                            model.timers.insert(timer, id);
                            model.tasks.get_mut(&id).unwrap().timer = Some(timer);
                            let (age, ns) = (timer.1 as i64 + 1, timer.0 as i64 * 1_000_000);
                            model.tell(12, &[age, ns, id as i64], format!("task {id} sets a timer for {} ms", timer.0));
                        } else {
                            model.wake(id, false);
                        }
                        model.tell(
                            10,
                            &[id as i64, line, 1, 0, line],
                            format!("task {id} sleeps until {} ms", timer.0),
                        );
                    });
                }
                let is_over = self.sleep.as_mut().unwrap().as_mut().poll(cx).is_ready();
                let is_due = world(|world| {
                    let task = &world.model.tasks[&id];
                    !is_new && task.timer.is_none_or(|timer| !world.model.timers.contains_key(&timer))
                });
                if is_over && !is_due {
                    fail("TIME-2", format!("the sleep of task {id} is over before its timer has fired"));
                }
                if !is_over && is_due {
                    fail("TIME-2", format!("the timer of task {id} has fired, and its sleep is not over"));
                }
                if !is_over {
                    return false;
                }
                self.sleep = None;
                world(|world| {
                    world.model.tasks.get_mut(&id).unwrap().timer = None;
                    world.model.tell(11, &[id as i64, line, line], format!("task {id} has slept"));
                });
            }
            #[cfg(time)]
            Op::Forget(ms) => {
                let mut sleep = Box::pin(kernel::sleep(std::time::Duration::from_millis(ms + 1)));
                world(|world| world.model.ages += 1);
                common::event(&[], format!("task {id} begins to sleep, and drops the sleep"));
                _ = sleep.as_mut().poll(cx);
            }
            #[cfg(not(time))]
            Op::Sleep(_) | Op::Forget(_) | Op::Compute(_) | Op::Make(_) | Op::Await => {
                unreachable!("there is no time yet")
            }
        }
        true
    }
}

/// Sets a flag and wakes who waits for it.
fn signal(slot: usize, way: usize) {
    let way = if cfg!(turns) { way } else { way % 3 };
    let waiter = world(|world| {
        world.flags[slot] = true;
        let waiter = world.waiting[slot].take();
        let waiter = waiter.filter(|(id, _)| world.model.may_wake(*id));
        if let Some((id, waker)) = &waiter {
            world.old.push((*id, waker.clone()));
            for _ in 0..if way == 3 { 3 } else { 1 } {
                world.model.wake(*id, false);
            }
        }
        waiter
    });
    if let Some((_, waker)) = waiter {
        match way {
            0 => waker.wake(),
            1 => waker.wake_by_ref(),
            2 => waker.clone().wake(),
            _ => {
                waker.wake_by_ref();
                waker.clone().wake();
                waker.wake();
            }
        }
    }
}

impl Future for Run {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        world(|world| world.model.step(self.id));
        while let Some((op, line)) = self.script.get(self.at).cloned() {
            if !self.run(&op, line, cx) {
                world(|world| world.model.pause(self.id));
                return Poll::Pending;
            }
            (self.at, self.has_begun) = (self.at + 1, false);
        }
        let waker = cx.waker().clone();
        let main = world(|world| {
            world.old.push((self.id, waker));
            let is_last = world.model.tasks.iter().all(|(&id, task)| id == 1 || id == self.id || task.has_ended);
            let main = if is_last { world.main.take() } else { None };
            if main.is_some() {
                world.model.wake(1, false);
            }
            world.model.end(self.id);
            main
        });
        if let Some(main) = main {
            main.wake();
        }
        Poll::Ready(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        world(|world| world.model.drop_of(self.id));
    }
}

/// The main task: sets all flags until all others have ended.
struct Main {
    id: usize,
    is_quiet: bool,
    rounds: usize,
    scripts: Rc<Vec<Vec<(Op, i64)>>>,
    sleep: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Future for Main {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let id = self.id;
        world(|world| world.model.step(id));
        self.rounds += 1;
        if self.rounds == 1 {
            // What another script spawns is not spawned here.
            let spawned = |script: usize| {
                self.is_quiet
                    && self.scripts.iter().flatten().any(|(op, _)| matches!(op, Op::Spawn(other) if *other == script))
            };
            for script in (0..self.scripts.len()).filter(|&script| !spawned(script)) {
                _ = kernel::spawn(new_run(script, &self.scripts, 0));
            }
        } else if !self.is_quiet {
            for slot in 0..SLOTS {
                signal(slot, 0);
            }
            // Those whose place another one has taken.
            let left: Vec<_> = world(|world| {
                let tasks = &world.model.tasks;
                let mut seen = Vec::new();
                for (id, waker) in world.old.iter().rev() {
                    let is_left = !tasks[id].has_ended && !tasks[id].is_queued && tasks[id].timer.is_none();
                    if is_left && *id != self.id && !seen.iter().any(|(other, _)| other == id) {
                        seen.push((*id, waker.clone()));
                    }
                }
                seen.iter().for_each(|(id, _)| world.model.wake(*id, false));
                seen
            });
            left.into_iter().for_each(|(_, waker)| waker.wake());
        }
        let is_over = world(|world| world.model.tasks.iter().all(|(other, task)| *other == id || task.has_ended));
        if is_over {
            world(|world| world.model.end(id));
            return Poll::Ready(());
        }
        if self.is_quiet {
            let waker = cx.waker().clone();
            world(|world| {
                world.main = Some(waker);
                world.model.pause(id);
            });
            return Poll::Pending;
        }
        #[cfg(time)]
        {
            // A short pause, so that the clock goes on.
            let mut sleep = Box::pin(kernel::sleep(std::time::Duration::from_millis(3)));
            world(|world| {
                let model = &mut world.model;
                let timer = (model.now + 3, model.ages);
                model.ages += 1;
                model.timers.insert(timer, id);
                model.tasks.get_mut(&id).unwrap().timer = Some(timer);
                let (age, ns) = (timer.1 as i64 + 1, timer.0 as i64 * 1_000_000);
                model.tell(12, &[age, ns, id as i64], format!("task {id} sets a timer for {} ms", timer.0));
            });
            _ = sleep.as_mut().poll(cx);
            self.sleep = Some(sleep);
            world(|world| world.model.pause(id));
        }
        #[cfg(not(time))]
        {
            world(|world| world.model.wake(id, false));
            cx.waker().wake_by_ref();
            world(|world| world.model.pause(id));
        }
        Poll::Pending
    }
}

impl Drop for Main {
    fn drop(&mut self) {
        world(|world| world.model.drop_of(self.id));
    }
}

fn run_one(name: String, Program { scripts, lines, is_quiet }: Program) {
    common::begin(name, lines);
    let left = world(std::mem::take);
    drop(left);
    let scripts = Rc::new(scripts);
    let id = world(|world| world.model.spawn(0));
    let main = Main { id, is_quiet, rounds: 0, scripts, sleep: None };
    #[cfg(not(turns))]
    {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| kernel::run(main)));
        let front = world(|world| world.model.queue.front().copied());
        if let (Err(panic), front) = (result, front) {
            match front {
                Some(front) => {
                    common::event(&[], "the loop has given up".into());
                    fail("WAKE-0", format!("the loop gives up, although task {front} was woken"))
                }
                None => std::panic::resume_unwind(panic),
            }
        }
        if let Some(front) = front {
            // Main was the last to end, so nothing else is left.
            fail("WAKE-0", format!("task {front} was woken, and was never stepped"));
        }
    }
    #[cfg(turns)]
    {
        #[cfg(time)]
        kernel::virtual_clock();
        _ = kernel::spawn(main);
        loop {
            let (is_busy, young) = world(|world| (world.model.turn_begins(), world.model.ages));
            let went_on = kernel::turn();
            if went_on != is_busy {
                let front = world(|world| world.model.queue.front().copied());
                match front {
                    Some(front) => fail("WAKE-0", format!("`turn` says that nothing is ready, but task {front} is")),
                    None => fail("LIVE", format!("`turn` returned {went_on} instead of {is_busy}")),
                }
            }
            if !is_busy {
                break;
            }
            world(|world| world.model.turn_ends(young));
        }
        kernel::run(async {});
    }
    let kept = world(|world| world.model.tasks.iter().find(|(_, task)| !task.is_dropped).map(|(id, _)| *id));
    if let Some(id) = kept {
        fail("END-1", format!("the loop is over, and the future of task {id} was not dropped"));
    }
    let not_ended = world(|world| world.model.tasks.iter().find(|(_, task)| !task.has_ended).map(|(id, _)| *id));
    if let Some(id) = not_ended {
        fail("WAKE-0", format!("the loop has stopped, and task {id} has not ended"));
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
