//! Shows the tasks of a [`onelane`] loop in [`tokio-console`](https://docs.rs/tokio-console).
//!
//! A [`Console`] is a probe. It listens at an address and serves the protocol of `tokio-console`
//! there. The program needs no `tokio_unstable`, no `tracing`, and no runtime of its own:
//!
//! ```
//! use onelane::EventLoop;
//! use onelane_console::Console;
//!
//! # fn main() -> std::io::Result<()> {
//! # let address = "127.0.0.1:0";
//! # #[cfg(any())]
//! let address = "127.0.0.1:6669"; // where `tokio-console` looks
//! let event_loop = EventLoop::builder().probe(Console::bind(address)?).build();
//! event_loop.run(async {
//!     // The program.
//! });
//! # Ok(())
//! # }
//! ```
//!
//! Then, in another terminal:
//!
//! ```text
//! cargo install tokio-console
//! tokio-console
//! ```
//!
//! # What the console shows
//!
//! | in the console | what it is |
//! | --- | --- |
//! | a task | a living task, with its id, its name, and where it was spawned; `spawned.by` is who spawned it, and `loop` and `thread` tell loops apart |
//! | busy, scheduled, idle | in its steps, in the ready queue, waiting. The times are those of the machine's clock, also if the loop has a virtual clock |
//! | polls | its steps, which `Metrics::steps` counts |
//! | wakes, self wakes | its wakes, which `Metrics::wakes` counts, and those by the task itself. A spawn and a cancellation are shown as onelane counts them: a spawn is no wake, the cancellation of a waiting task is one |
//! | wakers | onelane's own futures need no counted wakers. So each wait counts as a waker that is cloned when the wait begins and dropped when it ends. Wakers that other crates and other threads hold are counted between turns, now and then: `TaskRef::outside_wakers`. New names are looked up then, too |
//! | the warning that a task has lost its waker | the task waits for nothing of onelane, and nobody else holds a waker of it |
//! | a resource `EventLoop` | the loop, with counters of `Metrics`. It is the parent of its other resources |
//! | resources `Sleep` and `Timer` | timers of sleeps, and of callbacks and timeouts, with their deadlines since the loop was created, on its own clock |
//! | a resource `Task` | a task that is awaited |
//! | resources such as `Lock`, `Queue`, `Gather`, `Socket` | what tasks have waited for. Its location is where it was created; if it has a name, its location is the first await. It disappears five seconds after the last wait, because the loop does not report when it is dropped |
//! | an async op | one wait of one task: `at` is the source location of the await, `what` is what `call_graph()` says, as of the beginning of the wait. Its polls are the steps of the task during the wait. Its busy time is not measured |
//! | histograms of a task | the times of its steps, and its times in the ready queue |
//!
//! # Several loops and clients
//!
//! Any number of clients may be connected. A client that connects late gets everything that lives.
//! A client that reads slowly gets fewer updates, each with all changes. If there are others, a
//! client that reads nothing for ten intervals is disconnected.
//!
//! Several loops of a process, on any threads, can share an address: the second [`Console`] joins
//! the server of the first. Each loop needs a `Console` of its own.
//!
//! # Limits
//!
//! Anyone who can connect to the address can read the names of the tasks and their source
//! locations. The default address can be reached only from the same machine.
//!
//! If more than 10,000 tasks, resources or waits begin and end between two updates, the others are
//! not shown. The console counts them as dropped events.
//!
//! # Cost
//!
//! The server has a thread of its own. The loop's thread takes a lock and reads the clock in each
//! event, and updates a table: a yield takes about 2,600 instructions, and spawning and awaiting a
//! task about 15,000. The table has an entry for each living task, wait and timer. While clients
//! are connected, the server copies what has changed once per interval, and holds the lock
//! meanwhile.
//!
//! When the last loop is dropped, the server waits for up to half a second until the clients have
//! the last update.

mod histogram;
mod server;
mod table;
mod wire;
mod words;

use onelane::probe::{Event, EventKind, Probe};
use server::{Loop, Server};
use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use table::Table;

