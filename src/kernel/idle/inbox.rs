//! The inbox: messages to a loop from outside, and how the loop sleeps until a message arrives.
//!
//! Outside means another thread, another loop, or this thread when it is not in a turn. A sender
//! locks the inbox, adds a message, and wakes the loop if it is asleep. The loop reads one flag per
//! turn, without a lock. Before it sleeps, it checks again under the lock, so no message is missed
//! between the check and the sleep (WAKE-2).
//!
//! ```text
//!   elsewhere                                     the loop's thread
//!     lock; push; flag := true; unlock; knock       take:  flag? then lock; take all; flag := false; unlock
//!                                                   park:  lock; nothing there? wait for a knock; unlock
//! ```
//!
//! A loop sleeps in one of three ways. It waits here on a condition variable. Or it waits in a
//! poller, with the lock released; then a *bell* ends the wait. Or it is a guest, and its host
//! waits; then a bell calls the host. In each case the first sender finds the loop asleep, wakes
//! it, and marks it as awake. Later senders only add their messages.
//!
//! Other threads touch nothing of the loop except its inbox. Inboxes live as long as the process: a
//! waker may be used at any time, even while its loop is being dropped, or long after (`lanes`).
//!
//! This file knows tokens, but no tasks.

use crate::kernel::callbacks::exceptions::drop_payload;
#[cfg(all(unix, feature = "io"))]
use crate::kernel::idle::sockets::source::SourceKey;
use crate::kernel::token::Token;
use crate::kernel::wheel::TimerKey;
use crate::platform::{catch_unwind, resume_unwind};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::any::Any;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use core::time::Duration;

#[cfg(not(loom))]
use crate::platform::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
use core::sync::atomic::{AtomicBool, Ordering};
#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(loom)]
use loom::sync::{Condvar, Mutex, MutexGuard};

/// A request to the loop from outside.
pub(crate) enum Message {
    Wake(Token),
    Call(Box<dyn FnOnce() + Send>),
    /// A sleep was dropped on another thread.
    CancelTimer(TimerKey),
    /// A source was dropped on another thread.
    #[cfg(all(unix, feature = "io"))]
    RemoveSource(SourceKey),
}

pub(crate) struct Inbox {
    /// True while there may be messages. Written under the lock, read without it.
    flag: AtomicBool,
    state: Mutex<State>,
    knock: Condvar,
}

