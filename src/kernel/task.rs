//! The task cell: a task's future, its outcome and its bookkeeping, in one allocation.
//!
//! The cell is counted (`Rc`): the waker table holds it while the task lives, handles hold it as long as they like. The
//! future is dropped when the task ends, the rest of the cell with its last holder.
//!
//! ```text
//!            spawn
//!              | 1
//!              v        2                  3
//!           QUEUED ----------> RUNNING ----------> DONE
//!            ^  ^               |   |
//!          5 |  |       4       |   | 6
//!            |  +---------------+   v
//!            +---------------- WAITING
//!
//!   1 Kernel::spawn          2 Wakers::switch
//!   3 Kernel::finish         4 Wakers::switch, if it was woken while it ran
//!   5 Wakers::wake           6 Wakers::switch
//! ```
//!
//! Between its cancellation and its end a task may be unwinding (`unwind.rs`): it is queued, running and waiting as before,
//! but its steps poll cleanups.
//!
//! `QUEUED` and `WAITING` are `Header::life`, `RUNNING` is the one task of `Wakers::running`, `DONE` is `Header::ending`.
//!
//! Does not know the loop: whoever needs it looks it up by `Header::loop_id`. Next: `wakers.rs`.
#![allow(unsafe_code, reason = "pins a future inside of a shared cell, and forgets a lifetime (`lend`)")]

use super::calls::Call;
use super::clock::Time;
use super::exceptions::{self, Exception};
use super::locals::Locals;
use super::token::Token;
use crate::error::TaskError;
use std::cell::{Cell, OnceCell, RefCell, UnsafeCell};
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::Pin;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

/// How a task ended.
pub(crate) type Outcome<T> = Result<T, TaskError>;

/// In `Header::life`: the task stands in the ready queue, once (READY-1), or is being stepped.
pub(super) const QUEUED: u8 = 1;
/// In `Header::life`: it was cancelled; when it is stepped next, it unwinds, and its future is dropped.
pub(super) const CONDEMNED: u8 = 2;
/// In `Header::life`: the cancellation has come to its scopes, and the cleanup of one is not through.
pub(super) const UNWINDING: u8 = 4;

/// In `Header::life`: it was cancelled in a circle, or at the end of the loop, and is not to wait for what it awaits.
pub(super) const FORCED: u8 = 8;

/// What is known of a task without knowing its type.
pub(crate) struct Header {
    // The waker table's: it alone writes here. `whole`, `waker` and `token` are set when the task is put into it.
    /// The cell of this header, with the right to count it.
    pub(super) whole: Cell<Option<NonNull<dyn AnyTask>>>,
    pub(super) waker: OnceCell<Waker>,
    pub(super) token: Cell<Token>,
    /// Of `QUEUED`, `CONDEMNED`, `UNWINDING` and `FORCED`.
    pub(super) life: Cell<u8>,

    // Fixed when the task is made.
    pub(crate) id: u64,
    pub(crate) loop_id: u64,
    pub(crate) spawned_at: &'static Location<'static>,

    // The life of the task; the kernel writes.
    /// None while the task lives.
    pub(crate) ending: Cell<Option<Ending>>,
    /// Somebody has looked at the outcome, so a panic is known.
    pub(crate) looked_at: Cell<bool>,
    /// How often a cancellation was asked for.
    pub(crate) cancelling: Cell<u32>,
    /// The last spread of a cancellation that came by here (`cancel.rs`).
    pub(crate) visited: Cell<u64>,
    /// Borrowed in this file alone, and while no foreign code runs.
    lists: RefCell<Lists>,
}

/// What a task waits for, and who waits for it. Both are nearly always none or one, so the first of each stands here, and needs
/// no memory of its own; the others stand in `Rare`, behind it.
#[derive(Default)]
struct Lists {
    wait: Option<(u64, Wait)>,
    waiter: Option<(u64, Then)>,
    /// The number of the last wait or waiter. Each has its own, so that one that has gone is not taken for another.
    numbered: u64,
    rare: Option<Box<Rare>>,
}

