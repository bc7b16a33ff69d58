//! The files, and the programs in them.
//!
//! This part knows nothing of what a statement does. Read `statement.rs` next.

use crate::comparison::{Line, Trace};
use crate::statement::{Block, Reader};
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

pub(crate) struct Program {
    pub(crate) id: String,
    pub(crate) level: String,
    /// What the program shows, if it was chosen for that.
    pub(crate) why: Option<String>,
    pub(crate) bodies: Bodies,
    /// The bodies as in the file, for messages.
    pub(crate) source: Value,
    /// The trace that CPython left.
    pub(crate) trace: Trace,
}

pub(crate) type Bodies = Rc<[Block]>;

/// The files of this folder, then those that `ONELANE_PROGRAMS` names. With `ONELANE_ONLY`, only
/// the latter.
pub(crate) fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let mut files = Vec::new();
    if std::env::var_os("ONELANE_ONLY").is_none() {
        let names = ["programs-A", "programs-B", "programs-C", "programs-D", "found-D"];
        files.extend(names.map(|name| folder.join(name).with_extension("jsonl")));
    }
    if let Some(more) = std::env::var_os("ONELANE_PROGRAMS") {
        files.extend(std::env::split_paths(&more).filter(|path| !path.as_os_str().is_empty()));
    }
    files
}

/// The programs of a file, read one by one: a file of fresh programs may be large.
pub(crate) fn programs(path: &Path) -> impl Iterator<Item = Program> {
    let name = path.display().to_string();
    let file = File::open(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut lines = BufReader::new(file).lines().zip(1..).peekable();
    assert!(lines.peek().is_some(), "{name}: there is no program in this file");
    lines.map(move |(line, number)| {
        let program = line.map_err(|error| error.to_string()).and_then(|line| read_program(&line));
        program.unwrap_or_else(|error| panic!("{name}:{number}: {error}"))
    })
}

/// Reads a line of a file.
pub(crate) fn read_program(line: &str) -> Result<Program, String> {
    let mut json: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let source = json["bodies"].take();
    let bodies = source.as_array().filter(|bodies| !bodies.is_empty()).ok_or("\"bodies\" is missing")?;
    let reader = Reader { bodies: bodies.len() };
    let bodies = bodies.iter().map(|body| reader.block(body)).collect::<Result<_, _>>()?;
    Ok(Program {
        id: json["id"].as_str().ok_or("\"id\" is missing")?.to_owned(),
        level: json["level"].as_str().ok_or("\"level\" is missing")?.to_owned(),
        why: json["why"].as_str().map(str::to_owned),
        bodies,
        source,
        trace: read_trace(&json).ok_or("\"trace\", \"shutdown\" or \"end\" is missing or malformed")?,
    })
}

fn read_trace(json: &Value) -> Option<Trace> {
    let line = |line: &Value| {
        let [at, who, text] = line.as_array()?.as_slice() else { return None };
        Some(Line {
            at: Duration::from_millis(at.as_u64()?),
            who: who.as_str()?.into(),
            text: text.as_str()?.to_owned(),
        })
    };
    let shutdown = json.get("shutdown")?;
    Some(Trace {
        lines: json["trace"].as_array()?.iter().map(line).collect::<Option<_>>()?,
        shutdown: if shutdown.is_null() { None } else { Some(texts(shutdown)?) },
        end: json["end"].as_str()?.to_owned(),
    })
}

/// A list of texts.
pub(crate) fn texts(json: &Value) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}
