//! Runs timers of 10 ms, one after the other, while a task reads from or writes to a stream whose
//! peer is always ready. `twin.py` does the same on asyncio.

use crate::options::Traffic;
use anyhow::Result;
use onelane::net::{StreamReader, StreamWriter, TcpStream};
use onelane::{EventLoop, sleep, spawn};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream as Peer};
use std::thread;
use std::time::{Duration, Instant};

const TIMERS: usize = 100;
const EACH: Duration = Duration::from_millis(10);
const SIZE: usize = 64 * 1024;

/// Returns how late each timer was, in microseconds.
pub(crate) fn lateness(traffic: Traffic) -> Result<Vec<u64>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let ours = Peer::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    EventLoop::new().run(async {
        let (reader, writer) = TcpStream::from_std(ours)?.into_streams();
        // The tasks and threads below stop when the loop ends.
        if traffic.reads() {
            let peer = peer.try_clone()?;
            thread::spawn(move || send(peer));
            drop(spawn(read_on(reader)));
        }
        if traffic.writes() {
            thread::spawn(move || receive(peer));
            drop(spawn(write_on(writer)));
        }
        let mut late = Vec::new();
        for _ in 0..TIMERS {
            let begun = Instant::now();
            sleep(EACH).await;
            late.push(begun.elapsed().saturating_sub(EACH).as_micros() as u64);
        }
        Ok(late)
    })
}

async fn read_on(mut reader: StreamReader) {
    while reader.read(SIZE).await.is_ok_and(|bytes| !bytes.is_empty()) {}
}

async fn write_on(mut writer: StreamWriter) {
    while writer.write_all(&vec![0; SIZE]).await.is_ok() {}
}

fn send(mut peer: Peer) {
    while peer.write_all(&[0; SIZE]).is_ok() {}
}

fn receive(mut peer: Peer) {
    let mut memory = vec![0; SIZE];
    while peer.read(&mut memory).is_ok_and(|count| count > 0) {}
}
