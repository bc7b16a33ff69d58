//! Running several futures concurrently, with all results in the order of the arguments.
//!
//! A gather uses the done callbacks of its children. Each callback counts one ended child. A gather
//! is *decided* when all children have ended, or, without `return_exceptions`, when one has failed.
//! The callback that decides the gather wakes the awaiting task, so a gather takes one turn more
//! than a direct await. A child that has already ended is counted at once.

use crate::error::TaskError;
use crate::kernel::callbacks::calls::{Call, Watcher};
use crate::kernel::cell::Outcome;
use crate::kernel::explore::Known;
#[cfg(feature = "explore")]
use crate::kernel::explore::{Mode, Of, is_noting, touch};
use crate::kernel::table::records::{Awaited, Link, Then, Wait};
use crate::kernel::{Token, clone_uncounted, context};
use crate::leaf::{Record, running};
use crate::task::CallbackId;
use crate::task::child::{
    AnyChild, Child, ChildRef, IntoTasks, Lent, Spawner, describe_children, may_come_from_anybody,
};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// Runs futures and tasks concurrently, awaits promises with them, and returns their values in the
/// order of the arguments.
///
/// Futures become tasks immediately, in order, so they run even if the gather is never awaited.
/// Tasks and promises are used as they are; a list of both is a list of
/// [`TaskOrPromise`](crate::TaskOrPromise). If a child is cancelled or panics, the gather fails
/// with the first such error, and **the other children continue to run**. Without arguments, the
/// gather is ready at once with an empty list.
///
/// Cancelling a task that awaits a gather cancels all children first, in order. Cancel safety:
/// dropping the gather after its first poll cancels the children. If the gather is dropped before
/// its first poll, they continue to run.
///
/// asyncio: `gather(*aws)`.
///
/// # Panics
///
/// If no loop is running on this thread. When awaited: if other code has taken the result of a task
/// or a promise, or if a promise was passed twice by value; pass `&promise`.
///
/// # Cost
///
/// The cost of a spawn per future, and three allocations for the gather; one entry in the waiter
/// list of each promise. A child's end and the gather's end take a turn each.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, gather, sleep};
/// use std::time::Duration;
///
/// let results = EventLoop::with_virtual_clock().run(async {
///     gather([3, 1, 2].map(|n| async move {
///         sleep(Duration::from_secs(n)).await;
///         n * 10
///     }))
///     .await
/// });
/// assert_eq!(results, Ok(vec![30, 10, 20]));
/// ```
///
/// With promises, which other code sets:
///
/// ```
/// use onelane::{EventLoop, Promise, call_soon, gather};
///
/// EventLoop::with_virtual_clock().run(async {
///     let promises = [Promise::new(), Promise::new()];
///     let [left, right] = promises.clone();
///     call_soon(move || right.set_result(2).unwrap());
///     call_soon(move || left.set_result(1).unwrap());
///     assert_eq!(gather(&promises).await, Ok(vec![1, 2]));
/// });
/// ```
#[track_caller]
pub fn gather<I: IntoTasks>(iterable: I) -> Gather<Vec<Child<I::Output>>> {
    Gather::new(iterable.into_children(&Spawner::asked_by("gather()")))
}

/// Like [`gather`], for children whose output is a `Result`: the first `Err` fails the gather as
/// well.
///
/// # Panics
///
/// As for [`gather`].
///
/// # Examples
///
/// ```
/// use onelane::{TryGatherError, spawn, try_gather};
///
/// let result = onelane::EventLoop::with_virtual_clock().run(async {
///     try_gather([spawn(async { Ok(1) }), spawn(async { Err("no") }), spawn(async { Ok(3) })]).await
/// });
/// assert_eq!(result, Err(TryGatherError::Failed("no")));
/// ```
#[doc(alias = "gather")]
#[track_caller]
pub fn try_gather<I, T, E>(iterable: I) -> Gather<Fallible<T, E>>
where
    I: IntoTasks<Output = Result<T, E>>,
    T: 'static,
    E: 'static,
{
    Gather::new(Fallible(iterable.into_children(&Spawner::asked_by("try_gather()"))))
}

