//! `wait_for` of a promise whose result cannot be cloned, and of no future at all.
//~ wait_for() takes a future, a task or a promise whose result can be read, and `
//~ otherwise pass the task or the promise by value, or use an `Rc` as `T`

use onelane::{Promise, wait_for};
use std::time::Duration;

struct Parcel;

fn main() {
    onelane::run(async {
        let promise = Promise::<Parcel>::new();
        _ = wait_for(promise.clone(), Duration::ZERO).await;
        _ = wait_for(&promise, Duration::ZERO).await;
        _ = wait_for(Parcel, Duration::ZERO).await;
    });
}
