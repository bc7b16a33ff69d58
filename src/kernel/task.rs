//! The task cell: a task's future, its outcome and its bookkeeping, in one allocation.
//!
//! ```text
//!   TypedTask<T> --.                 +--------+-------------------------+
//!   AnyTask -------+---------------> | Header | future, then outcome    |     one cell: 64 bytes and the larger of the two
//!   row of the table                 +--------+-------------------------+
//! ```
//!
//! The cell is counted: the waker table holds it while the task lives, handles hold it as long as they like. The future is
//! dropped when the task ends, and the outcome takes its place; the rest of the cell goes with its last holder.
//!
//! Why this is not an `Rc<dyn Trait>`: handles, rows and queue hold one word, not two, nobody counts weak references that nobody
//! has, and outcome and future share their place. The cell of the smallest task took 248 bytes before, and takes
//! 88 now.
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
//! What is kept here of waits and waiters are the beginnings of lists, whose nodes stand in the table. Does not know the loop:
//! whoever needs it looks it up by the token. Next: `wakers.rs`.
#![allow(unsafe_code, reason = "counts and erases cells, and keeps the future and the outcome in one place")]

use super::calls::Call;
use super::exceptions::{self, Exception};
use super::lists::List;
use super::locals::Locals;
use super::names::function_of;
use super::token::Token;
use crate::error::{Panic, TaskError};
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
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
    /// What the cell can do, whose type is forgotten.
    kind: &'static Kind,
    /// So many `AnyTask`s there are.
    holders: Cell<u32>,
    /// What stands behind the header.
    holds: Cell<Holds>,

    // The waker table's: it alone writes here.
    /// Of `QUEUED`, `CONDEMNED`, `UNWINDING` and `FORCED`.
    pub(super) life: Cell<u8>,
    /// Until the task is put into the table, one of its lane that nobody has.
    pub(super) token: Cell<Token>,
    /// What it waits for.
    pub(super) waits: Cell<List>,
    /// Who waits for it.
    pub(super) waiters: Cell<List>,

    // Fixed when the task is made.
    pub(crate) id: u64,
    pub(crate) spawned_at: &'static Location<'static>,

    // The life of the task; the kernel writes.
    /// None while the task lives.
    pub(crate) ending: Cell<Option<Ending>>,
    /// Somebody has looked at the outcome, so a panic is known.
    pub(crate) looked_at: Cell<bool>,
    /// How often a cancellation was asked for.
    pub(crate) cancelling: Cell<u32>,
    /// The last spread of a cancellation that came by here (`cancel.rs`).
    pub(crate) visited: Cell<u32>,
    /// What few tasks have. Taken out while it is used (`Header::extra`).
    extra: Cell<Option<Box<Extra>>>,
}

const _: () = assert!(size_of::<Header>() == 64, "a header is a line of the cache");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holds {
    Future,
    Nothing,
    Outcome,
}

/// What few tasks have.
#[derive(Default)]
struct Extra {
    name: Option<Rc<str>>,
    /// By their numbers, so those inside stand behind those around them.
    scopes: Vec<EnteredScope>,
    /// While it is unwinding, and no step has taken it out.
    unwinding: Option<Unwinding>,
    /// While it is unwinding, the last number from before: what waited then is not polled any more.
    frozen: u64,
    /// The scope that caught a cancellation last.
    caught: u64,
    /// A future in which it had waited was moved to another task.
    gave_away: bool,
    locals: Locals,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    Value,
    Cancelled,
    Panicked,
}

/// What a task waits for, as its leaf futures have it. Sleeps are not among these: their timers say who sleeps.
#[derive(Clone)]
pub(crate) enum Wait {
    /// The end of a task: a link, on which a cancellation goes on.
    Task(Token),
    /// Anything else. Not owned: what a task waits for is its future's, and must not outlive it in here.
    On(Weak<dyn Awaited>),
}

impl Wait {
    /// The end of a task that a `Remote` has spawned, in this loop or in another, which is no link.
    pub(crate) const ELSEWHERE: Wait = Wait::Task(Token::NOBODY);

    /// What has to be told what becomes of the task that waits.
    pub(super) fn upgrade(&self) -> Option<Rc<dyn Awaited>> {
        match self {
            Wait::Task(_) => None,
            Wait::On(awaited) => awaited.upgrade(),
        }
    }
}

