//! A client of the protocol, as `tokio-console` is one, watches loops. What it sees is compared
//! with `metrics()` and `call_graph()`.

use console_api::async_ops::{AsyncOp, Stats as WaitStats};
use console_api::instrument::instrument_client::InstrumentClient;
use console_api::instrument::{
    InstrumentRequest, PauseRequest, ResumeRequest, State, StateRequest, TaskDetailsRequest, Temporality, Update,
};
use console_api::resources::{Resource, Stats as ResourceStats};
use console_api::tasks::task_details::PollTimesHistogram;
use console_api::tasks::{Stats as TaskStats, Task, TaskDetails};
use console_api::{Attribute, Field, Location, field};
use hdrhistogram::serialization::Deserializer;
use onelane::sync::{Barrier, BoundedSemaphore, Condition, Event, Lock, Queue, channel, oneshot};
use onelane::{Clock, EventLoop, Promise, call_later, gather, sleep, spawn, task, yield_now};
use onelane_console::{Console, Options};
use std::collections::{BTreeMap, HashMap};
use std::future::{pending, poll_fn};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Runtime;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

/// How long a client waits for what it expects. It is far more than needed.
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn console(publish_interval: Duration) -> Console {
    Options::new().address("127.0.0.1:0").unwrap().publish_interval(publish_interval).bind().unwrap()
}

/// A loop on a virtual clock, and the address of its console.
fn virtual_loop() -> (EventLoop, SocketAddr) {
    virtual_loop_with(Duration::from_millis(5))
}

fn virtual_loop_with(publish_interval: Duration) -> (EventLoop, SocketAddr) {
    let console = console(publish_interval);
    let address = console.address();
    (EventLoop::builder().clock(Clock::Virtual).probe(console).build(), address)
}

/// What a client knows, as `tokio-console` would show it.
#[derive(Default)]
struct View {
    groups: HashMap<u64, String>,
    tasks: BTreeMap<u64, (Task, TaskStats)>,
    resources: BTreeMap<u64, (Resource, ResourceStats)>,
    waits: BTreeMap<u64, (AsyncOp, WaitStats)>,
    dropped_events: u64,
    messages: usize,
    /// What has happened up to then is complete.
    now: Option<SystemTime>,
}

struct Client {
    runtime: Runtime,
    client: InstrumentClient<Channel>,
    updates: Streaming<Update>,
    view: View,
}

fn text(field: &Field) -> (String, String) {
    let Some(field::Name::StrName(name)) = &field.name else { panic!("a field without a name") };
    (name.clone(), field.value.as_ref().unwrap().to_string())
}

fn attributes(attributes: &[Attribute]) -> HashMap<String, String> {
    attributes.iter().map(|attribute| text(attribute.field.as_ref().unwrap())).collect()
}

fn is_here(location: &Option<Location>, line: u32) -> bool {
    location.as_ref().is_some_and(|at| at.file.as_deref() == Some(file!()) && at.line == Some(line))
}

impl View {
    /// Every update must make sense to a client that has received all earlier ones.
    fn apply(&mut self, update: Update) {
        self.messages += 1;
        self.now = Some(update.now.expect("each update has a time").try_into().unwrap());
        for new in update.new_metadata.into_iter().flat_map(|new| new.metadata) {
            self.groups.insert(new.id.unwrap().id, new.metadata.unwrap().target);
        }
        let Update { task_update, resource_update, async_op_update, .. } = update;
        if let Some(mut update) = task_update {
            self.dropped_events += update.dropped_events;
            for task in update.new_tasks {
                let id = task.id.unwrap().id;
                assert!(self.groups.contains_key(&task.metadata.unwrap().id));
                let stats = update.stats_update.remove(&id).expect("a new task has stats");
                let name = Self::field(&task, "task.name");
                let before = self.tasks.insert(id, (task, stats));
                assert!(before.is_none_or(|(task, _)| Self::field(&task, "task.name") != name), "it is new twice");
            }
            for (id, stats) in update.stats_update {
                self.tasks.get_mut(&id).expect("a known task").1 = stats;
            }
        }
        if let Some(mut update) = resource_update {
            self.dropped_events += update.dropped_events;
            for resource in update.new_resources {
                let id = resource.id.unwrap().id;
                assert!(self.groups.contains_key(&resource.metadata.unwrap().id));
                assert!(resource.parent_resource_id.is_none_or(|parent| self.resources.contains_key(&parent.id)));
                let stats = update.stats_update.remove(&id).expect("a new resource has stats");
                assert!(self.resources.insert(id, (resource, stats)).is_none(), "a resource is new twice");
            }
            for (id, stats) in update.stats_update {
                self.resources.get_mut(&id).expect("a known resource").1 = stats;
            }
        }
        if let Some(mut update) = async_op_update {
            self.dropped_events += update.dropped_events;
            for wait in update.new_async_ops {
                let id = wait.id.unwrap().id;
                let stats = update.stats_update.remove(&id).expect("a new wait has stats");
                assert!(self.waits.insert(id, (wait, stats)).is_none(), "a wait is new twice");
            }
            for (id, stats) in update.stats_update {
                self.waits.get_mut(&id).expect("a known wait").1 = stats;
            }
        }
    }

