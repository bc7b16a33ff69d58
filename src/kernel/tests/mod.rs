//! The loop's own tests: what no public function shows.

use super::callbacks::calls::Call;
use super::cancel::spread::LAST_SPREAD;
use super::idle::KEPT_MESSAGES;
use super::*;
use std::time::Duration;

fn enter(clock: Clock) -> (Rc<Kernel>, context::Entered) {
    let observed = clock.is_virtual().then_some(&OBSERVED);
    let kernel = Kernel::new(clock, observed, None);
    let entered = context::enter(&kernel);
    (kernel, entered)
}

/// A loop that has nothing to do sleeps: it does not come by to look.
#[test]
fn idle_loop_makes_no_turns() {
    let (kernel, _entered) = enter(Clock::real());
    let over = Rc::new(Cell::new(false));
    let flag = over.clone();
    let deadline = kernel.clock.now().after(Duration::from_millis(30));
    kernel.add_timer(deadline, Alarm::Call(Call::Once(Box::new(move || flag.set(true)))));
    assert!(kernel.turn_until(&over).is_ok());
    assert!(kernel.clock.now() >= deadline, "TIME-2: the timer was early");
    // One that fires; a condition variable may return a few times for no reason.
    assert!(kernel.tally().turns.get() <= 5, "{} turns in which nothing was due", kernel.tally().turns.get());
}

/// A park that a late knock has ended is no wake-up for a timer: those that follow are not put off
/// until its end.
#[test]
fn late_knock_puts_no_timer_off() {
    let (kernel, _entered) = enter(Clock::real());
    let begun = kernel.clock.now();
    kernel.add_timer(begun.after(Duration::from_secs(20)), Alarm::Call(Call::Once(Box::new(|| ()))));
    let inbox = kernel.inbox();
    let late = std::thread::spawn(move || inbox.knock_late());
    kernel.idle().unwrap();
    late.join().unwrap();
    // As after a swarm.
    (0..100).for_each(|_| kernel.pace.fired());
    assert!(kernel.pace.wake_up(begun) < begun.after(Duration::from_secs(1)));
}

/// A virtual clock that waits for others says so once, and goes on waiting.
#[test]
fn tell_once_of_a_long_rest() {
    thread_local!(static TOLD: Cell<u32> = const { Cell::new(0) });
    let (kernel, _entered) = enter(Clock::virtual_time());
    kernel.idling.patience.set(Duration::ZERO);
    kernel.idling.tell_of_long_rest.set(Some(|_| TOLD.set(TOLD.get() + 1)));
    kernel.inbox().add_remote(kernel.id());
    assert!(kernel.idle().is_ok());
    assert_eq!(TOLD.get(), 1);
    let inbox = kernel.inbox();
    let (id, message) = (kernel.id(), Message::Call(Box::new(|| ())));
    let sender = std::thread::spawn(move || inbox.send(id, message).is_ok());
    assert!(kernel.idle().is_ok() && sender.join().unwrap());
    kernel.turn();
    kernel.inbox().remove_remote(kernel.id());
    assert!(kernel.idle().is_err(), "no sender is left");
    assert_eq!(TOLD.get(), 1);
}

/// A park that a late knock has ended is none in which the loop has waited long.
#[test]
fn late_knock_is_no_long_rest() {
    thread_local!(static TOLD: Cell<u32> = const { Cell::new(0) });
    let (kernel, _entered) = enter(Clock::virtual_time());
    kernel.idling.patience.set(Duration::from_secs(20));
    kernel.idling.tell_of_long_rest.set(Some(|_| TOLD.set(TOLD.get() + 1)));
    kernel.inbox().add_remote(kernel.id());
    let inbox = kernel.inbox();
    let late = std::thread::spawn(move || inbox.knock_late());
    assert!(kernel.idle().is_ok());
    late.join().unwrap();
    assert_eq!((TOLD.get(), kernel.idling.tell_of_long_rest.take().is_some()), (0, true));
}

/// The memory of messages is used again, but for that of a flood.
#[test]
fn messages_keep_their_memory_unless_they_are_a_flood() {
    let (kernel, _entered) = enter(Clock::virtual_time());
    let mut kept = Vec::new();
    for count in [1, KEPT_MESSAGES + 1] {
        for _ in 0..count {
            assert!(kernel.inbox().send(kernel.id(), Message::Call(Box::new(|| ()))).is_ok());
        }
        kernel.turn();
        let memory = kernel.idling.messages.take();
        kept.push(memory.capacity() > 0);
    }
    assert_eq!((kept, kernel.tally().messages.get() as usize), (vec![true, false], KEPT_MESSAGES + 2));
}

