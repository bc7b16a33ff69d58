//! Reads the results of `benches/footprint`: build time, packages, size. The file is in the same
//! folder as the figures of this program.

use serde::Deserialize;
use std::collections::HashMap;
use std::fs;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance/footprint.json");

#[derive(Deserialize)]
pub(crate) struct Footprint {
    programs: Vec<Program>,
}

#[derive(Deserialize)]
struct Program {
    name: String,
    medians: HashMap<String, f64>,
}

impl Footprint {
    /// # Errors
    ///
    /// Returns an error if the file is missing or has another format. The error says how to create
    /// it.
    pub(crate) fn read() -> Result<Self, String> {
        let cure = "`cargo run --release --manifest-path benches/footprint/Cargo.toml` writes it";
        let text = fs::read_to_string(FILE).map_err(|error| format!("no `footprint.json` ({error}); {cure}"))?;
        Footprint::parse(&text).map_err(|error| format!("`footprint.json` cannot be read ({error}); {cure}"))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// Returns a figure of the program that uses this runtime.
    pub(crate) fn of(&self, runtime: &str, figure: &str) -> Option<f64> {
        let program = self.programs.iter().find(|program| program.name == runtime)?;
        program.medians.get(figure).copied()
    }
}
