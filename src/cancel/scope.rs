//! Scopes: task groups whose children borrow from the function around them. (Elsewhere in the
//! source, a *scope* is any part of a task that an interruption does not simply drop.)
//!
//! A child borrows, so its future must not be used after the scope's future, which safe code may
//! forget at any time. Therefore the futures of the children are inside the scope's future: a poll
//! of the scope proves that the borrowed values still exist. A forgotten scope is never polled
//! again, so its children only leak. `docs/architecture.md` describes the other designs.
//!
//! Each child has a task nevertheless. The cell of this task contains a proxy, which borrows
//! nothing. A step of the proxy polls the *parent*, which is the task that polls the scope, and the
//! scope then polls the future of this one child (`kernel/cancel/through.rs`).
//!
//! ```text
//!   RunScope<'scope>                                       'static
//!   +-----------------------------------------+
//!   | RunGroup        body, errors, endings --|----------> tasks of the group: Proxy, Proxy, ..
//!   | Children        1: future  2: future    | <--------- one step: "poll number 2"
//!   +-----------------------------------------+            Parent: which task to poll, which child is due
//! ```
//!
//! All else is a task group: the proxies are its children. So the order, the errors and the
//! cancellation are a group's.
//!
//! There is no unsafe code here. The lifetime `'scope` stands in the type of the scope's future,
//! and the compiler checks the borrows.
//!
//! This file does not know how a poll goes through a task. Next: `kernel/cancel/through.rs`.

use crate::cancel::task_group::{
    ChildError, ChildFailed, GroupError, Kind, RunGroup, TaskGroup, Whereabouts, keep_result, result_of,
};
use crate::error::TaskError;
use crate::kernel::callbacks::exceptions;
use crate::kernel::cancel::through::Purpose;
use crate::kernel::cell::AnyTask;
use crate::kernel::explore::unknown;
use crate::kernel::{Kernel, State, clone_uncounted, context};
use crate::leaf::{check_loop, raise, wakes_running};
use crate::platform::resume_unwind;
use crate::task::join::Join;
use crate::task::{Task, TaskId, TaskRef};
use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, vec::Vec};
use core::any::{Any, type_name};
use core::cell::{Cell, RefCell};
use core::convert::Infallible;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, Waker, ready};

