//! The functions of JavaScript that a loop needs. Pages, workers and Node have all of them.

use js_sys::Function;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = queueMicrotask)]
    pub(super) fn queue_microtask(function: &Function);

    /// Returns a number in browsers, and an object in Node.
    #[wasm_bindgen(js_name = setTimeout)]
    pub(super) fn set_timeout(function: &Function, milliseconds: f64) -> JsValue;

    #[wasm_bindgen(js_name = clearTimeout)]
    pub(super) fn clear_timeout(timeout: &JsValue);

    pub(super) type MessageChannel;

    #[wasm_bindgen(constructor)]
    pub(super) fn new() -> MessageChannel;

    #[wasm_bindgen(method, getter)]
    pub(super) fn port1(this: &MessageChannel) -> MessagePort;

    #[wasm_bindgen(method, getter)]
    pub(super) fn port2(this: &MessageChannel) -> MessagePort;

    pub(super) type MessagePort;

    #[wasm_bindgen(method, setter)]
    pub(super) fn set_onmessage(this: &MessagePort, function: &Function);

    #[wasm_bindgen(method, js_name = postMessage)]
    pub(super) fn post_message(this: &MessagePort, message: &JsValue);

    #[wasm_bindgen(method)]
    pub(super) fn close(this: &MessagePort);
}
