//! Puts the page together: its parts are in `page/`, and contain nothing from elsewhere.

/// The page for these data.
pub(crate) fn page(data: &str) -> String {
    // In a script element, `<` could begin its end or a comment. In JSON it stands only in strings.
    let data = data.replace('<', "\\u003c");
    let parts = [
        ("/*STYLE*/", include_str!("page/page.css")),
        ("/*DATA*/", data.as_str()),
        ("/*WORDS*/", include_str!("page/words.js")),
        ("/*REDUCER*/", include_str!("page/reducer.js")),
        ("/*PAGE*/", include_str!("page/page.js")),
    ];
    let mut page = String::new();
    let mut rest = include_str!("page/page.html");
    for (mark, part) in parts {
        let (before, after) = rest.split_once(mark).expect("the page has a place for each part");
        page.push_str(before);
        page.push_str(part);
        rest = after;
    }
    page.push_str(rest);
    page
}
