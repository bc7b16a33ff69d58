//! Blocks: parts of a task's future that can be interrupted while the task continues. Timeouts and
//! groups are blocks.
//!
//! An interruption does to the inside what a cancellation does to a task. Tasks that are awaited
//! inside are cancelled, and the block waits for them. Every other wait is notified that it is
//! interrupted. Cleanups run, innermost first. Then the future is dropped without another poll;
//! only a group inside may need one poll, to drop its body. If a `catch_cancel` inside catches the
//! interruption, the future continues.
//!
//! ```text
//!     request            the links have ended           all scopes are through
//!   -----------> ASKED ----------------------> DRIVES -------------------------> over
//!                  |                             |
//!                  |  somebody further out       |  a scope has caught it
//!                  v  interrupts, or drives      v
//!               (overtaken)                 the future is polled
//!                  |
//!                  |  that was caught beside the block: ASKED or DRIVES again
//! ```
//!
//! ASKED: the block is interrupted, and waits for the tasks that are awaited inside, its *links*.
//! DRIVES: the block unwinds the scopes inside, and polls their cleanups. Overtaken: a block
//! further out, or the task, drives instead. Code *beside* the block is in another branch of the
//! same task, for example in a `join!`.
//!
//! A block is also a scope, and the kernel knows by the numbers what is inside it
//! (`kernel/cancel/scopes.rs`). If several nested blocks are interrupted, the outermost drives.
//!
//! This file does not know why a block is interrupted. Next: `timeout.rs`.

use crate::error::TaskError;
use crate::kernel::callbacks::exceptions;
use crate::kernel::cancel::scopes::{Inside, Region, Scope, Unwinding};
use crate::kernel::cancel::unwind::Pause;
use crate::kernel::cell::{AnyTask, Ending};
use crate::kernel::{Kernel, Links, ScopeKey, Token, WaiterKey, clone_uncounted, context};
use crate::leaf::{Place, PollInScope, take_raised, wakes_running};
use crate::platform::catch_unwind;
use alloc::boxed::Box;
use alloc::rc::{Rc, Weak};
#[cfg(feature = "groups")]
use alloc::vec::Vec;
use core::cell::Cell;
use core::panic::AssertUnwindSafe;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// A scope whose inside can be interrupted.
pub(crate) trait BlockScope: Scope {
    fn interruption(&self) -> &Interruption;
}

/// The future of a block, and its state for other code.
pub(crate) struct Block<F, S: BlockScope + 'static> {
    /// In a box, so that an interruption can drop it, and so that the block can move. `None` when
    /// it has ended.
    future: Option<Pin<Box<F>>>,
    scope: Rc<S>,
    place: Place,
    /// The awaited task, if the future is an await of one. If the task does not end as cancelled,
    /// its result counts even after an interruption of the block.
    awaited: Option<AnyTask>,
}

/// The future was interrupted, and dropped.
pub(crate) struct Interrupted;

/// The state of a block's interruptions, for its scope.
#[derive(Default)]
pub(crate) struct Interruption {
    /// An interruption was requested, and has not reached the scopes inside yet.
    is_asked: Cell<bool>,
    /// An interruption will be requested when the future suspends.
    is_next: Cell<bool>,
    /// While an interruption is requested: it has reached the waits with this number and lower ones.
    reached: Cell<u64>,
    /// The block does not wait for the tasks that it awaits, because one of them waits for the
    /// block's task.
    leads_back: Cell<bool>,
    /// The block has moved here from another task, in which it was interrupted.
    has_moved: Cell<bool>,
    /// The block has cancelled the awaited task.
    has_cancelled: Cell<bool>,
    /// The unwinding, while the block drives and is not being polled.
    unwinding: Cell<Option<Unwinding>>,
    /// An interruption that a scope further out, or the task, has taken over. If the outer
    /// interruption is caught beside the block, this one continues.
    overtaken: Cell<Option<Overtaken>>,
    /// While the block waits for the tasks that it has cancelled: the next such task, and our place
    /// among its waiters.
    link: Cell<Option<(Token, WaiterKey)>>,
    /// The waker of the last poll of the block.
    waker: Cell<Option<Waker>>,
    /// Where the block was entered.
    key: Cell<Option<ScopeKey>>,
}

struct Overtaken {
    was_asked: bool,
    unwinding: Option<Unwinding>,
}

