//! The program, as each of the tools runs it.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) tasks: usize,
    /// Number of additions per task.
    pub(crate) steps: usize,
}

pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// Runs all orders, and returns their number.
    pub(crate) explore: fn(Program) -> u64,
}

pub(crate) const TOOLS: [Tool; 4] = [
    Tool { name: "onelane", explore: onelane },
    Tool { name: "schedwalk", explore: schedwalk },
    Tool { name: "shuttle, DFS", explore: shuttle },
    Tool { name: "loom", explore: loom },
];

/// Suspends once. The task is ready again at once.
fn suspend() -> impl Future<Output = ()> + Send {
    let mut is_suspended = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut is_suspended, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

async fn adds(steps: usize, add: impl Fn()) {
    for step in 0..steps {
        if step > 0 {
            suspend().await;
        }
        add();
    }
}

fn onelane(program: Program) -> u64 {
    onelane_up_to(u64::MAX, program)
}

pub(crate) fn onelane_up_to(most: u64, Program { tasks, steps }: Program) -> u64 {
    let statement = onelane::explore(move || async move {
        let count = Rc::new(Cell::new(0));
        let adds = (0..tasks).map(|_| {
            let count = count.clone();
            adds(steps, move || count.set(count.get() + 1))
        });
        onelane::gather(adds).await.unwrap();
        assert_eq!(count.get(), tasks * steps);
    })
    .max_orders(most)
    .run();
    assert!(statement.is_complete() || statement.orders == most, "{statement}");
    statement.orders
}

/// Has no function that waits for several tasks: main awaits one after the other.
fn schedwalk(Program { tasks, steps }: Program) -> u64 {
    let orders = Arc::new(AtomicU64::new(0));
    let seen = orders.clone();
    schedwalk::for_all_schedules(move || {
        seen.fetch_add(1, Ordering::Relaxed);
        async move {
            let count = Arc::new(AtomicU64::new(0));
            let spawn = |_| {
                let count = count.clone();
                schedwalk::spawn(adds(steps, move || _ = count.fetch_add(1, Ordering::Relaxed)))
            };
            let handles: Vec<_> = (0..tasks).map(spawn).collect();
            for handle in handles {
                assert!(handle.await.is_ok());
            }
            assert_eq!(count.load(Ordering::Relaxed), (tasks * steps) as u64);
        }
    });
    orders.load(Ordering::Relaxed)
}

/// Also chooses while main spawns and awaits the tasks.
fn shuttle(Program { tasks, steps }: Program) -> u64 {
    let orders = Arc::new(AtomicU64::new(0));
    let seen = orders.clone();
    let program = move || {
        seen.fetch_add(1, Ordering::Relaxed);
        let count = Arc::new(AtomicU64::new(0));
        let spawn = |_| {
            let count = count.clone();
            shuttle::future::spawn(adds(steps, move || _ = count.fetch_add(1, Ordering::Relaxed)))
        };
        let handles: Vec<_> = (0..tasks).map(spawn).collect();
        shuttle::future::block_on(async {
            for handle in handles {
                handle.await.unwrap();
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), (tasks * steps) as u64);
    };
    // More orders do not change the time per order.
    shuttle::check_dfs(program, Some(20_000));
    orders.load(Ordering::Relaxed)
}

/// Has no tasks, and chooses at operations on its atomics. So each task is the future of a thread, and
/// adds to such an atomic. It leaves out orders that differ only in independent operations, of which
/// this program has none except those of main.
fn loom(Program { tasks, steps }: Program) -> u64 {
    let orders = Arc::new(AtomicU64::new(0));
    let seen = orders.clone();
    let program = move || {
        seen.fetch_add(1, Ordering::Relaxed);
        let count = loom::sync::Arc::new(loom::sync::atomic::AtomicU64::new(0));
        let spawn = |_| {
            let count = count.clone();
            loom::thread::spawn(move || {
                loom::future::block_on(async {
                    for _ in 0..steps {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                });
            })
        };
        let handles: Vec<_> = (0..tasks).map(spawn).collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(count.load(Ordering::SeqCst), (tasks * steps) as u64);
    };
    let mut model = loom::model::Builder::new();
    model.max_permutations = Some(20_000);
    model.check(program);
    orders.load(Ordering::Relaxed)
}