/// Like [`gather()`](crate::gather()), for arguments of different types. Returns a tuple.
///
/// Takes one to eight futures, tasks and promises. The macro expands to a future. It fails as
/// `gather` does.
///
/// # Examples
///
/// ```
/// let results = onelane::EventLoop::with_virtual_clock().run(async {
///     let promise = onelane::Promise::new();
///     promise.set_result(3.0).unwrap();
///     onelane::gather!(async { 1 }, onelane::spawn(async { "two" }), promise).await
/// });
/// assert_eq!(results, Ok((1, "two", 3.0)));
/// ```
#[macro_export]
macro_rules! gather {
    // All arguments are evaluated before the first future becomes a task, as in a function call.
    ($a:expr $(,)?) => { $crate::__gather!($a => a) };
    ($a:expr, $b:expr $(,)?) => { $crate::__gather!($a => a, $b => b) };
    ($a:expr, $b:expr, $c:expr $(,)?) => { $crate::__gather!($a => a, $b => b, $c => c) };
    ($a:expr, $b:expr, $c:expr, $d:expr $(,)?) => { $crate::__gather!($a => a, $b => b, $c => c, $d => d) };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr $(,)?) => {
        $crate::__gather!($a => a, $b => b, $c => c, $d => d, $e => e)
    };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr $(,)?) => {
        $crate::__gather!($a => a, $b => b, $c => c, $d => d, $e => e, $f => f)
    };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr, $g:expr $(,)?) => {
        $crate::__gather!($a => a, $b => b, $c => c, $d => d, $e => e, $f => f, $g => g)
    };
    ($a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr, $g:expr, $h:expr $(,)?) => {
        $crate::__gather!($a => a, $b => b, $c => c, $d => d, $e => e, $f => f, $g => g, $h => h)
    };
}

/// The arguments of `gather!`, each with a name.
#[doc(hidden)]
#[macro_export]
macro_rules! __gather {
    ($($awaitable:expr => $name:ident),+) => {
        match ($($awaitable,)+) {
            ($($name,)+) => {
                let spawner = $crate::__private::Spawner::new();
                $crate::__private::gather_tuple(($($crate::IntoTask::into_child($name, &spawner),)+))
            }
        }
    };
}

#[doc(hidden)]
pub fn gather_tuple<C: Children + 'static>(children: C) -> Gather<C> {
    Gather::new(children)
}

/// The children of a gather, and how their outcomes are combined.
#[doc(hidden)]
pub trait Children {
    type Output;
    type All;

    fn size(&self) -> usize;
    fn child(&self, which: usize) -> ChildRef<'_>;
    /// Whether a child that has ended fails the gather.
    fn has_failed(&self, which: usize) -> bool;
    /// Called when all have ended and none has failed.
    fn values(&self) -> Self::Output;
    /// Called when this child has failed.
    fn failure(&self, which: usize) -> Self::Output;
    /// Called when all have ended.
    fn all(&self) -> Self::All;
}

const FAILED: &str = "a gather's failed child has a value";

impl<T: 'static> Children for Vec<Child<T>> {
    type Output = Result<Vec<T>, TaskError>;
    type All = Vec<Outcome<T>>;

    fn size(&self) -> usize {
        self.len()
    }

    fn child(&self, which: usize) -> ChildRef<'_> {
        self[which].lend()
    }

    fn has_failed(&self, which: usize) -> bool {
        self[which].ended_without_value()
    }

    fn values(&self) -> Self::Output {
        self.iter().map(Child::read).collect()
    }

    fn failure(&self, which: usize) -> Self::Output {
        Err(self[which].read().err().expect(FAILED))
    }

    fn all(&self) -> Self::All {
        self.iter().map(Child::read).collect()
    }
}

/// Children whose `Err` counts as failure: those of [`try_gather`].
#[derive(Debug)]
#[doc(hidden)]
pub struct Fallible<T, E>(Vec<Child<Result<T, E>>>);

/// Why a [`try_gather`] failed.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TryGatherError, try_gather};
///
/// EventLoop::with_virtual_clock().run(async {
///     let result = try_gather(["7", "x"].map(|text| async { text.parse::<u32>() })).await;
///     match result {
///         Ok(numbers) => unreachable!("{numbers:?}"),
///         Err(TryGatherError::Failed(error)) => assert_eq!(error.to_string(), "invalid digit found in string"),
///         Err(TryGatherError::Task(error)) => panic!("that is a bug: {error}"),
///     }
/// });
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TryGatherError<E> {
    /// A child returned this error.
    Failed(E),
    /// A child was cancelled, or panicked.
    Task(TaskError),
}

