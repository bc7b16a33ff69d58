//! The default name of a task: the name of its function, taken from the type of its future.
//!
//! ```text
//!   shop::serve::{{closure}}                       serve      an async fn
//!   shop::main::{{closure}}::{{closure}}           main       an async block in it
//!   shop::Till<shop::Coin>::count::{{closure}}     count
//!   onelane::Timeout<shop::serve::{{closure}}>     serve      a future around it
//!   onelane::sleep::Sleep                          Sleep      a future that has a name
//!   core::pin::Pin<...::Box<dyn ...>>              Task       one that hides its name
//! ```
//!
//! Type names are meant for people, and compilers may change them. If this code does not understand
//! a type name, the task only gets a strange name. This file knows no tasks.

const CLOSURE: &str = "::{{closure}}";

/// The short name for a future of this type.
pub(in crate::kernel) fn function_of(type_name: &str) -> &str {
    // Older compilers give the future of an async closure a parameter.
    let own = type_name.ends_with('>').then(|| opening(type_name)).flatten().map(|open| &type_name[..open]);
    let type_name = own.filter(|own| own.ends_with(CLOSURE)).unwrap_or(type_name);
    let mut function = type_name;
    while let Some(around) = function.strip_suffix(CLOSURE) {
        function = around;
    }
    if function.len() < type_name.len() {
        return last_part(function);
    }
    match parameters(type_name).find(|parameter| find_last(parameter, CLOSURE).is_some()) {
        Some(inside) => function_of(inside),
        None if find_last(type_name, "dyn ").is_some() => "Task",
        None => last_part(type_name),
    }
}

/// Like `str::rfind`, whose search adds kilobytes of code, for short names.
fn find_last(text: &str, part: &str) -> Option<usize> {
    text.as_bytes().windows(part.len()).rposition(|window| window == part.as_bytes())
}

/// `count` of `shop::Till<shop::Coin>::count<u8>`.
fn last_part(path: &str) -> &str {
    let own = path.ends_with('>').then(|| opening(path)).flatten().map_or(path, |open| &path[..open]);
    find_last(own, "::").map_or(own, |place| &own[place + 2..])
}

/// The position of the `<` that matches the `>` at the end.
fn opening(path: &str) -> Option<usize> {
    let (bytes, mut depth) = (path.as_bytes(), 0);
    for place in (0..bytes.len()).rev() {
        match bytes[place] {
            // Not the `>` of an arrow, as in `fn() -> T`.
            b'>' if place == 0 || bytes[place - 1] != b'-' => depth += 1,
            b'<' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (bytes[place] == b'<').then_some(place);
        }
    }
    None
}

/// The type's parameters, if its name ends with them.
fn parameters(type_name: &str) -> impl Iterator<Item = &str> {
    let open = type_name.ends_with('>').then(|| opening(type_name)).flatten();
    let mut rest = open.map_or("", |open| &type_name[open + 1..type_name.len() - 1]);
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut depth, mut before, mut end) = (0, b' ', rest.len());
        for (place, letter) in rest.bytes().enumerate() {
            match letter {
                b'<' | b'(' | b'[' => depth += 1,
                b'>' if before != b'-' => depth -= 1,
                b')' | b']' => depth -= 1,
                b',' if depth == 0 => {
                    end = place;
                    break;
                }
                _ => {}
            }
            before = letter;
        }
        let parameter = rest[..end].trim_start();
        rest = rest.get(end + 1..).unwrap_or("");
        Some(parameter)
    })
}

#[cfg(test)]
mod tests {
    use super::function_of;

    #[test]
    fn name_functions() {
        for (type_name, word) in [
            ("shop::serve::{{closure}}", "serve"),
            ("shop::main::{{closure}}::{{closure}}<i16>", "main"),
            ("shop::main::{{closure}}::{{closure}}", "main"),
            ("shop::Till<shop::Coin>::count::{{closure}}", "count"),
            ("shop::sum<alloc::vec::Vec<u8>, u8>::{{closure}}", "sum"),
            ("shop::call<fn(u8) -> u8>::{{closure}}", "call"),
            ("<shop::Till as shop::Count>::count::{{closure}}", "count"),
            ("shop::call<shop::main::{{closure}}>::{{closure}}", "call"),
            ("onelane::timeout::Timeout<shop::serve::{{closure}}>", "serve"),
            ("onelane::task_group::RunChild<u8, fn(u8) -> u8, (u8, u8), shop::a<x::{{closure}}>::{{closure}}>", "a"),
            ("core::pin::Pin<alloc::boxed::Box<shop::serve::{{closure}}>>", "serve"),
        ] {
            assert_eq!(function_of(type_name), word, "{type_name}");
        }
    }

    #[test]
    fn name_futures_that_are_no_functions() {
        for (type_name, word) in [
            ("onelane::sleep::Sleep", "Sleep"),
            ("onelane::join::Join<alloc::string::String>", "Join"),
            ("core::pin::Pin<alloc::boxed::Box<dyn core::future::future::Future<Output = ()>>>", "Task"),
            ("Plain", "Plain"),
        ] {
            assert_eq!(function_of(type_name), word, "{type_name}");
        }
    }

    /// Type names that no compiler writes today, but a later one may.
    #[test]
    fn survive_what_is_not_understood() {
        for odd in ["", ">", "<", "<>", "a<", "a>", "::", CLOSURE_ALONE, "a<b,>", "é<é>", "->", "a<->"] {
            assert!(function_of(odd).len() <= odd.len().max("Task".len()), "{odd}");
        }
    }

    const CLOSURE_ALONE: &str = super::CLOSURE;
}
