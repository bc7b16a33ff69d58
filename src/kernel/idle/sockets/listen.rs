//! How a loop listens to its sockets, with the feature `io`: in place of the park when it is idle, and now and then when it is busy.
//!
//! A look costs a system call or a few, a step of a task that does little a hundredth of that. So a busy loop with sockets looks at
//! the clock as one with timers does (`timers/pace.rs`), and at its sockets when a tenth of a millisecond has gone by: it pays a per cent
//! for them, and none waits much longer than that to be heard, and a turn to be served. As long as nobody waits for a socket, or there is no reactor, a turn
//! asks for that and for no more.
//!
//! Without the feature there is nothing to listen to, and nothing of this in the program.

use crate::kernel::Kernel;
use std::cell::Cell;

/// So many entries of a turn follow a look at the sockets before it is asked whether it is time for another.
const PORTION: usize = 16;

impl Kernel {
    /// As `run_marked`, but a turn with many entries listens in between: so requests that come meanwhile are queued as they come, and not all
    /// that came in one long turn in whatever order the poller has them.
    #[cold]
    pub(in crate::kernel) fn run_marked_and_listen(&self, over: &Cell<bool>) {
        let (mut left, mut portion) = (self.table.marked_len(), PORTION);
        while left > portion {
            self.table.mark_first(portion);
            self.run_marked(&Self::this_turn_only());
            left -= portion;
            // Of short steps twice as many may follow: each time the clock is read.
            portion = if self.listen() { PORTION } else { 2 * portion };
            self.table.mark_first(left);
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
        /// The loop's reactor. The first who asks for it has it made.
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

        /// Whether somebody waits for a socket.
        #[inline]
        pub(in crate::kernel) fn is_listening(&self) -> bool {
            self.idling.reactor.get().is_some_and(|reactor| reactor.is_awaited())
        }

        /// A turn begins, or goes on: looks at the sockets, if it is time. Returns whether it was.
        #[inline]
        pub(in crate::kernel) fn listen(&self) -> bool {
            self.is_listening() && self.listen_at_times()
        }

        #[cold]
        fn listen_at_times(&self) -> bool {
            let now = self.clock.machine_time();
            if self.clock.is_virtual() || self.next.get() == Time::NEVER {
                // Nobody else looks at this clock in this turn.
                self.pace.looked(now);
            }
            let is_due = self.idling.reactor.get().is_some_and(|reactor| reactor.is_due(now));
            if is_due {
                self.hear(Some(Duration::ZERO));
            }
            is_due
        }

        /// Looks at the sockets of an idle loop, without waiting for them, until there is nothing more to be heard of, or somebody was
        /// woken: then it is idle no more. So an end comes soon, since what nobody wants is switched off at the second look.
        pub(crate) fn listen_if_idle(&self) {
            let mut has_more = self.idling.reactor.get().is_some();
            while has_more && self.table.is_idle() {
                has_more = self.hear(Some(Duration::ZERO)).has_more;
            }
        }

        /// Sleeps until something comes, where it comes.
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

        /// Takes a source out. Whoever waits for it is woken. What it owns is dropped here, where nothing is borrowed.
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
                self.table.end_wait(wait);
            }
            self.wake(waker);
        }

        /// Looks, and wakes.
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
                    panic!("the poller of an event loop failed: {error}; has its descriptor been closed by others?")
                }
            }
        }
    }

    /// What came of a look.
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
        timeout: Option<std::time::Duration>,
        is_alive: Option<&dyn Fn(crate::kernel::Token) -> bool>,
    ) -> crate::kernel::Parked {
        self.inbox().park(timeout, is_alive)
    }
}

#[cfg(all(test, not(loom), unix, feature = "io"))]
mod tests {
    use crate::kernel::idle::sockets::reactor::{Descriptor, Side};
    use crate::kernel::{Clock, Kernel, context};
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

    /// A host that is told of changes alone, as by an edge-triggered poller, is told of nothing that a look has left behind. So an idle
    /// turn looks until there is nothing more: past many sockets that are ready, and that nobody wants, to the one that is awaited.
    #[test]
    fn hear_of_one_behind_many_that_nobody_wants() {
        let kernel = Kernel::new(Clock::virtual_time(), false, None);
        let _entered = context::enter(&kernel);
        let reactor = kernel.reactor().unwrap().clone();
        let mut peers = Vec::new();
        let mut add = || {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(b"x").unwrap();
            peers.push(theirs);
            reactor.add(Arc::new(Socket(ours)), Side::Read).unwrap()
        };
        // Many times what a look tells of.
        let unwanted: Vec<_> = (0..50).map(|_| add()).collect();
        let wanted = add();
        let counted = Arc::new(Counted::default());
        reactor.wait(wanted, Side::Read, reactor.waiter(Waker::from(counted.clone()), None, true), true).unwrap();
        kernel.listen_if_idle();
        assert_eq!((counted.0.load(Ordering::SeqCst), reactor.is_awaited()), (1, false));
        // What nobody wants is switched off by then, and no look hears of it.
        assert!(unwanted.iter().all(|&key| reactor.is_ready(key, Side::Read)));
        let heard = reactor.look(Some(std::time::Duration::ZERO)).unwrap();
        assert!(!heard.has_more && heard.woken.is_empty());
        for key in unwanted.into_iter().chain([wanted]) {
            kernel.remove_source(key);
        }
    }
}
