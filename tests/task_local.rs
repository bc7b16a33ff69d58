//! Task-local variables: inherited at spawn, changed in each task separately, visible in callbacks,
//! dropped with the last task.

#[path = "common/mod.rs"]
mod common;

use common::{Census, Member, Trace, alone, ms, on_drop, panic_of, telling_loop, virtual_loop};
use onelane::{Clock, EventLoop, Promise, call_later, call_soon, finally, gather, sleep, spawn, task_local, yield_now};
use std::cell::Cell;
use std::rc::Rc;

task_local! {
    static NAME: String;
    static LEVEL: u32 = 7;
    static HELD: Rc<Member>;
    static LOUD: OnDrop;
    static FRESH: Rc<Cell<u32>> = Rc::new(Cell::new(0));
    static PANICS: Panics;
}

struct OnDrop(Trace);

impl Drop for OnDrop {
    fn drop(&mut self) {
        // Foreign code, which may use the loop and the variables.
        self.0.push(format!("dropped at level {:?}", LEVEL.try_get()));
        drop(LEVEL.set(9));
        drop(spawn(async {}));
    }
}

struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        panic!("destructor");
    }
}

#[test]
fn inherit_and_change_in_private() {
    virtual_loop().run(async {
        drop(NAME.set("parent".into()));
        let child = spawn(async {
            assert_eq!(NAME.get(), "parent");
            drop(NAME.set("child".into()));
            let grandchild = spawn(async { NAME.get() }).await;
            yield_now().await;
            (grandchild, NAME.get())
        });
        drop(NAME.set("changed".into()));
        assert_eq!(child.await, Ok((Ok("child".into()), "child".into())));
        assert_eq!(NAME.get(), "changed");
        assert_eq!(gather([async { NAME.get() }]).await.unwrap(), ["changed"]);
    });
}

#[test]
fn see_in_callbacks_what_was_set_when_they_were_asked_for() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let look = |name: &'static str| {
            let trace = trace.clone();
            move || trace.push(format!("{name} {:?}", NAME.try_get()))
        };
        call_soon(look("unset"));
        drop(NAME.set("first".into()));
        call_soon(look("soon"));
        call_later(ms(1), look("later"));
        let task = spawn(async { drop(NAME.set("of the task".into())) });
        let done = look("done");
        task.add_done_callback(move |_| done());
        let copy = trace.clone();
        call_soon(move || {
            drop(NAME.set("of the callback".into()));
            copy.push(NAME.get());
            let inner = copy.clone();
            call_soon(move || inner.push(NAME.get()));
        });
        drop(NAME.set("second".into()));
        sleep(ms(2)).await;
        assert_eq!(NAME.get(), "second");
    });
    let expected = [
        "unset None",
        r#"soon Some("first")"#,
        "of the callback",
        r#"done Some("first")"#,
        "of the callback",
        r#"later Some("first")"#,
    ];
    assert_eq!(trace.take(), expected);
}

#[test]
fn panic_in_a_callback_and_leave_nothing_set() {
    let (event_loop, told) = telling_loop();
    let trace = Trace::new();
    event_loop.run(async {
        call_soon(|| ());
        {
            drop(NAME.set("callback".into()));
            call_soon(|| panic!("{}", NAME.get()));
        }
        yield_now().await;
        let copy = trace.clone();
        spawn(async {}).add_done_callback(|_| ());
        NAME.with(|name| copy.push(format!("{name:?}")));
    });
    // A callback of a run that has set no variable.
    let copy = trace.clone();
    event_loop.run(async move {
        call_soon(move || copy.push(format!("{:?}", NAME.try_get())));
        yield_now().await;
    });
    assert_eq!(told.take(), ["a callback panicked: callback"]);
    assert_eq!(trace.take(), [r#"Some("callback")"#, "None"]);
}

#[test]
fn drop_values_with_the_last_task_that_has_them() {
    let census = Census::new();
    virtual_loop().run(async {
        drop(HELD.set(Rc::new(census.member())));
        let child = spawn(sleep(ms(10)));
        drop(HELD.set(Rc::new(census.member())));
        assert_eq!(census.counts(), (2, 0));
        (&child).await.unwrap();
        assert_eq!(census.counts(), (2, 1), "the handle of a task that has ended holds no values");
    });
    assert_eq!(census.counts(), (2, 2));
}

#[test]
fn use_the_loop_in_the_destructor_of_a_value() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            drop(LOUD.set(OnDrop(copy.clone())));
            drop(LOUD.set(OnDrop(copy)));
            LEVEL.get()
        });
        assert_eq!(task.await, Ok(9));
    });
    assert_eq!(trace.take(), ["dropped at level Some(7)", "dropped at level Some(7)"]);
}

#[test]
fn see_values_in_destructors_and_cleanups_of_a_cancelled_task() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let copy = trace.clone();
        let task = spawn(async move {
            drop(NAME.set("task".into()));
            let inner = copy.clone();
            let body = async move {
                let _guard = on_drop(move || inner.push(format!("destructor {}", NAME.get())));
                sleep(ms(10)).await;
            };
            finally(body, async move { copy.push(format!("cleanup {}", NAME.get())) }).await;
        });
        yield_now().await;
        task.cancel();
        assert!(task.await.is_err());
    });
    assert_eq!(trace.take(), ["destructor task", "cleanup task"]);
}

#[test]
fn reset_to_nothing_and_to_the_default() {
    virtual_loop().run(async {
        let before = NAME.set("x".into());
        let level = LEVEL.set(8);
        NAME.reset(before);
        LEVEL.reset(level);
        assert_eq!((NAME.try_get(), LEVEL.get()), (None, 7));
        assert_eq!(
            panic_of(|| NAME.get()),
            "get() of TaskLocal(NAME) was called, but the variable was never set here; set it, or declare it with a default"
        );
    });
}

