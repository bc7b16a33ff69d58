//! The laws of wakes from other threads. Each case is made so that the wake comes at a known moment. None depends on luck.

use crate::common::{self, expect, hangs_by};
use crate::kernel;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::{Poll, Waker};
use std::time::Duration;

fn begin(what: &str) {
    common::begin(what.into(), Vec::new());
    hangs_by("WAKE-2", format!("{what}: the loop sleeps, and nothing wakes it any more"));
}

/// The wake comes during the poll, so long before the sleep.
fn before_the_sleep(wakes: usize, with_timer: bool) {
    let with = if with_timer { "with" } else { "without" };
    begin(&format!("a wake that comes while its task runs, {with} a timer pending"));
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    let begun = std::time::Instant::now();
    kernel::run(async move {
        // So that the loop has something to wait for. It is too long to be waited for.
        let patience = kernel::spawn(kernel::sleep(Duration::from_secs(if with_timer { 40 } else { 3_600 })));
        std::future::poll_fn(move |cx| {
            count.set(count.get() + 1);
            if count.get() > 1 {
                return Poll::Ready(());
            }
            let waker = cx.waker().clone();
            let work = move || (0..wakes).for_each(|_| waker.wake_by_ref());
            std::thread::spawn(work).join().unwrap();
            common::event(&[], "another thread has woken the task, before the loop sleeps".into());
            Poll::Pending
        })
        .await;
        patience.cancel();
    });
    common::event(&[], "the task has gone on".into());
    expect("READY-1", "the number of polls", polls.get(), 2);
    expect("WAKE-2", "whether the loop has waited for a timer", begun.elapsed() > Duration::from_secs(30), false);
}

/// The wake comes when the loop sleeps for certain, or nearly so.
fn during_the_sleep() {
    begin("a wake that comes while the loop sleeps");
    for _ in 0..3 {
        let value = kernel::run(async {
            kernel::to_thread(|| {
                std::thread::sleep(Duration::from_millis(20));
                common::event(&[], "the other thread is done".into());
                7
            })
            .await
        });
        expect("AWAIT-1", "the value of the call", value, Ok(7));
    }
}

/// At the `nth` moment after a poll at which the loop lets go of a lock, another thread wakes the task. So the wake comes at each
/// moment before the sleep, one after the other: also between the loop's last look into its inbox and its sleep.
fn at_each_moment(nth: usize, with_timer: bool) {
    let with = if with_timer { "with" } else { "without" };
    begin(&format!("a wake at moment {nth} before the sleep, {with} a timer pending"));
    kernel::run(async move {
        // What the loop waits for otherwise: a timer, or a call on another thread.
        let (end, wait) = channel::<()>();
        let time = Duration::from_secs(3_600);
        let timer = with_timer.then(|| kernel::spawn(kernel::sleep(time)));
        let call = (!with_timer).then(|| kernel::spawn(kernel::to_thread(move || _ = wait.recv())));
        kernel::yield_now().await;
        let mut first = true;
        std::future::poll_fn(move |cx| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            common::event(&[], format!("the task waits, and will be woken at moment {nth}"));
            sync::wake_at(nth, cx.waker().clone());
            Poll::Pending
        })
        .await;
        common::event(&[], "the task has gone on".into());
        timer.map(|timer| timer.cancel());
        drop(end);
        if let Some(call) = call {
            _ = call.await;
        }
    });
}

/// Many calls at the same time, and none is lost.
fn many() {
    begin("many threads");
    let sum = kernel::run(async {
        let calls: Vec<_> = (0..40u64).map(|nth| kernel::spawn(kernel::to_thread(move || nth))).collect();
        let mut sum = 0;
        for call in calls {
            sum += call.await.unwrap().unwrap();
            common::event(&[], format!("the sum is {sum}"));
        }
        sum
    });
    expect("AWAIT-1", "the sum", sum, 780);
}

/// A wake finds its own loop, although another loop has a task in the same row.
fn two_loops() {
    begin("two loops");
    let (give, take) = channel::<Waker>();
    let (started, ready) = channel();
    let other = std::thread::spawn(move || {
        kernel::run(async move {
            let polls = Rc::new(Cell::new(0));
            let count = polls.clone();
            _ = kernel::spawn(std::future::poll_fn(move |_| {
                count.set(count.get() + 1);
                Poll::<()>::Pending
            }));
            kernel::yield_now().await;
            started.send(()).unwrap();
            let waker = take.recv().unwrap();
            waker.wake();
            common::event(&[], "the second loop has woken a task of the first".into());
            kernel::sleep(Duration::from_millis(5)).await;
            polls.get()
        })
    });
    ready.recv().unwrap();
    kernel::run(async move {
        let patience = kernel::spawn(kernel::sleep(Duration::from_secs(3_600)));
        let mut first = true;
        std::future::poll_fn(move |cx| {
            if !std::mem::take(&mut first) {
                return Poll::Ready(());
            }
            give.send(cx.waker().clone()).unwrap();
            Poll::Pending
        })
        .await;
        patience.cancel();
    });
    expect("WAKE-3", "the number of polls of the other loop's task", other.join().unwrap(), 1);
}