/// A wait that has begun.
#[derive(Clone)]
pub(crate) struct Begun {
    pub(crate) wait: Wait,
    /// Where it is awaited.
    pub(crate) place: &'static Location<'static>,
}

/// What a task can wait for other than a moment and one task: several tasks, a lock, a promise.
pub(crate) trait Awaited {
    /// The tasks to which a cancellation of the waiting task goes on. None if it stays with that task.
    fn links(&self) -> Option<Vec<AnyTask>> {
        None
    }

    /// The tasks that are awaited, also those to which a cancellation does not go on.
    fn tasks(&self) -> Vec<AnyTask> {
        self.links().unwrap_or_default()
    }

    /// The tasks that have what is waited for.
    fn holders(&self) -> Vec<Token> {
        Vec::new()
    }

    /// The one task without which it cannot come, if that is certain.
    fn sole_holder(&self) -> Option<Token> {
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
    fn new(kind: &'static Kind, draft: Draft) -> Self {
        let extra = draft.name.map(|name| Box::new(Extra { name: Some(name), ..Extra::default() }));
        Header {
            kind,
            holders: Cell::new(1),
            holds: Cell::new(Holds::Future),
            life: Cell::new(0),
            token: Cell::new(Token::unplaced(draft.lane)),
            waits: Cell::new(List::EMPTY),
            waiters: Cell::new(List::EMPTY),
            id: draft.id,
            spawned_at: draft.spawned_at,
            ending: Cell::new(None),
            looked_at: Cell::new(false),
            cancelling: Cell::new(0),
            visited: Cell::new(0),
            extra: Cell::new(extra),
        }
    }

    /// Names the task, and its loop.
    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token.get()
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
        let name = self.if_extra(|extra| extra.name.clone()).flatten();
        name.unwrap_or_else(|| Rc::from(format!("{}-{}", function_of((self.kind.future)()), self.id)))
    }

    pub(crate) fn set_name(&self, name: Rc<str>) {
        self.extra(|extra| extra.name = Some(name));
    }

    /// Lends what few tasks have to `act`, which must call no foreign code, and come back neither here nor to `if_extra`.
    fn extra<R>(&self, act: impl FnOnce(&mut Extra) -> R) -> R {
        let mut extra = self.take_extra();
        let result = act(&mut extra);
        self.put_back(extra);
        result
    }

    /// As `extra`, if the task has any.
    #[inline]
    fn if_extra<R>(&self, act: impl FnOnce(&mut Extra) -> R) -> Option<R> {
        let mut extra = self.extra.take()?;
        let result = act(&mut extra);
        self.put_back(extra);
        Some(result)
    }

    // In functions of their own, since they are parts of all that use `extra`.

    #[inline(never)]
    fn take_extra(&self) -> Box<Extra> {
        self.extra.take().unwrap_or_default()
    }

    #[inline(never)]
    fn put_back(&self, extra: Box<Extra>) {
        let before = self.extra.replace(Some(extra));
        debug_assert!(before.is_none(), "STEP-1: a header was used while it was used");
    }

    #[cold]
    #[inline(never)]
    fn never_taken(&self, type_name: &str) {
        if self.is_done() {
            exceptions::never_taken(self.token(), &|| self.name(), self.spawned_at, type_name);
        }
    }

    #[cold]
    fn reached_nobody(&self, panic: Panic) {
        let message = exceptions::NEVER_LOOKED_AT;
        let task = Some((self.name(), self.spawned_at));
        exceptions::report_of(self.token(), Exception { message, panic, task });
    }

    /// A future in which it had waited was moved to another task, and with it whatever that future has.
    pub(super) fn give_away(&self) {
        self.extra(|extra| extra.gave_away = true);
    }

    pub(crate) fn has_given_away(&self) -> bool {
        self.if_extra(|extra| extra.gave_away).unwrap_or(false)
    }

    // ---- how it unwinds ----

    /// The task enters a scope after those that it has entered before. The number names it.
    pub(super) fn add_scope(&self, number: u64, scope: Weak<dyn Scope>) {
        self.extra(|extra| extra.scopes.push(EnteredScope { number, scope, cleaning: None, is_late: false }));
    }

    #[inline(never)]
    pub(crate) fn remove_scope(&self, number: u64) {
        self.if_extra(|extra| {
            let place = extra.scopes.iter().position(|entered| entered.number == number);
            // What is removed owns nothing, so no foreign code runs.
            place.map(|place| drop(extra.scopes.remove(place)))
        });
    }

