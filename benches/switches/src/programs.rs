//! The programs that are compared: what they need, how they are built, and how they are started.

use crate::measure::Shape::{self, Handover, Yield1, Yield1000};
use anyhow::{Context, Result};
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

/// A program that can run here.
pub(crate) struct Program {
    pub(crate) id: &'static str,
    pub(crate) title: String,
    pub(crate) shapes: &'static [Shape],
    command: Vec<OsString>,
}

impl Program {
    /// Runs it with these arguments, until it ends.
    pub(crate) fn run(&self, arguments: &[String]) -> std::io::Result<Output> {
        Command::new(&self.command[0]).args(&self.command[1..]).args(arguments).output()
    }
}

/// How to make a program.
struct Recipe {
    id: &'static str,
    title: &'static str,
    shapes: &'static [Shape],
    /// `None` for the programs that are in this binary.
    foreign: Option<Foreign>,
}

/// A program in another language.
struct Foreign {
    /// The compiler or interpreter.
    tool: &'static str,
    /// The Debian package that has the tool.
    package: &'static str,
    /// The arguments by which the tool prints its version.
    version: &'static [&'static str],
    /// The arguments by which the tool compiles. They are followed by `-o` with the name of the
    /// binary, and by the name of the source. `None` for an interpreter.
    compile: Option<&'static [&'static str]>,
    /// The source, in the folder `programs`.
    source: &'static str,
}

const ALL: &[Shape] = &[Yield1, Yield1000, Handover];

const GO: Foreign = Foreign {
    tool: "go",
    package: "golang-go",
    version: &["version"],
    compile: Some(&["build"]),
    source: "goroutines.go",
};

const CPP: Foreign = Foreign {
    tool: "g++",
    package: "g++",
    version: &["-dumpfullversion"],
    compile: Some(&["-O2", "-std=c++20"]),
    source: "coroutines.cpp",
};

const LUA: Foreign =
    Foreign { tool: "lua5.4", package: "lua5.4", version: &["-v"], compile: None, source: "coroutines.lua" };

const PYTHON: Foreign =
    Foreign { tool: "python3", package: "python3", version: &["--version"], compile: None, source: "generators.py" };

/// In the order of the table.
const RECIPES: &[Recipe] = &[
    Recipe { id: "call", title: "function call", shapes: ALL, foreign: None },
    Recipe { id: "floor", title: "bare loop", shapes: &[Yield1, Yield1000], foreign: None },
    Recipe { id: "onelane", title: "**onelane**", shapes: ALL, foreign: None },
    Recipe { id: "onelane-channels", title: "onelane, channels", shapes: &[Handover], foreign: None },
    Recipe { id: "c++", title: "C++20 coroutines", shapes: ALL, foreign: Some(CPP) },
    Recipe {
        id: "luajit",
        title: "LuaJIT coroutines",
        shapes: ALL,
        foreign: Some(Foreign { tool: "luajit", package: "luajit", ..LUA }),
    },
    Recipe { id: "lua", title: "Lua coroutines", shapes: ALL, foreign: Some(LUA) },
    Recipe { id: "go", title: "goroutines", shapes: ALL, foreign: Some(GO) },
    Recipe { id: "generators", title: "Python generators", shapes: ALL, foreign: Some(PYTHON) },
    Recipe { id: "asyncio", title: "asyncio", shapes: ALL, foreign: Some(Foreign { source: "tasks.py", ..PYTHON }) },
    Recipe { id: "threads", title: "threads of the system", shapes: ALL, foreign: None },
];

/// The programs, as far as they could be made.
pub(crate) struct Prepared {
    pub(crate) programs: Vec<Program>,
    /// The languages that are not installed, each with the command that installs it.
    pub(crate) missing: Vec<String>,
    /// Which programs could not be built, and why.
    pub(crate) failures: Vec<String>,
}

/// Why a program in another language cannot run here.
enum Reason {
    NotInstalled(String),
    Failed(String),
}

/// Builds all programs, into a folder beside this binary.
///
/// # Errors
///
/// Returns an error if the folder cannot be created.
pub(crate) fn prepare() -> Result<Prepared> {
    let this = env::current_exe().context("the path of this binary is not known")?;
    let folder = this.with_file_name("switches-programs");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut prepared = Prepared { programs: Vec::new(), missing: Vec::new(), failures: Vec::new() };
    for &Recipe { id, title, shapes, ref foreign } in RECIPES {
        let made = match foreign {
            None => Ok((vec![this.clone().into(), "sample".into(), id.into()], title.into())),
            Some(foreign) => foreign.prepare(&folder).map(|(command, of)| (command, format!("{title}, {of}"))),
        };
        match made {
            Ok((command, title)) => prepared.programs.push(Program { id, title, shapes, command }),
            Err(Reason::NotInstalled(how)) => prepared.missing.push(format!("{id}: {how}")),
            Err(Reason::Failed(why)) => prepared.failures.push(format!("{id}: {why}")),
        }
    }
    Ok(prepared)
}

impl Foreign {
    /// Returns the command of the program, and the version of the tool.
    fn prepare(&self, folder: &Path) -> Result<(Vec<OsString>, String), Reason> {
        let tool = env::var_os("PYTHON").filter(|_| self.tool == "python3").unwrap_or_else(|| self.tool.into());
        let name = tool.to_string_lossy();
        let run = |arguments: &[OsString]| {
            let output = Command::new(&tool).args(arguments).output().map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    let package = self.package;
                    Reason::NotInstalled(format!("`{name}` is not installed; on Debian, `apt-get install {package}`"))
                }
                _ => Reason::Failed(format!("`{name}` cannot be started: {error}")),
            })?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(Reason::Failed(format!("`{name}` has failed: {}", errors.trim())))
        };
        let arguments: Vec<OsString> = self.version.iter().map(OsString::from).collect();
        let version = version(&run(&arguments)?);
        let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/programs")).join(self.source);
        let Some(compile) = self.compile else { return Ok((vec![tool.clone(), source.into()], version)) };
        let binary = folder.join(self.source).with_extension("");
        let mut arguments: Vec<OsString> = compile.iter().map(OsString::from).collect();
        arguments.extend(["-o".into(), binary.clone().into(), source.into()]);
        run(&arguments)?;
        Ok((vec![binary.into()], format!("{} {version}", self.tool)))
    }
}

/// Returns the first word that is a number with dots, also after the letters `go`.
fn version(output: &str) -> String {
    let words = output.split_whitespace().map(|word| word.strip_prefix("go").unwrap_or(word));
    let mut versions = words.filter(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    versions.next().unwrap_or("of an unknown version").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_tools_print() {
        for (output, found) in [
            ("go version go1.19.8 linux/amd64\n", "1.19.8"),
            ("12.2.0\n", "12.2.0"),
            ("Lua 5.4.4  Copyright (C) 1994-2022 Lua.org, PUC-Rio\n", "5.4.4"),
            ("LuaJIT 2.1.0-beta3 -- Copyright (C) 2005-2022 Mike Pall.\n", "2.1.0-beta3"),
            ("Python 3.11.7\n", "3.11.7"),
            ("nothing\n", "of an unknown version"),
        ] {
            assert_eq!(version(output), found);
        }
    }
}
