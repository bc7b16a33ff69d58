//! What a child of a `scope` may not do with what it borrows. Each program below appears twice: as it
//! must not compile, and with one change that makes it right.

/// The error, lines before the scope, the body of the scope, and lines after the scope; then the same
/// without the mistake.
macro_rules! refused {
    ($($(#[$attribute:meta])* $name:ident, $error:literal: [$before:literal, $body:literal, $after:literal],
        [$right_before:literal, $right_body:literal, $right_after:literal];)+) => {$(
        $(#[$attribute])*
        #[doc = concat!("```compile_fail,", $error, "\nuse onelane::*;\nEventLoop::with_virtual_clock().run(async {\n", $before,
            "\nlet result = scope(async |s| { ", $body, " }).await.unwrap();\n", $after, "\n});\n```")]
        #[doc = concat!("```\nuse onelane::*;\nEventLoop::with_virtual_clock().run(async {\n", $right_before,
            "\nlet result = scope(async |s| { ", $right_body, " }).await.unwrap();\n", $right_after, "\n});\n```")]
        struct $name;
    )+};
}

refused! {
    /// The body may end before its children, and its variables end with it.
    BorrowFromTheBody, "E0597":
        ["", "let word = String::new(); let it = &word; s.spawn(async move { it.len() });", ""],
        ["", "let word = String::new(); s.spawn(async move { word.len() });", ""];
    /// The handle would outlive the value, and could spawn children that borrow it.
    KeepTheHandle, "E0597":
        ["let mut kept = None; { let word = String::new();",
            "kept = Some(s.clone()); s.spawn(async { word.len() });", "} drop(kept);"],
        ["let word = String::new(); let mut kept = None; {",
            "kept = Some(s.clone()); s.spawn(async { word.len() });", "} drop(kept);"];
    /// An independent task may outlive the value, and could spawn children by its clone of the handle.
    SpawnFromAnIndependentTask, "E0597":
        ["let word = String::new();",
            "let copy = s.clone(); s.spawn(async { word.len() }); spawn(async move { copy.spawn(async {}); });", ""],
        ["let word = String::new();",
            "let copy = s.clone(); s.spawn(async { word.len() }); s.spawn(async move { copy.spawn(async {}); });", ""];
    /// A loop and its tasks stay on their thread.
    MoveTheHandleToAThread, "E0277":
        ["", "std::thread::scope(|threads| { threads.spawn(move || drop(s)); });", ""],
        ["", "std::thread::scope(|threads| { threads.spawn(move || ()); }); drop(s);", ""];
    MoveAChildToAThread, "E0277":
        ["", "let child = s.spawn(async {}); std::thread::scope(|threads| { threads.spawn(move || drop(child)); });", ""],
        ["", "let child = s.spawn(async {}); std::thread::scope(|threads| { threads.spawn(move || ()); }); drop(child);", ""];
    MoveTheFutureToAThread, "E0277":
        ["fn is_send<T: Send>(_: &T) {} let inner = scope(async |_| {}); is_send(&inner); inner.await.unwrap();", "", ""],
        ["fn is_send<T: Send>(_: &T) {} let inner = scope(async |_| {}); is_send(&4); inner.await.unwrap();", "", ""];
    /// The result of a child borrows as well.
    UseAResultThatBorrows, "E0505":
        ["let word = String::new();", "s.spawn(async { &word })", "drop(word); result.await.unwrap().len();"],
        ["let word = String::new();", "s.spawn(async { &word })", "result.await.unwrap().len(); drop(word);"];
    /// While the future of the scope exists, its children may use what they borrow.
    ChangeABorrowedValue, "E0506":
        ["let mut total = 0; let inner = scope(async |s| drop(s.spawn(async { total + 1 }))); total = 2; inner.await.unwrap();",
            "", "_ = total;"],
        ["let mut total = 0; let inner = scope(async |s| drop(s.spawn(async { total + 1 }))); inner.await.unwrap(); total = 2;",
            "", "_ = total;"];
    BorrowMutablyTwice, "E0499":
        ["let mut total = 0;", "s.spawn(async { total += 1 }); s.spawn(async { total += 2 });", ""],
        ["let mut total = 0;", "s.spawn(async { total += 1; total += 2 });", ""];
}
