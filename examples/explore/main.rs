//! Five programs whose tests pass, until they run in every order: each has a race, and each is followed
//! by its mended twin, which passes in every order.
//!
//! `cargo run --features explore --example explore` prints the counter-examples and the statements;
//! with the name of a program, only those of this program.

mod cache;
mod lost_update;
mod permit;
mod philosophers;
mod reply;

use onelane::explore::Explore;

/// A program, and its mended twin.
type Pair = (&'static str, Explore<'static>, Explore<'static>);

fn programs() -> [Pair; 5] {
    [
        ("lost_update", lost_update::broken(), lost_update::mended()),
        ("cache", cache::broken(), cache::mended()),
        ("philosophers", philosophers::broken(), philosophers::mended()),
        ("permit", permit::broken(), permit::mended()),
        ("reply", reply::broken(), reply::mended()),
    ]
}

fn main() {
    // The message of a panic is part of the report.
    std::panic::set_hook(Box::new(|_| ()));
    let asked = std::env::args().nth(1);
    for (name, broken, mended) in programs() {
        if asked.as_ref().is_some_and(|asked| asked != name) {
            continue;
        }
        match broken.check() {
            Ok(statement) => println!("{name} should fail: {statement}"),
            Err(failure) => println!("{name}: {failure}"),
        }
        match mended.check() {
            Ok(statement) => println!("\n{name}, mended: {statement}\n"),
            Err(failure) => println!("\n{name}, mended, should pass: {failure}\n"),
        }
    }
}
