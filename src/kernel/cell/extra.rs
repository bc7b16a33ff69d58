//! Data that few tasks have, in a separate box: a name, task-local values, and the notes of
//! `cancel/`. A task without such data has the token of its first awaiter in the place of the box.
#![allow(unsafe_code, reason = "has a box and a number in one place")]

use super::Header;
use crate::error::Panic;
use crate::kernel::callbacks::exceptions::{self, Exception};
use crate::kernel::callbacks::locals::Locals;
use crate::kernel::cancel::record::Record;
#[cfg(feature = "report")]
use crate::kernel::observe::names::function_of;
use crate::kernel::token::Token;
use alloc::{boxed::Box, rc::Rc};
use core::cell::Cell;
use core::ptr;

/// Data that few tasks have.
#[derive(Default)]
struct Extra {
    name: Option<Rc<str>>,
    cancel: Record,
    locals: Locals,
    /// The first awaiter, if `Header::records` has `AWAITED_BESIDE`.
    awaiter: Option<Token>,
}

/// The place of `Extra` in the header. Null if the task has no such data, and while code uses it. If
/// `Header::records` has `AWAITED`, not a pointer, but the token of the first awaiter.
pub(super) struct Slot(Cell<*mut Extra>, FirstAwaiter);

/// Where a pointer has fewer than 64 bits, the first awaiter has a place of its own.
#[cfg(target_pointer_width = "64")]
type FirstAwaiter = ();
#[cfg(not(target_pointer_width = "64"))]
type FirstAwaiter = Cell<Token>;
#[cfg(target_pointer_width = "64")]
const NO_AWAITER: FirstAwaiter = ();
#[cfg(not(target_pointer_width = "64"))]
const NO_AWAITER: FirstAwaiter = Cell::new(Token::NOBODY);

/// In `Header::records`: the first awaiter is in `Slot`. This bit, or the next one, is left after the end of the
/// task if the awaiter's wait was not ended with it.
const AWAITED: u8 = 16;
/// In `Header::records`: the first awaiter is in `Extra`, because the task has other data too.
const AWAITED_BESIDE: u8 = 32;

impl Slot {
    #[inline]
    pub(super) fn of(name: Option<Rc<str>>) -> Self {
        Slot(Cell::new(name.map_or(ptr::null_mut(), named)), NO_AWAITER)
    }

    /// Sets the first awaiter. There is no `Extra`.
    #[inline]
    fn set_awaiter(&self, awaiter: Token) {
        #[cfg(target_pointer_width = "64")]
        self.0.set(ptr::without_provenance_mut(awaiter.bits() as usize));
        #[cfg(not(target_pointer_width = "64"))]
        self.1.set(awaiter);
    }

    /// The first awaiter, which is set.
    #[inline]
    fn awaiter(&self) -> Token {
        #[cfg(target_pointer_width = "64")]
        return Token::from_bits(self.0.get().addr() as u64);
        #[cfg(not(target_pointer_width = "64"))]
        return self.1.get();
    }

    /// Takes the first awaiter, which is set.
    #[inline]
    fn take_awaiter(&self) -> Token {
        #[cfg(target_pointer_width = "64")]
        return Token::from_bits(self.0.replace(ptr::null_mut()).addr() as u64);
        #[cfg(not(target_pointer_width = "64"))]
        return self.1.take();
    }
}

/// A separate function, because it would be inlined for each type of future.
#[cold]
#[inline(never)]
fn named(name: Rc<str>) -> *mut Extra {
    Box::into_raw(Box::new(Extra { name: Some(name), ..Extra::default() }))
}

/// The first awaiter: the task that awaits this one by its own waker, if it came before all other
/// waiters. Those are in the table (`table/store.rs`). The awaiter is here, because most tasks have one
/// awaiter and no other waiter: with a record in the table, to spawn and await a task took 46
/// instructions more.
impl Header {
    pub(in crate::kernel) const ANY_AWAITER: u8 = AWAITED | AWAITED_BESIDE;

    /// Sets the first awaiter. The task has no waiters.
    #[inline]
    pub(in crate::kernel) fn set_awaiter(&self, awaiter: Token) {
        if !self.extra.0.get().is_null() {
            return self.set_awaiter_beside(awaiter);
        }
        self.extra.set_awaiter(awaiter);
        self.records.set(self.records.get() | AWAITED);
    }

    #[cold]
    #[inline(never)]
    fn set_awaiter_beside(&self, awaiter: Token) {
        self.extra(|extra| extra.awaiter = Some(awaiter));
        self.records.set(self.records.get() | AWAITED_BESIDE);
    }

    /// Takes the first awaiter.
    #[inline]
    pub(in crate::kernel) fn take_awaiter(&self) -> Option<Token> {
        let records = self.records.get();
        if records & AWAITED == 0 {
            return if records & AWAITED_BESIDE == 0 { None } else { self.take_awaiter_beside() };
        }
        self.records.set(records & !AWAITED);
        Some(self.extra.take_awaiter())
    }

    #[cold]
    #[inline(never)]
    fn take_awaiter_beside(&self) -> Option<Token> {
        self.records.set(self.records.get() & !AWAITED_BESIDE);
        self.if_extra(|extra| extra.awaiter.take())?
    }

    /// The first awaiter.
    #[inline]
    pub(in crate::kernel) fn awaiter(&self) -> Option<Token> {
        if self.records.get() & AWAITED != 0 {
            return Some(self.extra.awaiter());
        }
        if self.has_awaiter() { self.awaiter_beside() } else { None }
    }

    /// The task has no first awaiter any more.
    #[inline]
    pub(in crate::kernel) fn forget_awaiter(&self) {
        if self.records.get() & AWAITED != 0 {
            self.extra.take_awaiter();
        }
        self.records.set(self.records.get() & !Self::ANY_AWAITER);
    }

    #[cold]
    #[inline(never)]
    fn awaiter_beside(&self) -> Option<Token> {
        self.if_extra(|extra| extra.awaiter)?
    }

    #[inline]
    pub(crate) fn has_awaiter(&self) -> bool {
        self.records.get() & Self::ANY_AWAITER != 0
    }
}

impl Drop for Header {
    /// Most tasks have no such data.
    #[inline]
    fn drop(&mut self) {
        if self.has_extra() {
            drop(self.take_extra());
        }
    }
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
        self.has_extra().then(|| self.extra(act))
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
    fn take_extra(&self) -> Box<Extra> {
        if self.has_extra() {
            // SAFETY: without `AWAITED`, what is not null is from `Box::into_raw` in this file, and is
            // converted back once.
            return unsafe { Box::from_raw(self.extra.0.replace(ptr::null_mut())) };
        }
        let mut extra = Box::<Extra>::default();
        if self.records.get() & AWAITED != 0 {
            extra.awaiter = self.take_awaiter();
            self.records.set(self.records.get() | AWAITED_BESIDE);
        }
        extra
    }

    #[inline]
    fn put_back(&self, extra: Box<Extra>) {
        let before = self.extra.0.replace(Box::into_raw(extra));
        debug_assert!(before.is_null(), "STEP-1: a header was used while it was used");
    }

    #[inline]
    pub(in crate::kernel) fn has_extra(&self) -> bool {
        !self.extra.0.get().is_null() && self.records.get() & AWAITED == 0
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
        self.extra(|extra| core::mem::replace(&mut extra.locals, locals))
    }

    pub(in crate::kernel) fn take_locals(&self) -> Locals {
        self.if_extra(|extra| core::mem::take(&mut extra.locals)).unwrap_or_default()
    }
}
