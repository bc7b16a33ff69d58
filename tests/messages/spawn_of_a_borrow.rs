//! A task that borrows.
//~ 1.95 // a task may outlive what it borrows: share it by an `Rc`

use onelane::spawn;
use std::rc::Rc;

fn main() {
    onelane::run(async {
        let shared = Rc::new(String::new());
        let copy = shared.clone();
        _ = spawn(async move { copy.len() }).await;
        let name = String::new();
        let borrowed = &name;
        _ = spawn(async move { borrowed.len() }).await;
    });
}