/// Called to end a sleep, on any thread, with no lock held.
pub(crate) type Bell = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct State {
    /// The loop that reads this inbox. Loops come and go; the inbox stays. `None` between two
    /// loops.
    tenant: Option<u64>,
    /// The generation of the tenant's first tokens. Lower generations belong to tasks of earlier
    /// tenants (WAKE-1).
    generation: u32,
    messages: Vec<Message>,
    sleep: Sleep,
    /// `None` for a loop that has no poller and no host.
    bells: Option<Box<dyn Ring>>,
    /// Number of `Remote`s of the tenant: while there is one, a message may still come.
    remotes: usize,
    /// Counted wakers that user code holds, per slot: the task whose waker was cloned last, and the
    /// number of its wakers.
    wakers: Vec<(Token, u32)>,
    /// Whether a parked loop must be woken when the last counted waker of a task is dropped.
    counts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sleep {
    Awake,
    /// The loop's thread waits on the condition variable, or in its poller.
    Parked,
    /// A host waits. It was told that there is nothing to do.
    Hosted,
}

/// How to wake a loop that does not wait on the condition variable.
#[derive(Default)]
pub(crate) struct Bells {
    /// Ends the wait of the loop's poller, if it has one.
    poller: Option<Bell>,
    /// Calls the host.
    hook: Option<Bell>,
    /// The tasks that poll the loop as a future: a number, and a waker that is used once.
    drivers: Vec<(u64, Waker)>,
}

/// The bells of a loop. A trait object, so that a program without pollers and hosts contains no
/// code for bells.
pub(crate) trait Ring: Send {
    /// The function that releases the lock and ends a sleep.
    fn ring(&self) -> fn(&Inbox, MutexGuard<'_, State>, Sleep);

    fn bells(&mut self) -> &mut Bells;
}

/// Why `park` returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parked {
    /// Messages have arrived, or the loop was woken.
    Message,
    /// The timeout has passed.
    TimedOut,
    /// No code is left that could send a message, and the loop did not want to wait any longer.
    Abandoned,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        let state = State {
            tenant: None,
            generation: 0,
            messages: Vec::new(),
            sleep: Sleep::Awake,
            bells: None,
            remotes: 0,
            wakers: Vec::new(),
            counts: false,
        };
        Inbox { flag: AtomicBool::new(false), state: Mutex::new(state), knock: Condvar::new() }
    }

    /// Code under this lock does not panic, except if memory runs out. The state is consistent at
    /// each line in any case.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A loop takes this inbox.
    pub(crate) fn open(&self, tenant: u64, generation: u32) {
        let mut state = self.lock();
        debug_assert!(state.tenant.is_none() && state.messages.is_empty());
        (state.tenant, state.generation) = (Some(tenant), generation);
        state.remotes = 0;
    }

    /// The loop leaves. Returns the messages that no loop will read, to be dropped where no lock is
    /// held.
    pub(crate) fn close(&self) -> Vec<Message> {
        let mut state = self.lock();
        state.tenant = None;
        state.wakers = Vec::new();
        state.sleep = Sleep::Awake;
        let bells = state.bells.take();
        self.flag.store(false, Ordering::Release);
        let messages = core::mem::take(&mut state.messages);
        drop(state);
        // After the lock is released, because these are user code.
        drop(bells);
        messages
    }

    /// Whether there is nothing left that `close` would take out. Then no message can arrive either.
    pub(crate) fn is_closed(&self) -> bool {
        let state = self.lock();
        state.tenant.is_none() && state.bells.is_none() && state.sleep == Sleep::Awake
    }

    /// Wakes a task of the present loop. A token of an earlier loop wakes nothing.
    pub(crate) fn wake(&self, token: Token) {
        let state = self.lock();
        if state.tenant.is_some() && token.generation() >= state.generation {
            self.put(state, Message::Wake(token));
        }
    }

    /// Sends a message to one particular loop. If that loop has gone, returns the message.
    pub(crate) fn send(&self, tenant: u64, message: Message) -> Result<(), Message> {
        let state = self.lock();
        if state.tenant != Some(tenant) {
            return Err(message);
        }
        self.put(state, message);
        Ok(())
    }

    /// Adds a message, and wakes the loop if it is asleep.
    fn put(&self, mut state: MutexGuard<'_, State>, message: Message) {
        if state.messages.len() == state.messages.capacity() {
            forget_repeated_wakes(&mut state.messages);
        }
        state.messages.push(message);
        self.flag.store(true, Ordering::Release);
        self.disturb(state);
    }

    /// Ends the sleep, if the loop is asleep: after the lock is released. A loop that wakes up and
    /// finds the lock taken would sleep once more, which makes a cross-thread wake 50 % more
    /// expensive.
    fn disturb(&self, mut state: MutexGuard<'_, State>) {
        let sleep = core::mem::replace(&mut state.sleep, Sleep::Awake);
        if sleep == Sleep::Awake {
            return;
        }
        if let Some(ring) = state.bells.as_ref().map(|bells| bells.ring()) {
            return ring(self, state, sleep);
        }
        drop(state);
        if sleep == Sleep::Parked {
            self.knock.notify_one();
        }
    }

    /// Like the end of `disturb`, for a loop that has bells.
    fn ring(&self, mut state: MutexGuard<'_, State>, sleep: Sleep) {
        let bells = state.bells();
        let poller = bells.poller.clone();
        if sleep == Sleep::Parked && poller.is_none() {
            drop(state);
            return self.knock.notify_one();
        }
        // The wakers are taken out: cloning one may run user code, and each poll of the loop leaves
        // a new one.
        let (hook, drivers) = match sleep {
            Sleep::Hosted => (bells.hook.clone(), core::mem::take(&mut bells.drivers)),
            _ => (None, Vec::new()),
        };
        drop(state);
        // These are user code. If one panics, the others are still called and dropped. The first
        // panic goes to the sender.
        let mut panicked = None;
        for bell in poller.into_iter().chain(hook) {
            call(&mut panicked, || bell());
            call(&mut panicked, || drop(bell));
        }
        for (_, driver) in drivers {
            call(&mut panicked, || driver.wake_by_ref());
            call(&mut panicked, || drop(driver));
        }
        if let Some(payload) = panicked {
            resume_unwind(payload);
        }
    }

    /// Whether there may be messages. One atomic load.
    #[inline]
    pub(crate) fn has_messages(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }

    /// Number of messages.
    pub(crate) fn messages(&self) -> usize {
        if self.has_messages() { self.lock().messages.len() } else { 0 }
    }

    /// Takes all messages, in the order in which they were sent, in exchange for an empty vector,
    /// whose memory is reused.
    pub(crate) fn take(&self, empty: Vec<Message>) -> Vec<Message> {
        debug_assert!(empty.is_empty(), "WAKE-2: messages would come back");
        let mut state = self.lock();
        self.flag.store(false, Ordering::Release);
        core::mem::replace(&mut state.messages, empty)
    }

    /// Sleeps until a message arrives or the timeout has passed. With `is_alive`, also until no
    /// sender is left: no `Remote`, and no counted waker of a living task. `is_alive` is called
    /// under the lock.
    pub(crate) fn park(&self, timeout: Option<Duration>, is_alive: Option<&dyn Fn(Token) -> bool>) -> Parked {
        let mut state = self.lock();
        if let Some(parked) = state.fall_asleep(is_alive) {
            return parked;
        }
        match timeout {
            // A condition variable may return without reason; only a notification counts.
            None => {
                while state.sleep == Sleep::Parked {
                    state = self.knock.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
                }
            }
            // The wait may end early. The loop then checks its clock, and sleeps again.
            Some(timeout) => {
                let waited = self.knock.wait_timeout(state, timeout);
                state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
            }
        }
        if state.wake_up() { Parked::Message } else { Parked::TimedOut }
    }

    /// Like `park`, for a loop that sleeps in its poller. `wait` is called with the lock released.
    /// The poller's bell ends the wait, even if the bell was rung before. If the loop does not have
    /// to wait, `wait` is not called. `wait` returns whether it has woken a task.
    #[cfg(any(all(test, loom), all(unix, feature = "io")))]
    pub(crate) fn park_in(&self, is_alive: Option<&dyn Fn(Token) -> bool>, wait: impl FnOnce() -> bool) -> Parked {
        let needless = self.lock().fall_asleep(is_alive);
        if let Some(parked) = needless {
            return parked;
        }
        let has_happened = wait();
        let knocked = self.lock().wake_up();
        if knocked || has_happened { Parked::Message } else { Parked::TimedOut }
    }

    /// Sets the loop's poller, and its bell.
    #[cfg(all(unix, feature = "io", not(loom)))]
    pub(crate) fn set_poller(&self, bell: Bell) {
        let before = self.lock().bells().poller.replace(bell);
        drop(before);
    }

    // ---- the loop as a guest ----

    /// Sets the hook that is called when there is new work. Returns the previous hook, which is
    /// user code.
    pub(crate) fn set_hook(&self, hook: Bell) -> Option<Bell> {
        self.lock().bells().hook.replace(hook)
    }

    /// Sets the waker of the driver with this number, which is woken as well when there is new
    /// work. Returns the driver's old waker, which may be user code.
    pub(crate) fn set_driver(&self, number: u64, driver: Option<Waker>) -> Option<Waker> {
        let mut state = self.lock();
        let drivers = &mut state.bells().drivers;
        let place = drivers.iter().position(|(known, _)| *known == number);
        let before = place.map(|place| drivers.remove(place));
        drivers.extend(driver.map(|driver| (number, driver)));
        before.map(|(_, waker)| waker)
    }

    /// The loop is about to end, and calls no host any more. Returns the hooks, to be dropped where
    /// no lock is held.
    pub(crate) fn take_bells(&self) -> Option<Box<dyn Ring>> {
        let mut state = self.lock();
        state.sleep = Sleep::Awake;
        state.bells.take()
    }

    /// The host is told that there is nothing to do, and is called when a message arrives. Returns
    /// the number of messages that have already arrived; if there are any, the host is not called
    /// for later ones.
    pub(crate) fn host_sleeps(&self) -> usize {
        let mut state = self.lock();
        if state.messages.is_empty() {
            state.sleep = Sleep::Hosted;
        }
        state.messages.len()
    }

    /// Whether the host waits, and was not called since.
    pub(crate) fn is_host_asleep(&self) -> bool {
        self.lock().sleep == Sleep::Hosted
    }

    /// The host is running turns.
    pub(crate) fn host_is_here(&self) {
        self.lock().sleep = Sleep::Awake;
    }

    /// Calls the host, whether it waits or not.
    pub(crate) fn ring_host(&self) {
        let mut state = self.lock();
        state.sleep = Sleep::Hosted;
        self.disturb(state);
    }

    /// There is new work on the loop's own thread: calls the host, unless it was called already.
    pub(crate) fn call_host(&self) {
        let state = self.lock();
        if state.sleep == Sleep::Hosted {
            self.disturb(state);
        }
    }

    /// User code has cloned a counted waker of this task.
    pub(crate) fn add_waker(&self, token: Token) {
        let mut state = self.lock();
        let slot = token.slot() as usize;
        if state.tenant.is_none() || token.generation() < state.generation {
            return;
        }
        while state.wakers.len() <= slot {
            state.wakers.push((Token::NOBODY, 0));
        }
        let (known, count) = &mut state.wakers[slot];
        if *known == token {
            *count += 1;
        } else if *known == Token::NOBODY || known.generation() < token.generation() {
            // The task that was recorded for this slot has ended.
            (*known, *count) = (token, 1);
        }
    }

    /// User code has dropped a counted waker of this task.
    pub(crate) fn remove_waker(&self, token: Token) {
        let mut state = self.lock();
        let Some((_, count)) = state.wakers.get_mut(token.slot() as usize).filter(|(known, _)| *known == token) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 && state.counts {
            self.look_again(state);
        }
    }

    /// Number of counted wakers of the task that user code holds.
    pub(crate) fn wakers(&self, token: Token) -> usize {
        let state = self.lock();
        state
            .wakers
            .get(token.slot() as usize)
            .filter(|(known, _)| *known == token)
            .map_or(0, |&(_, count)| count as usize)
    }

    /// Whether there are messages, or any possible sender: a `Remote`, or a counted waker of a
    /// living task.
    pub(crate) fn may_receive(&self, is_alive: &dyn Fn(Token) -> bool) -> bool {
        let state = self.lock();
        !state.messages.is_empty() || state.can_receive(is_alive)
    }

    pub(crate) fn add_remote(&self, tenant: u64) {
        let mut state = self.lock();
        if state.tenant == Some(tenant) {
            state.remotes += 1;
        }
    }

    pub(crate) fn remove_remote(&self, tenant: u64) {
        let mut state = self.lock();
        if state.tenant == Some(tenant) {
            state.remotes -= 1;
            if state.remotes == 0 {
                self.look_again(state);
            }
        }
    }

    /// If the loop is parked, wakes it to check whether a message can still come.
    fn look_again(&self, state: MutexGuard<'_, State>) {
        if state.sleep == Sleep::Parked {
            self.disturb(state);
        }
    }
}