/// Runs `body` in the current task, with a scope in which it can spawn children that borrow. Ends
/// when the body and all children have ended.
///
/// A scope is a [`task_group`](crate::task_group()) whose children may borrow what lives longer
/// than the scope's future: the local variables of the function around it, shared or mutably. All
/// that a group promises holds here too: the order, the errors, and what a cancellation does.
///
/// Children may not borrow what `body` itself owns, because the body may end before its children.
/// A child that spawns children gets its own [`Scope`], a clone.
///
/// # Forgetting a scope
///
/// A scope is sound even if its future is forgotten (`mem::forget`) at any await. The futures of
/// the children are inside the scope's future. Only a poll of the scope's future polls them, and
/// while it is polled, everything that they borrow exists. A forgotten scope is not polled any
/// more, so its children stop where they are, and leak. Their tasks wait until the loop ends. A
/// task that awaits such a child waits too; cancel the child, and it ends. Only a
/// [`catch_cancel`](crate::catch_cancel()) in the child keeps it, until the loop ends. No code can
/// know that a future was forgotten, so deadlock reports show these tasks as waiting.
///
/// # How a child is stepped
///
/// Each child is a task, with a name, an id and a place in the ready queue. A step of this task
/// polls the future of the task that awaits the scope, and in there the scope polls this one child.
/// So a step of a child also polls the futures around the scope. If they only await the scope, this
/// has no effect. Timeouts, groups, scopes and cleanups of this crate pass the poll on.
///
/// Another future that waits beside the scope in the same task, in a `join!` or a `select!`, is
/// therefore polled more often than it is woken. It may continue in the step of a child, before its
/// own task is stepped.
///
/// If the scope is not polled while its task waits for something else, for example because a
/// `select!` loop is in another branch, its children are not stepped. They are stepped when the
/// scope is polled again. A combinator that polls only what was woken, such as `FuturesUnordered`,
/// is woken for each step of a child, and once more after it.
///
/// # Cancelling a scope
///
/// A cancellation of the task cancels the children, and waits for their ends, as for a group. There
/// is one difference: while a cancelled task waits for its children, it must run no further line.
/// So if something is known to wait beside the scope in the same task, or the task waits elsewhere
/// and does not poll the scope, then the futures of the children are not polled any more. Their
/// cleanups run, but a [`catch_cancel`](crate::catch_cancel()) in them does not continue, and their
/// destructors run when the scope is dropped. A wait on a future of another crate is not known.
/// Such a future may be polled while the children end. The same holds for a child that the cancelled
/// task awaits without polling the scope: it ends as cancelled, even if it catches the cancellation. So
/// does a child that a cleanup beside the scope awaits, if it would have to be polled before the cleanup
/// has ended.
///
/// A future beside the scope may continue in the last step of a cancelled child. A task that it begins
/// to await there is cancelled too.
///
/// All this also holds for a timeout or a group around the scope, when it interrupts what is inside it.
///
/// # Dropping a scope
///
/// If the scope is dropped without a cancellation, for example in a `select!` that another branch
/// has won, it drops the futures of its children at once, in the order in which they were spawned:
/// they could not continue without what they borrow. Their tasks end as cancelled. Cleanups of a
/// [`finally`](crate::finally()) in a child still run, in tasks of their own.
///
/// Cancel safety: a cancellation loses nothing, except as described above. After a drop without a
/// cancellation, errors that were not returned go to the exception handler.
///
/// asyncio has no twin, because its tasks may use any variable of the function around them.
///
/// # Errors
///
/// The panics of children.
///
/// # Panics
///
/// With the panic of `body`, when the children have ended.
///
/// # Cost
///
/// Three allocations more than a group. A child takes three more than a child of a group, and three
/// for its name with the feature `report`. A step of a child costs a poll of each future around the
/// scope, from the task's own future inward.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, scope, sleep};
/// use std::cell::Cell;
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let words = vec!["tea".to_string(), "toast".to_string()];
///     let letters = Cell::new(0);
///     let mut longest = String::new();
///     scope(async |s| {
///         for word in &words {
///             let letters = &letters;
///             s.spawn(async move {
///                 sleep(Duration::from_secs(1)).await;
///                 letters.set(letters.get() + word.len());
///             });
///         }
///         s.spawn(async { longest.clone_from(&words[1]) });
///     })
///     .await
///     .unwrap();
///     assert_eq!((letters.get(), &*longest), (8, "toast"));
/// });
/// ```
///
/// A child that borrows from the body does not compile:
///
/// ```compile_fail,E0597
/// # use onelane::{scope, yield_now};
/// # onelane::EventLoop::with_virtual_clock().run(async {
/// scope(async |s| {
///     let word = String::from("tea");
///     let borrowed = &word;
///     s.spawn(async move { println!("{borrowed}") }); // the body may end, and `word` with it
///     yield_now().await;
/// })
/// .await
/// # });
/// ```
#[doc(alias = "TaskGroup")]
#[doc(alias = "async_scope")]
#[doc(alias = "nursery")]
#[track_caller]
pub fn scope<'scope, B, F>(body: B) -> RunScope<'scope, F, Infallible>
where
    B: FnOnce(Scope<'scope, Infallible>) -> F,
    F: Future,
{
    unknown("scopes");
    RunScope::new(body)
}

/// Like [`scope()`], with errors: an `Err` of `body`, or of a child that was spawned with
/// [`try_spawn`](Scope::try_spawn), fails the scope as well.
///
/// # Errors
///
/// The errors and panics of the children, in the order in which they ended, then the error of
/// `body`.
///
/// # Panics
///
/// As for [`scope()`].
///
/// # Examples
///
/// ```
/// use onelane::{ChildError, EventLoop, sleep, try_scope};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let lines = ["3", "x", "4"].map(String::from);
///     let result = try_scope(async |s| {
///         for line in &lines {
///             s.try_spawn(async move { line.parse::<u32>().map_err(|_| &**line == "x") });
///         }
///         s.spawn(sleep(Duration::from_secs(3600))); // is cancelled
///         Ok(())
///     });
///     assert_eq!(result.await.unwrap_err().errors, [ChildError::Failed(true)]);
/// });
/// ```
#[doc(alias = "TaskGroup")]
#[track_caller]
pub fn try_scope<'scope, B, F, T, E>(body: B) -> TryRunScope<'scope, F, E>
where
    B: FnOnce(Scope<'scope, E>) -> F,
    F: Future<Output = Result<T, E>>,
    E: 'static,
{
    unknown("scopes");
    TryRunScope { scope: RunScope::new(body) }
}

/// A handle of a scope, for its body and its children. See [`scope()`].
///
/// Cloning creates another handle to the same scope. The handle cannot outlive what its children
/// may borrow:
///
/// ```compile_fail,E0597
/// # use onelane::scope;
/// # onelane::EventLoop::with_virtual_clock().run(async {
/// let mut escaped = None;
/// {
///     let word = String::from("tea");
///     scope(async |s| {
///         escaped = Some(s.clone());
///         s.spawn(async { println!("{word}") });
///     })
///     .await
///     .unwrap();
/// }
/// drop(escaped);
/// # });
/// ```
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, Scope, scope};
/// use std::cell::Cell;
///
/// /// A child spawns children of its own into the same scope.
/// fn grow<'a>(s: Scope<'a>, height: u32, leaves: &'a Cell<u32>) {
///     if height == 0 {
///         leaves.set(leaves.get() + 1);
///         return;
///     }
///     for _ in 0..2 {
///         let copy = s.clone();
///         s.spawn(async move { grow(copy, height - 1, leaves) });
///     }
/// }
///
/// EventLoop::with_virtual_clock().run(async {
///     let leaves = Cell::new(0);
///     scope(async |s| grow(s, 3, &leaves)).await.unwrap();
///     assert_eq!(leaves.get(), 8);
/// });
/// ```
pub struct Scope<'scope, E = Infallible> {
    group: TaskGroup<E>,
    futures: Rc<Futures<'scope>>,
}

