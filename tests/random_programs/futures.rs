//! The futures: words that are awaited.
//!
//! Next: `parts.rs`, for the futures that wrap them.

use crate::machine::{Entry, Machine, Parked, by_hand, take};
use crate::parts::{
    BodyFuture, Boxed, Cleanup, CleanupFuture, Counted, Foreign, Fuse, Group, GroupBody, GroupHandle, InRoot, InShared,
    Limit, Oops, Out, Payload, Protected, Reason, RelayFuture, Scope, Sort, Value, WaitRecord, Watched, WatchedFinally,
    WatchedGroup, WatchedWait, explode, explode_in_drop, ms,
};
use crate::program::{Kind, Node, Word};
use futures_util::future::{Either, FutureExt, join, join_all, join3, select, select_all};
use futures_util::stream::{self, FuturesOrdered, FuturesUnordered, StreamExt};
use onelane::sync::{OwnedLockGuard, oneshot};
use onelane::{
    Deadline, EventLoop, Promise, ReturnWhen, Task, TaskRef, as_completed, call_later, catch_cancel, current_task,
    finally, gather, interval, on_cancel, raise_cancelled, shield, sleep, spawn, task_group, time, timeout, timeout_at,
    try_gather, try_task_group, try_wait, wait, wait_for, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{Pending, pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// From this number of futures on, `join_all` uses a `FuturesOrdered`.
const MANY: usize = 32;

impl Machine {
    /// The future of a node. The futures inside it are made at the same time, except for statements
    /// of a block and for cleanups, which are made when they start.
    pub(crate) fn future(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let inside = match node.word.spec().inside {
            _ if node.kind() == Kind::Act => unreachable!("{:?} is no future", node.word),
            _ if node.inside.is_empty() || node.word == Word::Block => self.alone(node, scope),
            _ if node.inside.len() == 1 => self.around_one(node, scope),
            _ => self.around_several(node, scope),
        };
        Box::pin(Watched::new(self, node.id, inside))
    }

    fn known(&self, node: &Node, scope: &Scope, sort: Sort, is: impl Fn(&Machine) -> bool + 'static) -> WaitRecord {
        WaitRecord {
            node: node.id,
            sort,
            scope: scope.clone(),
            is_satisfied: Rc::new(is),
            task: None,
            child: None,
            is_too_late: None,
        }
    }

    /// Wraps a wait that has to end once `is` holds.
    fn watch<F: Future>(
        self: &Rc<Self>,
        (node, scope): (&Node, &Scope),
        sort: Sort,
        is: impl Fn(&Machine) -> bool + 'static,
        future: F,
    ) -> WatchedWait<F> {
        WatchedWait::new(self, self.known(node, scope, sort, is), future)
    }

    /// Wraps an await of a task.
    fn joins<F: Future>(self: &Rc<Self>, here: (&Node, &Scope), task: &TaskRef, join: F) -> WatchedWait<F> {
        let copy = task.clone();
        let known = self.known(here.0, here.1, Sort::Plain, move |_| copy.is_done());
        WatchedWait::new(self, WaitRecord { child: Some(task.clone()), ..known }, join)
    }

    // ---- words without a future inside ----

    fn alone(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, node, scope) = (self.clone(), node.clone(), scope.clone());
        let [a, b] = node.numbers;
        match node.word {
            Word::Ready => Box::pin(async move { m.value() }),
            Word::Fail => Box::pin(async { Err(Oops::Failed) }),
            Word::Raise => Box::pin(async move {
                m.current().inspect(|state| state.has_raised.set(true));
                m.note_raised(&scope);
                raise_cancelled().await
            }),
            Word::Sleep => self.sleep(&node, &scope, ms(a)),
            Word::SleepForEver => self.sleep(&node, &scope, Duration::MAX),
            Word::Block => Box::pin(async move {
                for statement in &node.inside {
                    match statement.kind() {
                        Kind::Act => m.act(statement, &scope),
                        Kind::Future => drop(m.future(statement, &scope).await),
                    }
                }
                m.value()
            }),
            Word::Await | Word::AwaitRef | Word::WaitForTask | Word::ShieldTask => self.of_task(&node, &scope),
            Word::Promise | Word::PromiseRef => self.of_promise(&node, &scope),
            Word::Foreign => {
                let future = Foreign { way: a, begun: false, post: Rc::default() };
                let post = future.post.clone();
                let wait = self.watch((&node, &scope), Sort::Plain, move |_| post.is_open.get(), future);
                Box::pin(wait.map(move |()| m.value()))
            }
            Word::Unpark => Box::pin(async move {
                if m.in_shared.get() > 0 {
                    // The future may be inside the `Shared` itself. A `Shared` that polls itself
                    // would wait for its own mutex for ever.
                    return m.value();
                }
                let Some(Parked { future, kept }) = take(&m.parked, a) else { return m.value() };
                // A future that is put aside may take another one out.
                kept.set(scope.may_move());
                future.await
            }),
            Word::RemoteTask => Box::pin(async move {
                let remote = EventLoop::current().remote();
                let thread = std::thread::spawn(move || {
                    let task = remote.spawn(async { crate::parts::Sends::default().await }).unwrap();
                    if a == 1 {
                        task.cancel();
                    }
                    task
                });
                let task = thread.join().expect("nothing panics there");
                let result = m.watch((&node, &scope), Sort::Plain, |_| false, task).await;
                if result.is_ok() { m.value() } else { Err(Oops::Cancelled) }
            }),
            _ => self.of_primitive(&node, &scope, b),
        }
    }

    fn sleep(self: &Rc<Self>, node: &Node, scope: &Scope, duration: Duration) -> Boxed {
        let m = self.clone();
        // The longest sleep has no end that an `Instant` can express.
        let until = time().checked_add(duration);
        let is_over = move || until.is_some_and(|until| time() >= until);
        let wait = self.watch((node, scope), Sort::Plain, move |_| is_over(), sleep(duration));
        Box::pin(wait.map(move |()| {
            m.holds("no timer is early", is_over(), || format!("a sleep of {duration:?}"));
            m.value()
        }))
    }

    fn of_task(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, word, [a, b]) = (self.clone(), node.word, node.numbers);
        let Some(entry) = self.other(if word == Word::WaitForTask { b } else { a }) else {
            return Box::pin(async move { m.value() });
        };
        let task_ref = entry.task_ref;
        let copy = task_ref.clone();
        let ended = move |_: &Machine| copy.is_done();
        let Some(task) = entry.task else {
            // The slot does not have the handle. `wait` does not need it.
            let wait = self.watch((node, scope), Sort::Plain, ended, wait([task_ref.clone()]));
            return Box::pin(wait.map(move |_| {
                m.check_ended(&task_ref);
                m.value()
            }));
        };
        match word {
            Word::Await => {
                // The only holder of the handle takes the result.
                drop(take(&self.slots, a));
                let join = match Rc::try_unwrap(task) {
                    Ok(task) => task.into_future(),
                    Err(task) => (&*task).into_future(),
                };
                let wait = self.joins((node, scope), &task_ref, join);
                Box::pin(wait.map(move |result| m.outcome(&task_ref, result)))
            }
            Word::AwaitRef => {
                let wait = self.joins((node, scope), &task_ref, (&*task).into_future());
                Box::pin(wait.map(move |result| m.outcome(&task_ref, result)))
            }
            Word::ShieldTask => {
                let wait = self.watch((node, scope), Sort::Plain, ended, shield(&*task));
                Box::pin(wait.map(move |result| m.outcome(&task_ref, result)))
            }
            _ => {
                let wait = self.watch((node, scope), Sort::Plain, ended, wait_for(&*task, ms(a)));
                let (node, scope) = (node.id, scope.clone());
                Box::pin(async move {
                    let requests = current_task().map_or(0, |task| task.cancelling());
                    let result = wait.await;
                    m.check_ended(&task_ref);
                    match result {
                        Ok(result) => m.outcome(&task_ref, result),
                        Err(onelane::Elapsed) => {
                            m.note_elapsed(node, requests, &scope);
                            Err(Oops::Elapsed)
                        }
                    }
                })
            }
        }
    }

    fn of_promise(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let which = node.numbers[0];
        let takes = node.word == Word::Promise;
        let promise = self.promise(which);
        if takes {
            // Only one await may take the value.
            self.renew_promise(which);
            let (m, setter) = (self.clone(), promise.clone());
            call_later(ms(4), move || drop(setter.set_result(m.value())));
        }
        let copy: Promise<Out> = promise.clone();
        let future = if takes { promise.into_future() } else { (&promise).into_future() };
        let wait = self.watch((node, scope), Sort::Plain, move |_| copy.is_done(), future);
        Box::pin(wait.map(flat))
    }

    fn of_primitive(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope, b: usize) -> Boxed {
        let (m, node, scope) = (self.clone(), node.clone(), scope.clone());
        let a = node.numbers[0];
        Box::pin(async move {
            let here = (&*node, &scope);
            match node.word {
                Word::Yield => {
                    for _ in 0..a {
                        m.watch(here, Sort::Plain, |_| true, yield_now()).await;
                    }
                }
                Word::ForEver => {
                    let wait: WatchedWait<Pending<()>> = m.watch(here, Sort::Plain, |_| false, pending());
                    wait.await;
                }
                Word::Panic => {
                    for _ in 0..a % 2 {
                        yield_now().await;
                    }
                    if a < 2 {
                        explode("a poll");
                    } else {
                        m.note_panic();
                        std::panic::panic_any(Payload);
                    }
                }
                Word::Bomb => {
                    let fuse = [Fuse::Drop, Fuse::Clone, Fuse::DropWithPayload][a];
                    return Ok(Value::new(&m.values, fuse));
                }
                Word::Event => m.watch(here, Sort::Plain, move |m| m.events[a].is_set(), m.events[a].wait()).await,
                Word::Condition => {
                    let is_free = move |m: &Machine| !m.conditions[a].is_locked();
                    let guard = m.watch(here, Sort::Exclusive, is_free, m.conditions[a].lock()).await;
                    let guard = m.watch(here, Sort::Plain, |_| false, m.conditions[a].wait(guard)).await;
                    yield_now().await;
                    drop(guard);
                }
                Word::Barrier => {
                    let is_broken = move |m: &Machine| m.barriers[a].is_broken();
                    if m.watch(here, Sort::Plain, is_broken, m.barriers[a].wait()).await.is_err() {
                        return Err(Oops::Failed);
                    }
                }
                Word::Get => {
                    let has_items = move |m: &Machine| !m.queue(a).is_empty();
                    drop(m.watch(here, Sort::Exclusive, has_items, m.queue(a).get()).await);
                }
                Word::Put => {
                    let has_room = move |m: &Machine| !m.queue(a).is_full();
                    drop(m.watch(here, Sort::Exclusive, has_room, m.queue(a).put(m.item())).await);
                }
                Word::QueueJoin => m.watch(here, Sort::Plain, |_| false, m.queue(a).join()).await,
                Word::Receive => {
                    let has_items = move |m: &Machine| !m.receiver(a).is_empty();
                    drop(m.watch(here, Sort::Exclusive, has_items, m.receiver(a).recv()).await);
                }
                Word::Send => {
                    let has_room = move |m: &Machine| a == 1 || m.receiver(a).is_empty();
                    drop(m.watch(here, Sort::Exclusive, has_room, m.sender(a).send(m.item())).await);
                }
                Word::Oneshot => {
                    let (sender, receiver) = oneshot();
                    let old = m.oneshots.borrow_mut()[a].replace(sender);
                    drop(old);
                    if m.watch(here, Sort::Plain, |_| false, receiver).await.is_err() {
                        return Err(Oops::Nobody);
                    }
                }
                Word::Ticks => {
                    let mut ticks = interval(ms(a + 1));
                    for _ in 0..b {
                        m.watch(here, Sort::Plain, |_| true, ticks.tick()).await;
                    }
                }
                _ => unreachable!("{:?} has something inside", node.word),
            }
            m.value()
        })
    }

    // ---- words with one future inside ----

    fn around_one(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, node, scope) = (self.clone(), node.clone(), scope.clone());
        let [a, b] = node.numbers;
        let only = node.inside[0].clone();
        let inside = |m: &Rc<Machine>| m.future(&only, &scope);
        match node.word {
            Word::Child | Word::ChildRef => self.child(&node, &scope),
            Word::Timeout | Word::TimeoutAt | Word::Deadline | Word::WaitFor | Word::WaitForChild => {
                self.limited(&node, &scope)
            }
            Word::Group => self.group(&node, &scope),
            Word::TryGroup => self.try_group(&node, &scope),
            Word::Catch => {
                let mut inside = Box::pin(catch_cancel(inside(&m)));
                Box::pin(async move {
                    // A catch that loses a race after it has caught a cancellation cannot report
                    // the catch itself.
                    let (copy, around) = (m.clone(), scope.clone());
                    let lost = OnDrop(Some(move || {
                        if copy.is_dropped_freely() {
                            copy.note_caught(&around);
                        }
                    }));
                    let caught = poll_fn(|context| {
                        if scope.may_move() {
                            m.current().inspect(|state| state.is_caught_elsewhere.set(true));
                        }
                        inside.as_mut().poll(context)
                    });
                    let caught = caught.await;
                    lost.forget();
                    match caught {
                        Ok(out) => out,
                        Err(onelane::Cancelled) => {
                            m.log(node.id, "catches");
                            scope.note_caught();
                            m.note_caught(&scope);
                            m.has_caught_elsewhere.set(m.has_caught_elsewhere.get() || scope.may_move());
                            if a == 1 {
                                current_task().map(|task| m.uncancel(&task));
                            }
                            Err(Oops::Cancelled)
                        }
                    }
                })
            }
            Word::Shield => {
                let root = m.root(&only, &scope);
                let wait = shield(root);
                Box::pin(wait.map(flat))
            }
            Word::Local => {
                let inside = inside(&m);
                Box::pin(async move {
                    let before = m.set_local();
                    let out = inside.await;
                    m.reset_local(before);
                    out
                })
            }
            Word::Lock => {
                let inside = inside(&m);
                Box::pin(async move {
                    let is_free = move |m: &Machine| !m.locks[a].is_locked();
                    let lock = m.locks[a].clone();
                    let mut guard = m.watch((&node, &scope), Sort::Exclusive, is_free, lock.lock_owned()).await;
                    m.holds("a lock has one holder", guard.holders == 0, || format!("node {}", node.id));
                    guard.holders += 1;
                    let guard = HeldLock(guard);
                    let out = inside.await;
                    drop(guard);
                    out
                })
            }
            Word::Semaphore => {
                let inside = inside(&m);
                Box::pin(async move {
                    let is_free = move |m: &Machine| m.permits(a) > 0;
                    let permit = m.watch((&node, &scope), Sort::Exclusive, is_free, m.acquire(a)).await;
                    let count = HolderCount::new(&m, a);
                    let holders = m.in_semaphores[a].get();
                    m.holds("a semaphore hands out no more permits than it has", holders <= a + 1, || {
                        format!("{holders} have one")
                    });
                    let out = inside.await;
                    drop(count);
                    drop(permit);
                    out
                })
            }
            Word::AtDrop => inside(&m),
            Word::DropBomb => {
                let inside = inside(&m);
                Box::pin(async move {
                    let bomb = OnDrop(Some(|| explode_in_drop("a destructor")));
                    let out = inside.await;
                    drop(bomb);
                    out
                })
            }
            Word::Relay => Box::pin(RelayFuture::new(m.relay(a), inside(&m))),
            Word::PollAndDrop => {
                let mut inside = inside(&m);
                Box::pin(async move {
                    let polled = poll_fn(|context| Poll::Ready(inside.as_mut().poll(context))).await;
                    by_hand(|| drop(inside));
                    match polled {
                        Poll::Ready(out) => out,
                        Poll::Pending => m.value(),
                    }
                })
            }
            Word::PollAndSpawn => {
                let moved = Rc::new(Cell::new(false));
                let inside = m.future(&only, &scope.within(Reason::Moved(moved.clone())));
                Box::pin(async move {
                    match m.poll_once(inside).await {
                        Ok(out) => out,
                        Err(inside) => {
                            moved.set(true);
                            let task = m.spawn_begun(&node, inside);
                            if b == 0 { m.await_into(a, task).await } else { m.value() }
                        }
                    }
                })
            }
            Word::PollElsewhere => {
                let moved = Rc::new(Cell::new(false));
                let inside = m.future(&only, &scope.within(Reason::Moved(moved.clone())));
                Box::pin(async move { m.poll_elsewhere(&node, inside, &moved).await })
            }
            Word::Park => {
                let kept = Rc::new(Cell::new(false));
                let moved = Rc::new(Cell::new(false));
                let within = scope.within(Reason::Kept(kept.clone())).within(Reason::Moved(moved.clone()));
                let inside = m.future(&only, &within);
                Box::pin(async move {
                    match m.poll_once(inside).await {
                        Ok(out) => out,
                        Err(inside) => {
                            kept.set(true);
                            moved.set(true);
                            m.drop_parked(a);
                            m.parked.borrow_mut()[a] = Some(Parked { future: inside, kept });
                            m.value()
                        }
                    }
                })
            }
            Word::Shared => {
                let moved = Rc::new(Cell::new(true));
                let inside = m.future(&only, &scope.within(Reason::Moved(moved)));
                let shared = InShared { inside, machine: m.clone() }.shared();
                Box::pin(async move {
                    let other = shared.clone();
                    match (a, b) {
                        (0, 0) => {
                            drop(m.spawn_begun(&node, Box::pin(other)));
                            shared.await
                        }
                        (0, _) => {
                            let task = m.spawn_begun(&node, Box::pin(other));
                            let task_ref = task.task_ref();
                            let (out, result) = join(shared, task.into_future()).await;
                            drop(m.outcome(&task_ref, result));
                            out
                        }
                        (_, 0) => {
                            let (out, other) = join(shared, other).await;
                            first_of(out, other)
                        }
                        _ => {
                            let task = m.spawn_begun(&node, Box::pin(other));
                            by_hand(|| drop(shared));
                            let task_ref = task.task_ref();
                            let result = task.await;
                            m.outcome(&task_ref, result)
                        }
                    }
                })
            }
            _ => self.around_several(&node, &scope),
        }
    }

    /// An await of a new task.
    fn child(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let m = self.clone();
        let task = self.spawn(&node.inside[0], scope);
        let task_ref = task.task_ref();
        let (join, task) = if node.word == Word::Child {
            (task.into_future(), None)
        } else {
            ((&task).into_future(), Some(Rc::new(task)))
        };
        self.put(node.numbers[0], Entry { task, task_ref: task_ref.clone() });
        let wait = self.joins((node, scope), &task_ref, join);
        Box::pin(wait.map(move |result| m.outcome(&task_ref, result)))
    }

    fn limited(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, inside, node_id, scope) = (self.clone(), self.limited_inside(node, scope), node.id, scope.clone());
        Box::pin(async move {
            let entered = current_task();
            let requests = entered.as_ref().map_or(0, TaskRef::cancelling);
            let out = inside.await;
            if matches!(out, (_, true)) && entered == current_task() {
                m.note_elapsed(node_id, requests, &scope);
            }
            out.0
        })
    }

    /// The second part of the output is true if the time was up.
    fn limited_inside(
        self: &Rc<Self>,
        node: &Rc<Node>,
        scope: &Scope,
    ) -> std::pin::Pin<Box<dyn Future<Output = (Out, bool)>>> {
        let (m, [a, b]) = (self.clone(), node.numbers);
        let until = time() + ms(a);
        let limit = Limit::new(move || time() >= until);
        let within = scope.within(Reason::IsUp(limit.clone()));
        let is_satisfied = move |_: &Machine| limit.is_up();
        let here = (&**node, scope);
        let give = move |result: Result<Out, onelane::Elapsed>| match result {
            Ok(out) => (out, false),
            Err(onelane::Elapsed) => {
                m.holds("no timer is early", time() >= until, || "a timeout".into());
                (Err(Oops::Elapsed), true)
            }
        };
        let inside = || self.future(&node.inside[0], &within);
        match node.word {
            Word::Timeout => {
                let wait = self.watch(here, Sort::Limit, is_satisfied, timeout(ms(a), inside()));
                Box::pin(wait.map(give))
            }
            Word::TimeoutAt => {
                let wait = self.watch(here, Sort::Limit, is_satisfied, timeout_at(until, inside()));
                Box::pin(wait.map(give))
            }
            Word::WaitFor => {
                let wait = self.watch(here, Sort::Limit, is_satisfied, wait_for(inside(), ms(a)));
                Box::pin(wait.map(give))
            }
            Word::WaitForChild => {
                let task = self.spawn(&node.inside[0], scope);
                let task_ref = task.task_ref();
                let wait = self.watch(here, Sort::Limit, is_satisfied, wait_for(task, ms(a)));
                let m = self.clone();
                Box::pin(wait.map(move |result| {
                    m.check_ended(&task_ref);
                    give(result.map(|result| m.outcome(&task_ref, result)))
                }))
            }
            _ => {
                let deadline = if a == 1000 { Deadline::never() } else { Deadline::after(ms(a)) };
                let old = self.deadlines.borrow_mut()[b].replace(deadline.clone());
                drop(old);
                let copy = deadline.clone();
                let limit = Limit::new(move || copy.has_expired());
                let inside = self.future(&node.inside[0], &scope.within(Reason::IsUp(limit.clone())));
                let wait = self.watch(here, Sort::Limit, move |_| limit.is_up(), deadline.limit(inside));
                Box::pin(wait.map(|result| match result {
                    Ok(out) => (out, false),
                    Err(onelane::Elapsed) => (Err(Oops::Elapsed), true),
                }))
            }
        }
    }

    fn group(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, group, outside) = (self.clone(), Rc::new(Group::default()), scope.clone());
        let scope = scope.in_group(&group);
        let (copy, body) = (group.clone(), node.inside[0].clone());
        let run = task_group(move |handle| {
            *copy.handle.borrow_mut() = Some(GroupHandle::Plain(handle));
            GroupBody { inside: Some(m.future(&body, &scope)), machine: m, group: copy }
        });
        let out = |result: Result<Out, _>| match result {
            Ok(out) => (out, false),
            Err(_) => (Err(Oops::Panicked), true),
        };
        self.grouped(node, outside, group, run.map(out))
    }

    fn try_group(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, group, outside) = (self.clone(), Rc::new(Group::default()), scope.clone());
        let scope = scope.in_group(&group);
        let (copy, body) = (group.clone(), node.inside[0].clone());
        let run = try_task_group(move |handle| {
            *copy.handle.borrow_mut() = Some(GroupHandle::Fallible(handle));
            GroupBody { inside: Some(m.future(&body, &scope)), machine: m, group: copy }
        });
        let out = |result: Result<Value, _>| match result {
            Ok(value) => (Ok(value), false),
            Err(_) => (Err(Oops::Failed), true),
        };
        self.grouped(node, outside, group, run.map(out))
    }

    fn grouped(
        self: &Rc<Self>,
        node: &Node,
        scope: Scope,
        group: Rc<Group>,
        run: impl Future<Output = (Out, bool)> + 'static,
    ) -> Boxed {
        Box::pin(WatchedGroup {
            inside: Box::pin(run),
            group,
            machine: self.clone(),
            node: node.id,
            scope,
            is_begun: false,
            task: None,
            has_moved: false,
        })
    }

    /// Polls a future once: its output, or the future itself.
    async fn poll_once(&self, mut future: Boxed) -> Result<Out, Boxed> {
        match poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await {
            Poll::Ready(out) => Ok(out),
            Poll::Pending => Err(future),
        }
    }

    /// Spawns a task for a future that was polled already.
    fn spawn_begun(self: &Rc<Self>, node: &Node, future: Boxed) -> Task<Out> {
        let counted = Counted::new(&self.futures);
        let (m, mut future) = (self.clone(), future);
        let polled = poll_fn(move |context| {
            let poll = {
                let _in_root = InRoot::new(&m);
                future.as_mut().poll(context)
            };
            m.note_end_of_step(poll.is_ready());
            poll
        });
        let task = spawn(polled.map(move |out| {
            drop(counted);
            out
        }));
        self.note_spawned(&task, node);
        task
    }

    async fn await_into(self: &Rc<Self>, slot: usize, task: Task<Out>) -> Out {
        let task = Rc::new(task);
        let task_ref = task.task_ref();
        self.put(slot, Entry { task: Some(task.clone()), task_ref: task_ref.clone() });
        let result = (&*task).await;
        self.outcome(&task_ref, result)
    }

    /// Polls a future here, then once in another task, and then here again.
    async fn poll_elsewhere(self: &Rc<Self>, node: &Node, future: Boxed, moved: &Cell<bool>) -> Out {
        let future = match self.poll_once(future).await {
            Ok(out) => return out,
            Err(future) => future,
        };
        moved.set(true);
        let place = Rc::new(RefCell::new(None));
        let (copy, m) = (place.clone(), self.clone());
        let task = self.spawn_begun(
            node,
            Box::pin(async move {
                let polled = m.poll_once(future).await;
                *copy.borrow_mut() = Some(polled);
                m.value()
            }),
        );
        let task_ref = task.task_ref();
        let result = task.await;
        let out = self.outcome(&task_ref, result);
        let polled = place.take();
        match polled {
            Some(Ok(out)) => out,
            Some(Err(future)) => future.await,
            None => out,
        }
    }

    // ---- words with several futures inside ----

    fn around_several(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, node, scope) = (self.clone(), node.clone(), scope.clone());
        let [a, _] = node.numbers;
        match node.word {
            Word::Finally | Word::OnCancel => return self.finally(&node, &scope),
            Word::AtDrop => {
                let inside = m.future(&node.inside[0], &scope);
                return Box::pin(async move {
                    let acts = OnDrop(Some(|| {
                        m.in_destructors.set(m.in_destructors.get() + 1);
                        let copy = m.clone();
                        let _over = OnDrop(Some(move || copy.in_destructors.set(copy.in_destructors.get() - 1)));
                        node.inside[1..].iter().for_each(|act| m.act(act, &scope));
                    }));
                    let out = inside.await;
                    drop(acts);
                    out
                });
            }
            Word::Gather | Word::GatherAll | Word::TryGather | Word::Gather3 => return self.gather(&node, &scope),
            Word::Wait | Word::TryWait => return self.wait_for_some(&node, &scope),
            Word::AsCompleted => return self.as_completed(&node, &scope),
            Word::UnorderedHeld => return self.unordered_held(&node, &scope),
            _ => {}
        }
        let moved = Rc::new(Cell::new(false));
        let scope = scope.within(Reason::Moved(moved.clone()));
        let mut all: Vec<Boxed> = node.inside.iter().map(|node| self.future(node, &scope)).collect();
        match node.word {
            Word::Select | Word::SelectAndAwait | Word::SelectAndSpawn => {
                let (second, first) = (all.pop(), all.pop());
                let (Some(first), Some(second)) = (first, second) else { unreachable!("two futures are needed") };
                self.select(&node, first, second, moved)
            }
            Word::Join => {
                let (second, first) = (all.pop(), all.pop());
                Box::pin(join(first.unwrap(), second.unwrap()).map(|(out, other)| first_of(out, other)))
            }
            Word::Join3 => {
                let (third, second, first) = (all.pop(), all.pop(), all.pop());
                Box::pin(
                    join3(first.unwrap(), second.unwrap(), third.unwrap()).map(|(out, b, c)| first_of(out, (b, c))),
                )
            }
            Word::JoinAll => Box::pin(join_all(all).map(first)),
            Word::JoinMany => {
                while all.len() < MANY {
                    let m = self.clone();
                    all.push(Box::pin(async move { m.value() }));
                }
                Box::pin(join_all(all).map(first))
            }
            Word::Unordered => {
                let set: FuturesUnordered<Boxed> = all.into_iter().collect();
                Box::pin(set.collect::<Vec<Out>>().map(first))
            }
            Word::UnorderedFirst => Box::pin(async move {
                let mut set: FuturesUnordered<Boxed> = all.into_iter().collect();
                let out = set.next().await;
                by_hand(|| drop(set));
                out.unwrap_or_else(|| m.value())
            }),
            Word::Ordered => {
                let set: FuturesOrdered<Boxed> = all.into_iter().collect();
                Box::pin(set.collect::<Vec<Out>>().map(first))
            }
            Word::BufferUnordered => {
                let stream = stream::iter(all).buffer_unordered(a + 1);
                Box::pin(stream.collect::<Vec<Out>>().map(first))
            }
            Word::Buffered => {
                let stream = stream::iter(all).buffered(a + 1);
                Box::pin(stream.collect::<Vec<Out>>().map(first))
            }
            Word::SelectAll => Box::pin(async move {
                let (out, _, others) = select_all(all).await;
                by_hand(|| drop(others));
                out
            }),
            _ => unreachable!("{:?} has something else inside", node.word),
        }
    }

    fn finally(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let cleanup = Cleanup::new(node.id, node.word == Word::OnCancel, scope.clone());
        self.cleanups.borrow_mut().push(cleanup.clone());
        let body = BodyFuture { inside: Some(self.future(&node.inside[0], scope)), cleanup: cleanup.clone() };
        let (m, after, scope) = (self.clone(), node.inside[1].clone(), scope.in_cleanup(&cleanup));
        let make = Some(move || m.future(&after, &scope));
        let after = CleanupFuture { make, inside: None, cleanup: cleanup.clone(), machine: self.clone() };
        let inside: Boxed = match node.word {
            Word::Finally => Box::pin(finally(body, after)),
            _ => Box::pin(on_cancel(body, after)),
        };
        Box::pin(WatchedFinally { inside, cleanup, machine: self.clone() })
    }

    fn gather(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let is_task = |node: &Rc<Node>| matches!(node.word, Word::Await | Word::AwaitRef | Word::Child);
        if node.inside.iter().any(is_task) {
            let tasks = self.tasks_inside(node, scope);
            let borrowed = || tasks.iter().map(|task| &**task);
            return match node.word {
                Word::GatherAll => Box::pin(gather(borrowed()).return_exceptions().map(all_flat)),
                Word::TryGather => Box::pin(try_gather(borrowed()).map(|all| all.map_err(why).and_then(first_value))),
                _ => Box::pin(gather(borrowed()).map(|all| all.map_or(Err(Oops::Cancelled), first))),
            };
        }
        let mut all: Vec<Boxed> = node.inside.iter().map(|node| self.root(node, scope)).collect();
        match node.word {
            Word::Gather => Box::pin(gather(all).map(|all| all.map_or(Err(Oops::Cancelled), first))),
            Word::GatherAll => Box::pin(gather(all).return_exceptions().map(all_flat)),
            Word::TryGather => Box::pin(try_gather(all).map(|all| all.map_err(why).and_then(first_value))),
            _ => {
                let (third, second, first) = (all.pop().unwrap(), all.pop().unwrap(), all.pop().unwrap());
                let gather = onelane::gather!(first, second, third);
                Box::pin(gather.map(|all| all.map_or(Err(Oops::Cancelled), |(out, b, c)| first_of(out, (b, c)))))
            }
        }
    }

    /// The tasks that the inner nodes name, and new tasks for the others.
    fn tasks_inside(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Vec<Rc<Task<Out>>> {
        let task = |node: &Rc<Node>| match node.word {
            Word::Await | Word::AwaitRef => self.other(node.numbers[0])?.task,
            _ => Some(Rc::new(self.spawn(node, scope))),
        };
        node.inside.iter().filter_map(task).collect()
    }

    fn wait_for_some(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, node, scope) = (self.clone(), node.clone(), scope.clone());
        let [a, b] = node.numbers;
        let tasks = self.tasks_inside(&node, &scope);
        Box::pin(async move {
            if tasks.is_empty() {
                return m.value();
            }
            let return_when = [ReturnWhen::AllCompleted, ReturnWhen::FirstCompleted, ReturnWhen::FirstException][b % 3];
            let copies = tasks.clone();
            let are_done = move |_: &Machine| copies.iter().all(|task| task.is_done());
            let (done, pending): (Vec<TaskRef>, Vec<TaskRef>);
            if node.word == Word::Wait {
                let mut waits = wait(tasks.iter().map(|task| task.task_ref())).return_when(return_when);
                if b == 3 {
                    waits = waits.timeout(ms(a));
                }
                (done, pending) = m.watch((&node, &scope), Sort::Plain, are_done, waits).await;
            } else {
                let mut waits = try_wait(tasks.iter().map(|task| &**task)).return_when(return_when);
                if b == 3 {
                    waits = waits.timeout(ms(a));
                }
                let refs = |tasks: Vec<&Task<Out>>| tasks.iter().map(|task| task.task_ref()).collect();
                let (is_done, is_pending) = m.watch((&node, &scope), Sort::Plain, are_done, waits).await;
                (done, pending) = (refs(is_done), refs(is_pending));
            }
            done.iter().for_each(|task| m.check_ended(task));
            let is_right = pending.iter().all(|task| !task.is_done()) && (b != 1 || !done.is_empty());
            m.holds("wait sorts its tasks into done and pending", is_right, || format!("{done:?} {pending:?}"));
            m.value()
        })
    }

    fn as_completed(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, [a, b]) = (self.clone(), node.numbers);
        let tasks = self.tasks_inside(node, scope);
        let all = as_completed(tasks.iter().map(|task| &**task));
        Box::pin(async move {
            let mut last = m.value();
            match a {
                0 => {
                    while let Some(result) = all.next().await {
                        last = flat(result);
                    }
                }
                1 => {
                    while let Some(task) = all.next_task().await {
                        m.check_ended(&task.task_ref());
                    }
                }
                2 => {
                    let all = all.timeout(ms(b));
                    while let Ok(Some(result)) = all.next().await {
                        last = flat(result);
                    }
                }
                3 => drop(all.next().await),
                _ => {
                    let (first, second) = (all.next(), all.next());
                    let mut set = FuturesUnordered::from_iter([first, second]);
                    while let Some(result) = set.next().await {
                        drop(result);
                    }
                }
            }
            last
        })
    }

    /// Sleeps between the items of a set, and does not poll the set during a sleep.
    fn unordered_held(self: &Rc<Self>, node: &Rc<Node>, scope: &Scope) -> Boxed {
        let (m, kept) = (self.clone(), Rc::new(Cell::new(false)));
        let scope = scope.within(Reason::Kept(kept.clone()));
        let mut set: FuturesUnordered<Boxed> = node.inside.iter().map(|node| self.future(node, &scope)).collect();
        Box::pin(async move {
            let mut last = m.value();
            while let Some(out) = set.next().await {
                last = out;
                let keeps = KeepGuard::new(&m, &kept);
                sleep(ms(1)).await;
                drop(keeps);
            }
            last
        })
    }

    fn select(self: &Rc<Self>, node: &Rc<Node>, first: Boxed, second: Boxed, moved: Rc<Cell<bool>>) -> Boxed {
        let (m, node) = (self.clone(), node.clone());
        Box::pin(async move {
            let (out, loser) = match select(first, second).await {
                Either::Left((out, loser)) | Either::Right((out, loser)) => (out, loser),
            };
            match node.word {
                Word::Select => by_hand(|| drop(loser)),
                Word::SelectAndAwait => {
                    drop(out);
                    return loser.await;
                }
                _ => {
                    moved.set(true);
                    let task = m.spawn_begun(&node, loser);
                    let task_ref = task.task_ref();
                    m.put(node.numbers[0], Entry { task: Some(Rc::new(task)), task_ref });
                }
            }
            out
        })
    }
}

