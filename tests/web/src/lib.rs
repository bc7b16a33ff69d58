//! Tests of the module `web`, which `tests.mjs` calls in a page, in a worker and in Node. A test is a
//! function whose promise is fulfilled at its end. A test that fails panics, which ends the program.
//!
//! The conformance programs run here too.
#![cfg(target_arch = "wasm32")]

#[path = "../../conformance/comparison.rs"]
#[expect(dead_code, reason = "the tests of the library read files")]
mod comparison;
mod conformance;
#[path = "../../conformance/level_d.rs"]
mod level_d;
#[path = "../../conformance/levels_a_to_c.rs"]
mod levels_a_to_c;
#[path = "../../conformance/machine.rs"]
mod machine;
#[path = "../../conformance/outcome.rs"]
mod outcome;
#[path = "../../conformance/program.rs"]
#[expect(dead_code, reason = "the tests of the library read files")]
mod program;
#[path = "../../conformance/shared.rs"]
mod shared;
#[path = "../../conformance/statement.rs"]
mod statement;

use js_sys::{Array, Function, Promise as JsPromise, Reflect};
use onelane::web::{WebLoop, event_loop, from_promise, to_promise};
use onelane::{
    Clock, EventLoop, Instant, Promise, RunError, TaskError, call_later, gather, interval, sleep, spawn, try_run,
    wait_for, web, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;
use wasm_bindgen::closure::Closure;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console)]
    fn error(text: &str);

    #[wasm_bindgen(js_name = setTimeout)]
    fn set_timeout(function: &Function, milliseconds: f64) -> JsValue;

    #[wasm_bindgen(js_name = queueMicrotask)]
    fn queue_microtask(function: &Function);

    fn fetch(address: &str) -> JsPromise;

    type Response;

    #[wasm_bindgen(method)]
    fn text(this: &Response) -> JsPromise;
}