    fn living(&self) -> Vec<&(Task, TaskStats)> {
        self.tasks.values().filter(|(_, stats)| stats.dropped_at.is_none()).collect()
    }

    fn field(task: &Task, name: &str) -> String {
        task.fields.iter().map(text).find(|(other, _)| other == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    fn task(&self, name: &str) -> &(Task, TaskStats) {
        self.tasks.values().find(|(task, _)| Self::field(task, "task.name") == name).unwrap_or_else(|| panic!("{name}"))
    }

    fn has(&self, name: &str) -> bool {
        self.tasks.values().any(|(task, _)| Self::field(task, "task.name") == name)
    }

    /// The open waits of a task: the type of the resource, and where the task waits.
    fn waits_of(&self, task: u64) -> Vec<(String, String)> {
        let open = self.waits.values().filter(|(_, stats)| stats.dropped_at.is_none());
        let own = open.filter(|(_, stats)| stats.task_id.unwrap().id == task);
        own.map(|(wait, stats)| {
            let resource = &self.resources[&wait.resource_id.unwrap().id].0;
            (resource.concrete_type.clone(), attributes(&stats.attributes)["at"].clone())
        })
        .collect()
    }

    /// The counts of the only loop.
    fn counts(&self) -> HashMap<String, String> {
        let mut loops = self.resources.values().filter(|(resource, _)| resource.concrete_type == "EventLoop");
        let counts = attributes(&loops.next().expect("the loop").1.attributes);
        assert!(loops.next().is_none());
        counts
    }
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        Self::connect_with(address, None)
    }

    /// The window is the number of bytes that may be on the way to the client.
    fn connect_with(address: SocketAddr, window: Option<u32>) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (client, updates) = runtime.block_on(async {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let channel = endpoint.initial_stream_window_size(window).connect().await.unwrap();
            let mut client = InstrumentClient::new(channel);
            let updates = client.watch_updates(InstrumentRequest {}).await.unwrap().into_inner();
            (client, updates)
        });
        Client { runtime, client, updates, view: View::default() }
    }

    /// Applies the next update. `None` at the end of the stream.
    fn next(&mut self) -> Option<()> {
        let next = async { tokio::time::timeout(PATIENCE, self.updates.message()).await };
        let update = self.runtime.block_on(next).expect("an update in time");
        update.ok().flatten().map(|update| self.view.apply(update))
    }

    /// Applies updates until this holds.
    #[track_caller]
    fn until(&mut self, holds: impl Fn(&View) -> bool) -> &View {
        let begun = Instant::now();
        while !holds(&self.view) {
            assert!(begun.elapsed() < PATIENCE, "this never held");
            self.next().expect("the stream goes on");
        }
        &self.view
    }

    /// Applies the updates of everything that has happened up to now. An update says up to when it
    /// is complete. It may be split; the parts of the next one come behind its last part.
    fn catch_up(&mut self) -> &View {
        for _ in 0..2 {
            let now = SystemTime::now();
            self.until(|view| view.now.is_some_and(|is_complete| is_complete > now));
        }
        &self.view
    }