impl<E> Clone for Scope<'_, E> {
    fn clone(&self) -> Self {
        Scope { group: self.group.clone(), futures: self.futures.clone() }
    }
}

/// The future of a child. Its value is stored elsewhere.
type Child<'scope> = Pin<Box<dyn Future<Output = ()> + 'scope>>;

/// The futures of the children that have not ended, by number, and so in the order in which they
/// were spawned. A future is taken out while it is polled.
struct Futures<'scope> {
    entries: RefCell<BTreeMap<u64, Entry<'scope>>>,
    spawned: Cell<u64>,
    /// The scope was dropped.
    is_gone: Cell<bool>,
    parent: Rc<Parent>,
}

struct Entry<'scope> {
    future: Option<Child<'scope>>,
    task: AnyTask,
    note: Rc<Note>,
}

/// What a child's task and its scope both know. It borrows nothing.
#[derive(Default)]
struct Note {
    state: Cell<ChildState>,
    /// A step of the child has not reached the scope.
    is_missed: Cell<bool>,
    /// The panic of the future.
    panic: Cell<Option<Box<dyn Any + Send>>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum ChildState {
    /// The scope has the future.
    #[default]
    Lives,
    /// The future has returned or panicked, and was dropped.
    Ended,
    /// The future was dropped, before it returned: by its task, or with the scope.
    Dropped,
    /// The task has ended, but could not reach the scope, which will drop the future.
    Abandoned,
}

/// How a step of a child reaches the scope. It borrows nothing.
struct Parent {
    /// Where the scope is in the task that has polled it last. `None` if no task has.
    whereabouts: Box<dyn Fn() -> Option<Whereabouts>>,
    /// The waker of the last poll.
    waker: Cell<Option<Waker>>,
    /// The child for which the parent is being polled.
    due: Cell<Option<Due>>,
    /// The numbers of children whose steps have not reached the scope. They are due at its next
    /// poll.
    missed: RefCell<Vec<u64>>,
    /// A step has not reached the scope, so others will not either until it is polled again.
    is_out_of_reach: Cell<bool>,
}

/// Whether the step of a child has reached the scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    Reached,
    /// The child is due when the scope is polled next.
    Missed,
    /// The parent unwinds, and nothing will poll the scope before the child has ended.
    Never,
}

/// What is to be done with a child, as its running task.
#[derive(Clone, Copy, Debug)]
struct Due {
    number: u64,
    what: What,
    /// Where the poll goes from here, if the child contains a scope whose child is stepped.
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Poll,
    Drop,
}