/// A probe that shows its loop in `tokio-console`.
///
/// Pass it to [`LoopBuilder::probe`](onelane::LoopBuilder::probe), one for each loop. To use another probe
/// as well, combine them with [`Tee`](onelane::probe::Tee). The server ends when the last loop that
/// uses its address was dropped.
///
/// # Examples
///
/// ```
/// use onelane::EventLoop;
/// use onelane::probe::{Counters, Tee};
/// use onelane_console::Console;
/// use std::rc::Rc;
///
/// # fn main() -> std::io::Result<()> {
/// let (console, counters) = (Console::bind("127.0.0.1:0")?, Rc::new(Counters::new()));
/// println!("run: tokio-console http://{}", console.address());
/// let event_loop = EventLoop::builder().probe(Tee(console, counters)).build();
/// event_loop.run(async {});
/// # Ok(())
/// # }
/// ```
pub struct Console {
    event_loop: Arc<Loop>,
    /// Taken out when the console is dropped.
    server: Option<Arc<Server>>,
    /// When `look` was called, and how long that took.
    looked: Cell<Option<(Instant, Duration)>>,
}

/// The settings of a [`Console`].
///
/// # Examples
///
/// ```
/// use onelane_console::Options;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let console = Options::new().address("127.0.0.1:0")?.publish_interval(Duration::from_millis(250)).bind()?;
/// assert!(console.address().port() > 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until `bind`"]
pub struct Options {
    addresses: Vec<SocketAddr>,
    publish_interval: Duration,
}

/// The address to which `tokio-console` connects if it is started without arguments.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6669);

impl Console {
    /// Listens at this address, with the default settings. Port 0 stands for any free port, which
    /// [`address`](Self::address) then returns. Without arguments, `tokio-console` connects to
    /// `127.0.0.1:6669`.
    ///
    /// # Errors
    ///
    /// As [`Options::address`] and [`Options::bind`].
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane_console::Console;
    /// use std::io::ErrorKind;
    /// use std::net::TcpListener;
    ///
    /// let other = TcpListener::bind("127.0.0.1:0").unwrap();
    /// let error = Console::bind(other.local_addr().unwrap()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::AddrInUse);
    /// ```
    #[track_caller]
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Console> {
        Options::new().address(address)?.bind()
    }

    /// Listens, with the settings of the environment variables: `Options::from_env()?.bind()`.
    ///
    /// # Errors
    ///
    /// As [`Options::from_env`] and [`Options::bind`].
    ///
    /// # Examples
    ///
    /// A program that serves a console if the variable is set, and only then:
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane_console::Console;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut builder = EventLoop::builder();
    /// if std::env::var_os("TOKIO_CONSOLE_BIND").is_some() {
    ///     builder = builder.probe(Console::from_env()?);
    /// }
    /// builder.build().run(async {});
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn from_env() -> io::Result<Console> {
        Options::from_env()?.bind()
    }

    /// Returns the address at which the server listens.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane_console::Console;
    ///
    /// let first = Console::bind("127.0.0.1:0").unwrap();
    /// // Another loop of this process can share the server.
    /// let second = Console::bind(first.address()).unwrap();
    /// assert_eq!(first.address(), second.address());
    /// ```
    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().expect("only `drop` takes it out").address
    }

    /// Asks for what no event reports, if a client is connected, in at most a twentieth of the
    /// time.
    fn look(&self) {
        if !self.event_loop.is_watched.load(Ordering::Relaxed) {
            return;
        }
        let begun = Instant::now();
        if self.looked.get().is_some_and(|(last, took)| begun.saturating_duration_since(last) < 20 * took) {
            return;
        }
        if onelane::EventLoop::try_current().is_err() {
            return;
        }
        let tasks = onelane::all_tasks();
        let wakers = |task: &onelane::TaskRef| task.outside_wakers().map_or(0, |count| count as u64);
        let seen: Vec<_> = tasks.iter().map(|task| (task.id(), wakers(task), task.name())).collect();
        drop(tasks);
        self.event_loop.table().look_at(&seen);
        self.looked.set(Some((begun, begun.elapsed())));
    }
}

impl Probe for Console {
    fn event(&self, event: &Event<'_>) {
        match event.kind {
            EventKind::TurnEnd => return self.look(),
            EventKind::CallEnd | EventKind::Unpark | EventKind::Fail { .. } => return,
            EventKind::Park { .. } => self.look(),
            _ => {}
        }
        self.event_loop.table().event(Instant::now(), event.time, &event.kind);
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server::leave(server, &self.event_loop);
        }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Options { addresses: vec![DEFAULT], publish_interval: Duration::from_secs(1) }
    }
}

