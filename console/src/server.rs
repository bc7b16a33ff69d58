//! The server: a thread with a small tokio runtime, which copies the tables of loops once per
//! interval and sends them to the clients.
//!
//! ```text
//!   Table of loop 1 --,                          ,--> channel ------------------> client
//!   Table of loop 2 --+-- publish, each second --+--> channel ------------------> client
//!                                                 '-> histograms of one task ---> client
//! ```
//!
//! No loop waits for the server, except for the lock of its table while that is copied.
//!
//! If a client has not taken the whole last update, nothing is copied. The changes stay in the
//! tables, where they take no more room when there are more of them. So a slow client gets fewer
//! updates, but current ones. If there are several clients, one that takes nothing for ten
//! intervals is disconnected, because the others wait for it.
//!
//! Servers are found by their addresses, so several loops can share one.

use crate::table::{Changes, Table};
use crate::wire::{self, Anchor, Writer};
use console_api::instrument::instrument_server::{Instrument, InstrumentServer};
use console_api::instrument::{
    InstrumentRequest, PauseRequest, PauseResponse, ResumeRequest, ResumeResponse, State, StateRequest,
    TaskDetailsRequest, Temporality, Update,
};
use console_api::tasks::TaskDetails;
use console_api::tasks::task_details::PollTimesHistogram;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, Sleep};
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Number of messages of one update. A message has about a megabyte.
const MESSAGES: usize = 1_000;
/// Number of intervals that the other clients wait for one that does not read.
const PATIENCE: u32 = 10;
/// How long the end of the last loop waits until the clients have received the last update, and
/// their connections have ended.
const FAREWELL: Duration = Duration::from_millis(500);
/// Time until the next attempt to accept a connection after one that has failed, usually because the
/// process has too many descriptors open. The listener stays ready then, so without a pause the
/// server would use all the time of a core.
const ACCEPTS_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A loop, as the server and its probe share it.
#[derive(Debug)]
pub(crate) struct Loop {
    /// Unique in the process.
    pub(crate) number: u64,
    table: Mutex<Table>,
    /// Clients are connected.
    pub(crate) is_watched: AtomicBool,
}

impl Loop {
    pub(crate) fn new(table: Table) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        Loop { number, table: Mutex::new(table), is_watched: AtomicBool::new(false) }
    }

    /// A panic while the table was locked has left at most one entry out of date.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server that runs. When it is dropped, it sends the last update and ends.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    loops: Arc<Mutex<Vec<Arc<Loop>>>>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The servers of this process, by their addresses. A server that ends stays here until its address
/// is free: its `Weak` is empty, and who wants the address waits. Others do not wait. The lock is held
/// while a server starts.
static SERVERS: Mutex<Vec<(SocketAddr, Weak<Server>)>> = Mutex::new(Vec::new());
/// Notified when a server has ended.
static ENDED: Condvar = Condvar::new();

fn servers() -> MutexGuard<'static, Vec<(SocketAddr, Weak<Server>)>> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds a loop to the server at one of these addresses. If there is none, starts one at the first
/// address that is free.
pub(crate) fn join(addresses: &[SocketAddr], interval: Duration, event_loop: &Arc<Loop>) -> io::Result<Arc<Server>> {
    let ends = |servers: &mut Vec<(SocketAddr, Weak<Server>)>| {
        servers.iter().any(|(address, server)| addresses.contains(address) && server.strong_count() == 0)
    };
    let mut servers = ENDED.wait_while(servers(), ends).unwrap_or_else(PoisonError::into_inner);
    let running = servers.iter().find(|(address, _)| addresses.contains(address));
    let server = match running.and_then(|(_, server)| server.upgrade()) {
        Some(server) => server,
        None => {
            let server = Arc::new(Server::start(addresses, interval)?);
            servers.push((server.address, Arc::downgrade(&server)));
            server
        }
    };
    server.loops.lock().unwrap_or_else(PoisonError::into_inner).push(event_loop.clone());
    Ok(server)
}

/// A loop was dropped. If it was the last one, the server ends.
pub(crate) fn leave(server: Arc<Server>, event_loop: &Loop) {
    event_loop.table().close(Instant::now());
    let last = {
        // Nobody joins the server between this and the end of the block.
        let _servers = servers();
        Arc::into_inner(server)
    };
    let Some(server) = last else { return };
    let address = server.address;
    drop(server);
    servers().retain(|(other, server)| *other != address || server.strong_count() > 0);
    ENDED.notify_all();
}