impl<E: fmt::Display> fmt::Display for TryGatherError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryGatherError::Failed(error) => error.fmt(f),
            TryGatherError::Task(error) => error.fmt(f),
        }
    }
}

/// It shows the error of the child as it is, so its source is the source of that error.
impl<E: core::error::Error> core::error::Error for TryGatherError<E> {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            TryGatherError::Failed(error) => error.source(),
            TryGatherError::Task(error) => error.source(),
        }
    }
}

impl<E> From<TaskError> for TryGatherError<E> {
    fn from(error: TaskError) -> Self {
        TryGatherError::Task(error)
    }
}

/// An error that a child has returned stays as it is.
#[cfg(feature = "std")]
impl From<TryGatherError<std::io::Error>> for std::io::Error {
    fn from(error: TryGatherError<std::io::Error>) -> Self {
        match error {
            TryGatherError::Failed(error) => error,
            TryGatherError::Task(error) => error.into(),
        }
    }
}

impl<T: 'static, E: 'static> Children for Fallible<T, E> {
    type Output = Result<Vec<T>, TryGatherError<E>>;
    type All = Vec<Outcome<Result<T, E>>>;

    fn size(&self) -> usize {
        self.0.len()
    }

    fn child(&self, which: usize) -> ChildRef<'_> {
        self.0.child(which)
    }

    fn has_failed(&self, which: usize) -> bool {
        let child = &self.0[which];
        child.ended_without_value() || child.has_error()
    }

    fn values(&self) -> Self::Output {
        self.0.iter().map(flat).collect()
    }

    fn failure(&self, which: usize) -> Self::Output {
        Err(flat(&self.0[which]).err().expect(FAILED))
    }

    fn all(&self) -> Self::All {
        self.0.all()
    }
}

fn flat<T, E>(child: &Child<Result<T, E>>) -> Result<T, TryGatherError<E>> {
    child.read().map_err(TryGatherError::Task)?.map_err(TryGatherError::Failed)
}

macro_rules! children_of_tuples {
    ($($type:ident $number:tt),+) => {
        impl<$($type: 'static),+> Children for ($(Child<$type>,)+) {
            type Output = Result<($($type,)+), TaskError>;
            type All = ($(Outcome<$type>,)+);

            fn size(&self) -> usize {
                [$($number),+].len()
            }

            fn child(&self, which: usize) -> ChildRef<'_> {
                match which {
                    $($number => self.$number.lend(),)+
                    _ => unreachable!(),
                }
            }

            fn has_failed(&self, which: usize) -> bool {
                match which {
                    $($number => self.$number.ended_without_value(),)+
                    _ => unreachable!(),
                }
            }

            fn values(&self) -> Self::Output {
                Ok(($(self.$number.read()?,)+))
            }

            fn failure(&self, which: usize) -> Self::Output {
                match which {
                    $($number => Err(self.$number.read().err().expect(FAILED)),)+
                    _ => unreachable!(),
                }
            }

            fn all(&self) -> Self::All {
                ($(self.$number.read(),)+)
            }
        }
    };
}

children_of_tuples!(A 0);
children_of_tuples!(A 0, B 1);
children_of_tuples!(A 0, B 1, C 2);
children_of_tuples!(A 0, B 1, C 2, D 3);
children_of_tuples!(A 0, B 1, C 2, D 3, E 4);
children_of_tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
children_of_tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
children_of_tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

/// A running gather. Owned by its children's callbacks, and by the code that awaits it.
struct Gathering<C> {
    children: C,
    /// Number of children whose ends were not counted yet.
    left: Cell<usize>,
    /// The first child that failed, in the order in which the ends were counted.
    failed: Cell<Option<usize>>,
    /// Whether a failure counts as a result (`return_exceptions`), and does not decide the gather.
    wants_all: Cell<bool>,
    waker: Cell<Option<Waker>>,
    /// The awaiting task was interrupted. It does not poll the gather any more, but waits until
    /// the gather is decided.
    interrupted: Cell<bool>,
    /// The task that polled the gather last.
    polled_in: Cell<Token>,
    /// The result was read. Panics of children that end later count as read.
    delivered: Cell<bool>,
    /// For an exploration that asks what a step touches.
    known: Known,
}

