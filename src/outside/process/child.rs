//! A child process: its pipes, its number, its end.

use crate::kernel::Kernel;
use crate::outside::io::Async;
use crate::outside::process::ending::{Process, Wait};
use crate::outside::process::pipes::{ChildStderr, ChildStdin, ChildStdout};
use rustix::process::Signal;
use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::process::{self, ExitStatus, Output};
use std::rc::Rc;
use std::task::{Context, Poll};

/// A child process, started by [`Command::spawn`](super::Command::spawn).
///
/// It belongs to the loop in which it was started. Dropping it does not end the process, unless
/// [`kill_on_drop`](super::Command::kill_on_drop) is set; the [module](super) says what happens
/// then.
///
/// asyncio: `Process`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, process::Command};
///
/// EventLoop::new().run(async {
///     let child = Command::new("sleep").arg("3600").spawn()?;
///     child.terminate()?;
///     assert_eq!(child.wait().await?.code(), None); // it has no exit code, because a signal has ended it
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "Process")]
#[doc(alias = "Popen")]
pub struct Child {
    /// The first field, so that the process is killed before the pipes are closed: it must not see
    /// the end of its input, and go on as if it had all of it.
    owned: Owned,
    /// The writing end of the child's standard input, if that is [`Stdio::piped`](process::Stdio).
    /// Dropping it ends the input.
    pub stdin: Option<Async<ChildStdin>>,
    /// The reading end of the child's standard output, if that is piped.
    pub stdout: Option<Async<ChildStdout>>,
    /// The reading end of the child's standard error output, if that is piped.
    pub stderr: Option<Async<ChildStderr>>,
    collected: Collected,
    /// Whether the child has closed its input before all was written. What is left is not written
    /// then, which is no error.
    refuses_input: bool,
}

/// The process, which is perhaps killed when this is dropped. A separate type, so that fields can
/// be moved out of a `Child`.
struct Owned {
    process: Rc<Process>,
    kill_on_drop: bool,
}

