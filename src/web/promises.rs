//! Promises of JavaScript: awaited, and made from tasks.

use crate::error::TaskError;
use crate::task::Task;
use crate::task::child::Child;
use crate::task::promise::Promise;
use js_sys::Error;
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;

/// Converts a promise of JavaScript into a [`Promise`] of this crate, which tasks await: `Ok` with
/// the value when it is fulfilled, `Err` with the reason when it is rejected.
///
/// The result is an ordinary [`Promise`]. Any number of tasks may await it by reference, and
/// [`gather`](crate::gather()), [`wait`](crate::wait()) and [`wait_for`](crate::wait_for) take it.
/// Reports show the line of this call.
///
/// **Cancel safety.** Cancelling an await cancels the [`Promise`], but not the work behind it:
/// JavaScript cannot cancel a promise. What it settles to is then ignored. To stop a `fetch`, call
/// `abort()` of its `AbortController`, for example in [`on_cancel`](crate::on_cancel).
///
/// asyncio: `wrap_future`. Pyodide: `await` of a `JsProxy`. wasm-bindgen-futures: `JsFuture`.
///
/// # Cost
///
/// Two closures and the promise. They are freed when JavaScript settles its promise, or never if it
/// does not settle it.
///
/// # Examples
///
/// ```
/// use onelane::web;
/// use wasm_bindgen::JsValue;
///
/// web::spawn(async {
///     let ready = js_sys::Promise::resolve(&JsValue::from(42));
///     assert_eq!(web::from_promise(&ready).await, Ok(Ok(JsValue::from(42))));
///
///     let failed = js_sys::Promise::reject(&JsValue::from("no"));
///     assert_eq!(web::from_promise(&failed).await, Ok(Err(JsValue::from("no"))));
/// });
/// ```
#[doc(alias = "wrap_future")]
#[doc(alias = "JsFuture")]
#[must_use = "a promise does nothing unless it is awaited"]
#[track_caller]
pub fn from_promise(promise: &js_sys::Promise) -> Promise<Result<JsValue, JsValue>> {
    type Callbacks = (Closure<dyn FnMut(JsValue)>, Closure<dyn FnMut(JsValue)>);
    let ours = Promise::new();
    // The callbacks own themselves, until one of them is called.
    let kept = Rc::new(RefCell::new(None::<Callbacks>));
    let settle = |wrap: fn(JsValue) -> Result<JsValue, JsValue>| {
        let (kept, ours) = (kept.clone(), ours.clone());
        Closure::new(move |value| {
            let callbacks = kept.take();
            // If the await was cancelled, nobody waits for the value.
            _ = ours.set_result(wrap(value));
            drop(callbacks);
        })
    };
    let callbacks = (settle(Ok), settle(Err));
    _ = promise.then2(&callbacks.0, &callbacks.1);
    kept.replace(Some(callbacks));
    ours
}

/// Converts a task into a promise of JavaScript. It is fulfilled with the value of `Ok`, and rejected
/// with that of `Err`.
///
/// If the task is cancelled, the promise is rejected with an `Error` whose `name` is `AbortError`, as
/// `fetch` does. If the task panics and the program is built with unwinding, the `name` is `Panic`;
/// usually a panic ends the whole program instead. The result is taken from the task, as by an await.
/// JavaScript cannot cancel a promise; to cancel the task, keep its [`task_ref`](Task::task_ref).
///
/// asyncio: `run_coroutine_threadsafe`, which returns a future for the code outside of the loop.
/// Pyodide: a coroutine that is returned to JavaScript. wasm-bindgen-futures: `future_to_promise`.
///
/// # Cost
///
/// A done callback of the task.
///
/// # Examples
///
/// ```
/// use onelane::{sleep, web};
/// use std::time::Duration;
/// use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
///
/// /// In JavaScript: `await brew(3)`.
/// #[wasm_bindgen]
/// pub fn brew(minutes: u32) -> js_sys::Promise {
///     web::to_promise(web::spawn(async move {
///         if minutes > 10 {
///             return Err("too bitter");
///         }
///         sleep(Duration::from_millis(minutes.into())).await;
///         Ok("tea")
///     }))
/// }
///
/// web::spawn(async {
///     assert_eq!(web::from_promise(&brew(3)).await, Ok(Ok(JsValue::from("tea"))));
///     assert_eq!(web::from_promise(&brew(11)).await, Ok(Err(JsValue::from("too bitter"))));
/// });
/// ```
#[doc(alias = "run_coroutine_threadsafe")]
#[doc(alias = "future_to_promise")]
#[must_use = "JavaScript reports an error that no code handles"]
pub fn to_promise<T, E>(task: Task<Result<T, E>>) -> js_sys::Promise
where
    T: Into<JsValue> + 'static,
    E: Into<JsValue> + 'static,
{
    let mut functions = None;
    let promise = js_sys::Promise::new(&mut |resolve, reject| functions = Some((resolve, reject)));
    let (resolve, reject) = functions.expect("the constructor of a promise calls its function");
    let settle = move |task: &Task<Result<T, E>>| {
        let settled = match Child::of_task(&task.cell).read() {
            Ok(Ok(value)) => resolve.call1(&JsValue::UNDEFINED, &value.into()),
            Ok(Err(error)) => reject.call1(&JsValue::UNDEFINED, &error.into()),
            Err(ending) => reject.call1(&JsValue::UNDEFINED, &error_of(task, &ending)),
        };
        settled.expect("the functions of a promise do not throw");
    };
    if task.is_done() {
        settle(&task);
    } else {
        task.add_done_callback(settle);
    }
    promise
}

/// The error of JavaScript for a task that has ended without a value.
fn error_of<T>(task: &Task<T>, ending: &TaskError) -> JsValue {
    let (name, what) = match ending {
        TaskError::Cancelled => ("AbortError", "was cancelled".into()),
        TaskError::Panicked(panic) => ("Panic", format!("panicked: {}", panic.message())),
    };
    let error = Error::new(&format!("task {:?} {what}", task.name()));
    error.set_name(name);
    error.into()
}
