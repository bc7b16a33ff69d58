//! Cases that wait for several tasks at once.

use crate::runtime::Gathers;
use crate::spawns::one;
use crate::yields::SelfWake;
use crate::{Meter, Size, Work, Works};

/// The gather cases.
pub fn gathers<R: Gathers>() -> Works {
    vec![("gather-10", gather::<R> as Work), ("gather-100", gather::<R>), ("gather-1000", gather::<R>)]
}

async fn child() -> u64 {
    SelfWake::new().await;
    one().await
}

fn gather<R: Gathers>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        (meter.start)();
        let mut sum = 0;
        for _ in 0..size.rounds {
            let results = runtime.gather((0..size.width).map(|_| child())).await;
            sum += results.into_iter().sum::<u64>();
        }
        (meter.stop)();
        sum
    })
}
