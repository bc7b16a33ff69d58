//! Checks that each program runs, and reports the right number of switches. It does not measure
//! their speed.

use std::process::{Command, Output};

fn driver(option: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onelane-switches"));
    command.arg(option);
    command
}

/// The output and the error output of a run that succeeds.
fn texts(output: Output) -> (String, String) {
    let (text, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{}\n{text}{errors}", output.status);
    (text, errors)
}

#[test]
fn each_program_makes_the_switches_that_it_is_asked_for() {
    let (text, errors) = texts(driver("--check").output().unwrap());
    // Written straight to stderr, because the captured output of a passing test is not shown.
    std::io::Write::write_all(&mut std::io::stderr(), errors.as_bytes()).unwrap();
    let counts = ["one task yields: 7 switches", "1,000 tasks yield: 7000 switches", "two hand over: 14 switches"];
    let (yields, all, hand_over) = (&counts[..2], &counts[..], &counts[2..]);
    let mut expected = 0;
    for (program, counts) in [
        ("call", all),
        ("floor", yields),
        ("onelane", all),
        ("onelane-channels", hand_over),
        ("c++", all),
        ("luajit", all),
        ("lua", all),
        ("go", all),
        ("generators", all),
        ("asyncio", all),
        ("threads", all),
    ] {
        let skipped = errors.lines().find(|line| line.starts_with(&format!("skipped: {program}: ")));
        if let Some(line) = skipped {
            assert!(line.contains("is not installed"), "{line}");
            continue;
        }
        for count in counts {
            let line = format!("{program}, {count}");
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
            expected += 1;
        }
    }
    assert_eq!(text.lines().count(), expected, "{text}");
}

#[test]
fn what_is_not_installed_is_named_and_the_rest_is_measured() {
    let output = driver("--quick").env("PATH", "/no/such/folder").env_remove("PYTHON").output();
    let (text, _) = texts(output.unwrap());
    for (program, tool, package) in [
        ("c++", "g++", "g++"),
        ("luajit", "luajit", "luajit"),
        ("lua", "lua5.4", "lua5.4"),
        ("go", "go", "golang-go"),
        ("generators", "python3", "python3"),
        ("asyncio", "python3", "python3"),
    ] {
        let line =
            format!("not measured: {program}: `{tool}` is not installed; on Debian, `apt-get install {package}`");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let measured = |program: &str| text.lines().filter(|line| line.trim_start().starts_with(program)).count();
    assert_eq!(["function call", "bare loop", "onelane", "threads"].map(measured), [3, 2, 4, 3], "{text}");
}
