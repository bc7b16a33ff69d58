//! Waiting in the poller of the `polling` crate, with as few system calls as possible.
//!
//! A wait through `polling` takes five system calls, because it sets a timer for nanoseconds and
//! reads notifications. Without these two, one call is enough on Linux: `epoll_wait` on the same
//! descriptor. So we call `epoll_wait` directly for whole milliseconds. For a wait of less than a
//! millisecond, `ppoll` waits on that descriptor, and `epoll_wait` follows if an event has
//! occurred. Only the wait that reads a notification goes through `polling`.
//!
//! On Linux sources are registered edge-triggered. The end of a stream and urgent data are reported
//! separately, which `polling` cannot do. On other systems sources are level-triggered
//! (`idle/sockets/reactor.rs`). An event that occurs just before a wait through `polling` is
//! reported by that wait, and not again. Such a report is *vague*: the stream may have ended as
//! well.
//!
//! This relies on how `polling` numbers its events. A new poller checks the numbering. If it is
//! different, or the system is not Linux, each wait goes through `polling`.
//!
//! This file knows no sources.

use crate::kernel::idle::sockets::watched::Watched;
use polling::{Event, Events, PollMode, Poller};
use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod direct {
    use crate::kernel::idle::sockets::poller::News;
    use polling::Poller;
    use rustix::buffer::spare_capacity;
    use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
    use rustix::io::Errno;
    use std::io;
    use std::os::fd::BorrowedFd;
    use std::time::Duration;

    /// Maximum number of events per call. Smaller in tests, so that tests reach the limit.
    pub(in crate::kernel) const CAPACITY: usize = if cfg!(test) { 4 } else { 1024 };

    fn edges() -> epoll::EventFlags {
        use epoll::EventFlags as Flags;
        Flags::IN | Flags::OUT | Flags::PRI | Flags::RDHUP | Flags::ET
    }

    pub(in crate::kernel) struct Direct {
        events: Vec<epoll::Event>,
    }

    impl Direct {
        /// Returns `None` if `polling` numbers its events in another way.
        pub(in crate::kernel) fn new(poller: &Poller) -> io::Result<Option<Self>> {
            let mut direct = Direct { events: Vec::with_capacity(CAPACITY) };
            poller.notify()?;
            let mut was_notified = false;
            direct.wait(poller, Some(Duration::ZERO), |event| was_notified = event.is_none())?;
            Ok((was_notified && direct.events.len() == 1).then_some(direct))
        }

        /// Registers both sides edge-triggered, with separate reports of the peer's end.
        pub(in crate::kernel) fn add(poller: &Poller, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
            Ok(epoll::add(poller, fd, epoll::EventData::new_u64(key as u64), edges())?)
        }

        /// Registers again: what is ready now is reported once more.
        pub(in crate::kernel) fn arm(poller: &Poller, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
            Ok(epoll::modify(poller, fd, epoll::EventData::new_u64(key as u64), edges())?)
        }

        /// Waits for an event, with nanosecond resolution. Returns whether there is one.
        pub(super) fn is_there_within(poller: &Poller, timeout: Duration) -> io::Result<bool> {
            let timeout = Timespec::try_from(timeout).expect("a timeout of less than a millisecond");
            match poll(&mut [PollFd::new(poller, PollFlags::IN)], Some(&timeout)) {
                Ok(count) => Ok(count > 0),
                Err(Errno::INTR) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }

        /// Calls `happened` with each event, and with `None` for a notification, which is not read
        /// here. Returns like `Waiting::wait`.
        pub(in crate::kernel) fn wait(
            &mut self,
            poller: &Poller,
            timeout: Option<Duration>,
            mut happened: impl FnMut(Option<News>),
        ) -> io::Result<bool> {
            self.events.clear();
            // Clamp: longer timeouts use a system call that old kernels lack. Returning early is
            // harmless.
            let timeout = timeout.map(|timeout| timeout.min(Duration::from_millis(i32::MAX as u64)));
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            match epoll::wait(poller, spare_capacity(&mut self.events), timeout.as_ref()) {
                // A signal interrupted the wait: the caller checks its clock and waits again.
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &self.events {
                let (flags, key) = (event.flags, event.data.u64() as usize);
                let gone = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
                let ended = gone | epoll::EventFlags::RDHUP;
                let news = News {
                    key,
                    readable: flags.intersects(ended | epoll::EventFlags::IN | epoll::EventFlags::PRI),
                    writable: flags.intersects(gone | epoll::EventFlags::OUT),
                    ended: flags.intersects(ended),
                    urgent: flags.contains(epoll::EventFlags::PRI),
                    is_vague: false,
                };
                happened((key != usize::MAX).then_some(news));
            }
            Ok(self.events.len() == CAPACITY)
        }
    }
}

/// A report about a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct News {
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's data has ended, or there was an error. Set only for edge-triggered sources, where
    /// it matters.
    pub(crate) ended: bool,
    /// Urgent (out-of-band) data has arrived: a read returns only the data before it. Set like
    /// `ended`.
    pub(crate) urgent: bool,
    /// Whether the stream has ended or has urgent data is unknown, and will not be reported.
    pub(crate) is_vague: bool,
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
        // Reads the notification of the check, if it was sent.
        waiting.wait_by_polling(Some(Duration::ZERO), &mut |_| ())?;
        Ok(waiting)
    }

    pub(crate) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Whether sources are edge-triggered: reported once when they change.
    pub(crate) fn tells_edges(&self) -> bool {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.direct.is_some();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        false
    }

    /// Registers a source: for one side, or for both if it is edge-triggered.
    pub(crate) fn watch<S: AsFd + ?Sized>(&self, watched: &mut Watched<S>, interest: Event) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.direct.is_some() {
            return watched.begin_by(|poller, fd| direct::Direct::add(poller, fd, interest.key));
        }
        watched.begin(interest, PollMode::Level)
    }

    /// Changes what is reported about a source. Errors are always reported, but only once if
    /// nothing else is wanted. An edge-triggered source is reported again if it is ready now.
    pub(crate) fn change<S: AsFd + ?Sized>(&self, watched: &Watched<S>, interest: Event) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.direct.is_some() {
            return direct::Direct::arm(&self.poller, watched.fd(), interest.key);
        }
        let mode = if interest.readable || interest.writable { PollMode::Level } else { PollMode::Oneshot };
        self.poller.modify_with_mode(watched.fd(), interest, mode)
    }

    /// Waits until an event occurs, the poller is notified, or the timeout has passed. Calls
    /// `happened` with each event. May return early. Returns whether more events may be waiting
    /// than were reported.
    pub(crate) fn wait(&self, timeout: Option<Duration>, happened: &mut dyn FnMut(News)) -> io::Result<bool> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(direct) = &self.direct {
            let timeout = match timeout.map(|timeout| (timeout, whole_milliseconds(timeout))) {
                Some((timeout, None)) if !direct::Direct::is_there_within(&self.poller, timeout)? => return Ok(false),
                Some((_, whole)) => Some(whole.unwrap_or(Duration::ZERO)),
                None => None,
            };
            let mut notified = false;
            let is_full = direct.borrow_mut().wait(&self.poller, timeout, |event| match event {
                Some(news) => happened(news),
                None => notified = true,
            })?;
            return if notified { self.wait_by_polling(Some(Duration::ZERO), happened) } else { Ok(is_full) };
        }
        self.wait_by_polling(timeout, happened)
    }

    fn wait_by_polling(&self, timeout: Option<Duration>, happened: &mut dyn FnMut(News)) -> io::Result<bool> {
        let mut events = self.events.borrow_mut();
        events.clear();
        let told = self.poller.wait(&mut events, timeout)?;
        let is_vague = self.tells_edges();
        let news = |Event { key, readable, writable, .. }| News {
            key,
            readable,
            writable,
            ended: false,
            urgent: false,
            is_vague,
        };
        events.iter().map(news).for_each(happened);
        // `polling` uses two of the places itself.
        Ok(told + 2 >= events.capacity().get())
    }
}

