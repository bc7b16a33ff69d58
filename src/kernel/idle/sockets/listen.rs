//! When a loop polls its sockets, with the feature `io`: instead of parking when it is idle, and
//! from time to time when it is busy.
//!
//! A poll costs at least one system call; a short step costs a hundredth of that. So a busy loop
//! with sockets reads the clock as often as one with timers does (`timers/pace.rs`), and polls its
//! sockets when a tenth of a millisecond has passed. This costs about one per cent of the time. A
//! socket waits little longer than a tenth of a millisecond until its task is queued, and then a
//! turn until the task runs. While no task waits for a socket, a turn only checks this.
//!
//! Without the feature there are no sockets, and this code is not in the program.

use crate::kernel::Kernel;
use core::cell::Cell;

/// Number of entries stepped between two checks of whether to poll the sockets.
const PORTION: usize = 16;

impl Kernel {
    /// Like `run_marked`, but polls the sockets also during a long turn. So requests are queued in
    /// the order in which they arrive. Otherwise all requests that arrive during a long turn would
    /// be queued in the order in which the poller reports them.
    #[cold]
    pub(in crate::kernel) fn run_marked_and_listen(&self, over: &Cell<bool>) {
        let mut portion = PORTION;
        while self.table.mark_first(portion) {
            self.run_marked(&Self::this_turn_only());
            // If the steps are short, the next portion is twice as long. The clock is read after
            // each portion.
            portion = if self.listen() { PORTION } else { 2 * portion };
            self.table.mark_rest();
        }
        self.run_marked(over);
    }
}

#[cfg(all(unix, feature = "io"))]
mod sockets {
    use crate::kernel::callbacks::exceptions::complain;
    use crate::kernel::idle::inbox::Parked;
    use crate::kernel::idle::sockets::reactor::{Heard, Reactor, Removed, SourceKey, Waiter};
    use crate::kernel::{Kernel, Time, Token};
    use std::io;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    impl Kernel {
        /// The loop's reactor. Created by the first call.
        pub(crate) fn reactor(&self) -> io::Result<&Rc<Reactor>> {
            if let Some(reactor) = self.idling.reactor.get() {
                return Ok(reactor);
            }
            let reactor = Reactor::new()?;
            let poller = reactor.poller().clone();
            self.inbox().set_poller(Arc::new(move || {
                if let Err(error) = poller.notify() {
                    complain(&format_args!("a loop that sleeps in its poller could not be woken: {error}"));
                }
            }));
            Ok(self.idling.reactor.get_or_init(|| Rc::new(reactor)))
        }

        /// Whether a task waits for a socket.
        #[inline]
        pub(in crate::kernel) fn is_listening(&self) -> bool {
            self.idling.reactor.get().is_some_and(|reactor| reactor.is_awaited())
        }

        /// Polls the sockets if it is time. Called when a turn begins, and between its portions.
        /// Returns whether it polled.
        #[inline]
        pub(in crate::kernel) fn listen(&self) -> bool {
            self.is_listening() && self.listen_at_times()
        }

        #[cold]
        fn listen_at_times(&self) -> bool {
            let now = self.clock.machine_time();
            if self.clock.is_virtual() || self.next.get() == Time::NEVER {
                // No other code reads this clock in this turn.
                self.pace.looked(now);
            }
            let is_due = self.idling.reactor.get().is_some_and(|reactor| reactor.is_due(now));
            if is_due {
                self.hear(Some(Duration::ZERO));
            }
            is_due
        }

        /// Polls the sockets of an idle loop, without waiting, until the poller has nothing more to
        /// report or a task was woken. This ends soon: a side that no task waits for is disabled
        /// when it is reported a second time.
        pub(crate) fn listen_if_idle(&self) {
            let mut has_more = self.idling.reactor.get().is_some();
            while has_more && self.table.is_idle() {
                has_more = self.hear(Some(Duration::ZERO)).has_more;
            }
        }

        /// Sleeps in the poller, or on the inbox's condition variable.
        pub(in crate::kernel) fn sleep(
            &self,
            timeout: Option<Duration>,
            is_alive: Option<&dyn Fn(Token) -> bool>,
        ) -> Parked {
            match self.idling.reactor.get() {
                None => self.inbox().park(timeout, is_alive),
                Some(_) => self.inbox().park_in(is_alive, || self.hear(timeout).has_woken),
            }
        }

        /// Removes a source and wakes its waiters. What the source owns is dropped here, where
        /// nothing is borrowed.
        pub(crate) fn remove_source(&self, key: SourceKey) {
            let removed = self.idling.reactor.get().and_then(|reactor| reactor.remove(key));
            if let Some(Removed { mut waiters, mut watched, .. }) = removed {
                watched.end();
                self.wake_all(&mut waiters);
                self.work_arrived();
                drop(watched);
            }
        }

        fn wake_all(&self, waiters: &mut Vec<Waiter>) {
            waiters.drain(..).for_each(|waiter| self.wake_waiter(waiter));
        }

        pub(crate) fn wake_waiter(&self, Waiter { waker, wait, .. }: Waiter) {
            if let Some(wait) = wait {
                self.table.end_wait_unpolled(wait);
            }
            self.wake(waker);
        }

        /// Polls the sockets, and wakes their tasks.
        fn hear(&self, timeout: Option<Duration>) -> Answer {
            let Some(reactor) = self.idling.reactor.get() else { return Answer::default() };
            let heard = reactor.look(timeout);
            reactor.looked(self.clock.machine_time());
            match heard {
                Ok(Heard { mut woken, has_more }) => {
                    let has_woken = !woken.is_empty();
                    self.wake_all(&mut woken);
                    reactor.keep_memory(woken);
                    Answer { has_woken, has_more }
                }
                Err(error) => {
                    panic!("the poller of an event loop failed: {error}; has other code closed its descriptor?")
                }
            }
        }
    }