impl Server {
    fn start(addresses: &[SocketAddr], interval: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(addresses).map_err(|error| explain(addresses, error))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let loops = Arc::<Mutex<Vec<Arc<Loop>>>>::default();
        let (commands, requests) = mpsc::channel(64);
        let (end, ended) = oneshot::channel();
        let (service, copy) = (InstrumentServer::new(Service { commands }), loops.clone());
        let listener = {
            let _in_the_runtime = runtime.enter();
            Accepted::from(TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?).with_nodelay(Some(true)))
        };
        let serve = move || runtime.block_on(serve(service, listener, requests, copy, interval, ended));
        let thread = std::thread::Builder::new().name("onelane-console".into()).spawn(serve)?;
        Ok(Server { address, loops, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The thread may have ended by a panic.
        drop(self.end.take());
        let _panic = self.thread.take().map(JoinHandle::join);
    }
}

fn explain(addresses: &[SocketAddr], error: io::Error) -> io::Error {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; another program listens there: choose another port, or port 0 for any free one",
        io::ErrorKind::AddrNotAvailable => "; it is not an address of this machine",
        _ => "",
    };
    io::Error::new(error.kind(), format!("the console cannot listen on {}: {error}{hint}", addresses.join(" or ")))
}

/// What the server does until its last loop was dropped.
async fn serve(
    service: InstrumentServer<Service>,
    listener: Accepted<TcpIncoming>,
    requests: mpsc::Receiver<Command>,
    loops: Arc<Mutex<Vec<Arc<Loop>>>>,
    interval: Duration,
    ended: oneshot::Receiver<()>,
) {
    let (goodbye, leaving) = oneshot::channel::<()>();
    let publish = async move {
        let until = Publisher::new(loops, interval).run(requests, ended).await;
        // The clients' streams have ended, and now the connections may.
        drop(goodbye);
        tokio::time::sleep_until(until.into()).await;
    };
    let answer = tonic::transport::Server::builder().serve_with_incoming_shutdown(service, listener, async {
        let _ = leaving.await;
    });
    tokio::select! {
        () = publish => {}
        // An error of the listener leaves the program without a console.
        _ = answer => {}
    }
}

/// The connections that a listener accepts. After an attempt that has failed there is a pause; tonic
/// would try again at once.
struct Accepted<L> {
    listener: L,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<L> From<L> for Accepted<L> {
    fn from(listener: L) -> Self {
        Accepted { listener, pause: None }
    }
}

impl<L: Stream<Item = io::Result<T>> + Unpin, T> Stream for Accepted<L> {
    type Item = io::Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(Pin::new(&mut self.listener).poll_next(cx)) {
                // Only this connection has failed, before it was accepted.
                Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Some(Err(_)) => self.pause = Some(Box::pin(tokio::time::sleep(ACCEPTS_AGAIN_AFTER))),
                accepted => return Poll::Ready(accepted),
            }
        }
    }
}

/// What a client asks for.
#[derive(Debug)]
enum Command {
    Watch(mpsc::Sender<Update>),
    WatchState(mpsc::Sender<State>),
    /// Returns whether the task exists.
    WatchTask(u64, mpsc::Sender<TaskDetails>, oneshot::Sender<bool>),
    SetPaused(bool),
}

struct Client {
    updates: mpsc::Sender<Update>,
    /// Since when it has not taken the whole last update.
    behind: Option<Instant>,
}

fn is_behind(client: &mpsc::Sender<Update>) -> bool {
    client.capacity() < client.max_capacity()
}

struct Publisher {
    loops: Arc<Mutex<Vec<Arc<Loop>>>>,
    interval: Duration,
    anchor: Anchor,
    clients: Vec<Client>,
    /// Those that have connected since the last update.
    newcomers: Vec<mpsc::Sender<Update>>,
    of_state: Vec<mpsc::Sender<State>>,
    /// The tasks whose histograms a client watches.
    of_tasks: Vec<(u64, mpsc::Sender<TaskDetails>)>,
    is_paused: bool,
}

impl Publisher {
    fn new(loops: Arc<Mutex<Vec<Arc<Loop>>>>, interval: Duration) -> Self {
        Publisher {
            loops,
            interval,
            anchor: Anchor::now(),
            clients: Vec::new(),
            newcomers: Vec::new(),
            of_state: Vec::new(),
            of_tasks: Vec::new(),
            is_paused: false,
        }
    }

