//! A server as a child process: this program, with the argument `serve`. Dropping it kills the
//! process.

use crate::options::Candidate;
use crate::pins::{self, Pins};
use crate::process::Process;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts the server, and waits until it listens. The program is this one, or another build of
    /// it.
    pub(crate) fn start(Candidate { name, runtime, program }: Candidate<'_>, pins: Pins) -> Result<Self> {
        let ours = std::env::current_exe()?;
        let mut command = pins.command(pins::SERVER, program.unwrap_or(&ours));
        let child = command
            .args(["serve", runtime.name(), "--with-parent"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting the server on {name}"))?;
        // From here on, dropping it kills the process, even if it reports no port.
        let mut server = Server { child, port: 0 };
        server.port = server.told().with_context(|| format!("the server on {runtime} did not report its port"))?;
        Ok(server)
    }

    fn told(&mut self) -> Result<u16> {
        let mut line = String::new();
        BufReader::new(self.child.stdout.as_mut().context("its output is not piped")?).read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("it printed {line:?}"))
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// # Errors
    ///
    /// Returns an error if the process has ended.
    pub(crate) fn ensure_it_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the server has ended under the load: {status}"),
        }
    }

    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
