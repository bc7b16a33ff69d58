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
//! has, and outcome and future share their place. With `Rc` the cell of the smallest task took 248 bytes; it
//! takes 88.
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
use super::scopes::{Region, Scope, Scopes, Unwinding};
use super::token::Token;
use crate::error::{Panic, TaskError};
use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, offset_of};
use std::num::NonZeroU64;
use std::panic::Location;
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

/// In `Header::life`, beside `CONDEMNED`: it was cancelled in a circle, or at the end of the loop, and is not to wait for what it
/// awaits.
pub(super) const FORCED: u8 = 8;
/// In what comes upon a task while it runs: it ends as cancelled in this step, from where it stands.
pub(super) const RAISED: u8 = 16;
/// In what comes upon a task while it runs: it is condemned if it suspends. What it returns before that counts.
pub(super) const DOOMED: u8 = 32;

/// What is known of a task without knowing its type.
pub(crate) struct Header {
    /// What the cell can do, whose type is forgotten. Another one once the future was dropped unfinished.
    kind: Cell<&'static Kind>,
    /// So many `AnyTask`s there are.
    holders: Cell<u32>,
    /// What stands behind the header.
    holds: Cell<Holds>,

    // The waker table's: it alone writes here.
    /// Of `QUEUED`, `CONDEMNED`, `UNWINDING` and `FORCED`; in the step in which it suspends, of `RAISED` and `DOOMED` as well.
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
    scopes: Scopes,
    /// While it is unwinding, and no step has taken it out.
    unwinding: Option<Unwinding>,
    /// While it is cancelled and not polled: the task whose end it waits for, and where it stands among those who do.
    link: Option<(Token, WaiterKey)>,
    /// The number of the sleep that was over last, and the turn in which it was.
    slept: (u64, u64),
    /// The numbers of the sleeps that were over while they were frozen.
    slept_frozen: Vec<u64>,
    /// The last number that had been given out when it was asked to end while it ran.
    request: Option<u64>,
    /// It is a cleanup that was handed over, and not to be disturbed by the first request to end.
    is_spared: bool,
    /// How many requests to end it was spared.
    spared: u32,
    /// The last turn in which the program has asked it to end, by a handle to it, while it waited for tasks.
    asked_in: u64,
    /// The program has asked twice in one turn.
    is_pressed: bool,
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
    /// To what a cancellation of the waiting task goes on, in this order. None if it stays with that task.
    fn links(&self) -> Option<Vec<Link>> {
        None
    }

    /// The tasks that are awaited, also those to which a cancellation does not go on.
    fn tasks(&self) -> Vec<AnyTask> {
        self.links().into_iter().flatten().filter_map(Link::into_task).collect()
    }

    /// The tasks whose ends the waiting task waits for also when it is cancelled.
    fn outwaited(&self) -> Vec<AnyTask> {
        self.links().into_iter().flatten().filter_map(Link::into_task).collect()
    }

    /// The tasks that have what is waited for.
    fn holders(&self) -> Vec<Token> {
        Vec::new()
    }

    /// The tasks that took what is waited for, though they may have passed it on since; nobody, if it is on its way from one to the
    /// next, or may come from elsewhere too. None if it may come from anybody, or from the tasks that are awaited alone.
    fn takers(&self) -> Option<Vec<Token>> {
        None
    }

    /// The one task that took all of it, if it was one.
    fn taker(&self) -> Option<Token> {
        None
    }

