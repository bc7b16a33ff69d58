//! Waiting in polling's poller, in as few system calls as can be.
//!
//! `polling` makes five system calls of a wait, since it waits as exactly as a timer can, and wakes up for `notify`. On Linux
//! one is enough if neither matters: `epoll_wait` on the same descriptor. So whole milliseconds are waited for directly. What is left
//! of them, less than one, is waited for by `ppoll` on that descriptor, and `epoll_wait` follows if anything has happened. By way of
//! `polling` goes the wait that reads a notification.
//!
//! There the sources are told of by their edges, the end of a stream and urgent bytes by themselves, for which polling has no words;
//! elsewhere by their level (`idle/sockets/reactor.rs`). What happens just before polling's wait is told of by that wait, and not again: such news
//! is *vague*, and there may have been an end, too.
//!
//! That takes for granted how polling numbers its events. It is tried out when a poller is made; if it is otherwise, or the system is
//! another than Linux, each wait goes by way of `polling`.
//!
//! Knows no source.

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

    /// So much is told of at once. Tests have less, and are through sooner.
    pub(in crate::kernel) const CAPACITY: usize = if cfg!(test) { 4 } else { 1024 };

    fn edges() -> epoll::EventFlags {
        use epoll::EventFlags as Flags;
        Flags::IN | Flags::OUT | Flags::PRI | Flags::RDHUP | Flags::ET
    }

    pub(in crate::kernel) struct Direct {
        events: Vec<epoll::Event>,
    }

    impl Direct {
        /// None if polling numbers its events in another way.
        pub(in crate::kernel) fn new(poller: &Poller) -> io::Result<Option<Self>> {
            let mut direct = Direct { events: Vec::with_capacity(CAPACITY) };
            poller.notify()?;
            let mut was_notified = false;
            direct.wait(poller, Some(Duration::ZERO), |event| was_notified = event.is_none())?;
            Ok((was_notified && direct.events.len() == 1).then_some(direct))
        }

        /// Both sides, each once when it changes, and the peer's end told from what it sent.
        pub(in crate::kernel) fn add(poller: &Poller, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
            Ok(epoll::add(poller, fd, epoll::EventData::new_u64(key as u64), edges())?)
        }

        /// The same again: it is told of anew what is there.
        pub(in crate::kernel) fn arm(poller: &Poller, fd: BorrowedFd<'_>, key: usize) -> io::Result<()> {
            Ok(epoll::modify(poller, fd, epoll::EventData::new_u64(key as u64), edges())?)
        }

        /// Waits until there is something to be told of, to the nanosecond. Returns whether there is.
        pub(super) fn is_there_within(poller: &Poller, timeout: Duration) -> io::Result<bool> {
            let timeout = Timespec::try_from(timeout).expect("a timeout of less than a millisecond");
            match poll(&mut [PollFd::new(poller, PollFlags::IN)], Some(&timeout)) {
                Ok(count) => Ok(count > 0),
                Err(Errno::INTR) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }

        /// Tells `happened` of each event; of a notification, which is still to be read, by none. Returns as `Waiting::wait` does.
        pub(in crate::kernel) fn wait(
            &mut self,
            poller: &Poller,
            timeout: Option<Duration>,
            mut happened: impl FnMut(Option<News>),
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

/// What has happened to a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct News {
    pub(crate) key: usize,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// What the peer sends has come to its end, or there was an error. Of a source that is told of by its edges, where it matters.
    pub(crate) ended: bool,
    /// There is something out of the order in which it was sent, and a read gives no more at once than what is before it. Told as
    /// `ended` is.
    pub(crate) urgent: bool,
    /// Whether it has ended, or is urgent, is not known, and will not be told.
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
        // Reads the notification, if there was one.
        waiting.wait_by_polling(Some(Duration::ZERO), &mut |_| ())?;
        Ok(waiting)
    }

    pub(crate) fn poller(&self) -> &Arc<Poller> {
        &self.poller
    }

    /// Whether sources are told of once, when they change, and not again and again.
    pub(crate) fn tells_edges(&self) -> bool {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.direct.is_some();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        false
    }

    /// Begins to watch a source, for one side, or for both if it is told of by its edges.
    pub(crate) fn watch<S: AsFd + ?Sized>(&self, watched: &mut Watched<S>, interest: Event) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.direct.is_some() {
            return watched.begin_by(|poller, fd| direct::Direct::add(poller, fd, interest.key));
        }
        watched.begin(interest, PollMode::Level)
    }

    /// What it is told of from now on. Of an error it is in any case, and if that is all, only once. By its edges: it is told again of what is
    /// there now.
    pub(crate) fn change<S: AsFd + ?Sized>(&self, watched: &Watched<S>, interest: Event) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if self.direct.is_some() {
            return direct::Direct::arm(&self.poller, watched.fd(), interest.key);
        }
        let mode = if interest.readable || interest.writable { PollMode::Level } else { PollMode::Oneshot };
        self.poller.modify_with_mode(watched.fd(), interest, mode)
    }

    /// Waits until something happens, which `happened` is told, until the poller is notified, or until the time is up. It may come
    /// back early. Returns whether more may have happened than is told of at once.
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
            let mut watched = Watched::new(direct.poller.clone(), Arc::new(ours));
            direct.watch(&mut watched, Event::all(7)).unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, false, true)]);
            theirs.write_all(b"x").unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, true, true)]);
            // By the edges it is told of once, else again and again; and again, if that is asked for.
            assert_eq!(told(&direct, Duration::ZERO).is_empty(), direct.tells_edges());
            direct.change(&watched, Event::all(7)).unwrap();
            assert_eq!(told(&direct, Duration::from_secs(60)), [(7, true, true)]);
            drop(watched);
            assert_eq!(told(&direct, Duration::ZERO), []);
            direct.direct = None;
        }
    }

    /// Whoever reads less than there was room for has to know whether the end was told of: in each way of waiting.
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