/// The whole milliseconds of `timeout`. `None` if it is shorter than one millisecond, but not zero.
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

    /// The events within `timeout`, as `(key, readable, writable)`.
    fn told(waiting: &Waiting, timeout: Duration) -> Vec<(usize, bool, bool)> {
        let mut told = Vec::new();
        waiting.wait(Some(timeout), &mut |event| told.push((event.key, event.readable, event.writable))).unwrap();
        told
    }

    /// On Linux, waiting directly reports the same events as waiting through `polling`.
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
            let mut watched = Watched::new(direct.poller.clone(), Arc::new(ours));
            direct.watch(&mut watched, Event::all(7)).unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, false, true)]);
            theirs.write_all(b"x").unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, true, true)]);
            // Edge-triggered: reported once; level-triggered: again and again. Both: again on
            // request.
            assert_eq!(told(&direct, Duration::ZERO).is_empty(), direct.tells_edges());
            direct.change(&watched, Event::all(7)).unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, true, true)]);
            drop(watched);
            assert_eq!(told(&direct, Duration::ZERO), []);
            direct.direct = None;
        }
    }

    /// Code that reads less than its buffer holds must know whether the end was reported. Tested
    /// for each way of waiting.
    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn tell_of_the_end_or_that_it_is_not_known() {
        let waiting = Waiting::new().unwrap();
        for timeout in [Some(Duration::ZERO), Some(Duration::from_micros(300)), Some(Duration::from_secs(60)), None] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let mut watched = Watched::new(waiting.poller.clone(), Arc::new(ours));
            waiting.watch(&mut watched, Event::all(7)).unwrap();
            theirs.write_all(b"x").unwrap();
            drop(theirs);
            let mut ended = Vec::new();
            waiting.wait(timeout, &mut |news| ended.push((news.ended, news.is_vague))).unwrap();
            assert_eq!(ended, [(true, false)], "{timeout:?}");
            waiting.change(&watched, Event::all(7)).unwrap();
            waiting.wait_by_polling(timeout, &mut |news| ended.push((news.ended, news.is_vague))).unwrap();
            assert_eq!(ended[1..], [(false, true)], "{timeout:?}");
        }
    }

    #[test]
    fn notify_before_and_during_a_wait() {
        let waiting = Waiting::new().unwrap();
        for timeout in [Duration::from_micros(300), Duration::from_secs(60)] {
            waiting.poller().notify().unwrap();
            assert_eq!(told(&waiting, timeout), []);
            // The notification was read, so the next wait takes its full time, except that
            // `polling`'s timer may still fire once.
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
