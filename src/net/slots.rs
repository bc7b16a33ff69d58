//! Threads that look up names with `getaddrinfo`, which blocks: a few per process.
//!
//! They are separate from the threads of `to_thread`. A program may occupy all of those with long
//! work, and its connections must not wait for that. A thread is started when a look-up finds none
//! idle, and ends when it has been idle for a while. So a program that uses no names has none.
//!
//! `getaddrinfo` cannot be interrupted. A look-up whose future is dropped while a thread runs it
//! keeps the thread until it returns; one that no thread has begun leaves the queue.
//!
//! This file knows no loop. A result wakes the task through the loop's inbox, like any wake from
//! another thread.

use crate::kernel::callbacks::exceptions::{drop_payload, drop_value};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

/// The threads of the process.
pub(super) static SLOTS: Slots = Slots {
    pool: Mutex::new(Pool::new()),
    queued: Condvar::new(),
    most: 8,
    idle_for: Duration::from_secs(10),
    find: |host, port| Ok((host, port).to_socket_addrs()?.collect()),
};

/// A pool of threads.
pub(super) struct Slots {
    pool: Mutex<Pool>,
    queued: Condvar,
    /// How many look-ups run at once; further ones wait. A name server that does not answer
    /// occupies a thread for five to thirty seconds.
    most: usize,
    /// A thread ends when it has had no look-up for this long.
    idle_for: Duration,
    find: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
}

struct Pool {
    /// The look-ups that no thread has begun, by number. If the name server does not answer, a
    /// program may give up thousands of them, in any order, so each is removed in logarithmic time.
    queue: BTreeMap<u64, Arc<Job>>,
    /// The number of the last look-up.
    numbered: u64,
    threads: usize,
    /// The number of threads that wait for a job, or were notified and have not woken yet.
    idle: usize,
}

impl Pool {
    const fn new() -> Self {
        Pool { queue: BTreeMap::new(), numbered: 0, threads: 0, idle: 0 }
    }
}

/// A look-up, shared by its future and a thread.
pub(super) struct Job {
    number: u64,
    pub(super) host: Box<str>,
    port: u16,
    state: Mutex<State>,
}

enum State {
    /// The waker of the task that waits for the result.
    Waiting(Waker),
    Done(io::Result<Vec<SocketAddr>>),
    /// The future was dropped, or has taken the result.
    Unwanted,
}

impl Slots {
    /// Queues a look-up, and starts a thread for it if none is idle.
    pub(super) fn begin(&'static self, host: &str, port: u16, waker: &Waker) -> io::Result<Arc<Job>> {
        // Cloning a waker may run user code, so it happens while no lock is held.
        let state = Mutex::new(State::Waiting(waker.clone()));
        let mut pool = self.lock();
        pool.numbered += 1;
        let job = Arc::new(Job { number: pool.numbered, host: host.into(), port, state });
        pool.queue.insert(job.number, job.clone());
        if pool.queue.len() <= pool.idle || pool.threads == self.most {
            drop(pool);
            self.queued.notify_one();
            return Ok(job);
        }
        pool.threads += 1;
        let started = thread::Builder::new().name("onelane-getaddrinfo".into()).spawn(|| self.serve());
        if let Err(error) = started {
            pool.threads -= 1;
            if pool.threads == 0 {
                // No thread would run it.
                pool.queue.remove(&job.number);
                drop(pool);
                return Err(error);
            }
        }
        Ok(job)
    }

    /// The future of a look-up is dropped. The result is dropped too, or the look-up is not begun.
    pub(super) fn give_up(&self, job: &Job) {
        let old = std::mem::replace(&mut *job.lock(), State::Unwanted);
        // The futures of look-ups are dropped when a task is, so a panic of the waker's destructor
        // must not leave this function.
        drop_value(old);
        self.lock().queue.remove(&job.number);
    }

