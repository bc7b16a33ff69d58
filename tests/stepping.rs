//! Tests that move a virtual clock by hand: each timer fires at its time, and nothing else moves it.

use onelane::{EventLoop, call_later, sleep, yield_now};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

type Log = Rc<RefCell<Vec<(u64, &'static str)>>>;

fn log(event_loop: &EventLoop) -> (Log, impl Fn(&'static str) + Clone + 'static) {
    let log = Log::default();
    let (copy, begun, loop_ref) = (log.clone(), event_loop.time(), event_loop.loop_ref());
    (log, move |what| copy.borrow_mut().push(((loop_ref.time() - begun).as_secs(), what)))
}

#[test]
fn advance_fires_each_timer_at_its_time() {
    let event_loop = EventLoop::with_virtual_clock();
    let (log, note) = log(&event_loop);
    let copy = note.clone();
    let _task = event_loop.spawn(async move {
        copy("begins");
        yield_now().await;
        copy("goes on");
        sleep(2 * SECOND).await;
        copy("slept");
        let late = copy.clone();
        drop(call_later(SECOND, move || late("set meanwhile")));
        sleep(4 * SECOND).await;
        copy("not yet");
    });
    event_loop.call_later(3 * SECOND, move || note("three"));
    event_loop.advance(5 * SECOND);
    // The call that was set first fires first.
    let expected = [(0, "begins"), (0, "goes on"), (2, "slept"), (3, "three"), (3, "set meanwhile")];
    assert_eq!(*log.borrow(), expected);
    let begun = event_loop.time();
    event_loop.advance(Duration::ZERO);
    assert_eq!(event_loop.time(), begun);
    event_loop.advance(SECOND);
    assert_eq!(log.borrow().last(), Some(&(6, "not yet")));
}

#[test]
fn advance_without_timers_moves_the_clock_alone() {
    let event_loop = EventLoop::with_virtual_clock();
    let begun = event_loop.time();
    event_loop.advance(7 * SECOND);
    assert_eq!(event_loop.time() - begun, 7 * SECOND);
    // A sleep that begins now ends seven seconds later than it would have.
    let task = event_loop.spawn(async { sleep(SECOND).await });
    assert_eq!(event_loop.advance_to_next_timer(), Some(SECOND));
    assert!(task.is_done());
    assert_eq!(event_loop.advance_to_next_timer(), None);
    assert_eq!(event_loop.time() - begun, 8 * SECOND);
}

#[test]
fn run_until_stalled_leaves_the_clock() {
    let event_loop = EventLoop::with_virtual_clock();
    let begun = event_loop.time();
    let (log, note) = log(&event_loop);
    let copy = note.clone();
    event_loop.call_later(Duration::ZERO, move || copy("due now"));
    event_loop.call_later(SECOND, move || note("later"));
    for _ in 0..3 {
        event_loop.run_until_stalled();
        assert_eq!((event_loop.time() - begun, log.borrow().len()), (Duration::ZERO, 1));
    }
    assert_eq!(event_loop.advance_to_next_timer(), Some(SECOND));
    assert_eq!(*log.borrow(), [(0, "due now"), (1, "later")]);
}

#[test]
fn messages_from_other_threads_count_as_ready() {
    let event_loop = EventLoop::with_virtual_clock();
    let (remote, flag) = (event_loop.remote(), std::sync::Arc::new(std::sync::Mutex::new(false)));
    event_loop.call_later(SECOND, || ());
    let copy = flag.clone();
    std::thread::spawn(move || remote.call_soon(move || *copy.lock().unwrap() = true).unwrap()).join().unwrap();
    event_loop.run_until_stalled();
    assert!(*flag.lock().unwrap());
}

#[test]
fn real_clocks_cannot_be_moved() {
    let to_next_timer = |event_loop: &EventLoop| _ = event_loop.advance_to_next_timer();
    for advance in [|event_loop: &EventLoop| event_loop.advance(SECOND), to_next_timer] {
        let refused = std::panic::catch_unwind(|| advance(&EventLoop::new()));
        let message = *refused.unwrap_err().downcast::<String>().unwrap();
        assert!(message.contains("was called on a loop with a real clock"), "{message}");
    }
}
