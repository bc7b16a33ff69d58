//! Stage 4, first half: a task is polled only if somebody has woken it. The waker is an `Arc`.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

pub type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static LANE: Lane = Lane::default();
}

/// The loop of this thread. Nothing of it is borrowed while a future is polled or dropped, because that runs
/// other people's code, which may call `spawn`.
#[derive(Default)]
struct Lane {
    /// The numbers of the tasks that are to be polled.
    ready: Arc<Mutex<VecDeque<usize>>>,
    /// A task's number is its place here. `None` while the task runs, and when it has ended.
    tasks: RefCell<Vec<Option<LocalFuture>>>,
}

/// What a waker points to. A waker may be sent to another thread, so this is an `Arc` with a `Mutex`.
struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().push_back(self.task);
    }
}

/// Adds a task. It runs while `run` runs.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    LANE.with(|lane| {
        let mut tasks = lane.tasks.borrow_mut();
        lane.ready.lock().unwrap().push_back(tasks.len());
        tasks.push(Some(Box::pin(future)));
    });
}

/// Runs `main` and the tasks that are spawned, until `main` returns. Then it drops the others.
///
/// # Panics
///
/// With "deadlock" if `main` has not returned and no task was woken.
pub fn run<T: 'static>(main: impl Future<Output = T> + 'static) -> T {
    let result = Rc::new(Cell::new(None));
    let slot = result.clone();
    spawn(async move { slot.set(Some(main.await)) });
    loop {
        let stepped = LANE.with(Lane::step);
        if let Some(value) = result.take() {
            LANE.with(Lane::clear);
            return value;
        }
        if !stepped {
            LANE.with(Lane::clear);
            panic!("deadlock: main waits, and no task was woken");
        }
    }
}

impl Lane {
    /// Polls the task that was woken first. Returns false if there is none.
    fn step(&self) -> bool {
        let Some(number) = self.ready.lock().unwrap().pop_front() else { return false };
        let Some(mut task) = self.tasks.borrow_mut()[number].take() else { return true };
        let waker = Waker::from(Arc::new(TaskWaker { task: number, ready: self.ready.clone() }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut()[number] = Some(task);
        }
        true
    }

    fn clear(&self) {
        while let Some(task) = { self.tasks.borrow_mut().pop() } {
            drop(task);
        }
        self.ready.lock().unwrap().clear();
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

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.paused {
            return Poll::Ready(());
        }
        self.paused = true;
        // Pending is a promise that a wake will come. Here it comes at once.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