impl<C: Children> Gathering<C> {
    fn is_decided(&self) -> bool {
        self.left.get() == 0 || !self.wants_all.get() && self.failed.get().is_some()
    }

    /// The children in order, owned.
    fn list(&self) -> Vec<AnyChild> {
        (0..self.children.size()).map(|which| self.children.child(which).into()).collect()
    }

    fn count(&self, which: usize) {
        if self.delivered.get() {
            // The awaiting code knows how the gather ended; later panics are not reported again.
            AnyChild::from(self.children.child(which)).look_at();
        }
        self.left.set(self.left.get() - 1);
        if self.failed.get().is_none() && self.children.has_failed(which) {
            self.failed.set(Some(which));
        }
    }
}

#[cfg(feature = "explore")]
impl<C: Children> Gathering<C> {
    /// A child has ended. If no child has failed, the callbacks of the children only count, in any
    /// order, and the last of them wakes the awaiting task.
    fn touch(&self, which: usize) {
        let commutes = !self.delivered.get() && !self.interrupted.get() && self.failed.get().is_none();
        if !commutes || self.children.has_failed(which) || !is_noting() {
            return;
        }
        self.known.adds_only();
        if let Some(task) = context::running().and_then(|kernel| kernel.table.task(self.polled_in.get())) {
            touch(Of::Steps, task.header().id, Mode::Add);
        }
    }
}

#[cfg(not(feature = "explore"))]
impl<C> Gathering<C> {
    #[inline(always)]
    fn touch(&self, _which: usize) {}
}

impl<C: Children> Watcher for Gathering<C> {
    fn called(&self, which: u32) {
        self.touch(which as usize);
        self.count(which as usize);
        if self.is_decided() {
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
            if self.interrupted.get() {
                link_is_over(self.polled_in.get());
            }
        }
    }
}

/// The waker of a gather may belong to a poller inside the interrupted task, such as a set of
/// futures. A poller that was woken before does not wake the task again. So the task is woken
/// directly, to check again.
#[cold]
#[inline(never)]
fn link_is_over(task: Token) {
    context::loop_of(task).iter().for_each(|kernel| kernel.link_is_over(task));
}

impl<C: Children> Awaited for Gathering<C> {
    fn links(&self) -> Option<Vec<Link>> {
        (!self.is_decided()).then(|| self.list().iter().map(AnyChild::link).collect())
    }

    fn takers(&self) -> Option<Vec<Token>> {
        may_come_from_anybody(&self.list()).then(Vec::new)
    }

    fn interrupt(&self) {
        self.interrupted.set(true);
    }

    fn resume(&self) {
        self.interrupted.set(false);
    }

    fn describe(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a gather of ")?;
        describe_children(&self.list(), f)
    }
}

/// The future of [`gather`], [`try_gather`] and [`gather!`](crate::gather!).
///
/// # Examples
///
/// ```
/// use futures_util::future::select;
/// use onelane::{EventLoop, gather, sleep};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut downloads = gather([1, 2, 60].map(|n| sleep(Duration::from_secs(n))));
///     // Polls it for a while; by reference, so that it continues.
///     select(&mut downloads, sleep(Duration::from_secs(5))).await;
///     assert_eq!(format!("{downloads:?}"), "Gather { children: 3, left: 1 }");
///     assert!(downloads.await.is_ok());
/// });
/// ```
#[must_use = "the children run, but their results are lost unless the gather is awaited"]
pub struct Gather<C: Children + 'static> {
    gathering: Rc<Gathering<C>>,
    /// Our callbacks with promises. Callbacks with tasks are dropped with the tasks.
    calls: Vec<(usize, CallbackId)>,
    begun: bool,
    record: Record,
}

