//! The loop under attack: its servers, its timers, and its report. It does not know its clients.

use crate::limits;
use crate::serve::accept;
use anyhow::Result;
use onelane::net::{self, LimitOverrun, StreamReader, StreamWriter, TcpListener, UnixListener, UnixStream};
use onelane::{EventLoop, all_tasks, io::Async, sleep, spawn, timeout};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

const TIMERS: usize = 10;
const EACH: Duration = Duration::from_millis(10);

/// Maximum length of a line, in bytes.
pub(super) const LINE: usize = 1024;

/// The response to a line `flood` has this number of pieces.
const FLOOD: usize = 128;
static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// How long the remaining tasks may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// The addresses of the servers.
#[derive(Clone, Default)]
pub(super) struct Ports {
    /// The HTTP server.
    pub(super) http: u16,
    /// The line servers, by TCP and at a path.
    pub(super) lines: u16,
    pub(super) unix_lines: PathBuf,
    /// The server that receives a descriptor with each byte, and writes a word to it.
    pub(super) taker: PathBuf,
}

impl Ports {
    fn to_json(&self) -> Value {
        json!([self.http, self.lines, self.unix_lines, self.taker])
    }

    pub(super) fn parse(line: &str) -> Option<Self> {
        let (http, lines, unix_lines, taker) = serde_json::from_str(line).ok()?;
        Some(Ports { http, lines, unix_lines, taker })
    }
}

/// The report of the server.
pub(super) struct Report {
    pub(super) lateness: Lateness,
    /// Number of connections that are open when all clients have gone.
    pub(super) connections: usize,
    /// Number of tasks, including the main task.
    pub(super) tasks: usize,
}

impl Report {
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (timers, within, latest, connections, tasks) = serde_json::from_str(line).ok()?;
        Some(Report {
            lateness: Lateness { timers, within, latest: Duration::from_micros(latest) },
            connections,
            tasks,
        })
    }

    fn to_json(&self) -> Value {
        let Lateness { timers, within, latest } = &self.lateness;
        json!([timers, within, latest.as_micros() as u64, self.connections, self.tasks])
    }
}

/// How late the timers were. It uses the same memory for any number of timers.
#[derive(Clone, Default)]
pub(super) struct Lateness {
    pub(super) timers: u64,
    /// Number of timers that were at most as late as each limit of `LIMITS`.
    pub(super) within: [u64; LIMITS.len()],
    pub(super) latest: Duration,
}

/// In milliseconds.
pub(super) const LIMITS: [u64; 4] = [1, 2, 5, 10];

impl Lateness {
    fn add(&mut self, late: Duration) {
        self.timers += 1;
        for (count, limit) in self.within.iter_mut().zip(LIMITS) {
            *count += u64::from(late <= Duration::from_millis(limit));
        }
        self.latest = self.latest.max(late);
    }
}

/// Serves until its standard input ends.
pub(crate) fn serve() -> Result<()> {
    limits::end_with_parent()?;
    limits::raise_descriptors()?;
    let folder = std::env::temp_dir().join(format!("onelane-hostile-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let ports = Ports { unix_lines: folder.join("lines"), taker: folder.join("taker"), ..Ports::default() };
    let served = EventLoop::new().run(serve_all(ports));
    fs::remove_dir_all(&folder)?;
    served
}

async fn serve_all(mut ports: Ports) -> Result<()> {
    let loopback = (Ipv4Addr::LOCALHOST, 0);
    let http = TcpListener::bind(loopback).await?;
    let servers = [net::start_server(loopback, lines).await?, net::start_unix_server(&ports.unix_lines, lines)?];
    let taker = UnixListener::bind(&ports.taker)?;
    (ports.http, ports.lines) = (http.local_addr()?.port(), servers[0].local_addr()?.port());
    let lateness = Rc::new(RefCell::new(Lateness::default()));
    let mut helpers = vec![spawn(accept(http)), spawn(take_descriptors(taker))];
    helpers.extend((0..TIMERS).map(|_| spawn(look_at_the_clock(lateness.clone()))));
    writeln!(io::stdout(), "{}", ports.to_json())?;

    Async::new(io::stdin())?.read_with(|mut input| input.read(&mut [0])).await?;
    helpers.iter().for_each(|helper| _ = helper.cancel());
    let connections = servers.iter().map(net::Server::connections).sum::<usize>();
    servers.iter().for_each(net::Server::close);
    let _ = timeout(GRACE, async {
        while all_tasks().len() > 1 {
            sleep(EACH).await;
        }
    })
    .await;
    let report = Report { lateness: lateness.take(), connections, tasks: all_tasks().len() };
    writeln!(io::stdout(), "{}", report.to_json())?;
    Ok(())
}

async fn look_at_the_clock(lateness: Rc<RefCell<Lateness>>) -> Result<()> {
    loop {
        let begun = Instant::now();
        sleep(EACH).await;
        lateness.borrow_mut().add(begun.elapsed().saturating_sub(EACH));
    }
}

/// Errors of a client do not matter to the server.
async fn lines(reader: StreamReader, writer: StreamWriter) {
    drop(answer_lines(reader, writer).await);
}

/// Sends each line back. Reports a line that is too long.
async fn answer_lines(mut reader: StreamReader, mut writer: StreamWriter) -> io::Result<()> {
    reader.set_limit(LINE);
    loop {
        match reader.read_line().await {
            Ok(line) if line.is_empty() => return Ok(()),
            Ok(line) if line == b"flood\n" => {
                for _ in 0..FLOOD {
                    writer.write_all(&PIECE).await?;
                }
            }
            Ok(line) => writer.write_all(&line).await?,
            Err(error) if error.get_ref().is_some_and(|inner| inner.is::<LimitOverrun>()) => {
                writer.write_all(b"too long\n").await?;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn take_descriptors(listener: UnixListener) -> Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        drop(spawn(async move { while take_descriptor(&client).await.is_ok_and(|it_was_there| it_was_there) {} }));
    }
}

/// Returns false at the end of the stream.
async fn take_descriptor(client: &UnixStream) -> io::Result<bool> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut taken = RecvAncillaryBuffer::new(&mut space);
    let receive = |socket: &_| {
        let mut byte = [0];
        Ok(recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut taken, RecvFlags::empty())?.bytes)
    };
    let came = client.as_async().read_with(receive).await?;
    for message in taken.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptors.into_iter().try_for_each(|descriptor| File::from(descriptor).write_all(b"taken\n"))?;
        }
    }
    Ok(came > 0)
}
