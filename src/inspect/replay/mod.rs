//! A recorded run as one HTML file, which replays it step by step, forwards and backwards.
//!
//! The page shows what the loop really did: the line of the await that is reached, the ready queue
//! with the entries of this turn, the timer wheel, the table of wakers, the tasks over time, who
//! waits for whom, and a sentence for each event. It needs no network and no server: open it with
//! a double click.
//!
//! The page contains whole source files of the program: those that the events name. Consider this
//! before you publish a page. [`Recording::without_sources`] leaves them out.
//!
//! There are three ways to make one:
//!
//! - [`LoopBuilder::replay`](crate::LoopBuilder::replay) writes the page when its loop is dropped.
//! - The environment variable `ONELANE_REPLAY=run.html` does the same for each loop of a program that is
//!   built with this feature. The second loop of the program writes `run-2.html`, and so on. A child
//!   process inherits the variable, and `cargo test` runs many programs. So a page that another process
//!   has written is not replaced: it is renamed to `run-old-1.html`.
//! - A [`Recording`] is a [probe](crate::probe), which you can ask for the page at any time.
//!
//! ```
//! use onelane::{Clock, EventLoop, replay::Recording, sleep, spawn};
//! use std::{rc::Rc, time::Duration};
//!
//! let recording = Rc::new(Recording::new());
//! let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(recording.clone()).build();
//! event_loop.run(async {
//!     let tea = spawn(async { sleep(Duration::from_secs(180)).await });
//!     tea.await.unwrap();
//! });
//! let page = recording.to_html();
//! assert!(page.starts_with("<!doctype html>"));
//! # let path = std::env::temp_dir().join(format!("onelane-tea-{}.html", std::process::id()));
//! std::fs::write(&path, page)?;
//! # std::fs::remove_file(path)?;
//! # Ok::<(), std::io::Error>(())
//! ```

pub(crate) mod data;
pub(crate) mod page;
mod recording;
mod sources;
mod state;
mod written;

pub use recording::Recording;
pub(crate) use written::WrittenAtTheEnd;
#[cfg(feature = "explore")]
pub(crate) use written::{path_of_next_loop, write_page};