/// What `communicate` has read of the standard output and of the error output.
#[derive(Default)]
struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Child {
    /// If this fails, the process is killed.
    pub(super) fn new(
        kernel: &Kernel,
        mut child: process::Child,
        name: String,
        kill_on_drop: bool,
        made_at: &'static Location<'static>,
    ) -> io::Result<Self> {
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        // Until the pipes are there, it is killed when it is dropped. Declared first, so dropped last.
        let (stdin, stdout, stderr);
        let mut owned = Owned { process: Rc::new(Process::new(kernel, child, name)), kill_on_drop: true };
        stdin = pipes.0.map(|pipe| Async::new(ChildStdin::new(pipe))).transpose()?;
        stdout = pipes.1.map(|pipe| Async::new(ChildStdout::new(pipe))).transpose()?;
        stderr = pipes.2.map(|pipe| Async::new(ChildStderr::new(pipe))).transpose()?;
        owned.kill_on_drop = kill_on_drop;
        let mut child = Child { owned, stdin, stdout, stderr, collected: Collected::default(), refuses_input: false };
        child.used_at(made_at);
        Ok(child)
    }

    /// Where reports show the waits for the pipes.
    fn used_at(&mut self, place: &'static Location<'static>) {
        self.stdin.iter_mut().for_each(|pipe| pipe.made_at(place));
        self.stdout.iter_mut().for_each(|pipe| pipe.made_at(place));
        self.stderr.iter_mut().for_each(|pipe| pipe.made_at(place));
    }

    /// Returns the number of the process. After [`wait`](Self::wait) or another method has returned
    /// that the process has ended, the operating system may give the number to another process. To
    /// send a signal, use [`send_signal`](Self::send_signal).
    ///
    /// asyncio: `Process.pid`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut child = Command::shell("echo $$").stdout(Stdio::piped()).spawn()?;
    ///     let id = child.id();
    ///     let output = child.communicate(b"").await?;
    ///     assert_eq!(output.stdout, format!("{id}\n").into_bytes());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "pid")]
    pub fn id(&self) -> u32 {
        self.owned.process.id
    }

    /// Waits until the process has ended. Returns its exit status. If that is known already, it is
    /// returned at once.
    ///
    /// Several tasks may wait at once; each gets the status. The future borrows nothing, so it can
    /// be spawned.
    ///
    /// It does not close the child's standard input, and reads no output. A child that waits for
    /// the end of its input never ends, nor does one whose output fills a pipe that nobody reads.
    /// [`communicate`](Self::communicate) does all three.
    ///
    /// Cancel safety: nothing is lost; dropping it ends the wait.
    ///
    /// asyncio: `Process.wait`. The return code is [`ExitStatus::code`]; if that is `None`, asyncio
    /// returns the negative number of the
    /// [`signal`](std::os::unix::process::ExitStatusExt::signal) that has ended the process.
    ///
    /// # Errors
    ///
    /// If other code has taken the exit status ([`NotFound`](io::ErrorKind::NotFound)): it ignores
    /// `SIGCHLD`, or waits for all children. asyncio returns 255 then. Without a pidfd, if the program
    /// cannot listen for `SIGCHLD`, for example because too many descriptors are open; a later call
    /// may succeed.
    ///
    /// # Panics
    ///
    /// When polled outside its loop, unless the status is known.
    ///
    /// # Cost
    ///
    /// A poll makes one system call. No allocation of its own on Linux.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, gather, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let child = Command::shell("exit 3").spawn()?;
    ///     for status in gather([child.wait(), child.wait()]).await.unwrap() {
    ///         assert_eq!(status?.code(), Some(3));
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn wait(&self) -> Wait {
        Wait::new(self.owned.process.clone())
    }

    /// Returns the exit status if the process has ended, without waiting.
    ///
    /// asyncio: `Process.returncode`, which is `None` while the process runs. That attribute
    /// changes only when the loop runs; this looks each time, with a system call.
    ///
    /// # Errors
    ///
    /// The errors of [`wait`](Self::wait).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let child = Command::new("sleep").arg("3600").spawn()?;
    ///     assert!(child.try_wait()?.is_none());
    ///     child.kill()?;
    ///     let status = child.wait().await?;
    ///     assert_eq!(child.try_wait()?, Some(status));
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "returncode")]
    pub fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.owned.process.check()
    }

    /// Kills the process with `SIGKILL`, which it cannot catch. If it has ended already, this does
    /// nothing. It does not wait for the end.
    ///
    /// Only this process is killed. Processes that it has started run on, for example the commands
    /// of a shell.
    ///
    /// asyncio: `Process.kill`, which raises `ProcessLookupError` if the end of the process is
    /// known.
    ///
    /// # Errors
    ///
    /// If the process belongs to another user.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, SIGKILL}};
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// EventLoop::new().run(async {
    ///     let child = Command::new("sleep").arg("3600").spawn()?;
    ///     child.kill()?;
    ///     assert_eq!(child.wait().await?.signal(), Some(SIGKILL));
    ///     child.kill() // does nothing
    /// })
    /// # .unwrap();
    /// ```
    pub fn kill(&self) -> io::Result<()> {
        self.send_unless_ended(Signal::KILL)
    }

    /// Asks the process to end, with `SIGTERM`. Otherwise like [`kill`](Self::kill).
    ///
    /// asyncio: `Process.terminate`.
    ///
    /// # Errors
    ///
    /// If the process belongs to another user.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, SIGTERM}};
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// EventLoop::new().run(async {
    ///     let child = Command::new("sleep").arg("3600").spawn()?;
    ///     child.terminate()?;
    ///     assert_eq!(child.wait().await?.signal(), Some(SIGTERM));
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn terminate(&self) -> io::Result<()> {
        self.send_unless_ended(Signal::TERM)
    }

    fn send_unless_ended(&self, signal: Signal) -> io::Result<()> {
        match self.owned.process.send(signal) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            sent => sent,
        }
    }

    /// Sends a signal to the process, by its number: one of the constants of the
    /// [module](super), for example.
    ///
    /// The signal never reaches another process that has got the same number. While the exit status
    /// of a process was not taken, no other process gets its number, and this sends nothing
    /// afterwards. On Linux the signal goes through the pidfd, so this holds even if other code
    /// takes the status.
    ///
    /// asyncio: `Process.send_signal`. The error is its `ProcessLookupError`.
    ///
    /// # Errors
    ///
    /// If the process has ended ([`NotFound`](io::ErrorKind::NotFound)). If there is no signal of
    /// this number ([`InvalidInput`](io::ErrorKind::InvalidInput)); real-time signals are not
    /// supported. If the process belongs to another user.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, SIGTERM}};
    /// use std::os::unix::process::ExitStatusExt;
    ///
    /// EventLoop::new().run(async {
    ///     let child = Command::new("sleep").arg("3600").spawn()?;
    ///     child.send_signal(SIGTERM)?;
    ///     assert_eq!(child.wait().await?.signal(), Some(SIGTERM));
    ///     assert!(child.send_signal(SIGTERM).is_err());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn send_signal(&self, signal: i32) -> io::Result<()> {
        let Some(signal) = Signal::from_named_raw(signal) else {
            let why = "is not known; pass one of the constants of onelane::process";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("signal {signal} {why}")));
        };
        self.owned.process.send(signal)
    }

    /// Writes `input` to the child's standard input and closes it, reads both outputs until their
    /// ends, and waits until the process has ended. It does all this at the same time, so no pipe
    /// is full for ever.
    ///
    /// An output that is not piped, or was taken, is empty in the result. A child that ends, or
    /// closes its input, before it has read everything is no error: the rest of `input` is dropped.
    /// An output ends when all processes that have it are done with it: if the child has started
    /// others that run on with the same output, this waits for them too.
    ///
    /// Cancel safety: no output is lost. If it is dropped before it is ready, what was read stays
    /// with the child, and the next `communicate` returns it. Of the input, a part was written;
    /// [`Communicate::written`] says how much. The input is closed only when all was written.
    ///
    /// asyncio: `Process.communicate(input)`, where a cancelled call loses what was read.
    ///
    /// # Errors
    ///
    /// If there is input, but the standard input is not piped, or was taken or closed
    /// ([`InvalidInput`](io::ErrorKind::InvalidInput)). The errors of [`wait`](Self::wait), and of
    /// reading and writing.
    ///
    /// # Panics
    ///
    /// When polled outside its loop.
    ///
    /// # Cost
    ///
    /// Two allocations, and the memory of the outputs.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut command = Command::new("sort");
    ///     let mut sort = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    ///     let output = sort.communicate(b"pear\napple\n").await?;
    ///     assert_eq!(output.stdout, b"apple\npear\n");
    ///     assert!(output.status.success());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "wait_with_output")]
    #[track_caller]
    pub fn communicate<'a>(&'a mut self, input: &'a [u8]) -> Communicate<'a> {
        self.used_at(Location::caller());
        let (wait, written) = (self.wait(), Rc::new(Cell::new(0)));
        let copy = written.clone();
        Communicate { collecting: Box::pin(async move { self.collect(input, &copy, wait).await }), written }
    }

    pub(super) async fn collect(&mut self, input: &[u8], written: &Cell<usize>, wait: Wait) -> io::Result<Output> {
        if self.stdin.is_none() && !input.is_empty() && !self.refuses_input {
            let why =
                "has no standard input to write to; start it with stdin(Stdio::piped()), and leave the pipe there";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} {why}", self.owned.process)));
        }
        {
            let Collected { stdout, stderr } = &mut self.collected;
            let write = pin!(feed(&mut self.stdin, input, written, &mut self.refuses_input));
            let read_output = pin!(drain(&mut self.stdout, stdout));
            let read_errors = pin!(drain(&mut self.stderr, stderr));
            all([write, read_output, read_errors]).await?;
        }
        let status = wait.await?;
        let Collected { stdout, stderr } = std::mem::take(&mut self.collected);
        Ok(Output { status, stdout, stderr })
    }

    #[cfg(test)]
    pub(super) fn process_has_pidfd(&self) -> bool {
        self.owned.process.has_pidfd()
    }

    /// Closes the pipes.
    pub(super) fn close_pipes(&mut self) {
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
    }
}