    fn details(&mut self, id: u64) -> Result<Streaming<TaskDetails>, tonic::Status> {
        let request = TaskDetailsRequest { id: Some(id.into()) };
        self.runtime.block_on(self.client.watch_task_details(request)).map(|response| response.into_inner())
    }
}

fn count(histogram: &[u8]) -> u64 {
    Deserializer::new().deserialize::<u64, _>(&mut &*histogram).unwrap().len()
}

fn number<T: std::str::FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number"))
}

/// A program with wakes of all kinds: by the task itself, by others, by timers, too late, and
/// merged.
async fn program() {
    let (lock, door) = (Rc::new(Lock::new(0).named("till")), Rc::new(Event::new()));
    for n in 0..4 {
        let (lock, door) = (lock.clone(), door.clone());
        drop(task::Builder::new().name(format!("clerk {n}")).spawn(async move {
            door.wait().await;
            *lock.lock().await += 1;
            yield_now().await;
            sleep(SECOND * n).await;
            let _till = lock.lock().await;
            pending::<()>().await;
        }));
    }
    let mut late = None;
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    spawn(async { poll_fn(|cx| Poll::Ready(cx.waker().clone())).await }).await.map(|waker| late = Some(waker)).unwrap();
    late.unwrap().wake();
    waker.wake_by_ref();
    waker.wake();
    yield_now().await;
    drop(spawn(async { panic!("as it should") as () }));
    spawn(pending::<()>()).cancel();
    let keeper = poll_fn(|cx| {
        std::mem::forget(cx.waker().clone());
        Poll::<()>::Pending
    });
    drop(task::Builder::new().name("keeper").spawn(keeper));
    door.set();
    onelane::call_soon(|| ());
    sleep(SECOND * 2).await;
}

#[test]
fn figures_are_those_of_the_loop() {
    let (event_loop, address) = virtual_loop();
    let mut client = Client::connect(address);
    client.until(|view| view.messages > 0);
    let main = event_loop.spawn(program());
    while !main.is_done() {
        event_loop.turn();
    }
    let wakers_of = |stats: &TaskStats| stats.waker_clones - stats.waker_drops;
    // Wakers are counted at the end of a turn, now and then.
    let begun = Instant::now();
    let has_counted = |view: &View| wakers_of(&view.task("clerk 0").1) == 0;
    while !has_counted(client.catch_up()) && begun.elapsed() < PATIENCE {
        event_loop.turn();
    }
    let (metrics, graph, view) = (event_loop.metrics(), event_loop.call_graph(), &client.view);
    let sum = |figure: fn(&TaskStats) -> u64| view.tasks.values().map(|(_, stats)| figure(stats)).sum::<u64>();
    let counts = view.counts();
    let counted = |name: &str| number::<u64>(&counts[name]);
    assert_eq!(sum(|stats| stats.poll_stats.as_ref().unwrap().polls), metrics.steps);
    assert_eq!(sum(|stats| stats.wakes) + counted("wakes_late"), metrics.wakes);
    assert!(metrics.wakes_late > 0 && metrics.wakes_merged > 0, "{metrics:?}");
    assert!(sum(|stats| stats.self_wakes) > 0);
    assert_eq!(view.tasks.len() as u64, metrics.spawned);
    assert_eq!(view.living().len() as u64, metrics.alive);
    for (name, figure) in [
        ("turns", metrics.turns),
        ("callbacks", metrics.callbacks),
        ("parks", metrics.parks),
        ("spawned", metrics.spawned),
        ("finished", metrics.finished),
        ("cancelled", metrics.cancelled),
        ("panicked", metrics.panicked),
        ("timers_pending", metrics.timers_pending),
    ] {
        assert_eq!(counted(name), figure, "{name}");
    }
    let timers = view.resources.values().filter(|(resource, _)| resource.concrete_type == "Sleep");
    assert_eq!(timers.clone().count() as u64, metrics.timers_armed);
    assert_eq!(timers.filter(|(_, stats)| stats.dropped_at.is_none()).count() as u64, metrics.timers_pending);

    // The living tasks and what they wait for are those of the call graph.
    assert!(graph.tasks.len() == 5 && graph.tasks.iter().any(|task| task.waits_for.len() == 1));
    for snapshot in &graph.tasks {
        let (task, stats) = view.task(&snapshot.name);
        assert_eq!(View::field(task, "task.id"), snapshot.id.to_string());
        assert!(is_here(&task.location, snapshot.spawned_at.line()));
        let ours: Vec<String> = snapshot.waits_for.iter().map(|wait| wait.at.to_string()).collect();
        let theirs: Vec<String> = view.waits_of(task.id.unwrap().id).into_iter().map(|(_, at)| at).collect();
        assert_eq!(ours, theirs, "{}", snapshot.name);
        let outside = snapshot.outside_wakers.unwrap() + snapshot.waits_for.len();
        assert_eq!(wakers_of(stats), outside as u64, "{}", snapshot.name);
    }
    let all = view.living().into_iter().map(|(task, _)| View::field(task, "task.id"));
    let mut all: Vec<u64> = all.map(|id| number(&id)).collect();
    all.sort_unstable();
    assert_eq!(all, graph.tasks.iter().map(|task| number(&task.id.to_string())).collect::<Vec<u64>>());
}

