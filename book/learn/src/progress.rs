//! What the reader has done. It is kept in a file of a few lines, beside the reader's solutions.

use crate::exercise::{Exercise, book};
use crate::exercises::EXERCISES;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::{fs, io};

#[derive(Debug)]
pub struct Progress {
    folder: PathBuf,
    done: BTreeSet<String>,
    /// The number of hints that were shown.
    hints: BTreeMap<String, usize>,
}

impl Progress {
    /// Reads the progress. The folder is `book/learn/work`, or what the variable `LEARN_WORK` says.
    ///
    /// # Errors
    ///
    /// If the folder cannot be made, or the file cannot be read.
    pub fn read() -> io::Result<Self> {
        let folder = std::env::var_os("LEARN_WORK").map_or_else(|| book().join("learn/work"), PathBuf::from);
        let folder = std::path::absolute(folder)?;
        fs::create_dir_all(&folder)?;
        let text = match fs::read_to_string(folder.join("progress")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        let mut progress = Progress { folder, done: BTreeSet::new(), hints: BTreeMap::new() };
        for line in text.lines() {
            // A line that is not understood is of another version: it is left out.
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["done", name] => _ = progress.done.insert(name.into()),
                ["hints", name, count] => _ = progress.hints.insert(name.into(), count.parse().unwrap_or(0)),
                _ => {}
            }
        }
        Ok(progress)
    }

    fn write(&self) -> io::Result<()> {
        let done = self.done.iter().map(|name| format!("done {name}\n"));
        let hints = self.hints.iter().map(|(name, count)| format!("hints {name} {count}\n"));
        // Written beside the old file first, so that nothing is lost if the program is ended now.
        let new = self.folder.join("progress.new");
        fs::write(&new, done.chain(hints).collect::<String>())?;
        fs::rename(new, self.folder.join("progress"))
    }

    /// The reader's file.
    pub fn file(&self, exercise: &Exercise) -> PathBuf {
        self.folder.join(format!("{}.rs", exercise.name))
    }

    /// Where the page and the text of a replay are written to.
    pub fn replay(&self, exercise: &Exercise, extension: &str) -> PathBuf {
        self.folder.join(format!("{}.{extension}", exercise.name))
    }

    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Writes the reader's first version, unless there is a file already.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn prepare(&self, exercise: &Exercise) -> io::Result<PathBuf> {
        let file = self.file(exercise);
        if !file.exists() {
            fs::write(&file, exercise.begin())?;
        }
        Ok(file)
    }

    /// Begins an exercise again. The reader's file is kept beside, with the ending `.old.rs`.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn reset(&mut self, exercise: &Exercise) -> io::Result<()> {
        let file = self.file(exercise);
        if file.exists() {
            fs::rename(&file, self.folder.join(format!("{}.old.rs", exercise.name)))?;
        }
        self.done.remove(exercise.name);
        self.hints.remove(exercise.name);
        self.write()?;
        self.prepare(exercise).map(drop)
    }

    pub fn is_done(&self, exercise: &Exercise) -> bool {
        self.done.contains(exercise.name)
    }

    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn set_done(&mut self, exercise: &Exercise) -> io::Result<()> {
        self.done.insert(exercise.name.into());
        self.write()
    }

    /// The hints that were shown.
    pub fn hints(&self, exercise: &Exercise) -> usize {
        self.hints.get(exercise.name).copied().unwrap_or(0).min(exercise.hints.len())
    }

    /// Shows one hint more, if there is one. Returns all that are shown.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn next_hint(&mut self, exercise: &Exercise) -> io::Result<&'static [&'static str]> {
        let count = (self.hints(exercise) + 1).min(exercise.hints.len());
        self.hints.insert(exercise.name.into(), count);
        self.write()?;
        Ok(&exercise.hints[..count])
    }

    /// The solution is shown when the exercise is done, or when all hints were shown.
    pub fn may_see_solution(&self, exercise: &Exercise) -> bool {
        self.is_done(exercise) || self.hints(exercise) == exercise.hints.len()
    }

    /// The first exercise that is not done.
    pub fn next(&self) -> Option<&'static Exercise> {
        EXERCISES.iter().find(|exercise| !self.is_done(exercise))
    }
}
