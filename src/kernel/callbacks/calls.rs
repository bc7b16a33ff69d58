//! The callbacks in the ready queue. `Calls` stores the ones that can be cancelled.
//!
//! A cancelled callback is dropped at once. But its entry here keeps the key until the queue
//! reaches that key, so that no later callback gets the same key.
//!
//! This file knows no tasks, except by their tokens.

use crate::kernel::token::Token;
use alloc::{boxed::Box, rc::Rc};
use slab::Slab;

/// Something to be called once.
pub(crate) enum Call {
    /// A callback of the user.
    Once(Box<dyn FnOnce()>),
    /// One of our own, which needs no box.
    Watch(Rc<dyn Watcher>, u32),
}

/// An object that is called when a task ends, or when a timer fires.
pub(crate) trait Watcher {
    fn called(&self, which: u32);

    /// For a timeout: the task whose time the timeout limits.
    fn limits(&self) -> Option<Token> {
        None
    }
}

impl Call {
    pub(crate) fn run(self) {
        match self {
            Call::Once(call) => call(),
            Call::Watch(watcher, which) => watcher.called(which),
        }
    }
}

/// A callback in the queue.
#[derive(Default)]
pub(crate) enum Callback {
    /// A callback that can be cancelled: its key in `Kernel::calls`.
    Key(u32),
    /// A callback that cannot be cancelled.
    Call(Call),
    /// The callback was taken out, because the loop was closed and will not call it.
    #[default]
    Dropped,
}

#[derive(Default)]
pub(crate) struct Calls {
    entries: Slab<Entry>,
    /// Number of callbacks that were ever inserted. It is also the number of the next one.
    made: u64,
}

struct Entry {
    number: u64,
    /// `None` if the callback was cancelled.
    call: Option<Call>,
}

/// Names one callback of one loop, for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallKey {
    index: usize,
    number: u64,
}

impl CallKey {
    /// The key for the ready queue.
    pub(crate) fn entry(self) -> u32 {
        u32::try_from(self.index).expect("fewer than 2^32 callbacks in the ready queue")
    }
}

impl Calls {
    pub(crate) fn insert(&mut self, call: Call) -> CallKey {
        let number = self.made;
        self.made += 1;
        CallKey { index: self.entries.insert(Entry { number, call: Some(call) }), number }
    }

    /// Removes an entry that the queue has reached. `None` if its callback was cancelled.
    pub(crate) fn take(&mut self, entry: u32) -> Option<Call> {
        self.entries.remove(entry as usize).call
    }

    /// Takes the callback out, unless it was cancelled or called. The entry stays.
    pub(crate) fn cancel(&mut self, key: CallKey) -> Option<Call> {
        let entry = self.entries.get_mut(key.index).filter(|entry| entry.number == key.number)?;
        entry.call.take()
    }

    /// The callbacks that were neither cancelled nor called.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.entries.iter().filter_map(|(_, entry)| entry.call.as_ref())
    }

    /// Passes all callbacks to `take`. They will not be called.
    pub(crate) fn drain(&mut self, mut take: impl FnMut(Call)) {
        for (_, entry) in &mut self.entries {
            if let Some(call) = entry.call.take() {
                take(call);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_entry_keeps_its_key_until_it_is_taken() {
        let mut calls = Calls::default();
        let first = calls.insert(Call::Once(Box::new(|| ())));
        assert!(calls.cancel(first).is_some());
        assert!(calls.cancel(first).is_none());
        let second = calls.insert(Call::Once(Box::new(|| ())));
        assert_ne!(first.entry(), second.entry());
        assert!(calls.take(first.entry()).is_none());
        let third = calls.insert(Call::Once(Box::new(|| ())));
        assert_eq!(first.entry(), third.entry());
        assert!(calls.cancel(first).is_none(), "an old key must not cancel a new callback");
        assert!(calls.take(third.entry()).is_some());
        let mut left = 0;
        calls.drain(|_| left += 1);
        assert_eq!(left, 1);
    }
}
