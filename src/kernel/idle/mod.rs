//! What a loop does when nothing is ready, and how messages from outside arrive.

pub(crate) mod guest;
pub(crate) mod inbox;
pub(crate) mod lanes;
mod main_task;
pub(crate) mod park;
pub(crate) mod sockets;

use crate::kernel::callbacks::calls::Call;
use crate::kernel::{Kernel, Message, Observed, Time};
#[cfg(all(unix, feature = "io"))]
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::Cell;
#[cfg(all(unix, feature = "io"))]
use core::cell::OnceCell;
use core::ptr;
use core::time::Duration;

/// The loop's fields for waiting, and for its host.
pub(crate) struct Notes {
    /// The memory of the last messages, to be reused.
    pub(in crate::kernel) messages: Cell<Vec<Message>>,
    /// `Some` if the loop is observed.
    pub(in crate::kernel) observed: Option<&'static Observed>,
    /// On a virtual clock, this reports the first wait that takes longer than `patience`, because
    /// the awaited message may never come.
    pub(crate) tell_of_long_rest: Cell<Option<fn(&Kernel)>>,
    pub(in crate::kernel) patience: Cell<Duration>,
    /// The loop of this thread that was created before this one (`table/context.rs`).
    pub(in crate::kernel) older: Cell<*const Kernel>,
    /// Number of turns and calls of `EventLoop::enter` that the loop is in, nested
    /// (`table/context.rs`).
    pub(in crate::kernel) entered: Cell<u32>,
    /// Whether the loop was removed from the list of this thread (`table/context.rs`).
    pub(in crate::kernel) removed: Cell<bool>,
    /// Number of main tasks that were run, and (in `over`) whether the last one has ended.
    pub(in crate::kernel) run: Cell<u32>,
    pub(in crate::kernel) over: Cell<bool>,
    /// The paused turn: the number of its entries that are left. Its timers follow.
    pub(in crate::kernel) paused: Cell<Option<usize>>,
    /// The host was told that there is nothing to do before this time (`idle/guest.rs`).
    pub(in crate::kernel) told_to_sleep: Cell<Option<Time>>,
    /// Set when the first host comes.
    pub(in crate::kernel) guest: Cell<Option<&'static guest::Guest>>,
    /// Whether there is a host to call.
    pub(in crate::kernel) hosted: Cell<bool>,
    /// Who knows that there is work, and will run a turn without being called.
    pub(in crate::kernel) work_is_known: Cell<guest::Knows>,
    #[cfg(all(unix, feature = "io"))]
    pub(in crate::kernel) reactor: OnceCell<Rc<sockets::reactor::Reactor>>,
}

impl Default for Notes {
    fn default() -> Self {
        Notes {
            messages: Cell::default(),
            observed: None,
            tell_of_long_rest: Cell::default(),
            patience: Cell::new(Duration::from_secs(1)),
            older: Cell::new(ptr::null()),
            entered: Cell::default(),
            removed: Cell::default(),
            run: Cell::default(),
            over: Cell::default(),
            paused: Cell::default(),
            told_to_sleep: Cell::default(),
            guest: Cell::default(),
            hosted: Cell::default(),
            work_is_known: Cell::default(),
            #[cfg(all(unix, feature = "io"))]
            reactor: OnceCell::default(),
        }
    }
}

/// Maximum number of messages whose memory is kept.
pub(in crate::kernel) const KEPT_MESSAGES: usize = 1024;

impl Kernel {
    #[cold]
    pub(in crate::kernel) fn read_messages(&self) {
        // Taken out, because reading messages may run user code.
        let mut messages = self.inbox().take(self.idling.messages.take());
        self.tally().messages.add(messages.len() as u64);
        for message in messages.drain(..) {
            match message {
                Message::Wake(token) => {
                    self.tally().foreign.count();
                    self.table.wake(token);
                }
                Message::Call(call) => {
                    self.queue_call(Call::Once(call));
                }
                // Dropping an alarm, with its waker or callback, may run user code. A panic in it
                // belongs to no task.
                Message::CancelTimer(key) => self.tolerate(|| drop(self.cancel_timer(key))),
                #[cfg(all(unix, feature = "io"))]
                Message::RemoveSource(key) => self.tolerate(|| self.remove_source(key)),
            }
        }
        // After a flood of messages the memory is freed.
        if messages.capacity() <= KEPT_MESSAGES {
            self.idling.messages.set(messages);
        }
    }
}