/// A panic ends the program, so its message goes to the console before.
#[wasm_bindgen(start)]
fn begin() {
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A test: a task in the loop of the page, as a promise.
fn test(body: impl Future<Output = ()> + 'static) -> JsPromise {
    to_promise(web::spawn(async {
        body.await;
        Ok::<_, JsValue>("passed")
    }))
}

/// A promise of JavaScript that is fulfilled when `call` has called the function that it gets.
fn called_back(mut call: impl FnMut(&Function)) -> JsPromise {
    JsPromise::new(&mut |resolve, _| call(&resolve))
}

/// What was noted, in order.
#[derive(Clone, Default)]
struct Notes(Rc<RefCell<Vec<&'static str>>>);

impl Notes {
    fn add(&self, note: &'static str) {
        self.0.borrow_mut().push(note);
    }

    /// A function of JavaScript that adds a note.
    fn adder(&self, note: &'static str) -> Function {
        let notes = self.clone();
        Closure::once_into_js(move || notes.add(note)).unchecked_into()
    }

    fn take(&self) -> Vec<&'static str> {
        self.0.take()
    }
}

#[wasm_bindgen]
pub fn test_a_wake_is_a_microtask() -> JsPromise {
    let notes = Notes::default();
    set_timeout(&notes.adder("macrotask"), 0.0);
    queue_microtask(&notes.adder("microtask before"));
    let own = notes.clone();
    let task = web::spawn(async move {
        own.add("first step");
        yield_now().await;
        own.add("second step");
    });
    queue_microtask(&notes.adder("microtask after"));
    notes.add("the function returns");
    test(async move {
        task.await.unwrap();
        from_promise(&called_back(|function| _ = set_timeout(function, 0.0))).await.unwrap().unwrap();
        assert_eq!(
            notes.take(),
            ["the function returns", "microtask before", "first step", "second step", "microtask after", "macrotask"]
        );
    })
}

/// The issue of all loops in a page: a task that is always ready, while the page fetches, draws and
/// waits for timers. `base` is the address of the server; a worker and Node have no frames.
#[wasm_bindgen]
pub fn test_an_endless_task_lets_all_others_continue(base: String) -> JsPromise {
    test(async move {
        let steps = Rc::new(Cell::new(0_u64));
        let count = steps.clone();
        let endless = spawn(async move {
            loop {
                count.set(count.get() + 1);
                yield_now().await;
            }
        });
        let fetches = async {
            for number in 0..5 {
                let before = steps.get();
                let response = from_promise(&fetch(&format!("{base}/echo?{number}"))).await.unwrap().unwrap();
                let text = from_promise(&response.unchecked_into::<Response>().text()).await.unwrap().unwrap();
                assert_eq!(text.as_string(), Some(format!("echo {number}")));
                assert!(steps.get() > before, "the endless task ran meanwhile");
            }
        };
        let request_frame = Reflect::get(&js_sys::global(), &"requestAnimationFrame".into()).unwrap();
        let frames = async {
            let Some(request_frame) = request_frame.dyn_ref::<Function>() else { return };
            let mut last = 0.0;
            for _ in 0..10 {
                let before = steps.get();
                let frame = called_back(|function| _ = request_frame.call1(&JsValue::UNDEFINED, function).unwrap());
                let at = from_promise(&frame).await.unwrap().unwrap().as_f64().unwrap();
                assert!(at > last && steps.get() > before, "a new frame, and steps before it");
                last = at;
            }
        };
        let timeouts = async {
            for _ in 0..5 {
                from_promise(&called_back(|function| _ = set_timeout(function, 5.0))).await.unwrap().unwrap();
            }
        };
        let sleeps = async {
            let mut ticks = interval(milliseconds(5));
            for _ in 0..5 {
                ticks.tick().await;
            }
        };
        onelane::scope(async |scope| {
            scope.spawn(fetches);
            scope.spawn(frames);
            scope.spawn(timeouts);
            scope.spawn(sleeps);
        })
        .await
        .unwrap();
        assert!(endless.cancel());
        assert_eq!(endless.await, Err(TaskError::Cancelled));
    })
}

/// Each turn is a microtask of its own, so no single turn uses up the budget.
#[wasm_bindgen]
pub fn test_a_chain_of_microtasks_lets_the_page_continue() -> JsPromise {
    test(async {
        let is_over = Rc::new(Cell::new(false));
        let flag = is_over.clone();
        let over: Function = Closure::once_into_js(move || flag.set(true)).unchecked_into();
        set_timeout(&over, 0.0);
        while !is_over.get() {
            from_promise(&JsPromise::resolve(&JsValue::NULL)).await.unwrap().unwrap();
        }
    })
}

#[wasm_bindgen]
pub fn test_a_budget_of_zero_makes_progress() -> JsPromise {
    let small = WebLoop::new(EventLoop::new());
    small.set_budget(Duration::ZERO);
    let task = small.spawn(async {
        let naps = (1..=3).map(|n| async move {
            sleep(milliseconds(n)).await;
            yield_now().await;
            n
        });
        gather(naps).await.unwrap()
    });
    let done = to_promise(small.spawn(async { Ok::<_, JsValue>(task.await.unwrap().len() as u32) }));
    test(async move {
        assert_eq!(from_promise(&done).await, Ok(Ok(JsValue::from(3))));
        drop(small);
    })
}

#[wasm_bindgen]
pub fn test_timers_are_never_early_and_in_order() -> JsPromise {
    test(async {
        let notes = Rc::new(RefCell::new(Vec::new()));
        let naps = [7_u64, 1, 30, 1, 12, 0].map(|ms| {
            let notes = notes.clone();
            async move {
                // Also fractions of what `setTimeout` can express.
                let nap = milliseconds(ms) + Duration::from_micros(300);
                let begun = Instant::now();
                sleep(nap).await;
                assert!(begun.elapsed() >= nap, "{:?} instead of {nap:?}", begun.elapsed());
                notes.borrow_mut().push(ms);
            }
        });
        gather(naps).await.unwrap();
        assert_eq!(notes.take(), [0, 1, 1, 7, 12, 30]);
    })
}

/// `tests.mjs` replaces the clock and `setTimeout`, and drives this loop by hand.
#[wasm_bindgen]
pub fn start_far_timers() -> JsValue {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    let notes = Array::new();
    for days in [30, 1, 300, 0] {
        let notes = notes.clone();
        let delay = milliseconds(days * DAY) + Duration::from_micros(500);
        web::event_loop().call_later(delay, move || _ = notes.push(&(days as u32).into()));
    }
    // 584 years: this one never comes.
    web::event_loop().call_later(Duration::MAX, || unreachable!());
    notes.into()
}

#[wasm_bindgen]
pub fn test_promises_are_awaited() -> JsPromise {
    test(async {
        // Settled, settled later, rejected, by several tasks.
        assert_eq!(from_promise(&JsPromise::resolve(&JsValue::from(1))).await, Ok(Ok(1.into())));
        assert_eq!(from_promise(&JsPromise::reject(&JsValue::from("no"))).await, Ok(Err("no".into())));
        let late = from_promise(&called_back(|function| _ = set_timeout(function, 2.0)));
        let (one, other) = (late.clone(), late.clone());
        let both = gather([spawn(async move { (&one).await }), spawn(async move { (&other).await })]);
        assert_eq!(both.await, Ok(vec![Ok(Ok(JsValue::UNDEFINED)), Ok(Ok(JsValue::UNDEFINED))]));

        // A task that is cancelled, and one whose time is over. JavaScript settles both later.
        let settle = Rc::new(RefCell::new(Vec::new()));
        let later = || {
            let settle = settle.clone();
            from_promise(&called_back(move |function| settle.borrow_mut().push(function.clone())))
        };
        let awaited = later();
        let task = spawn(async move { awaited.await });
        yield_now().await;
        assert!(task.cancel());
        assert_eq!(task.await, Err(TaskError::Cancelled));
        let promise = later();
        assert!(wait_for(&promise, milliseconds(1)).await.is_err());
        assert!(promise.is_cancelled());
        for function in settle.take() {
            function.call1(&JsValue::UNDEFINED, &"ignored".into()).unwrap();
        }
        sleep(milliseconds(1)).await;
    })
}

#[wasm_bindgen]
pub fn test_promises_are_made() -> JsPromise {
    fn name_of(error: &JsValue) -> (String, String) {
        let text = |key: &str| Reflect::get(error, &key.into()).unwrap().as_string().unwrap();
        (text("name"), text("message"))
    }
    test(async {
        let made = to_promise(spawn(async { Ok::<_, JsValue>("tea") }));
        assert_eq!(from_promise(&made).await, Ok(Ok("tea".into())));
        let failed = to_promise(spawn(async { Err::<f64, _>("cold") }));
        assert_eq!(from_promise(&failed).await, Ok(Err("cold".into())));

        let done = spawn(async { Ok::<_, JsValue>(7) });
        yield_now().await;
        assert!(done.is_done());
        assert_eq!(from_promise(&to_promise(done)).await, Ok(Ok(7.into())));

        let task = onelane::task::Builder::new().name("idler").spawn(pending::<Result<i32, JsValue>>());
        let handle = task.task_ref();
        let promise = to_promise(task);
        assert!(handle.cancel());
        let error = from_promise(&promise).await.unwrap().unwrap_err();
        assert_eq!(name_of(&error), ("AbortError".into(), "task \"idler\" was cancelled".into()));

        // The loop ends.
        let own = WebLoop::new(EventLoop::new());
        let promise = to_promise(own.spawn(pending::<Result<i32, JsValue>>()));
        drop(own);
        let error = from_promise(&promise).await.unwrap().unwrap_err();
        assert_eq!(name_of(&error).0, "AbortError");
    })
}

/// Everything that JavaScript was asked to call for a loop may come when the loop is gone.
#[wasm_bindgen]
pub fn test_a_loop_ends_with_its_last_handle() -> JsPromise {
    struct Noted(Notes, &'static str);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.add(self.1);
        }
    }
    let notes = Notes::default();
    for note in ["not begun", "waits for a timer", "always ready"] {
        let own = WebLoop::new(EventLoop::new());
        let noted = Noted(notes.clone(), note);
        let task = own.spawn(async move {
            let _noted = noted;
            if note == "waits for a timer" {
                sleep(milliseconds(1)).await;
                unreachable!();
            }
            loop {
                yield_now().await;
            }
        });
        if note != "not begun" {
            own.turn();
        }
        let copy = own.clone();
        drop(own);
        assert!(!task.is_done());
        drop(copy);
        assert!(task.is_cancelled());
    }
    assert_eq!(notes.take(), ["not begun", "waits for a timer", "always ready"]);
    test(async { sleep(milliseconds(5)).await })
}