/// An unwinding may have become a panic, whose payload is user code: a panic of the payload's
/// destructor must not prevent a cleanup.
fn drop_overtaken(overtaken: Option<Overtaken>) {
    exceptions::drop_value(overtaken.and_then(|overtaken| overtaken.unwinding));
}

impl Interruption {
    /// Where the block was entered, in the task in which it is polled.
    pub(crate) fn key(&self) -> Option<ScopeKey> {
        self.key.get()
    }

    /// The task in which the block is polled.
    pub(crate) fn task(&self) -> Option<Token> {
        self.key.get().map(|key| key.task)
    }

    /// Requests an interruption of the inside. Called where nothing is borrowed.
    pub(crate) fn request(&self) {
        let Some((kernel, task, number)) = self.found() else {
            self.is_asked.set(true);
            return self.wake();
        };
        let header = task.header();
        header.ask(number);
        match header.driver_over(number) {
            // The running cleanup is beside the block, and does not concern it. If the interruption
            // ends beside the block too, the block is interrupted then.
            Some(_) if !header.cleans_inside(number) => {
                self.is_next.set(true);
                self.wake();
            }
            Some(Region::Task) => kernel.interrupt_again(&task),
            Some(Region::Inside(driver)) => {
                if let Some(driver) = header.scope(driver) {
                    driver.inside().into_iter().for_each(Inside::interrupt);
                }
            }
            None => self.interrupt(),
        }
    }

    /// Whether an interruption should be requested, now that the future has suspended or ended.
    /// True once.
    pub(crate) fn take_next(&self) -> bool {
        self.is_next.take()
    }

    /// Whether code outside the block has requested an interruption since the block was entered.
    pub(crate) fn is_asked_from_outside(&self) -> bool {
        self.found().is_some_and(|(_, task, number)| task.header().is_asked_from_outside(number))
    }

    #[cfg(feature = "groups")]
    /// The numbers of the waits inside the block.
    pub(crate) fn waits_inside(&self) -> Vec<u64> {
        self.found().map_or(Vec::new(), |(kernel, task, number)| kernel.waits_inside(task.header(), number))
    }

    /// Whether code further out unwinds the block. While it does, the block is not polled.
    pub(crate) fn is_frozen(&self) -> bool {
        self.found().is_some_and(|(_, task, number)| task.header().is_frozen(number))
    }

    /// Whether an interruption has passed through the block and has ended.
    pub(crate) fn is_left_behind(&self) -> bool {
        self.found().is_some_and(|(_, task, number)| {
            task.header().scope(number).is_none() && task.header().driver_over(number).is_none()
        })
    }

    /// The block was interrupted and has a result for that, but code outside had requested an
    /// interruption before. So the task is interrupted again when it next suspends, unless it
    /// returns before that.
    pub(crate) fn ask_again(&self) {
        let Some((kernel, task, number)) = self.found() else { return };
        if task.header().requests() > 0 {
            if kernel.table.is_running(task.header()) {
                kernel.table.doom(task.header());
            }
        } else if let Some(asking) = task.header().asking_around(number) {
            asking.inside().into_iter().for_each(Inside::interrupt_next);
        }
    }

    /// The block was polled, and is pending.
    pub(crate) fn keep_waker(&self, context: &Context<'_>) {
        let waker = clone_uncounted(context.waker());
        drop(self.waker.replace(Some(waker)));
    }

    /// A panic of the waker must not prevent the scope's cleanup.
    fn wake_foreign(&self, waker: Waker) {
        match self.task() {
            Some(task) => exceptions::tolerate_of(task, || waker.wake()),
            None => waker.wake(),
        }
    }

    fn found(&self) -> Option<(Rc<Kernel>, AnyTask, u64)> {
        let key = self.key.get()?;
        let kernel = context::loop_of(key.task)?;
        let task = kernel.table.task(key.task)?;
        Some((kernel, task, key.number))
    }

    /// The inside was polled for a child of a scope in it, although it is interrupted, or was
    /// interrupted by that child. Code beside the scope may have run on: what it has begun to await
    /// is interrupted too.
    #[cold]
    fn interrupt_since(&self, kernel: &Kernel, task: &AnyTask, number: u64) {
        let before = self.reached.replace(kernel.table.numbered());
        match kernel.interrupt_since(task, Region::Inside(number), before) {
            Links::LeadBack => Inside::force(self),
            Links::None if kernel.is_woken_beneath(task.header()) => {}
            Links::None => self.wake(),
            Links::Living | Links::Ended => {}
        }
    }

