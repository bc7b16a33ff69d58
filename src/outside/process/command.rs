//! The builder of a child process.

use crate::leaf::running;
use crate::outside::process::child::Child;
use crate::outside::process::ending::Wait;
use crate::outside::process::orphans;
use crate::outside::process::pidfd::Pidfd;
use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{self, ExitStatus, Output, Stdio};
use std::task::{Context, Poll};

/// Builds a child process, with the methods of [`std::process::Command`].
///
/// What is missing here can be set on that type: [`as_std_mut`](Self::as_std_mut) lends it, and
/// `From` takes it. So user, group, process group and `argv[0]` are set by
/// [`CommandExt`](std::os::unix::process::CommandExt):
///
/// ```
/// use onelane::{EventLoop, process::Command};
/// use std::os::unix::process::CommandExt;
///
/// EventLoop::new().run(async {
///     let mut command = Command::new("true");
///     command.as_std_mut().process_group(0).arg0("truth");
///     assert!(command.status().await?.success());
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
///
/// asyncio: the parameters of `create_subprocess_exec` and `create_subprocess_shell`.
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, process::Command};
///
/// EventLoop::new().run(async {
///     let output = Command::new("sh").args(["-c", "echo $GREETING"]).env("GREETING", "hello").output().await?;
///     assert_eq!(output.stdout, b"hello\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[doc(alias = "create_subprocess_exec")]
#[doc(alias = "create_subprocess_shell")]
pub struct Command {
    std: process::Command,
    /// For a shell: the line, by which reports call the process.
    line: Option<String>,
    kill_on_drop: bool,
    /// Whether `stdin`, `stdout` and `stderr` were called.
    chosen: [bool; 3],
}

/// The most letters of a shell's line that a report shows.
const LINE: usize = 40;

