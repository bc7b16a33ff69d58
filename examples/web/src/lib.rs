//! A page whose tasks run on onelane, and never keep it from running.
//!
//! One task computes for ever: it looks for primes, and yields after each number. Another one counts
//! the frames that the browser draws. A third one waits a second at a time. When the user clicks,
//! three files are fetched at once, each with a limit of time. The page can also show where each task
//! waits, and end all of them.
//!
//! `index.html` has the page. With the target `wasm32-unknown-unknown` of rustup and the crate
//! wasm-bindgen-cli, in this folder:
//!
//! ```sh
//! cargo build --release --target wasm32-unknown-unknown
//! wasm-bindgen --target web --out-dir . target/wasm32-unknown-unknown/release/onelane_web_example.wasm
//! python3 -m http.server    # then open http://localhost:8000
//! ```
#![cfg(target_arch = "wasm32")]

use js_sys::{Array, Function, Promise};
use onelane::web::{WebLoop, from_promise, to_promise};
use onelane::{EventLoop, gather, sleep, task, wait_for, yield_now};
use std::time::Duration;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = requestAnimationFrame)]
    fn request_animation_frame(function: &Function);

    fn fetch(address: &str) -> Promise;

    type Response;

    #[wasm_bindgen(method)]
    fn text(this: &Response) -> Promise;
}

/// What the page has started. `free()` in JavaScript drops it, and so ends its loop and its tasks.
#[wasm_bindgen]
pub struct App {
    own: WebLoop,
}

#[wasm_bindgen]
impl App {
    /// Starts the tasks. They call `show(name, value)` with what they have counted.
    #[wasm_bindgen(constructor)]
    pub fn new(show: Function) -> App {
        let own = WebLoop::new(EventLoop::new());
        let show = move |name: &str, value: u32| {
            show.call2(&JsValue::NULL, &name.into(), &value.into()).expect("show() does not throw");
        };
        own.enter(|| {
            task::Builder::new().name("primes").spawn(count_primes(show.clone()));
            task::Builder::new().name("frames").spawn(count_frames(show.clone()));
            task::Builder::new().name("seconds").spawn(count_seconds(show));
        });
        App { own }
    }

    /// Fetches all addresses at once. The promise is fulfilled with a list of texts.
    pub fn load(&self, addresses: Vec<String>) -> Promise {
        let load_all = async move {
            let texts = gather(addresses.into_iter().map(load)).await.map_err(|error| error.to_string())?;
            Ok::<_, String>(texts.into_iter().map(JsValue::from).collect::<Array>())
        };
        to_promise(self.own.enter(|| task::Builder::new().name("load").spawn(load_all)))
    }

    /// Where each task waits, and for what.
    pub fn tasks(&self) -> String {
        self.own.call_graph().to_string()
    }
}

async fn count_primes(show: impl Fn(&str, u32)) {
    let mut found = 0;
    for number in 2_u32.. {
        if (2..number).take_while(|factor| factor * factor <= number).all(|factor| number % factor != 0) {
            found += 1;
            show("primes", found);
        }
        yield_now().await;
    }
}

async fn count_frames(show: impl Fn(&str, u32)) {
    for frame in 1.. {
        let next = Promise::new(&mut |resolve, _| request_animation_frame(&resolve));
        if !matches!(from_promise(&next).await, Ok(Ok(_))) {
            return;
        }
        show("frames", frame);
    }
}

async fn count_seconds(show: impl Fn(&str, u32)) {
    for second in 1.. {
        sleep(Duration::from_secs(1)).await;
        show("seconds", second);
    }
}

/// The text at an address, or what went wrong.
async fn load(address: String) -> String {
    let text = async {
        let response = from_promise(&fetch(&address)).await.map_err(|_| JsValue::from("cancelled"))??;
        from_promise(&response.unchecked_into::<Response>().text()).await.map_err(|_| JsValue::from("cancelled"))?
    };
    match wait_for(text, Duration::from_secs(5)).await {
        Ok(Ok(text)) => format!("{address}: {} characters", text.as_string().unwrap_or_default().len()),
        Ok(Err(error)) => format!("{address}: {error:?}"),
        Err(_) => format!("{address}: no answer for five seconds"),
    }
}
