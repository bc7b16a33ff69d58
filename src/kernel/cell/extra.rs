//! Data that few tasks have, in a separate box: a name, task-local values, and the notes of
//! `cancel/`.

use super::Header;
use crate::error::Panic;
use crate::kernel::callbacks::exceptions::{self, Exception};
use crate::kernel::callbacks::locals::Locals;
use crate::kernel::cancel::record::Record;
#[cfg(feature = "report")]
use crate::kernel::observe::names::function_of;
use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::rc::Rc;

/// Data that few tasks have.
#[derive(Default)]
struct Extra {
    name: Option<Rc<str>>,
    cancel: Record,
    locals: Locals,
}

/// The place of `Extra` in the header. Empty while code uses the data. Only `Drop for Slot` drops
/// the data, so code that uses it has nothing to drop if it panics, which it does not.
pub(super) struct Slot(Cell<Option<Undropped>>);

type Undropped = ManuallyDrop<Box<Extra>>;

impl Slot {
    #[inline]
    pub(super) fn of(name: Option<Rc<str>>) -> Self {
        Slot(Cell::new(name.map(named)))
    }
}

impl Drop for Slot {
    /// Most tasks have no such data.
    #[inline]
    fn drop(&mut self) {
        if self.0.get_mut().is_some() {
            drop_extra(self);
        }
    }
}

/// A separate function, because it would be inlined for each type of future.
#[cold]
#[inline(never)]
fn named(name: Rc<str>) -> Undropped {
    ManuallyDrop::new(Box::new(Extra { name: Some(name), ..Extra::default() }))
}

/// A separate function, so that tasks without such data do not pay for it.
#[cold]
#[inline(never)]
fn drop_extra(slot: &Slot) {
    drop(slot.0.take().map(ManuallyDrop::into_inner));
}

impl Header {
    pub(crate) fn name(&self) -> Rc<str> {
        let name = self.if_extra(|extra| extra.name.clone()).flatten();
        name.unwrap_or_else(|| exceptions::text(format_args!("{}-{}", self.function(), self.id)).into())
    }

    /// The first part of a task's default name.
    fn function(&self) -> &'static str {
        #[cfg(feature = "report")]
        return function_of((self.kind.get().future)());
        #[cfg(not(feature = "report"))]
        "Task"
    }

    pub(crate) fn set_name(&self, name: Rc<str>) {
        self.extra(|extra| extra.name = Some(name));
    }

    /// Lends the data to `act`, and creates it if necessary. `act` must call no user code, and
    /// neither this function nor `if_extra`.
    fn extra<R>(&self, act: impl FnOnce(&mut Extra) -> R) -> R {
        let mut extra = self.take_extra();
        let result = act(&mut extra);
        self.put_back(extra);
        result
    }

    /// Like `extra`, but only if the task has such data.
    #[inline]
    fn if_extra<R>(&self, act: impl FnOnce(&mut Extra) -> R) -> Option<R> {
        let mut extra = self.extra.0.take()?;
        let result = act(&mut extra);
        self.put_back(extra);
        Some(result)
    }

    /// Like `extra`, for the notes of `cancel/`.
    pub(in crate::kernel) fn cancel_record<R>(&self, act: impl FnOnce(&mut Record) -> R) -> R {
        self.extra(|extra| act(&mut extra.cancel))
    }

    /// Like `if_extra`, for the notes of `cancel/`.
    #[inline]
    pub(in crate::kernel) fn if_cancel_record<R>(&self, act: impl FnOnce(&mut Record) -> R) -> Option<R> {
        self.if_extra(|extra| act(&mut extra.cancel))
    }

    #[inline(never)]
    fn take_extra(&self) -> Undropped {
        self.extra.0.take().unwrap_or_default()
    }

    #[inline]
    fn put_back(&self, extra: Undropped) {
        let before = self.extra.0.replace(Some(extra));
        debug_assert!(before.is_none(), "STEP-1: a header was used while it was used");
    }

    pub(in crate::kernel) fn has_extra(&self) -> bool {
        let extra = self.extra.0.take();
        let has_extra = extra.is_some();
        self.extra.0.set(extra);
        has_extra
    }

    #[cfg(feature = "report")]
    #[cold]
    #[inline(never)]
    pub(in crate::kernel) fn never_taken(&self, type_name: &str) {
        if self.is_done() {
            exceptions::never_taken(self, type_name);
        }
    }

    #[cold]
    pub(in crate::kernel) fn reached_nobody(&self, panic: Panic) {
        let message = exceptions::NEVER_LOOKED_AT;
        let task = Some((self.name(), self.spawned_at));
        exceptions::report_of(self.token(), Exception { message, panic, task });
    }

    pub(crate) fn locals(&self) -> Locals {
        self.if_extra(|extra| extra.locals.clone()).unwrap_or_default()
    }

    /// Returns the old values. The caller drops them where nothing is borrowed.
    pub(crate) fn replace_locals(&self, locals: Locals) -> Locals {
        self.extra(|extra| std::mem::replace(&mut extra.locals, locals))
    }

    pub(in crate::kernel) fn take_locals(&self) -> Locals {
        self.if_extra(|extra| std::mem::take(&mut extra.locals)).unwrap_or_default()
    }
}
