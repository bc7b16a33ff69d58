//! Steps that go through the future of another task: the children of a `scope`.
//!
//! ```text
//!   ready queue:   .. [ child ] ..
//!                        |  a step of the child: its cell contains only a proxy
//!                        v
//!   parent's cell:  [ async fn { timeout { scope { children: [ .. | the child's future | .. ] } } } ]
//!                        |             ^
//!                        +-------------+  a poll of the parent's future, for this child alone
//! ```
//!
//! A child of a scope borrows from its parent, so its future is inside the parent's future, and may
//! be polled only while that future is polled: then the borrowed values certainly exist. But the
//! child is a task like any other, with a row, a token, a place in the ready queue and waits of its
//! own. So its step polls the future of the parent, and the scope in there polls the future of the
//! child. While the futures around the scope are polled, the parent is the running task; while the
//! child is polled, it is the child.
//!
//! A poll for a child interrupts nothing and continues no unwinding: blocks on the way only pass it
//! on. So what was due in the parent still happens in the parent's own step.
//!
//! The parent may be a child of another scope. Then its cell contains a proxy too, and the poll
//! goes on to the parent of the parent.
//!
//! This file does not know scopes, nor who asks for the poll.

use crate::kernel::Kernel;
use crate::kernel::cancel::marks::ScopeKey;
use crate::kernel::cancel::scopes::{Region, Unwinding};
use crate::kernel::cancel::spread::Links;
use crate::kernel::cell::{AnyTask, CONDEMNED, DOOMED, Header, RAISED, SCHEDULED};
#[cfg(feature = "report")]
use crate::kernel::observe::names::function_of;
use crate::kernel::table::waker::clone_uncounted;
use crate::kernel::token::Token;
use crate::platform::{Caught, catch_unwind};
#[cfg(feature = "report")]
use alloc::string::String;
use alloc::{boxed::Box, rc::Rc, vec::Vec};
use core::cell::{Cell, RefCell};
#[cfg(feature = "report")]
use core::fmt::Write;
use core::panic::AssertUnwindSafe;
use core::task::{Context, Waker};

#[derive(Default)]
pub(in crate::kernel) struct Notes {
    /// The tasks that were running when another took their place, with the flags that were set
    /// while they ran; the outermost first. These and the running task are all whose cells may be
    /// in a poll. Borrowed only in this file, and while no user code runs.
    beneath: RefCell<Vec<(Token, u8)>>,
    /// Which scope the poll is for (its address). 0 if the running task is polled for itself.
    target: Cell<usize>,
    /// Wakers to wake after the poll (`wake_later`).
    late: RefCell<Vec<Waker>>,
}

/// For whom a poll is: the scope that it is going to, and whether it only drops something there.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Purpose {
    target: usize,
    only_drops: bool,
}

impl Purpose {
    /// Whether a task is polled for itself.
    pub(crate) fn is_of_itself(self) -> bool {
        self.target == 0 && !self.only_drops
    }
}

impl Kernel {
    /// The address of the scope for whose child the running task is polled. 0 if the running task
    /// is polled for itself.
    pub(crate) fn target(&self) -> usize {
        self.cancels.through.get().map_or(0, |notes| notes.target.get())
    }

    /// Where the poll of the running task is going.
    pub(crate) fn purpose(&self) -> Purpose {
        Purpose { target: self.target(), only_drops: self.only_drops() }
    }

    fn notes(&self) -> &Notes {
        self.cancels.through.get_or_init(Box::default)
    }

    fn replace_purpose(&self, purpose: Purpose) -> Purpose {
        Purpose {
            target: self.notes().target.replace(purpose.target),
            only_drops: self.cancels.only_drops.replace(purpose.only_drops),
        }
    }

    /// Whether a task may be polled for a child of this scope. While the part of the task around
    /// the scope unwinds, it may not if anything is known to wait beside the scope: that would run
    /// on. `body` are the waits that were in the body of the scope, if the scope cleans up.
    pub(crate) fn may_poll_through(&self, ScopeKey { task, number }: ScopeKey, body: Option<&[u64]>) -> bool {
        self.table.task(task).is_some_and(|task| {
            let header = task.header();
            header.driver_over(number).is_none_or(|region| !self.has_frozen_beside(header, region, number, body))
        })
    }