/// A wake of a task that has ended, from another thread, and while the loop is over.
fn late() {
    begin("late wakes");
    let (give, take) = channel::<Waker>();
    let polls = Rc::new(Cell::new(0));
    let count = polls.clone();
    kernel::run(async move {
        let once = std::future::poll_fn(move |cx| {
            give.send(cx.waker().clone()).unwrap();
            Poll::Ready(())
        });
        kernel::spawn(once).await.unwrap();
        // It gets the row of the first one.
        _ = kernel::spawn(std::future::poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::<()>::Pending
        }));
        kernel::yield_now().await;
        let waker = take.recv().unwrap();
        std::thread::spawn(move || (0..3).for_each(|_| waker.wake_by_ref())).join().unwrap();
        kernel::yield_now().await;
        kernel::yield_now().await;
    });
    expect("WAKE-1", "the number of polls of the next tenant", polls.get(), 1);
}

pub fn check() {
    let cases = || {
        for wakes in [1, 3] {
            before_the_sleep(wakes, true);
            before_the_sleep(wakes, false);
        }
        for nth in 0..5 {
            at_each_moment(nth, true);
            at_each_moment(nth, false);
        }
        late();
        during_the_sleep();
        two_loops();
        many();
    };
    cases();
    // The second loop of the process.
    _ = std::thread::spawn(cases).join();
}

/// The checker lets the reader's kernel use this in place of `std::sync`: locks that say when they are let go.
pub mod sync {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::sync::mpsc::channel;
    pub use std::sync::*;
    use std::task::Waker;
    use std::time::Duration;

    thread_local! {
        /// The moments that are left until the wake.
        static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
    }

    static WAKER: std::sync::Mutex<Option<Waker>> = std::sync::Mutex::new(None);

    /// The `nth` time that this thread lets go of a lock, another thread wakes. If that is not before the loop sleeps, the wake
    /// comes a little later by itself.
    pub fn wake_at(nth: usize, waker: Waker) {
        *WAKER.lock().unwrap() = Some(waker);
        LEFT.set(Some(nth));
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_millis(200));
            let waker = WAKER.lock().unwrap().take();
            waker.map(Waker::wake);
        });
    }

    fn let_go() {
        match LEFT.get() {
            Some(0) => {
                LEFT.set(None);
                let Some(waker) = WAKER.lock().unwrap().take() else { return };
                let (done, wait) = channel();
                std::thread::spawn(move || {
                    waker.wake();
                    done.send(())
                });
                // Code that holds another lock meanwhile must not hang here.
                _ = wait.recv_timeout(Duration::from_secs(1));
            }
            Some(left) => LEFT.set(Some(left - 1)),
            None => {}
        }
    }

    #[derive(Default, Debug)]
    pub struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub const fn new(value: T) -> Self {
            Mutex(std::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> LockResult<Guard<'_, T>> {
            Ok(Guard(self.0.lock().ok()))
        }
    }

    pub struct Guard<'a, T>(Option<std::sync::MutexGuard<'a, T>>);

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    impl<T> Drop for Guard<'_, T> {
        fn drop(&mut self) {
            if let Some(guard) = self.0.take() {
                drop(guard);
                let_go();
            }
        }
    }

    /// A wait lets go of the lock too, but then the loop sleeps already.
    #[derive(Default, Debug)]
    pub struct Condvar(std::sync::Condvar);

    impl Condvar {
        pub const fn new() -> Self {
            Condvar(std::sync::Condvar::new())
        }

        pub fn notify_one(&self) {
            self.0.notify_one();
        }

        pub fn notify_all(&self) {
            self.0.notify_all();
        }

        pub fn wait<'a, T>(&self, mut guard: Guard<'a, T>) -> LockResult<Guard<'a, T>> {
            Ok(Guard(self.0.wait(guard.0.take().unwrap()).ok()))
        }

        pub fn wait_while<'a, T>(
            &self,
            mut guard: Guard<'a, T>,
            is_waiting: impl FnMut(&mut T) -> bool,
        ) -> LockResult<Guard<'a, T>> {
            Ok(Guard(self.0.wait_while(guard.0.take().unwrap(), is_waiting).ok()))
        }

        pub fn wait_timeout<'a, T>(
            &self,
            mut guard: Guard<'a, T>,
            time: Duration,
        ) -> LockResult<(Guard<'a, T>, WaitTimeoutResult)> {
            let (guard, result) = self.0.wait_timeout(guard.0.take().unwrap(), time).unwrap();
            Ok((Guard(Some(guard)), result))
        }

        pub fn wait_timeout_while<'a, T>(
            &self,
            mut guard: Guard<'a, T>,
            time: Duration,
            is_waiting: impl FnMut(&mut T) -> bool,
        ) -> LockResult<(Guard<'a, T>, WaitTimeoutResult)> {
            let (guard, result) = self.0.wait_timeout_while(guard.0.take().unwrap(), time, is_waiting).unwrap();
            Ok((Guard(Some(guard)), result))
        }
    }
}