    /// What a thread does.
    fn serve(&self) {
        let mut pool = self.lock();
        loop {
            if let Some((_, job)) = pool.queue.pop_first() {
                drop(pool);
                job.run(self.find);
                drop(job);
                pool = self.lock();
                continue;
            }
            pool.idle += 1;
            let (woken, rest) = self.queued.wait_timeout(pool, self.idle_for).unwrap_or_else(PoisonError::into_inner);
            pool = woken;
            pool.idle -= 1;
            if rest.timed_out() && pool.queue.is_empty() {
                pool.threads -= 1;
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<SocketAddr>>> {
        // Cloning and dropping a waker may run user code, so both happen while the lock is not held.
        let waker = cx.waker().clone();
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Unwanted) {
            State::Waiting(old) => {
                *state = State::Waiting(waker);
                drop(state);
                drop_value(old);
                Poll::Pending
            }
            State::Done(result) => {
                drop(state);
                Poll::Ready(result)
            }
            State::Unwanted => unreachable!("the result is taken once"),
        }
    }

    /// Whether the future still waits, or has not taken the result yet.
    pub(super) fn is_wanted(&self) -> bool {
        !matches!(*self.lock(), State::Unwanted)
    }

    fn run(&self, find: fn(&str, u16) -> io::Result<Vec<SocketAddr>>) {
        let result = find(&self.host, self.port);
        let mut state = self.lock();
        let State::Waiting(waker) = std::mem::replace(&mut *state, State::Done(result)) else {
            *state = State::Unwanted;
            return;
        };
        drop(state);
        // A waker of another crate may panic, and must not end this thread.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            drop_payload(payload);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Job, Pool, Slots};
    use std::io;
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread;
    use std::time::Duration;

    /// The look-ups that have begun, and those that may end.
    type Ports = (Vec<u16>, Vec<u16>);
    static GATE: (Mutex<Ports>, Condvar) = (Mutex::new((Vec::new(), Vec::new())), Condvar::new());

    fn wait_at_the_gate(_: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let mut gate = GATE.0.lock().unwrap();
        gate.0.push(port);
        GATE.1.notify_all();
        drop(GATE.1.wait_while(gate, |(_, may_end)| !may_end.contains(&port)).unwrap());
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }

    /// Waits until the look-ups that have begun are these, in any order.
    fn begun(expected: &[u16]) {
        let gate = GATE.0.lock().unwrap();
        let gate = GATE.1.wait_while(gate, |(begun, _)| begun.len() < expected.len()).unwrap();
        let mut begun = gate.0.clone();
        begun.sort_unstable();
        assert_eq!(begun, expected);
    }

    fn let_end(ports: &[u16]) {
        GATE.0.lock().unwrap().1.extend(ports);
        GATE.1.notify_all();
    }

    /// Unparks the thread of the test.
    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait_for(job: &Job, waker: &Waker) -> u16 {
        loop {
            match job.poll(&mut Context::from_waker(waker)) {
                Poll::Ready(found) => return found.unwrap()[0].port(),
                Poll::Pending => thread::park(),
            }
        }
    }

    #[test]
    fn run_two_at_once_skip_what_is_given_up_and_end_the_threads() {
        static SLOTS: Slots = Slots {
            pool: Mutex::new(Pool::new()),
            queued: Condvar::new(),
            most: 2,
            idle_for: Duration::from_millis(50),
            find: wait_at_the_gate,
        };
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let begin = |port| SLOTS.begin("lane.test", port, &waker).unwrap();
        let jobs = [1, 2, 3, 4, 5].map(begin);
        assert_eq!(SLOTS.lock().threads, 2);
        begun(&[1, 2]);
        // One that waits in the queue, and one that runs.
        let queued = || SLOTS.lock().queue.values().map(|job| job.port).collect::<Vec<_>>();
        assert_eq!(queued(), [3, 4, 5]);
        SLOTS.give_up(&jobs[2]);
        assert_eq!(queued(), [4, 5]);
        SLOTS.give_up(&jobs[1]);
        assert_eq!(queued(), [4, 5]);
        let_end(&[1, 2]);
        assert_eq!(wait_for(&jobs[0], &waker), 1);
        begun(&[1, 2, 4, 5]);
        let_end(&[4, 5]);
        assert_eq!((wait_for(&jobs[3], &waker), wait_for(&jobs[4], &waker)), (4, 5));
        assert!(jobs.iter().all(|job| !job.is_wanted()));
        while SLOTS.lock().threads > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(SLOTS.lock().queue.is_empty());
        // The next look-up starts a thread again, and the one after it finds this thread idle.
        let_end(&[6, 7]);
        assert_eq!(wait_for(&begin(6), &waker), 6);
        while matches!(&*SLOTS.lock(), Pool { idle: 0, threads: 1.., .. }) {
            thread::yield_now();
        }
        assert_eq!(wait_for(&begin(7), &waker), 7);
        assert!(SLOTS.lock().threads <= 1);
    }

    #[test]
    fn a_waker_that_panics_ends_no_thread() {
        struct Panics;
        impl Wake for Panics {
            fn wake(self: Arc<Self>) {
                std::panic::resume_unwind(Box::new("no"));
            }
        }
        static SLOTS: Slots = Slots {
            pool: Mutex::new(Pool::new()),
            queued: Condvar::new(),
            most: 1,
            idle_for: Duration::from_millis(50),
            find: |_, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]),
        };
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let first = SLOTS.begin("lane.test", 1, &Waker::from(Arc::new(Panics))).unwrap();
        let second = SLOTS.begin("lane.test", 2, &waker).unwrap();
        assert_eq!((wait_for(&second, &waker), wait_for(&first, &waker)), (2, 1));
    }

    /// The destructor of a waker, which is user code.
    #[test]
    fn a_waker_whose_destructor_panics_is_dropped_quietly() {
        struct PanicsLast(Arc<AtomicUsize>);
        impl Wake for PanicsLast {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for PanicsLast {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
                std::panic::resume_unwind(Box::new("no"));
            }
        }
        static SLOTS: Slots = Slots {
            pool: Mutex::new(Pool::new()),
            queued: Condvar::new(),
            most: 1,
            idle_for: Duration::from_millis(50),
            find: |_, _| loop {
                thread::park();
            },
        };
        let dropped = Arc::new(AtomicUsize::new(0));
        let begin = |port| SLOTS.begin("lane.test", port, &Waker::from(Arc::new(PanicsLast(dropped.clone())))).unwrap();
        let job = begin(1);
        assert!(job.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        let job = begin(2);
        SLOTS.give_up(&job);
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
    }
}
