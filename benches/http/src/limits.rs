//! What the system lets a process have: open files, and a parent.

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beside the connections: standard streams, the listener, the poller, what a library opens.
const OTHERS: u64 = 64;

/// As many open files as a process without rights may have. What it starts inherits that.
pub(crate) fn raise_descriptors() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).context("raising the limit of open files")
}

/// Whether so many connections fit in.
pub(crate) fn ensure_room_for(connections: u32) -> Result<()> {
    raise_descriptors()?;
    let (needed, limit) = (u64::from(connections) + OTHERS, getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX));
    ensure!(
        needed <= limit,
        "{connections} connections need {needed} open files, and the limit is {limit}; raise it (ulimit -Hn), or give fewer"
    );
    Ok(())
}

/// The process is killed when the one that has started it ends, however it ends. Nothing but Linux knows that.
pub(crate) fn end_with_parent() -> Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("asking to be killed with the parent")?;
    Ok(())
}
