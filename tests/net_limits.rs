//! Running out of descriptors. The limit belongs to the process, so each test runs in its own
//! process.
#![cfg(unix)]

mod common;

use common::{Trace, alone, ms, stderr_of};
use onelane::net::{TcpListener, UnixListener, UnixStream, open_connection, start_server};
use onelane::{EventLoop, sleep, time};
use rlimit::Resource;
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;

const HERE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// While this value lives, no new descriptor can be opened.
struct NoneLeft {
    before: u64,
}

impl NoneLeft {
    fn new() -> Self {
        let (before, maximum) = Resource::NOFILE.get().unwrap();
        // The lowest free number becomes the limit, so this number is already forbidden.
        let next = File::open("/").unwrap().as_raw_fd() as u64;
        Resource::NOFILE.set(next, maximum).unwrap();
        assert_eq!(Errno::from_io_error(&File::open("/").unwrap_err()), Some(Errno::MFILE));
        NoneLeft { before }
    }
}

impl Drop for NoneLeft {
    fn drop(&mut self) {
        let (_, maximum) = Resource::NOFILE.get().unwrap();
        Resource::NOFILE.set(self.before, maximum).unwrap();
    }
}

fn is_out_of_descriptors<T>(result: std::io::Result<T>) -> bool {
    Errno::from_io_error(&result.err().unwrap()) == Some(Errno::MFILE)
}

#[test]
fn an_accept_without_descriptors_fails_and_loses_nothing() {
    alone("an_accept_without_descriptors_fails_and_loses_nothing", || {
        EventLoop::new().run(async {
            let listener = TcpListener::bind(HERE).await.unwrap();
            let path = std::env::temp_dir().join(format!("onelane-limits-{}", std::process::id()));
            let unix = UnixListener::bind(&path).unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let _unix_client = UnixStream::connect(&path).await.unwrap();
            let limit = NoneLeft::new();
            for _ in 0..3 {
                assert!(is_out_of_descriptors(listener.accept().await));
                assert!(is_out_of_descriptors(unix.accept().await));
            }
            assert!(is_out_of_descriptors(open_connection(listener.local_addr().unwrap()).await));
            assert!(is_out_of_descriptors(UnixStream::connect(&path).await));
            drop(limit);
            assert_eq!(listener.accept().await.unwrap().1, client.local_addr().unwrap());
            unix.accept().await.unwrap();
            std::fs::remove_file(path).unwrap();
        });
    });
}

#[test]
fn a_loop_without_descriptors_says_so() {
    alone("a_loop_without_descriptors_says_so", || {
        let event_loop = EventLoop::new();
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let limit = NoneLeft::new();
        assert!(is_out_of_descriptors(event_loop.as_fd()));
        assert!(is_out_of_descriptors(event_loop.run(async { UnixStream::from_std(ours) })));
        // With descriptors, it works again.
        drop(limit);
        assert!(event_loop.as_fd().is_ok());
    });
}

#[test]
fn a_server_without_descriptors_says_so_once_and_goes_on_when_there_are() {
    let name = "a_server_without_descriptors_says_so_once_and_goes_on_when_there_are";
    let told = stderr_of(name, || {
        let trace = Trace::new();
        EventLoop::with_virtual_clock().run(async {
            let (begun, copy) = (time(), trace.clone());
            let server = start_server(HERE, async move |_, mut writer| {
                copy.push(format!("served at {} ms", (time() - begun).as_millis()));
                writer.write_all(b"welcome").await.unwrap();
            })
            .await
            .unwrap();
            println!("at {}", server.local_addr().unwrap());
            for served_at in [3000, 6500] {
                let mut client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
                let limit = NoneLeft::new();
                // The server tries each second.
                sleep(ms(2500)).await;
                assert_eq!(trace.take(), [""; 0]);
                drop(limit);
                sleep(ms(1000)).await;
                let mut text = String::new();
                client.read_to_string(&mut text).unwrap();
                assert_eq!(text, "welcome");
                assert_eq!(trace.take(), [format!("served at {served_at} ms")]);
            }
            // `close` during the pause does not wait for the end of the second.
            let _client = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
            let _limit = NoneLeft::new();
            sleep(ms(500)).await;
            server.close();
            server.wait_closed().await;
            assert_eq!((time() - begun).as_millis(), 7500);
        });
    });
    let Some(told) = told else { return };
    let lines: Vec<_> = told.lines().filter(|line| line.contains("onelane")).collect();
    assert_eq!(lines.len(), 3, "{told}");
    for line in lines {
        assert!(line.starts_with("onelane: the server at 127.0.0.1:"), "{line}");
        assert!(
            line.ends_with("cannot accept: Too many open files (os error 24); it tries again every second"),
            "{line}"
        );
    }
}