    fn stop_waiting(&self) {
        let Some(link) = self.link.take() else { return };
        if let Some(kernel) = context::loop_of(link.0) {
            kernel.drop_link(Some(link));
        }
    }

    /// The block has come from another task. What has begun inside still belongs to that task.
    /// `awaits` is `None` if the block has cancelled no awaited task. Otherwise it says whether the
    /// awaited task is still alive.
    fn moved(&self, awaits: Option<bool>, has_future: bool) {
        let was_interrupted = self.is_interrupted();
        self.forget();
        self.leads_back.set(false);
        if !was_interrupted {
            return;
        }
        let has_moved = self.has_moved.replace(true);
        if has_future && awaits.unwrap_or(!has_moved) {
            // What is inside moves with the next poll of the future, and is interrupted after that
            // poll.
            self.is_next.set(true);
        } else {
            // Several tasks poll the block in turn, or there is nothing to wait for.
            self.is_asked.set(true);
        }
    }

    /// The block moves to another task. Cleanups whose futures were dropped do not move: they get
    /// tasks of their own.
    fn leave_to_itself(&self) {
        if let Some((kernel, task, number)) = self.found() {
            kernel.hand_abandoned_over(task.header(), Region::Inside(number));
        }
    }

    /// Ends all interruptions of the block: requested, in progress, or overtaken.
    fn forget(&self) {
        self.overtake();
        drop_overtaken(self.overtaken.take());
    }

    /// Whether code further out has taken over an interruption of the block.
    fn is_overtaken(&self) -> bool {
        let overtaken = self.overtaken.take();
        let is_overtaken = overtaken.is_some();
        self.overtaken.set(overtaken);
        is_overtaken
    }

    /// Whether an interruption was requested or is in progress.
    fn is_interrupted(&self) -> bool {
        let unwinding = self.unwinding.take();
        let drives = unwinding.is_some();
        self.unwinding.set(unwinding);
        drives || self.is_asked.get()
    }
}

impl Inside for Interruption {
    fn force(&self) {
        if self.is_asked.get() {
            self.leads_back.set(true);
            self.wake();
        }
    }

    fn waits(&self) -> bool {
        self.is_asked.get() && !self.leads_back.get()
    }

    fn interrupt(&self) {
        self.is_asked.set(true);
        let Some((kernel, task, number)) = self.found() else { return self.wake() };
        let links = kernel.interrupt(&task, Region::Inside(number));
        self.reached.set(kernel.table.numbered());
        self.leads_back.set(links == Links::LeadBack);
        match links {
            // The end of the task that the block awaits wakes the block.
            Links::Living => self.has_cancelled.set(true),
            Links::Ended => {}
            Links::LeadBack | Links::None => self.wake(),
        }
    }

    fn interrupt_next(&self) {
        self.is_next.set(true);
    }

    fn overtake(&self) -> bool {
        // `leads_back` stays as it is. If the other interruption is caught, and this one is
        // requested again, the links still lead back.
        self.stop_waiting();
        let overtaken = Overtaken { was_asked: self.is_asked.replace(false), unwinding: self.unwinding.take() };
        let was_interrupted = overtaken.was_asked || overtaken.unwinding.is_some();
        if was_interrupted {
            drop_overtaken(self.overtaken.replace(Some(overtaken)));
        }
        was_interrupted
    }

    fn resume(&self) {
        let Some(Overtaken { was_asked, unwinding }) = self.overtaken.take() else { return };
        if let Some((_, task, number)) = self.found().filter(|_| unwinding.is_some()) {
            task.header().set_driving(number, true);
        }
        self.is_asked.set(was_asked);
        self.unwinding.set(unwinding);
        self.wake();
    }

    fn wake_poller(&self) {
        match self.waker.take() {
            Some(waker) if wakes_running(&waker) => self.waker.set(Some(waker)),
            Some(waker) => self.wake_foreign(waker),
            None => {}
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            self.wake_foreign(waker);
        }
    }
}

impl<F, S: BlockScope> Block<F, S> {
    pub(crate) fn new(scope: Rc<S>, future: F) -> Self {
        Self::awaiting(None, scope, future)
    }

    pub(crate) fn awaiting(awaited: Option<AnyTask>, scope: Rc<S>, future: F) -> Self {
        Block { future: Some(Box::pin(future)), scope, place: Place::default(), awaited }
    }

    pub(crate) fn scope(&self) -> &Rc<S> {
        &self.scope
    }

    pub(crate) fn place(&mut self) -> &mut Place {
        &mut self.place
    }