impl Ring for Bells {
    fn ring(&self) -> fn(&Inbox, MutexGuard<'_, State>, Sleep) {
        Inbox::ring
    }

    fn bells(&mut self) -> &mut Bells {
        self
    }
}

/// Calls several functions, and keeps the first panic.
fn call(panicked: &mut Option<Box<dyn Any + Send>>, act: impl FnOnce()) {
    match (catch_unwind(AssertUnwindSafe(act)), &panicked) {
        (Ok(()), _) => {}
        (Err(payload), None) => *panicked = Some(payload),
        (Err(payload), Some(_)) => drop_payload(payload),
    }
}

impl State {
    /// The loop is about to sleep. Returns why it does not have to, if so.
    fn fall_asleep(&mut self, is_alive: Option<&dyn Fn(Token) -> bool>) -> Option<Parked> {
        if !self.messages.is_empty() {
            return Some(Parked::Message);
        }
        if is_alive.is_some_and(|is_alive| !self.can_receive(is_alive)) {
            return Some(Parked::Abandoned);
        }
        self.counts = is_alive.is_some();
        self.sleep = Sleep::Parked;
        None
    }

    /// The loop is awake again. Returns whether a sender has woken it.
    fn wake_up(&mut self) -> bool {
        let knocked = core::mem::replace(&mut self.sleep, Sleep::Awake) != Sleep::Parked;
        debug_assert!(knocked || self.messages.is_empty(), "WAKE-2: a message came without a knock");
        knocked
    }