impl Parent {
    fn address(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Polls the parent, so that the scope polls or drops the future of a child. If the scope is
    /// not reached, it does so when it is polled next.
    fn reach(&self, number: u64, note: &Note, what: What) -> Reach {
        let Some(kernel) = context::running() else { return Reach::Missed };
        let purpose = kernel.purpose();
        let due = Due { number, what, purpose };
        let place = (self.whereabouts)();
        let may_poll = |place: &&Whereabouts| {
            (!self.is_out_of_reach.get() || kernel.may_never_be_polled(place.key.task))
                && kernel.may_poll_through(place.key, place.body_waits.as_deref())
        };
        if let Some(place) = place.as_ref().filter(may_poll) {
            self.due.set(Some(due));
            let mut is_woken = false;
            kernel.poll_through(place.key.task, self.address(), || is_woken = self.wake_combinator(&kernel));
            if self.due.take().is_none() {
                return Reach::Reached;
            }
            if is_woken {
                // What has been woken may not have been polled, so now the wake counts.
                kernel.table.wake(place.key.task);
            }
        }
        self.is_out_of_reach.set(true);
        let child = kernel.current().filter(|_| what == What::Poll);
        child.iter().for_each(|child| child.header().set_missed(true));
        let scope = place.as_ref().map(|place| place.key);
        let is_given_up = || child.is_some_and(|child| kernel.waits_for_missed(scope, child.header().token()));
        let is_left = place.as_ref().is_some_and(|place| place.body_waits.is_some());
        let reach = if is_left || is_given_up() { Reach::Never } else { Reach::Missed };
        if what == What::Poll && !purpose.is_of_itself() {
            // Only the inner scope has missed something. It has woken this child.
            return reach;
        }
        let is_new = !note.is_missed.replace(true);
        if is_new {
            self.missed.borrow_mut().push(number);
        }
        if reach == Reach::Never {
            return Reach::Never;
        }
        if !is_new {
            return Reach::Missed;
        }
        if let Some(waker) = self.waker.take() {
            exceptions::tolerate(kernel.id(), exceptions::IN_A_WAKER, || waker.wake_by_ref());
            self.keep(waker);
        }
        Reach::Missed
    }

    /// If something in the parent polls the scope with a waker of its own, it polls the scope only
    /// after a wake. Called as the parent. Returns whether this has woken the parent; the wake does
    /// not count, because the parent is about to be polled.
    fn wake_combinator(&self, kernel: &Kernel) -> bool {
        let Some(waker) = self.waker.take() else { return false };
        let is_woken = !wakes_running(&waker) && kernel.wake_within(|| waker.wake_by_ref());
        self.keep(waker);
        is_woken
    }

    fn keep(&self, waker: Waker) {
        drop(self.waker.replace(Some(waker)));
    }
}

/// The future in the cell of a child's task.
struct Proxy {
    parent: Rc<Parent>,
    number: u64,
    note: Rc<Note>,
}

impl Future for Proxy {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let lives = self.note.state.get() == ChildState::Lives;
        if lives && self.parent.reach(self.number, &self.note, What::Poll) == Reach::Never {
            // The unwinding of the parent waits for this child.
            self.note.state.set(ChildState::Abandoned);
        }
        match self.note.state.get() {
            ChildState::Lives => Poll::Pending,
            ChildState::Ended => {
                if let Some(payload) = self.note.panic.take() {
                    resume_unwind(payload);
                }
                Poll::Ready(())
            }
            ChildState::Dropped | ChildState::Abandoned => {
                raise(context);
                Poll::Pending
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if self.note.state.get() == ChildState::Lives {
            self.parent.reach(self.number, &self.note, What::Drop);
            if self.note.state.get() == ChildState::Lives {
                self.note.state.set(ChildState::Abandoned);
            }
        }
        // The panic of a destructor; or of the future, if the task was cancelled before its next
        // step.
        if let Some(payload) = self.note.panic.take() {
            if crate::platform::panicking() {
                return exceptions::drop_payload(payload);
            }
            resume_unwind(payload);
        }
    }
}

impl<'scope> Futures<'scope> {
    fn new(whereabouts: impl Fn() -> Option<Whereabouts> + 'static) -> Self {
        let parent = Parent {
            whereabouts: Box::new(whereabouts),
            waker: Cell::new(None),
            due: Cell::new(None),
            missed: RefCell::default(),
            is_out_of_reach: Cell::new(true),
        };
        Futures {
            entries: RefCell::default(),
            spawned: Cell::new(0),
            is_gone: Cell::new(false),
            parent: Rc::new(parent),
        }
    }

    /// The scope is polled by its own task. Children whose steps have not reached it come first.
    fn polled(&self, kernel: &Kernel, context: &Context<'_>) {
        // A separate statement: a panic hook is user code.
        let child = self.entries.borrow().values().next().map(|entry| entry.task.clone());
        if let Some(child) = child {
            check_loop(kernel, child.header());
        }
        let parent = &self.parent;
        parent.keep(clone_uncounted(context.waker()));
        parent.is_out_of_reach.set(false);
        for number in parent.missed.take() {
            // If the child's task has ended since, the future is only dropped.
            if let Some(task) = self.act(kernel, Due { number, what: What::Poll, purpose: Purpose::default() }) {
                kernel.table.wake(task.header().token());
            }
        }
    }

