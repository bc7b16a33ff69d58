//! What a loop does when nothing is ready, and how anything gets in from elsewhere.

pub(crate) mod guest;
pub(crate) mod inbox;
pub(crate) mod lanes;
pub(crate) mod park;
pub(crate) mod sockets;

use crate::kernel::Kernel;
use crate::kernel::callbacks::calls::Call;
use crate::kernel::{Message, Time};
use std::cell::Cell;
#[cfg(all(unix, feature = "io"))]
use std::cell::OnceCell;
#[cfg(all(unix, feature = "io"))]
use std::rc::Rc;
use std::time::Duration;

/// What a loop notes of its rests, and of its host.
pub(crate) struct Notes {
    /// The memory of the messages that were read last, for the next ones.
    pub(in crate::kernel) messages: Cell<Vec<Message>>,
    /// What tells of the first rest on a virtual clock that takes longer than `patience`: others may never come.
    pub(crate) tell_of_long_rest: Cell<Option<fn(&Kernel)>>,
    pub(in crate::kernel) patience: Cell<Duration>,
    /// How many turns and calls of `EventLoop::enter` it is in, one inside of the other (`table/context.rs`).
    pub(in crate::kernel) entered: Cell<u32>,
    /// A turn that a host has paused: so many of its entries are left, and then its timers.
    pub(in crate::kernel) paused: Cell<Option<usize>>,
    /// A host was told that there is nothing to do before this moment (`idle/guest.rs`).
    pub(in crate::kernel) told_to_sleep: Cell<Option<Time>>,
    /// There is a host to be called.
    pub(in crate::kernel) hosted: Cell<bool>,
    /// Who knows that there is work, and comes by himself.
    pub(in crate::kernel) work_is_known: Cell<guest::Knows>,
    #[cfg(all(unix, feature = "io"))]
    pub(in crate::kernel) reactor: OnceCell<Rc<sockets::reactor::Reactor>>,
}

impl Default for Notes {
    fn default() -> Self {
        Notes {
            messages: Cell::default(),
            tell_of_long_rest: Cell::default(),
            patience: Cell::new(Duration::from_secs(1)),
            entered: Cell::default(),
            paused: Cell::default(),
            told_to_sleep: Cell::default(),
            hosted: Cell::default(),
            work_is_known: Cell::default(),
            #[cfg(all(unix, feature = "io"))]
            reactor: OnceCell::default(),
        }
    }
}

/// The memory of so many messages is kept for the next ones.
pub(in crate::kernel) const KEPT_MESSAGES: usize = 1024;

impl Kernel {
    #[cold]
    pub(in crate::kernel) fn read_messages(&self) {
        // Taken out, since reading them may be foreign code.
        let mut messages = self.inbox().take(self.idling.messages.take());
        self.tally().messages.add(messages.len() as u64);
        for message in messages.drain(..) {
            match message {
                Message::Wake(token) => {
                    self.tally().foreign.count();
                    self.table.wake(token);
                }
                Message::Call(call) => {
                    self.call_soon(Call::Once(call));
                }
                // An alarm is a waker or one of ours: dropping it may be foreign code, and that panic is nobody's.
                Message::CancelTimer(key) => self.tolerate(|| drop(self.cancel_timer(key))),
                #[cfg(all(unix, feature = "io"))]
                Message::RemoveSource(key) => self.tolerate(|| self.remove_source(key)),
            }
        }
        // After a flood it is given back.
        if messages.capacity() <= KEPT_MESSAGES {
            self.idling.messages.set(messages);
        }
    }
}