    /// The numbers of the scopes that it has entered, ascending.
    pub(super) fn scope_numbers(&self) -> Vec<u64> {
        let numbers = |extra: &mut Extra| extra.scopes.iter().map(|entered| entered.number).collect();
        self.if_extra(numbers).unwrap_or_default()
    }

    /// The innermost scope of those whose numbers count.
    #[inline(never)]
    pub(crate) fn innermost_scope(&self, counts: &dyn Fn(u64) -> bool) -> Option<(u64, Rc<dyn Scope>)> {
        self.if_extra(|extra| {
            let mut scopes = extra.scopes.iter().rev().filter(|entered| counts(entered.number));
            scopes.find_map(|entered| Some((entered.number, entered.scope.upgrade()?)))
        })?
    }

    /// A scope's cleanup begins; `last` is the last number that was given out.
    pub(super) fn begin_cleanup(&self, number: u64, last: u64) {
        self.if_extra(|extra| {
            if let Some(entered) = extra.scopes.iter_mut().find(|entered| entered.number == number) {
                entered.cleaning = Some(last);
            }
        });
    }

    /// The cleanups under way in scopes whose numbers count are to end. Answers the last number from before the first of
    /// them, if there is one: what waits behind it is to be told.
    pub(crate) fn end_cleanups(&self, counts: &dyn Fn(u64) -> bool) -> Option<u64> {
        self.if_extra(|extra| {
            let scopes = extra.scopes.iter_mut().filter(|entered| counts(entered.number));
            let late = scopes.filter_map(|entered| {
                entered.is_late = entered.cleaning.is_some();
                entered.cleaning
            });
            late.min()
        })?
    }

    /// Whether a cleanup in a scope whose number counts is to end. Asked once.
    pub(super) fn take_late(&self, counts: &dyn Fn(u64) -> bool) -> bool {
        let taken = self.if_extra(|extra| {
            let scopes = extra.scopes.iter_mut().filter(|entered| counts(entered.number));
            // Each is taken, also behind the first.
            scopes.filter_map(|entered| std::mem::take(&mut entered.is_late).then_some(())).count() > 0
        });
        taken.unwrap_or(false)
    }

    pub(super) fn note_caught(&self, number: u64) {
        self.extra(|extra| extra.caught = number);
    }

    /// Whether a scope whose number counts caught the last cancellation. Asked once.
    pub(crate) fn take_caught(&self, counts: &dyn Fn(u64) -> bool) -> bool {
        let caught = self.if_extra(|extra| {
            let caught = extra.caught != 0 && counts(extra.caught);
            if caught {
                extra.caught = 0;
            }
            caught
        });
        caught.unwrap_or(false)
    }

    /// From now on, what waits in here is not polled, until `thaw`; `last` is the last number that was given out.
    pub(super) fn freeze(&self, last: u64) {
        self.if_extra(|extra| extra.frozen = last);
    }

    /// While it unwinds: what has a number up to this is not polled.
    pub(crate) fn frozen(&self) -> Option<u64> {
        self.if_extra(|extra| extra.frozen).filter(|&frozen| frozen > 0)
    }

    pub(super) fn thaw(&self) {
        self.if_extra(|extra| extra.frozen = 0);
    }

    /// The task's scopes are nobody's. What they held is dropped, which may be foreign code.
    fn drop_scopes(&self) {
        let scopes = self.if_extra(|extra| (std::mem::take(&mut extra.scopes), extra.unwinding.take()));
        drop(scopes);
    }

    pub(super) fn take_unwinding(&self) -> Option<Unwinding> {
        self.if_extra(|extra| extra.unwinding.take())?
    }

    pub(super) fn put_unwinding(&self, unwinding: Unwinding) {
        let before = self.extra(|extra| extra.unwinding.replace(unwinding));
        debug_assert!(before.is_none(), "STEP-2: a task unwinds inside of its unwinding");
    }

    // ---- its task-local values ----

    pub(crate) fn locals(&self) -> Locals {
        self.if_extra(|extra| extra.locals.clone()).unwrap_or_default()
    }

    /// What comes back is to be dropped where nothing is borrowed.
    pub(crate) fn replace_locals(&self, locals: Locals) -> Locals {
        self.extra(|extra| std::mem::replace(&mut extra.locals, locals))
    }