#[test]
fn times_are_of_the_machine() {
    let console = console(Duration::from_millis(5));
    let mut client = Client::connect(console.address());
    client.until(|view| view.messages > 0);
    let event_loop = EventLoop::builder().probe(console).build();
    let busy = Duration::from_millis(30);
    event_loop.run(async {
        let task = task::Builder::new().name("busy").spawn(async move {
            std::thread::sleep(busy);
            yield_now().await;
            sleep(busy).await;
        });
        // It is queued while this task is busy.
        std::thread::sleep(busy);
        task.await.unwrap();
    });
    let view = client.until(|view| view.has("busy") && view.task("busy").1.dropped_at.is_some());
    let stats = &view.task("busy").1;
    let of = |duration: &Option<prost_types::Duration>| Duration::try_from(duration.unwrap()).unwrap();
    let at = |at: &Option<prost_types::Timestamp>| SystemTime::try_from(at.unwrap()).unwrap();
    let polls = stats.poll_stats.as_ref().unwrap();
    let total = at(&stats.dropped_at).duration_since(at(&stats.created_at)).unwrap();
    assert!(of(&polls.busy_time) >= busy && of(&stats.scheduled_time) >= busy);
    assert!(total >= 3 * busy && total >= of(&polls.busy_time) + of(&stats.scheduled_time) + busy);
    assert_eq!(polls.polls, 3);
    assert!(at(&polls.first_poll) < at(&polls.last_poll_started));
    assert!(at(&polls.last_poll_started) <= at(&polls.last_poll_ended));
}

/// A client that connects late gets everything that lives, and nothing that has ended.
#[test]
fn connect_late_and_see_what_lives() {
    let (event_loop, address) = virtual_loop();
    let line = line!() + 1;
    drop(event_loop.spawn(async { sleep(SECOND).await }));
    event_loop.turn();
    let ended = event_loop.spawn(async {});
    event_loop.turn();
    assert!(ended.is_done());
    let mut client = Client::connect(address);
    let view = client.until(|view| view.living().len() == 1);
    assert_eq!(view.tasks.len(), 1);
    let (task, stats) = view.living()[0];
    assert!(is_here(&task.location, line));
    assert_eq!(stats.poll_stats.as_ref().unwrap().polls, 1);
    assert_eq!(view.waits_of(task.id.unwrap().id)[0].0, "Sleep");
}

/// The line of this file in which the text stands first.
fn line_of(text: &str) -> u32 {
    let line = include_str!("console.rs").lines().position(|line| line.contains(text));
    1 + u32::try_from(line.unwrap()).unwrap()
}

