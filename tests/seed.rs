//! The seed: five programs print, byte for byte, what CPython prints for the same programs. The
//! tour shows all five. The program that deadlocks prints its deadlock report.
//!
//! `seed/*.out` is CPython's output. There is one difference: `asyncio.run()` is replaced by
//! `onelane::run()`.
//!
//! The examples run as separate processes, all at the same time. The tests do not read a clock: the
//! order of the lines shows the overlap, because all four tasks begin before one ends.

#[cfg(feature = "probe")]
#[path = "common/trace.rs"]
mod trace;

use std::env::{consts::EXE_SUFFIX, current_exe};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

struct Program {
    name: &'static str,
    output: &'static str,
    /// The rows of its picture.
    rows: [&'static str; 5],
}

const UNNAMED: [&str; 5] = ["main", "func1(1)", "func1(2)", "func1(3)", "func1(4)"];
const NAMED: [&str; 5] = ["main", "任务1", "任务2", "任务3", "任务4"];

const PROGRAMS: [Program; 5] = [
    Program { name: "gather", output: include_str!("seed/gather.out"), rows: UNNAMED },
    Program { name: "wait", output: include_str!("seed/wait.out"), rows: UNNAMED },
    Program { name: "callback", output: include_str!("seed/callback.out"), rows: UNNAMED },
    Program { name: "timeout", output: include_str!("seed/timeout.out"), rows: NAMED },
    Program { name: "introspect", output: include_str!("seed/introspect.out"), rows: NAMED },
];

#[test]
fn five_run_and_print_what_cpython_prints() {
    // Starts all processes before it waits for the first.
    let children: Vec<Child> = PROGRAMS.iter().map(|program| start(&format!("seed_{}", program.name))).collect();
    for (program, child) in PROGRAMS.iter().zip(children) {
        assert_eq!(output(child), program.output, "seed_{} printed something else", program.name);
    }
}

/// The program that hangs prints what the README shows, with the same lines and columns.
#[test]
fn ps_explains_itself_as_the_readme_shows() {
    let readme = include_str!("../README.md");
    let shown = readme.split("<!-- ps -->").nth(1).expect("the README has a part between two marks");
    let shown = shown.trim().trim_start_matches("```text\n").trim_end_matches("\n```");
    assert_eq!(output(start("ps")).trim_end(), shown);
}

#[test]
#[ignore = "it takes the ten seconds that the tour takes; .ci/run runs it"]
fn tour_runs_and_draws_each_task() {
    let text = output(start("tour"));
    let mut parts = text.split("\nLook for: ");
    assert!(
        parts.next().is_some_and(|intro| intro.contains("1. gather: ")),
        "no heading of the first program:\n{text}"
    );
    let sections: Vec<&str> = parts.collect();
    assert_eq!(sections.len(), PROGRAMS.len(), "not one section for each program:\n{text}");
    for (program, section) in PROGRAMS.iter().zip(&sections) {
        assert_section(program, section);
    }
    for (program, before) in PROGRAMS[1..].iter().zip(&sections) {
        let heading = format!("{}: ", program.name);
        assert!(before.contains(&heading), "no heading {heading:?} before its section:\n{text}");
    }
    assert!(sections[4].contains("What to read next"), "no end:\n{text}");
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(100), "too wide for a terminal: {widest:?}\n{text}");
}

/// Checks that the section has the program's own lines in one piece, the line of times, and a row
/// for each task, which shows that the task runs.
fn assert_section(program: &Program, section: &str) {
    let Program { name, output, rows } = program;
    assert!(section.contains(&format!("\n\n{output}\nTook ")), "not the lines of {name}:\n{section}");
    assert!(section.contains("One after the other"), "nothing to compare the time of {name} with:\n{section}");
    // The picture follows the line of the time and an empty line.
    let picture: Vec<&str> = section.lines().skip_while(|line| !line.starts_with("Took ")).skip(2).collect();
    assert!(picture.first().is_some_and(|scale| scale.contains(" ms")), "no scale for {name}:\n{section}");
    for (row, line) in rows.iter().zip(picture.iter().skip(1)) {
        let cells = line.strip_prefix(&format!("  {row} "));
        assert!(cells.is_some_and(|cells| cells.contains('█')), "{row} of {name} does not run:\n{section}");
    }
    let legend = picture.iter().position(|line| line.contains("█ running"));
    let callbacks = usize::from(*name == "callback");
    assert_eq!(legend, Some(1 + rows.len() + callbacks), "a scale, the rows, a legend for {name}:\n{section}");
}

