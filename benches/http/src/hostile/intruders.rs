//! Hostile clients, one thread per kind. If the server must respond, the response is checked.

use super::Tally;
use super::clients::{Client, expect_hello, expect_line, tcp, unix};
use super::server::{LINE, Ports};
use anyhow::{Result, ensure};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, send, sendmsg};
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::Duration;

/// How long a stalled client stays connected.
const STALL: Duration = Duration::from_millis(300);

/// Number of stalled clients at the same time.
const STALLED: usize = 8;

/// Pause of a hostile client before each attempt, so that it does not use the whole server.
const PAUSE: Duration = Duration::from_millis(1);

pub(super) fn all(ports: &Ports) -> Vec<Client<'_>> {
    let intruder = |kind, act: fn(&Ports) -> Result<()>| -> Client<'_> {
        Box::new(move |stop| {
            Tally::of(kind, stop, || {
                sleep(PAUSE);
                act(ports)
            })
        })
    };
    vec![
        intruder("urgent bytes in lines", urgent_in_lines),
        intruder("urgent bytes in HTTP", urgent_in_http),
        intruder("half-closed", half_closed),
        intruder("never reads the answer", never_reads),
        intruder("half a request", half_a_request),
        intruder("a line too long", too_long),
        intruder("descriptors that are not received", descriptors_in_lines),
        intruder("descriptors that are received", descriptors),
    ]
}

fn urgent_in_lines(ports: &Ports) -> Result<()> {
    let mut client = tcp(ports.lines)?;
    for _ in 0..3 {
        client.get_mut().write_all(b"before")?;
        send(client.get_ref(), b"!", SendFlags::OOB)?;
        client.get_mut().write_all(b" and after\n")?;
        expect_line(&mut client, "before and after\n")?;
    }
    Ok(())
}

fn urgent_in_http(ports: &Ports) -> Result<()> {
    let mut client = tcp(ports.http)?;
    for _ in 0..3 {
        client.get_mut().write_all(b"GET / HTTP/1.1\r\nHo")?;
        send(client.get_ref(), b"!", SendFlags::OOB)?;
        client.get_mut().write_all(b"st: localhost\r\n\r\n")?;
        expect_hello(&mut client)?;
    }
    Ok(())
}

/// The server answers all requests, and then closes the connection too.
fn half_closed(ports: &Ports) -> Result<()> {
    let mut client = tcp(ports.lines)?;
    let asked = "a line\n".repeat(100);
    client.get_mut().write_all(asked.as_bytes())?;
    client.get_ref().shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    ensure!(answer == asked, "{} of {} bytes came back", answer.len(), asked.len());
    Ok(())
}

fn never_reads(ports: &Ports) -> Result<()> {
    stall(ports.lines, b"flood\n")
}

fn half_a_request(ports: &Ports) -> Result<()> {
    stall(ports.http, b"GET / HT")
}

fn stall(port: u16, asked: &[u8]) -> Result<()> {
    let clients = (0..STALLED).map(|_| tcp(port)).collect::<Result<Vec<_>>>()?;
    clients.iter().try_for_each(|client| client.get_ref().write_all(asked))?;
    sleep(STALL);
    Ok(())
}

/// The server reports a line that is too long, once per part that arrived separately, and
/// continues.
fn too_long(ports: &Ports) -> Result<()> {
    let mut client = tcp(ports.lines)?;
    let mut asked = vec![b'x'; 100 * LINE];
    asked.extend(b"\nnext\n");
    client.get_mut().write_all(&asked)?;
    let (mut line, mut complaints) = (String::new(), 0);
    while line != "next\n" {
        line.clear();
        ensure!(client.read_line(&mut line)? > 0, "the server closed the connection");
        complaints += usize::from(line == "too long\n");
        let is_rest = line.len() <= LINE + 1 && line.trim_end().bytes().all(|byte| byte == b'x');
        ensure!(line == "too long\n" || line == "next\n" || is_rest, "it answered {line:?}");
    }
    ensure!(complaints > 0, "the server did not report the long line");
    Ok(())
}

/// Sends descriptors to a server that uses plain reads. Such a read returns only the bytes, and the
/// system closes the descriptors.
fn descriptors_in_lines(ports: &Ports) -> Result<()> {
    let mut client = unix(&ports.unix_lines)?;
    for _ in 0..3 {
        pass(&client, b"with a descriptor\n")?;
    }
    (0..3).try_for_each(|_| expect_line(&mut client, "with a descriptor\n"))
}

fn descriptors(ports: &Ports) -> Result<()> {
    let client = unix(&ports.taker)?;
    (0..3).try_for_each(|_| expect_line(&mut pass(&client, b"x")?, "taken\n"))
}

/// Creates a socket pair, sends one end, and returns the other.
fn pass(client: &BufReader<UnixStream>, bytes: &[u8]) -> Result<BufReader<UnixStream>> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(client.get_ref().read_timeout()?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut passed = SendAncillaryBuffer::new(&mut space);
    let descriptors = [theirs.as_fd()];
    ensure!(passed.push(SendAncillaryMessage::ScmRights(&descriptors)), "the buffer has no room for a descriptor");
    sendmsg(client.get_ref(), &[IoSlice::new(bytes)], &mut passed, SendFlags::empty())?;
    Ok(BufReader::new(ours))
}
