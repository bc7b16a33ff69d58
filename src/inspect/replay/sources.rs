//! The source files that a page contains, and how their names are shown.
//!
//! A recording knows a file by the name that the compiler was given: mostly relative to the workspace,
//! whose folder the program does not know. Another project may have a file of the same name. So a
//! file is only searched above the program's executable and above its package, must have the lines
//! that the recording names, and must not be newer than the executable.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::time::SystemTime;

/// What is known of the program, from its start.
struct Program {
    folders: Vec<PathBuf>,
    /// When its executable was written.
    built: Option<SystemTime>,
}

/// Looks at the program once, before it replaces its executable.
pub(super) fn prepare() {
    program();
}

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::new(std::env::current_exe().ok(), std::env::var_os("CARGO_MANIFEST_DIR")))
}

/// The text of a source file, if it is surely one of this program. `named` are lines and columns in it.
pub(super) fn text(file: &str, named: impl Iterator<Item = (u32, u32)>) -> Option<String> {
    program().text(file, named)
}

impl Program {
    fn new(executable: Option<PathBuf>, package: Option<OsString>) -> Self {
        let built = executable.as_ref().and_then(|path| path.metadata().ok()?.modified().ok());
        let starts = [executable, package.map(PathBuf::from)];
        let starts = starts.iter().flatten().filter(|path| path.is_absolute());
        Program { folders: starts.flat_map(|path| path.ancestors()).map(Path::to_path_buf).collect(), built }
    }

    fn text(&self, file: &str, mut named: impl Iterator<Item = (u32, u32)>) -> Option<String> {
        const LARGEST: u64 = 1 << 20;
        // A file of another package, outside of the workspace: its folder is nobody else's business.
        if !Path::new(file).components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let path = self.folders.iter().map(|folder| folder.join(file)).find(|path| path.is_file())?;
        let of_file = path.metadata().ok()?;
        if of_file.len() > LARGEST || of_file.modified().ok()? > self.built? {
            return None;
        }
        let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
        let lines: Vec<_> = text.lines().collect();
        // The compiler counts columns in characters.
        let has = |(line, column): (u32, u32)| {
            let line = lines.get((line as usize).wrapping_sub(1));
            line.is_some_and(|line| line.chars().nth((column as usize).wrapping_sub(1)).is_some())
        };
        let has_all = named.all(has);
        drop(lines);
        has_all.then_some(text)
    }
}

/// A text whose absolute names of Rust files are replaced by `…/` and their last three parts: the rest
/// is about the machine, and may contain the name of a person.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    const PARTS: usize = 3;
    let (mut short, mut rest) = (String::new(), text);
    let mut is_whole = true;
    while let Some(end) = rest.find(".rs").map(|end| end + 3) {
        let (name, after) = rest.split_at(end);
        let parts = name.rmatch_indices(['/', '\\']).map(|(at, _)| at).nth(PARTS - 1);
        match (beginning(name), parts) {
            (Some(begin), Some(parts)) if begin < parts => {
                short.push_str(&name[..begin]);
                short.push('…');
                short.push_str(&name[parts..]);
                is_whole = false;
            }
            _ => short.push_str(name),
        }
        rest = after;
    }
    if is_whole { Cow::Borrowed(text) } else { Cow::Owned(short + rest) }
}

/// Where the last absolute name of a text begins: at a separator or a drive, at the beginning of a
/// word. The name of a folder may contain spaces.
fn beginning(text: &str) -> Option<usize> {
    let is_first = |at: usize| text[..at].chars().next_back().is_none_or(|letter| !is_part_of_name(letter));
    let drive = |at: usize| {
        let before = text[..at].strip_suffix(':')?;
        before.ends_with(|letter: char| letter.is_ascii_alphabetic()).then_some(before.len() - 1)
    };
    text.rmatch_indices(['/', '\\']).find_map(|(at, _)| {
        let drive = drive(at).filter(|&at| is_first(at));
        drive.or_else(|| is_first(at).then_some(at))
    })
}

fn is_part_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-' | '/' | '\\' | ':' | '~' | '+' | '@' | '…')
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn shorten_absolute_names() {
        let short = |text: &str| shortened(text).into_owned();
        assert_eq!(short("src/main.rs"), "src/main.rs");
        assert_eq!(short("a/b/c/d/e.rs"), "a/b/c/d/e.rs");
        assert_eq!(short("/home/alice/.cargo/registry/src/index/foo-1.0.0/src/lib.rs"), "…/foo-1.0.0/src/lib.rs");
        assert_eq!(short("/src/lib.rs"), "/src/lib.rs");
        assert_eq!(
            short("a lock (made at /home/al ice/p/src/lib.rs:3:4), a queue (made at /home/bob/q/src/x.rs:1:2)"),
            "a lock (made at …/p/src/lib.rs:3:4), a queue (made at …/q/src/x.rs:1:2)"
        );
        assert_eq!(short(r"made at C:\Users\alice\p\src\lib.rs:3"), r"made at …\p\src\lib.rs:3");
        assert_eq!(short("a / b"), "a / b");
    }

    /// A file of the same name elsewhere is no file of this program, nor one that was changed.
    #[test]
    fn take_only_files_of_the_program() {
        let folder = std::env::temp_dir().join(format!("onelane-sources-{}", std::process::id()));
        let place = |name: &str| folder.join(name);
        for part in ["own/target", "own/src", "other/src"] {
            fs::create_dir_all(place(part)).unwrap();
        }
        fs::write(place("own/src/main.rs"), "fn main() {}\n").unwrap();
        fs::write(place("other/src/other.rs"), "secret\n").unwrap();
        fs::write(place("own/target/program"), "").unwrap();
        let program = Program::new(Some(place("own/target/program")), None);
        let text = |file: &str, named: &[(u32, u32)]| program.text(file, named.iter().copied());
        assert_eq!(text("src/main.rs", &[(1, 4)]).as_deref(), Some("fn main() {}\n"));
        assert_eq!(text("src/main.rs", &[(1, 4), (2, 1)]), None, "the file has one line");
        assert_eq!(text("src/main.rs", &[(1, 40)]), None, "the line is short");
        assert_eq!(text("src/other.rs", &[(1, 1)]), None);
        assert_eq!(text("../other/src/other.rs", &[(1, 1)]), None);
        assert_eq!(text(place("own/src/main.rs").to_str().unwrap(), &[(1, 4)]), None);
        let later = SystemTime::now() + Duration::from_secs(60);
        fs::File::options().write(true).open(place("own/src/main.rs")).unwrap().set_modified(later).unwrap();
        assert_eq!(text("src/main.rs", &[(1, 4)]), None, "changed after the build");
        fs::remove_dir_all(folder).unwrap();
    }
}