impl Command {
    /// A command that starts `program`, which is searched for in `PATH` if it contains no slash. At
    /// first it has no arguments, and inherits environment, directory, and standard input and
    /// outputs.
    ///
    /// asyncio: `create_subprocess_exec(program, ..)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     assert!(Command::new("true").status().await?.success());
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Command { std: process::Command::new(program.as_ref()), line: None, kill_on_drop: false, chosen: [false; 3] }
    }

    /// A command that lets `/bin/sh` execute a line. Never put text of others into the line without
    /// quoting it; pass it as an argument or in the environment.
    ///
    /// asyncio: `create_subprocess_shell(line)`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::shell("echo one two | cut -d' ' -f2").output().await?;
    ///     assert_eq!(output.stdout, b"two\n");
    ///     let output = Command::shell("echo \"$1\"").args(["sh", "; echo an argument"]).output().await?;
    ///     assert_eq!(output.stdout, b"; echo an argument\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "create_subprocess_shell")]
    pub fn shell(line: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new("/bin/sh");
        command.std.arg("-c").arg(line.as_ref());
        let text = line.as_ref().to_string_lossy();
        let mut shown: String = text.chars().take(LINE).collect();
        if shown.len() < text.len() {
            shown.push_str("..");
        }
        command.line = Some(shown);
        command
    }

    /// Adds an argument. It is passed as it is, whatever characters it contains.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::new("echo").arg("a  b").arg("$HOME").output().await?;
    ///     assert_eq!(output.stdout, b"a  b $HOME\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.std.arg(argument);
        self
    }

    /// Adds several arguments.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::new("echo").args(["one", "two"]).output().await?;
    ///     assert_eq!(output.stdout, b"one two\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.std.args(arguments);
        self
    }

    /// Sets a variable of the child's environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::shell("echo $COLOUR").env("COLOUR", "green").output().await?;
    ///     assert_eq!(output.stdout, b"green\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.std.env(key, value);
        self
    }

    /// Sets several variables of the child's environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::shell("echo $A$B").envs([("A", "1"), ("B", "2")]).output().await?;
    ///     assert_eq!(output.stdout, b"12\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn envs(&mut self, variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> &mut Self {
        self.std.envs(variables);
        self
    }

    /// Removes a variable from the child's environment.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::shell("echo ${HOME-none}").env_remove("HOME").output().await?;
    ///     assert_eq!(output.stdout, b"none\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        self.std.env_remove(key);
        self
    }

    /// Removes all variables from the child's environment: those that it would inherit, and those
    /// that were set.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::shell("echo $LEFT${HOME-none}").env_clear().env("LEFT", "x").output().await?;
    ///     assert_eq!(output.stdout, b"xnone\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn env_clear(&mut self) -> &mut Self {
        self.std.env_clear();
        self
    }

    /// Sets the directory in which the child begins.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let output = Command::shell("pwd").current_dir("/").output().await?;
    ///     assert_eq!(output.stdout, b"/\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[doc(alias = "cwd")]
    pub fn current_dir(&mut self, directory: impl AsRef<Path>) -> &mut Self {
        self.std.current_dir(directory);
        self
    }

    /// Sets where the child's standard input comes from. [`Stdio::piped`] gives
    /// [`Child::stdin`](Child); asyncio: `stdin=PIPE`. [`Stdio::null`] is `DEVNULL`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let child = Command::new("cat").stdin(Stdio::null()).spawn()?;
    ///     assert!(child.wait().await?.success()); // there is nothing to read
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Self {
        self.std.stdin(from);
        self.chosen[0] = true;
        self
    }

    /// Sets where the child's standard output goes. [`Stdio::piped`] gives
    /// [`Child::stdout`](Child).
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut child = Command::new("echo").arg("hello").stdout(Stdio::piped()).spawn()?;
    ///     assert_eq!(child.communicate(b"").await?.stdout, b"hello\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn stdout(&mut self, to: impl Into<Stdio>) -> &mut Self {
        self.std.stdout(to);
        self.chosen[1] = true;
        self
    }

    /// Sets where the child's standard error output goes. [`Stdio::piped`] gives
    /// [`Child::stderr`](Child). For asyncio's `stderr=STDOUT`, let the shell join the two:
    /// `Command::shell("exec program 2>&1")`.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, Stdio}};
    ///
    /// EventLoop::new().run(async {
    ///     let mut child = Command::shell("echo trouble >&2").stderr(Stdio::piped()).spawn()?;
    ///     assert_eq!(child.communicate(b"").await?.stderr, b"trouble\n");
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn stderr(&mut self, to: impl Into<Stdio>) -> &mut Self {
        self.std.stderr(to);
        self.chosen[2] = true;
        self
    }

    /// Whether dropping the [`Child`] kills the process, with `SIGKILL`. The default is false.
    ///
    /// If it is true, a process ends with the task that owns the `Child`, also if that task is
    /// cancelled. If the loop ends at once, before it has seen the end of the process, the process
    /// stays a zombie until the program starts another one or ends.
    ///
    /// asyncio: what closing the transport does.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::{Command, SIGKILL}, timeout};
    /// use std::{os::unix::process::ExitStatusExt, time::Duration};
    ///
    /// EventLoop::with_virtual_clock().run(async {
    ///     let child = Command::new("sleep").arg("3600").kill_on_drop(true).spawn()?;
    ///     let ended = child.wait();
    ///     drop(child);
    ///     assert_eq!(ended.await?.signal(), Some(SIGKILL));
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Returns the builder of the standard library.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::process::Command;
    ///
    /// assert_eq!(Command::new("true").as_std().get_program(), "true");
    /// ```
    pub fn as_std(&self) -> &process::Command {
        &self.std
    }

    /// Returns the builder of the standard library, for settings that are missing here. A `stdin`,
    /// `stdout` or `stderr` that is set there is used by [`spawn`](Self::spawn) and
    /// [`status`](Self::status). [`output`](Self::output) cannot see it, and replaces it.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    /// use std::os::unix::process::CommandExt;
    ///
    /// EventLoop::new().run(async {
    ///     let mut command = Command::shell("exit 8");
    ///     command.as_std_mut().process_group(0);
    ///     assert_eq!(command.status().await?.code(), Some(8));
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn as_std_mut(&mut self) -> &mut process::Command {
        &mut self.std
    }

    /// Starts the process. A standard input or output that was not set is inherited.
    ///
    /// The loop stands still while the operating system starts the process, for about a
    /// millisecond, as in asyncio and in the standard library.
    ///
    /// asyncio: `create_subprocess_exec`, `create_subprocess_shell`.
    ///
    /// # Errors
    ///
    /// If the program or the directory does not exist ([`NotFound`](io::ErrorKind::NotFound)), or
    /// may not be executed. If there is no room for another process or descriptor. The text names
    /// the program, and the [`source`](std::error::Error::source) of the error is that of the
    /// operating system. In all these cases no process was started. Only if the loop cannot watch
    /// the pipes of a process that was started, because its poller has no room or no memory left,
    /// is the process killed.
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Cost
    ///
    /// That of the operating system. On Linux a descriptor for the process, and one for each pipe.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    /// use std::io::ErrorKind;
    ///
    /// EventLoop::new().run(async {
    ///     let error = Command::new("/no/such/program").spawn().unwrap_err();
    ///     assert_eq!(error.kind(), ErrorKind::NotFound);
    ///     assert!(error.to_string().starts_with("cannot start /no/such/program: "));
    /// });
    /// ```
    #[track_caller]
    pub fn spawn(&mut self) -> io::Result<Child> {
        self.start("process::Command::spawn()")
    }

    #[track_caller]
    fn start(&mut self, asked: &str) -> io::Result<Child> {
        let kernel = running(asked);
        let made_at = Location::caller();
        orphans::reap();
        // If this fails, no process was started.
        kernel.reactor()?;
        let program = self.std.get_program().to_owned();
        let reserved = Pidfd::reserve(&kernel)?;
        let child = self.std.spawn().map_err(|error| {
            let directory = self.std.get_current_dir().map(Path::to_owned);
            io::Error::new(error.kind(), NotStarted { program: program.clone(), directory, error })
        })?;
        drop(reserved);
        let name = match &self.line {
            Some(line) => line.clone(),
            None => Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned(),
        };
        Child::new(&kernel, child, name, self.kill_on_drop, made_at)
    }

    /// Starts the process, and returns a future that reads its outputs until their ends and waits
    /// until it has ended, like [`communicate`](Child::communicate).
    ///
    /// Unless [`stdout`](Self::stdout) and [`stderr`](Self::stderr) were called, both are piped;
    /// and unless [`stdin`](Self::stdin) was, there is no input. A piped input is closed at once.
    ///
    /// A command that was made of a builder of the standard library keeps the input of that
    /// builder, which is inherited if it was not set. Its outputs are piped, even if they were set
    /// there, because that builder does not show them. Later starts then inherit them. To keep a
    /// file as an output, pass it to `stdout` or `stderr` of this builder.
    ///
    /// The process runs from this call on, not from the first poll. So the future borrows nothing,
    /// and can be spawned.
    ///
    /// Cancel safety: if it is dropped, the output is lost. The process runs on, unless
    /// [`kill_on_drop`](Self::kill_on_drop) is set.
    ///
    /// asyncio: `create_subprocess_exec(.., stdout=PIPE, stderr=PIPE)` and `communicate()`.
    ///
    /// # Errors
    ///
    /// When awaited: the errors of [`spawn`](Self::spawn) and of
    /// [`communicate`](Child::communicate).
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, gather, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     let words = ["one", "two", "three"];
    ///     let outputs = gather(words.map(|word| Command::new("echo").arg(word).output())).await.unwrap();
    ///     for (word, output) in words.into_iter().zip(outputs) {
    ///         assert_eq!(output?.stdout, format!("{word}\n").into_bytes());
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn output(&mut self) -> RunOutput {
        self.set_others(Stdio::null, Stdio::piped, Stdio::piped);
        let child = self.start("process::Command::output()");
        // As before, for a later start.
        self.set_others(Stdio::inherit, Stdio::inherit, Stdio::inherit);
        let child = child.map(|mut child| {
            child.stdin = None;
            (child.wait(), child)
        });
        let collecting = async move {
            let (wait, mut child) = child?;
            child.collect(b"", &Cell::new(0), wait).await
        };
        RunOutput { collecting: Box::pin(collecting) }
    }

    /// Starts the process, and returns a future that waits until it has ended.
    ///
    /// Unless [`stdin`](Self::stdin), [`stdout`](Self::stdout) and [`stderr`](Self::stderr) were
    /// called, these are inherited. Pipes are closed at once.
    ///
    /// The process runs from this call on, not from the first poll. So the future borrows nothing,
    /// and can be spawned.
    ///
    /// Cancel safety: if it is dropped, the process runs on, unless
    /// [`kill_on_drop`](Self::kill_on_drop) is set.
    ///
    /// asyncio: `create_subprocess_exec(..)` and `wait()`.
    ///
    /// # Errors
    ///
    /// When awaited: the errors of [`spawn`](Self::spawn) and of [`wait`](Child::wait).
    ///
    /// # Panics
    ///
    /// If no loop is running on this thread.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::{EventLoop, process::Command};
    ///
    /// EventLoop::new().run(async {
    ///     assert_eq!(Command::shell("exit 7").status().await?.code(), Some(7));
    ///     Ok::<(), std::io::Error>(())
    /// })
    /// # .unwrap();
    /// ```
    #[track_caller]
    pub fn status(&mut self) -> RunStatus {
        // What was not set is inherited, as in `spawn`. A builder of the standard library may have
        // set something that we do not see.
        let child = self.start("process::Command::status()");
        RunStatus {
            child: child.map(|mut child| {
                child.close_pipes();
                (child.wait(), child)
            }),
        }
    }

    /// Sets these, where none was chosen.
    fn set_others(&mut self, stdin: fn() -> Stdio, stdout: fn() -> Stdio, stderr: fn() -> Stdio) {
        let [has_stdin, has_stdout, has_stderr] = self.chosen;
        if !has_stdin {
            self.std.stdin(stdin());
        }
        if !has_stdout {
            self.std.stdout(stdout());
        }
        if !has_stderr {
            self.std.stderr(stderr());
        }
    }
}

