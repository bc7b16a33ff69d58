//! `RemoteSender`: other threads put items into a queue or a channel of the loop.

mod common;

use common::{Census, await_that, ms, panic_of, virtual_loop, watched};
use onelane::sync::{PutError, Queue, channel, unbounded};
use onelane::{EventLoop, RemoteSender, all_tasks, call_soon, sleep, yield_now};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;

const _: () = {
    const fn assert_all<T: Send + Sync + Clone>() {}
    assert_all::<RemoteSender<std::cell::Cell<u8>>>();
};

#[test]
fn put_in_the_order_of_sending() {
    let items = watched(|| {
        EventLoop::new().run(async {
            let queue = Rc::new(Queue::bounded(2));
            let sender = queue.remote_sender();
            let other = thread::spawn(move || (0..100).for_each(|n| sender.send(n).unwrap()));
            let mut items = Vec::new();
            while items.len() < 100 {
                items.push(queue.get().await.unwrap());
            }
            other.join().unwrap();
            items
        })
    });
    assert_eq!(items, Vec::from_iter(0..100));
}

/// As with `call_soon_threadsafe`, an item that is sent in the loop has its place in the ready
/// queue.
#[test]
fn send_in_the_loop_too() {
    virtual_loop().run(async {
        let queue = Rc::new(Queue::unbounded());
        let sender = queue.remote_sender();
        yield_now().await;
        sender.send("first").unwrap();
        let copy = queue.clone();
        call_soon(move || copy.try_put("second").unwrap());
        assert_eq!((queue.get().await, queue.get().await), (Ok("first"), Ok("second")));
    });
}

/// The queue has room for one item, the task holds the second, and the third is pending. So the
/// fourth blocks its thread.
#[test]
fn block_while_earlier_items_wait() {
    watched(|| {
        let sent = Arc::new(AtomicUsize::new(0));
        let copy = sent.clone();
        EventLoop::new().run(async move {
            let queue = Rc::new(Queue::bounded(1));
            let sender = queue.remote_sender();
            let other = thread::spawn(move || {
                for n in 1..=6 {
                    sender.send_blocking(n).unwrap();
                    copy.store(n, Ordering::SeqCst);
                }
            });
            while sent.load(Ordering::SeqCst) < 3 {
                yield_now().await;
            }
            sleep(ms(5)).await;
            assert_eq!((sent.load(Ordering::SeqCst), queue.len()), (3, 1));
            for n in 1..=6 {
                assert_eq!(queue.get().await, Ok(n));
            }
            other.join().unwrap();
        });
    });
}

#[test]
fn end_when_the_last_sender_is_dropped() {
    watched(|| {
        EventLoop::new().run(async {
            let (sender, receiver) = channel(1);
            let remote = sender.remote_sender();
            drop(sender);
            assert_eq!(all_tasks().len(), 2);
            let both = [remote.clone(), remote];
            let threads = both.map(|remote| thread::spawn(move || (0..3).for_each(|n| remote.send(n).unwrap())));
            let mut count = 0;
            while receiver.recv().await.is_some() {
                count += 1;
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!((count, all_tasks().len()), (6, 1));
        });
    });
}

#[test]
fn give_back_what_cannot_be_sent() {
    virtual_loop().run(async {
        let (sender, receiver) = unbounded();
        let remote = sender.remote_sender();
        drop(receiver);
        assert!(!remote.is_closed());
        remote.send(1).unwrap(); // is dropped in the loop
        yield_now().await;
        yield_now().await;
        assert!(remote.is_closed());
        assert_eq!(remote.send(2), Err(PutError(2)));
        assert_eq!(format!("{remote:?}"), "RemoteSender { pending: 0, closed: true }");
    });
}

/// At the end of `run`, what is pending is dropped on the loop's thread, and a blocked thread gets
/// its item back.
#[test]
fn end_with_the_loop() {
    watched(|| {
        let census = Census::new();
        let members = [(); 3].map(|()| census.member());
        let (give, receive) = mpsc::channel();
        let begun = Arc::new(Barrier::new(2));
        let copy = begun.clone();
        let other = thread::spawn(move || {
            let sender: RemoteSender<_> = receive.recv().unwrap();
            let [one, two, three] = members;
            sender.send(one).unwrap();
            sender.send(two).unwrap();
            copy.wait();
            let PutError(back) = sender.send_blocking(three).unwrap_err();
            assert!(sender.is_closed());
            drop(back);
            thread::current().id()
        });
        EventLoop::new().run(async {
            let sender = RemoteSender::new(async |_| std::future::pending().await);
            give.send(sender).unwrap();
            begun.wait();
            sleep(ms(5)).await;
        });
        let other = other.join().unwrap();
        let here = thread::current().id();
        // The first two on this thread, the third on the other, in any order.
        let dropped = census.dropped_on();
        let count = |thread| dropped.iter().filter(|&&other| other == thread).count();
        assert_eq!((dropped.len(), count(here), count(other)), (3, 2, 1));
    });
}

#[cfg(feature = "report")]
#[test]
fn keep_the_loop_waiting_and_show_it() {
    watched(|| {
        virtual_loop().run(async {
            let queue = Rc::new(Queue::unbounded());
            let sender = queue.remote_sender();
            let waiting = onelane::spawn(async move { queue.get().await });
            yield_now().await;
            let graph = onelane::call_graph();
            let pump = graph.tasks.iter().find(|task| task.name == "remote sender").unwrap();
            assert_eq!(pump.waits_for[0].what, "an item from another thread");
            let other = thread::spawn(move || {
                thread::sleep(ms(5));
                sender.send(7).unwrap();
            });
            assert_eq!(waiting.await, Ok(Ok(7)));
            other.join().unwrap();
        });
    });
}

#[test]
fn refuse_to_block_the_loop() {
    virtual_loop().run(async {
        let sender = Rc::new(Queue::unbounded()).remote_sender();
        let message = panic_of(|| sender.send_blocking(1));
        assert!(message.starts_with("RemoteSender::send_blocking() was called in a turn of a loop"), "{message}");
        await_that(|| !sender.is_closed());
    });
}

/// Between two turns, nothing would take the items that the second call waits for.
#[test]
fn refuse_to_block_the_thread_of_the_loop() {
    let event_loop = virtual_loop();
    let sender = event_loop.enter(|| Rc::new(Queue::unbounded()).remote_sender());
    let message = panic_of(|| sender.send_blocking(1));
    assert!(message.starts_with("RemoteSender::send_blocking() was called on the thread of its loop"), "{message}");
    assert_eq!(sender.send(1), Ok(()));
}
