//! Compiles a solution together with its check, and runs it.

use crate::exercise::{Exercise, book};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What came of a check.
#[derive(Debug)]
pub enum Verdict {
    Passed {
        programs: u64,
        events: u64,
    },
    /// The compiler's messages.
    NotCompiled(String),
    Broken(Broken),
}

/// A law was broken.
#[derive(Debug, Default)]
pub struct Broken {
    /// The tag of the law.
    pub law: String,
    /// What has happened.
    pub what: String,
    /// The program that ran, and its lines.
    pub program: String,
    pub lines: Vec<String>,
    /// The events until then: numbers for the page of a replay, and a sentence.
    pub events: Vec<(Vec<i64>, String)>,
    /// What the code has printed itself.
    pub printed: String,
}

/// A check takes a second or two. It stops by itself if nothing happens for some seconds; this is for code that prevents even
/// that.
const LIMIT: Duration = Duration::from_secs(60);

/// Is added to a kernel with a clock.
const COMPUTES: &str = "
pub fn computes(time: std::time::Duration) {
    LANE.with(|lane| lane.clock.set(Clock::Virtual(lane.now() + time)));
}
";

/// Checks a file. `folder` is for what is compiled, and must exist.
pub fn check(exercise: &Exercise, file: &Path, folder: &Path) -> Verdict {
    let checks = book().join("learn/checks");
    let program = folder.join(format!("{}-check", exercise.name));
    let main = folder.join(format!("{}-check.rs", exercise.name));
    // For one check, the locks of `std::sync` are replaced by those of the check. For another one, the kernel gets a function
    // that moves its virtual clock, as work in a step moves a real one.
    let copy = folder.join(format!("{}-kernel.rs", exercise.name));
    let has_locks = exercise.cfg.contains(&"locks");
    let has_work = exercise.cfg.contains(&"computes");
    let has_copy = has_locks || has_work;
    if has_copy {
        let mut text = fs::read_to_string(file).unwrap_or_default();
        if has_locks {
            text = text.replace("std::sync::", "crate::check::sync::");
        }
        if has_work {
            text += COMPUTES;
        }
        fs::write(&copy, text).expect("the folder can be written to");
    }
    let kernel = if has_copy { &copy } else { file };
    let reference = book().join(exercise.solution);
    let path = |path: &Path| format!("{:?}", path.display().to_string());
    let text = format!(
        "#[path = {}] #[allow(warnings)] pub mod kernel;\n#[path = {}] #[allow(warnings)] pub mod reference;\n\
         #[path = {}] #[allow(warnings)] mod common;\n#[path = {}] #[allow(warnings)] mod check;\n\
         fn main() {{ common::judge(check::check) }}\n",
        path(kernel),
        path(&reference),
        path(&checks.join("common.rs")),
        path(&checks.join(exercise.check)),
    );
    fs::write(&main, text).expect("the folder for the check can be written to");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition", "2024", "--crate-name", "check", "-C", "debuginfo=0", "-o"]).arg(&program).arg(&main);
    rustc.args(exercise.cfg.iter().flat_map(|cfg| ["--cfg", cfg]));
    let output = rustc.stdin(Stdio::null()).output().expect("rustc is installed");
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        _ = fs::remove_file(&main);
        // The reader knows only the own file.
        let (copy, own) = (copy.display().to_string(), file.display().to_string());
        return Verdict::NotCompiled(messages.replace(&copy, &own));
    }
    let verdict = run(&program);
    _ = fs::remove_file(&program);
    _ = fs::remove_file(&main);
    if has_copy {
        _ = fs::remove_file(&copy);
    }
    verdict
}

/// Runs a compiled check. It gets a word that nobody can guess, and only lines with this word count.
fn run(program: &Path) -> Verdict {
    let mark = format!("{:x}-{:x}", Instant::now().elapsed().as_nanos() as u64 ^ random(), random());
    let child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("a program that was compiled can be started");
    // The pipe closes if the code does not read it.
    _ = writeln!(child.stdin.take().expect("it has a pipe"), "{mark}");
    let mut out = child.stdout.take().expect("it has a pipe");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // Code that prints without end is cut off.
        _ = out.by_ref().take(50_000_000).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let begin = Instant::now();
    let mut is_late = false;
    while child.try_wait().expect("a child can be waited for").is_none() {
        std::thread::sleep(Duration::from_millis(10));
        if begin.elapsed() > LIMIT || reader.is_finished() && begin.elapsed() > LIMIT / 4 {
            is_late = true;
            _ = child.kill();
            _ = child.wait();
            break;
        }
    }
    let text = reader.join().expect("reading does not panic");
    read(&text, &mark, is_late)
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn read(text: &str, mark: &str, is_late: bool) -> Verdict {
    let mut broken = Broken::default();
    let mut has_failed = false;
    for line in text.lines() {
        let Some(told) = line.strip_prefix(mark).and_then(|rest| rest.strip_prefix(' ')) else {
            broken.printed += line;
            broken.printed.push('\n');
            continue;
        };
        let mut words = told.split('\t');
        match words.next().unwrap_or_default() {
            "passed" => {
                let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
                return Verdict::Passed { programs: number(), events: number() };
            }
            "law" => {
                broken.law = words.next().unwrap_or_default().into();
                broken.what = words.next().unwrap_or_default().into();
            }
            "program" => broken.program = words.next().unwrap_or_default().into(),
            "line" => broken.lines.push(words.collect::<Vec<_>>().join("\t")),
            "event" => {
                let numbers = words.next().unwrap_or_default().split(' ').filter_map(|word| word.parse().ok());
                broken.events.push((numbers.collect(), words.collect::<Vec<_>>().join("\t")));
            }
            "failed" => has_failed = true,
            _ => {}
        }
    }
    if !has_failed {
        broken = Broken { printed: broken.printed, ..Broken::default() };
        (broken.law, broken.what) = if is_late {
            ("LIVE".into(), format!("the program has not ended after {} seconds", LIMIT.as_secs()))
        } else {
            ("VERDICT".into(), "the program has ended before the check was over".into())
        };
    }
    Verdict::Broken(broken)
}