/// What few tasks have.
#[derive(Default)]
struct Rare {
    name: Option<Rc<str>>,
    /// By their numbers, so in the order in which they came. Thousands may wait for one task, and give up in any order.
    waits: BTreeMap<u64, Wait>,
    waiters: BTreeMap<u64, Then>,
    /// By their numbers, so those inside stand behind those around them.
    scopes: Vec<EnteredScope>,
    /// While it is unwinding, and no step has taken it out.
    unwinding: Option<Unwinding>,
    /// While it is unwinding, the last number from before: what waited then is not polled any more.
    frozen: u64,
    /// The scope that caught a cancellation last.
    caught: u64,
    locals: Locals,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Value,
    Cancelled,
    Panicked,
}

/// What a task waits for, as its leaf futures have it.
pub(crate) enum Wait {
    /// A moment.
    Sleep(Time),
    /// The end of a task: a link, on which a cancellation goes on.
    Task(Token),
    /// Anything else. Not owned: what a task waits for is its future's, and must not outlive it in here.
    On(Weak<dyn Awaited>),
}

/// What a task can wait for other than a moment and one task: several tasks, a lock, a promise.
pub(crate) trait Awaited {
    /// The tasks to which a cancellation of the waiting task goes on. None if it stays with that task.
    fn links(&self) -> Option<Vec<Rc<dyn AnyTask>>> {
        None
    }

    /// The waiting task was cancelled, or a timeout around the wait has expired: the future that waits will be dropped, so
    /// nothing is to be given to it from now on. Called where nothing is borrowed; may wake.
    fn interrupt(&self) {}

    /// The cancellation was taken back before the future was dropped.
    fn resume(&self) {}

    /// The future that waits is not dropped soon: it stands beside a cleanup, or its task waits for its children. What it was
    /// given meanwhile goes to others. Called where nothing is borrowed; may wake.
    fn give_way(&self) {}

    /// What is waited for, for people.
    fn describe(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result;
}

/// A part of a task's future that a cancellation does not just drop: it cleans up, or goes on behind it.
pub(crate) trait Scope {
    /// A cancellation has come to this scope, and those inside of it are through. If it comes by a panic of a cleanup, it is
    /// not to be caught.
    fn unwind(&self, panicked: bool) -> Unwound;

    /// Drops what was polled here so far, in which the cancellation arose. Called after `unwind` has answered
    /// `CleansUp`, before the first `poll_cleanup`.
    fn drop_body(&self);

    /// After a panic it is over.
    fn poll_cleanup(&self, context: &mut Context<'_>) -> Poll<()>;
}

struct EnteredScope {
    number: u64,
    /// Not owned, for the reason of `Wait::On`.
    scope: Weak<dyn Scope>,
    /// Since its cleanup began, the last number from before.
    cleaning: Option<u64>,
    /// Its cleanup is to end: the time of a timeout around it is up.
    is_late: bool,
}

/// What a scope makes of a cancellation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unwound {
    /// It goes on to the scope around this one.
    Through,
    /// It goes on when a cleanup has ended.
    CleansUp,
    /// It ends here, and the future around this scope goes on.
    Caught,
}

/// A cancellation on its way from scope to scope, innermost first. What it does is told in `unwind.rs`.
pub(crate) struct Unwinding {
    /// It has not come yet to the scopes of this number and lower ones.
    pub(super) doomed: u64,
    /// The scopes that clean up, each inside of the cleanup before it: the last is polled. They keep their place among the task's
    /// scopes until they are through.
    pub(super) cleaning: Vec<(u64, Rc<dyn Scope>)>,
    /// How the task will end. A panic in a cleanup takes the place of the cancellation.
    pub(super) error: TaskError,
}

/// What is to be done at a task's end.
pub(crate) enum Then {
    /// Wake whoever awaits.
    Wake(Waker),
    /// Queue a callback.
    Queue(Call),
}

impl Header {
    #[inline]
    pub(crate) fn new(id: u64, loop_id: u64, spawned_at: &'static Location<'static>, name: Option<Rc<str>>) -> Self {
        Header {
            whole: Cell::new(None),
            waker: OnceCell::new(),
            token: Cell::new(Token::NOBODY),
            life: Cell::new(0),
            id,
            loop_id,
            spawned_at,
            ending: Cell::new(None),
            looked_at: Cell::new(false),
            cancelling: Cell::new(0),
            visited: Cell::new(0),
            lists: RefCell::new(Lists {
                wait: None,
                waiter: None,
                numbered: 0,
                rare: name.map(|name| Box::new(Rare { name: Some(name), ..Rare::default() })),
            }),
        }
    }

