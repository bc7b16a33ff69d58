//! A chat: every client receives what each client says. A slow reader is disconnected, and gets the
//! reason.
//!
//! Each client has a queue with room for sixteen lines, and two tasks. The reader puts the client's
//! lines into the queues of all clients. The writer sends the lines of the client's own queue. No
//! task waits for a slow reader: if its queue is full, the client is disconnected with a reason. So
//! one client cannot stop the others, or fill the memory.
//!
//! ```text
//! # Prints a transcript of three clients, one of which never reads.
//! cargo run --features io,signals --example chat
//! # Serves until Ctrl-C; try `nc 127.0.0.1 7000` twice.
//! cargo run --features io,signals --example chat -- --port 7000
//! ```

mod options;

use futures_util::future::{Either, select};
use futures_util::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use onelane::net::{TcpListener, TcpStream};
use onelane::sync::{Queue, TryPutError, oneshot, oneshot::Receiver, oneshot::Sender};
use onelane::{EventLoop, RunError, sleep, spawn, timeout, yield_now};
use options::Result;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

/// Number of lines that may wait for a client.
const WAITING_LINES: usize = 16;
/// Maximum number of bytes in a line, without its end.
const LONGEST_LINE: usize = 512;
/// How long a client may take for its name, and for its last lines.
const PATIENCE: Duration = Duration::from_secs(30);
const GOODBYE: Duration = Duration::from_secs(1);
/// How much the operating system buffers for a client; its queue holds the rest.
const SEND_BUFFER: usize = 8 * 1024;

// ---- the room ----

/// The clients, by name.
#[derive(Default)]
struct Room {
    members: RefCell<BTreeMap<Rc<str>, Member>>,
}

struct Member {
    lines: Rc<Queue<Rc<str>>>,
    /// Sends the reason to the client's task when it is disconnected.
    drop: Sender<&'static str>,
}

impl Room {
    /// Returns `None` if the name is taken.
    fn join(&self, name: &Rc<str>, lines: Rc<Queue<Rc<str>>>) -> Option<Receiver<&'static str>> {
        if self.members.borrow().contains_key(name) {
            return None;
        }
        let (drop, dropped) = oneshot();
        self.members.borrow_mut().insert(name.clone(), Member { lines, drop });
        let names: Vec<Rc<str>> = self.members.borrow().keys().cloned().collect();
        self.announce(&format!("{name} has joined; here are {}", names.join(", ")));
        Some(dropped)
    }

    /// Removes a client, and announces that it has left. A disconnected client is already removed.
    fn leave(&self, name: &str) {
        if self.members.borrow_mut().remove(name).is_some() {
            self.announce(&format!("{name} has left"));
        }
    }

    /// Sends a line from the room itself to all clients.
    fn announce(&self, what: &str) {
        println!("room: {what}");
        self.tell(&format!("* {what}"));
    }

    /// Sends a line to all clients. A client whose queue is full is disconnected, and this is
    /// announced to the others.
    fn tell(&self, line: &str) {
        let line: Rc<str> = line.into();
        let is_full = |member: &Member| matches!(member.lines.try_put(line.clone()), Err(TryPutError::Full(_)));
        let slow: Vec<Rc<str>> = {
            let members = self.members.borrow();
            members.iter().filter(|(_, member)| is_full(member)).map(|(name, _)| name.clone()).collect()
        };
        for name in slow {
            if let Some(member) = self.members.borrow_mut().remove(&name) {
                // Unread lines are not sent any more, so that there is room for the reason.
                member.lines.shutdown(true);
                // The receiver exists, because the client's task lives as long as the client is a
                // member.
                let _ = member.drop.send("you read too slowly");
            }
            self.announce(&format!("{name} was dropped: {WAITING_LINES} lines wait, and it does not read them"));
        }
    }
}

// ---- a client ----

type Reader<'a> = BufReader<&'a TcpStream>;

