//! Runs `wrk`, which makes the load, and parses its output. It does not know which server runs.

use crate::options::Case;
use crate::pins::{self, Pins};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};

/// The results of a run, as `wrk` reports them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Load {
    pub(crate) requests: u64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Microseconds within which half of the responses arrived.
    pub(crate) p50: f64,
    /// Microseconds within which 99 of 100 responses arrived.
    pub(crate) p99: f64,
    /// Connections that were refused or broke, and responses that took more than two seconds.
    pub(crate) socket_errors: u64,
    /// Responses with a status of 400 or above.
    pub(crate) bad_answers: u64,
}

/// A run in progress. Dropping it before its end kills the process.
pub(crate) struct Run {
    child: Child,
}

/// The version of `wrk`.
///
/// # Errors
///
/// If it is not installed, the error says how to install it.
pub(crate) fn version() -> Result<String> {
    match Command::new("wrk").arg("-v").output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.split(" [").next().unwrap_or("wrk").trim().to_string())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("wrk makes the load, and is not installed (on Debian: apt-get install wrk)")
        }
        Err(error) => Err(error).context("starting wrk"),
    }
}

impl Run {
    /// Starts `wrk` with one thread and this number of open connections. On each connection, `wrk`
    /// sends the next request as soon as the response has arrived.
    pub(crate) fn start(pins: Pins, port: u16, Case { load, connections }: Case, seconds: u32) -> Result<Self> {
        let script = load.script().map(|script| [OsString::from("--script"), script.into()]);
        let child = pins
            .command(pins::WRK, "wrk")
            .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency"])
            .args(script.into_iter().flatten())
            .arg(format!("http://127.0.0.1:{port}/"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting wrk")?;
        Ok(Run { child })
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits until `wrk` ends. Its output fits into the buffer of a pipe, so it may be read late.
    pub(crate) fn finish(mut self) -> Result<Load> {
        let mut text = String::new();
        self.child.stdout.as_mut().context("the output of wrk is not piped")?.read_to_string(&mut text)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "wrk failed: {status}\n{text}");
        let load = parse(&text).with_context(|| format!("the output of wrk has an unknown format:\n{text}"))?;
        ensure!(load.requests > 0, "no request was answered:\n{text}");
        Ok(load)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // After its end there is no process to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(text: &str) -> Option<Load> {
    let behind = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in "))?.0;
    // `connect 0, read 3, write 0, timeout 1`
    let errors = behind("Socket errors:").map_or(Some(0), |counts| {
        counts.split(", ").map(|count| count.split_once(' ')?.1.parse::<u64>().ok()).sum::<Option<u64>>()
    })?;
    Some(Load {
        requests: requests.parse().ok()?,
        rate: behind("Requests/sec:")?.parse().ok()?,
        p50: microseconds(behind("50%")?)?,
        p99: microseconds(behind("99%")?)?,
        socket_errors: errors,
        bad_answers: behind("Non-2xx or 3xx responses:").map_or(Some(0), |count| count.parse().ok())?,
    })
}

/// `612.00us`, `1.27ms`, `1.02s`, `1.50m`.
fn microseconds(text: &str) -> Option<f64> {
    let unit = text.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &text[unit..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        "m" => 60e6,
        _ => return None,
    };
    Some(text[..unit].parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::{Load, parse};

    const CALM: &str = "\
Running 5s test @ http://127.0.0.1:4711/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   312.06us   99.24us   3.81ms   92.50%
    Req/Sec   102.35k     3.52k  107.63k    78.43%
  Latency Distribution
     50%  300.00us
     75%  325.00us
     90%  370.00us
     99%    1.27ms
  519242 requests in 5.10s, 64.37MB read
Requests/sec: 101815.26
Transfer/sec:     12.62MB
";

    #[test]
    fn a_calm_run() {
        let load =
            Load { requests: 519_242, rate: 101_815.26, p50: 300.0, p99: 1270.0, socket_errors: 0, bad_answers: 0 };
        assert_eq!(parse(CALM), Some(load));
    }

    #[test]
    fn errors_are_counted() {
        let errors = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 7\nRequests/sec:";
        let load = parse(&CALM.replace("Requests/sec:", errors)).unwrap();
        assert_eq!((load.socket_errors, load.bad_answers), (4321, 7));
    }

    #[test]
    fn what_is_not_understood_is_no_load() {
        assert_eq!(parse("unable to connect to 127.0.0.1:1 Connection refused\n"), None);
        assert_eq!(parse(&CALM.replace("1.27ms", "1.27ns")), None);
    }
}
