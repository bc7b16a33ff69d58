//! Tasks that let each other go first, and tasks that wake each other in turn.
//!
//! The first of the tasks tells the meter: from its first switch on, when all tasks have been spawned and stepped, for so many
//! rounds. What it takes to make the tasks is not in the figure.

use crate::runtime::{Runtime, Timers, Yields};
use crate::{Meter, Size, Work, Works};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The cases of self-wakes, which are the same work for all runtimes, and of hand-overs.
pub fn yields<R: Runtime>() -> Works {
    vec![
        ("yield-1", self_wakes::<R> as Work),
        ("yield-300", self_wakes::<R>),
        ("yield-1000", self_wakes::<R>),
        ("yield-1000000", self_wakes::<R>),
        ("baton", ring::<R>),
        ("ring-1000", ring::<R>),
    ]
}

/// The cases of the runtime's own yield, which may do other work than a self-wake.
pub fn own_yields<R: Yields>() -> Works {
    vec![("own-yield-1", own::<R> as Work), ("own-yield-1000", own::<R>)]
}

/// Pending once, after a wake of itself.
pub(crate) struct SelfWake {
    woken: bool,
}

impl SelfWake {
    pub(crate) fn new() -> Self {
        SelfWake { woken: false }
    }
}

impl Future for SelfWake {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.woken {
            return Poll::Ready(());
        }
        self.woken = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How a task lets others go first.
trait Pause: 'static {
    fn pause(&self) -> impl Future<Output = ()>;
}

struct BySelfWake;

impl Pause for BySelfWake {
    fn pause(&self) -> impl Future<Output = ()> {
        SelfWake::new()
    }
}

struct Own<R>(R);

impl<R: Yields> Pause for Own<R> {
    fn pause(&self) -> impl Future<Output = ()> {
        self.0.yield_now()
    }
}

/// A task: it pauses once until all have been spawned, then as often as is measured, then once more, so that no task ends before.
async fn pauses(pause: impl Pause, times: usize, meter: Option<Meter>) -> u64 {
    pause.pause().await;
    if let Some(meter) = meter {
        (meter.start)();
    }
    for _ in 0..times {
        pause.pause().await;
    }
    if let Some(meter) = meter {
        (meter.stop)();
    }
    pause.pause().await;
    times as u64
}

/// What the floor and all runtimes poll.
pub(crate) fn self_waking(size: Size, meter: Meter) -> impl Iterator<Item = impl Future<Output = u64> + 'static> {
    (0..size.width).map(move |number| pauses(BySelfWake, size.rounds, (number == 0).then_some(meter)))
}

/// Spawns all, then awaits all in order.
pub(crate) async fn spawn_and_await<R, F>(runtime: &R, futures: impl Iterator<Item = F>) -> u64
where
    R: Runtime,
    F: Future<Output = u64> + 'static,
{
    let tasks: Vec<_> = futures.map(|future| runtime.spawn(future)).collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await;
    }
    sum
}

fn self_wakes<R: Runtime>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| spawn_and_await(&runtime, self_waking(size, meter)).await)
}

fn own<R: Yields>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        let task = |number| pauses(Own(runtime.clone()), size.rounds, (number == 0).then_some(meter));
        spawn_and_await(&runtime, (0..size.width).map(task)).await
    })
}

/// As [`self_wakes`], beside a timer that is armed and far away.
pub(crate) fn beside_a_timer<R: Timers>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        let mut far = pin!(R::sleep(Duration::from_secs(3600)));
        let is_pending = poll_fn(|context| Poll::Ready(far.as_mut().poll(context).is_pending())).await;
        assert!(is_pending);
        spawn_and_await(&runtime, self_waking(size, meter)).await
    })
}

/// Each task waits for its turn, then wakes the next.
fn ring<R: Runtime>(size: Size, meter: Meter) -> u64 {
    struct Ring {
        turn: Cell<usize>,
        wakers: RefCell<Vec<Option<Waker>>>,
    }

    async fn runner(ring: Rc<Ring>, me: usize, rounds: usize, meter: Option<Meter>) -> u64 {
        let next = (me + 1) % ring.wakers.borrow().len();
        // One round before what is measured, in which the wakers are made, and one after it.
        for round in 0..rounds + 2 {
            poll_fn(|context| {
                if ring.turn.get() == me {
                    return Poll::Ready(());
                }
                ring.wakers.borrow_mut()[me].get_or_insert_with(|| context.waker().clone());
                Poll::Pending
            })
            .await;
            if let Some(meter) = meter {
                if round == 1 {
                    (meter.start)();
                } else if round == rounds + 1 {
                    (meter.stop)();
                }
            }
            ring.turn.set(next);
            if let Some(waker) = &ring.wakers.borrow()[next] {
                waker.wake_by_ref();
            }
        }
        rounds as u64
    }

    R::run(async move |runtime: R| {
        let ring = Rc::new(Ring { turn: Cell::new(0), wakers: RefCell::new(vec![None; size.width]) });
        let runner = |me| runner(ring.clone(), me, size.rounds, (me == 0).then_some(meter));
        spawn_and_await(&runtime, (0..size.width).map(runner)).await
    })
}