    /// Polls or drops the future of a child, as its running task. Returns the task if it has to be
    /// stepped because the future is gone.
    fn act(&self, kernel: &Kernel, Due { number, what, purpose }: Due) -> Option<AnyTask> {
        let mut entries = self.entries.borrow_mut();
        let entry = entries.get_mut(&number)?;
        let mut future = Some(entry.future.take()?);
        let (task, note) = (entry.task.clone(), entry.note.clone());
        drop(entries);
        note.is_missed.set(false);
        task.header().set_missed(false);
        let is_abandoned = note.state.get() == ChildState::Abandoned;
        let polled = kernel.poll_as(&task, purpose, |context| {
            let polled = match &mut future {
                Some(future) if what == What::Poll && !is_abandoned => future.as_mut().poll(context),
                _ => Poll::Ready(()),
            };
            if polled.is_ready() {
                future = None;
            }
            polled
        });
        if let Ok(Poll::Pending) = polled {
            if let Some(entry) = self.entries.borrow_mut().get_mut(&number) {
                entry.future = future;
            }
            return None;
        }
        let token = task.header().token();
        if future.is_some() {
            // The future has panicked in its poll, so its destructor has not run.
            let dropped = kernel.poll_as(&task, purpose, |_| future = None);
            exceptions::tolerate_of(token, || dropped.unwrap_or_else(|payload| resume_unwind(payload)));
        }
        let entry = self.entries.borrow_mut().remove(&number);
        drop(entry);
        if is_abandoned {
            exceptions::tolerate_of(token, || _ = polled.unwrap_or_else(|payload| resume_unwind(payload)));
            return None;
        }
        note.panic.set(polled.err());
        note.state.set(if what == What::Poll { ChildState::Ended } else { ChildState::Dropped });
        Some(task)
    }

    /// The scope is dropped, so all futures are.
    fn clear(&self) {
        let parent = &self.parent;
        drop(parent.waker.take());
        parent.missed.take();
        parent.is_out_of_reach.set(true);
        while let Some(number) = self.first() {
            let entry = self.entries.borrow_mut().remove(&number);
            let Some(Entry { future, task, note }) = entry else { continue };
            if note.state.get() == ChildState::Lives {
                note.state.set(ChildState::Dropped);
            }
            let token = task.header().token();
            exceptions::tolerate_of(token, || match context::running().filter(|kernel| kernel.has(token)) {
                Some(kernel) => {
                    let dropped = kernel.poll_as(&task, Purpose::default(), |_| drop(future));
                    if kernel.table.state(task.header()) == State::Waiting {
                        // What would have woken it was dropped.
                        kernel.table.wake(token);
                    }
                    dropped.unwrap_or_else(|payload| resume_unwind(payload));
                }
                None => drop(future),
            });
        }
        self.is_gone.set(true);
    }

    fn first(&self) -> Option<u64> {
        self.entries.borrow().keys().next().copied()
    }
}

/// Owns the children's futures, although handles keep the collection: they are dropped with this.
struct Children<'scope>(Rc<Futures<'scope>>);

impl Drop for Children<'_> {
    fn drop(&mut self) {
        self.0.clear();
    }
}

static SCOPE: Kind = Kind {
    name: "scope",
    short: "scope",
    spawn: "Scope::spawn()",
    lost: "a child of a scope failed, and its scope was dropped before it could tell",
    in_a_body: "the body of a scope panicked, and the scope ended before its children had",
    polled_again: "a scope was polled after it was ready",
};