    /// Names the task in its loop.
    pub(crate) fn token(&self) -> Token {
        self.token.get()
    }

    /// Whether `waker` wakes the task.
    pub(crate) fn wakes_by(&self, waker: &Waker) -> bool {
        self.waker.get().is_some_and(|own| own.will_wake(waker))
    }

    /// What wakes the task.
    pub(super) fn waker(&self) -> Waker {
        self.waker.get().expect("READY-1: a task that was never inserted").clone()
    }

    /// It was cancelled, and has not ended.
    pub(crate) fn is_ending(&self) -> bool {
        self.life.get() & (CONDEMNED | UNWINDING) != 0
    }

    pub(crate) fn is_unwinding(&self) -> bool {
        self.life.get() & UNWINDING != 0
    }

    pub(crate) fn is_condemned(&self) -> bool {
        self.life.get() & CONDEMNED != 0
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.ending.get().is_some()
    }

    pub(crate) fn name(&self) -> Rc<str> {
        let name = self.lists.borrow().rare.as_ref().and_then(|rare| rare.name.clone());
        name.unwrap_or_else(|| Rc::from(format!("Task-{}", self.id)))
    }

    pub(crate) fn set_name(&self, name: Rc<str>) {
        self.lists.borrow_mut().rare().name = Some(name);
    }

    // ---- what it waits for ----

    /// Answers a number under which the wait can be found again.
    #[inline]
    pub(crate) fn add_wait(&self, wait: Wait) -> u64 {
        let mut lists = self.lists.borrow_mut();
        lists.numbered += 1;
        let number = lists.numbered;
        if lists.wait.is_none() && lists.rare.as_ref().is_none_or(|rare| rare.waits.is_empty()) {
            lists.wait = Some((number, wait));
        } else {
            lists.rare().waits.insert(number, wait);
        }
        number
    }

    #[inline]
    pub(crate) fn remove_wait(&self, number: u64) {
        let mut lists = self.lists.borrow_mut();
        if lists.wait.take_if(|(first, _)| *first == number).is_some() {
            return;
        }
        if let Some(rare) = &mut lists.rare {
            // What is removed owns nothing, so no foreign code runs.
            rare.waits.remove(&number);
        }
    }

    /// The number of the last wait or waiter: those that come later have higher ones.
    pub(crate) fn numbered(&self) -> u64 {
        self.lists.borrow().numbered
    }

    /// Shows what it waits for, with its numbers, to `look`, which must call no foreign code. While it unwinds, that is what
    /// its cleanups wait for.
    pub(crate) fn each_wait(&self, mut look: impl FnMut(u64, &Wait)) {
        let frozen = self.lists.borrow().rare.as_ref().map_or(0, |rare| rare.frozen);
        self.each_wait_of_all(|number, wait| {
            if number > frozen {
                look(number, wait);
            }
        });
    }

    /// As `each_wait`, with what stands beside its cleanups.
    pub(crate) fn each_wait_of_all(&self, mut look: impl FnMut(u64, &Wait)) {
        let lists = self.lists.borrow();
        if let Some((number, wait)) = &lists.wait {
            look(*number, wait);
        }
        for (number, wait) in lists.rare.iter().flat_map(|rare| &rare.waits) {
            look(*number, wait);
        }
    }

    // ---- how it unwinds ----

    /// Answers the number of the scope. The task enters it after those that it has entered before.
    pub(crate) fn add_scope(&self, scope: Weak<dyn Scope>) -> u64 {
        let mut lists = self.lists.borrow_mut();
        lists.numbered += 1;
        let number = lists.numbered;
        lists.rare().scopes.push(EnteredScope { number, scope, cleaning: None, is_late: false });
        number
    }

    pub(crate) fn remove_scope(&self, number: u64) {
        if let Some(rare) = &mut self.lists.borrow_mut().rare {
            // What is removed owns nothing, so no foreign code runs.
            rare.scopes.retain(|entered| entered.number != number);
        }
    }

    /// The innermost scope of those whose numbers count.
    pub(crate) fn innermost_scope(&self, counts: impl Fn(u64) -> bool) -> Option<(u64, Rc<dyn Scope>)> {
        let lists = self.lists.borrow();
        let mut scopes = lists.rare.as_ref()?.scopes.iter().rev().filter(|entered| counts(entered.number));
        scopes.find_map(|entered| Some((entered.number, entered.scope.upgrade()?)))
    }