    fn bells(&mut self) -> &mut Bells {
        self.bells.get_or_insert_with(|| Box::new(Bells::default())).bells()
    }

    fn can_receive(&self, is_alive: &dyn Fn(Token) -> bool) -> bool {
        self.remotes > 0 || self.wakers.iter().any(|&(token, count)| count > 0 && is_alive(token))
    }
}

/// Removes repeated wakes of one task, which have no effect. Called when the memory is full, before
/// more is allocated. So a loop that does not run turns needs memory for each woken task, not for
/// each wake.
fn forget_repeated_wakes(messages: &mut Vec<Message>) {
    // Indexed by slot: there are hardly more slots than tasks. If two tasks had the same slot, the
    // earlier one has ended.
    let mut seen = Vec::new();
    messages.retain(|message| {
        let Message::Wake(token) = *message else { return true };
        let slot = token.slot() as usize;
        while seen.len() <= slot {
            seen.push(Token::NOBODY);
        }
        core::mem::replace(&mut seen[slot], token) != token
    });
    // Doubles the memory unless half of it is free now. Otherwise each of the next messages would
    // cost a pass like this one.
    if messages.len() > messages.capacity() / 2 {
        messages.reserve(messages.capacity().max(16));
    }
}

#[cfg(all(test, not(loom)))]
impl Inbox {
    /// Waits until the loop is asleep, and notifies it without a message. A sender does so if the
    /// loop reads its message before the sender notifies.
    pub(crate) fn knock_late(&self) {
        while self.lock().sleep != Sleep::Parked {
            std::thread::yield_now();
        }
        self.knock.notify_one();
    }
}

