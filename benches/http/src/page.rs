//! A page of the documentation, with figures between two marks. It does not know the figures.

use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The line before and after the figures.
const MARK: &str = "<!-- servers -->";

/// Replaces the text between the marks in the file.
pub(crate) fn fill(page: &Path, text: &str) -> Result<()> {
    let old = fs::read_to_string(page).with_context(|| format!("reading {}", page.display()))?;
    let new = filled(&old, text)
        .with_context(|| format!("{} must have two lines `{MARK}`, with the table between them", page.display()))?;
    fs::write(page, new).with_context(|| format!("writing {}", page.display()))
}

/// Returns `None` if there are not exactly two marks.
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