/// The name of each task says for what it waits.
#[test]
fn resources_have_the_types_of_the_library() {
    let (event_loop, address) = virtual_loop();
    let (end_thread, ended) = std::sync::mpsc::channel::<()>();
    let main = async {
        fn waits<F: IntoFuture + 'static>(expected: &str, future: F) {
            drop(
                task::Builder::new().name(format!("for {expected}")).spawn(async { drop(future.into_future().await) }),
            );
        }
        let never = || spawn(pending::<()>());
        waits("Lock", async {
            let lock = Lock::new(0);
            let _first = lock.lock().await;
            drop(lock.lock().await);
        });
        waits("Semaphore", async {
            let cups = BoundedSemaphore::new(0).named("lock");
            drop(cups.acquire().await);
        });
        waits("Condition", async {
            let condition = Condition::new(0);
            let guard = condition.lock().await;
            drop(condition.wait(guard).await);
        });
        waits("Barrier", async { Barrier::new(2).wait().await });
        waits("Event", async { Event::new().wait().await });
        waits("Queue", async { Queue::<u8>::bounded(1).named("an event").get().await });
        waits("Channel", async {
            let (_sender, receiver) = channel::<u8>(1);
            receiver.recv().await
        });
        waits("Oneshot", async {
            let (_sender, receiver) = oneshot::<u8>();
            receiver.await
        });
        waits("Promise", async { drop((&Promise::<()>::new()).await) });
        waits("Task", never());
        waits("Gather", gather([never()]));
        waits("Wait", onelane::wait([never()]));
        waits("AsCompleted", async move { drop(onelane::as_completed([never()]).next().await) });
        waits("Shield", onelane::shield(never()));
        waits("TaskGroup", onelane::task_group(async |group| drop(group.spawn(pending::<()>()))));
        waits("Sleep", sleep(SECOND));
        waits("Thread", onelane::to_thread(move || ended.recv()));
        waits("Socket", async {
            let listener = onelane::net::TcpListener::bind(([127, 0, 0, 1], 0)).await.unwrap();
            listener.accept().await
        });
        drop(spawn(onelane::timeout(SECOND, pending::<()>())));
    };
    let main = event_loop.spawn(main);
    while event_loop.turn().ready > 0 {}
    assert!(main.is_done());
    let mut client = Client::connect(address);
    let view = client.catch_up();
    let mut found = 0;
    for (task, _) in view.tasks.values() {
        if let Some(expected) = View::field(task, "task.name").strip_prefix("for ") {
            let waits = view.waits_of(task.id.unwrap().id);
            assert_eq!(waits.first().map(|(of, _)| &**of), Some(expected), "{waits:?}");
            found += 1;
        }
    }
    assert_eq!(found, 18);
    let of_type = |name: &str| view.resources.values().find(|(resource, _)| resource.concrete_type == name).unwrap();
    assert_eq!(attributes(&of_type("Semaphore").1.attributes)["name"], "lock");
    assert_eq!(attributes(&of_type("Timer").1.attributes)["duration"], "1.000s");
    assert!(is_here(&of_type("Lock").0.location, line_of("let lock = Lock::new(0);")), "{:?}", of_type("Lock"));
    let unknown = view.resources.values().find(|(resource, _)| resource.concrete_type == "Unknown");
    assert!(unknown.is_none(), "{unknown:?}");
    drop(end_thread);
}

/// All tasks that wait for one lock wait for one resource.
#[test]
fn waiters_of_one_lock_share_a_resource() {
    let (event_loop, address) = virtual_loop();
    let locks = [(); 2].map(|()| Rc::new(Lock::new(0)));
    for n in 0..7 {
        let lock = locks[n % 2].clone();
        drop(event_loop.spawn(async move {
            let _guard = lock.lock().await;
            sleep(SECOND).await;
        }));
    }
    event_loop.turn();
    let mut client = Client::connect(address);
    let view = client.catch_up();
    let locks = view.resources.values().filter(|(resource, _)| resource.concrete_type == "Lock");
    let mut waiting: Vec<String> = locks.map(|(_, stats)| attributes(&stats.attributes)["waiting"].clone()).collect();
    waiting.sort();
    assert_eq!(waiting, ["2", "3"]);
    let what = view.waits.values().map(|(_, stats)| attributes(&stats.attributes)["what"].clone());
    let held = what.filter(|what| what.contains("held by"));
    assert_eq!(held.count(), 5);
}

