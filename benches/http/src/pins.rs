//! Which core a process runs on: a `taskset` in front of its command. It does not know what is run.

use anyhow::{Result, ensure};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// The server's core.
pub(crate) const SERVER: usize = 0;
/// That of `wrk`.
pub(crate) const WRK: usize = 1;

/// Whether processes can be pinned here.
#[derive(Clone, Copy)]
pub(crate) struct Pins {
    work: bool,
}

impl Pins {
    /// Tries. Tells if it does not work, since the figures are worse then.
    pub(crate) fn find() -> Self {
        let pins = Pins { work: true };
        let works = |core| {
            let mut command = pins.command(core, "true");
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let work = works(SERVER) && works(WRK);
        if !work {
            eprintln!("nothing is pinned: there is no `taskset`, or there are not the cores {SERVER} and {WRK}");
        }
        Pins { work }
    }

    pub(crate) fn work(self) -> bool {
        self.work
    }

    /// The first thread of this program on that core, and those that it starts from now on.
    pub(crate) fn pin_this(self, core: usize) -> Result<()> {
        if self.work {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", "--pid", &core.to_string(), &std::process::id().to_string()]);
            ensure!(command.stdout(Stdio::null()).status()?.success(), "this program cannot choose its core");
        }
        Ok(())
    }

    /// The program on that core. `taskset` becomes it, so it has the process id of the child.
    pub(crate) fn command(self, core: usize, program: impl AsRef<OsStr>) -> Command {
        if !self.work {
            return Command::new(program);
        }
        let mut command = Command::new("taskset");
        command.args(["--cpu-list", &core.to_string()]).arg(program);
        command
    }
}
