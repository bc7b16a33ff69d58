//! `wait` of futures.
//~ wait() takes tasks and promises alone, and `impl Future<Output = u8>` is none
//~ make a task of a future with `onelane::spawn(..)`, or use `onelane::gather(..)`, which does it for you

use onelane::{spawn, wait};

async fn a() -> u8 {
    1
}

fn main() {
    onelane::run(async {
        _ = wait([spawn(a())]).await;
        _ = wait([a()]).await;
    });
}
