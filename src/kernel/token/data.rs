//! Where a pointer has 64 bits, the data of a waker is the token itself. Nothing is counted.
#![allow(unsafe_code, reason = "makes wakers from tokens")]

use super::Token;
use core::mem::ManuallyDrop;
use core::ptr;
use core::task::{RawWakerVTable, Waker};

/// Whether a waker that is dropped has something to give back.
pub(crate) const IS_COUNTED: bool = false;

/// A waker that the loop lends to a poll. There is nothing to drop.
pub(crate) type Lent = ManuallyDrop<Waker>;

/// Makes the wakers of one loop.
#[derive(Debug)]
pub(crate) struct Lender;

impl Lender {
    pub(crate) fn new() -> Self {
        Lender
    }

    #[inline(always)]
    pub(crate) fn lend(&self, token: Token, vtable: &'static RawWakerVTable) -> Lent {
        // SAFETY: the vtable is from `table/waker.rs`. Its functions do what `RawWaker` asks for, with any data.
        ManuallyDrop::new(unsafe { Waker::new(ptr::without_provenance(token.bits() as usize), vtable) })
    }
}

/// The token of a waker's data.
///
/// # Safety
///
/// None here. With `shared.rs`: the data is of a waker of ours that is not dropped.
#[inline]
pub(crate) unsafe fn token_in(data: *const ()) -> Token {
    Token::from_bits(data.addr() as u64)
}

/// One more waker has this data.
///
/// # Safety
///
/// As for `token_in`.
#[inline]
pub(crate) unsafe fn keep(_data: *const ()) {}

/// A waker with this data is gone.
///
/// # Safety
///
/// As for `token_in`. The caller does not use the data any more.
#[inline]
pub(crate) unsafe fn release(_data: *const ()) {}