/// onelane's own futures keep no wakers that could be counted, so each wait counts as one.
/// Otherwise the console would warn that the tasks have lost their wakers.
#[test]
fn wakers_are_waits_and_what_others_hold() {
    let (event_loop, address) = virtual_loop();
    let mut client = Client::connect(address);
    client.until(|view| view.messages > 0);
    let name = |name: &str| task::Builder::new().name(name);
    let main = event_loop.spawn(async move {
        let sleeper = name("nameless").spawn(sleep(SECOND * 1_000_000));
        drop(call_later(SECOND / 2, move || sleeper.set_name("sleeper")));
        drop(name("forgotten").spawn(pending::<()>()));
        let mut kept = Vec::new();
        drop(name("keeper").spawn(poll_fn(move |cx| {
            kept.extend([(); 3].map(|()| cx.waker().clone()));
            Poll::<()>::Pending
        })));
    });
    let begun = Instant::now();
    let is_right = loop {
        // The wakers are counted at the end of a turn, now and then.
        event_loop.turn();
        let view = client.catch_up();
        let counts = ["sleeper", "forgotten", "keeper"].map(|name| {
            // A new name is seen when the wakers are counted.
            let stats = view.has(name).then(|| &view.task(name).1);
            stats.map_or(9, |stats| stats.waker_clones - stats.waker_drops)
        });
        if counts == [1, 0, 3] || begun.elapsed() > PATIENCE {
            break counts;
        }
    };
    assert!(main.is_done());
    assert_eq!(is_right, [1, 0, 3]);
}

#[test]
fn many_tasks_come_in_messages_that_a_client_accepts() {
    const MANY: usize = 10_000;
    let (event_loop, address) = virtual_loop_with(SECOND / 5);
    let main = event_loop.spawn(async {
        for n in 0..MANY {
            let name = format!("a task with a name that is not short, the number {n} of many");
            drop(task::Builder::new().name(name).spawn(sleep(SECOND)));
        }
        // Even a single thing fits into a message.
        drop(task::Builder::new().name("é".repeat(5 << 20)).spawn(pending::<()>()));
    });
    while event_loop.turn().ready > 0 {}
    assert!(main.is_done());
    let mut client = Client::connect(address);
    let view = client.catch_up();
    assert_eq!((view.living().len(), view.waits.len(), view.resources.len()), (MANY + 1, MANY, MANY + 1));
    assert!(view.messages > 3);
    event_loop.run(async { sleep(SECOND * 2).await });
    let view = client.catch_up();
    assert_eq!((view.living().len(), view.dropped_events), (0, 0));
    assert!(view.resources.values().filter(|(_, stats)| stats.dropped_at.is_none()).count() == 1);
}

/// What begins and ends between two updates is shown, unless there is too much of it. Then it is
/// counted.
#[test]
fn show_what_ends_between_two_updates() {
    let (event_loop, address) = virtual_loop();
    let mut client = Client::connect(address);
    client.runtime.block_on(client.client.pause(PauseRequest {})).unwrap();
    event_loop.run(async {
        task::Builder::new().name("brief").spawn(async {}).await.unwrap();
        for _ in 0..12_000 {
            spawn(async {}).await.unwrap();
        }
    });
    client.runtime.block_on(client.client.resume(ResumeRequest {})).unwrap();
    let spawned = event_loop.metrics().spawned;
    let view = client.catch_up();
    assert!(view.task("brief").1.dropped_at.is_some());
    assert!(view.living().is_empty() && view.tasks.len() == 10_000);
    // Each task was waited for, as a resource, by a wait.
    let [shown, dropped] = [10_000, spawned - 10_000];
    assert_eq!((view.waits.len() as u64, view.dropped_events), (shown, 3 * dropped - 2));
}