impl core::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::Arc;
    use std::thread;

    fn token(slot: u32) -> Token {
        Token::new(0, 0, slot)
    }

    fn open() -> Inbox {
        let inbox = Inbox::new();
        inbox.open(1, 0);
        inbox
    }

    #[test]
    fn messages_come_out_in_the_order_in_which_they_went_in() {
        let inbox = open();
        assert!(!inbox.has_messages());
        inbox.wake(token(1));
        assert!(inbox.send(1, Message::Call(Box::new(|| ()))).is_ok());
        inbox.wake(token(2));
        assert!(inbox.has_messages());
        let messages = inbox.take(Vec::new());
        assert!(matches!(messages[..], [Message::Wake(first), Message::Call(_), Message::Wake(last)]
            if first == token(1) && last == token(2)));
        assert!(!inbox.has_messages() && inbox.take(Vec::new()).is_empty());
    }

    #[test]
    fn closed_inbox_takes_nothing() {
        let inbox = open();
        inbox.wake(token(1));
        assert_eq!(inbox.close().len(), 1);
        inbox.wake(token(1));
        assert!(inbox.send(1, Message::Wake(token(1))).is_err());
        assert!(!inbox.has_messages());
        inbox.open(2, 0);
        assert!(inbox.send(1, Message::Wake(token(1))).is_err(), "a message for an earlier tenant was taken");
        assert!(inbox.send(2, Message::Wake(token(1))).is_ok());
    }

    #[test]
    fn next_tenant_inherits_nothing() {
        let inbox = open();
        inbox.add_remote(1);
        inbox.wake(token(1));
        drop(inbox.close());
        inbox.open(2, 7);
        inbox.wake(Token::new(0, 6, 1));
        assert!(!inbox.has_messages(), "WAKE-1: a token of an earlier tenant was taken");
        assert_eq!(inbox.park(None, Some(&|_| true)), Parked::Abandoned, "a remote of an earlier tenant counts");
        inbox.remove_remote(1);
        inbox.add_remote(2);
        inbox.remove_remote(2);
        assert_eq!(inbox.park(None, Some(&|_| true)), Parked::Abandoned);
    }

    #[test]
    fn repeated_wakes_need_memory_once() {
        let inbox = open();
        for nth in 0..100_000 {
            inbox.wake(token(nth % 100));
        }
        let messages = inbox.take(Vec::new());
        assert!(messages.capacity() <= 1024, "{} places for wakes of 100 tasks", messages.capacity());
        let seen = messages.iter().filter_map(|message| match message {
            Message::Wake(token) => Some(*token),
            _ => None,
        });
        assert_eq!(seen.collect::<HashSet<_>>().len(), 100);
    }

    #[test]
    fn park_returns_for_a_message_and_for_the_last_remote() {
        let inbox = Arc::new(open());
        assert_eq!(inbox.park(None, Some(&|_| true)), Parked::Abandoned);
        assert_eq!(inbox.park(Some(Duration::ZERO), None), Parked::TimedOut);
        inbox.add_remote(1);
        let other = inbox.clone();
        let thread = thread::spawn(move || other.wake(token(1)));
        assert_eq!(inbox.park(None, Some(&|_| true)), Parked::Message);
        thread.join().unwrap();
        assert_eq!(inbox.take(Vec::new()).len(), 1);

        let other = inbox.clone();
        let thread = thread::spawn(move || other.remove_remote(1));
        // The end of the last remote has woken the loop, or came before the sleep.
        assert_ne!(inbox.park(None, Some(&|_| true)), Parked::TimedOut);
        thread.join().unwrap();
        assert_eq!(inbox.park(None, Some(&|_| true)), Parked::Abandoned);
    }
}

