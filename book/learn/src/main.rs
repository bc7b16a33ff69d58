//! `cargo run -p learn`: the exercises of the book. Each time that the reader saves the file, it is checked.

use learn::check::{Broken, Verdict, check};
use learn::exercise::Exercise;
use learn::exercises::EXERCISES;
use learn::laws::sentence;
use learn::progress::Progress;
use learn::replay;
use std::io::{self, BufRead};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, SystemTime};
use std::{fs, thread};

const HELP: &str = "\
cargo run -p learn                   the next exercise: checks it each time that you save the file
cargo run -p learn -- NAME           the same, with another exercise
cargo run -p learn -- list           all exercises, and which are done
cargo run -p learn -- check [NAME]   checks once
cargo run -p learn -- hint [NAME]    shows one hint more
cargo run -p learn -- solution NAME  what the solution changes: when the exercise is done, or all hints were shown
cargo run -p learn -- reset NAME     begins again; your file is kept as NAME.old.rs
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("learn: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns false if a check has failed.
fn run(arguments: &[&str]) -> Result<bool, Box<dyn std::error::Error>> {
    let mut progress = Progress::read()?;
    let next = |progress: &Progress| progress.next().ok_or("all exercises are done; name one");
    match *arguments {
        ["help" | "--help" | "-h"] => print!("{HELP}"),
        [] if progress.next().is_none() => {
            list(&progress);
            println!("All exercises are done. You know this kernel.");
        }
        [] => return Ok(watch(next(&progress)?, &mut progress)?),
        ["list"] => list(&progress),
        ["check"] => return Ok(grade(next(&progress)?, &mut progress)?),
        ["check", name] => return Ok(grade(find(name)?, &mut progress)?),
        ["hint"] => hint(next(&progress)?, &mut progress)?,
        ["hint", name] => hint(find(name)?, &mut progress)?,
        ["solution", name] => return Ok(solution(find(name)?, &progress)),
        ["reset", name] => {
            progress.reset(find(name)?)?;
            println!("{} begins again", find(name)?.name);
        }
        [name] => return Ok(watch(find(name)?, &mut progress)?),
        _ => return Err(format!("unknown arguments {arguments:?}\n{HELP}").into()),
    }
    Ok(true)
}

/// The exercise with this name, or the only one that begins with it.
fn find(name: &str) -> Result<&'static Exercise, String> {
    if let Some(exercise) = EXERCISES.iter().find(|exercise| exercise.name == name) {
        return Ok(exercise);
    }
    let mut found = EXERCISES.iter().filter(|exercise| exercise.name.starts_with(name));
    match (found.next(), found.next()) {
        (Some(exercise), None) => Ok(exercise),
        (Some(_), Some(_)) => Err(format!("several exercises begin with {name}; see `list`")),
        _ => Err(format!("there is no exercise {name}, and no such command; see `list` and `help`")),
    }
}

fn list(progress: &Progress) {
    for exercise in EXERCISES {
        let mark = if progress.is_done(exercise) { "done" } else { "    " };
        println!("{mark}  {:<17} {}", exercise.name, exercise.task);
    }
    println!("{}", bar(progress));
}

fn bar(progress: &Progress) -> String {
    let done = EXERCISES.iter().filter(|exercise| progress.is_done(exercise)).count();
    let (full, rest) = ("#".repeat(done), "-".repeat(EXERCISES.len() - done));
    format!("[{full}{rest}] {done} of {}", EXERCISES.len())
}

fn hint(exercise: &Exercise, progress: &mut Progress) -> io::Result<()> {
    let hints = progress.next_hint(exercise)?;
    for (nth, hint) in hints.iter().enumerate() {
        println!("Hint {} of {}: {hint}", nth + 1, exercise.hints.len());
    }
    if hints.len() == exercise.hints.len() {
        println!("That was the last hint. Now you may also see the solution.");
    }
    Ok(())
}

/// Shows what the solution changes. Returns false if it is too early for that.
fn solution(exercise: &Exercise, progress: &Progress) -> bool {
    if !progress.may_see_solution(exercise) {
        println!("The solution is shown when the exercise is done, or when you have seen all hints.");
        return false;
    }
    println!("One solution is book/{}. It differs from the exercise in this:\n", exercise.solution);
    for (right, wrong) in exercise.edits {
        for line in wrong.lines() {
            println!("- {line}");
        }
        for line in right.lines() {
            println!("+ {line}");
        }
        println!();
    }
    true
}