#[test]
fn two_loops_share_an_address() {
    let (first, address) = virtual_loop();
    let second = Options::new().address(address).unwrap().bind().unwrap();
    assert_eq!(second.address(), address);
    drop(event_loop_named(&first, "here"));
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("other thread".into()).spawn(move || {
        let event_loop = EventLoop::builder().clock(Clock::Virtual).probe(second).build();
        drop(event_loop_named(&event_loop, "there"));
        ready.send(()).unwrap();
        let _ = ended.recv();
    });
    let thread = thread.unwrap();
    is_ready.recv().unwrap();
    let mut client = Client::connect(address);
    let view = client.until(|view| view.tasks.len() == 2);
    let [here, there] = ["here", "there"].map(|name| view.task(name));
    assert_eq!(View::field(&here.0, "task.id"), View::field(&there.0, "task.id"));
    assert_ne!(View::field(&here.0, "loop"), View::field(&there.0, "loop"));
    assert_eq!(View::field(&there.0, "thread"), "other thread");
    drop(end);
    thread.join().unwrap();
    let view = client.until(|view| view.task("there").1.dropped_at.is_some());
    assert!(view.task("here").1.dropped_at.is_none());
    drop(first);
    while client.next().is_some() {}
}

/// Spawns a task that waits for ever, and steps it once.
fn event_loop_named(event_loop: &EventLoop, name: &'static str) -> onelane::Task<()> {
    let task = event_loop.spawn(async move {
        drop(task::Builder::new().name(name).spawn(pending::<()>()));
    });
    event_loop.turn();
    event_loop.turn();
    task
}

#[test]
fn address_in_use() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let error = Console::bind(address).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.starts_with(&format!("the console cannot listen on {address}: ")), "{text}");
    assert!(text.contains("choose another port"), "{text}");
    drop(other);
    assert_eq!(Console::bind(address).unwrap().address(), address);
    // When the last loop was dropped, the address is free at once.
    drop(TcpListener::bind(address).unwrap());
}

#[test]
fn drop_a_loop_while_clients_watch() {
    let (event_loop, address) = virtual_loop();
    drop(event_loop.spawn(async { sleep(SECOND).await }));
    event_loop.turn();
    let mut client = Client::connect(address);
    client.until(|view| view.living().len() == 1);
    drop(event_loop);
    while client.next().is_some() {}
    assert!(client.view.living().is_empty());
    assert!(client.view.waits.values().all(|(_, stats)| stats.dropped_at.is_some()));
    assert!(client.view.resources.values().all(|(_, stats)| stats.dropped_at.is_some()));
}

/// A client that reads nothing for a while is behind by the updates that were on their way. Then it
/// gets everything else at once.
#[test]
fn read_slowly_and_get_fewer_updates() {
    let (event_loop, address) = virtual_loop();
    for _ in 0..500 {
        drop(event_loop.spawn(async {
            loop {
                yield_now().await;
            }
        }));
    }
    let mut client = Client::connect_with(address, Some(65_535));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        event_loop.turn();
    }
    let steps = event_loop.metrics().steps;
    let view = client.catch_up();
    assert_eq!(view.tasks.values().map(|(_, stats)| stats.poll_stats.as_ref().unwrap().polls).sum::<u64>(), steps);
    assert!(view.messages < 30, "{}", view.messages);
}

/// A client that reads nothing stops neither the loop nor, for long, the other clients. It is
/// disconnected, and gets everything when it connects again.
#[test]
fn disconnect_a_client_that_does_not_read() {
    let (event_loop, address) = virtual_loop_with(SECOND / 50);
    for _ in 0..500 {
        drop(event_loop.spawn(async {
            loop {
                yield_now().await;
            }
        }));
    }
    event_loop.turn();
    let (mut idle, mut reader) = (Client::connect_with(address, Some(65_535)), Client::connect(address));
    for _ in 0..60 {
        event_loop.turn();
        reader.catch_up();
    }
    // What was on its way, and then the end.
    let received = (0..1000).take_while(|_| idle.next().is_some()).count();
    assert!(received < 100, "{received}");
    let steps = event_loop.metrics().steps;
    let view = reader.catch_up();
    assert_eq!(view.tasks.values().map(|(_, stats)| stats.poll_stats.as_ref().unwrap().polls).sum::<u64>(), steps);
    let mut again = Client::connect(address);
    assert_eq!(again.catch_up().living().len(), 500);
}