/// Writes everything, and closes the pipe.
async fn feed(
    stdin: &mut Option<Async<ChildStdin>>,
    input: &[u8],
    written: &Cell<usize>,
    is_refused: &mut bool,
) -> io::Result<()> {
    let Some(pipe) = stdin else { return Ok(()) };
    while written.get() < input.len() {
        match pipe.write_with(|mut pipe| io::Write::write(&mut pipe, &input[written.get()..])).await {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written.set(written.get() + count),
            // The child has ended, or has closed its input.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                *is_refused = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    *stdin = None;
    Ok(())
}

/// The most that is read from a pipe before others run: the size of a pipe on Linux.
const PORTION: u64 = 64 * 1024;

/// Reads everything, and closes the pipe. What was read is in `collected` at any time.
async fn drain<T>(output: &mut Option<Async<T>>, collected: &mut Vec<u8>) -> io::Result<()>
where
    T: AsFd + Send + Sync + 'static,
    for<'a> &'a T: Read,
{
    let Some(pipe) = output else { return Ok(()) };
    // If the pipe is empty before its end, `read_to_end` keeps what it has read, and fails with
    // `WouldBlock`.
    while pipe.read_with(|pipe| pipe.take(PORTION).read_to_end(collected)).await? as u64 == PORTION {}
    *output = None;
    Ok(())
}

/// Waits for all of them. The first error ends this.
async fn all(parts: [Pin<&mut dyn Future<Output = io::Result<()>>>; 3]) -> io::Result<()> {
    let mut parts = parts.map(Some);
    poll_fn(|context| {
        for part in &mut parts {
            match part.as_mut().map(|part| part.as_mut().poll(context)) {
                Some(Poll::Ready(Ok(()))) => *part = None,
                Some(Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
                Some(Poll::Pending) | None => {}
            }
        }
        if parts.iter().all(Option::is_none) { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.kill_on_drop {
            // Fails if the process has ended, or belongs to another user.
            drop(self.process.send(Signal::KILL));
        }
    }
}

/// Shows the number of the process, its program, and what is known about its end.
impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Child").field(&self.owned.process).finish()
    }
}

/// The future of [`Child::communicate`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, process::{Command, Stdio}, timeout};
/// use std::time::Duration;
///
/// EventLoop::new().run(async {
///     let mut command = Command::shell("echo early; sleep 0.1; echo late");
///     let mut child = command.stdout(Stdio::piped()).spawn()?;
///     assert!(timeout(Duration::from_millis(10), child.communicate(b"")).await.is_err());
///     assert_eq!(child.communicate(b"").await?.stdout, b"early\nlate\n"); // nothing is lost
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "futures do nothing unless they are awaited"]
pub struct Communicate<'a> {
    collecting: Pin<Box<dyn Future<Output = io::Result<Output>> + 'a>>,
    written: Rc<Cell<usize>>,
}

impl Communicate<'_> {
    /// Number of bytes of the input that the operating system has taken.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    ///     let mut communicate = cat.communicate(b"hello");
    ///     assert_eq!(communicate.written(), 0);
    ///     (&mut communicate).await?;
    ///     assert_eq!(communicate.written(), 5);
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn written(&self) -> usize {
        self.written.get()
    }
}

impl Future for Communicate<'_> {
    type Output = io::Result<Output>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.collecting.as_mut().poll(context)
    }
}

impl fmt::Debug for Communicate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Communicate").field("written", &self.written.get()).finish_non_exhaustive()
    }
}