/// Every interleaving, with `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use loom::sync::Arc;
    use loom::sync::atomic::AtomicUsize;
    use loom::thread;

    /// Runs turns and waits as the loop does, until this many messages have arrived.
    fn drive(inbox: &Inbox, mut expected: usize) {
        while expected > 0 {
            if inbox.has_messages() {
                let messages = inbox.take(Vec::new());
                expected = expected.checked_sub(messages.len()).expect("a message came twice");
            } else {
                inbox.park(None, None);
            }
        }
        assert!(inbox.take(Vec::new()).is_empty());
    }

    /// WAKE-2: if a message were lost, the loop would sleep for ever, which loom reports as a
    /// deadlock.
    #[test]
    fn loom_two_wakers_and_a_loop_that_parks() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            inbox.open(1, 0);
            let threads = [1, 2].map(|slot| {
                let inbox = inbox.clone();
                thread::spawn(move || inbox.wake(Token::new(0, 0, slot)))
            });
            drive(&inbox, 2);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }

    /// tokio-rs/tokio#7622: the woken thread sees what was written before the wake. The value
    /// itself orders nothing.
    #[test]
    fn loom_a_wake_publishes_what_was_written_before() {
        loom::model(|| {
            let shared = Arc::new((Inbox::new(), AtomicUsize::new(0)));
            shared.0.open(1, 0);
            let writer = shared.clone();
            let thread = thread::spawn(move || {
                writer.1.store(42, Ordering::Relaxed);
                writer.0.wake(Token::new(0, 0, 1));
            });
            drive(&shared.0, 1);
            assert_eq!(shared.1.load(Ordering::Relaxed), 42);
            thread.join().unwrap();
        });
    }

    /// A message is taken, or returned by `close`, or refused. It is never left in an inbox that no
    /// loop reads.
    #[test]
    fn loom_close_while_somebody_sends() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            inbox.open(1, 0);
            let sender = inbox.clone();
            let thread = thread::spawn(move || sender.send(1, Message::Wake(Token::new(0, 0, 1))).is_ok());
            let read = inbox.take(Vec::new()).len() + inbox.close().len();
            let sent = thread.join().unwrap();
            assert_eq!(read, usize::from(sent));
            inbox.open(2, 0);
            assert!(!inbox.has_messages() && inbox.take(Vec::new()).is_empty());
        });
    }

    /// The loop sleeps only because a `Remote` still exists. Another thread drops the last one: the
    /// loop must wake up.
    #[test]
    fn loom_last_remote_leaves_a_loop_that_parks() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            inbox.open(1, 0);
            inbox.add_remote(1);
            let remote = inbox.clone();
            let thread = thread::spawn(move || remote.remove_remote(1));
            while inbox.park(None, Some(&|_| true)) != Parked::Abandoned {}
            thread.join().unwrap();
        });
    }

    /// The loop sleeps only because a waker of a living task still exists. Another thread drops the
    /// last such waker: the loop must wake up.
    #[test]
    fn loom_last_waker_leaves_a_loop_that_parks() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            inbox.open(1, 0);
            let token = Token::new(0, 0, 1);
            inbox.add_waker(token);
            let holder = inbox.clone();
            let thread = thread::spawn(move || {
                // The holder clones its waker, and drops both. Before the second drop there is
                // always one.
                holder.add_waker(token);
                holder.remove_waker(token);
                holder.remove_waker(token);
            });
            while inbox.park(None, Some(&|other| other == token)) != Parked::Abandoned {}
            assert_eq!(inbox.wakers(token), 0);
            thread.join().unwrap();
        });
    }

    /// The last waker is used by value, which is a wake and then a drop. The loop must read the
    /// wake before it gives up.
    #[test]
    fn loom_last_waker_wakes_a_loop_that_parks() {
        loom::model(|| {
            let inbox = Arc::new(Inbox::new());
            inbox.open(1, 0);
            let token = Token::new(0, 0, 1);
            inbox.add_waker(token);
            let holder = inbox.clone();
            let thread = thread::spawn(move || {
                holder.wake(token);
                holder.remove_waker(token);
            });
            let mut read = 0;
            loop {
                if inbox.has_messages() {
                    read += inbox.take(Vec::new()).len();
                } else if inbox.park(None, Some(&|other| other == token)) == Parked::Abandoned {
                    break;
                }
            }
            assert_eq!(read, 1, "WAKE-2");
            thread.join().unwrap();
        });
    }

    /// Stands for a poller: a wait that a bell ends, even if the bell was rung before.
    struct Doorbell {
        rung: Mutex<bool>,
        change: Condvar,
    }

    impl Doorbell {
        fn new() -> Arc<Self> {
            Arc::new(Doorbell { rung: Mutex::new(false), change: Condvar::new() })
        }

        fn bell(doorbell: &Arc<Self>) -> Bell {
            let doorbell = doorbell.clone();
            std::sync::Arc::new(move || {
                *doorbell.rung.lock().unwrap() = true;
                doorbell.change.notify_one();
            })
        }

        fn wait(&self) {
            let mut rung = self.rung.lock().unwrap();
            while !std::mem::take(&mut *rung) {
                rung = self.change.wait(rung).unwrap();
            }
        }
    }

    /// WAKE-2, for a loop that sleeps in its poller, with the inbox unlocked.
    #[test]
    fn loom_two_wakers_and_a_loop_that_sleeps_in_its_poller() {
        loom::model(|| {
            let (inbox, poller) = (Arc::new(Inbox::new()), Doorbell::new());
            inbox.open(1, 0);
            inbox.lock().bells().poller = Some(Doorbell::bell(&poller));
            let threads = [1, 2].map(|slot| {
                let inbox = inbox.clone();
                thread::spawn(move || inbox.wake(Token::new(0, 0, slot)))
            });
            let mut expected = 2;
            while expected > 0 {
                if inbox.has_messages() {
                    expected -= inbox.take(Vec::new()).len();
                } else {
                    inbox.park_in(None, || {
                        poller.wait();
                        false
                    });
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            drop(inbox.close());
        });
    }

    /// WAKE-2, for a guest: its host sleeps until the wake hook is called, and then runs a turn.
    #[test]
    fn loom_two_wakers_and_a_host_that_sleeps() {
        loom::model(|| {
            let (inbox, host) = (Arc::new(Inbox::new()), Doorbell::new());
            inbox.open(1, 0);
            assert!(inbox.set_hook(Doorbell::bell(&host)).is_none());
            let threads = [1, 2].map(|slot| {
                let inbox = inbox.clone();
                thread::spawn(move || inbox.wake(Token::new(0, 0, slot)))
            });
            let mut expected = 2;
            while expected > 0 {
                // A turn.
                inbox.host_is_here();
                if inbox.has_messages() {
                    expected -= inbox.take(Vec::new()).len();
                }
                if expected > 0 && inbox.host_sleeps() == 0 {
                    host.wait();
                }
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            drop(inbox.close());
        });
    }

    /// Three threads, one of which sends twice. At most two preemptions, to keep the test short.
    #[test]
    fn loom_three_wakers() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let inbox = Arc::new(Inbox::new());
            inbox.open(1, 0);
            let threads = [1, 1, 2].map(|times| {
                let inbox = inbox.clone();
                thread::spawn(move || (0..times).for_each(|slot| inbox.wake(Token::new(0, 0, slot))))
            });
            drive(&inbox, 4);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
    }
}