    /// A scope's cleanup begins.
    pub(super) fn begin_cleanup(&self, number: u64) {
        let mut lists = self.lists.borrow_mut();
        let numbered = lists.numbered;
        if let Some(entered) = lists.rare().scopes.iter_mut().find(|entered| entered.number == number) {
            entered.cleaning = Some(numbered);
        }
    }

    /// The cleanups under way in scopes whose numbers count are to end. Answers the last number from before the first of
    /// them, if there is one: what waits behind it is to be told.
    pub(crate) fn end_cleanups(&self, counts: impl Fn(u64) -> bool) -> Option<u64> {
        let mut lists = self.lists.borrow_mut();
        let scopes = lists.rare.as_mut()?.scopes.iter_mut().filter(|entered| counts(entered.number));
        let late = scopes.filter_map(|entered| {
            entered.is_late = entered.cleaning.is_some();
            entered.cleaning
        });
        late.min()
    }

    /// Whether a cleanup in a scope whose number counts is to end. Asked once.
    pub(super) fn take_late(&self, counts: impl Fn(u64) -> bool) -> bool {
        let mut lists = self.lists.borrow_mut();
        let Some(rare) = &mut lists.rare else { return false };
        let scopes = rare.scopes.iter_mut().filter(|entered| counts(entered.number));
        // Each is taken, also behind the first.
        scopes.filter_map(|entered| std::mem::take(&mut entered.is_late).then_some(())).count() > 0
    }

    pub(super) fn note_caught(&self, number: u64) {
        self.lists.borrow_mut().rare().caught = number;
    }

    /// Whether a scope whose number counts caught the last cancellation. Asked once.
    pub(crate) fn take_caught(&self, counts: impl Fn(u64) -> bool) -> bool {
        let mut lists = self.lists.borrow_mut();
        lists.rare.as_mut().is_some_and(|rare| {
            let caught = rare.caught != 0 && counts(rare.caught);
            if caught {
                rare.caught = 0;
            }
            caught
        })
    }

    /// From now on, what waits in here is not polled, until `thaw`.
    pub(super) fn freeze(&self) {
        let mut lists = self.lists.borrow_mut();
        let numbered = lists.numbered;
        if let Some(rare) = &mut lists.rare {
            rare.frozen = numbered;
        }
    }

    /// While it unwinds: what has a number up to this is not polled.
    pub(super) fn frozen(&self) -> Option<u64> {
        self.lists.borrow().rare.as_ref().map(|rare| rare.frozen).filter(|&frozen| frozen > 0)
    }

    pub(super) fn thaw(&self) {
        if let Some(rare) = &mut self.lists.borrow_mut().rare {
            rare.frozen = 0;
        }
    }

    /// The task's future is gone, and its scopes are nobody's. What comes back is to be dropped where no borrow is held.
    fn take_scopes(&self) -> Option<(Vec<EnteredScope>, Option<Unwinding>)> {
        let mut lists = self.lists.borrow_mut();
        let rare = lists.rare.as_mut()?;
        Some((std::mem::take(&mut rare.scopes), rare.unwinding.take()))
    }

    pub(super) fn take_unwinding(&self) -> Option<Unwinding> {
        self.lists.borrow_mut().rare.as_mut()?.unwinding.take()
    }

    pub(super) fn put_unwinding(&self, unwinding: Unwinding) {
        let before = self.lists.borrow_mut().rare().unwinding.replace(unwinding);
        debug_assert!(before.is_none(), "STEP-2: a task unwinds inside of its unwinding");
    }

    /// Shows the numbers of all its waits and scopes to `look`, which must call no foreign code.
    pub(crate) fn each_number(&self, mut look: impl FnMut(u64)) {
        let lists = self.lists.borrow();
        lists.wait.iter().for_each(|(number, _)| look(*number));
        let Some(rare) = &lists.rare else { return };
        rare.waits.keys().chain(rare.scopes.iter().map(|entered| &entered.number)).for_each(|&number| look(number));
    }

    // ---- who waits for it ----

