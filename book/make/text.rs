//! The text of a chapter: paragraphs with numbers, each in English and in Chinese.
//!
//! ```text
//! =1
//! # A title, in English
//!
//! =1 zh 5f2a10
//! # 中文的题目
//!
//! =2 both
//! {{output gather}}
//! ```
//!
//! The number behind `zh` is a digest of the English paragraph that this one says in Chinese. If the
//! English changes, the digest does not fit any more, and the check fails until somebody has read both.

use crate::quote;
use crate::runs::Runs;
use crate::{read, root};
use std::fs;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    English,
    Chinese,
}

impl Language {
    pub fn folder(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Chinese => "zh",
        }
    }
}

pub struct Chapter {
    /// The name of its file, without `.md`.
    pub name: String,
    paragraphs: Vec<Paragraph>,
}

struct Paragraph {
    english: String,
    /// `None`: the paragraph is the same in both languages.
    chinese: Option<Chinese>,
}

struct Chinese {
    text: String,
    /// The digest of the English that it was made from.
    digest: String,
}

/// All chapters, in the order of their names.
pub fn chapters() -> Result<Vec<Chapter>, String> {
    let folder = root().join("book/text");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".md")).map(str::to_string));
    }
    names.sort();
    names.iter().map(|name| Chapter::parse(name, &read(&format!("book/text/{name}.md"))?)).collect()
}

/// FNV-1a, in six hexadecimal digits: enough to notice a change.
fn digest(text: &str) -> String {
    let hash = text
        .trim()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{:06x}", hash >> 40)
}

impl Chapter {
    pub fn parse(name: &str, text: &str) -> Result<Chapter, String> {
        let mut paragraphs: Vec<Paragraph> = Vec::new();
        let mut blocks: Vec<(&str, String)> = Vec::new();
        for line in text.lines() {
            // Markdown underlines no heading like this: a marker is `=` and a number.
            let head = line.strip_prefix('=').filter(|head| head.starts_with(|first: char| first.is_ascii_digit()));
            match (head, blocks.last_mut()) {
                (Some(head), _) => blocks.push((head, String::new())),
                (None, Some((_, body))) => *body += &format!("{line}\n"),
                (None, None) if line.trim().is_empty() => {}
                (None, None) => return Err(format!("{name}: the text must begin with `=1`")),
            }
        }
        for (head, body) in blocks {
            let body = body.trim().to_string();
            let fault = |what: &str| Err(format!("{name}: `={head}` {what}"));
            let words: Vec<&str> = head.split_whitespace().collect();
            let number: usize = words[0].parse().map_err(|_| format!("{name}: `={head}` has no number"))?;
            if body.is_empty() {
                return fault("is empty");
            }
            match words[1..] {
                [] | ["both"] if number != paragraphs.len() + 1 => return fault("is not the next number"),
                [] => {
                    let missing = Chinese { text: String::new(), digest: String::new() };
                    paragraphs.push(Paragraph { english: body, chinese: Some(missing) });
                }
                ["both"] => paragraphs.push(Paragraph { english: body, chinese: None }),
                ["zh", ref digest @ ..] if digest.len() < 2 && number == paragraphs.len() => {
                    match &mut paragraphs[number - 1].chinese {
                        Some(chinese) if chinese.text.is_empty() => {
                            *chinese = Chinese { text: body, digest: digest.concat() };
                        }
                        _ => return fault("has its Chinese already"),
                    }
                }
                _ => return fault("is not `=N`, `=N zh DIGEST` below its English, or `=N both`"),
            }
        }
        let starts = |text: Option<&str>| text.is_some_and(|text| text.starts_with("# "));
        if !starts(paragraphs.first().map(|first| first.english.as_str())) {
            return Err(format!("{name}: the first paragraph must be the title, `# ..`"));
        }
        Ok(Chapter { name: name.to_string(), paragraphs })
    }