impl Options {
    /// The default settings: the address `127.0.0.1:6669`, to which `tokio-console` connects, and
    /// an interval of one second.
    ///
    /// # Examples
    ///
    /// ```
    /// let text = format!("{:?}", onelane_console::Options::new());
    /// assert!(text.contains("127.0.0.1:6669") && text.contains("1s"));
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// The default settings, changed by these environment variables, if they are set and not empty.
    /// The `console-subscriber` of tokio has the same variables.
    ///
    /// | variable | setting | example |
    /// | --- | --- | --- |
    /// | `TOKIO_CONSOLE_BIND` | [`address`](Self::address) | `127.0.0.1:6670` |
    /// | `TOKIO_CONSOLE_PUBLISH_INTERVAL` | [`publish_interval`](Self::publish_interval), in `ns`, `us`, `ms`, `s` or `m` | `250ms` |
    ///
    /// Other variables of `console-subscriber` are ignored. There is no retention to be set: tasks
    /// that have ended are sent once. `tokio-console --retain-for` says how long it shows them.
    ///
    /// # Errors
    ///
    /// If a value cannot be understood, or a host name cannot be resolved. The error names the
    /// variable and its value.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane_console::Options;
    ///
    /// // If the variable is not set, this is the default.
    /// let options = Options::from_env().unwrap();
    /// println!("{options:?}");
    /// ```
    pub fn from_env() -> io::Result<Self> {
        let mut options = Self::new();
        if let Some(address) = variable("TOKIO_CONSOLE_BIND")? {
            options = options.address(&*address).map_err(|error| about("TOKIO_CONSOLE_BIND", &address, &error))?;
        }
        if let Some(interval) = variable("TOKIO_CONSOLE_PUBLISH_INTERVAL")? {
            let parsed = duration(&interval).ok_or_else(|| {
                about("TOKIO_CONSOLE_PUBLISH_INTERVAL", &interval, &"expected a time above zero, such as 500ms or 2s")
            })?;
            options = options.publish_interval(parsed);
        }
        Ok(options)
    }

    /// Sets the address. If a host name has several addresses, the first one that is free is used.
    ///
    /// # Errors
    ///
    /// If the text is not an address with a port, or a host name cannot be resolved.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane_console::Options;
    ///
    /// assert!(Options::new().address("127.0.0.1:6670").is_ok());
    /// assert!(Options::new().address("a port is missing").is_err());
    /// ```
    pub fn address(mut self, address: impl ToSocketAddrs) -> io::Result<Self> {
        self.addresses = address.to_socket_addrs()?.collect();
        if self.addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name has no address"));
        }
        Ok(self)
    }

    /// Sets the time between two updates of the clients. If the console joins a server that runs,
    /// the interval of that server remains.
    ///
    /// # Panics
    ///
    /// If the interval is zero.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane_console::Options;
    /// use std::time::Duration;
    ///
    /// let quick = Options::new().publish_interval(Duration::from_millis(100));
    /// assert!(format!("{quick:?}").contains("100ms"));
    /// ```
    #[track_caller]
    pub fn publish_interval(mut self, interval: Duration) -> Self {
        assert!(!interval.is_zero(), "publish_interval(0) was called, but the server needs time between two updates");
        self.publish_interval = interval;
        self
    }

    /// Listens, or joins the server of this process that listens there.
    ///
    /// # Errors
    ///
    /// If the address is used by another program, or is not one of this machine; the error says
    /// which. If the thread cannot be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use onelane::EventLoop;
    /// use onelane_console::Options;
    ///
    /// let console = Options::new().address("127.0.0.1:0").unwrap().bind().unwrap();
    /// EventLoop::builder().probe(console).build().run(async {});
    /// ```
    #[track_caller]
    pub fn bind(self) -> io::Result<Console> {
        let event_loop = Arc::new(Loop::new(Table::new(Location::caller())));
        let server = server::join(&self.addresses, self.publish_interval, &event_loop)?;
        Ok(Console { event_loop, server: Some(server), looked: Cell::new(None) })
    }
}

/// The value of an environment variable. An empty value counts as none.
fn variable(name: &str) -> io::Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name}: {error}"))),
    }
}

fn about(name: &str, value: &str, error: &dyn fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{name}={value:?}: {error}"))
}

/// `500ms`, `2s`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let number: u64 = text[..end].parse().ok()?;
    let duration = match text[end..].trim() {
        "ns" => Duration::from_nanos(number),
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" | "sec" => Duration::from_secs(number),
        "m" | "min" => Duration::from_secs(number.checked_mul(60)?),
        _ => return None,
    };
    Some(duration).filter(|duration| !duration.is_zero())
}