impl<'scope, E: 'static> Scope<'scope, E> {
    /// Spawns a child, which may borrow what lives longer than the scope's future. While the scope
    /// ends because of a failure or a cancellation, the child is cancelled at once.
    ///
    /// The child begins in the next turn, behind everything that is ready now. A child that is
    /// spawned before the scope is first polled begins after that poll.
    ///
    /// # Panics
    ///
    /// If the scope has ended: its body and all children have ended. If no loop is running on this
    /// thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, scope};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let words = ["tea", "toast"].map(String::from);
    ///     let longest = scope(async |s| {
    ///         // A child may also return what it borrows.
    ///         let child = s.spawn(async { words.iter().max_by_key(|word| word.len()) });
    ///         child.await.unwrap()
    ///     });
    ///     assert_eq!(longest.await, Ok(Some(&words[1])));
    /// });
    /// ```
    ///
    /// Two children cannot borrow the same value mutably:
    ///
    /// ```compile_fail,E0499
    /// # use onelane::scope;
    /// # onelane::EventLoop::with_virtual_clock().run(async {
    /// let mut total = 0;
    /// scope(async |s| {
    ///     s.spawn(async { total += 1 });
    ///     s.spawn(async { total += 2 });
    /// })
    /// .await
    /// # });
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn spawn<T, F>(&self, future: F) -> ScopedTask<T>
    where
        F: Future<Output = T> + 'scope,
        T: 'scope,
    {
        self.add(type_name::<F>(), future, || None)
    }

    /// Like [`spawn`](Self::spawn). An `Err` fails the scope, which takes the error. An await of
    /// the child returns [`ChildFailed`].
    ///
    /// # Panics
    ///
    /// As for [`spawn`](Self::spawn).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, try_scope};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let texts = ["3", "4"].map(String::from);
    ///     let total = try_scope(async |s| {
    ///         let mut total = 0;
    ///         for text in &texts {
    ///             // The scope reports the first two errors.
    ///             total += s.try_spawn(async { text.parse::<u32>() }).await.unwrap().unwrap();
    ///         }
    ///         Ok(total)
    ///     });
    ///     assert_eq!(total.await, Ok(7));
    /// });
    /// ```
    #[doc(alias = "create_task")]
    #[track_caller]
    pub fn try_spawn<T, F>(&self, future: F) -> ScopedTask<Result<T, ChildFailed>>
    where
        F: Future<Output = Result<T, E>> + 'scope,
        T: 'scope,
    {
        let error = Rc::new(Cell::new(None));
        let copy = error.clone();
        let child = async move {
            future.await.map_err(|error| {
                copy.set(Some(error));
                keep_result();
                ChildFailed
            })
        };
        self.add(type_name::<F>(), child, move || error.take())
    }

    /// Spawns the proxy into the group, and keeps the future. The child is named after the type
    /// `named`.
    #[track_caller]
    fn add<T, F>(&self, named: &str, future: F, error: impl FnOnce() -> Option<E> + 'static) -> ScopedTask<T>
    where
        F: Future<Output = T> + 'scope,
        T: 'scope,
    {
        let futures = &self.futures;
        let number = futures.spawned.get();
        futures.spawned.set(number + 1);
        let note = Rc::<Note>::default();
        let proxy = Proxy { parent: futures.parent.clone(), number, note: note.clone() };
        let task = self.group.add(Some(named), proxy, error, |()| true);
        let value = Rc::new(Cell::new(None));
        let copy = value.clone();
        let future: Child<'scope> = Box::pin(async move { copy.set(Some(future.await)) });
        let entry = Entry { future: Some(future), task: task.erased(), note };
        futures.entries.borrow_mut().insert(number, entry);
        if futures.is_gone.get() {
            // A cancellation still waits for the children. A future that stayed here would leak if it
            // had a handle of the scope.
            futures.clear();
        }
        ScopedTask { task, value }
    }

    /// Cancels the scope: its children are cancelled, also those that are spawned from now on. Its
    /// body is interrupted where it waits, or when it next suspends. This does what
    /// [`TaskGroup::cancel`] does.
    ///
    /// # Examples
    ///
    /// The first child that finds something ends the search:
    ///
    /// ```
    /// use onelane::{EventLoop, scope, sleep};
    /// use std::{cell::Cell, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let found = Cell::new(None);
    ///     let result = scope(async |s| {
    ///         for place in [30, 10, 20] {
    ///             let (whole, found) = (s.clone(), &found);
    ///             s.spawn(async move {
    ///                 sleep(Duration::from_secs(place)).await;
    ///                 found.set(Some(place));
    ///                 whole.cancel();
    ///             });
    ///         }
    ///     });
    ///     assert_eq!((result.await, found.get()), (Ok(()), Some(10)));
    /// });
    /// ```
    #[doc(alias = "cancel_scope")]
    pub fn cancel(&self) {
        self.group.cancel();
    }
}

impl<E> fmt::Debug for Scope<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("group", &self.group).finish_non_exhaustive()
    }
}

/// A child of a [`scope()`], whose result is a `T` that may borrow.
///
/// Await it to get `Result<T, TaskError>`. Dropping it detaches the child: it continues to run, and
/// the scope waits for its end. Dropping an await of it, after its first poll, cancels the child.
///
/// For functions that take tasks, such as [`wait`](crate::wait()), use
/// [`task_ref`](Self::task_ref).
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, ScopedTask, TaskError, scope, sleep};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let name = String::from("tea");
///     scope(async |s| {
///         let child: ScopedTask<&str> = s.spawn(async { &name[..1] });
///         let other = s.spawn(sleep(Duration::from_secs(3600)));
///         assert_eq!(child.await, Ok("t"));
///         other.cancel();
///         assert_eq!(other.await, Err(TaskError::Cancelled));
///     })
///     .await
///     .unwrap();
/// });
/// ```
pub struct ScopedTask<T> {
    task: Task<()>,
    value: Rc<Cell<Option<T>>>,
}