/// Checks an exercise once, and tells the verdict. Returns whether it has passed.
fn grade(exercise: &Exercise, progress: &mut Progress) -> io::Result<bool> {
    let file = progress.prepare(exercise)?;
    println!("{}: checking {}", exercise.name, file.display());
    match check(exercise, &file, progress.folder()) {
        Verdict::Passed { programs, events } => {
            progress.set_done(exercise)?;
            println!("\nPassed: {programs} programs, {events} events, and no law is broken.\n");
            solution(exercise, progress);
            println!("{}", bar(progress));
            Ok(true)
        }
        Verdict::NotCompiled(messages) => {
            println!("\nIt does not compile.\n\n{messages}");
            Ok(false)
        }
        Verdict::Broken(broken) => {
            report(exercise, &broken, progress)?;
            Ok(false)
        }
    }
}

fn report(exercise: &Exercise, broken: &Broken, progress: &Progress) -> io::Result<()> {
    println!("\n{} is broken: {}.", broken.law, sentence(&broken.law));
    println!("{}.", broken.what);
    if !broken.events.is_empty() {
        let of = if broken.lines.is_empty() { ":\n" } else { " of " };
        println!("\nAt event {}{of}{}", broken.events.len(), replay::text(broken, 14));
    }
    if !broken.printed.trim().is_empty() {
        let printed: Vec<&str> = broken.printed.trim().lines().collect();
        let last = &printed[printed.len().saturating_sub(10)..];
        println!("The code has printed, at the end:\n    {}\n", last.join("\n    "));
    }
    let text = progress.replay(exercise, "txt");
    fs::write(&text, format!("{}: {}\n\n{}", broken.law, broken.what, replay::text(broken, usize::MAX)))?;
    println!("All events: {}", text.display());
    let page = progress.replay(exercise, "html");
    match replay::html(exercise.name, broken) {
        Some(html) => {
            fs::write(&page, html)?;
            // The page opens at the event that this names.
            let last = broken.events.iter().filter(|event| !event.0.is_empty()).count();
            println!("The replay, step by step: file://{}#e={last}", page.display());
        }
        // One of an earlier check would mislead.
        None if page.exists() => fs::remove_file(page)?,
        None => {}
    }
    Ok(())
}

/// Checks an exercise each time that its file is saved, until it has passed; then comes the next one. Returns whether the last
/// check has passed.
fn watch(exercise: &'static Exercise, progress: &mut Progress) -> io::Result<bool> {
    let (send, commands) = channel();
    thread::spawn(move || io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
    let mut exercise = exercise;
    loop {
        let file = progress.prepare(exercise)?;
        println!("\n{}\n\n{}\n\n{}\n\nEdit {}\n", bar(progress), exercise.name, exercise.task, file.display());
        let mut seen = None;
        let mut has_passed = false;
        loop {
            // The time is taken before the check, so that no change during it is missed.
            let saved = saved(&file);
            if saved != seen {
                seen = saved;
                has_passed = grade(exercise, progress)?;
                println!("{}", if has_passed { "n: next   s: solution   q: quit" } else { KEYS });
            }
            let command = match commands.recv_timeout(Duration::from_millis(200)) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => continue,
                // Nobody can type anything any more.
                Err(RecvTimeoutError::Disconnected) => return Ok(has_passed),
            };
            match command.trim() {
                "n" if has_passed => match progress.next() {
                    Some(next) => {
                        exercise = next;
                        break;
                    }
                    None => {
                        println!("All exercises are done. You know this kernel.");
                        return Ok(true);
                    }
                },
                "n" => println!("This exercise is not done yet. `cargo run -p learn -- NAME` begins with another one."),
                "h" => hint(exercise, progress)?,
                "s" => _ = solution(exercise, progress),
                "l" => list(progress),
                "o" => open(&progress.replay(exercise, "html"), &progress.replay(exercise, "txt")),
                "r" => {
                    progress.reset(exercise)?;
                    seen = None;
                }
                "q" => return Ok(has_passed),
                "" => seen = None,
                _ => println!("{KEYS}"),
            }
        }
    }
}

const KEYS: &str = "Save the file to check again. Or type, and Enter: h: hint  o: open the replay  s: solution  l: list  r: reset  q: quit";

fn saved(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

/// Opens the page, or the text if there is no page.
fn open(page: &Path, text: &Path) {
    let file = if page.exists() { page } else { text };
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let opened = file.exists() && Command::new(opener).arg(file).status().is_ok_and(|status| status.success());
    if !opened {
        println!("Open this file: {}", file.display());
    }
}
