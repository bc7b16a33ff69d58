//! Three jobs run as child processes at the same time. Their lines are printed as they arrive, and
//! a job that takes too long is ended. This example needs Unix.
//!
//! `cargo run --features process --example process`

use onelane::process::{Child, Command, ExitStatus, Stdio};
use onelane::{EventLoop, gather, timeout};
use std::io;
use std::time::Duration;

const JOBS: [(&str, &str); 3] = [
    ("count", "for number in 1 2 3; do echo $number; sleep 0.1; done"),
    ("fail", "echo about to fail; exit 3"),
    ("hang", "echo this takes an hour; exec sleep 3600"),
];

/// Prints the lines of a job, and returns how it ended.
async fn follow(name: &str, child: &mut Child) -> io::Result<ExitStatus> {
    let mut lines = child.stdout.take().expect("it is piped").into_stream();
    loop {
        let line = lines.read_line().await?;
        if line.is_empty() {
            return child.wait().await;
        }
        println!("{name}: {}", String::from_utf8_lossy(&line).trim_end());
    }
}

async fn job(name: &str, line: &str) -> io::Result<()> {
    // If this task is cancelled, the process is killed.
    let mut child = Command::shell(line).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let status = match timeout(Duration::from_secs(1), follow(name, &mut child)).await {
        Ok(status) => status?,
        Err(_) => {
            println!("{name}: too late");
            child.terminate()?;
            child.wait().await?
        }
    };
    println!("{name}: {status}");
    Ok(())
}

fn main() -> io::Result<()> {
    EventLoop::new().run(async {
        for result in gather(JOBS.map(|(name, line)| job(name, line))).await.expect("no job panics") {
            result?;
        }

        let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = sort.communicate(b"pear\napple\nfig\n").await?;
        print!("sorted:\n{}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    })
}