/// Takes over all settings. [`spawn`](Command::spawn) and [`status`](Command::status) use its `stdin`,
/// `stdout` and `stderr`. [`output`](Command::output) uses only its `stdin`, and replaces the others.
impl From<process::Command> for Command {
    fn from(std: process::Command) -> Self {
        // Only the standard library knows whether the input was set.
        Command { std, line: None, kill_on_drop: false, chosen: [true, false, false] }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("std", &self.std).field("kill_on_drop", &self.kill_on_drop).finish()
    }
}

/// The error of the operating system, with the program.
#[derive(Debug)]
struct NotStarted {
    program: OsString,
    directory: Option<PathBuf>,
    error: io::Error,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start {}", Path::new(&self.program).display())?;
        if let Some(directory) = &self.directory {
            write!(f, " in {}", directory.display())?;
        }
        write!(f, ": {}", self.error)
    }
}

impl std::error::Error for NotStarted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The future of [`Command::output`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, process::Command, spawn};
///
/// EventLoop::new().run(async {
///     let task = spawn(Command::new("echo").arg("hello").output());
///     assert_eq!(task.await.unwrap()?.stdout, b"hello\n");
///     Ok::<(), std::io::Error>(())
/// })
/// # .unwrap();
/// ```
#[must_use = "the process was started; await this for its output"]
pub struct RunOutput {
    collecting: Pin<Box<dyn Future<Output = io::Result<Output>>>>,
}

impl Future for RunOutput {
    type Output = io::Result<Output>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.collecting.as_mut().poll(context)
    }
}

impl fmt::Debug for RunOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunOutput").finish_non_exhaustive()
    }
}

/// The future of [`Command::status`].
///
/// # Examples
///
/// ```
/// use onelane::{EventLoop, process::Command, timeout};
/// use std::time::Duration;
///
/// EventLoop::with_virtual_clock().run(async {
///     let mut command = Command::new("sleep");
///     let run = command.arg("3600").kill_on_drop(true).status();
///     assert!(timeout(Duration::from_secs(5), run).await.is_err()); // and it is killed
/// });
/// ```
#[derive(Debug)]
#[must_use = "the process was started; await this for its exit status"]
pub struct RunStatus {
    child: io::Result<(Wait, Child)>,
}

impl Future for RunStatus {
    type Output = io::Result<ExitStatus>;

    /// If the process could not be started, the second poll returns a copy of the error.
    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.child {
            Ok((wait, _)) => Pin::new(wait).poll(context),
            Err(error) => {
                let copy = io::Error::new(error.kind(), error.to_string());
                Poll::Ready(Err(std::mem::replace(error, copy)))
            }
        }
    }
}
