//! Where a pointer has fewer than 64 bits, the data of a waker is the address of a token, and the
//! wakers of a task share that token: it is counted.
//!
//! The loop has a shared token for each row that was polled. It rewrites the token for the next
//! task of the row, if no waker has it any more. Otherwise the wakers keep the old one, and the row
//! gets another. So a waker's token never changes, a token still names one task for ever (WAKE-1),
//! and the limits are the same as with 64 bits.
//!
//! The price is an atomic addition for each poll and each clone, an atomic subtraction for each
//! waker that goes, and an allocation for each row, and for each task whose waker outlives it.
//! At 2^31 wakers of one task, `Arc` ends the process.
//!
//! With `--cfg onelane_shared_tokens` this file is used on every platform, to test it.
#![allow(unsafe_code, reason = "makes wakers from counted tokens")]

use super::{LAST_GENERATION, Token};
use alloc::{sync::Arc, vec::Vec};
use core::cell::RefCell;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::task::{RawWakerVTable, Waker};

/// Whether a waker that is dropped has something to give back.
pub(crate) const IS_COUNTED: bool = true;

/// A waker that the loop lends to a poll. It holds its token, because user code may drop the loop
/// during a poll. It is not dropped as a waker: an observed loop does not count it.
pub(crate) struct Lent(ManuallyDrop<Waker>);

impl Deref for Lent {
    type Target = Waker;

    fn deref(&self) -> &Waker {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: `lend` has made it.
        unsafe { release(self.0.data()) };
    }
}

/// Makes the wakers of one loop.
#[derive(Default, Debug)]
pub(crate) struct Lender {
    /// By slot: the token of the row's last task that was polled.
    tokens: RefCell<Vec<Option<Arc<Token>>>>,
}

impl Lender {
    pub(crate) fn new() -> Self {
        Lender::default()
    }

    pub(crate) fn lend(&self, token: Token, vtable: &'static RawWakerVTable) -> Lent {
        let data = Arc::into_raw(self.shared(token)).cast();
        // SAFETY: the vtable is from `table/waker.rs`. Its functions do what `RawWaker` asks for, with data that is
        // the address of a counted token, and this waker holds one.
        Lent(ManuallyDrop::new(unsafe { Waker::new(data, vtable) }))
    }

    fn shared(&self, token: Token) -> Arc<Token> {
        if token.generation() == LAST_GENERATION {
            return Arc::new(token); // It names no task, so its slot is no row.
        }
        let slot = token.slot() as usize;
        let mut tokens = self.tokens.borrow_mut();
        if slot >= tokens.len() {
            tokens.resize(slot + 1, None);
        }
        let shared = tokens[slot].get_or_insert_with(|| Arc::new(token));
        if **shared != token {
            match Arc::get_mut(shared) {
                Some(unshared) => *unshared = token,
                None => *shared = Arc::new(token),
            }
        }
        shared.clone()
    }
}

/// The token of a waker's data.
///
/// # Safety
///
/// The data is of a waker of ours that is not dropped.
#[inline]
pub(crate) unsafe fn token_in(data: *const ()) -> Token {
    // SAFETY: the waker holds the token, which is not written while it is shared.
    unsafe { *data.cast() }
}

/// One more waker has this data.
///
/// # Safety
///
/// As for `token_in`.
#[inline]
pub(crate) unsafe fn keep(data: *const ()) {
    // SAFETY: the data is from `Arc::into_raw`, and the waker holds one reference.
    unsafe { Arc::increment_strong_count(data.cast::<Token>()) };
}

/// A waker with this data is gone.
///
/// # Safety
///
/// As for `token_in`. The caller does not use the data any more.
#[inline]
pub(crate) unsafe fn release(data: *const ()) {
    // SAFETY: the data is from `Arc::into_raw`, and the reference was the waker's.
    unsafe { Arc::decrement_strong_count(data.cast::<Token>()) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::table::waker::PLAIN;

    fn shared_by(lent: &Lent) -> usize {
        // SAFETY: the waker holds the token; the reference is not dropped.
        Arc::strong_count(&ManuallyDrop::new(unsafe { Arc::from_raw(lent.data().cast::<Token>()) }))
    }

    /// WAKE-1: a waker's token never changes. A token that nobody has is used again.
    #[test]
    fn rewrite_only_what_nobody_shares() {
        let lender = Lender::default();
        let first = lender.lend(Token::new(1, 0, 2), &PLAIN);
        let address = first.data();
        assert_eq!(shared_by(&first), 2);
        let kept = Waker::clone(&first);
        assert_eq!(shared_by(&first), 3);
        drop(first);
        let second = lender.lend(Token::new(1, 1, 2), &PLAIN);
        assert_ne!(second.data(), address);
        // SAFETY: both wakers are alive.
        assert_eq!(
            unsafe { [token_in(kept.data()), token_in(second.data())] },
            [0, 1].map(|generation| Token::new(1, generation, 2))
        );
        let address = second.data();
        drop(second);
        let third = lender.lend(Token::new(1, 2, 2), &PLAIN);
        assert_eq!((third.data(), shared_by(&third)), (address, 2));
        // The wakers outlive the loop.
        drop(lender);
        assert_eq!(shared_by(&third), 1);
        // SAFETY: the waker is alive.
        assert_eq!(unsafe { token_in(kept.data()) }, Token::new(1, 0, 2));
    }

    #[test]
    fn tokens_of_no_task_take_no_rows() {
        let lender = Lender::default();
        for token in [Token::NOBODY, Token::unplaced(3)] {
            let lent = lender.lend(token, &PLAIN);
            assert_eq!(shared_by(&lent), 1);
        }
        assert!(lender.tokens.borrow().is_empty());
    }
}
