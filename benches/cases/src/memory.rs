//! What tasks hold while they wait.

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

/// The cases of a task that waits.
pub fn waiting<R: Runtime>() -> Works {
    vec![("heap-waiting", wait_for_a_wake::<R> as Work), ("resident-waiting", wait_for_a_wake::<R>)]
}

/// The cases of a task that sleeps.
pub fn sleeping<R: Timers>() -> Works {
    vec![("heap-sleeping", sleep::<R> as Work), ("resident-sleeping", sleep::<R>)]
}

/// Spawns the tasks, and stops when each has counted itself as waiting.
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
        // One task more, which does not weigh among so many. Not the main future: where that is no task, its wake of itself
        // may come before all tasks, for ever.
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
    // The wakers' place is not counted: it is made before. Nobody wakes them.
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

/// Memory for so many, each page of which has been written to: the system has given it already.
fn room<T>(count: usize) -> Vec<T> {
    // Else the compiler may ask for zeroed memory, which the system gives when it is used.
    let mut room = black_box(Vec::with_capacity(count));
    room.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
    black_box(room)
}

fn count(waiting: &Cell<u64>) {
    waiting.set(waiting.get() + 1);
}
