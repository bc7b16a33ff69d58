//! What a page quotes: code, outputs, figures, line numbers. Each is taken from its source when the page is made.
//!
//! On a line of its own:
//!
//! - `{{file PATH}}`: a whole file. `{{part PATH WORDS}}`: the item whose first line contains the words, with the
//!   comments and attributes above it. `{{diff PATH PATH}}`: the lines that differ.
//! - `{{output NAME}}`, `{{figure NAME}}`: what a program in `book/programs` prints, and what the loop does meanwhile.
//! - `{{exercise NAME}}`: the command that starts an exercise of `learn`.
//!
//! In a line: `{{at PATH WORDS}}` is the item's place, `{{lines PATH}}` the number of lines of a file, and
//! `{{instructions ROW}}` a figure of `benches/instructions/table.md`.

use crate::read;
use crate::runs::Runs;
use crate::text::Language;

/// The text with everything that it quotes.
pub fn fill(text: &str, language: Language, runs: &Runs) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, quote)) = rest.split_once("{{") {
        let (quote, after) = quote.split_once("}}").ok_or("`{{` without `}}`")?;
        filled += before;
        // The text may be wrapped inside of a quote.
        let quote = quote.split_whitespace().collect::<Vec<_>>().join(" ");
        filled += &quoted(&quote, language, runs).map_err(|fault| format!("{{{{{quote}}}}}: {fault}"))?;
        rest = after;
    }
    Ok(filled + rest)
}

fn quoted(quote: &str, language: Language, runs: &Runs) -> Result<String, String> {
    let (what, rest) = quote.split_once(' ').unwrap_or((quote, ""));
    let (path, words) = rest.split_once(' ').unwrap_or((rest, ""));
    match what {
        "file" => Ok(block("rust", &read(path)?)),
        "part" => Ok(block("rust", &part(&read(path)?, words)?.text)),
        "diff" => Ok(block("diff", &diff(&read(path)?, &read(words)?))),
        "at" => Ok(format!("`{path}:{}`", part(&read(path)?, words)?.line)),
        "lines" => Ok(read(path)?.lines().count().to_string()),
        "output" => Ok(block("text", &runs.get(path)?.output)),
        "figure" => Ok(figure(path, &runs.get(path)?.figure, language)),
        "exercise" => exercise(path),
        "instructions" => instructions(path),
        _ => Err("is not one of file, part, diff, at, lines, output, figure, exercise, instructions".into()),
    }
}

fn block(kind: &str, text: &str) -> String {
    format!("```{kind}\n{}\n```", text.trim_end())
}

fn figure(name: &str, text: &str, language: Language) -> String {
    let caption = match language {
        Language::English => "The same run, step by step",
        Language::Chinese => "逐步回放这次运行",
    };
    format!("{}\n\n[{caption}: `{name}.html`](../figures/{name}.html)", block("text", text))
}

fn exercise(name: &str) -> Result<String, String> {
    let known = read("book/learn/src/exercises.rs")?.contains(&format!("name: {name:?},"));
    if known {
        Ok(block("sh", &format!("cargo run -p learn -- {name}")))
    } else {
        Err("there is no such exercise".into())
    }
}

fn instructions(row: &str) -> Result<String, String> {
    let table = read("benches/instructions/table.md")?;
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().trim_matches('`').to_string()).collect::<Vec<_>>();
    let row = table.lines().map(cells).find(|cells| cells.get(1).is_some_and(|name| name == row));
    // The columns: case, operation, floor, onelane.
    let figure =
        row.and_then(|cells| cells.get(4).cloned()).filter(|cell| cell.replace(',', "").parse::<f64>().is_ok());
    figure.ok_or_else(|| "there is no such row".into())
}

struct Part {
    /// The line with the words, from 1.
    line: usize,
    text: String,
}