    pub(super) fn take_locals(&self) -> Locals {
        self.if_extra(|extra| std::mem::take(&mut extra.locals)).unwrap_or_default()
    }
}

// ---- the cell ----

/// A task that is about to be made.
pub(crate) struct Draft {
    pub(super) id: u64,
    pub(super) lane: u16,
    pub(super) spawned_at: &'static Location<'static>,
    pub(super) name: Option<Rc<str>>,
}

/// A task of which only the header is known. Counted: it holds the cell.
pub(crate) struct AnyTask(NonNull<Header>);

/// A task of which the output's type is known.
pub(crate) struct TypedTask<T> {
    task: AnyTask,
    /// It reads and writes outcomes, on this thread.
    output: PhantomData<RefCell<Option<Outcome<T>>>>,
}

/// The header comes first, so a pointer to the cell is one to the header.
#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: Stage<F>,
}

/// What it is, `Header::holds` says.
#[repr(C)]
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    outcome: ManuallyDrop<RefCell<Option<Outcome<F::Output>>>>,
}

/// What can be done with a cell of one type of future. Each pointer is to the header of a cell of that type, with the right to
/// use the whole of it.
struct Kind {
    /// The name of the future's type.
    future: fn() -> &'static str,
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> Poll<()>,
    drop_future: unsafe fn(NonNull<Header>),
    set_error: unsafe fn(NonNull<Header>, TaskError),
    free: unsafe fn(NonNull<Header>),
    /// Where the outcome stands in the cell.
    outcome_at: usize,
}

/// A value whose future is being dropped. If that panics, the value goes too, and its own destructor may panic as well.
struct Unwritten<T>(Option<T>);

impl<T> Drop for Unwritten<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            drop_unwritten(value);
        }
    }
}

#[cold]
fn drop_unwritten<T>(value: T) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        exceptions::drop_payload(payload);
    }
}

impl AnyTask {
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: this holds the cell, and nobody has a `&mut` to a header.
        unsafe { self.0.as_ref() }
    }

    /// Gives the hold up, without an end to it.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// Takes a hold over.
    ///
    /// # Safety
    ///
    /// It is from `into_raw`, and nobody else takes it over.
    #[inline]
    pub(super) unsafe fn from_raw(task: NonNull<Header>) -> Self {
        AnyTask(task)
    }

    /// One more hold.
    ///
    /// # Safety
    ///
    /// The pointer is from `into_raw`, and somebody holds the cell.
    #[inline]
    pub(super) unsafe fn held(task: NonNull<Header>) -> Self {
        // SAFETY: by the caller's word it is there.
        let holders = unsafe { &task.as_ref().holders };
        let Some(more) = holders.get().checked_add(1) else { too_many_holders() };
        holders.set(more);
        AnyTask(task)
    }

    /// Drops the future if it is still there.
    ///
    /// # Safety
    ///
    /// Nobody may be polling it.
    pub(super) unsafe fn drop_future(&self) {
        // SAFETY: the function is this cell's, and the rest is the caller's word.
        unsafe { (self.header().kind.drop_future)(self.0) }
    }

    /// The task has ended without a value, whatever it returned. Its future was dropped.
    pub(super) fn set_error(&self, error: TaskError) {
        debug_assert!(self.header().holds.get() != Holds::Future, "DONE-1: an outcome was written over a future");
        // SAFETY: the function is this cell's.
        unsafe { (self.header().kind.set_error)(self.0, error) }
    }
}

/// As `Rc` does it: whoever has leaked four billion handles cannot be helped.
#[cold]
fn too_many_holders() -> ! {
    exceptions::complain(&"a task is held by more than 2^32 handles");
    std::process::abort()
}

/// Polls the future of a task. When it is ready, it was dropped and its value is the outcome.
///
/// # Safety
///
/// The pointer is from `into_raw`, and somebody holds the cell, at least until this returns. The future must be there, and nobody
/// may be polling or dropping it.
#[inline(always)]
pub(super) unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
    // SAFETY: the cell is there, the function is its own, and the rest is the caller's word.
    unsafe { (task.as_ref().kind.poll)(task, context) }
}

impl Clone for AnyTask {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: it is from `into_raw` or equal to one, and this holds the cell.
        unsafe { AnyTask::held(self.0) }
    }
}

