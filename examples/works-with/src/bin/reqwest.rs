//! reqwest, which needs tokio's reactor, inside async-compat.
//!
//! Without async-compat, reqwest panics here, because it opens its sockets in tokio's reactor.
//! `Compat` lets a future find a tokio runtime. The loop still polls the future. But the sockets,
//! timers and tasks that reqwest creates belong to the runtime, which runs on a thread of its own.
//! So each wake comes from that thread, and passes the loop's inbox. That is the price. A client that
//! needs no tokio, such as hyper-util's in `hyper_util_client.rs`, costs no thread.
//!
//! `cargo run --bin reqwest`, in `examples/works-with`.

use async_compat::{Compat, CompatExt};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, server};
use onelane::hyper::LoopTimer;
use onelane::net::TcpListener;
use onelane::{EventLoop, gather, spawn};
use programs::{Called, called};
use std::convert::Infallible;
use std::net::Ipv4Addr;

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(format!("hello from {}", request.uri().path()).into())))
}

/// Serves on the loop itself, without tokio.
async fn serve(listener: TcpListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut http = server::conn::http1::Builder::new();
        spawn(http.timer(LoopTimer).serve_connection(stream, service_fn(hello)));
    }
}

/// The names of the threads of this process.
#[cfg(target_os = "linux")]
fn threads() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm"));
    let mut names: Vec<String> =
        threads.filter_map(|thread| Some(name(thread.unwrap()).ok()?.trim_end().into())).collect();
    names.sort();
    names
}

/// A request to a server of other authors.
async fn connect(address: &str) {
    let text = async { reqwest::get(format!("http://{address}/")).await?.text().await }.compat();
    assert_eq!(text.await.unwrap(), "hello");
    println!("reqwest: a request to another server, inside async-compat");
}

fn main() {
    EventLoop::new().run(async {
        if let Called::Connect(address) = called() {
            return connect(&address).await;
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        spawn(serve(listener));

        // Without async-compat: the task panics, with tokio's message. The hook would print it.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let alone = spawn(async move { reqwest::get(format!("http://{address}/")).await.is_ok() });
        let error = alone.await.unwrap_err();
        std::panic::set_hook(hook);
        assert!(error.to_string().contains("there is no reactor running"), "{error}");

        // With it: one thread more, for all futures of the program.
        #[cfg(target_os = "linux")]
        let before = threads();
        let client = Compat::new(async { reqwest::Client::new() }).await;
        let requests = (0..5).map(|nth| {
            let request = client.get(format!("http://{address}/{nth}"));
            async move { request.send().await?.text().await }.compat()
        });
        let texts: Vec<String> = gather(requests).await.unwrap().into_iter().map(Result::unwrap).collect();
        assert_eq!(texts[4], "hello from /4");
        #[cfg(target_os = "linux")]
        {
            let mut more = threads();
            more.retain(|name| !before.contains(name));
            println!("reqwest: the threads of async-compat are {more:?}");
            assert_eq!(more.len(), 1, "{more:?}");
        }
        println!("reqwest: five requests inside async-compat, at the price of a thread");
    });
}
