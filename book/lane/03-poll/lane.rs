//! Stage 3: a kernel that has nothing but `poll`. It polls every task, round after round.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static LANE: Lane = Lane::default();
}

/// The loop of this thread. Nothing of it is borrowed while a future is polled or dropped, because that runs
/// other people's code, which may call `spawn`.
#[derive(Default)]
struct Lane {
    tasks: RefCell<Vec<LocalFuture>>,
}

/// Adds a task. It runs while `run` runs.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    LANE.with(|lane| lane.tasks.borrow_mut().push(Box::pin(future)));
}

/// Runs `main` and the tasks that are spawned, until `main` returns. Then it drops the others.
pub fn run<T: 'static>(main: impl Future<Output = T> + 'static) -> T {
    let result = Rc::new(Cell::new(None));
    let slot = result.clone();
    spawn(async move { slot.set(Some(main.await)) });
    loop {
        LANE.with(Lane::round);
        if let Some(value) = result.take() {
            LANE.with(Lane::clear);
            return value;
        }
    }
}

impl Lane {
    /// Polls each task once.
    fn round(&self) {
        let mut cx = Context::from_waker(Waker::noop());
        for mut task in self.tasks.take() {
            if task.as_mut().poll(&mut cx).is_pending() {
                self.tasks.borrow_mut().push(task);
            }
        }
    }

    fn clear(&self) {
        while let Some(task) = { self.tasks.borrow_mut().pop() } {
            drop(task);
        }
    }
}

/// Pauses once, so that others may run: `sleep(0)` in asyncio.
pub fn yield_now() -> YieldNow {
    YieldNow { paused: false }
}

/// The state machine of `yield_now`. It has two states, so one flag is enough.
pub struct YieldNow {
    paused: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        if self.paused {
            return Poll::Ready(());
        }
        self.paused = true;
        Poll::Pending
    }
}
