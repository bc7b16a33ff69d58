//! The last stage runs the seed's five programs, and prints what CPython prints. Where CPython names `asyncio.run()`, it
//! names `lane::run()`.

use std::process::Command;

fn printed(program: &str) -> String {
    let output = Command::new(program).arg("--virtual").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn five_programs_print_what_cpython_prints() {
    let programs = [
        (env!("CARGO_BIN_EXE_gather"), include_str!("../../../tests/seed/gather.out")),
        (env!("CARGO_BIN_EXE_wait"), include_str!("../../../tests/seed/wait.out")),
        (env!("CARGO_BIN_EXE_callback"), include_str!("../../../tests/seed/callback.out")),
        (env!("CARGO_BIN_EXE_timeout"), include_str!("../../../tests/seed/timeout.out")),
        (env!("CARGO_BIN_EXE_introspect"), include_str!("../../../tests/seed/introspect.out")),
    ];
    for (program, expected) in programs {
        assert_eq!(printed(program), expected.replace("onelane::run()", "lane::run()"), "{program}");
    }
}