    /// The future is gone, and nothing in the block continues.
    pub(crate) fn is_over(&self) -> bool {
        let interruption = self.scope.interruption();
        self.future.is_none() && !interruption.is_interrupted() && !interruption.is_overtaken()
    }

    /// Enters the block in the running task, unless it is already entered there. Returns true if
    /// the block has moved: it was entered in another task before.
    pub(crate) fn enter(&mut self) -> bool {
        let scope = &self.scope;
        if self.place.has_moved() {
            scope.interruption().leave_to_itself();
        }
        let moved = self.place.enter(|| Rc::<S>::downgrade(scope) as Weak<dyn Scope>);
        let interruption = self.scope.interruption();
        interruption.key.set(self.place.key());
        if moved {
            interruption.moved(self.awaits_cancelled(), self.future.is_some());
        }
        moved
    }

    /// If this block has cancelled the awaited task: whether that task has not ended yet. Otherwise
    /// `None`.
    fn awaits_cancelled(&self) -> Option<bool> {
        let awaited = self.awaited.as_ref().filter(|_| self.scope.interruption().has_cancelled.get())?;
        Some(!awaited.header().is_done())
    }

    /// Drops the future, and leaves the scope.
    pub(crate) fn end(&mut self) {
        self.drop_future();
        self.leave();
    }

    pub(crate) fn leave(&mut self) {
        self.place.leave();
        self.scope.interruption().key.set(None);
    }

    pub(crate) fn drop_future(&mut self) {
        self.drop_future_after(self.scope.interruption().is_interrupted());
    }

    /// Drops the future. Some waits may outlive it, because a `Shared` or a set of other code owns
    /// them. If these waits were interrupted, they continue.
    fn drop_future_after(&mut self, was_interrupted: bool) {
        let interruption = self.scope.interruption();
        interruption.forget();
        drop(interruption.waker.take());
        let found = interruption.found();
        if let Some((_, task, number)) = &found {
            task.header().set_driving(*number, false);
        }
        self.future = None;
        if let Some((kernel, task, number)) = found.filter(|_| was_interrupted) {
            kernel.hand_orphans_over(task.header(), Region::Inside(number));
            kernel.release_waits(task.header(), Region::Inside(number));
        }
    }
}

/// Whether the future of a block is polled in this step.
enum Turn {
    /// It is polled. `resumes` is true if a scope inside has just caught an interruption.
    Polls {
        resumes: bool,
    },
    Pending,
    Over(TaskError),
}

impl<F: Future, S: BlockScope> Block<F, S> {
    /// Ready with `Interrupted` when an interruption was requested and has finished. The scope is
    /// still entered then.
    #[track_caller]
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<F::Output, Interrupted>> {
        self.enter();
        // Code beside the block may have raised a cancellation before the block was polled. That
        // does not concern the inside.
        let beside = PollInScope::begin();
        let was_interrupted = self.scope.interruption().is_interrupted();
        let found = self.scope.interruption().found();
        let polled = found.as_ref().map(|(kernel, task, number)| kernel.poll_scope(task.header(), *number));
        let poll = self.poll_inside(context);
        drop(polled);
        match &poll {
            Poll::Ready(_) => self.drop_future_after(was_interrupted),
            Poll::Pending => self.suspend(context),
        }
        beside.end(poll)
    }

    #[track_caller]
    fn poll_inside(&mut self, context: &mut Context<'_>) -> Poll<Result<F::Output, Interrupted>> {
        let mut raised = false;
        loop {
            let resumes = match self.take_turn(raised, context) {
                Turn::Polls { resumes } => resumes,
                Turn::Pending => return Poll::Pending,
                Turn::Over(TaskError::Panicked(panic)) => panic.resume(),
                Turn::Over(TaskError::Cancelled) if self.has_resisted() => false,
                Turn::Over(TaskError::Cancelled) => return Poll::Ready(Err(Interrupted)),
            };
            let future = self.future.as_mut().expect("a block is not polled after it was ready");
            let poll = future.as_mut().poll(context);
            raised = take_raised();
            let Poll::Pending = poll else { return poll.map(Ok) };
            let Some((kernel, task, number)) = self.scope.interruption().found() else { return Poll::Pending };
            if resumes {
                // What waits in here continues, and is notified that it is not interrupted any
                // more.
                kernel.resume_waits(task.header(), Region::Inside(number));
            }
            if !raised {
                if self.scope.interruption().waits() {
                    self.scope.interruption().interrupt_since(&kernel, &task, number);
                }
                return Poll::Pending;
            }
        }
    }

