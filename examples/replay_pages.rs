//! Writes the pages of `docs/replay` into a folder: the five seed programs, and the five programs of
//! `examples/explore` that fail in some order.
//!
//! `cargo run --features replay,explore --example replay_pages -- FOLDER`
//!
//! The programs run on a virtual clock, so a page is the same in each run. `.ci/pages` writes the pages of
//! `docs/replay`, or checks that they are current.

#[path = "explore/cache.rs"]
#[expect(dead_code, reason = "its mended twin passes, so it has no page")]
mod cache;
#[path = "explore/lost_update.rs"]
#[expect(dead_code, reason = "its mended twin passes, so it has no page")]
mod lost_update;
#[path = "explore/permit.rs"]
#[expect(dead_code, reason = "its mended twin passes, so it has no page")]
mod permit;
#[path = "explore/philosophers.rs"]
#[expect(dead_code, reason = "its mended twin passes, so it has no page")]
mod philosophers;
#[path = "explore/reply.rs"]
#[expect(dead_code, reason = "its mended twin passes, so it has no page")]
mod reply;

#[path = "seed_callback.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recording")]
mod seed_callback;
#[path = "seed_gather.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recording")]
mod seed_gather;
#[path = "seed_introspect.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recording")]
mod seed_introspect;
#[path = "seed_timeout.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recording")]
mod seed_timeout;
#[path = "seed_wait.rs"]
#[expect(dead_code, reason = "its `main` is not used, because it has no recording")]
mod seed_wait;

use onelane::explore::{Explore, Outcome};
use onelane::replay::Recording;
use onelane::{Clock, EventLoop};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::rc::Rc;

fn seed<F>(folder: &Path, name: &str, main: F) -> Result<(), Box<dyn Error>>
where
    F: Future<Output: Outcome>,
{
    let recording = Rc::new(Recording::new().title(name));
    let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(recording.clone()).build();
    if let Some(error) = event_loop.run(main).error() {
        return Err(error.into());
    }
    drop(event_loop);
    fs::write(folder.join(name).with_extension("html"), recording.to_html())?;
    Ok(())
}

fn exploration(folder: &Path, name: &str, broken: Explore<'_>) -> Result<(), Box<dyn Error>> {
    match broken.page(folder.join(name).with_extension("html")).check() {
        Ok(statement) => Err(format!("{name} should fail: {statement}").into()),
        Err(_) => Ok(()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = std::env::args_os().nth(1) else {
        println!("This writes the pages of docs/replay. It needs the name of a folder.");
        return Ok(());
    };
    let folder = Path::new(&folder);
    fs::create_dir_all(folder)?;
    seed(folder, "seed_gather", seed_gather::main_task())?;
    seed(folder, "seed_wait", seed_wait::main_task())?;
    seed(folder, "seed_callback", seed_callback::main_task())?;
    seed(folder, "seed_timeout", seed_timeout::main_task())?;
    seed(folder, "seed_introspect", seed_introspect::main_task())?;
    // Many orders fail, each with the message of a panic.
    std::panic::set_hook(Box::new(|_| ()));
    exploration(folder, "lost_update", lost_update::broken())?;
    exploration(folder, "cache", cache::broken())?;
    exploration(folder, "philosophers", philosophers::broken())?;
    exploration(folder, "permit", permit::broken())?;
    exploration(folder, "reply", reply::broken())
}
