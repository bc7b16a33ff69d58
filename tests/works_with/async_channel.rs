//! `async_channel`: several senders and receivers, and limited room for messages.

use crate::common::{Census, ms, virtual_loop, watched};
use crate::{Diary, on_virtual_clock};
use async_channel::{Receiver, RecvError, SendError, Sender, bounded, unbounded};
use futures_util::stream::{StreamExt, select};
use onelane::{Elapsed, EventLoop, gather, sleep, spawn, timeout, yield_now};
use std::thread;

/// The sender is never ahead of the receiver by more than the channel's capacity.
#[test]
fn send_and_wait_and_receive() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, receiver) = bounded(2);
        let copy = diary.clone();
        let producer = spawn(async move {
            for n in 1..=5 {
                sender.send(n).await.unwrap();
                copy.note(format!("sent {n}"));
            }
        });
        loop {
            sleep(ms(10)).await;
            let Ok(n) = receiver.recv().await else { break };
            diary.note(format!("received {n}"));
        }
        diary.note("closed");
        producer.await.unwrap();
        let expected = [
            "0 ms: sent 1",
            "0 ms: sent 2",
            "10 ms: received 1",
            "10 ms: sent 3",
            "20 ms: received 2",
            "20 ms: sent 4",
            "30 ms: received 3",
            "30 ms: sent 5",
            "40 ms: received 4",
            "50 ms: received 5",
            "60 ms: closed",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// After `close`, a sender that waits for room gets its message back, and the receiver gets the
/// messages that were sent before.
#[test]
fn send_and_close_and_receive() {
    on_virtual_clock(async || {
        let (sender, receiver) = bounded(1);
        sender.send(1).await.unwrap();
        let waiting = spawn(async move { sender.send(2).await });
        yield_now().await;
        assert!(!waiting.is_done() && receiver.close());
        assert_eq!(waiting.await, Ok(Err(SendError(2))));
        assert_eq!([receiver.recv().await, receiver.recv().await], [Ok(1), Err(RecvError)]);
    });
}

#[test]
fn receive_in_twos_and_drop_the_last_sender() {
    on_virtual_clock(async || {
        let (sender, receiver) = bounded::<()>(1);
        let waiting = [receiver.clone(), receiver].map(|receiver| spawn(async move { receiver.recv().await }));
        yield_now().await;
        let last = sender.clone();
        drop(sender);
        yield_now().await;
        assert!(waiting.iter().all(|task| !task.is_done()), "one is left who could send");
        drop(last);
        assert_eq!(gather(waiting).await, Ok(vec![Err(RecvError); 2]));
    });
}

/// Each job goes to the worker that has waited longest.
#[test]
fn share_jobs_among_workers() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, receiver) = unbounded::<u64>();
        let workers = ["first", "second", "third"].map(|name| {
            let (diary, receiver) = (diary.clone(), receiver.clone());
            spawn(async move {
                while let Ok(job) = receiver.recv().await {
                    sleep(ms(job)).await;
                    diary.note(format!("{name} has done {job}"));
                }
            })
        });
        yield_now().await;
        for job in [30, 10, 20, 5, 50, 8] {
            sender.send(job).await.unwrap();
        }
        drop(sender);
        gather(workers).await.unwrap();
        let expected = [
            "10 ms: second has done 10",
            "15 ms: second has done 5",
            "20 ms: third has done 20",
            "28 ms: third has done 8",
            "30 ms: first has done 30",
            "65 ms: second has done 50",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// A receive that times out loses no message, even if the message arrives at the same time.
#[test]
fn time_out_and_receive_all() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, receiver) = bounded(1);
        let producer = spawn(async move {
            for n in 1..=3 {
                sleep(ms(20)).await;
                sender.send(n).await.unwrap();
            }
        });
        loop {
            match timeout(ms(10), receiver.recv()).await {
                Ok(Ok(n)) => diary.note(format!("received {n}")),
                Ok(Err(RecvError)) => break,
                Err(Elapsed) => diary.note("given up"),
            }
        }
        producer.await.unwrap();
        let expected = [
            "10 ms: given up",
            "20 ms: given up",
            "20 ms: received 1",
            "30 ms: given up",
            "40 ms: given up",
            "40 ms: received 2",
            "50 ms: given up",
            "60 ms: given up",
            "60 ms: received 3",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// The message of a cancelled sender is dropped, and the next sender takes its place in the queue.
#[test]
fn cancel_a_sender_and_send_the_next() {
    on_virtual_clock(async || {
        let census = Census::new();
        let (sender, receiver) = bounded(1);
        let [first, second, third] = ["first", "second", "third"].map(|name| {
            let (sender, member) = (sender.clone(), census.member());
            spawn(async move { sender.send((name, member)).await.is_ok() })
        });
        yield_now().await;
        assert!(first.is_done() && !second.is_done() && !third.is_done());
        second.cancel();
        assert!(second.await.is_err());
        assert_eq!((census.counts(), receiver.len()), ((3, 1), 1));
        let names = [receiver.recv().await, receiver.recv().await].map(|message| message.unwrap().0);
        assert_eq!(names, ["first", "third"]);
        assert_eq!((third.await, receiver.len(), census.counts()), (Ok(true), 0, (3, 3)));
    });
}

/// A receiver is a stream, and two receivers can be merged like other streams.
#[test]
fn stream_two_channels_as_one() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let streams = [3, 5].map(|period| {
            let (sender, receiver) = bounded(1);
            drop(spawn(async move {
                for n in 1..=3 {
                    sleep(ms(period)).await;
                    sender.send(format!("{n} of {period}")).await.unwrap();
                }
            }));
            receiver
        });
        let [left, right] = streams;
        select(left, right).for_each(async |message| diary.note(message)).await;
        diary.note("end");
        let expected = [
            "3 ms: 1 of 3",
            "5 ms: 1 of 5",
            "6 ms: 2 of 3",
            "9 ms: 3 of 3",
            "10 ms: 2 of 5",
            "15 ms: 3 of 5",
            "15 ms: end",
        ];
        assert_eq!(diary.take(), expected);
    });
}