impl Drop for AnyTask {
    #[inline]
    fn drop(&mut self) {
        let header = self.header();
        let left = header.holders.get() - 1;
        header.holders.set(left);
        if left == 0 {
            let free = header.kind.free;
            // SAFETY: nobody holds the cell any more, and the function is its own.
            unsafe { free(self.0) }
        }
    }
}

impl<T> TypedTask<T> {
    #[inline]
    pub(crate) fn new<F: Future<Output = T> + 'static>(draft: Draft, future: F) -> Self
    where
        // An `async` block may count as `'static` though its output does not (rust-lang/rust#84366).
        T: 'static,
    {
        // SAFETY: neither the future nor its output borrows anything.
        unsafe { Self::allocate(draft, future) }
    }

    /// # Safety
    ///
    /// When something ends that the future or its output borrows, there is neither in the cell any more.
    #[inline]
    unsafe fn allocate<F: Future<Output = T>>(draft: Draft, future: F) -> Self {
        let stage = Stage { future: ManuallyDrop::new(future) };
        let cell = Box::new(TaskCell { header: Header::new(TaskCell::<F>::KIND, draft), stage });
        let task = AnyTask(NonNull::from(Box::leak(cell)).cast());
        TypedTask { task, output: PhantomData }
    }

    #[inline]
    pub(crate) fn header(&self) -> &Header {
        self.task.header()
    }

    /// The task without its type.
    #[inline]
    pub(crate) fn any(&self) -> &AnyTask {
        &self.task
    }

    /// None before the end. In it, none after the outcome was taken.
    #[inline]
    pub(crate) fn outcome(&self) -> Option<&RefCell<Option<Outcome<T>>>> {
        let header = self.header();
        if header.holds.get() != Holds::Outcome {
            return None;
        }
        // SAFETY: it was written there, with this type: `T` is the output of the cell's future. It stays until the cell is freed,
        // which this holds; `lend` empties cells whose `T` has come to its end.
        Some(unsafe { self.task.0.byte_add(header.kind.outcome_at).cast().as_ref() })
    }
}

/// A handle does not pin an outcome.
impl<T> Unpin for TypedTask<T> {}

impl<T> Clone for TypedTask<T> {
    #[inline]
    fn clone(&self) -> Self {
        TypedTask { task: self.task.clone(), output: PhantomData }
    }
}

impl<F: Future> TaskCell<F> {
    const KIND: &'static Kind = &Kind {
        future: std::any::type_name::<F>,
        poll: Self::poll,
        drop_future: Self::drop_future,
        set_error: Self::set_error,
        free: Self::free,
        outcome_at: offset_of!(Self, stage),
    };

    /// # Safety
    ///
    /// As the function `poll` below the type says.
    unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: `Kind` says that this is such a cell; somebody holds it.
        let (header, stage) = unsafe { Self::parts(task) };
        debug_assert!(header.holds.get() == Holds::Future, "DONE-1: a task was polled after its future was dropped");
        // SAFETY: the future is there, is never moved, and is dropped where it is, so it is pinned. The caller says that nobody
        // else uses it (STEP-2).
        let future = unsafe { Pin::new_unchecked(&mut *(*stage).future) };
        let mut value = Unwritten(Some(ready!(future.poll(context))));
        // SAFETY: `poll` has returned, and as before nobody else uses the future. Then the place is free.
        unsafe {
            Self::drop_future(task);
            if let Some(value) = value.0.take() {
                Self::write(header, stage, Ok(value));
            }
        }
        Poll::Ready(())
    }

    /// # Safety
    ///
    /// Nobody may be polling the future.
    unsafe fn drop_future(task: NonNull<Header>) {
        // SAFETY: `Kind` says that this is such a cell; somebody holds it.
        let (header, stage) = unsafe { Self::parts(task) };
        if header.holds.get() == Holds::Future {
            // First the mark, so that a destructor that panics, or asks for this task's end, does not lead here a second time.
            header.holds.set(Holds::Nothing);
            // SAFETY: it is there, was not dropped before, and by the caller's word nobody is polling it.
            unsafe { ManuallyDrop::drop(&mut (*stage).future) };
        }
    }

    /// # Safety
    ///
    /// The future was dropped.
    unsafe fn set_error(task: NonNull<Header>, error: TaskError) {
        // SAFETY: `Kind` says that this is such a cell; somebody holds it.
        let (header, stage) = unsafe { Self::parts(task) };
        if header.holds.get() == Holds::Outcome {
            // SAFETY: it is there.
            let outcome = unsafe { &*(*stage).outcome };
            // The borrow ends before the value is dropped: its destructor is foreign code.
            let value = outcome.replace(Some(Err(error)));
            drop(value);
        } else {
            // SAFETY: by the caller's word there is no future, and no outcome.
            unsafe { Self::write(header, stage, Err(error)) };
        }
    }

    /// # Safety
    ///
    /// Nobody holds the cell any more.
    unsafe fn free(task: NonNull<Header>) {
        // SAFETY: it comes from a box of this type, and nobody has it any more.
        drop(unsafe { Box::from_raw(task.cast::<Self>().as_ptr()) });
    }

    /// # Safety
    ///
    /// There is such a cell, and while the header is used somebody holds it.
    #[inline(always)]
    unsafe fn parts<'a>(task: NonNull<Header>) -> (&'a Header, *mut Stage<F>) {
        let cell = task.cast::<Self>().as_ptr();
        // SAFETY: the cell is there. Only the place of the stage is computed, none is looked at.
        unsafe { (&(*cell).header, &raw mut (*cell).stage) }
    }

    /// # Safety
    ///
    /// The place is that of the header's cell, and there is nothing in it.
    #[inline(always)]
    unsafe fn write(header: &Header, stage: *mut Stage<F>, outcome: Outcome<F::Output>) {
        // SAFETY: the place is free.
        unsafe { ptr::write(stage, Stage { outcome: ManuallyDrop::new(RefCell::new(Some(outcome))) }) };
        header.holds.set(Holds::Outcome);
    }

    /// Takes the outcome out of the cell, for ever.
    fn take_outcome(&mut self) -> Option<Outcome<F::Output>> {
        if self.header.holds.get() != Holds::Outcome {
            return None;
        }
        self.header.holds.set(Holds::Nothing);
        // SAFETY: it is there, and by the mark nobody takes it again.
        unsafe { ManuallyDrop::take(&mut self.stage.outcome) }.into_inner()
    }
}

