//! Tasks that yield, and tasks that wake each other in turn.
//!
//! The meter starts when all tasks have been spawned and woken, and stops when the last task has
//! woken itself for the last time. So the figure does not include creating and ending the tasks. It
//! does not depend on the order in which a runtime polls them.

use crate::runtime::{Runtime, Timers, Yields};
use crate::{Meter, Size, Work, Works};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The cases for self-wakes, which are the same work on all runtimes, and for hand-overs.
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

/// The cases for the runtime's own yield, which may do different work than a self-wake.
pub fn own_yields<R: Yields>() -> Works {
    vec![("own-yield-1", own::<R> as Work), ("own-yield-1000", own::<R>)]
}

/// Wakes itself and is pending once.
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

    // Otherwise the compiler might inline it for one runtime and not for another.
    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.woken {
            return Poll::Ready(());
        }
        self.woken = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// How a task yields.
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

/// Tasks wait here until all have arrived; then the measurement starts. It ends when the last task
/// leaves.
struct Gate {
    /// Number of tasks that have not arrived yet.
    missing: Cell<usize>,
    /// Number of tasks that have not left yet.
    missing_at_end: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
    meter: Meter,
}

impl Gate {
    fn new(tasks: usize, meter: Meter) -> Rc<Self> {
        let waiting = RefCell::new(Vec::with_capacity(tasks));
        Rc::new(Gate { missing: Cell::new(tasks), missing_at_end: Cell::new(tasks), waiting, meter })
    }

    /// Waits until all tasks have arrived. The last task wakes all, including itself, and starts
    /// the meter.
    async fn enter(&self) {
        let mut entered = false;
        poll_fn(|context| {
            if entered && self.missing.get() == 0 {
                return Poll::Ready(());
            }
            if !entered {
                entered = true;
                self.missing.set(self.missing.get() - 1);
                self.waiting.borrow_mut().push(context.waker().clone());
                if self.missing.get() == 0 {
                    self.waiting.take().into_iter().for_each(Waker::wake);
                    (self.meter.start)();
                }
            }
            Poll::Pending
        })
        .await;
    }

    /// The last task stops the meter.
    fn leave(&self) {
        self.missing_at_end.set(self.missing_at_end.get() - 1);
        if self.missing_at_end.get() == 0 {
            (self.meter.stop)();
        }
    }
}

/// Pauses `times` times. One counted pause is a poll and the wake at its end. The gate causes the
/// first of these polls. The poll after the last wake is not counted.
async fn pauses(pause: impl Pause, times: usize, gate: Rc<Gate>) -> u64 {
    gate.enter().await;
    for _ in 1..times {
        pause.pause().await;
    }
    gate.leave();
    pause.pause().await;
    times as u64
}

/// The self-waking futures. They are the same for the floor and for all runtimes.
pub(crate) fn self_waking(size: Size, meter: Meter) -> impl Iterator<Item = impl Future<Output = u64> + 'static> {
    let gate = Gate::new(size.width, meter);
    (0..size.width).map(move |_| pauses(BySelfWake, size.rounds, gate.clone()))
}

/// Spawns all futures, then awaits the tasks in order.
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
        let gate = Gate::new(size.width, meter);
        let task = |_| pauses(Own(runtime.clone()), size.rounds, gate.clone());
        spawn_and_await(&runtime, (0..size.width).map(task)).await
    })
}

/// As [`self_wakes`], while a timer with a distant deadline is pending.
pub(crate) fn beside_a_timer<R: Timers>(size: Size, meter: Meter) -> u64 {
    R::run(async move |runtime: R| {
        let mut far = pin!(R::sleep(Duration::from_secs(3600)));
        let is_pending = poll_fn(|context| Poll::Ready(far.as_mut().poll(context).is_pending())).await;
        assert!(is_pending);
        spawn_and_await(&runtime, self_waking(size, meter)).await
    })
}

/// Each task waits until it is its turn, then wakes the next.
fn ring<R: Runtime>(size: Size, meter: Meter) -> u64 {
    struct Ring {
        turn: Cell<usize>,
        wakers: RefCell<Vec<Option<Waker>>>,
    }

    async fn runner(ring: Rc<Ring>, me: usize, rounds: usize, meter: Option<Meter>) -> u64 {
        let next = (me + 1) % ring.wakers.borrow().len();
        // One round comes before the measured rounds, to store the wakers, and one after them.
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