    /// When it was taken: numbers among those of the waits, each of which lies inside of the scopes in which it was taken.
    fn taken_at(&self) -> Vec<u64> {
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

/// Where a cancellation goes on.
pub(crate) enum Link {
    /// To a task, whose end is waited for.
    Task(AnyTask),
    /// To something that is interrupted by that, and then calls back.
    On(Rc<dyn Awaited>),
}

impl Link {
    pub(crate) fn into_task(self) -> Option<AnyTask> {
        match self {
            Link::Task(task) => Some(task),
            Link::On(_) => None,
        }
    }
}

/// What is to be done at a task's end.
pub(crate) enum Then {
    /// Wake whoever awaits.
    Wake(Waker),
    /// Queue a callback.
    Queue(Call),
}

/// Names one who waits for a task, among those who wait for that task, for ever. Packed, since whoever waits keeps it, and much
/// of it would be padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(4))]
pub(crate) struct WaiterKey {
    pub(super) number: NonZeroU64,
    pub(super) index: u32,
}

impl Header {
    #[inline]
    fn new(kind: &'static Kind, draft: Draft) -> Self {
        let extra = draft.name.map(|name| Box::new(Extra { name: Some(name), ..Extra::default() }));
        Header {
            kind: Cell::new(kind),
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

    /// It was cancelled in a circle, or at the end of the loop.
    pub(crate) fn is_forced(&self) -> bool {
        self.life.get() & FORCED != 0
    }

    /// Its future is there: it has not returned, and was not dropped.
    pub(super) fn has_future(&self) -> bool {
        self.holds.get() == Holds::Future
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.ending.get().is_some()
    }

    pub(crate) fn name(&self) -> Rc<str> {
        let name = self.if_extra(|extra| extra.name.clone()).flatten();
        name.unwrap_or_else(|| Rc::from(format!("{}-{}", function_of((self.kind.get().future)()), self.id)))
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
        let requests = self.requests();
        self.extra(|extra| extra.scopes.add(number, scope, requests));
    }

    /// It has left the scope. What comes back is to be dropped where nothing is borrowed.
    #[inline(never)]
    pub(super) fn remove_scope(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.remove(number)).flatten()
    }

    /// The future of a scope is dropped. If it lies where somebody unwinds, that one goes on with the scope, and the answer is
    /// true.
    pub(crate) fn leave_to_driver(&self, number: u64, scope: impl FnOnce() -> Rc<dyn Scope>) -> bool {
        let is_driven = self.scope(number).is_some() && self.driver_over(number).is_some();
        if is_driven {
            let scope = scope();
            let before = self.scopes(|scopes| scopes.own(number, scope)).flatten();
            drop(before);
        }
        is_driven
    }

    /// Who drives the unwinding in which what has this number is not polled.
    pub(crate) fn driver_over(&self, number: u64) -> Option<Region> {
        let unwinds = self.is_unwinding();
        match self.scopes(|scopes| scopes.driver_over(number, unwinds)) {
            Some(driver) => driver,
            None => unwinds.then_some(Region::Task),
        }
    }

    pub(crate) fn scope(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.scope(number)).flatten()
    }

    /// A block begins to drive the unwinding of what is inside of it, or does not any more.
    pub(crate) fn set_driving(&self, number: u64, drives: bool) {
        self.scopes(|scopes| scopes.set_driving(number, drives));
    }

    /// A scope asks for the interruption of what is inside of it.
    pub(crate) fn ask(&self, number: u64) {
        self.scopes(|scopes| scopes.ask(number));
    }

    /// Whether somebody outside of a scope has asked for an interruption since it was entered.
    pub(crate) fn is_asked_from_outside(&self, number: u64) -> bool {
        let requests = self.requests();
        self.scopes(|scopes| scopes.is_asked_from_outside(number, requests)).unwrap_or(false)
    }

    pub(super) fn has_asking_scopes(&self) -> bool {
        self.scopes(|scopes| scopes.any_asks()).unwrap_or(false)
    }

    /// The outermost scope around a number that has asked for an interruption.
    pub(crate) fn asking_around(&self, number: u64) -> Option<Rc<dyn Scope>> {
        self.scopes(|scopes| scopes.asking_around(number)).flatten()
    }

    /// Whether what has this number lies in the region.
    pub(crate) fn is_inside(&self, region: Region, number: u64) -> bool {
        region == Region::Task || self.scopes(|scopes| scopes.is_inside(number, region)).unwrap_or(false)
    }

    /// Whether a cleanup runs inside of this scope, or it is one itself.
    pub(crate) fn cleans_inside(&self, number: u64) -> bool {
        self.scopes(|scopes| scopes.cleans_inside(number)).unwrap_or(false)
    }

    /// Whether what has this number is not polled, since the task, or a part of it, unwinds.
    pub(crate) fn is_frozen(&self, number: u64) -> bool {
        self.driver_over(number).is_some()
    }

    /// The scopes that wait, before they unwind, for the tasks that are awaited in there.
    pub(super) fn asking_scopes(&self) -> Vec<u64> {
        self.scopes(|scopes| scopes.asking()).unwrap_or_default()
    }

    /// Whether the time of a scope in what is polled of this task may come to be up.
    pub(super) fn is_timed(&self) -> bool {
        let numbers: Vec<u64> = self.scopes(|scopes| scopes.numbers().collect()).unwrap_or_default();
        numbers
            .into_iter()
            .any(|number| !self.is_frozen(number) && self.scope(number).is_some_and(|scope| scope.is_timed()))
    }

    /// Whether the task unwinds, or the scope with this region.
    pub(crate) fn is_driving(&self, region: Region) -> bool {
        match region {
            Region::Task => self.is_unwinding(),
            Region::Inside(number) => self.scopes(|scopes| scopes.is_driving(number)).unwrap_or(false),
        }
    }

    /// Lends the scopes to `act`, which must call no foreign code. None if the task never had any.
    #[inline(never)]
    pub(super) fn scopes<R>(&self, act: impl FnOnce(&mut Scopes) -> R) -> Option<R> {
        self.if_extra(|extra| act(&mut extra.scopes))
    }

    pub(super) fn has_extra(&self) -> bool {
        let extra = self.extra.take();
        let has_extra = extra.is_some();
        self.extra.set(extra);
        has_extra
    }

    /// The task's scopes are nobody's. What they held is to be dropped where nothing is borrowed: that may be foreign code.
    pub(super) fn take_scopes(&self) -> Option<(Scopes, Option<Unwinding>)> {
        self.if_extra(|extra| (std::mem::take(&mut extra.scopes), extra.unwinding.take()))
    }

    /// The task waits for the end of another, while it is cancelled and not polled. Returns whom it has waited for so far.
    pub(super) fn replace_link(&self, link: Option<(Token, WaiterKey)>) -> Option<(Token, WaiterKey)> {
        match link {
            Some(_) => self.extra(|extra| std::mem::replace(&mut extra.link, link)),
            None => self.if_extra(|extra| extra.link.take())?,
        }
    }

    /// The program has asked it to end in this turn, while it waits for tasks.
    pub(super) fn note_asked(&self, turn: u64) {
        self.extra(|extra| {
            extra.is_pressed |= extra.asked_in == turn;
            extra.asked_in = turn;
        });
    }

    /// Whether the program has asked it to end twice in one turn.
    pub(super) fn is_pressed(&self) -> bool {
        self.if_extra(|extra| extra.is_pressed).unwrap_or(false)
    }

    /// A sleep is over.
    #[inline]
    pub(super) fn note_sleep(&self, number: u64, turn: u64) {
        if self.if_extra(|extra| extra.slept = (number, turn)).is_some() && self.is_ending() {
            self.note_frozen_sleep(number);
        }
    }

    #[cold]
    fn note_frozen_sleep(&self, number: u64) {
        if self.is_condemned() || self.is_frozen(number) {
            self.if_extra(|extra| extra.slept_frozen.push(number));
        }
    }

    /// The numbers of the sleeps that were over since the task was polled last, as far as they are known in this turn.
    pub(super) fn sleeps_over(&self, turn: u64) -> Vec<u64> {
        let sleeps = |extra: &mut Extra| {
            let (number, over) = extra.slept;
            let last = (over + 1 == turn).then_some(number);
            extra.slept_frozen.iter().copied().chain(last).collect()
        };
        self.if_extra(sleeps).unwrap_or_default()
    }

    /// The task is polled again, and so are its sleeps.
    pub(super) fn forget_sleeps(&self) {
        self.if_extra(|extra| extra.slept_frozen.clear());
    }

    pub(super) fn note_request(&self, number: u64) {
        self.extra(|extra| extra.request = Some(number));
    }

    /// The last number from before the request to end that comes to the task now. If that came while it did not run, all its scopes
    /// are from before.
    pub(super) fn take_request(&self) -> u64 {
        self.if_extra(|extra| extra.request.take()).flatten().unwrap_or(u64::MAX)
    }

    /// The first request to end is counted, and changes nothing.
    pub(super) fn spare(&self) {
        self.extra(|extra| extra.is_spared = true);
    }

    /// Whether it is spared a request to end. Asked once.
    pub(super) fn take_spared(&self) -> bool {
        let take = |extra: &mut Extra| {
            let is_spared = std::mem::take(&mut extra.is_spared);
            extra.spared += u32::from(is_spared);
            is_spared
        };
        self.if_extra(take).unwrap_or(false)
    }

    /// How often a cancellation was asked for that it was not spared.
    pub(crate) fn requests(&self) -> u32 {
        let spared = self.if_extra(|extra| extra.spared).unwrap_or(0);
        self.cancelling.get().saturating_sub(spared)
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
    /// What takes the place of this when the future is dropped unfinished: the same, but it polls nothing.
    gone: Option<&'static Kind>,
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
    exceptions::drop_value(value);
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
        let kind = self.header().kind.get();
        // First, since a destructor that panics must not leave the way to a poll open.
        self.header().kind.set(kind.gone.unwrap_or(kind));
        // SAFETY: the function is this cell's, and the rest is the caller's word.
        unsafe { (kind.drop_future)(self.0) }
    }

    /// The task has ended without a value, whatever it returned. Its future was dropped.
    pub(super) fn set_error(&self, error: TaskError) {
        debug_assert!(self.header().holds.get() != Holds::Future, "DONE-1: an outcome was written over a future");
        // SAFETY: the function is this cell's.
        unsafe { (self.header().kind.get().set_error)(self.0, error) }
    }
}

/// As `Rc` does it: whoever has leaked four billion handles cannot be helped.
#[cold]
fn too_many_holders() -> ! {
    exceptions::complain(&"a task is held by more than 2^32 handles");
    std::process::abort()
}

/// Polls the future of a task. When it is ready, it was dropped and its value is the outcome. If the future was dropped
/// unfinished, nothing is polled, and the task is condemned and ready.
///
/// # Safety
///
/// The pointer is from `into_raw`, and somebody holds the cell, at least until this returns. The task must not have returned
/// before, and nobody may be polling or dropping the future.
#[inline(always)]
pub(super) unsafe fn poll(task: NonNull<Header>, context: &mut Context<'_>) -> Poll<()> {
    // SAFETY: the cell is there, the function is its own, and the rest is the caller's word.
    unsafe { (task.as_ref().kind.get().poll)(task, context) }
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
            let free = header.kind.get().free;
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
        Some(unsafe { self.task.0.byte_add(header.kind.get().outcome_at).cast().as_ref() })
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

/// Stands for `TaskCell::poll` once the future was dropped unfinished: the cell itself knows that there is nothing to be polled.
///
/// # Safety
///
/// As the function `poll` says.
unsafe fn poll_nothing(task: NonNull<Header>, _: &mut Context<'_>) -> Poll<()> {
    // SAFETY: somebody holds the cell.
    let header = unsafe { task.as_ref() };
    debug_assert!(header.holds.get() != Holds::Future, "DONE-1: a future is there that was said to be gone");
    header.life.set(header.life.get() | CONDEMNED);
    Poll::Ready(())
}

impl<F: Future> TaskCell<F> {
    const KIND: &'static Kind = &Kind { poll: Self::poll, gone: Some(Self::GONE), ..*Self::GONE };

    const GONE: &'static Kind = &Kind {
        future: std::any::type_name::<F>,
        poll: poll_nothing,
        drop_future: Self::drop_future,
        set_error: Self::set_error,
        free: Self::free,
        outcome_at: offset_of!(Self, stage),
        gone: None,
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
            if header.has_future() {
                // First of all, whatever else panics: from now on the cell polls nothing, also if the task still has a row since
                // `body` has unwound.
                // SAFETY: steps do not outlive `body`, which has returned or unwound, so nobody is polling the future.
                exceptions::tolerate_of(header.token(), || unsafe { task.drop_future() });
            }
            if let Some(value) = self.0.outcome().and_then(RefCell::take) {
                exceptions::tolerate_of(header.token(), || drop(value));
            }
            if header.has_extra() {
                // A scope that was handed on elsewhere lives longer, and must not lead back here.
                exceptions::tolerate_of(header.token(), || drop(header.take_scopes()));
            }
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