/// A task may drop the last handle of its own loop.
#[wasm_bindgen]
pub fn test_a_task_drops_its_loop() -> JsPromise {
    let own = Rc::new(RefCell::new(Some(WebLoop::new(EventLoop::new()))));
    let copy = own.clone();
    let ended = Promise::new();
    let end = ended.clone();
    drop(own.borrow().as_ref().unwrap().spawn(async move {
        drop(copy.take());
        end.set_result("this step ends").unwrap();
        pending::<()>().await;
    }));
    test(async move { assert_eq!(ended.await, Ok("this step ends")) })
}

#[wasm_bindgen]
pub fn test_a_virtual_clock_takes_no_time() -> JsPromise {
    let begun = Instant::now();
    let own = WebLoop::new(EventLoop::with_virtual_clock());
    let task = own.spawn(async {
        for _ in 0..100 {
            sleep(Duration::from_secs(24 * 60 * 60)).await;
        }
        Ok::<_, JsValue>(())
    });
    let done = to_promise(own.spawn(async { task.await.unwrap().map(|()| true) }));
    test(async move {
        assert_eq!(from_promise(&done).await, Ok(Ok(true.into())));
        assert!(begun.elapsed() < Duration::from_secs(60 * 60) && own.time() - begun >= Duration::ZERO);
    })
}