    /// Answers a number under which the waiter can be found again; never 0.
    #[inline]
    pub(crate) fn add_waiter(&self, then: Then) -> u64 {
        let mut lists = self.lists.borrow_mut();
        lists.numbered += 1;
        let number = lists.numbered;
        if lists.waiter.is_none() && lists.rare.as_ref().is_none_or(|rare| rare.waiters.is_empty()) {
            lists.waiter = Some((number, then));
        } else {
            lists.rare().waiters.insert(number, then);
        }
        number
    }

    /// Takes a waiter out, to be dropped where no borrow is held. None if it has gone, or if the task has ended.
    pub(crate) fn remove_waiter(&self, number: u64) -> Option<Then> {
        let mut lists = self.lists.borrow_mut();
        if let Some((_, then)) = lists.waiter.take_if(|(first, _)| *first == number) {
            return Some(then);
        }
        lists.rare.as_mut()?.waiters.remove(&number)
    }

    /// Puts another waker in the place of a waiter. What comes back is to be dropped where no borrow is held.
    pub(crate) fn change_waiter(&self, number: u64, mut then: Then) -> Then {
        let mut lists = self.lists.borrow_mut();
        if let Some(place) = lists.waiter(number) {
            std::mem::swap(place, &mut then);
        }
        then
    }

    /// Whether the waiter wakes the same as `waker`.
    #[inline]
    pub(crate) fn waiter_wakes(&self, number: u64, waker: &Waker) -> bool {
        let mut lists = self.lists.borrow_mut();
        matches!(lists.waiter(number), Some(Then::Wake(old)) if old.will_wake(waker))
    }

    /// The task has ended: those who wait for it, in the order in which they came.
    #[inline]
    pub(crate) fn take_waiters(&self) -> (Option<Then>, Option<BTreeMap<u64, Then>>) {
        let mut lists = self.lists.borrow_mut();
        let others = lists.rare.as_mut().map(|rare| std::mem::take(&mut rare.waiters));
        (lists.waiter.take().map(|(_, then)| then), others)
    }

    // ---- its task-local values ----

    pub(crate) fn locals(&self) -> Locals {
        self.lists.borrow().rare.as_ref().map_or_else(Locals::default, |rare| rare.locals.clone())
    }

    /// What comes back is to be dropped where no borrow is held.
    pub(crate) fn replace_locals(&self, locals: Locals) -> Locals {
        std::mem::replace(&mut self.lists.borrow_mut().rare().locals, locals)
    }

    pub(super) fn take_locals(&self) -> Locals {
        let mut lists = self.lists.borrow_mut();
        lists.rare.as_mut().map(|rare| std::mem::take(&mut rare.locals)).unwrap_or_default()
    }
}

impl Lists {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn waiter(&mut self, number: u64) -> Option<&mut Then> {
        if self.waiter.as_ref().is_some_and(|(first, _)| *first == number) {
            return self.waiter.as_mut().map(|(_, then)| then);
        }
        self.rare.as_mut()?.waiters.get_mut(&number)
    }
}

/// A task cell of which only the header is known.
pub(crate) trait AnyTask {
    fn header(&self) -> &Header;

    /// Polls the future. When it is ready, it was dropped and its value is the outcome.
    ///
    /// # Safety
    ///
    /// The future must be there, and nobody may be polling or dropping it.
    unsafe fn poll(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Drops the future if it is still there.
    ///
    /// # Safety
    ///
    /// Nobody may be polling it.
    unsafe fn drop_future(&self);

    /// The task has ended without a value, whatever it returned.
    fn set_error(&self, error: TaskError);
}

/// A task cell of which the output's type is known.
pub(crate) trait TypedTask<T>: AnyTask {
    /// None before the end, and after the outcome was taken.
    fn outcome(&self) -> &RefCell<Option<Outcome<T>>>;
    fn erase(self: Rc<Self>) -> Rc<dyn AnyTask>;
}

pub(crate) struct TaskCell<F: Future> {
    header: Header,
    outcome: RefCell<Option<Outcome<F::Output>>>,
    /// The future has not been dropped yet.
    has_future: Cell<bool>,
    future: UnsafeCell<ManuallyDrop<F>>,
}

impl<F: Future> TaskCell<F> {
    pub(crate) fn new(header: Header, future: F) -> Rc<Self> {
        Rc::new(TaskCell {
            header,
            outcome: RefCell::new(None),
            has_future: Cell::new(true),
            future: UnsafeCell::new(ManuallyDrop::new(future)),
        })
    }
}

impl<F: Future> AnyTask for TaskCell<F> {
    fn header(&self) -> &Header {
        &self.header
    }