/// The folder of the examples for this profile and target.
///
/// `cargo test` has built them, and `cargo test --test seed` has not, so this runs Cargo. Cargo is
/// fast if there is nothing to do.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let test = current_exe().expect("a test knows where it is");
    let profile = test.ancestors().nth(2).expect("a test is in target/PROFILE/deps");
    build(profile);
    profile.join("examples")
});

fn build(profile: &Path) {
    let name_of = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_string();
    let (name, mut directory) = (name_of(profile), profile.parent().expect("a profile is in a target directory"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet", "--examples"]);
    // Uses the features of this test, so that nothing is built twice.
    if cfg!(all(feature = "probe", feature = "signals", feature = "stream", feature = "threads")) {
        cargo.arg("--all-features");
    } else if cfg!(feature = "probe") {
        cargo.args(["--features", "probe"]);
    }
    cargo.args(["--profile", if name == "debug" { "dev" } else { &name }]);
    // With `--target`, there is a folder with the target's name in between.
    let target = name_of(directory);
    if target.matches('-').count() >= 2 {
        cargo.args(["--target", &target]);
        directory = directory.parent().expect("a target's directory is in the common target directory");
    }
    // Without Cargo, the existing examples are used. If there are none, `start` reports what is
    // missing.
    let _ = cargo.arg("--target-dir").arg(directory).status();
}

/// The traces of the tour are valid, their slices nest, and they agree with the counters of the
/// loops.
#[cfg(feature = "probe")]
#[test]
#[ignore = "it takes the ten seconds that the tour takes; .ci/run runs it"]
fn tour_writes_traces_that_agree_with_the_metrics() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tour");
    let text = output(start_with("tour", &["--trace".as_ref(), folder.as_os_str()]));
    for program in &PROGRAMS {
        let path = folder.join(format!("{}.json", program.name));
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("Trace: {} (", path.display())));
        let line = line.unwrap_or_else(|| panic!("no trace of {}:\n{text}", program.name));
        let counted: Vec<u64> = line
            .trim_end_matches(')')
            .split(", ")
            .map(|count| count.rsplit(' ').next().unwrap().parse().unwrap())
            .collect();
        let counts = trace::check_trace(&std::fs::read_to_string(&path).unwrap());
        let [turns, steps, calls, parks] = ["turn", "run", "call", "park"].map(|category| counts.slices(category));
        let [merged, late] = ["wake merged", "wake late"].map(|what| counts.instants(what));
        let [fired, cancelled] = ["fired", "cancelled"].map(|outcome| counts.timers(outcome));
        // The track of the loop is not that of a task.
        let tasks = counts.tracks.len() - 1;
        let shown = [turns, steps, calls, parks, tasks, merged, late, fired, cancelled].map(|count| count as u64);
        assert_eq!(counted, shown, "turns, steps, ... of {}", program.name);
        assert!(steps > 5 && counts.arrows("wake") > 0, "{}: nothing happened", program.name);
    }
}

fn start(name: &str) -> Child {
    start_with(name, &[])
}

fn start_with(name: &str, arguments: &[&OsStr]) -> Child {
    let binary = EXAMPLES.join(format!("{name}{EXE_SUFFIX}"));
    let child = Command::new(&binary)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    child.unwrap_or_else(|error| {
        panic!("{} does not start: {error}; build it with `cargo build --examples`", binary.display())
    })
}

fn output(child: Child) -> String {
    let output = child.wait_with_output().expect("a child that started ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "it failed ({}): {errors}", output.status);
    String::from_utf8(output.stdout).expect("the output is UTF-8")
}
