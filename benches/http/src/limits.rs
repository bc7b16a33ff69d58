//! Limits of a process: the number of open files, and its lifetime.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of descriptors besides the connections: the standard streams, the listener, the poller,
/// and descriptors that libraries open.
const OTHERS: u64 = 64;

/// Raises the limit of open files to the maximum for an unprivileged process. Child processes
/// inherit it.
pub(crate) fn raise_descriptors() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raising the limit of open files")
}

/// Returns an error if the limit of open files is too low for this number of connections.
pub(crate) fn ensure_room_for(connections: u32) -> Result<()> {
    raise_descriptors()?;
    let (needed, limit) = (u64::from(connections) + OTHERS, getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
    ensure!(
        needed <= limit,
        "{connections} connections need {needed} open files, and the limit is {limit}; raise it (ulimit -Hn), or give fewer"
    );
    Ok(())
}

/// The system kills this process when its parent ends, for any reason. Only Linux supports this.
pub(crate) fn end_with_parent() -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("requesting a signal for the end of the parent process")?;
    Ok(())
}
