//! An await of a task, and a gather of the same: the gather takes a turn more.

use onelane::{gather, spawn};

async fn one() -> u32 {
    1
}

pub async fn main() {
    let one_task = spawn(one());
    println!("awaited: {}", one_task.await.unwrap());
    println!("gathered: {:?}", gather([one()]).await.unwrap());
}
