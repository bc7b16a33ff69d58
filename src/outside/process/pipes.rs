//! The ends of the pipes to a child. They add to the types of the standard library what an
//! [`Async`] needs for futures-io's traits: reading through a shared reference.
//!
//! The other way is one type with a buffer, as asyncio's streams are. But an `Async` can be made
//! into such a stream without loss, and a stream with a filled buffer cannot be made into an
//! `Async`. So the fields of a `Child` are `Async`s, as sockets are, and `into_stream` makes
//! streams of them.

#[cfg(doc)]
use crate::io::Async;
use rustix::io::ioctl_fionbio;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process;

/// The standard input of a child, of which we have the writing end. [`Child::stdin`](super::Child)
/// is an [`Async`] of it.
///
/// Dropping it ends the input: the child sees the end when it has read what was written.
/// futures-io's `close` only flushes.
///
/// asyncio: `Process.stdin`.
///
/// # Examples
///
/// ```
/// use futures_util::AsyncWriteExt;
/// use onelane::{EventLoop, process::{Command, Stdio}};
///
/// EventLoop::new().run(async {
///     let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
///     child.stdin.take().unwrap().write_all(b"hello").await?; // and drops it
///     let mut output = child.stdout.take().unwrap().into_stream();
///     assert_eq!(output.read_to_end().await?, b"hello");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct ChildStdin(process::ChildStdin);

impl ChildStdin {
    /// Returns the pipe of the standard library, which blocks again; for example to make it the
    /// output of another child.
    ///
    /// # Errors
    ///
    /// The error of the operating system; the pipe is then closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut reads = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    ///     let pipe = reads.stdin.take().unwrap().into_inner().into_std()?;
    ///     assert!(Command::new("echo").arg("to the cat").stdout(pipe).status().await?.success());
    ///     assert_eq!(reads.communicate(b"").await?.stdout, b"to the cat\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_std(self) -> io::Result<process::ChildStdin> {
        ioctl_fionbio(&self.0, false)?;
        Ok(self.0)
    }
}

impl Write for &ChildStdin {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&self.0).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The standard output of a child, of which we have the reading end.
/// [`Child::stdout`](super::Child) is an [`Async`] of it.
///
/// asyncio: `Process.stdout`.
///
/// # Examples
///
/// ```
/// use futures_util::AsyncReadExt;
/// use onelane::{EventLoop, process::{Command, Stdio}};
///
/// EventLoop::new().run(async {
///     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
///     let mut text = String::new();
///     child.stdout.take().unwrap().read_to_string(&mut text).await?;
///     assert_eq!(text, "hello\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct ChildStdout(process::ChildStdout);

impl ChildStdout {
    /// Returns the pipe of the standard library, which blocks again; for example to make it the
    /// input of another child.
    ///
    /// # Errors
    ///
    /// The error of the operating system; the pipe is then closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut first = Command::new("echo").arg("through a pipe").stdout(Stdio::piped()).spawn()?;
    ///     let pipe = first.stdout.take().unwrap().into_inner().into_std()?;
    ///     let second = Command::new("cat").stdin(pipe).output().await?;
    ///     assert_eq!(second.stdout, b"through a pipe\n");
    ///     first.wait().await?;
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_std(self) -> io::Result<process::ChildStdout> {
        ioctl_fionbio(&self.0, false)?;
        Ok(self.0)
    }
}

/// The standard error output of a child, of which we have the reading end.
/// [`Child::stderr`](super::Child) is an [`Async`] of it. Otherwise like [`ChildStdout`].
///
/// asyncio: `Process.stderr`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, process::{Command, Stdio}};
///
/// EventLoop::new().run(async {
///     let mut child = Command::shell("echo trouble >&2").stderr(Stdio::piped()).spawn()?;
///     let mut complaints = child.stderr.take().unwrap().into_stream();
///     assert_eq!(complaints.read_line().await?, b"trouble\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[derive(Debug)]
pub struct ChildStderr(process::ChildStderr);

impl ChildStderr {
    /// Returns the pipe of the standard library, which blocks again.
    ///
    /// # Errors
    ///
    /// The error of the operating system; the pipe is then closed.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut first = Command::shell("echo trouble >&2").stderr(Stdio::piped()).spawn()?;
    ///     let pipe = first.stderr.take().unwrap().into_inner().into_std()?;
    ///     assert_eq!(Command::new("cat").stdin(pipe).output().await?.stdout, b"trouble\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn into_std(self) -> io::Result<process::ChildStderr> {
        ioctl_fionbio(&self.0, false)?;
        Ok(self.0)
    }
}

// ---- what they have in common ----

macro_rules! pipes {
    ($($pipe:ident)+) => {$(
        impl $pipe {
            pub(super) fn new(pipe: process::$pipe) -> Self {
                $pipe(pipe)
            }
        }

        impl AsFd for $pipe {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.as_fd()
            }
        }
    )+};
}

macro_rules! reading_ends {
    ($($pipe:ident)+) => {$(
        impl Read for &$pipe {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                Ok(rustix::io::read(&self.0, buffer)?)
            }

            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                Ok(rustix::io::readv(&self.0, buffers)?)
            }
        }
    )+};
}

pipes!(ChildStdin ChildStdout ChildStderr);
reading_ends!(ChildStdout ChildStderr);