    /// Continues an interruption, if there is one.
    fn take_turn(&mut self, raised: bool, context: &mut Context<'_>) -> Turn {
        let interruption = self.scope.interruption();
        let begun = interruption.unwinding.take();
        if !raised && begun.is_none() && !interruption.is_asked.get() {
            // Without a future, code further out drives, and the task is polled for something beside.
            return if self.future.is_some() { Turn::Polls { resumes: false } } else { Turn::Pending };
        }
        let Some((kernel, task, number)) = interruption.found() else {
            // The block is polled in no task, so the kernel knows of nothing inside.
            return Turn::Over(TaskError::Cancelled);
        };
        if !raised && kernel.defers(context.waker()) {
            // This poll is for a child of a scope inside, and not for the task.
            interruption.unwinding.set(begun);
            return if self.future.is_some() { Turn::Polls { resumes: false } } else { Turn::Pending };
        }
        let (header, region) = (task.header(), Region::Inside(number));
        if !raised && interruption.is_asked.get() && !interruption.leads_back.get() {
            let mut link = interruption.link.take();
            let waits = kernel.follow_link(&mut link, header, region, context.waker());
            interruption.link.set(link);
            if waits {
                kernel.yield_gift(header, region, false);
                interruption.unwinding.set(begun);
                return Turn::Pending;
            }
        }
        interruption.leads_back.set(false);
        let begins = begun.is_none();
        let mut unwinding = begun.unwrap_or_else(|| Unwinding::new(region));
        header.set_driving(number, true);
        if interruption.is_asked.replace(false) || raised {
            unwinding.interrupt(header);
        }
        loop {
            match unwinding.poll(&kernel, header, context) {
                Poll::Pending => {
                    if begins {
                        kernel.yield_gift(header, region, true);
                    }
                    if self.future.is_some() && kernel.cleanup_suspended(&task, region) {
                        let future = self.future.take();
                        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
                            unwinding.panicked(payload);
                        }
                    }
                    self.scope.interruption().unwinding.set(Some(unwinding));
                    return Turn::Pending;
                }
                Poll::Ready(Pause::DropsBody) => {
                    let Some(future) = &mut self.future else { continue };
                    let poll = kernel.poll_for_a_drop(|| future.as_mut().poll(context));
                    let _unwinds_already = take_raised();
                    match poll {
                        Ok(Poll::Pending) => {}
                        // Code beside that scope has ended the future: its result does not count
                        // any more.
                        Ok(Poll::Ready(output)) => {
                            let future = self.future.take();
                            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop((output, future)))) {
                                unwinding.panicked(payload);
                            }
                        }
                        Err(payload) => {
                            unwinding.panicked(payload);
                            let future = self.future.take();
                            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(future))) {
                                unwinding.panicked(payload);
                            }
                        }
                    }
                }
                Poll::Ready(stop) => {
                    header.set_driving(number, false);
                    if stop == Pause::Caught {
                        kernel.hand_orphans_over(header, region);
                    }
                    return match stop {
                        Pause::Caught if self.future.is_some() => Turn::Polls { resumes: true },
                        _ => Turn::Over(unwinding.into_error()),
                    };
                }
            }
        }
    }

    /// Whether this block has cancelled the awaited task, and the task has ended, but not as
    /// cancelled. A task that ends before the interruption is not cancelled by the block: its value
    /// comes too late.
    fn has_resisted(&self) -> bool {
        self.scope.interruption().has_cancelled.get()
            && self.awaited.as_ref().is_some_and(|task| {
                let ending = task.header().ending.get();
                ending.is_some() && ending != Some(Ending::Cancelled)
            })
    }

    fn suspend(&self, context: &Context<'_>) {
        let interruption = self.scope.interruption();
        interruption.keep_waker(context);
        if interruption.take_next() {
            if context::running().is_some_and(|kernel| kernel.defers(context.waker())) {
                // The task is polled for a child of a scope, and suspends later.
                interruption.is_next.set(true);
            } else if self.awaits_cancelled() == Some(true) {
                // The awaited task is already cancelled, and its end wakes the block.
                interruption.is_asked.set(true);
                interruption.reached.set(context::running().map_or(0, |kernel| kernel.table.numbered()));
            } else {
                interruption.interrupt();
            }
        }
    }
}

impl<F, S: BlockScope> Drop for Block<F, S> {
    fn drop(&mut self) {
        self.end();
    }
}
