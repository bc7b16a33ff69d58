//! What the counts depend on, in addition to the source.

use anyhow::{Context, Result};
use std::fmt;
use std::process::Command;

/// The compiler, its target, and the C library, whose allocator is counted too.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origin(pub String);

impl Origin {
    /// The origin of counts on this machine.
    pub fn here() -> Result<Origin> {
        let said = |command: &str, argument: &str| -> Result<String> {
            let output = Command::new(command).arg(argument).output().with_context(|| format!("starting {command}"))?;
            Ok(String::from_utf8_lossy(&output.stdout).trim().into())
        };
        let rustc = said("rustc", "-vV")?;
        let field =
            |name: &str| rustc.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown").to_string();
        // Without glibc, `getconf` fails or does not exist.
        let libc = said("getconf", "GNU_LIBC_VERSION").unwrap_or_default();
        Ok(Origin(format!("rustc {}, {}, {libc}", field("release: "), field("host: "))))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "no machine yet" } else { &self.0 })
    }
}