/// Returns the first of several outputs, and drops the others before. If a destructor panicked
/// during the return, the returned value would leak.
fn first_of<T>(out: Out, others: T) -> Out {
    drop(others);
    out
}

fn first(mut all: Vec<Out>) -> Out {
    if all.is_empty() {
        return Err(Oops::Nobody);
    }
    let out = all.swap_remove(0);
    first_of(out, all)
}

fn first_value(mut all: Vec<Value>) -> Out {
    if all.is_empty() {
        return Err(Oops::Nobody);
    }
    let out = Ok(all.swap_remove(0));
    first_of(out, all)
}

fn flat(result: Result<Out, onelane::TaskError>) -> Out {
    result.unwrap_or(Err(Oops::Cancelled))
}

fn all_flat(all: Vec<Result<Out, onelane::TaskError>>) -> Out {
    first(all.into_iter().map(flat).collect())
}

fn why(error: onelane::TryGatherError<Oops>) -> Oops {
    match error {
        onelane::TryGatherError::Failed(oops) => oops,
        onelane::TryGatherError::Task(_) => Oops::Cancelled,
    }
}

/// A lock guard that counts its holder.
struct HeldLock(OwnedLockGuard<Protected>);

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.0.holders -= 1;
    }
}

/// Counts the holder of a permit.
struct HolderCount(Rc<Machine>, usize);

impl HolderCount {
    fn new(machine: &Rc<Machine>, which: usize) -> Self {
        let count = &machine.in_semaphores[which];
        count.set(count.get() + 1);
        HolderCount(machine.clone(), which)
    }
}

impl Drop for HolderCount {
    fn drop(&mut self) {
        let count = &self.0.in_semaphores[self.1];
        count.set(count.get() - 1);
    }
}

/// Marks a future as kept while something else is polled.
struct KeepGuard(Rc<Machine>, Rc<Cell<bool>>);

impl KeepGuard {
    fn new(machine: &Rc<Machine>, kept: &Rc<Cell<bool>>) -> Self {
        machine.kept.set(machine.kept.get() + 1);
        kept.set(true);
        KeepGuard(machine.clone(), kept.clone())
    }
}

impl Drop for KeepGuard {
    fn drop(&mut self) {
        self.0.kept.set(self.0.kept.get() - 1);
        self.1.set(false);
    }
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> OnDrop<F> {
    fn forget(mut self) {
        drop(self.0.take());
    }
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(act) = self.0.take() {
            act();
        }
    }
}
