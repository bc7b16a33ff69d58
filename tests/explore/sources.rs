//! Programs with a source of their own: what they do depends on something that no exploration sets.
//! None is ever said to be complete.

use onelane::explore::{Fault, Outcome};
use onelane::sync::channel;
use onelane::{EventLoop, call_later, explore, sleep, spawn, task, yield_now};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Explores a few orders. Fails if they are said to be all. Returns whether the source was named, as
/// opposed to a difference between two runs.
fn never_complete<M: IntoFuture<Output: Outcome>>(program: impl Fn() -> M) -> bool {
    match explore(&program).max_orders(200).check() {
        Ok(statement) => {
            let reduced = explore(&program).max_orders(200).reduce().check();
            let statement_of_reduced = reduced.unwrap_or_else(|failure| failure.statement);
            assert!(!statement_of_reduced.is_complete(), "{statement_of_reduced}");
            let text = statement.to_string();
            assert!(!statement.is_complete(), "{text}");
            assert!(text.contains("not complete") && text.contains("seen in use: "), "{text}");
            true
        }
        Err(failure) => {
            assert!(matches!(failure.fault, Fault::Differs(_)), "{failure}");
            assert!(!failure.statement.is_complete());
            false
        }
    }
}

fn is_named<M: IntoFuture<Output: Outcome>>(program: impl Fn() -> M) {
    assert!(never_complete(program));
}

fn differs<M: IntoFuture<Output: Outcome>>(program: impl Fn() -> M) {
    assert!(!never_complete(program));
}

async fn yields(times: u64) {
    for _ in 0..times {
        yield_now().await;
    }
}

// ---- random draws, and real time ----

#[test]
fn names_in_the_order_of_a_hash_map() {
    differs(|| async {
        let names: HashMap<u32, String> = (0..20).map(|n| (n, format!("task {n}"))).collect();
        for name in names.values() {
            drop(task::Builder::new().name(name.as_str()).spawn(async {}));
        }
        yields(25).await;
    });
}

#[test]
fn yields_in_the_order_of_a_hash_set() {
    differs(|| async {
        for times in (0..20).collect::<HashSet<u64>>() {
            drop(spawn(yields(times)));
        }
        yields(25).await;
    });
}

#[test]
fn sleeps_of_random_length() {
    differs(|| async {
        for seconds in (0..20).collect::<HashSet<u64>>() {
            sleep(Duration::from_secs(seconds)).await;
        }
    });
}

#[test]
fn callbacks_in_a_random_order() {
    differs(|| async {
        let tasks: Vec<_> = (0..20).map(|n| (n, task::Builder::new().name(n.to_string()).spawn(yields(n)))).collect();
        for (_, task) in tasks.into_iter().collect::<HashMap<u64, _>>() {
            task.await.unwrap();
        }
    });
}

#[test]
fn yields_by_the_real_clock() {
    let begun = Instant::now();
    differs(|| async {
        for _ in 0..4 {
            yields(begun.elapsed().as_nanos() as u64 % 1009).await;
        }
    });
}

#[test]
fn yields_by_the_time_of_day() {
    differs(|| async {
        for _ in 0..4 {
            yields(UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 % 1009).await;
        }
    });
}

#[test]
fn sleeps_by_the_time_of_day() {
    differs(|| async {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        sleep(Duration::from_nanos(1 + u64::from(now.subsec_nanos()))).await;
    });
}

#[test]
fn state_outside_of_the_program() {
    let runs = Cell::new(0);
    differs(|| {
        runs.set(runs.get() + 1);
        yields(runs.get())
    });
}

#[test]
fn state_outside_that_changes_late() {
    let runs = Cell::new(0);
    differs(|| {
        runs.set(runs.get() + 1);
        let is_late = runs.get() > 5;
        async move {
            drop([spawn(yields(2)), spawn(yields(3))]);
            yields(if is_late { 5 } else { 4 }).await;
        }
    });
}

// ---- other threads ----

/// A future that another thread makes ready.
async fn of_a_thread(act: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = futures_channel_of_one();
    thread::spawn(move || {
        act();
        sender.send();
    });
    receiver.await;
}

