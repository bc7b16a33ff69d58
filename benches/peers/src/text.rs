//! Formats figures, and puts them into the pages of the documentation.

/// Formats a number with about three digits.
pub fn three_digits(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$}")
}

/// Formats a ratio.
pub fn times(ratio: f64) -> String {
    format!("{}×", three_digits(ratio))
}

/// Returns the page with the text between the marks of this name. Without such marks, the page is
/// unchanged.
pub fn put_between_marks(page: String, name: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let parts = page.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match parts {
        Some((before, after)) => format!("{before}{begin}\n{text}\n{end}{after}"),
        None => page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_put_between_its_marks() {
        let page = || "a\n<!-- losses -->\nold\n<!-- /losses -->\nb".to_owned();
        assert_eq!(put_between_marks(page(), "losses", "new"), "a\n<!-- losses -->\n\nnew\n<!-- /losses -->\nb");
        assert_eq!(put_between_marks(page(), "table", "new"), page());
    }
}
