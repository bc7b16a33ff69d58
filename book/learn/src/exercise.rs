//! What an exercise is.

use std::fs;
use std::path::{Path, PathBuf};

/// An exercise. The right solution is a file of the book, and the reader's first version is that file with a few
/// replacements. So an exercise cannot fall behind the kernel.
#[derive(Debug)]
pub struct Exercise {
    /// The number of its chapter, and a name: `05-lifo`.
    pub name: &'static str,
    /// What the reader is to do.
    pub task: &'static str,
    /// The file with the right solution, from the folder `book/`.
    pub solution: &'static str,
    /// What is replaced in it: from, to. Each `from` stands in it once.
    pub edits: &'static [(&'static str, &'static str)],
    /// The check: a file in `checks/`.
    pub check: &'static str,
    /// What the check is compiled with, by `--cfg`.
    pub cfg: &'static [&'static str],
    /// The law that the reader's first version breaks.
    pub law: &'static str,
    /// Hints, each says more than the one before.
    pub hints: &'static [&'static str],
}

/// The folder of the book.
pub fn book() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a folder of the book").into()
}

impl Exercise {
    pub fn solution(&self) -> String {
        let path = book().join(self.solution);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// What the reader begins with.
    pub fn begin(&self) -> String {
        edited(&self.solution(), self.edits)
    }
}

/// The text with all replacements.
///
/// # Panics
///
/// If one does not stand in the text exactly once.
pub fn edited(text: &str, edits: &[(&str, &str)]) -> String {
    let mut text = text.to_string();
    for (from, to) in edits {
        let count = text.matches(from).count();
        assert_eq!(count, 1, "this stands {count} times in the file:\n{from}");
        text = text.replace(from, to);
    }
    text
}
