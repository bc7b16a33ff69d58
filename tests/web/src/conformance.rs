//! Runs the programs of `tests/conformance`.

use crate::comparison::{Comparison, Trace};
use crate::machine;
use crate::program::read_program;
use onelane::{Budget, EventLoop};
use std::path::Path;
use std::time::Duration;
use wasm_bindgen::prelude::wasm_bindgen;

/// Runs each program of a file as a whole, and within budgets. Returns a line for each level and kind
/// of run. Panics if a trace differs from CPython's.
#[wasm_bindgen]
pub fn run_conformance(name: &str, text: &str) -> String {
    let budgets = [Budget::steps(1), Budget::steps(3), Budget::time(Duration::ZERO), Budget::UNLIMITED];
    let mut budgets = budgets.into_iter().cycle();
    let (mut whole, mut within) = (Comparison::new(), Comparison::new());
    for (line, number) in text.lines().zip(1..) {
        let program = read_program(line).unwrap_or_else(|error| panic!("{name}:{number}: {error}"));
        whole.end(Path::new(name), &program, machine::run(&program.bodies, &EventLoop::with_virtual_clock));
        let (lines, _) = machine::lines_within(&program.bodies, budgets.next().unwrap());
        let (shutdown, end) = (program.trace.shutdown.clone(), program.trace.end.clone());
        within.end(Path::new(name), &program, Trace { lines, shutdown, end });
    }
    [whole.summary(), within.summary()].join("\nwithin budgets: ")
}
