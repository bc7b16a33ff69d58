//! Waiting in polling's poller, in as few system calls as can be.
//!
//! `polling` makes five system calls of a wait, since it waits as exactly as a timer can, and wakes up for `notify`. On Linux
//! one is enough if neither matters: `epoll_wait` on the same descriptor. So whole milliseconds are waited for directly, and what
//! is left of them, less than one, by way of `polling`; so is a wait that `notify` has ended, which has to be read.
//!
//! That takes for granted how polling numbers its events. It is tried out when a poller is made; if it is otherwise, or the system is
//! another than Linux, each wait goes by way of `polling`.
//!
//! Knows no source. Next: `reactor.rs`.

use polling::{Event, Events, Poller};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod direct {
    use polling::{Event, Poller};
    use rustix::buffer::spare_capacity;
    use rustix::event::{Timespec, epoll};
    use rustix::io::Errno;
    use std::io;
    use std::time::Duration;

    /// So much is told of at once. Tests have less, and are through sooner.
    pub(super) const CAPACITY: usize = if cfg!(test) { 4 } else { 1024 };

    pub(super) struct Direct {
        events: Vec<epoll::Event>,
    }

    impl Direct {
        /// None if polling numbers its events in another way.
        pub(super) fn new(poller: &Poller) -> io::Result<Option<Self>> {
            let mut direct = Direct { events: Vec::with_capacity(CAPACITY) };
            poller.notify()?;
            let mut was_notified = false;
            direct.wait(poller, Some(Duration::ZERO), |event| was_notified = event.is_none())?;
            Ok((was_notified && direct.events.len() == 1).then_some(direct))
        }

        /// Tells `happened` of each event; of a notification, which is still to be read, by none. Answers as `Waiting::wait` does.
        pub(super) fn wait(
            &mut self,
            poller: &Poller,
            timeout: Option<Duration>,
            mut happened: impl FnMut(Option<Event>),
        ) -> io::Result<bool> {
            self.events.clear();
            // What does not fit is another system call, which older kernels do not have; whoever comes back early comes again.
            let timeout = timeout.map(|timeout| timeout.min(Duration::from_millis(i32::MAX as u64)));
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match epoll::wait(poller, spare_capacity(&mut self.events), timeout.as_ref()) {
                // A signal: the caller looks at its clock, and comes again.
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &self.events {
                let (flags, key) = (event.flags, event.data.u64() as usize);
                // What polling asks for when it is asked for one side, and with it for the other's news.
                let gone = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
                let readable = flags.intersects(gone | epoll::EventFlags::IN | epoll::EventFlags::PRI);
                let writable = flags.intersects(gone | epoll::EventFlags::OUT);
                happened((key != usize::MAX).then(|| Event::new(key, readable, writable)));
            }
            Ok(self.events.len() == CAPACITY)
        }
    }
}

pub(crate) struct Waiting {
    poller: Arc<Poller>,
    events: RefCell<Events>,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    direct: Option<RefCell<direct::Direct>>,
}

impl Waiting {
    pub(crate) fn new() -> io::Result<Self> {
        let poller = Poller::new()?;
        if !poller.supports_level() {
            let why = "sockets need a level-triggered poller, as epoll and kqueue are";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let direct = direct::Direct::new(&poller)?.map(RefCell::new);
        let waiting = Waiting {
            poller: Arc::new(poller),
            events: RefCell::new(Events::new()),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            direct,
        };
        // Reads the notification, if there was one.
        waiting.wait_by_polling(Some(Duration::ZERO), &mut |_| ())?;
        Ok(waiting)
    }

    pub(crate) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Waits until something happens, which `happened` is told, until the poller is notified, or until the time is up. It may come
    /// back early. Answers whether more may have happened than is told of at once.
    pub(crate) fn wait(&self, timeout: Option<Duration>, happened: &mut dyn FnMut(Event)) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(direct) = &self.direct {
            let timeout = timeout.map(whole_milliseconds);
            if timeout != Some(None) {
                let mut notified = false;
                let is_full = direct.borrow_mut().wait(&self.poller, timeout.flatten(), |event| match event {
                    Some(event) => happened(event),
                    None => notified = true,
                })?;
                return if notified { self.wait_by_polling(Some(Duration::ZERO), happened) } else { Ok(is_full) };
            }
        }
        self.wait_by_polling(timeout, happened)
    }

    fn wait_by_polling(&self, timeout: Option<Duration>, happened: &mut dyn FnMut(Event)) -> io::Result<bool> {
        let mut events = self.events.borrow_mut();
        events.clear();
        let told = self.poller.wait(&mut events, timeout)?;
        events.iter().for_each(happened);
        // Polling keeps two of the places for itself.
        Ok(told + 2 >= events.capacity().get())
    }
}

/// As many as go into `timeout`; none if it is shorter than one, but not over.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn whole_milliseconds(timeout: Duration) -> Option<Duration> {
    let whole = timeout - Duration::from_nanos(u64::from(timeout.subsec_nanos() % 1_000_000));
    (timeout.is_zero() || !whole.is_zero()).then_some(whole)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    /// What is told within so long, as `(key, readable, writable)`.
    fn told(waiting: &Waiting, timeout: Duration) -> Vec<(usize, bool, bool)> {
        let mut told = Vec::new();
        waiting.wait(Some(timeout), &mut |event| told.push((event.key, event.readable, event.writable))).unwrap();
        told
    }

    /// On Linux the short way is taken, and tells the same as polling's.
    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn wait_directly_and_by_polling() {
        let mut direct = Waiting::new().unwrap();
        assert!(
            direct.direct.is_some(),
            "polling numbers its events in another way: each wait takes five system calls"
        );
        for _ in 0..2 {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut watched = super::super::wakers::Watched::new(direct.poller.clone(), Arc::new(ours));
            watched.begin(Event::none(7)).unwrap();
            assert_eq!(told(&direct, Duration::ZERO), []);
            watched.change(Event::all(7)).unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, false, true)]);
            theirs.write_all(b"x").unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, true, true)]);
            drop(watched);
            assert_eq!(told(&direct, Duration::ZERO), []);
            direct.direct = None;
        }
    }

    #[test]
    fn notify_before_and_during_a_wait() {
        let waiting = Waiting::new().unwrap();
        for timeout in [Duration::from_micros(300), Duration::from_secs(60)] {
            waiting.poller().notify().unwrap();
            assert_eq!(told(&waiting, timeout), []);
            // It was read, so the next wait lasts; but for polling's timer, which may still go off once.
            told(&waiting, Duration::from_millis(2));
            let begun = Instant::now();
            assert_eq!(told(&waiting, Duration::from_millis(2)), []);
            assert!(begun.elapsed() >= Duration::from_millis(2), "TIME-2: it came back after {:?}", begun.elapsed());
        }
        let poller = waiting.poller().clone();
        let notifier = std::thread::spawn(move || poller.notify().unwrap());
        assert_eq!(told(&waiting, Duration::from_secs(60)), []);
        notifier.join().unwrap();
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn split_a_timeout_into_milliseconds() {
        let (ms, us) = (Duration::from_millis, Duration::from_micros);
        let cases =
            [ms(0), us(1), us(999), ms(1), us(1001), us(2999), Duration::from_nanos(3_999_999), ms(1000) + us(1)];
        let whole = [Some(0), None, None, Some(1), Some(1), Some(2), Some(3), Some(1000)].map(|whole| whole.map(ms));
        assert_eq!(cases.map(whole_milliseconds), whole);
    }
}