impl<C: Children + 'static> Gather<C> {
    #[track_caller]
    fn new(children: C) -> Self {
        let kernel = running("gather()");
        let size = children.size();
        let gathering = Rc::new(Gathering {
            children,
            left: Cell::new(size),
            failed: Cell::new(None),
            wants_all: Cell::new(false),
            waker: Cell::new(None),
            interrupted: Cell::new(false),
            polled_in: Cell::default(),
            delivered: Cell::new(false),
            known: Known::new(),
        });
        let mut calls = Vec::new();
        for which in 0..size {
            let number = u32::try_from(which).expect("fewer than 2^32 children");
            let call = || Call::Watch(gathering.clone(), number);
            match gathering.children.child(which).0 {
                Lent::Task(task) if !task.header().is_done() => {
                    kernel.table.add_waiter(task.header(), Then::Queue(call()));
                }
                Lent::Promise(promise) if !promise.is_done() => {
                    calls.push((which, CallbackId::in_promise(promise.add_call(kernel.id(), call()))));
                }
                _ => gathering.count(which),
            }
        }
        Gather { gathering, calls, begun: false, record: Record::here() }
    }

    /// Waits for all children, however they end, and returns all outcomes in the order of the
    /// arguments.
    ///
    /// asyncio: `gather(*aws, return_exceptions=True)`.
    ///
    /// # Examples
    ///
    /// ```
    /// let outcomes = onelane::EventLoop::with_virtual_clock().run(async {
    ///     let tasks = [1, 2].map(|n| onelane::spawn(async move { n }));
    ///     tasks[0].cancel();
    ///     onelane::gather(tasks).return_exceptions().await
    /// });
    /// assert_eq!(outcomes, [Err(onelane::TaskError::Cancelled), Ok(2)]);
    /// ```
    pub fn return_exceptions(self) -> GatherAll<C> {
        self.gathering.wants_all.set(true);
        GatherAll { gather: self }
    }

    /// Ready if the gather is decided. Otherwise the task is woken when it is decided.
    #[track_caller]
    fn poll_decided(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let gathering = &self.gathering;
        gathering.known.writes();
        if gathering.is_decided() {
            gathering.delivered.set(true);
            if gathering.failed.get().is_some() {
                gathering.list().iter().filter(|child| child.is_done()).for_each(AnyChild::look_at);
            }
            self.begun = false;
            self.record.end();
            return Poll::Ready(());
        }
        self.begun = true;
        let new = clone_uncounted(context.waker());
        let old = gathering.waker.replace(Some(new));
        drop(old);
        if let Some(kernel) = context::running() {
            gathering.polled_in.set(kernel.table.running_token());
        }
        self.record.begin(|| Wait::On(Rc::<Gathering<C>>::downgrade(gathering)));
        Poll::Pending
    }
}

impl<C: Children + 'static> Future for Gather<C> {
    type Output = C::Output;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        core::task::ready!(self.poll_decided(context));
        Poll::Ready(match self.gathering.failed.get() {
            Some(which) => self.gathering.children.failure(which),
            None => self.gathering.children.values(),
        })
    }
}

impl<C: Children + 'static> Drop for Gather<C> {
    fn drop(&mut self) {
        self.record.end();
        self.gathering.known.writes();
        // Dropped last: it may be another executor's waker, and its panic must not keep a child
        // alive.
        let _waker = self.gathering.waker.take();
        for (which, callback) in self.calls.drain(..) {
            AnyChild::from(self.gathering.children.child(which)).remove_call(callback);
        }
        if self.begun && !self.gathering.is_decided() {
            self.gathering.list().iter().for_each(AnyChild::abandon);
        }
    }
}

impl<C: Children + 'static> fmt::Debug for Gather<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.gathering.left.get();
        f.debug_struct("Gather").field("children", &self.gathering.children.size()).field("left", &left).finish()
    }
}

/// The future of [`Gather::return_exceptions`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, gather, spawn, yield_now};
///
/// EventLoop::with_virtual_clock().run(async {
///     let tasks = [spawn(yield_now()), spawn(yield_now())];
///     let all = gather(&tasks).return_exceptions();
///     drop(all); // not polled yet, so the tasks run on
///     assert_eq!(gather(tasks).await, Ok(vec![(), ()]));
/// });
/// ```
#[must_use = "the children run, but their results are lost unless the gather is awaited"]
pub struct GatherAll<C: Children + 'static> {
    gather: Gather<C>,
}

impl<C: Children + 'static> Future for GatherAll<C> {
    type Output = C::All;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::All> {
        core::task::ready!(self.gather.poll_decided(context));
        Poll::Ready(self.gather.gathering.children.all())
    }
}

impl<C: Children + 'static> fmt::Debug for GatherAll<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gather.fmt(f)
    }
}
