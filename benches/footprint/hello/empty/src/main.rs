//! Prints, without a runtime: what std takes.

fn main() {
    println!("hello");
}
