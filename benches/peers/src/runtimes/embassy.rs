//! embassy-executor on std, for the cases that it can run.
//!
//! Its tasks are in static memory and have no result. Here their storage is leaked, and a cell next
//! to the future holds the result. So it takes part in cases with few and long tasks, and not in
//! spawns.

use super::Peer;
use embassy_executor::raw::TaskStorage;
use embassy_executor::{Executor, Spawner};
use onelane_cases::runtime::Runtime;
use onelane_cases::{Work, foreign_wakes, waiting, yields};
use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

pub(super) fn peer() -> Peer {
    let all = [yields::<Embassy>(), waiting::<Embassy>(), foreign_wakes::<Embassy>()].concat();
    // Each sample would leak a million tasks.
    let few = |(id, _): &(&str, Work)| *id != "yield-1000000";
    Peer::of(
        "embassy",
        "embassy-executor",
        "`Executor::run_until` of its std platform. Its tasks live in static memory, here leaked storage, and have no result: no \
         spawns, no gathers. It runs a batch in reverse order and does not catch panics; `yield_now`, channels and timers are \
         other crates, timers with a thread of their own.",
        all.into_iter().filter(few).collect(),
    )
}

#[derive(Clone)]
struct Embassy(Spawner);

/// Holds the result of a task.
struct Slot<T> {
    value: Cell<Option<T>>,
    waiting: RefCell<Option<Waker>>,
}

struct Handle<T>(Rc<Slot<T>>);

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        if let Some(value) = self.0.value.take() {
            return Poll::Ready(value);
        }
        *self.0.waiting.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

fn spawn<F: Future<Output: 'static> + 'static>(spawner: Spawner, future: F) -> Rc<Slot<F::Output>> {
    let slot = Rc::new(Slot { value: Cell::new(None), waiting: RefCell::new(None) });
    let result = slot.clone();
    let task = async move {
        result.value.set(Some(future.await));
        if let Some(waker) = result.waiting.take() {
            waker.wake();
        }
    };
    spawner.spawn(leaked(task));
    slot
}

/// Returns a token for a task whose storage is never freed.
fn leaked<F: Future + 'static>(task: F) -> embassy_executor::SpawnToken<impl Sized> {
    let storage: &'static TaskStorage<F> = Box::leak(Box::new(TaskStorage::new()));
    storage.spawn(|| task).ok().unwrap()
}

impl Runtime for Embassy {
    type Handle<T: 'static> = Handle<T>;

    fn run<T: 'static, F>(main: impl FnOnce(Self) -> F) -> T
    where
        F: Future<Output = T> + 'static,
    {
        let executor: &'static mut Executor = Box::leak(Box::new(Executor::new()));
        let result = RefCell::new(None);
        let init = |spawner: Spawner| *result.borrow_mut() = Some(spawn(spawner, main(Embassy(spawner))));
        let value = RefCell::new(None);
        executor.run_until(init, || {
            let main = result.borrow();
            *value.borrow_mut() = main.as_ref().and_then(|slot| slot.value.take());
            value.borrow().is_some()
        });
        value.take().unwrap()
    }

    fn spawn<F>(&self, future: F) -> Handle<F::Output>
    where
        F: Future<Output: 'static> + 'static,
    {
        Handle(spawn(self.0, future))
    }
}