/// The result of reading a line.
enum Line {
    Text(String),
    /// The reason why there is no line.
    Bad(&'static str),
    End,
}

/// Reads a line, and never keeps more than the maximum length.
async fn read_line(reader: &mut Reader<'_>) -> io::Result<Line> {
    let mut bytes = Vec::new();
    // The maximum length, and room for the end of the line.
    (&mut *reader).take(LONGEST_LINE as u64 + 2).read_until(b'\n', &mut bytes).await?;
    if bytes.is_empty() {
        return Ok(Line::End);
    }
    if !bytes.ends_with(b"\n") && bytes.len() > LONGEST_LINE + 1 {
        skip_line(reader).await?;
    }
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(match std::str::from_utf8(line) {
        _ if line.len() > LONGEST_LINE => Line::Bad("that line is too long; say it in several of 512 bytes"),
        Ok(text) if text.contains(char::is_control) => Line::Bad("control characters are not sent on; say it without"),
        Ok(text) => Line::Text(text.to_owned()),
        Err(_) => Line::Bad("that line is not UTF-8; say it in UTF-8"),
    })
}

/// Reads to the end of a line, and discards it.
async fn skip_line(reader: &mut Reader<'_>) -> io::Result<()> {
    loop {
        let chunk = reader.fill_buf().await?;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let (length, is_over) = (end.map_or(chunk.len(), |end| end + 1), end.is_some() || chunk.is_empty());
        reader.consume_unpin(length);
        if is_over {
            return Ok(());
        }
    }
}

/// Asks until the client gives an unused name. Returns `None` if the client disconnects.
async fn ask_name(room: &Room, reader: &mut Reader<'_>, lines: &Rc<Queue<Rc<str>>>) -> io::Result<Option<Entry>> {
    let say = |line: &str| drop(lines.try_put(line.into()));
    say("* your name?");
    loop {
        match read_line(reader).await? {
            Line::End => return Ok(None),
            Line::Bad(why) => say(&format!("! {why}")),
            Line::Text(name) if !(1..=20).contains(&name.len()) || !name.chars().all(char::is_alphanumeric) => {
                say("! a name is letters and digits, at most 20 bytes; another?");
            }
            Line::Text(name) => {
                let name: Rc<str> = name.into();
                match room.join(&name, lines.clone()) {
                    Some(dropped) => return Ok(Some((name, dropped))),
                    None => say(&format!("! {name} is here already; another?")),
                }
            }
        }
    }
}

/// A client's name, and the receiver of the reason when the room disconnects the client.
type Entry = (Rc<str>, Receiver<&'static str>);

/// Sends the client's lines to the room, until the client disconnects.
async fn listen_to(name: &str, room: &Room, reader: &mut Reader<'_>, lines: &Queue<Rc<str>>) -> io::Result<()> {
    loop {
        match read_line(reader).await? {
            Line::End => return Ok(()),
            Line::Bad(why) => drop(lines.try_put(format!("! {why}").into())),
            Line::Text(line) if line.is_empty() => {}
            Line::Text(line) => room.tell(&format!("{name}: {line}")),
        }
        // More lines may be available already. The writers run first; otherwise their queues would
        // fill up without need.
        yield_now().await;
    }
}

/// Sends the lines in the queue, until it is shut down and empty.
async fn write_lines(stream: Rc<TcpStream>, lines: Rc<Queue<Rc<str>>>) -> io::Result<()> {
    while let Ok(line) = lines.get().await {
        (&*stream).write_all(format!("{line}\n").as_bytes()).await?;
    }
    Ok(())
}

/// Runs until the client leaves or is disconnected. Returns the reason.
async fn talk_to(room: &Room, stream: &TcpStream, lines: &Rc<Queue<Rc<str>>>) -> io::Result<Option<&'static str>> {
    let mut reader = BufReader::new(stream);
    let entry = match timeout(PATIENCE, ask_name(room, &mut reader, lines)).await {
        Ok(entry) => entry?,
        Err(_) => return Ok(Some("you have not said your name")),
    };
    let Some((name, dropped)) = entry else { return Ok(None) };
    let result = match select(dropped, pin!(listen_to(&name, room, &mut reader, lines))).await {
        Either::Left((reason, _)) => Ok(reason.ok()),
        Either::Right((result, _)) => result.map(|()| None),
    };
    room.leave(&name);
    result
}

/// Handles one connection.
async fn serve_client(room: Rc<Room>, stream: TcpStream) -> io::Result<()> {
    // Otherwise megabytes would wait in the operating system before a client counts as slow.
    rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER)?;
    let (stream, lines) = (Rc::new(stream), Rc::new(Queue::bounded(WAITING_LINES)));
    let writer = spawn(write_lines(stream.clone(), lines.clone()));
    let reason = talk_to(&room, &stream, &lines).await;
    lines.shutdown(false);
    // The client receives its last lines, and then the reason, if it reads. If the buffers of the
    // operating system are full, the reason does not reach the client, and is only printed here.
    let goodbye = async {
        writer.await.map_err(io::Error::other)??;
        match reason {
            Ok(Some(reason)) => (&*stream).write_all(format!("! good-bye: {reason}\n").as_bytes()).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        }
    };
    timeout(GOODBYE, goodbye).await?
}