#[test]
fn ask_outside_of_a_loop() {
    assert_eq!((NAME.try_get(), LEVEL.get()), (None, 7));
    assert!(panic_of(|| LEVEL.set(8)).contains("no running event loop"));
}

/// A value that a callback or a destructor sets is dropped with it. The next callback, a task and
/// the next run do not see it.
#[test]
fn leave_nothing_behind_a_callback() {
    let trace = Trace::new();
    let event_loop = virtual_loop();
    let set = || {
        call_soon(|| drop(LEVEL.set(1)));
        call_later(ms(1), || drop(LEVEL.set(2)));
    };
    event_loop.run(async {
        set();
        let copy = trace.clone();
        drop(spawn(async move { drop(LOUD.set(OnDrop(copy))) }));
        sleep(ms(2)).await;
        let copy = trace.clone();
        call_soon(move || copy.push(format!("callback {}", LEVEL.get())));
        yield_now().await;
        trace.push(format!("task {}", spawn(async { LEVEL.get() }).await.unwrap()));
    });
    trace.push(format!("run {}", event_loop.run(async { LEVEL.get() })));
    assert_eq!(trace.take(), ["dropped at level Some(7)", "callback 7", "task 7", "run 7"]);
}

#[test]
fn see_in_callbacks_of_a_promise_what_was_set_when_they_were_added() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let promise = Promise::new();
        for level in 1..3 {
            drop(LEVEL.set(level));
            let copy = trace.clone();
            promise.add_done_callback(move |_| {
                copy.push(format!("pending {}", LEVEL.get()));
                drop(LEVEL.set(9));
            });
        }
        drop(LEVEL.set(3));
        promise.set_result(()).unwrap();
        let copy = trace.clone();
        promise.add_done_callback(move |_| copy.push(format!("done {}", LEVEL.get())));
        drop(LEVEL.set(4));
        yield_now().await;
        assert_eq!(LEVEL.get(), 4);
    });
    assert_eq!(trace.take(), ["pending 1", "pending 2", "done 3"]);
}

#[test]
fn see_in_the_exception_handler_the_values_of_the_callback() {
    let seen = Trace::new();
    let copy = seen.clone();
    let event_loop = EventLoop::builder()
        .clock(Clock::Virtual)
        .exception_handler(move |exception| copy.push(format!("{} {}", exception.panic.message(), LEVEL.get())))
        .build();
    event_loop.run(async {
        call_soon(|| panic!("unset"));
        drop(LEVEL.set(8));
        call_soon(|| panic!("inherited"));
        call_soon(|| {
            drop(LEVEL.set(9));
            panic!("set");
        });
        yield_now().await;
    });
    assert_eq!(seen.take(), ["unset 7", "inherited 8", "set 9"]);
}

/// A value that a callback sets must not be visible in the next callback of the same turn. The same
/// holds after a done callback and after a dropped output.
#[test]
fn set_and_see_nothing_in_the_next_callback() {
    let trace = Trace::new();
    virtual_loop().run(async {
        let look = |name: &'static str| {
            let copy = trace.clone();
            move || copy.push(format!("{name} {}", LEVEL.get()))
        };
        spawn(async {}).add_done_callback(|_| drop(LEVEL.set(1)));
        drop(spawn(async { on_drop(|| drop(LEVEL.set(2))) }));
        yield_now().await;
        call_soon(look("behind an output"));
        yield_now().await;
        call_soon(look("behind a done callback"));
        call_soon(|| drop(LEVEL.set(3)));
        call_soon(look("behind a callback"));
        let seen = look("in a task");
        spawn(async move { seen() }).await.unwrap();
    });
    let expected = ["behind an output 7", "behind a done callback 7", "behind a callback 7", "in a task 7"];
    assert_eq!(trace.take(), expected);
}

/// If `reset` gets the earlier value of another variable, it panics and changes neither variable.
#[test]
fn reset_with_what_another_variable_had_and_be_told() {
    task_local! { static OTHER: u32; }
    virtual_loop().run(async {
        let before = OTHER.set(2);
        assert_eq!(
            panic_of(|| LEVEL.reset(before)),
            "reset() of TaskLocal(LEVEL) got the earlier value of TaskLocal(OTHER); pass each variable its own"
        );
        assert_eq!((LEVEL.get(), OTHER.get()), (7, 2));
    });
}

#[test]
fn reset_in_another_task_and_change_nothing_here() {
    virtual_loop().run(async {
        drop(LEVEL.set(1));
        let before = LEVEL.set(2);
        let child = spawn(async move {
            LEVEL.reset(before);
            LEVEL.get()
        });
        assert_eq!((child.await, LEVEL.get()), (Ok(1), 2));
    });
}

#[test]
fn make_the_default_anew_at_each_get() {
    virtual_loop().run(async {
        FRESH.get().set(5);
        assert_eq!(FRESH.get().get(), 0);
        drop(FRESH.set(FRESH.get()));
        FRESH.get().set(5);
        assert_eq!(FRESH.get().get(), 5);
    });
}

/// The destructors of an output and of a value both panic. This must not end the process.
#[test]
fn panic_in_the_destructors_of_an_output_and_of_a_value() {
    alone("panic_in_the_destructors_of_an_output_and_of_a_value", || {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            drop(spawn(async {
                drop(PANICS.set(Panics));
                Panics
            }));
            sleep(ms(1)).await;
        });
        assert_eq!(told.take(), ["a destructor or a foreign waker panicked when a task ended: destructor"; 2]);
    });
}
