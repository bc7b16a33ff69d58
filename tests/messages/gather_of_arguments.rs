//! `gather` with arguments as in Python.
//~ one list of futures, tasks or promises is expected, and `impl Future<Output = u8>` is none
//~ several arguments of any types: `gather!(a(), b()).await`; one list, of one type: `gather([a(), b()]).await`

use onelane::gather;

async fn a() -> u8 {
    1
}

async fn b() -> &'static str {
    "b"
}

fn main() {
    onelane::run(async {
        _ = gather!(a(), b()).await;
        _ = gather([a(), a()]).await;
        _ = gather(a(), b()).await;
    });
}
