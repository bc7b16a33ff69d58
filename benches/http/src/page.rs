//! A page of the documents, with a place for figures between two marks. It knows no figure.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The first and the last line of that place.
const MARK: &str = "<!-- servers -->";

/// Puts the text between the marks of that file.
pub(crate) fn fill(page: &Path, text: &str) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let new = filled(&old, text)
        .with_context(|| format!("{} must have two lines `{MARK}`, for the table to stand between", page.display()))?;
    fs::write(page, new).with_context(|| format!("writing {}", page.display()))
}

/// None if there are not two marks.
fn filled(page: &str, text: &str) -> Option<String> {
    let parts: Vec<&str> = page.split(MARK).collect();
    let [before, _, after] = parts[..] else { return None };
    Some(format!("{before}{MARK}\n{text}\n{MARK}{after}"))
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn figures_replace_those_before_them() {
        let page = "head\n\n<!-- servers -->\nold\n<!-- servers -->\n\nfoot\n";
        let new = "head\n\n<!-- servers -->\nnew\n<!-- servers -->\n\nfoot\n";
        assert_eq!(filled(page, "new").as_deref(), Some(new));
        assert_eq!(filled(new, "new").as_deref(), Some(new));
    }

    #[test]
    fn a_page_without_a_place_stays() {
        assert_eq!(filled("head\n<!-- servers -->\nfoot\n", "new"), None);
    }

    #[test]
    fn the_page_of_the_servers_has_a_place() {
        assert!(filled(include_str!("../../../docs/performance/servers.md"), "new").is_some());
    }
}
