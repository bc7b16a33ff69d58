//! `async_io`: timers and sockets. A thread of this crate watches them, and wakes the loop.

use crate::common::{foreign, ms, on_drop, virtual_loop, watched};
use crate::{Diary, Trace};
use async_io::{Async, Timer, block_on};
use futures_util::future::{Either, FutureExt, join_all, select};
use futures_util::stream::StreamExt;
use futures_util::{join, poll};
use onelane::{Elapsed, EventLoop, Promise, Task, TaskError, gather, sleep, spawn, time, timeout};
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

// ---- timers ----

#[test]
fn set_a_timer_and_await_it() {
    watched(|| {
        let event_loop = EventLoop::new();
        let begun = Instant::now();
        event_loop.run(async { Timer::after(ms(5)).await });
        assert!(begun.elapsed() >= ms(5));
    });
}

/// With the real clock, both kinds of timers use the same time, so their order can be compared.
#[test]
fn sleep_and_set_timers_side_by_side() {
    watched(|| {
        EventLoop::new().run(async {
            let begun = Instant::now();
            match select(pin!(sleep(ms(3_600_000))), Timer::after(ms(5))).await {
                Either::Right((fired, _)) => assert!(fired - begun >= ms(5)),
                Either::Left(_) => panic!("an hour was over first"),
            }
            assert_eq!(timeout(ms(5), Timer::after(ms(3_600_000))).await, Err(Elapsed));
            assert!(begun.elapsed() >= ms(10));
        });
    });
}

#[test]
fn tick_three_times() {
    watched(|| {
        let begun = Instant::now();
        let ticks = EventLoop::new().run(Timer::interval(ms(2)).take(3).collect::<Vec<_>>());
        let times: Vec<Duration> = ticks.iter().map(|tick| *tick - begun).collect();
        assert!(times[0] >= ms(2) && times[1] >= ms(4) && times[2] >= ms(6), "{times:?}");
    });
}

/// A loop on a virtual clock waits for wakes from other threads, and its own time does not advance
/// meanwhile.
#[test]
fn await_a_timer_on_a_virtual_clock() {
    watched(|| {
        virtual_loop().run(async {
            let (begun, really) = (time(), Instant::now());
            let timers = [4, 2, 3].map(|n| spawn(async move { Timer::after(ms(n)).await }));
            gather(timers).await.unwrap();
            assert_eq!(time(), begun);
            assert!(really.elapsed() >= ms(4));
        });
    });
}

/// Hundreds of tasks, each with a timer. Those that wait for an hour are cancelled, which drops
/// their timers.
#[test]
fn set_many_timers_and_cancel_half() {
    watched(|| {
        let ends = EventLoop::new().run(async {
            let durations = (0..300).map(|n| if n % 2 == 0 { ms(3_600_000) } else { ms(5 + n % 10) });
            let tasks: Vec<_> =
                durations.map(|duration| spawn(async move { Timer::after(duration).await }.map(drop))).collect();
            sleep(ms(1)).await;
            assert!(tasks.iter().step_by(2).all(Task::cancel));
            join_all(tasks.into_iter().map(IntoFuture::into_future)).await
        });
        let expected = (0..300).map(|n| if n % 2 == 0 { Err(TaskError::Cancelled) } else { Ok(()) });
        assert!(ends.into_iter().eq(expected));
    });
}

// ---- sockets ----

fn listen() -> Async<TcpListener> {
    Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap()
}

async fn connect_to(listener: &Async<TcpListener>) -> Async<TcpStream> {
    Async::<TcpStream>::connect(listener.get_ref().local_addr().unwrap()).await.unwrap()
}

async fn read(stream: &Async<TcpStream>, into: &mut [u8]) -> io::Result<usize> {
    stream.read_with(|mut stream| stream.read(into)).await
}

async fn write_all(stream: &Async<TcpStream>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = stream.write_with(|mut stream| stream.write(bytes)).await?;
        bytes = &bytes[written..];
    }
    Ok(())
}

