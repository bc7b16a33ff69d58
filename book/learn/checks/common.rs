//! What every check has: the events of the program that runs, and the verdict. It is compiled together with the reader's
//! file, whose output is not trusted: a verdict is a line that begins with a word that only this program was given.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

/// A program with more events than this does not end.
const MOST_EVENTS: usize = 20_000;
/// After this time without an event, the reader's code hangs.
const PATIENCE: Duration = Duration::from_secs(5);

struct State {
    mark: String,
    /// The program that runs: its name, and its lines.
    name: String,
    lines: Vec<String>,
    events: Vec<(Vec<i64>, String)>,
    /// The number of events of the programs before.
    before: usize,
    programs: usize,
    panic: String,
    /// The law that is broken if the program hangs, and what has happened then.
    hangs: Option<(String, String)>,
}

static STATE: Mutex<State> = Mutex::new(State {
    mark: String::new(),
    name: String::new(),
    lines: Vec::new(),
    events: Vec::new(),
    before: 0,
    programs: 0,
    panic: String::new(),
    hangs: None,
});

fn state() -> std::sync::MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(|broken| broken.into_inner())
}

/// Runs a check, and prints the verdict.
pub fn judge(check: impl FnOnce()) {
    let mut mark = String::new();
    std::io::stdin().read_line(&mut mark).expect("the checker gives a word");
    state().mark = mark.trim().to_string();
    std::panic::set_hook(Box::new(|panic| state().panic = panic.to_string()));
    std::thread::spawn(watch);
    if catch_unwind(AssertUnwindSafe(check)).is_err() {
        let panic = state().panic.clone();
        if let Some((_, todo)) = panic.split_once("not yet implemented: ") {
            fail("PANIC", format!("Not written yet: {todo}"));
        }
        fail("PANIC", format!("the code panicked: {panic}"));
    }
    let state = state();
    println!("\n{} passed\t{}\t{}", state.mark, state.programs, state.before + state.events.len());
    leave(0)
}

/// Ends the process at once. `std::process::exit` would drop the thread's loop, and with it the futures of the program.
fn leave(code: i32) -> ! {
    unsafe extern "C" {
        fn _exit(code: i32) -> !;
    }
    _ = std::io::stdout().flush();
    // SAFETY: this function of the C library has no conditions.
    unsafe { _exit(code) }
}

fn watch() {
    let mut seen = 0;
    let mut quiet = Duration::ZERO;
    loop {
        const STEP: Duration = Duration::from_millis(250);
        std::thread::sleep(STEP);
        let state = state();
        let now = state.before + state.events.len();
        let hangs = state.hangs.clone();
        drop(state);
        quiet = if now == seen { quiet + STEP } else { Duration::ZERO };
        seen = now;
        if quiet >= PATIENCE {
            let (law, what) = hangs.unwrap_or(("LIVE".into(), "the code hangs".into()));
            fail(&law, format!("{what} (nothing has happened for five seconds)"));
        }
    }
}

/// Begins a program.
pub fn begin(name: String, lines: Vec<String>) {
    let mut state = state();
    state.before += state.events.len() + 1;
    state.programs += 1;
    state.events.clear();
    (state.name, state.lines) = (name, lines);
}

/// If the program hangs, it breaks this law.
pub fn hangs_by(law: &str, what: String) {
    state().hangs = Some((law.into(), what));
}

/// Something has happened. `numbers` are the event as the page of a replay reads it: its code, the time in nanoseconds,
/// and the rest. They are empty for what the page has no event for.
pub fn event(numbers: &[i64], text: String) {
    let mut state = state();
    state.events.push((numbers.to_vec(), text));
    let is_endless = state.events.len() > MOST_EVENTS;
    drop(state);
    if is_endless {
        fail("LIVE", format!("{MOST_EVENTS} events, and the program has not ended"));
    }
}

/// A law is broken, at the last event.
pub fn fail(law: &str, what: String) -> ! {
    let state = state();
    let clean = |text: &str| text.replace(['\n', '\t'], " ");
    let mut out = format!("\n{} law\t{law}\t{}\n", state.mark, clean(&what));
    out += &format!("{} program\t{}\n", state.mark, clean(&state.name));
    for line in &state.lines {
        out += &format!("{} line\t{line}\n", state.mark);
    }
    for (numbers, text) in &state.events {
        let numbers = numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
        out += &format!("{} event\t{numbers}\t{}\n", state.mark, clean(text));
    }
    println!("{out}{} failed", state.mark);
    leave(1)
}

/// Fails unless two values are equal.
pub fn expect<T: PartialEq + std::fmt::Debug>(law: &str, what: &str, found: T, expected: T) {
    if found != expected {
        fail(law, format!("{what}: {found:?} instead of {expected:?}"));
    }
}

/// A number and a noun, in the plural unless it is one.
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// How often something is done.
pub fn times(number: usize) -> String {
    if number == 1 { "once".into() } else { format!("{number} times") }
}

/// Random numbers, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        for _ in 0..3 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        (self.0 >> 16) as usize % end.max(1)
    }
}