impl<F: Future> Drop for TaskCell<F> {
    fn drop(&mut self) {
        // SAFETY: the last holder of the cell has gone, so nobody uses the future.
        unsafe { Self::drop_future(NonNull::from(&mut *self).cast()) };
        let outcome = self.take_outcome();
        if size_of::<F::Output>() > 0 && matches!(outcome, Some(Ok(_))) && !self.header.looked_at.get() {
            self.header.never_taken(std::any::type_name::<F::Output>());
        }
        if let (Some(Ending::Panicked), false) = (self.header.ending.get(), self.header.looked_at.get()) {
            if let Some(Err(TaskError::Panicked(panic))) = outcome {
                self.header.reached_nobody(panic);
            }
        }
    }
}

/// Runs `body` with a task whose future may borrow from the caller.
///
/// The cell may live for ever: whoever gets the task may keep it. What borrows from the caller does not: future and outcome
/// are gone when `lend` returns or unwinds.
pub(crate) fn lend<F: Future, R>(draft: Draft, future: F, body: impl FnOnce(&TypedTask<F::Output>, AnyTask) -> R) -> R {
    struct Empty<'a, F: Future>(&'a TypedTask<F::Output>);
    impl<F: Future> Drop for Empty<'_, F> {
        fn drop(&mut self) {
            let task = self.0.any();
            let header = task.header();
            if !header.is_done() {
                // `body` has unwound, and the task still has a row: it must not be polled any more, but end.
                header.life.set(header.life.get() | CONDEMNED);
            }
            // A scope that was handed on elsewhere lives longer, and must not lead back to this future.
            header.drop_scopes();
            // SAFETY: steps do not outlive `body`, which has returned or unwound, so nobody is polling the future.
            unsafe { task.drop_future() };
            header.drop_scopes();
            drop(self.0.outcome().and_then(RefCell::take));
        }
    }
    // SAFETY: `Empty` sees to it that nothing of `F` or its output is left when the borrows end. What is left of the outcome is
    // `None` or an error, and borrows nothing.
    let task = unsafe { TypedTask::allocate(draft, future) };
    let empty = Empty::<F>(&task);
    body(empty.0, task.any().clone())
}

impl Hash for AnyTask {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Compares identities, not contents.
pub(crate) fn same(one: &AnyTask, other: &AnyTask) -> bool {
    one.0 == other.0
}