/// A channel that knows nothing of onelane.
fn futures_channel_of_one() -> (Sender, impl Future<Output = ()>) {
    let state = Arc::new(Mutex::new((false, None::<Waker>)));
    let copy = state.clone();
    let receive = poll_fn(move |context| {
        let mut state = copy.lock().unwrap();
        state.1 = Some(context.waker().clone());
        if state.0 { Poll::Ready(()) } else { Poll::Pending }
    });
    (Sender(state), receive)
}

struct Sender(Arc<Mutex<(bool, Option<Waker>)>>);

impl Sender {
    fn send(self) {
        let mut state = self.0.lock().unwrap();
        state.0 = true;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

#[test]
fn a_wake_of_another_thread() {
    never_complete(|| of_a_thread(|| thread::sleep(Duration::from_millis(2))));
}

#[test]
fn a_waker_that_other_code_keeps() {
    let all = RefCell::new(Vec::new());
    is_named(|| async {
        let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
        all.borrow_mut().push(kept.clone());
        let waits = spawn(poll_fn(move |context| {
            *kept.lock().unwrap() = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        yields(3).await;
        drop(waits); // It runs on.
    });
}

#[test]
fn a_call_of_another_thread() {
    is_named(|| async {
        let remote = EventLoop::current().remote();
        let thread = thread::spawn(move || remote.call_soon(|| ()).unwrap());
        thread.join().unwrap();
        yields(3).await;
    });
}

#[test]
fn a_task_of_another_thread() {
    never_complete(|| async {
        let remote = EventLoop::current().remote();
        let (sender, receiver) = futures_channel_of_one();
        let start = move || _ = remote.spawn(async move { sender.send() }).map(drop);
        thread::spawn(start);
        receiver.await;
    });
}

#[test]
fn a_remote_that_is_kept() {
    let kept = Cell::new(None);
    is_named(|| async {
        kept.set(Some(EventLoop::current().remote()));
        yields(2).await;
    });
}

#[test]
fn a_channel_of_another_thread() {
    never_complete(|| async {
        let (sender, receiver) = channel(4);
        let sender = sender.remote_sender();
        let thread = thread::spawn(move || sender.send_blocking(7).unwrap());
        assert_eq!(receiver.recv().await, Some(7));
        thread.join().unwrap();
    });
}

#[test]
fn a_race_of_a_thread_and_a_timer() {
    never_complete(|| async {
        drop(call_later(Duration::from_secs(1), || ()));
        let other = spawn(of_a_thread(|| ()));
        sleep(Duration::from_secs(2)).await;
        other.await.unwrap();
    });
}

#[cfg(feature = "threads")]
#[test]
fn a_blocking_function() {
    never_complete(|| async {
        onelane::to_thread(|| thread::sleep(Duration::from_millis(1))).await.unwrap();
    });
}

// ---- the operating system ----

#[cfg(all(unix, feature = "io"))]
#[test]
fn a_pair_of_sockets() {
    use futures_util::{AsyncReadExt, AsyncWriteExt};
    never_complete(|| async {
        let (mut one, mut other) = onelane::net::UnixStream::pair().unwrap();
        one.write_all(b"tea").await.unwrap();
        let mut bytes = [0; 3];
        other.read_exact(&mut bytes).await.unwrap();
    });
}

#[cfg(all(unix, feature = "io"))]
#[test]
fn a_listener() {
    never_complete(|| async {
        let listener = onelane::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = onelane::net::TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = futures_util::join!(client, listener.accept());
        drop((client.unwrap(), accepted.unwrap()));
    });
}

#[cfg(all(unix, feature = "process"))]
#[test]
fn a_child_process() {
    never_complete(|| async {
        let child = onelane::process::Command::new("true").spawn().unwrap();
        assert!(child.wait().await.unwrap().success());
    });
}

#[cfg(all(unix, feature = "signals"))]
#[test]
fn a_signal() {
    use onelane::signals::listen;
    is_named(|| async {
        let signals = listen(10).unwrap(); // SIGUSR1 on Linux
        yields(2).await;
        drop(signals);
    });
}
