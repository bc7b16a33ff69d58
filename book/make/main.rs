//! Makes the pages of the book from `book/text`.
//!
//! ```sh
//! cargo run -p onelane-book               # writes book/en, book/zh, and target/book/figures
//! cargo run -p onelane-book -- --check    # fails if a page is stale, or a translation
//! cargo run -p onelane-book -- --accept 05-turn 3    # the Chinese of paragraph 3 fits its English
//! cargo run -p onelane-book -- --program gather      # runs one program, and prints its figure
//! ```
//!
//! A chapter is one file, for both languages: a list of numbered paragraphs (`text.rs`). Code, outputs,
//! line numbers and figures are not written into it. It names them, and they are taken from the source
//! and from runs (`quote.rs`, `figure.rs`). So a page that was made is true, and `--check` in CI finds a
//! page that would be made differently today.

mod figure;
mod quote;
mod runs;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};
use text::{Chapter, Language};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        [] => make(false),
        ["--check"] => make(true),
        ["--accept", chapter, number] => accept(chapter, number),
        ["--program", name] => runs::run(name),
        _ => Err("usage: onelane-book [--check | --accept CHAPTER PARAGRAPH | --program NAME]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the repository. Paths in the text begin there.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).expect("the folder book has a parent").to_path_buf()
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(root().join(path)).map_err(|error| format!("{path}: {error}"))
}

fn make(check: bool) -> Result<(), String> {
    let chapters = text::chapters()?;
    let mut faults = Vec::new();
    for chapter in &chapters {
        faults.extend(chapter.faults());
    }
    // A page quotes the programs, so they run first.
    let runs = runs::run_all(check)?;
    for language in [Language::English, Language::Chinese] {
        let mut pages = vec![("SUMMARY.md".to_string(), summary(&chapters, language))];
        for chapter in &chapters {
            pages.push((format!("{}.md", chapter.name), chapter.page(language, &runs)?));
        }
        for (name, page) in pages {
            let path = format!("book/{}/{name}", language.folder());
            if !check {
                fs::create_dir_all(root().join("book").join(language.folder())).map_err(|error| error.to_string())?;
                fs::write(root().join(&path), page).map_err(|error| format!("{path}: {error}"))?;
            } else if read(&path).ok().as_ref() != Some(&page) {
                faults.push(format!("{path} is stale: run `cargo run -p onelane-book`"));
            }
        }
    }
    faults.extend(words(&chapters));
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n       ")) }
}

/// The table of contents, as mdbook reads it.
fn summary(chapters: &[Chapter], language: Language) -> String {
    let mut lines = vec!["# Summary".to_string(), String::new()];
    for (number, chapter) in chapters.iter().enumerate() {
        let bullet = if number == 0 { "" } else { "- " };
        lines.push(format!("{bullet}[{}]({}.md)", chapter.title(language), chapter.name));
        if number == 0 {
            lines.push(String::new());
        }
    }
    lines.join("\n") + "\n"
}

/// The book is an afternoon: at most 25,000 words of English, and as much Chinese.
fn words(chapters: &[Chapter]) -> Option<String> {
    let words: usize = chapters.iter().map(Chapter::words).sum();
    (words > 25_000).then(|| format!("the book has {words} words, and may have 25,000"))
}

fn accept(chapter: &str, number: &str) -> Result<(), String> {
    let number = number.parse().map_err(|_| format!("{number:?} is not the number of a paragraph"))?;
    let path = format!("book/text/{chapter}.md");
    let accepted = Chapter::parse(chapter, &read(&path)?)?.accept(number)?;
    fs::write(root().join(&path), accepted).map_err(|error| format!("{path}: {error}"))
}