async fn serve(listener: TcpListener) {
    let room = Rc::new(Room::default());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let room = room.clone();
                drop(spawn(async move {
                    if let Err(error) = serve_client(room, stream).await {
                        println!("room: {peer} is lost: {error}");
                    }
                }));
            }
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .map_err(|error| format!("cannot listen at 127.0.0.1:{port}: {error}").into())
}

// ---- three clients ----

struct Visitor {
    name: &'static str,
    stream: BufReader<TcpStream>,
}

impl Visitor {
    async fn connect(name: &'static str, address: SocketAddr) -> io::Result<Self> {
        let mut visitor = Visitor { name, stream: BufReader::new(TcpStream::connect(address).await?) };
        visitor.say(name.as_bytes()).await?;
        Ok(visitor)
    }

    async fn say(&mut self, line: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(&[line, b"\n"].concat()).await
    }

    async fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await? {
            0 => Err(io::Error::other(format!("{} was left alone", self.name))),
            _ => Ok(line),
        }
    }

    /// Prints the lines that it receives, up to one that begins with `words`. Lines that begin with
    /// `but` are only counted.
    async fn hear_until(&mut self, words: &str, but: &str) -> io::Result<()> {
        let mut count = 0;
        loop {
            let line = self.hear().await?;
            if !but.is_empty() && line.starts_with(but) {
                count += 1;
                continue;
            }
            if count > 0 {
                println!("    {} hears {} lines of {but}..", self.name, std::mem::take(&mut count));
            }
            print!("    {} hears {line}", self.name);
            if line.starts_with(words) {
                return Ok(());
            }
        }
    }
}

/// Says a line when the last one has come back, so that no reading client becomes slow. Ends when
/// another client is disconnected.
async fn lecture(speaker: &mut Visitor) -> io::Result<()> {
    let line = "and so on ".repeat(50);
    loop {
        speaker.say(line.as_bytes()).await?;
        loop {
            let heard = speaker.hear().await?;
            if heard.contains("was dropped") {
                return Ok(());
            }
            if heard.starts_with(&format!("{}: and so on", speaker.name)) {
                break;
            }
        }
    }
}

async fn show() -> Result<()> {
    let listener = listen(0).await?;
    let address = listener.local_addr()?;
    let server = spawn(serve(listener));

    let mut alice = Visitor::connect("alice", address).await?;
    alice.hear_until("* alice has joined", "").await?;
    let mut bob = Visitor::connect("alice", address).await?;
    bob.name = "bob";
    bob.hear_until("! alice is here", "").await?;
    bob.say(b"bob").await?;
    bob.hear_until("* bob has joined", "").await?;
    bob.say(&[b'o'; 600]).await?;
    bob.say(b"\xff\xfe").await?;
    bob.hear_until("! that line is not UTF-8", "").await?;
    // This client talks and does not read.
    let mut carol = Visitor::connect("carol", address).await?;
    carol.say(b"what I wanted to say").await?;
    bob.hear_until("carol: ", "").await?;
    futures_util::try_join!(lecture(&mut alice), bob.hear_until("* carol was dropped", "alice: and so on"))?;
    // When she reads, within the second for her last lines, the reason arrives.
    carol.hear_until("! good-bye", "alice: and so on").await?;
    drop(alice);
    bob.hear_until("* alice has left", "alice: ").await?;
    server.cancel();
    Ok(())
}

fn main() -> ExitCode {
    options::run_with("usage: chat [--port N]", &["--port"], |options| {
        let event_loop = EventLoop::builder().cancel_on_ctrl_c(true).build();
        let port = options.get("--port")?;
        let result = event_loop.try_run(async {
            let Some(port) = port else { return timeout(Duration::from_secs(20), show()).await? };
            let listener = listen(port).await?;
            println!("listening at {}", listener.local_addr()?);
            serve(listener).await;
            Ok(())
        });
        match result {
            Ok(result) => result,
            Err(RunError::Interrupted) => {
                println!("Ctrl-C: all clients are left alone.");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    })
}