    #[inline]
    unsafe fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        debug_assert!(self.has_future.get(), "DONE-1: a task was polled after its future was dropped");
        // SAFETY: the future lives in an `Rc` and is dropped there, so it is pinned. The caller says that it is there, and that
        // nobody else uses it (STEP-2).
        let future = unsafe { Pin::new_unchecked(&mut **self.future.get()) };
        let value = ready!(future.poll(context));
        // SAFETY: `poll` has returned, and as before nobody else uses the future.
        unsafe { self.drop_future() };
        *self.outcome.borrow_mut() = Some(Ok(value));
        Poll::Ready(())
    }

    unsafe fn drop_future(&self) {
        // First the mark, so that a destructor that panics, or asks for this task's end, does not lead here a second time.
        if self.has_future.replace(false) {
            // SAFETY: it is there, was not dropped before, and by the caller's word nobody is polling it.
            unsafe { ManuallyDrop::drop(&mut *self.future.get()) };
        }
    }

    fn set_error(&self, error: TaskError) {
        // The borrow ends before the value is dropped: its destructor is foreign code.
        let value = self.outcome.replace(Some(Err(error)));
        drop(value);
    }
}

impl<F: Future> TypedTask<F::Output> for TaskCell<F>
where
    F: 'static,
{
    fn outcome(&self) -> &RefCell<Option<Outcome<F::Output>>> {
        &self.outcome
    }

    fn erase(self: Rc<Self>) -> Rc<dyn AnyTask> {
        self
    }
}

impl<F: Future> Drop for TaskCell<F> {
    fn drop(&mut self) {
        // SAFETY: the last holder of the cell has gone, so nobody uses the future.
        unsafe { self.drop_future() };
        if let (Some(Ending::Panicked), false) = (self.header.ending.get(), self.header.looked_at.get()) {
            if let Some(Err(TaskError::Panicked(panic))) = self.outcome.take() {
                let message = exceptions::NEVER_LOOKED_AT;
                let task = Some((self.header.name(), self.header.spawned_at));
                exceptions::report(self.header.loop_id, Exception { message, panic, task });
            }
        }
    }
}

/// Runs `body` with a cell whose future may borrow from the caller.
///
/// The erased cell claims to live for ever, and whoever gets it may keep it. What borrows from the caller does not: future
/// and outcome are gone when `lend` returns or unwinds.
pub(crate) fn lend<F: Future, R>(
    header: Header,
    future: F,
    body: impl FnOnce(&RefCell<Option<Outcome<F::Output>>>, Rc<dyn AnyTask>) -> R,
) -> R {
    struct Empty<'a, F: Future>(&'a TaskCell<F>);
    impl<F: Future> Drop for Empty<'_, F> {
        fn drop(&mut self) {
            let header = &self.0.header;
            if !header.is_done() {
                // `body` has unwound, and the task still has a row: it must not be polled any more, but end.
                header.life.set(header.life.get() | CONDEMNED);
            }
            // A scope that was handed on elsewhere lives longer, and must not lead back to this future.
            drop(header.take_scopes());
            // SAFETY: steps do not outlive `body`, which has returned or unwound, so nobody is polling the future.
            unsafe { self.0.drop_future() };
            drop(header.take_scopes());
            drop(self.0.outcome.take());
        }
    }
    let cell = TaskCell::new(header, future);
    let erased: Rc<dyn AnyTask + '_> = cell.clone();
    // SAFETY: only the lifetime changes. `Empty` sees to it that nothing of `F` or its output is left when the borrows end,
    // and an empty cell touches neither, not even when it is dropped.
    let erased: Rc<dyn AnyTask> = unsafe { std::mem::transmute::<Rc<dyn AnyTask + '_>, Rc<dyn AnyTask>>(erased) };
    let empty = Empty(&cell);
    body(&empty.0.outcome, erased)
}

/// Compares identities, not contents.
pub(crate) fn same(one: &Rc<dyn AnyTask>, other: &Rc<dyn AnyTask>) -> bool {
    std::ptr::addr_eq(Rc::as_ptr(one), Rc::as_ptr(other))
}
