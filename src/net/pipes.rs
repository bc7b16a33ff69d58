//! Pipes of child processes as asyncio's streams, with the feature `process`.
//!
//! A pipe has one direction. So it has one half, the reader or the writer, and is not shared.

use crate::net::streams::{Stream, StreamReader, StreamWriter, reader, writer};
use crate::net::trial::Trial;
use crate::outside::io::Async;
use crate::outside::process::{ChildStderr, ChildStdin, ChildStdout};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

#[derive(Debug)]
pub(super) enum Pipe {
    Stdin(Async<ChildStdin>),
    Stdout(Async<ChildStdout>),
    Stderr(Async<ChildStderr>),
    /// Closed by the writer, which still exists.
    Closed,
}

impl Async<ChildStdin> {
    /// Makes asyncio's writer of it. The writer's `write_eof` and `close` close the pipe; what was
    /// written before is still there for the child.
    ///
    /// # Panics
    ///
    /// The writer's `as_fd` panics after `write_eof`, because the pipe is closed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    ///     let mut input = child.stdin.take().unwrap().into_stream();
    ///     let mut output = child.stdout.take().unwrap().into_stream();
    ///     input.write_all(b"a line\n").await?;
    ///     assert_eq!(output.read_line().await?, b"a line\n");
    ///     input.close().await?;
    ///     assert!(child.wait().await?.success());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_stream(self) -> StreamWriter {
        writer(Stream::Pipe(Pipe::Stdin(self)))
    }
}

impl Async<ChildStdout> {
    /// Makes asyncio's reader of it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut child = Command::shell("echo one; echo two").stdout(Stdio::piped()).spawn()?;
    ///     let mut output = child.stdout.take().unwrap().into_stream();
    ///     assert_eq!(output.read_line().await?, b"one\n");
    ///     assert_eq!(output.read_to_end().await?, b"two\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_stream(self) -> StreamReader {
        reader(Stream::Pipe(Pipe::Stdout(self)))
    }
}

impl Async<ChildStderr> {
    /// Makes asyncio's reader of it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut child = Command::shell("echo trouble >&2").stderr(Stdio::piped()).spawn()?;
    ///     let mut complaints = child.stderr.take().unwrap().into_stream();
    ///     assert_eq!(complaints.read_to_end().await?, b"trouble\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_stream(self) -> StreamReader {
        reader(Stream::Pipe(Pipe::Stderr(self)))
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Pipe::Stdin(pipe) => pipe.as_fd(),
            Pipe::Stdout(pipe) => pipe.as_fd(),
            Pipe::Stderr(pipe) => pipe.as_fd(),
            Pipe::Closed => panic!("as_fd() of a StreamWriter was called after write_eof(), which closes a pipe"),
        }
    }
}

// ---- reading and writing ----

pub(super) enum PipeTrial<'a> {
    Stdin(Trial<'a, ChildStdin>),
    Stdout(Trial<'a, ChildStdout>),
    Stderr(Trial<'a, ChildStderr>),
    Closed,
}

impl<'a> PipeTrial<'a> {
    pub(super) fn new(pipe: &'a Pipe) -> Self {
        match pipe {
            Pipe::Stdin(pipe) => PipeTrial::Stdin(Trial::to_write(pipe)),
            Pipe::Stdout(pipe) => PipeTrial::Stdout(Trial::to_read(pipe)),
            Pipe::Stderr(pipe) => PipeTrial::Stderr(Trial::to_read(pipe)),
            Pipe::Closed => PipeTrial::Closed,
        }
    }

    pub(super) fn wait_first(&mut self) {
        match self {
            PipeTrial::Stdin(trial) => trial.wait_first(),
            PipeTrial::Stdout(trial) => trial.wait_first(),
            PipeTrial::Stderr(trial) => trial.wait_first(),
            PipeTrial::Closed => {}
        }
    }

    #[track_caller]
    pub(super) fn poll_read<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut dyn io::Read) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            PipeTrial::Stdout(trial) => trial.poll(cx, |mut pipe| read(&mut pipe)),
            PipeTrial::Stderr(trial) => trial.poll(cx, |mut pipe| read(&mut pipe)),
            PipeTrial::Stdin(_) | PipeTrial::Closed => unreachable!("a standard input has no reader"),
        }
    }

    #[track_caller]
    pub(super) fn poll_write<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut dyn io::Write) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        match self {
            PipeTrial::Stdin(trial) => trial.poll(cx, |mut pipe| write(&mut pipe)),
            PipeTrial::Closed => {
                let why = "write_eof() has closed the pipe, so nothing can be written to it";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, why)))
            }
            PipeTrial::Stdout(_) | PipeTrial::Stderr(_) => unreachable!("an output has no writer"),
        }
    }
}
