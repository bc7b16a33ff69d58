//! tracing: spans around tasks. There is no glue.
//!
//! `instrument` enters the span at each step of a task and leaves it after the step. So an event is
//! recorded in the span of the task that runs, however the tasks take turns.
//!
//! `cargo run --bin tracing`, in `examples/works-with`.

use onelane::{EventLoop, gather, sleep, task};
use programs::Result;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::{Instrument, info, info_span};

/// Where the events are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn fetch(milliseconds: u64) {
    info!("begins");
    sleep(Duration::from_millis(milliseconds)).await;
    async { info!("decodes") }.instrument(info_span!("decode")).await;
}

fn main() -> Result {
    let lines = Lines::default();
    let copy = lines.clone();
    tracing_subscriber::fmt()
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .with_writer(move || copy.clone())
        .init();
    EventLoop::with_virtual_clock().run(async {
        let jobs = [("tea", 30), ("toast", 10)].map(|(name, milliseconds)| {
            let span = info_span!("fetch", name);
            task::Builder::new().name(name).spawn(fetch(milliseconds).instrument(span))
        });
        gather(jobs).await
    })?;
    let expected = [
        r#" INFO fetch{name="tea"}: begins"#,
        r#" INFO fetch{name="toast"}: begins"#,
        r#" INFO fetch{name="toast"}:decode: decodes"#,
        r#" INFO fetch{name="tea"}:decode: decodes"#,
    ];
    let lines = String::from_utf8(lines.0.lock().unwrap().clone())?;
    assert!(lines.lines().eq(expected), "{lines}");
    print!("tracing: each event is in the span of its task:\n{lines}");
    Ok(())
}