/// A future that was forgotten does not end its wait: that goes with its task.
#[test]
fn ended_task_leaves_no_record() {
    let (kernel, _entered) = enter(Clock::virtual_time());
    let forgetful = std::future::poll_fn(|_| {
        let kernel = context::running().unwrap();
        let waits = [(); 3].map(|()| {
            kernel.table.begin_wait(super::table::records::Wait::Task(kernel.table.running_token()), Location::caller())
        });
        assert!(waits.iter().all(Option::is_some));
        assert_eq!(kernel.table.records(), 3);
        std::task::Poll::Ready(())
    });
    let task = kernel.spawn(None, Location::caller(), forgetful);
    kernel.turn();
    assert_eq!((task.header().is_done(), kernel.table.records()), (true, 0));
}

/// The numbers of spreads begin anew when they are used up, and marks of old ones are not taken for
/// those of new ones.
#[test]
fn cancel_when_the_numbers_of_spreads_are_used_up() {
    let (kernel, _entered) = enter(Clock::virtual_time());
    let tokens = Rc::new(RefCell::new(Vec::new()));
    // Two tasks that await each other.
    let task = |other: usize| {
        let tokens = tokens.clone();
        std::future::poll_fn(move |_| {
            let kernel = context::running().unwrap();
            kernel.table.begin_wait(super::table::records::Wait::Task(tokens.borrow()[other]), Location::caller());
            std::task::Poll::<()>::Pending
        })
    };
    let tasks = [1, 0].map(|other| kernel.spawn(None, Location::caller(), task(other)));
    tokens.borrow_mut().extend(tasks.iter().map(|task| task.header().token()));
    kernel.turn();
    // Leaves the marks of spread 1.
    kernel.cancel(tasks[0].any());
    kernel.cancels.spreads.set(LAST_SPREAD);
    kernel.cancel(tasks[0].any());
    let counts = || tasks.each_ref().map(|task| task.header().cancelling.get());
    assert_eq!((kernel.cancels.spreads.get(), counts()), (1, [2, 2]));
    kernel.turn();
    kernel.turn();
    // The last before the circle closes does not wait; the first would hear of its end by a waiter,
    // which it does not have.
    assert_eq!(tasks.map(|task| task.header().ending.get()), [None, Some(Ending::Cancelled)]);
    assert!(kernel.close().is_ok());
}

/// When timers have fired, the next deadline is known again, or that there is none.
#[test]
fn fired_timers_leave_the_next_deadline() {
    let (kernel, _entered) = enter(Clock::virtual_time());
    for deadline in [Time(5), Time(5), Time(9)] {
        kernel.add_timer(deadline, Alarm::Call(Call::Once(Box::new(|| ()))));
    }
    let mut seen = Vec::new();
    for _ in 0..3 {
        kernel.turn();
        seen.push((kernel.clock.now(), kernel.next.get(), kernel.tally().timers_fired.get()));
    }
    assert_eq!(seen, [(Time(5), Time(9), 2), (Time(9), Time::NEVER, 3), (Time(9), Time::NEVER, 3)]);
}

/// A timer that is cancelled leaves nothing behind that keeps the loop looking at its clock.
#[test]
fn cancelled_timer_leaves_the_loop_calm() {
    let (kernel, _entered) = enter(Clock::virtual_time());
    let key = kernel.add_timer(Time(5), Alarm::Call(Call::Once(Box::new(|| unreachable!()))));
    assert_eq!(kernel.next_deadline(), Some(Time(5)));
    assert!(kernel.cancel_timer(key).is_some() && kernel.cancel_timer(key).is_none());
    kernel.call_soon(Call::Once(Box::new(|| ())));
    kernel.turn();
    assert!(kernel.idle().is_err(), "there is nothing to wait for");
    assert_eq!((kernel.next.get(), kernel.clock.now()), (Time::NEVER, Time(0)));
}

/// DONE-1: what `lend` gives out may still have a row when its future is gone, and is not polled
/// there.
#[test]
fn lent_task_is_not_polled_after_the_body_has_unwound() {
    let (kernel, _entered) = enter(Clock::virtual_time());
    let polls = Cell::new(0);
    let future = std::future::poll_fn(|_| {
        polls.set(polls.get() + 1);
        std::task::Poll::<()>::Pending
    });
    let draft = kernel.draft(None, Location::caller());
    let lent = RefCell::new(None);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        super::cell::lend(
            || draft,
            future,
            |main| {
                *lent.borrow_mut() = Some(main.any().clone());
                kernel.insert(main.any().clone());
                std::panic::resume_unwind(Box::new("out of the body"))
            },
        )
    }));
    assert!(unwound.is_err() && kernel.table.len() == 1);
    kernel.turn();
    let ending = lent.take().and_then(|task| task.header().ending.get());
    assert_eq!((polls.get(), kernel.table.len(), ending), (0, 0, Some(Ending::Cancelled)));
}
