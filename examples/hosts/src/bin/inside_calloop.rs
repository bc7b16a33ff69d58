//! A loop of onelane inside calloop, for a compositor or a game: calloop waits, and runs our turns.
//!
//! A host must learn three things: that a message has arrived, that a timer is due, and that a
//! socket has work. A wake hook reports the first, and pings calloop. A timer of calloop, set again
//! after each turn, covers the second. A loop with sockets has a file descriptor that reports the
//! third, and the first too, so it needs no hook. This program shows both ways.
//!
//! `cargo run --release --bin inside_calloop`, in `examples/hosts`.

use calloop::generic::Generic;
use calloop::ping::{Ping, make_ping};
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Interest, LoopHandle, Mode, PostAction, RegistrationToken};
use futures_util::io::{AsyncReadExt, AsyncWriteExt};
use onelane::net::{TcpListener, TcpStream};
use onelane::{Budget, EventLoop, Turn, gather, sleep, spawn, yield_now};
use std::error::Error;
use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(20);
/// calloop has other sources, which wait no longer than this.
const SHARE: Budget = Budget::time(Duration::from_millis(1));

/// What calloop passes to each of its callbacks.
struct Host {
    guest: EventLoop,
    calloop: LoopHandle<'static, Host>,
    /// Runs another turn after other sources have run.
    again: Ping,
    /// When calloop's timer is due.
    timer: Option<(Instant, RegistrationToken)>,
    turns: u32,
    /// No task is left.
    is_over: bool,
    frames: u32,
}

impl Host {
    /// Runs a turn of our loop; then sets when the next one is.
    fn turn(&mut self) {
        let turn = self.guest.turn_within(SHARE);
        self.turns += 1;
        self.is_over = turn.tasks == 0 && turn.is_idle();
        if turn.is_idle() {
            self.set_timer(&turn);
        } else {
            self.again.ping();
        }
    }

    fn set_timer(&mut self, turn: &Turn) {
        if self.timer.as_ref().map(|(moment, _)| *moment) == turn.next_deadline {
            return;
        }
        if let Some((_, token)) = self.timer.take() {
            self.calloop.remove(token);
        }
        self.timer = turn.next_deadline.map(|moment| {
            let due = |_, _: &mut (), host: &mut Host| {
                host.timer = None;
                host.turn();
                TimeoutAction::Drop
            };
            let token = self.calloop.insert_source(Timer::from_deadline(moment), due);
            (moment, token.expect("calloop takes a timer"))
        });
    }
}

/// Runs a loop's tasks in calloop until they have ended.
fn run(guest: EventLoop, has_sockets: bool) -> Result<Host, Box<dyn Error>> {
    let mut calloop = calloop::EventLoop::try_new()?;
    let handle = calloop.handle();
    let (again, pings) = make_ping()?;
    handle.insert_source(pings, |(), _, host: &mut Host| host.turn()).map_err(|error| error.error)?;
    if has_sockets {
        // calloop gets its own descriptor for the same poller, and closes it.
        let fd = guest.as_fd()?.try_clone_to_owned()?;
        let readable = Generic::new(fd, Interest::READ, Mode::Level);
        let turn = |_, _: &mut _, host: &mut Host| {
            host.turn();
            Ok(PostAction::Continue)
        };
        handle.insert_source(readable, turn).map_err(|error| error.error)?;
    } else {
        // The hook is called on the thread that wakes a task. Because there is work already,
        // `set_wake_hook` calls it here too.
        let ping = again.clone();
        guest.set_wake_hook(move || ping.ping());
    }
    // calloop's own work: sixty pictures a second.
    let draw = |_, _: &mut (), host: &mut Host| {
        host.frames += 1;
        TimeoutAction::ToDuration(Duration::from_millis(16))
    };
    handle.insert_source(Timer::immediate(), draw).map_err(|error| error.error)?;

    let mut host = Host { guest, calloop: handle, again, timer: None, turns: 0, is_over: false, frames: 0 };
    while !host.is_over {
        calloop.dispatch(None, &mut host)?;
    }
    Ok(host)
}

/// Timers, a task that is always ready for a while, and another thread.
fn spawn_work(guest: &EventLoop) -> thread::JoinHandle<Option<u32>> {
    let begun = Instant::now();
    drop(guest.spawn(async {
        for _ in 0..5 {
            sleep(MOMENT).await;
        }
    }));
    drop(guest.spawn(async move {
        while begun.elapsed() < MOMENT * 3 {
            yield_now().await;
        }
    }));
    let remote = guest.remote();
    thread::spawn(move || {
        thread::sleep(MOMENT * 4);
        remote.spawn(async { 6 * 7 }).ok()?.wait().ok()
    })
}

async fn talk() -> std::io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let server = spawn(async move {
        let (mut stream, _) = listener.accept().await?;
        for word in ["one", " ", "lane"] {
            sleep(MOMENT).await;
            stream.write_all(word.as_bytes()).await?;
        }
        Ok::<_, std::io::Error>(())
    });
    let mut text = String::new();
    TcpStream::connect(address).await?.read_to_string(&mut text).await?;
    server.await.map_err(std::io::Error::other)??;
    Ok(text)
}

fn main() -> Result<(), Box<dyn Error>> {
    for has_sockets in [false, true] {
        let (guest, begun) = (EventLoop::new(), Instant::now());
        let thread = spawn_work(&guest);
        let talks = has_sockets.then(|| guest.spawn(async { gather((0..10).map(|_| talk())).await }));
        let host = run(guest, has_sockets)?;
        let took = begun.elapsed();
        assert!(took >= MOMENT * 5);
        assert_eq!(thread.join().ok(), Some(Some(42)));
        if let Some(talks) = talks {
            for text in host.guest.run(talks)?? {
                assert_eq!(text?, "one lane");
            }
        }
        let how = if has_sockets { "a file descriptor" } else { "a wake hook" };
        println!("with {how}: {took:.0?}, {} turns, {} pictures", host.turns, host.frames);
        assert!(host.frames >= 3);
    }
    Ok(())
}
