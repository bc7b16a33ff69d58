//! `gather`, `try_gather` and `as_completed` of a tuple, or of one future.
//~ is expected, and `(impl Future<Output = Result<(), ()>>, impl Future<Output = Result<(), ()>>)` is none
//~ is expected, and `impl Future<Output = Result<(), ()>>` is none
//~ `gather!(a(), b()).await`

use onelane::{as_completed, gather, try_gather};

async fn a() -> Result<(), ()> {
    Ok(())
}

fn main() {
    onelane::run(async {
        _ = try_gather([a(), a()]).await;
        _ = gather((a(), a())).await;
        _ = try_gather((a(), a())).await;
        _ = as_completed(a()).next().await;
    });
}