    /// The result of a poll.
    #[derive(Default)]
    struct Answer {
        has_woken: bool,
        has_more: bool,
    }
}

#[cfg(not(all(unix, feature = "io")))]
impl Kernel {
    #[inline(always)]
    pub(in crate::kernel) fn is_listening(&self) -> bool {
        false
    }

    #[inline(always)]
    pub(in crate::kernel) fn listen(&self) -> bool {
        false
    }

    #[inline(always)]
    pub(crate) fn listen_if_idle(&self) {}

    pub(in crate::kernel) fn sleep(
        &self,
        timeout: Option<core::time::Duration>,
        is_alive: Option<&dyn Fn(crate::kernel::Token) -> bool>,
    ) -> crate::kernel::Parked {
        self.inbox().park(timeout, is_alive)
    }
}

#[cfg(all(test, not(loom), unix, feature = "io"))]
mod tests {
    use crate::kernel::idle::sockets::reactor::{Descriptor, Side};
    use crate::kernel::{Clock, Kernel, OBSERVED, context};
    use std::io::Write;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    struct Socket(UnixStream);

    impl AsFd for Socket {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Descriptor for Socket {
        fn kind(&self) -> &'static str {
            "UnixStream"
        }
    }

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A host that watches `as_fd` with an edge-triggered poller is not notified again of events
    /// that a poll has left behind. So an idle turn polls until nothing more is reported: it gets
    /// past many ready sockets that no task awaits, to the one that is awaited.
    #[test]
    fn hear_of_one_behind_many_that_nobody_wants() {
        let kernel = Kernel::new(Clock::virtual_time(), Some(&OBSERVED), None);
        let _entered = context::enter(&kernel);
        let reactor = kernel.reactor().unwrap().clone();
        let mut peers = Vec::new();
        let mut add = || {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(b"x").unwrap();
            peers.push(theirs);
            reactor.add(Arc::new(Socket(ours)), Side::Read).unwrap()
        };
        // Many more than one poll reports.
        let unwanted: Vec<_> = (0..50).map(|_| add()).collect();
        let wanted = add();
        let counted = Arc::new(Counted::default());
        reactor.wait(wanted, Side::Read, reactor.waiter(Waker::from(counted.clone()), None, true), true).unwrap();
        kernel.listen_if_idle();
        assert_eq!((counted.0.load(Ordering::SeqCst), reactor.is_awaited()), (1, false));
        // By then the sockets that no task awaits are disabled, and polls do not report them.
        assert!(unwanted.iter().all(|&key| reactor.is_ready(key, Side::Read)));
        let heard = reactor.look(Some(std::time::Duration::ZERO)).unwrap();
        assert!(!heard.has_more && heard.woken.is_empty());
        for key in unwanted.into_iter().chain([wanted]) {
            kernel.remove_source(key);
        }
    }
}