/// JavaScript calls a waker outside of any turn.
#[wasm_bindgen]
pub fn test_a_waker_is_called_by_javascript() -> JsPromise {
    test(async {
        for late in [true, false] {
            let waker = Rc::new(RefCell::new(None::<Waker>));
            let copy = waker.clone();
            let wake: Function = Closure::once_into_js(move || copy.take().unwrap().wake()).unchecked_into();
            if late {
                set_timeout(&wake, 1.0);
            } else {
                queue_microtask(&wake);
            }
            let mut is_first = true;
            poll_fn(|context| {
                *waker.borrow_mut() = Some(context.waker().clone());
                if std::mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
        }
    })
}

/// A timer that is set outside of a turn, before the one that JavaScript waits for.
#[wasm_bindgen]
pub fn test_an_earlier_timer_is_set_outside() -> JsPromise {
    let own = WebLoop::new(EventLoop::new());
    let notes = Notes::default();
    let (late, soon) = (notes.clone(), notes.clone());
    let handle = own.call_later(Duration::from_secs(3600), move || late.add("late"));
    test(async move {
        sleep(milliseconds(2)).await;
        let ended = Promise::new();
        let end = ended.clone();
        own.call_later(milliseconds(1), move || {
            soon.add("soon");
            end.set_result(()).unwrap();
        });
        ended.await.unwrap();
        assert!(handle.cancel());
        assert_eq!(notes.take(), ["soon"]);
    })
}

/// Without waiting, `run` works as everywhere. A loop that would wait for JavaScript is stuck.
#[wasm_bindgen]
pub fn test_run_does_what_needs_no_waiting() -> JsPromise {
    assert_eq!(onelane::run(async { gather([1, 2].map(|n| async move { n })).await }), Ok(vec![1, 2]));
    assert!(matches!(try_run(pending::<()>()), Err(RunError::Deadlock(_))));
    let awaits = async { from_promise(&JsPromise::resolve(&JsValue::from(1))).await };
    assert!(matches!(try_run(awaits), Err(RunError::Deadlock(_))));
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    EventLoop::with_virtual_clock().run(async move { sleep(year).await });
    assert!(EventLoop::builder().clock(Clock::Virtual).debug(true).build().try_run(pending::<()>()).is_err());
    test(async {})
}

/// `tests.mjs` checks that this ends the test with the message on the console, in a fresh program.
#[wasm_bindgen]
pub fn fail_to_wait() {
    onelane::run(async { sleep(milliseconds(1)).await });
}

/// `tests.mjs` checks that no other turn runs in this program, although there is work and a timer.
#[wasm_bindgen]
pub fn panic_in_a_turn() {
    web::spawn(async {
        loop {
            yield_now().await;
        }
    });
    web::event_loop().call_later(milliseconds(1), || error("a timer fired"));
    let other = WebLoop::new(EventLoop::new());
    other.call_later(milliseconds(1), || error("a timer of the other loop fired"));
    std::mem::forget(other);
    web::spawn(async { panic!("on purpose") });
    web::event_loop().turn();
}

#[wasm_bindgen]
pub fn test_reports_name_the_line_of_a_promise() -> JsPromise {
    test(async {
        let line = line!() + 1;
        let promise = from_promise(&JsPromise::new(&mut |_, _| ()));
        let task = onelane::task::Builder::new().name("waits").spawn({
            let promise = promise.clone();
            async move { promise.await }
        });
        yield_now().await;
        let graph = event_loop().call_graph().to_string();
        assert!(graph.contains(&format!("lib.rs:{line}:")), "{graph}");
        promise.cancel();
        assert!(task.await.unwrap().is_err());
    })
}

/// The functions that know of no loop run inside `enter`.
#[wasm_bindgen]
pub fn test_enter_is_for_handlers_of_events() -> JsPromise {
    let ended = Promise::new();
    let end = ended.clone();
    event_loop().enter(|| {
        call_later(milliseconds(1), move || end.set_result("called").unwrap());
    });
    test(async move { assert_eq!(ended.await, Ok("called")) })
}