impl<T> ScopedTask<T> {
    /// Cancels the child, like [`Task::cancel`]. Returns false if it has already ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, scope};
    ///
    /// EventLoop::with_virtual_clock().run(scope(async |s| {
    ///     let child = s.spawn(async { unreachable!() });
    ///     assert!(child.cancel());
    ///     assert!(child.await.unwrap_err().is_cancelled());
    /// }))
    /// .unwrap(); // the child's cancellation does not affect the scope
    /// ```
    pub fn cancel(&self) -> bool {
        self.task.cancel()
    }

    /// Whether the child has ended in any way.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, scope};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let child = scope(async |s| s.spawn(async {})).await.unwrap();
    ///     assert!(child.is_done());
    /// });
    /// ```
    #[doc(alias = "done")]
    pub fn is_done(&self) -> bool {
        self.task.is_done()
    }

    /// Whether the child has ended because it was cancelled.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, scope};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let children = scope(async |s| {
    ///         let children = [1, 2].map(|n| s.spawn(async move { n }));
    ///         children[0].cancel();
    ///         children
    ///     });
    ///     assert_eq!(children.await.unwrap().map(|child| child.is_cancelled()), [true, false]);
    /// });
    /// ```
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.task.is_cancelled()
    }

    /// Returns the name, as [`Task::name`] does.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, scope};
    ///
    /// EventLoop::with_virtual_clock().run(scope(async |s| {
    ///     assert_eq!(&*s.spawn(async {}).name(), "main-2");
    /// }))
    /// .unwrap();
    /// ```
    #[doc(alias = "get_name")]
    pub fn name(&self) -> Rc<str> {
        self.task.name()
    }

    /// Renames the child.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, current_task, scope};
    ///
    /// EventLoop::with_virtual_clock().run(scope(async |s| {
    ///     let child = s.spawn(async { current_task().unwrap().name() });
    ///     child.set_name("tea");
    ///     assert_eq!(&*child.await.unwrap(), "tea");
    /// }))
    /// .unwrap();
    /// ```
    pub fn set_name(&self, name: impl Into<Rc<str>>) {
        self.task.set_name(name);
    }

    /// Returns the id. The tasks of a loop are numbered from 1.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, current_task, scope};
    ///
    /// EventLoop::with_virtual_clock().run(scope(async |s| {
    ///     let child = s.spawn(async { current_task().unwrap().id() });
    ///     let id = child.id();
    ///     assert_eq!(child.await, Ok(id)); // it is the same from inside
    /// }))
    /// .unwrap();
    /// ```
    pub fn id(&self) -> TaskId {
        self.task.id()
    }

    /// Returns a reference to the child's task without the type of its output. It borrows nothing,
    /// and may outlive the scope.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, ReturnWhen, scope, sleep, wait};
    /// use std::time::Duration;
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let seconds = [30, 10, 20];
    ///     scope(async |s| {
    ///         let children = seconds.iter().map(|&n| s.spawn(sleep(Duration::from_secs(n))));
    ///         let tasks: Vec<_> = children.map(|child| child.task_ref()).collect();
    ///         let (done, pending) = wait(&tasks).return_when(ReturnWhen::FirstCompleted).await;
    ///         assert_eq!((done[0], pending.len()), (&tasks[1], 2));
    ///     })
    ///     .await
    ///     .unwrap();
    /// });
    /// ```
    pub fn task_ref(&self) -> TaskRef {
        self.task.task_ref()
    }
}

impl<T> IntoFuture for ScopedTask<T> {
    type Output = Result<T, TaskError>;
    type IntoFuture = ScopedJoin<T>;

    #[track_caller]
    fn into_future(self) -> ScopedJoin<T> {
        ScopedJoin { join: self.task.into_future(), value: self.value }
    }
}

impl<T> fmt::Debug for ScopedTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.task.fmt(f)
    }
}

/// An await of a [`ScopedTask`], as `child.into_future()` returns it. Behaves like
/// [`Join`].
///
/// Cancel safety: **dropping the await after its first poll cancels the child**.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, ScopedJoin, scope};
///
/// EventLoop::with_virtual_clock().run(async {
///     let words = ["tea", "toast"].map(String::from);
///     scope(async |s| {
///         let mut children: Vec<ScopedJoin<usize>> =
///             words.iter().map(|word| s.spawn(async { word.len() }).into_future()).collect();
///         assert_eq!(children.pop().unwrap().await, Ok(5));
///     })
///     .await
///     .unwrap();
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct ScopedJoin<T> {
    join: Join<()>,
    value: Rc<Cell<Option<T>>>,
}