/// Receives numbers on another thread, and sends each back, until the channel is closed.
fn echo(receiver: Receiver<u32>, sender: Sender<u32>) -> thread::JoinHandle<u32> {
    thread::spawn(move || {
        let mut received = 0;
        while let Ok(n) = receiver.recv_blocking() {
            sender.send_blocking(n).unwrap();
            received += 1;
        }
        received
    })
}

/// WAKE-2. Each side waits until the other has sent, so each message must wake the loop.
#[test]
fn send_to_another_thread_and_back() {
    for event_loop in [EventLoop::new, virtual_loop] {
        watched(move || {
            let ((to_thread, inbox), (outbox, from_thread)) = (bounded(1), bounded(1));
            let thread = echo(inbox, outbox);
            event_loop().run(async {
                for n in 0..200 {
                    to_thread.send(n).await.unwrap();
                    assert_eq!(from_thread.recv().await, Ok(n));
                }
                drop(to_thread);
                assert_eq!(from_thread.recv().await, Err(RecvError), "the thread has gone, and its sender with it");
            });
            assert_eq!(thread.join().unwrap(), 200);
        });
    }
}

/// A loop on a virtual clock waits for a thread that may send, but only if no timer is pending.
/// Otherwise its time advances.
#[test]
fn sleep_first_and_wait_for_another_thread_then() {
    on_virtual_clock(async || {
        let diary = Diary::begin();
        let (sender, receiver) = bounded(1);
        let copy = diary.clone();
        let sleeper = spawn(async move {
            sleep(ms(3_600_000)).await;
            copy.note("slept");
            // The thread that sends is started after the sleep.
            thread::spawn(move || sender.send_blocking("sent"));
        });
        diary.note(receiver.recv().await.unwrap());
        sleeper.await.unwrap();
        assert_eq!(diary.take(), ["3600000 ms: slept", "3600000 ms: sent"]);
    });
}

/// Two loops, each on its own thread and with its own clock, communicate by channels.
#[test]
fn talk_between_two_loops() {
    watched(|| {
        let ((ask, questions), (answer, answers)) = (bounded(1), bounded(1));
        let other = thread::spawn(move || {
            virtual_loop().run(async {
                while let Ok(n) = questions.recv().await {
                    sleep(ms(1000)).await;
                    answer.send(n * n).await.unwrap();
                }
            });
        });
        let squares = EventLoop::new().run(async {
            let asking = spawn(async move {
                for n in 1..=5 {
                    ask.send(n).await.unwrap();
                }
            });
            let squares = answers.collect::<Vec<_>>().await;
            asking.await.unwrap();
            squares
        });
        other.join().unwrap();
        assert_eq!(squares, [1, 4, 9, 16, 25]);
    });
}