    /// What is missing or stale in the Chinese.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (number, paragraph) in (1..).zip(&self.paragraphs) {
            let Some(chinese) = &paragraph.chinese else { continue };
            let name = &self.name;
            if chinese.text.is_empty() {
                faults.push(format!("{name}: paragraph {number} has no Chinese"));
            } else if chinese.digest != digest(&paragraph.english) {
                faults.push(format!(
                    "{name}: the English of paragraph {number} has changed since it was said in Chinese; \
                     read both, then `cargo run -p onelane-book -- --accept {name} {number}`"
                ));
            }
        }
        faults
    }

    /// The chapter's file, with the digest of a paragraph as it is now.
    pub fn accept(mut self, number: usize) -> Result<String, String> {
        let paragraph = number.checked_sub(1).and_then(|index| self.paragraphs.get_mut(index));
        let paragraph = paragraph.ok_or_else(|| format!("{}: there is no paragraph {number}", self.name))?;
        let digest = digest(&paragraph.english);
        match &mut paragraph.chinese {
            Some(chinese) if !chinese.text.is_empty() => chinese.digest = digest,
            _ => return Err(format!("{}: paragraph {number} has no Chinese", self.name)),
        }
        let mut text = Vec::new();
        for (number, paragraph) in (1..).zip(&self.paragraphs) {
            match &paragraph.chinese {
                None => text.push(format!("={number} both\n{}\n", paragraph.english)),
                Some(chinese) => {
                    text.push(format!("={number}\n{}\n", paragraph.english));
                    if !chinese.text.is_empty() {
                        let head = format!("={number} zh {}", chinese.digest);
                        text.push(format!("{}\n{}\n", head.trim_end(), chinese.text));
                    }
                }
            }
        }
        Ok(text.join("\n"))
    }

    pub fn title(&self, language: Language) -> &str {
        let title = self.paragraphs[0].text(language).lines().next().unwrap_or_default();
        title.trim_start_matches("# ")
    }

    pub fn words(&self) -> usize {
        self.paragraphs.iter().map(|paragraph| paragraph.english.split_whitespace().count()).sum()
    }

    /// The page in one language, with all that it quotes.
    pub fn page(&self, language: Language, runs: &Runs) -> Result<String, String> {
        let mut page = Vec::new();
        for (number, paragraph) in (1..).zip(&self.paragraphs) {
            let text = quote::fill(paragraph.text(language), language, runs);
            page.push(text.map_err(|fault| format!("{}, paragraph {number}: {fault}", self.name))?);
        }
        Ok(page.join("\n\n") + "\n")
    }
}

impl Paragraph {
    fn text(&self, language: Language) -> &str {
        match &self.chinese {
            Some(chinese) if language == Language::Chinese => &chinese.text,
            _ => &self.english,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        Chapter::parse("x", text).unwrap().faults()
    }

    #[test]
    fn a_translation_older_than_its_english_is_a_fault() {
        let text = Chapter::parse("x", "=1\n# One\n\n=1 zh\n# 一\n").unwrap().accept(1).unwrap();
        assert_eq!(faults(&text), [""; 0]);
        assert_eq!(faults(&text.replace("# One", "# Uno")).len(), 1);
        // An edit of the Chinese alone is none.
        assert_eq!(faults(&text.replace("# 一", "# 壹")), [""; 0]);
    }

    #[test]
    fn a_paragraph_without_chinese_is_a_fault_unless_it_is_for_both() {
        assert_eq!(faults("=1\n# One\n=2 both\ncode\n"), ["x: paragraph 1 has no Chinese"]);
    }

    #[test]
    fn numbers_must_follow_each_other() {
        for text in ["=2\n# One\n", "=1\n# One\n=3\nthree\n", "=1\n# One\n=2 zh\n二\n", "one\n", "=1\n\n", "=1\none\n"]
        {
            assert!(Chapter::parse("x", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn accepting_keeps_the_rest_of_the_file() {
        let text = "=1\n# One\n\n=1 zh 000000\n# 一\n\n=2 both\n```\n= 5\n```\n";
        let accepted = Chapter::parse("x", text).unwrap().accept(1).unwrap();
        assert_eq!(accepted, text.replace("000000", &digest("# One")));
        assert!(Chapter::parse("x", text).unwrap().accept(2).is_err());
        assert!(Chapter::parse("x", text).unwrap().accept(0).is_err());
    }
}
