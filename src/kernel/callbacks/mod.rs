//! Callbacks, the task-local values that they see, and panics that no code handles.

pub(crate) mod calls;
pub(crate) mod exceptions;
pub(crate) mod locals;

use crate::error::{Panic, TaskError};
use crate::kernel::cell::Header;
use crate::kernel::explore::touched;
#[cfg(feature = "probe")]
use crate::kernel::observe::probe::{EventKind, Source};
use crate::kernel::{Kernel, context};
use crate::platform::catch_unwind;
use alloc::boxed::Box;
use calls::{Call, CallKey, Callback};
use core::any::Any;
use core::cell::{Cell, RefCell};
use core::panic::AssertUnwindSafe;
use locals::Locals;

/// The loop's fields for callbacks.
#[derive(Default)]
pub(crate) struct Notes {
    /// Whether a callback is being called.
    pub(in crate::kernel) calling: Cell<bool>,
    /// Whether a task-local variable was ever set in this loop. If not, no code looks up values.
    has_locals: Cell<bool>,
    /// `Some` from then on.
    locals: Cell<Option<&'static LocalsInUse>>,
    /// The task-local values of the callback that is being called.
    pub(in crate::kernel) callback_locals: RefCell<Locals>,
}

/// The functions that only a loop with task-local values needs. They are called through these
/// pointers, so that a program without such values does not contain them.
pub(in crate::kernel) struct LocalsInUse {
    /// A task that is being spawned gets a copy of the values.
    pub(in crate::kernel) hand_on: fn(&Kernel, &Header),
    /// The task has ended: drops its values.
    pub(in crate::kernel) end_task: fn(&Kernel, &Header),
    end_call: fn(&Kernel),
}

impl Notes {
    /// In the usual case, one comparison of a byte.
    #[inline]
    pub(in crate::kernel) fn locals_in_use(&self) -> Option<&'static LocalsInUse> {
        if self.has_locals.get() { self.in_use() } else { None }
    }

    /// A cold function, so that the compiler does not load the pointer ahead of the comparison.
    #[cold]
    fn in_use(&self) -> Option<&'static LocalsInUse> {
        self.locals.get()
    }
}

static LOCALS: LocalsInUse = LocalsInUse {
    hand_on: Kernel::hand_locals_on,
    end_task: |kernel, header| kernel.tolerate(|| drop(header.take_locals())),
    end_call: |kernel| {
        let locals = kernel.callbacks.callback_locals.take();
        kernel.tolerate(|| drop(locals));
    },
};

impl Kernel {
    // ---- in the ready queue ----

    /// Queues a callback that can be cancelled.
    pub(crate) fn call_soon(&self, call: Call) -> CallKey {
        let key = self.calls.borrow_mut().insert(call);
        self.queue_callback(Callback::Key(key.entry()));
        key
    }

    /// Queues a callback.
    #[inline]
    pub(crate) fn queue_call(&self, call: Call) {
        self.queue_callback(Callback::Call(call));
    }

    #[inline]
    fn queue_callback(&self, callback: Callback) {
        self.table.push_call(callback);
        touched::callback_queued();
        tell!(self.table, EventKind::CallQueue { by: self.table.source() });
        self.work_arrived();
    }

    /// Cancels a callback, unless it was called or cancelled. Returns the callback; the caller
    /// drops it where nothing is borrowed.
    pub(crate) fn cancel_call(&self, key: CallKey) -> Option<Call> {
        touched::touches_all();
        self.calls.borrow_mut().cancel(key)
    }

    /// Calls a callback that was taken from the queue, unless it was cancelled.
    #[inline]
    pub(in crate::kernel) fn call(&self, callback: Callback) {
        self.tally().calls_taken.count();
        let call = match callback {
            Callback::Call(call) => Some(call),
            Callback::Key(key) => self.calls.borrow_mut().take(key),
            Callback::Dropped => None,
        };
        match call {
            Some(call) => self.run(call),
            None => self.tell_skipped(),
        }
    }

    pub(in crate::kernel) fn run(&self, call: Call) {
        self.tally().callbacks.count();
        self.callbacks.calling.set(true);
        touched::touches_all();
        #[cfg(feature = "probe")]
        let _because = self.because_of(Source::Callback);
        tell!(self.table, EventKind::CallBegin);
        call.run();
        self.called();
    }

    /// Ends a callback, and drops the task-local values that it saw.
    pub(in crate::kernel) fn called(&self) {
        self.callbacks.calling.set(false);
        tell!(self.table, EventKind::CallEnd);
        // Destructors of these values are user code, and run after the end of the callback.
        if let Some(locals) = self.callbacks.locals_in_use() {
            (locals.end_call)(self);
        }
    }

    pub(in crate::kernel) fn fire_call(&self, call: Call) {
        self.watch.iter().for_each(|watch| watch.begin());
        match catch_unwind(AssertUnwindSafe(|| self.run(call))) {
            Ok(()) => self.tell_if_slow(None),
            Err(payload) => self.panicked(payload),
        }
    }

    // ---- the task-local values that callbacks see ----

    /// The values of the running task, or of the callback that is being called. A destructor that
    /// runs outside of both sees no values, and a value that it sets is lost.
    pub(crate) fn locals(&self) -> Locals {
        match self.current() {
            Some(task) => task.header().locals(),
            None => self.callbacks.callback_locals.borrow().clone(),
        }
    }

    pub(crate) fn set_locals(&self, locals: Locals) {
        self.callbacks.has_locals.set(true);
        self.callbacks.locals.set(Some(&LOCALS));
        let before = match self.current() {
            Some(task) => task.header().replace_locals(locals),
            None if self.callbacks.calling.get() => self.callbacks.callback_locals.replace(locals),
            None => locals,
        };
        // Here, because nothing is borrowed.
        drop(before);
    }

    pub(in crate::kernel) fn hand_locals_on(&self, header: &Header) {
        let locals = self.locals();
        if !locals.is_empty() {
            header.replace_locals(locals);
        }
    }

    /// The values that a callback will see if it is scheduled now.
    pub(crate) fn locals_for_callback(&self) -> Locals {
        if self.callbacks.has_locals.get() { self.locals() } else { Locals::default() }
    }

    /// Makes a callback that sees the values which are set now.
    pub(crate) fn callback(&self, callback: impl FnOnce() + 'static) -> Call {
        callback_with(self.locals_for_callback(), callback)
    }

    // ---- panics ----

    /// Handles a panic of user code. If a task is running, the task ends with this panic. Otherwise
    /// the panic goes to the exception handler.
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
            // This may be the last reference, and its destructor may panic again.
            drop(task);
        });
    }

    /// Runs user code. A panic in it is only reported to the exception handler.
    pub(in crate::kernel) fn tolerate(&self, act: impl FnOnce()) {
        self.tolerate_in(exceptions::AT_AN_END, act);
    }

    pub(in crate::kernel) fn tolerate_in(&self, place: &'static str, act: impl FnOnce()) {
        exceptions::tolerate(self.id(), place, act);
    }
}

/// Makes a callback that sees these values. After the call, the code that calls it removes the
/// values (`Kernel::called`), even if the callback panics.
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
