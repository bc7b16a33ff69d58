//! `local`: values of one thread that count as `Send`. What another thread may do with them, and
//! what it must not.

mod common;

use common::{Census, ms, virtual_loop};
use onelane::sync::Lock;
use onelane::{EventLoop, Local, Remote, gather, local, spawn, timeout, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;

/// The number of members that were not dropped.
fn alive(census: &Census) -> usize {
    let (made, dropped) = census.counts();
    made - dropped
}

/// What is leaked here on purpose. A leak checker finds these numbers, and does not report what is
/// at these addresses.
static LEAKED: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The value will be leaked: notes its address.
fn will_leak<T>(value: &Local<T>) {
    LEAKED.lock().unwrap().push(ptr::from_ref::<T>(value).addr());
}

/// Calls a function with the value on another thread. Returns the message of its panic.
fn elsewhere<T: Send>(value: T, act: impl FnOnce(T) + Send) -> Option<String> {
    thread::scope(|scope| {
        let act = move || catch_unwind(AssertUnwindSafe(|| act(value))).err();
        scope.spawn(act).join().unwrap().map(|payload| *payload.downcast::<String>().unwrap())
    })
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn is_send<T: Send>(value: T) -> T {
    value
}

const _: () = {
    const fn assert_all<T: Send + Sync + Unpin>() {}
    assert_all::<Local<Rc<Cell<u8>>>>();
    assert_all::<Local<*mut u8>>();
    assert_all::<Local<PhantomPinned>>();
};

#[test]
fn await_in_a_send_future() {
    let sum = virtual_loop().run(is_send(async {
        let lock = local(Rc::new(Lock::new(1)));
        let one = local(timeout(ms(5), async { 1 })).await.unwrap();
        let two = local(spawn(async { 2 }).into_future()).await.unwrap();
        let more = local(gather([3, 4].map(|n| async move { n }))).await.unwrap();
        let held = local(async {
            let mut guard = lock.lock().await;
            yield_now().await;
            *guard += 10;
            *guard
        });
        one + two + more.iter().sum::<i32>() + held.await
    }));
    assert_eq!(sum, 21);
}

#[test]
fn use_and_take_out_at_home() {
    let mut value = local(RefCell::new(vec![1]));
    value.borrow_mut().push(2);
    value.get_mut().push(3);
    let copy = value.clone();
    assert_eq!(format!("{copy:?}"), "Local(RefCell { value: [1, 2, 3] })");
    assert!(Local::is_here(&copy));
    assert_eq!(Local::into_inner(value).into_inner(), [1, 2, 3]);
    drop(copy);
}

#[test]
fn come_home_unused() {
    let census = Census::new();
    let value = local((census.member(), Rc::new(Cell::new(1))));
    let value = thread::spawn(move || value).join().unwrap();
    value.1.set(2);
    assert_eq!((alive(&census), value.1.get()), (1, 2));
    drop(value);
    assert_eq!(alive(&census), 0);
}

#[test]
fn panic_where_they_are_used_elsewhere() {
    let line = line!() + 1;
    let mut value = local(Rc::new(Cell::new(7)));
    let place = format!("the value of a local() made at {}:{line}:21 was ", file!());
    let cure = " on another thread; call local() inside the future that uses the value, and run that future on one \
                thread, for example with Remote::spawn()";
    let said = |what: &str| Some(format!("{place}{what}{cure}"));
    assert_eq!(elsewhere(&value, |value| _ = value.get()), said("borrowed"));
    assert_eq!(elsewhere(&mut value, |value| _ = Rc::get_mut(value)), said("borrowed"));
    assert_eq!(elsewhere(&value, |value| _ = value.clone()), said("cloned"));
    assert_eq!(elsewhere(&value, |value| assert!(!Local::is_here(value))), None);
    assert_eq!(elsewhere(&value, |value| assert_eq!(format!("{value:?}"), "Local(a value of another thread)")), None);
    assert_eq!((value.get(), Rc::strong_count(&value)), (7, 1));
    will_leak(&value);
    assert_eq!(elsewhere(value, |value| _ = Local::into_inner(value)), said("taken out"));
}

#[test]
fn panic_where_they_are_polled_elsewhere() {
    let polled = Rc::new(Cell::new(0));
    let copy = polled.clone();
    let mut future = local(async move {
        copy.set(copy.get() + 1);
        pending::<()>().await;
    });
    assert!(poll_once(Pin::new(&mut future)).is_pending());
    let message = elsewhere(&mut future, |future| _ = poll_once(Pin::new(future))).unwrap();
    assert!(message.contains("was polled on another thread; call local() inside the future"), "{message}");
    assert_eq!(polled.get(), 1);
    // The future is still there, and can be polled at home.
    assert!(poll_once(Pin::new(&mut future)).is_pending());
    drop(future);
    assert_eq!(Rc::strong_count(&polled), 1);
}

#[test]
fn leak_and_panic_where_they_are_dropped_elsewhere() {
    let census = Census::new();
    let value = local(census.member());
    will_leak(&value);
    let message = elsewhere(value, drop).unwrap();
    assert!(message.ends_with(
        "was dropped on another thread, so it was leaked; drop it where it was made, for example with Remote::call_soon()"
    ));
    assert_eq!(alive(&census), 1);
}

#[test]
fn leak_without_a_second_panic_while_a_thread_unwinds() {
    let census = Census::new();
    let values = [local(census.member()), local(census.member())];
    values.iter().for_each(will_leak);
    let message = elsewhere(values, |values| {
        let _values = values;
        panic!("{}", "the first");
    });
    assert_eq!(message.as_deref(), Some("the first"));
    // The first drop panics, the second is part of the unwinding.
    let values = [local(census.member()), local(census.member())];
    values.iter().for_each(will_leak);
    let message = elsewhere(values, drop).unwrap();
    assert!(message.contains("was dropped on another thread"), "{message}");
    assert_eq!(alive(&census), 4);
}

#[test]
fn drop_anywhere_what_has_no_destructor() {
    let text = String::from("borrowed");
    assert_eq!(elsewhere(local((7, &*text, ptr::null::<u8>())), drop), None);
}

#[test]
fn drop_at_home_by_a_remote() {
    let census = Census::new();
    let event_loop = EventLoop::new();
    let (member, remote) = (local(census.member()), event_loop.remote());
    let other = thread::spawn(move || remote.call_soon(move || drop(member)).unwrap());
    other.join().unwrap();
    assert_eq!(alive(&census), 1);
    event_loop.run(yield_now());
    assert_eq!(alive(&census), 0);
}

/// A node that others point to while it is pinned.
struct Node {
    number: u32,
    list: &'static Mutex<Vec<usize>>,
    _pinned: PhantomPinned,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.list.lock().unwrap().retain(|&node| node != ptr::from_ref(self).addr());
    }
}

/// The memory of a pinned value stays what it is, as long as the destructor has not run.
#[test]
fn keep_the_memory_of_a_pinned_value() {
    static LIST: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let nodes = [1, 2].map(|number| local(Node { number, list: &LIST, _pinned: PhantomPinned }));
    LIST.lock().unwrap().extend(nodes.iter().map(|node| ptr::from_ref::<Node>(node).addr()));
    let [one, two] = nodes;
    assert_eq!((one.number, two.number), (1, 2));
    drop(one);
    assert!(elsewhere(two, drop).is_some());
    // The address is still in the list, and its memory belongs to nobody else: a leak checker, or
    // AddressSanitizer, would say so.
    assert_eq!(LIST.lock().unwrap().len(), 1);
}

/// The task that a remote spawns makes its own `local`, on the thread of the loop.
#[test]
fn make_it_inside_of_what_is_sent() {
    let (send, receive) = channel::<Remote>();
    let other = thread::spawn(move || {
        let remote = receive.recv().unwrap();
        let job = remote.spawn(async { local(gather([1, 2].map(|n| async move { n }))).await });
        job.unwrap().wait().unwrap().unwrap()
    });
    let event_loop = EventLoop::new();
    send.send(event_loop.remote()).unwrap();
    drop(send);
    event_loop.run(async {
        while !other.is_finished() {
            yield_now().await;
        }
    });
    assert_eq!(other.join().unwrap(), [1, 2]);
}

/// Not of another thread, but of another loop: that is allowed.
#[test]
fn move_to_another_loop_of_the_thread() {
    let value = virtual_loop().run(async { local(Rc::new(3)) });
    assert_eq!(virtual_loop().run(async move { **value }), 3);
}
