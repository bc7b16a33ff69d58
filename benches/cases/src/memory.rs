//! The memory of tasks that wait.

use crate::runtime::{Runtime, Timers};
use crate::yields::SelfWake;
use crate::{Meter, Size, Work, Works};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The cases for waiting tasks.
pub fn waiting<R: Runtime>() -> Works {
    vec![("heap-waiting", wait_for_a_wake::<R> as Work), ("resident-waiting", wait_for_a_wake::<R>)]
}

/// The cases for sleeping tasks.
pub fn sleeping<R: Timers>() -> Works {
    vec![("heap-sleeping", sleep::<R> as Work), ("resident-sleeping", sleep::<R>)]
}

/// Spawns the tasks, and stops the meter when all of them wait.
fn hold<R, F>(size: Size, meter: Meter, task: impl Fn(Rc<Cell<u64>>) -> F + 'static) -> u64
where
    R: Runtime,
    F: Future<Output = ()> + 'static,
{
    R::run(async move |runtime: R| {
        let waiting = Rc::new(Cell::new(0));
        let mut tasks = room(size.width);
        (meter.start)();
        tasks.extend((0..size.width).map(|_| runtime.spawn(task(waiting.clone()))));
        let counted = waiting.clone();
        // One more task waits until all others wait. Its memory is negligible. The main future does
        // not do this itself: some runtimes do not run it as a task, and would poll it again and
        // again before any other task.
        let all_wait = async move {
            while counted.get() < size.operations() {
                SelfWake::new().await;
            }
            (meter.stop)();
        };
        runtime.spawn(all_wait).await;
        drop(tasks);
        waiting.get()
    })
}

fn wait_for_a_wake<R: Runtime>(size: Size, meter: Meter) -> u64 {
    // The vector for the wakers is allocated before the measurement, so it is not counted. No waker
    // is called.
    let wakers: Rc<RefCell<Vec<Waker>>> = Rc::new(RefCell::new(room(size.width)));
    let kept = wakers.clone();
    let waiting = hold::<R, _>(size, meter, move |waiting| {
        let wakers = wakers.clone();
        poll_fn(move |context| {
            wakers.borrow_mut().push(context.waker().clone());
            count(&waiting);
            Poll::Pending
        })
    });
    kept.take();
    waiting
}

fn sleep<R: Timers>(size: Size, meter: Meter) -> u64 {
    hold::<R, _>(size, meter, |waiting| async move {
        let mut timer = pin!(R::sleep(Duration::from_secs(3600)));
        let mut polled = false;
        let poll = |context: &mut Context<'_>| {
            if !std::mem::replace(&mut polled, true) {
                count(&waiting);
            }
            timer.as_mut().poll(context)
        };
        poll_fn(poll).await;
    })
}

/// Returns an empty vector with room for `count` items. All of its memory has been written to, so
/// its pages are resident already.
fn room<T>(count: usize) -> Vec<T> {
    // Otherwise the compiler may request zeroed memory, whose pages become resident only when they
    // are used.
    let mut room = black_box(Vec::with_capacity(count));
    room.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
    black_box(room)
}

fn count(waiting: &Cell<u64>) {
    waiting.set(waiting.get() + 1);
}
