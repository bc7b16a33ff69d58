//! Prints `hello` without a runtime. This is the size of std alone.

fn main() {
    println!("hello");
}