/// An item of a source, from the comments above it to its closing brace, moved to the left margin.
fn part(source: &str, words: &str) -> Result<Part, String> {
    let lines: Vec<&str> = source.lines().collect();
    let margin = |line: &str| line.len() - line.trim_start().len();
    let is_it = |line: &&str| line.contains(words) && !line.trim_start().starts_with("//");
    let at = lines.iter().position(is_it).ok_or_else(|| format!("no line has {words:?}"))?;
    let indent = margin(lines[at]);
    let above = |line: &str| {
        margin(line) == indent && (line.trim_start().starts_with("//") || line.trim_start().starts_with("#["))
    };
    let begin = (0..at).rev().take_while(|&line| above(lines[line])).last().unwrap_or(at);
    // An item ends at the first line with its indent that closes it, or in its first line.
    let closes = |line: &str| {
        margin(line) == indent && line.trim_start().starts_with(['}', ')']) && line.trim_end().ends_with(['}', ';'])
    };
    let end = match lines[at].trim_end() {
        line if line.ends_with(';') || line.ends_with('}') || line.ends_with(',') => at,
        _ => (at + 1..lines.len()).find(|&line| closes(lines[line])).ok_or("the item has no end")?,
    };
    let text: Vec<&str> = lines[begin..=end].iter().map(|line| line.get(indent..).unwrap_or("")).collect();
    Ok(Part { line: at + 1, text: text.join("\n") })
}

/// The lines that differ, as `diff` shows them, with a line around each change.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    // The lengths of the longest common subsequences of what is left of both.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut lines) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[i + 1][j] >= common[i][j + 1]) {
            lines.push(('-', old[i]));
            i += 1;
        } else {
            lines.push(('+', new[j]));
            j += 1;
        }
    }
    let near =
        |at: usize| (at.saturating_sub(1)..=at + 1).any(|line| lines.get(line).is_some_and(|line| line.0 != ' '));
    let mut shown: Vec<String> = Vec::new();
    for (at, (sign, line)) in lines.iter().enumerate() {
        if near(at) {
            shown.push(format!("{sign}{line}").trim_end().to_string());
        } else if at > 0 && near(at - 1) {
            shown.push("...".to_string());
        }
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "// head\n\nimpl A {\n    /// What it does.\n    #[inline]\n    fn turn(&self) {\n        one();\n    }\n\n    fn next() {}\n}\n\nstruct B(u8);\n";

    #[test]
    fn a_part_has_its_comments_and_its_end() {
        let turn = part(SOURCE, "fn turn").unwrap();
        assert_eq!(
            (turn.line, turn.text.as_str()),
            (6, "/// What it does.\n#[inline]\nfn turn(&self) {\n    one();\n}")
        );
        assert_eq!(part(SOURCE, "struct B").unwrap().text, "struct B(u8);");
        assert_eq!(part(SOURCE, "fn next").unwrap().text, "fn next() {}");
        assert!(part(SOURCE, "fn turned").is_err());
        assert!(part("fn open(\n", "fn open").is_err());
    }

    #[test]
    fn a_diff_shows_what_was_added_and_taken_away() {
        assert_eq!(diff("a\nb\nc\nd\ne", "a\nB\nc\nd\ne\nf"), " a\n-b\n+B\n c\n...\n e\n+f");
    }

    #[test]
    fn instructions_are_ours_and_not_the_floor() {
        let table = read("benches/instructions/table.md").unwrap();
        let row = table.lines().find(|line| line.starts_with("| `yield-1000` |")).unwrap();
        let ours = instructions("yield-1000").unwrap();
        assert!(row.contains(&format!("| {ours} |")), "{row}");
        let floor = row.split('|').nth(3).unwrap().trim().parse::<f64>().unwrap();
        assert!(ours.parse::<f64>().unwrap() > floor, "{row}");
    }

    #[test]
    fn what_is_not_there_is_not_quoted() {
        let runs = Runs::default();
        for quote in [
            "{{file no/such.rs}}",
            "{{output none}}",
            "{{exercise none}}",
            "{{instructions none}}",
            "{{what}}",
            "{{open",
        ] {
            assert!(fill(quote, Language::English, &runs).is_err(), "{quote}");
        }
    }
}
