//! Pins processes to cores, by calling `taskset`. It does not know which programs run.

use anyhow::{Result, ensure};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// The server's core.
pub(crate) const SERVER: usize = 0;
/// The core of `wrk`.
pub(crate) const WRK: usize = 1;

/// Says whether processes can be pinned here.
#[derive(Clone, Copy)]
pub(crate) struct Pins {
    work: bool,
}

impl Pins {
    /// Tries to pin processes. Prints a message if this does not work, because the figures are
    /// worse then.
    pub(crate) fn find() -> Self {
        let pins = Pins { work: true };
        let works = |core| {
            let mut command = pins.command(core, "true");
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let work = works(SERVER) && works(WRK);
        if !work {
            eprintln!("nothing is pinned: `taskset` is not installed, or there are no cores {SERVER} and {WRK}");
        }
        Pins { work }
    }

    pub(crate) fn work(self) -> bool {
        self.work
    }

    /// Pins the main thread of this program to the core, and all threads that it starts later.
    pub(crate) fn pin_this(self, core: usize) -> Result<()> {
        if self.work {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", "--pid", &core.to_string(), &std::process::id().to_string()]);
            ensure!(command.stdout(Stdio::null()).status()?.success(), "this program cannot be pinned to a core");
        }
        Ok(())
    }

    /// A command that runs the program on the core. `taskset` is replaced by the program, so the
    /// process id of the child is that of the program.
    pub(crate) fn command(self, core: usize, program: impl AsRef<OsStr>) -> Command {
        if !self.work {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core.to_string()]).arg(program);
        command
    }
}