    /// Returns when the connections must have ended.
    async fn run(&mut self, mut requests: mpsc::Receiver<Command>, mut ended: oneshot::Receiver<()>) -> Instant {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = &mut ended => break,
                Some(command) = requests.recv() => self.obey(command),
                _ = ticks.tick() => self.tick(),
            }
        }
        // The last update, for clients that read.
        let until = Instant::now() + FAREWELL;
        let waits = |client: &Client| is_behind(&client.updates) && !client.updates.is_closed();
        while self.clients.iter().any(waits) && Instant::now() < until {
            tokio::time::sleep(FAREWELL / 100).await;
        }
        self.is_paused = false;
        self.tick();
        until
    }

    fn loops(&self) -> MutexGuard<'_, Vec<Arc<Loop>>> {
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Watch(client) => {
                self.newcomers.push(client);
                self.update();
            }
            Command::WatchState(client) => {
                if client.try_send(self.state()).is_ok() {
                    self.of_state.push(client);
                }
            }
            Command::WatchTask(id, client, exists) => {
                let details = self.details(id);
                let _ = exists.send(details.is_some());
                if let Some(details) = details
                    && client.try_send(details).is_ok()
                {
                    self.of_tasks.push((id, client));
                }
            }
            Command::SetPaused(is_paused) => {
                self.is_paused = is_paused;
                let state = self.state();
                self.of_state
                    .retain(|client| !matches!(client.try_send(state), Err(mpsc::error::TrySendError::Closed(_))));
            }
        }
    }

    fn state(&self) -> State {
        let temporality = if self.is_paused { Temporality::Paused } else { Temporality::Live };
        State { temporality: temporality.into() }
    }

    fn tick(&mut self) {
        self.of_state.retain(|client| !client.is_closed());
        self.update();
        if !self.is_paused {
            let tasks = std::mem::take(&mut self.of_tasks);
            self.of_tasks = tasks.into_iter().filter(|(id, client)| self.send_details(*id, client)).collect();
        }
    }

    /// Sends an update, if somebody wants it and everybody has taken the last one.
    fn update(&mut self) {
        let now = Instant::now();
        self.newcomers.retain(|client| !client.is_closed());
        self.clients.retain(|client| !client.updates.is_closed());
        for client in &mut self.clients {
            client.behind = is_behind(&client.updates).then(|| client.behind.unwrap_or(now));
        }
        if self.clients.len() + self.newcomers.len() > 1 {
            let limit = self.interval.saturating_mul(PATIENCE);
            self.clients.retain(|client| client.behind.is_none_or(|since| now.duration_since(since) < limit));
        }
        if self.clients.is_empty() {
            // Nobody is left who could end the pause.
            self.is_paused = false;
        }
        let is_wanted = !self.is_paused || !self.newcomers.is_empty();
        if is_wanted && self.clients.iter().all(|client| client.behind.is_none()) {
            self.publish(now);
        } else {
            self.loops().iter().for_each(|event_loop| event_loop.table().compact());
        }
    }

    /// Returns whether the client wants more.
    fn send_details(&self, id: u64, client: &mpsc::Sender<TaskDetails>) -> bool {
        // If the client is slow, it gets newer figures later. If the task has ended, the stream
        // ends.
        let Some(details) = self.details(id) else { return false };
        !matches!(client.try_send(details), Err(mpsc::error::TrySendError::Closed(_)))
    }

    fn details(&self, id: u64) -> Option<TaskDetails> {
        let (number, task) = wire::local(id);
        let loops = self.loops();
        let event_loop = loops.iter().find(|event_loop| event_loop.number == number)?;
        let [polls, scheduled] = event_loop.table().histograms(task)?;
        Some(TaskDetails {
            task_id: Some(id.into()),
            now: Some(self.anchor.timestamp(Instant::now())),
            poll_times_histogram: Some(PollTimesHistogram::Histogram(polls.to_wire())),
            scheduled_times_histogram: Some(scheduled.to_wire()),
        })
    }

    /// Sends what has changed in each loop to the clients, and everything that lives to newcomers.
    /// Both are copied at the same moment, so that all continue from there.
    fn publish(&mut self, now: Instant) {
        let newcomers = std::mem::take(&mut self.newcomers);
        let is_watched = !(newcomers.is_empty() && self.clients.is_empty());
        let (mut changes, mut snapshots) = (Vec::new(), Vec::new());
        self.loops().retain(|event_loop| {
            let mut table = event_loop.table();
            event_loop.is_watched.store(is_watched, Ordering::Relaxed);
            table.watch(is_watched);
            let changed = table.take_changes(now);
            if !newcomers.is_empty() {
                snapshots.push((event_loop.number, table.snapshot()));
            }
            let stays = !changed.is_last;
            changes.push((event_loop.number, changed));
            stays
        });
        if !self.clients.is_empty() {
            let updates = self.written(wire::empty(&self.anchor, now), now, changes);
            let clients = self.clients.drain(..).map(|client| client.updates).collect();
            self.send(updates, clients);
        }
        if !newcomers.is_empty() {
            let updates = self.written(wire::first(&self.anchor, now), now, snapshots);
            self.send(updates, newcomers);
        }
    }

    fn written(&self, first: Update, now: Instant, copies: Vec<(u64, Changes)>) -> Vec<Update> {
        let mut updates = vec![first];
        for (number, copy) in copies {
            Writer::new(&self.anchor, now, number, &mut updates).write(&copy);
        }
        updates
    }

    /// Sends the same messages to these clients, and keeps those that are still connected.
    fn send(&mut self, mut updates: Vec<Update>, clients: Vec<mpsc::Sender<Update>>) {
        let last = clients.len().saturating_sub(1);
        for (nth, client) in clients.into_iter().enumerate() {
            let copy = if nth == last { std::mem::take(&mut updates) } else { updates.clone() };
            if copy.into_iter().all(|update| client.try_send(update).is_ok()) {
                self.clients.push(Client { updates: client, behind: None });
            }
        }
    }
}

