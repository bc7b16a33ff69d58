//! async-process: child processes, without glue.
//!
//! The crate waits for its pipes and children on threads of its own: `async-io`, and
//! `async-process` where the system has no pidfds. The feature `process` of onelane has the same without
//! threads.
//!
//! `cargo run --bin async_process`, in `examples/works-with`.

use async_process::{Command, Stdio};
use futures_util::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use onelane::{EventLoop, timeout};
use programs::Result;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

fn main() -> Result {
    EventLoop::new().run(async {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (mut input, output) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        let mut output = BufReader::new(output);
        let mut line = String::new();
        for word in ["tea\n", "toast\n"] {
            input.write_all(word.as_bytes()).await?;
            line.clear();
            output.read_line(&mut line).await?;
            assert_eq!(line, word);
        }
        // The end of its input ends `cat`.
        drop(input);
        assert!(cat.status().await?.success());

        // Children at the same time; one of them takes too long.
        let (hello, failed) = onelane::gather!(
            Command::new("sh").args(["-c", "echo hello"]).output(),
            Command::new("sh").args(["-c", "exit 3"]).status(),
        )
        .await?;
        assert_eq!((&hello?.stdout[..], failed?.code()), (&b"hello\n"[..], Some(3)));
        let mut slow = Command::new("sleep").arg("1000").spawn()?;
        assert!(timeout(Duration::from_millis(10), slow.status()).await.is_err());
        slow.kill()?;
        assert_eq!(slow.status().await?.signal(), Some(9));
        println!("async-process: pipes, results, a time limit and a kill");
        Ok(())
    })
}