async fn read_to_end(stream: &Async<TcpStream>) -> io::Result<Vec<u8>> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match read(stream, &mut buffer).await? {
            0 => return Ok(all),
            count => all.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Sends back what it receives, until the other side closes.
async fn echo(stream: Async<TcpStream>) -> io::Result<()> {
    let mut buffer = [0; 1024];
    loop {
        let count = read(&stream, &mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        write_all(&stream, &buffer[..count]).await?;
    }
}

/// Debug mode reports deadlocks. This program has none, because another thread has wakers of its
/// tasks.
fn debug_loop() -> EventLoop {
    EventLoop::builder().debug(true).slow_step(Duration::MAX).build()
}

/// A server with one task per client, and five clients, each of which sends ten requests.
#[test]
fn connect_and_send_and_hear_the_echo() {
    for event_loop in [EventLoop::new, virtual_loop, debug_loop] {
        watched(move || {
            event_loop().run(async {
                let listener = listen();
                let guests: Vec<_> = join_all((0..5).map(|_| connect_to(&listener))).await;
                let server = spawn(async move {
                    let mut echoes = Vec::new();
                    while echoes.len() < 5 {
                        let (stream, _) = listener.accept().await.unwrap();
                        echoes.push(spawn(async { echo(stream).await.unwrap() }));
                    }
                    gather(echoes).await
                });
                let asking = guests.into_iter().enumerate().map(|(nth, stream)| async move {
                    for n in 0..10 {
                        let (line, mut answer) = (format!("guest {nth}, {n:>3}"), [0; 12]);
                        write_all(&stream, line.as_bytes()).await.unwrap();
                        let mut filled = 0;
                        while filled < answer.len() {
                            filled += read(&stream, &mut answer[filled..]).await.unwrap();
                        }
                        assert_eq!(std::str::from_utf8(&answer), Ok(&*line));
                    }
                    stream.get_ref().shutdown(Shutdown::Write).unwrap();
                    read_to_end(&stream).await.unwrap()
                });
                assert_eq!(gather(asking).await, Ok(vec![Vec::new(); 5]), "nothing is behind the answers");
                assert_eq!(server.await, Ok(Ok(vec![(); 5])));
            });
        });
    }
}

/// The wake comes from another thread, but the future is polled on the loop's thread.
#[test]
fn hear_of_a_guest_from_another_thread() {
    watched(|| {
        let here = thread::current().id();
        let woken_on: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
        EventLoop::new().run(async {
            let listener = listen();
            let address = listener.get_ref().local_addr().unwrap();
            let (mut accept, mut guest) = (pin!(listener.accept()), None);
            poll_fn(|context| {
                assert_eq!(thread::current().id(), here);
                let (waker, threads) = (context.waker().clone(), woken_on.clone());
                let told = move || {
                    threads.lock().unwrap().push(thread::current().id());
                    waker.wake_by_ref();
                };
                let polled = accept.as_mut().poll(&mut Context::from_waker(&foreign(told, || ())));
                if polled.is_pending() && guest.is_none() {
                    // The client connects only now, so that the task has to wait.
                    guest = Some(thread::spawn(move || TcpStream::connect(address).unwrap()));
                }
                polled.map(Result::unwrap)
            })
            .await;
            guest.unwrap().join().unwrap();
        });
        let woken_on = woken_on.lock().unwrap();
        assert!(!woken_on.is_empty() && !woken_on.contains(&here), "{woken_on:?} from {here:?}");
    });
}

/// A writer waits when the socket buffers are full, and continues when there is room.
#[test]
fn write_and_wait_and_read() {
    watched(|| {
        EventLoop::new().run(async {
            let listener = listen();
            let writer = connect_to(&listener).await;
            let (reader, _) = listener.accept().await.unwrap();
            let full = Promise::new();
            let is_full = full.clone();
            let writing = spawn(async move {
                let (mut written, chunk) = (0, [7; 65_536]);
                while !is_full.is_done() {
                    let mut write = pin!(writer.write_with(|mut stream| stream.write(&chunk)));
                    written += match poll!(&mut write) {
                        Poll::Ready(count) => count.unwrap(),
                        Poll::Pending => {
                            is_full.set_result(()).unwrap();
                            write.await.unwrap()
                        }
                    };
                }
                written
            });
            full.await.unwrap();
            let received = read_to_end(&reader).await.unwrap();
            assert!(received.iter().all(|&byte| byte == 7));
            assert_eq!(writing.await, Ok(received.len()));
        });
    });
}

/// Tasks that wait for a client and for a byte are cancelled. The listener and the stream still
/// work.
#[test]
fn cancel_an_accept_and_a_read_and_go_on() {
    watched(|| {
        EventLoop::new().run(async {
            let trace = Trace::new();
            let listener = Rc::new(listen());
            let (copy, dropped) = (listener.clone(), trace.clone());
            let accepting = spawn(async move {
                let _dropped = on_drop(move || dropped.push("accept dropped"));
                copy.accept().await.map(|_| ())
            });
            sleep(ms(1)).await;
            accepting.cancel();
            assert!(accepting.await.is_err_and(|error| error.is_cancelled()));

            let guest = connect_to(&listener).await;
            let stream = Rc::new(listener.accept().await.unwrap().0);
            let (copy, dropped) = (stream.clone(), trace.clone());
            let reading = spawn(async move {
                let _dropped = on_drop(move || dropped.push("read dropped"));
                read(&copy, &mut [0; 8]).await
            });
            assert!(timeout(ms(1), read(&guest, &mut [0; 8])).await.is_err(), "nothing was sent to the guest");
            reading.cancel();
            assert!(reading.await.is_err_and(|error| error.is_cancelled()));

            write_all(&guest, b"hello").await.unwrap();
            drop(guest);
            trace.push(String::from_utf8(read_to_end(&stream).await.unwrap()).unwrap());
            assert_eq!(trace.take(), ["accept dropped", "read dropped", "hello"]);
        });
    });
}

/// The loop ends while a task waits for a client. In another loop, a new task awaits the same
/// listener.
#[test]
fn end_a_loop_and_accept_in_another() {
    watched(|| {
        let listener = Arc::new(listen());
        let diaries = [(); 2].map(|()| {
            EventLoop::new().run(async {
                let diary = Diary::begin();
                let (copy, listener) = (diary.entries.clone(), listener.clone());
                drop(spawn(async move {
                    let _dropped = on_drop(|| copy.push("dropped"));
                    while listener.accept().await.is_ok() {
                        copy.push("accepted");
                    }
                }));
                sleep(ms(1)).await;
                diary
            })
        });
        assert_eq!(diaries.map(|diary| diary.take()), [["dropped"], ["dropped"]]);
        EventLoop::new().run(async {
            let (accepted, _) = join!(listener.accept(), connect_to(&listener));
            assert!(accepted.is_ok());
        });
    });
}

// ---- a loop in its executor ----

/// Timers of the other executor wake the loop when its own timers are due.
#[test]
fn drive_a_loop_with_timers() {
    watched(|| {
        let event_loop = EventLoop::new();
        let task = event_loop.spawn(async {
            let child = spawn(async { 6 * 7 });
            sleep(ms(1)).await;
            child.await
        });
        block_on(event_loop.drive(|moment| async move { _ = Timer::at(moment).await }));
        assert_eq!(event_loop.run(task).unwrap(), Ok(42));
    });
}

/// The driver watches the loop's file descriptor: it wakes the loop for its sockets, and for wakes
/// from other threads, until all tasks have ended.
#[cfg(feature = "io")]
#[test]
fn drive_a_loop_with_sockets() {
    use futures_util::io::AsyncReadExt;
    use std::os::unix::net::UnixStream;

    watched(|| {
        let event_loop = EventLoop::new();
        let (one, peer) = UnixStream::pair().unwrap();
        let task = event_loop.spawn(async move {
            let mut one = onelane::io::Async::new(one).unwrap();
            let mut text = String::new();
            one.read_to_string(&mut text).await.unwrap();
            text
        });
        let sender = thread::spawn(move || {
            let mut peer = peer;
            for word in ["there ", "and ", "back"] {
                thread::sleep(ms(2));
                peer.write_all(word.as_bytes()).unwrap();
            }
        });
        let fd = Async::new(event_loop.as_fd().unwrap().try_clone_to_owned().unwrap()).unwrap();
        let drive = event_loop.drive(|_| std::future::pending()).with_io(|| async { fd.readable().await.unwrap() });
        block_on(drive);
        sender.join().unwrap();
        assert_eq!(event_loop.run(task), Ok("there and back".to_string()));
    });
}