/// The calls of the protocol.
#[derive(Debug)]
struct Service {
    commands: mpsc::Sender<Command>,
}

impl Service {
    async fn command(&self, command: Command) -> Result<(), Status> {
        self.commands.send(command).await.map_err(|_| Status::unavailable("the loop has ended"))
    }
}

#[tonic::async_trait]
impl Instrument for Service {
    type WatchUpdatesStream = Items<Update>;
    type WatchTaskDetailsStream = Items<TaskDetails>;
    type WatchStateStream = Items<State>;

    async fn watch_updates(&self, _: Request<InstrumentRequest>) -> Result<Response<Self::WatchUpdatesStream>, Status> {
        let (client, updates) = mpsc::channel(MESSAGES);
        self.command(Command::Watch(client)).await?;
        Ok(Response::new(Items(updates)))
    }

    async fn watch_task_details(
        &self,
        request: Request<TaskDetailsRequest>,
    ) -> Result<Response<Self::WatchTaskDetailsStream>, Status> {
        let id = request.into_inner().id.ok_or_else(|| Status::invalid_argument("the request names no task"))?;
        let (client, details) = mpsc::channel(2);
        let (exists, answer) = oneshot::channel();
        self.command(Command::WatchTask(id.id, client, exists)).await?;
        match answer.await {
            Ok(true) => Ok(Response::new(Items(details))),
            Ok(false) => Err(Status::not_found("there is no such task, or it has ended")),
            Err(_) => Err(Status::unavailable("the loop has ended")),
        }
    }

    async fn watch_state(&self, _: Request<StateRequest>) -> Result<Response<Self::WatchStateStream>, Status> {
        let (client, states) = mpsc::channel(16);
        self.command(Command::WatchState(client)).await?;
        Ok(Response::new(Items(states)))
    }

    async fn pause(&self, _: Request<PauseRequest>) -> Result<Response<PauseResponse>, Status> {
        self.command(Command::SetPaused(true)).await?;
        Ok(Response::new(PauseResponse {}))
    }

    async fn resume(&self, _: Request<ResumeRequest>) -> Result<Response<ResumeResponse>, Status> {
        self.command(Command::SetPaused(false)).await?;
        Ok(Response::new(ResumeResponse {}))
    }
}

/// The messages to a client.
#[derive(Debug)]
struct Items<T>(mpsc::Receiver<T>);

impl<T> Stream for Items<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|item| item.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// A listener whose process has no descriptor left, for a while.
    struct Exhausted {
        attempts: usize,
        fails_until: usize,
    }

    impl Stream for Exhausted {
        type Item = io::Result<usize>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<usize>>> {
            self.attempts += 1;
            let attempt = self.attempts;
            let emfile = || io::Error::from_raw_os_error(24);
            Poll::Ready(Some(if attempt < self.fails_until { Err(emfile()) } else { Ok(attempt) }))
        }
    }

    #[test]
    fn pause_when_no_descriptor_is_left() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut accepted = Accepted::from(Exhausted { attempts: 0, fails_until: 3 });
            let begun = Instant::now();
            let mut polls = 0;
            let connection = poll_fn(|cx| {
                polls += 1;
                let poll = Pin::new(&mut accepted).poll_next(cx);
                // Each poll makes one attempt: when one has failed, the stream sleeps.
                assert_eq!(accepted.listener.attempts, polls);
                poll
            });
            assert_eq!(connection.await.unwrap().unwrap(), 3);
            assert_eq!(polls, 3);
            assert!(begun.elapsed() >= 2 * ACCEPTS_AGAIN_AFTER);
        });
    }
}
