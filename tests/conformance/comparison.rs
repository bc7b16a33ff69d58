//! Traces, and the differences between CPython's trace and onelane's.
//!
//! This part knows nothing of statements. For it, a program is its name and its source. Read
//! `program.rs` next.

use crate::program::Program;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

#[derive(PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) lines: Vec<Line>,
    /// The lines that were logged after body 0 had ended, sorted, because asyncio cancels the
    /// remaining tasks in the order of a set. `None` if they are not compared, because onelane ends
    /// these tasks differently.
    pub(crate) shutdown: Option<Vec<String>>,
    /// "done", "deadlock", or what went wrong.
    pub(crate) end: String,
}

#[derive(PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) at: Duration,
    pub(crate) who: Rc<str>,
    pub(crate) text: String,
}

impl Trace {
    fn show(&self) -> Vec<String> {
        let line = |line: &Line| format!("{:>6?} {:>4}  {}", line.at, line.who, line.text);
        let lines = self.lines.iter().map(line);
        let shutdown = self.shutdown.iter().flatten().map(|line| format!("shutdown:    {line}"));
        lines.chain(shutdown).chain([format!("end: {}", self.end)]).collect()
    }
}

/// The results of the programs that have run.
pub(crate) struct Comparison {
    levels: BTreeMap<String, Tally>,
    /// The programs whose traces differ.
    differing: Vec<String>,
    /// The first of them, with both traces.
    first: Option<String>,
    /// The file to which programs that differ are written, one JSON object a line, if
    /// `ONELANE_DIFFER` names one.
    file: Option<File>,
    /// `None` without threads.
    watchdog: Option<Sender<String>>,
}

#[derive(Default)]
struct Tally {
    run: usize,
    differ: usize,
}

impl Comparison {
    pub(crate) fn new() -> Self {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Comparison {
            levels: BTreeMap::new(),
            differing: Vec::new(),
            first: None,
            file: std::env::var_os("ONELANE_DIFFER").map(|path| open(path).expect("ONELANE_DIFFER can be written to")),
            watchdog: (!cfg!(target_family = "wasm")).then(watchdog),
        }
    }

    /// The program is about to run.
    pub(crate) fn begin(&self, path: &Path, program: &Program) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.send(format!("{} of {}", program.id, path.display())).expect("the watchdog ends last");
        }
    }

    /// The program has run and left this trace.
    pub(crate) fn end(&mut self, path: &Path, program: &Program, mut ours: Trace) {
        if program.trace.shutdown.is_none() {
            ours.shutdown = None;
        }
        let tally = self.levels.entry(program.level.clone()).or_default();
        tally.run += 1;
        if ours == program.trace {
            return;
        }
        tally.differ += 1;
        self.differing.push(program.id.clone());
        self.first.get_or_insert_with(|| show_difference(path, program, &ours));
        if let Some(file) = &mut self.file {
            let (theirs, ours) = (program.trace.show(), ours.show());
            let line = serde_json::json!({"id": program.id, "bodies": program.source, "theirs": theirs, "ours": ours});
            writeln!(file, "{line}").expect("ONELANE_DIFFER can be written to");
        }
    }

    /// Fails if a program differs, and shows the first one.
    pub(crate) fn finish(self) {
        println!("{}", self.summary());
    }

    /// The number of programs of each level. Panics if a program differs, and shows the first one.
    pub(crate) fn summary(self) -> String {
        let level = |(level, Tally { run, differ }): (&String, &Tally)| {
            format!("conformance {level}: {run} programs, {differ} differ")
        };
        let summary = self.levels.iter().map(level).collect::<Vec<_>>().join("\n");
        let count = self.differing.len();
        let Some(difference) = self.first else { return summary };
        let names = self.differing[..count.min(100)].join(", ");
        panic!(
            "{summary}\n\n{difference}\n\nThese differ: {names}\n{count} program(s) left another trace than CPython's"
        );
    }
}

/// Ends the process if a program does not end, because a test that hangs would not name it. Each
/// program's name is sent before it runs.
fn watchdog() -> Sender<String> {
    const LIMIT: Duration = Duration::from_secs(60);
    let (sender, names) = channel();
    std::thread::spawn(move || {
        let mut running = String::new();
        loop {
            match names.recv_timeout(LIMIT) {
                Ok(name) => running = name,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // The macros would write into the captured output of the test, which is lost if
                    // the process ends.
                    let _ = writeln!(std::io::stderr(), "after {LIMIT:?} this program has not ended: {running}");
                    std::process::exit(1);
                }
            }
        }
    });
    sender
}

/// The program, and both traces side by side.
fn show_difference(path: &Path, program: &Program, ours: &Trace) -> String {
    let mut out = vec![format!("{} of {} differs.", program.id, path.display())];
    out.extend(program.why.clone());
    for (number, body) in program.source.as_array().into_iter().flatten().enumerate() {
        out.push(format!("body {number}:"));
        out.extend(body.as_array().into_iter().flatten().map(|statement| format!("    {statement}")));
    }
    let (theirs, ours) = (program.trace.show(), ours.show());
    let rows = theirs.len().max(ours.len());
    let first =
        (0..rows).find(|&row| theirs.get(row) != ours.get(row)).expect("traces that differ also look different");
    out.push(format!("  {:<52} onelane", "CPython"));
    for row in 0..rows {
        let cell = |lines: &[String]| lines.get(row).cloned().unwrap_or_default();
        let mark = if row == first { '>' } else { ' ' };
        out.push(format!("{mark} {:<52} {}", cell(&theirs), cell(&ours)).trim_end().to_owned());
    }
    out.push(format!("The first line that differs is line {}.", first + 1));
    out.join("\n")
}
