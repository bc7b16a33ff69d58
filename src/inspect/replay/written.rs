//! Recordings that write their pages by themselves, when their loops are dropped.

use crate::inspect::replay::recording::Recording;
use crate::kernel::callbacks::exceptions::{self, complain, drop_payload};
use crate::kernel::observe::probe::{Event, Probe};
use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A recording that writes its page when it is dropped, with its loop.
pub(crate) struct WrittenAtTheEnd {
    recording: Recording,
    path: PathBuf,
    /// Whether a page that is already there is kept.
    keeps_older: bool,
    /// The probe of the program. Taken out while it is called.
    beside: Cell<Option<Box<dyn Probe>>>,
    loop_id: u64,
}

impl WrittenAtTheEnd {
    /// Returns `None`, after a message on stderr, if the page could not be written.
    pub(crate) fn to(path: &Path) -> Option<Self> {
        // The program may change its folder before the end.
        let checked = std::path::absolute(path).and_then(|path| {
            let sibling = unfinished(&path);
            File::create(&sibling)?;
            fs::remove_file(sibling)?;
            if path.is_dir() { Err(io::ErrorKind::IsADirectory.into()) } else { Ok(path) }
        });
        match checked {
            Ok(path) => Some(WrittenAtTheEnd {
                recording: Recording::new(),
                path,
                keeps_older: false,
                beside: Cell::new(None),
                loop_id: 0,
            }),
            Err(error) => {
                complain(&format_args!("no replay is recorded, because {} cannot be written: {error}", path.display()));
                None
            }
        }
    }

    /// For the next loop, if the variable `ONELANE_REPLAY` asks for a page.
    pub(crate) fn as_asked() -> Option<Self> {
        let mut recording = Self::to(&path_of_next_loop()?)?;
        recording.keeps_older = true;
        Some(recording)
    }

    /// Passes each event also to the probe of the program, after it was recorded.
    pub(crate) fn beside(mut self, loop_id: u64, probe: Option<Box<dyn Probe>>) -> Self {
        self.beside.set(probe);
        self.loop_id = loop_id;
        self
    }
}

impl Probe for WrittenAtTheEnd {
    fn event(&self, event: &Event<'_>) {
        self.recording.event(event);
        let Some(probe) = self.beside.take() else { return };
        // If it panics, the recording goes on.
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| probe.event(event))) else {
            return self.beside.set(Some(probe));
        };
        exceptions::reached_nobody(self.loop_id, exceptions::IN_A_PROBE, payload);
        // One report is enough.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(probe))) {
            drop_payload(payload);
        }
    }
}

impl Drop for WrittenAtTheEnd {
    fn drop(&mut self) {
        if let Err(error) = write_page(&self.path, &self.recording.to_html(), self.keeps_older) {
            complain(&format_args!("the replay was not written to {}: {error}", self.path.display()));
        }
    }
}

/// Writes a page, whole or not at all. If `keeps_older`, a page that is already there is renamed.
pub(crate) fn write_page(path: &Path, page: &str, keeps_older: bool) -> io::Result<()> {
    let whole = unfinished(path);
    fs::write(&whole, page)?;
    if keeps_older && path.exists() {
        let older = (1..).map(|nth| with_suffix(path, &format!("-old-{nth}"))).find(|path| !path.exists());
        fs::rename(path, older.expect("one of them is free"))?;
    }
    fs::rename(whole, path)
}

/// The value of `ONELANE_REPLAY`, with the number of the loop if it is not the first.
pub(crate) fn path_of_next_loop() -> Option<PathBuf> {
    static LOOPS: AtomicUsize = AtomicUsize::new(0);
    let path = PathBuf::from(std::env::var_os("ONELANE_REPLAY").filter(|path| !path.is_empty())?);
    Some(numbered(&path, LOOPS.fetch_add(1, Ordering::Relaxed) + 1))
}

/// The file in which the page grows, so that another page is replaced only by a whole one.
fn unfinished(path: &Path) -> PathBuf {
    with_suffix(path, &format!("-{}-unfinished", std::process::id()))
}

/// `run.html`, `run-2.html`, `run-3.html`.
fn numbered(path: &Path, nth: usize) -> PathBuf {
    if nth == 1 { path.to_path_buf() } else { with_suffix(path, &format!("-{nth}")) }
}

/// The suffix stands before the extension.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_os_string();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn number_the_pages_of_a_program() {
        let name = |path: &str, nth| numbered(Path::new(path), nth).display().to_string();
        assert_eq!(name("a/run.html", 1), "a/run.html");
        assert_eq!(name("a/run.html", 2), "a/run-2.html");
        assert_eq!(name("run", 3), "run-3");
    }
}