    /// Whether a task is a child that its scope did not poll, and that is cancelled. Perhaps nothing
    /// will poll it any more; an attempt shows that.
    pub(crate) fn may_never_be_polled(&self, task: Token) -> bool {
        self.table.task(task).is_some_and(|task| task.header().is_missed() && task.header().is_ending())
    }

    /// Whether nothing will poll a child that its scope has missed: a part of the task around the
    /// scope is interrupted, and waits for the end of the child before it is polled again. Or the
    /// loop ends, and the scope is in no task.
    pub(crate) fn waits_for_missed(&self, scope: Option<ScopeKey>, child: Token) -> bool {
        match scope.and_then(|ScopeKey { task, number }| Some((self.table.task(task)?, number))) {
            Some((task, number)) => self.waits_around(&task, number, child),
            None => self.cancels.closing.get(),
        }
    }

    /// Whether the running task, which is this one, is polled for a child of a scope in it and is in the
    /// ready queue too: then it has been woken.
    pub(crate) fn is_woken_beneath(&self, task: &Header) -> bool {
        self.target() != 0 && task.life.get() & SCHEDULED != 0
    }

    /// Whether a task that is not the running one is in a poll.
    pub(in crate::kernel) fn is_beneath(&self, task: &Header) -> bool {
        self.cancels.through.get().is_some_and(|notes| {
            let beneath = notes.beneath.borrow();
            beneath.iter().any(|&(token, _)| token == task.token()) && !self.table.is_running(task)
        })
    }

    /// Polls the future of a task in the step of another, for a child of the scope `target` in that
    /// future. Calls `before` first, as that task. Does nothing if the task has ended, or has no
    /// future any more, or is being polled.
    ///
    /// The future may return, or panic, because other futures beside the scope are polled too. Then
    /// the task ends in its own next step.
    pub(crate) fn poll_through(&self, task: Token, target: usize, before: impl FnOnce()) {
        let Some(task) = self.table.task(task) else { return };
        let header = task.header();
        let notes = self.notes();
        let is_polled = |token| {
            self.table.running_token() == token || notes.beneath.borrow().iter().any(|&(other, _)| other == token)
        };
        if !header.has_future() || is_polled(header.token()) {
            return;
        }
        // A cancelled task begins nothing new.
        let purpose = self.replace_purpose(Purpose { target, only_drops: header.is_ending() });
        let polled = self.as_task(&task, || {
            before();
            self.table.poll_for_a_scope(&task);
        });
        self.replace_purpose(purpose);
        match polled {
            Err(payload) => self.end_by_panic(&task, payload),
            Ok(()) if !header.has_future() && !header.is_ending() => self.table.queue_again(header.token()),
            Ok(()) => {}
        }
        if notes.beneath.borrow().is_empty() {
            let late = notes.late.take();
            late.into_iter().for_each(|waker| self.tolerate(|| waker.wake()));
        }
    }

    /// If the running task is polled for a child of a scope: returns true, and the waker will be
    /// woken after this poll, unless it is the task's own. What was due in the polled future does not
    /// happen in this poll, and a combinator would not poll it again without a wake.
    #[cold]
    #[inline(never)]
    pub(crate) fn defers(&self, waker: &Waker) -> bool {
        if self.target() == 0 {
            return false;
        }
        if !self.table.wakes_running(waker) {
            let waker = clone_uncounted(waker);
            self.notes().late.borrow_mut().push(waker);
        }
        true
    }