/// After a client has left, the table keeps only what lives, and the next client begins anew.
#[test]
fn disconnect_and_connect_again() {
    let (event_loop, address) = virtual_loop();
    drop(event_loop.spawn(pending::<()>()));
    event_loop.turn();
    for round in 1..=3 {
        let mut client = Client::connect(address);
        assert_eq!(client.catch_up().tasks.len(), 1, "round {round}");
        drop(event_loop.spawn(async {}));
        event_loop.turn();
        assert_eq!(client.catch_up().tasks.len(), 2, "round {round}");
    }
}

#[test]
fn pause_and_resume() {
    let (event_loop, address) = virtual_loop();
    let mut client = Client::connect(address);
    let mut states = {
        let response = client.runtime.block_on(client.client.watch_state(StateRequest {}));
        response.unwrap().into_inner()
    };
    let mut state = |client: &mut Client| -> State {
        let next = async { tokio::time::timeout(PATIENCE, states.message()).await };
        client.runtime.block_on(next).expect("in time").unwrap().expect("a state")
    };
    assert_eq!(state(&mut client).temporality, i32::from(Temporality::Live));
    client.runtime.block_on(client.client.pause(PauseRequest {})).unwrap();
    assert_eq!(state(&mut client).temporality, i32::from(Temporality::Paused));
    drop([event_loop.spawn(pending::<()>()), event_loop.spawn(async {})]);
    event_loop.turn();
    client.runtime.block_on(client.client.resume(ResumeRequest {})).unwrap();
    assert_eq!(state(&mut client).temporality, i32::from(Temporality::Live));
    let view = client.catch_up();
    assert_eq!((view.tasks.len(), view.living().len()), (2, 1));
}

#[test]
fn details_of_a_task() {
    let (event_loop, address) = virtual_loop();
    let busy = task::Builder::new().name("busy");
    let task = event_loop.spawn(async {
        let task = busy.spawn(async {
            for _ in 0..9 {
                yield_now().await;
            }
            pending::<()>().await;
        });
        drop(task);
    });
    while event_loop.turn().ready > 0 {}
    assert!(task.is_done());
    let mut client = Client::connect(address);
    let id = client.until(|view| view.has("busy")).task("busy").0.id.unwrap().id;
    assert_eq!(client.details(id + 1).unwrap_err().code(), tonic::Code::NotFound);
    let mut details = client.details(id).unwrap();
    let mut next = |client: &mut Client| {
        let next = async { tokio::time::timeout(PATIENCE, details.message()).await };
        client.runtime.block_on(next).expect("in time").unwrap()
    };
    let first = next(&mut client).unwrap();
    let Some(PollTimesHistogram::Histogram(polls)) = first.poll_times_histogram else { panic!("no histogram") };
    assert_eq!((count(&polls.raw_histogram), polls.high_outliers), (10, 0));
    assert_eq!(count(&first.scheduled_times_histogram.unwrap().raw_histogram), 10);
    // The stream ends with the task.
    drop(event_loop);
    while next(&mut client).is_some() {}
}

#[test]
fn read_the_environment() {
    // No other test reads these.
    let with = |name: &str, value: &str| {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let child = child.args(["print_the_environment", "--exact", "--ignored", "--nocapture"]).env(name, value);
        String::from_utf8(child.output().unwrap().stdout).unwrap()
    };
    let text = with("TOKIO_CONSOLE_BIND", "127.0.0.1:1");
    assert!(text.contains("127.0.0.1:1") && text.contains("publish_interval: 1s"), "{text}");
    let text = with("TOKIO_CONSOLE_PUBLISH_INTERVAL", "250ms");
    assert!(text.contains("127.0.0.1:6669") && text.contains("publish_interval: 250ms"), "{text}");
    for (name, value) in [
        ("TOKIO_CONSOLE_BIND", "nowhere"),
        ("TOKIO_CONSOLE_PUBLISH_INTERVAL", "soon"),
        ("TOKIO_CONSOLE_PUBLISH_INTERVAL", "0s"),
    ] {
        let text = with(name, value);
        assert!(text.contains(&format!("Err({name}={value:?}: ").replace("Err(", "error: ")), "{text}");
    }
}

#[test]
#[ignore = "run by `read_the_environment`"]
fn print_the_environment() {
    match Options::from_env() {
        Ok(options) => println!("{options:?}"),
        Err(error) => println!("error: {error}"),
    }
}
