//! The dining philosophers: locks that are taken in a circle deadlock, on one thread too.

use onelane::explore::Explore;
use onelane::sync::Lock;
use onelane::{explore, task, yield_now};
use std::rc::Rc;

type Fork = Rc<Lock<()>>;

const NAMES: [&str; 3] = ["Hypatia", "Laozi", "Mill"];

async fn dine(walk: usize, first: Fork, second: Fork) {
    for _ in 0..walk {
        yield_now().await; // to the table
    }
    let _first = first.lock().await;
    yield_now().await; // reaches for the other fork
    let _second = second.lock().await;
}

fn table(forks_of: fn(usize) -> (usize, usize)) -> Explore<'static> {
    explore(move || async move {
        let forks: Vec<Fork> = (0..3).map(|n| Rc::new(Lock::new(()).named(format!("fork {n}")))).collect();
        let philosophers: Vec<_> = (0..3)
            .map(|n| {
                let (first, second) = forks_of(n);
                let dines = dine(n, forks[first].clone(), forks[second].clone());
                task::Builder::new().name(NAMES[n]).spawn(dines)
            })
            .collect();
        for philosopher in philosophers {
            philosopher.await.unwrap();
        }
    })
}

/// Each takes the fork at the left first.
pub(crate) fn broken() -> Explore<'static> {
    table(|n| (n, (n + 1) % 3))
}

/// Each takes the fork with the lower number first.
pub(crate) fn mended() -> Explore<'static> {
    table(|n| (n.min((n + 1) % 3), n.max((n + 1) % 3)))
}
