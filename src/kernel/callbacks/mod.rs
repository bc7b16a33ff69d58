//! Callbacks, the task-local values that they see, and the panics that nobody takes.

pub(crate) mod calls;
pub(crate) mod exceptions;
pub(crate) mod locals;

use crate::error::{Panic, TaskError};
use crate::kernel::cell::Header;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::{EventKind, Source};
use crate::kernel::observe::watch::StepWatch;
use crate::kernel::{Kernel, context};
use calls::{Call, CallKey};
use locals::Locals;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a loop notes of its callbacks.
#[derive(Default)]
pub(crate) struct Notes {
    /// A callback is being called.
    pub(in crate::kernel) calling: Cell<bool>,
    /// A task-local variable was set in this loop. As long as none was, nobody looks for values.
    pub(in crate::kernel) has_locals: Cell<bool>,
    /// The task-local values of the callback that is being called.
    pub(in crate::kernel) callback_locals: RefCell<Locals>,
}

impl Kernel {
    // ---- in the ready queue ----

    pub(crate) fn call_soon(&self, call: Call) -> CallKey {
        let key = self.calls.borrow_mut().insert(call);
        self.table.push_call(key.entry());
        self.work_arrived();
        key
    }

    /// The callback, which is to be dropped where no borrow is held, unless it was called or cancelled.
    pub(crate) fn cancel_call(&self, key: CallKey) -> Option<Call> {
        self.calls.borrow_mut().cancel(key)
    }

    pub(in crate::kernel) fn call(&self, entry: u32) {
        self.tally().calls_taken.count();
        let call = self.calls.borrow_mut().take(entry);
        if let Some(call) = call {
            self.run(call);
        }
    }

    pub(in crate::kernel) fn run(&self, call: Call) {
        self.tally().callbacks.count();
        self.callbacks.calling.set(true);
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Callback);
        tell!(self.table, EventKind::CallBegin);
        call.run();
        self.called();
    }

    /// A callback is over, and so are the values that it saw.
    pub(in crate::kernel) fn called(&self) {
        self.callbacks.calling.set(false);
        tell!(self.table, EventKind::CallEnd);
        if self.callbacks.has_locals.get() {
            let locals = self.callbacks.callback_locals.take();
            // Their destructors are foreign code, and belong to no callback any more.
            self.tolerate(|| drop(locals));
        }
    }

    pub(in crate::kernel) fn fire_call(&self, call: Call) {
        self.watch.iter().for_each(StepWatch::begin);
        match catch_unwind(AssertUnwindSafe(|| self.run(call))) {
            Ok(()) => self.tell_if_slow(None),
            Err(payload) => self.panicked(payload),
        }
    }

    // ---- the task-local values that they see ----

    /// Those of the task that is being stepped, or of the callback that is being called. A destructor that runs in neither sees
    /// none, and what it sets is lost.
    pub(crate) fn locals(&self) -> Locals {
        match self.current() {
            Some(task) => task.header().locals(),
            None => self.callbacks.callback_locals.borrow().clone(),
        }
    }

    pub(crate) fn set_locals(&self, locals: Locals) {
        self.callbacks.has_locals.set(true);
        let before = match self.current() {
            Some(task) => task.header().replace_locals(locals),
            None if self.callbacks.calling.get() => self.callbacks.callback_locals.replace(locals),
            None => locals,
        };
        // Here, where no borrow is held.
        drop(before);
    }

    #[cold]
    pub(in crate::kernel) fn hand_locals_on(&self, header: &Header) {
        let locals = self.locals();
        if !locals.is_empty() {
            header.replace_locals(locals);
        }
    }

    /// The values which a callback sees that is asked for now.
    pub(crate) fn locals_for_callback(&self) -> Locals {
        if self.callbacks.has_locals.get() { self.locals() } else { Locals::default() }
    }

    /// A callback that sees the values which are set now.
    pub(crate) fn callback(&self, callback: impl FnOnce() + 'static) -> Call {
        callback_with(self.locals_for_callback(), callback)
    }

    // ---- panics ----

    /// Foreign code has panicked: a task, which ends of it, or something that belongs to none.
    #[cold]
    pub(in crate::kernel) fn panicked(&self, payload: Box<dyn Any + Send>) {
        let Some(task) = self.table.running() else {
            if !self.callbacks.calling.get() {
                return exceptions::reached_nobody(self.id(), exceptions::AT_AN_END, payload);
            }
            // The handler sees the values of the callback.
            exceptions::reached_nobody(self.id(), exceptions::IN_A_CALLBACK, payload);
            self.called();
            return self.tell_if_slow(None);
        };
        self.tolerate(move || {
            self.tolerate(|| self.table.drop_future(&task));
            self.fail(&task, TaskError::Panicked(Panic::new(payload)));
            if self.watch.is_some() {
                self.tell_if_slow(Some(task.clone()));
            }
            // It may be the last owner, and drops what panics again.
            drop(task);
        });
    }

    /// Runs foreign code of which nobody wants to know whether it panics, but for the exception handler.
    pub(in crate::kernel) fn tolerate(&self, act: impl FnOnce()) {
        self.tolerate_in(exceptions::AT_AN_END, act);
    }

    pub(in crate::kernel) fn tolerate_in(&self, place: &'static str, act: impl FnOnce()) {
        exceptions::tolerate(self.id(), place, act);
    }
}

/// A callback that sees these values. Whoever calls it takes them away again, also if it panics.
pub(crate) fn callback_with(locals: Locals, callback: impl FnOnce() + 'static) -> Call {
    if locals.is_empty() {
        return Call::Once(Box::new(callback));
    }
    Call::Once(Box::new(move || {
        let kernel = context::running().expect("a callback is called in a turn of its loop");
        kernel.callbacks.callback_locals.replace(locals);
        callback();
    }))
}
