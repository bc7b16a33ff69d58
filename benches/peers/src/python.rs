//! Runs the same cases on CPython's asyncio and on uvloop, in a child process, which measures by
//! its own clock.
//!
//! A child runs during all rounds, so its samples alternate with those of the other runtimes.

use onelane_cases::{Case, Measure, Size};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const PROGRAM: &str = include_str!("asyncio_cases.py");

/// A child process that runs cases on request.
pub(crate) struct Python {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    pub(crate) version: String,
    pub(crate) cases: Vec<String>,
}

#[derive(Deserialize)]
struct Greeting {
    version: String,
    cases: Vec<String>,
}

#[derive(Serialize)]
struct Request<'a> {
    case: &'a str,
    measure: &'a str,
    width: usize,
    rounds: usize,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer {
    Done { value: f64, done: u64 },
    Failed { error: String },
}

impl Python {
    /// Starts the interpreter that the variable `PYTHON` names, or `python3`.
    ///
    /// # Errors
    ///
    /// Returns an error if the interpreter does not start or cannot run the program, for example
    /// because uvloop is not installed.
    pub(crate) fn start(implementation: &str) -> Result<Self, String> {
        let interpreter = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let mut child = Command::new(&interpreter)
            .args(["-c", PROGRAM, implementation])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("`{interpreter}` cannot be started: {error}; set PYTHON to use another"))?;
        let requests = child.stdin.take();
        let mut answers = BufReader::new(child.stdout.take().ok_or("its output is not piped")?);
        let mut line = String::new();
        let greeting = answers.read_line(&mut line).ok().and_then(|_| serde_json::from_str::<Greeting>(&line).ok());
        let Some(Greeting { version, cases }) = greeting else {
            drop(requests);
            let output = child.wait_with_output().map_err(|error| error.to_string())?;
            let errors = String::from_utf8_lossy(&output.stderr);
            let last = errors.trim().lines().last().unwrap_or("it printed no error").to_owned();
            return Err(format!("`{interpreter}` does not run its cases: {last}"));
        };
        Ok(Python { child, requests, answers, version, cases })
    }

    /// Like [`measure::sample`](crate::measure::sample), but in the child process. The child cannot
    /// count allocations, but it can measure resident memory.
    pub(crate) fn sample(&mut self, case: &Case, size: Size) -> Result<f64, String> {
        let measure = match case.measure {
            Measure::Wall => "wall",
            Measure::Cpu => "cpu",
            Measure::HeapBytes => "heap",
            Measure::ResidentBytes => "resident",
            Measure::Allocations => return Err("it does not count allocations".into()),
        };
        let request = Request { case: case.id, measure, width: size.width, rounds: size.rounds };
        let mut line = serde_json::to_string(&request).map_err(|error| error.to_string())?;
        line.push('\n');
        let requests = self.requests.as_mut().ok_or("its input is closed already")?;
        requests.write_all(line.as_bytes()).map_err(|error| format!("cannot send a request to the child: {error}"))?;
        line.clear();
        self.answers.read_line(&mut line).map_err(|error| format!("cannot read a response of the child: {error}"))?;
        match serde_json::from_str(&line)
            .map_err(|error| format!("cannot parse the response {line:?} of the child: {error}"))?
        {
            Answer::Done { value, done } => crate::measure::check(done, size).map(|()| value),
            Answer::Failed { error } => Err(error),
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // The child ends when its input is closed.
        drop(self.requests.take());
        let _ = self.child.wait();
    }
}