impl<T> Future for ScopedJoin<T> {
    type Output = Result<T, TaskError>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(Pin::new(&mut self.join).poll(context))?;
        Poll::Ready(Ok(self.value.take().expect("a child that has returned has left its value")))
    }
}

impl<T> fmt::Debug for ScopedJoin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedJoin").field("join", &self.join).finish_non_exhaustive()
    }
}

/// The future of [`scope()`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, scope, sleep, timeout};
/// use std::cell::Cell;
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let steps = Cell::new(0);
///     // A future like any other: here with a limit of time.
///     let count = scope(async |s| {
///         s.spawn(async {
///             loop {
///                 sleep(Duration::from_secs(1)).await;
///                 steps.set(steps.get() + 1);
///             }
///         });
///     });
///     assert!(timeout(Duration::from_millis(3500), count).await.is_err());
///     assert_eq!(steps.get(), 3);
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct RunScope<'scope, F: Future, E: 'static> {
    // In this order: the body is dropped before the children's futures, as in a group.
    group: RunGroup<F, E>,
    children: Children<'scope>,
}

impl<'scope, F: Future, E: 'static> RunScope<'scope, F, E> {
    #[track_caller]
    fn new(body: impl FnOnce(Scope<'scope, E>) -> F) -> Self {
        let mut children = None;
        let group = RunGroup::new(|group| {
            let futures = Rc::new(Futures::new(group.whereabouts(&SCOPE)));
            children = Some(Children(futures.clone()));
            body(Scope { group, futures })
        });
        RunScope { group, children: children.expect("a group calls the function that makes its body") }
    }

    /// See `RunGroup::poll_ended`.
    #[expect(clippy::type_complexity, reason = "it is taken apart at once, in two places")]
    #[track_caller]
    fn poll_ended(
        &mut self,
        has_failed: impl FnOnce(&F::Output) -> bool,
        context: &mut Context<'_>,
    ) -> Poll<(Option<F::Output>, Vec<ChildError<E>>)> {
        if let Some(kernel) = context::running() {
            let Children(futures) = &self.children;
            let target = kernel.target();
            kernel.defers(context.waker());
            if target == futures.parent.address() {
                // The parent is polled for this child alone.
                if let Some(due) = futures.parent.due.take() {
                    futures.act(&kernel, due);
                }
                return Poll::Pending;
            }
            if target != 0 {
                // Perhaps the scope begins in this poll. A child that misses it wakes the task, which
                // then polls the scope for itself.
                futures.parent.keep(clone_uncounted(context.waker()));
            } else if !kernel.only_drops() {
                futures.polled(&kernel, context);
            }
        }
        self.group.poll_ended(has_failed, context)
    }
}

impl<F: Future> Future for RunScope<'_, F, Infallible> {
    type Output = Result<F::Output, GroupError<Infallible>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (output, errors) = ready!(self.poll_ended(|_| false, context));
        Poll::Ready(match output {
            Some(output) if errors.is_empty() => Ok(output),
            // The scope has failed, or was cancelled by a handle.
            _ => Err(GroupError { errors }),
        })
    }
}

impl<F: Future, E> fmt::Debug for RunScope<'_, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunScope").field("group", &self.group).finish_non_exhaustive()
    }
}

/// The future of [`try_scope`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, TryRunScope, sleep, try_scope};
/// use std::time::Duration;
///
/// /// Stores a scope, and so needs a name for its type.
/// struct Job<'a, F: Future>(TryRunScope<'a, F, &'static str>);
///
/// EventLoop::with_virtual_clock().run(async {
///     let limit = 60;
///     let job = Job(try_scope(async |s| {
///         s.try_spawn(async {
///             sleep(Duration::from_secs(limit)).await;
///             Err::<(), _>("too late")
///         });
///         Ok(())
///     }));
///     assert_eq!(job.0.await.unwrap_err().errors.len(), 1);
/// });
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct TryRunScope<'scope, F: Future, E: 'static> {
    scope: RunScope<'scope, F, E>,
}

impl<F, T, E> Future for TryRunScope<'_, F, E>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, GroupError<E>>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (output, errors) = ready!(self.scope.poll_ended(|output| output.is_err(), context));
        Poll::Ready(result_of(output, errors))
    }
}

impl<F: Future, E> fmt::Debug for TryRunScope<'_, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scope.fmt(f)
    }
}