    /// Polls the future of a child, as the running task, in a poll of its parent. The child's own
    /// step does this, or the scope, if that step did not reach the scope.
    pub(crate) fn poll_as<R>(
        &self,
        task: &AnyTask,
        purpose: Purpose,
        poll: impl FnOnce(&mut Context<'_>) -> R,
    ) -> Caught<R> {
        let before = self.replace_purpose(purpose);
        let waker = self.table.waker_of(task.header().token());
        let polled = self.as_task(task, || poll(&mut Context::from_waker(&waker)));
        self.replace_purpose(before);
        polled
    }

    /// Calls a waker that wakes the running task by way of a combinator. That the task is woken does
    /// not count. Returns whether it was woken by this alone.
    pub(crate) fn wake_within(&self, wake: impl FnOnce()) -> bool {
        let was_woken = self.table.running_is_woken();
        self.tolerate(wake);
        let (token, flags) = self.table.replace_running((Token::NOBODY, 0));
        let is_woken = !was_woken && flags & SCHEDULED != 0;
        self.table.replace_running((token, if was_woken { flags } else { flags & !SCHEDULED }));
        is_woken
    }

    /// Runs user code with this task as the running one. Flags that the code sets belong to it.
    fn as_task<R>(&self, task: &AnyTask, act: impl FnOnce() -> R) -> Caught<R> {
        let header = task.header();
        let token = header.token();
        let notes = self.notes();
        let before = self.table.numbered();
        let outer = self.table.replace_running((Token::NOBODY, 0));
        // Only the task that is stepped counts as scheduled, although it is not running from now on.
        let stepped = self.table.task(outer.0).filter(|_| notes.beneath.borrow().is_empty());
        stepped.iter().for_each(|stepped| _ = stepped.header().take_merged());
        let flags = {
            let mut beneath = notes.beneath.borrow_mut();
            beneath.push(outer);
            let own = beneath.iter_mut().filter(|(other, _)| *other == token);
            own.fold(0, |sum, (_, flags)| sum | core::mem::take(flags))
        };
        self.table.replace_running((token, flags));
        let result = catch_unwind(AssertUnwindSafe(act));
        let flags = {
            let mut beneath = notes.beneath.borrow_mut();
            let (_, flags) = self.table.replace_running((Token::NOBODY, 0));
            match beneath.iter_mut().rfind(|(other, _)| *other == token) {
                Some((_, own)) => {
                    *own |= flags;
                    None
                }
                None => Some(flags),
            }
        };
        let outer = notes.beneath.borrow_mut().pop();
        self.table.replace_running(outer.expect("STEP-2: a task takes its place again"));
        if let Some(stepped) = stepped.as_ref().map(AnyTask::header) {
            // A wake or a cancellation of it was recorded in its header alone.
            self.table.note(if stepped.take_merged() { SCHEDULED } else { 0 });
            self.table.note(if stepped.is_condemned() { CONDEMNED } else { 0 });
        }
        if let Some(flags) = flags {
            self.heed(task, flags, before);
        }
        result
    }

    /// Does what the loop does after a step in which these flags were set. `before` is the last number
    /// given out before the step. The task is not running.
    fn heed(&self, task: &AnyTask, flags: u8, before: u64) {
        let header = task.header();
        if flags == 0 && !header.is_condemned() || !self.table.is_alive(header.token()) {
            return;
        }
        if flags & (RAISED | DOOMED) != 0 {
            self.table.condemn(header);
        }
        if flags & RAISED != 0 {
            self.table.force(header);
        } else if flags & (CONDEMNED | DOOMED) != 0 {
            self.cancel_suspended(task);
        } else if header.is_condemned() && !header.is_forced() {
            // It was cancelled before this poll, or in the poll of another task in it, and has run on.
            let number = header.request().unwrap_or(0).max(before);
            let has_links = self.interrupt_since(task, Region::Task, number) != Links::None;
            if !has_links && header.life.get() & SCHEDULED == 0 {
                self.table.wake(header.token());
            }
        }
        if flags & SCHEDULED != 0 {
            self.table.queue_again(header.token());
        }
    }

    /// The future of a task has panicked in the step of another. It is dropped, and the task
    /// unwinds in its own next step.
    #[cold]
    fn end_by_panic(&self, task: &AnyTask, payload: Box<dyn core::any::Any + Send>) {
        let header = task.header();
        let mut unwinding =
            header.scopes(|scopes| scopes.unwinding.take()).flatten().unwrap_or_else(|| Unwinding::new(Region::Task));
        unwinding.panicked(payload);
        if let Err(payload) = self.as_task(task, || self.table.drop_future(task)) {
            self.tolerate(|| crate::platform::resume_unwind(payload));
        }
        header.scopes(|scopes| scopes.unwinding.replace(unwinding));
        self.table.condemn(header);
        self.table.force(header);
    }

    /// The default name of the task that is spawned next, if its future has this type. `None` if
    /// tasks have no such names.
    pub(crate) fn next_name(&self, _future: &str) -> Option<Rc<str>> {
        #[cfg(feature = "report")]
        {
            let function = function_of(_future);
            let mut name = String::with_capacity(function.len() + 21);
            _ = write!(name, "{function}-{}", self.spawned.get() + 1);
            Some(name.into())
        }
        #[cfg(not(feature = "report"))]
        None
    }
}
