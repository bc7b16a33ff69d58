//! JSON for snapshots and traces. The callers write numbers, and words without special characters,
//! directly. This file writes strings and lists.
//!
//! This file does not know what is written.

use std::fmt::{self, Write as _};

/// Characters that a reader does not see, or that change what surrounds them: control characters, line
/// ends, format characters such as marks of direction, and letters that are blank.
pub(crate) fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e007f}')
}

/// A string, with its quotes. Everything that a terminal, a script or a page might interpret is
/// escaped: invisible characters, and the `/` of `</`.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let mut before = ' ';
        for letter in self.0.chars() {
            match letter {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '/' if before == '<' => f.write_str("\\/")?,
                _ if is_invisible(letter) => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        write!(f, "\\u{unit:04x}")?;
                    }
                }
                _ => f.write_char(letter)?,
            }
            before = letter;
        }
        f.write_char('"')
    }
}

/// Writes `[a,b,c]`.
pub(crate) fn list<T>(out: &mut String, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    out.push('[');
    for (nth, item) in items.into_iter().enumerate() {
        if nth > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::{Text, list};

    /// Every character that is escaped, or could be, comes back from another JSON reader.
    #[test]
    fn write_texts_that_are_read_back() {
        let all: String = (0..0x3000)
            .filter_map(char::from_u32)
            .chain("😀</script><!-- \u{feff}\u{e0001}\u{e007f}\u{10ffff}".chars())
            .collect();
        let written = Text(&all).to_string();
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), all);
        assert!(
            !written
                .chars()
                .any(|letter| letter.is_control() || "\u{200b}\u{2028}\u{2029}\u{202e}\u{e0001}".contains(letter))
        );
        assert!(!written.contains("</"));
    }

    #[test]
    fn write_lists() {
        let mut out = String::new();
        list(&mut out, [vec![1, 2], vec![], vec![3]], |out, inner| {
            list(out, inner, |out, number| out.push_str(&number.to_string()));
        });
        assert_eq!(out, "[[1,2],[],[3]]");
    }
}
