//! axum: handlers whose futures must be `Send`, on a loop of one thread.
//!
//! Put what a handler does with onelane into `local(async { .. })`, and what handlers share into a
//! `local(..)` too. Futures that are `Send` themselves, such as `sleep` and `to_thread`, need no
//! wrapper.
//!
//! `axum::serve` needs tokio. `serve` below takes its place, with hyper.
//!
//! `cargo run --bin axum`, in `examples/works-with`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{BoxError, Router};
use http_body_util::BodyExt;
use hyper::{client, server};
use hyper_util::service::TowerToHyperService;
use onelane::hyper::LoopTimer;
use onelane::net::{TcpListener, TcpStream};
use onelane::sync::Lock;
use onelane::{
    Elapsed, EventLoop, Local, as_completed, gather, local, sleep, spawn, task_group, timeout, to_thread, yield_now,
};
use programs::{Called, Result, called};
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What the handlers share: `Rc`, without `Arc` and `Mutex`.
#[derive(Clone)]
struct App {
    visits: Local<Rc<Lock<u32>>>,
}

const MOMENT: Duration = Duration::from_millis(1);

/// A lock that is held over an await.
async fn visits(State(app): State<App>) -> String {
    local(async {
        let mut visits = app.visits.lock().await;
        yield_now().await;
        *visits += 1;
        visits.to_string()
    })
    .await
}

/// A time limit; `Elapsed` becomes the status 504.
async fn slow() -> Result<String, StatusCode> {
    let late = |Elapsed| StatusCode::GATEWAY_TIMEOUT;
    local(timeout(MOMENT, pending::<String>())).await.map_err(late)
}

/// A task of its own, and its result.
async fn spawned(Path(number): Path<u32>) -> String {
    let square = local(async move { spawn(async move { number * number }).await });
    square.await.unwrap().to_string()
}

/// Tasks that run at the same time.
async fn gathered() -> String {
    let all = local(gather([3, 1, 2].map(|n| async move {
        sleep(n * MOMENT).await;
        n
    })));
    format!("{:?}", all.await.unwrap())
}

async fn tuple() -> String {
    local(async { format!("{:?}", onelane::gather!(async { 1 }, async { "two" }).await.unwrap()) }).await
}

async fn group() -> String {
    let sum = local(task_group(async |group| {
        let [one, two] = [1, 2].map(|n| group.spawn(async move { n }));
        one.await.unwrap() + two.await.unwrap()
    }));
    sum.await.unwrap().to_string()
}

/// Without a wrapper: these futures are `Send`.
async fn without_a_wrapper() -> String {
    sleep(MOMENT).await;
    yield_now().await;
    to_thread(|| "from a thread").await.unwrap().to_string()
}

/// A body that is a stream.
async fn streamed() -> impl IntoResponse {
    let lines = as_completed([2, 1].map(|n| async move {
        sleep(n * MOMENT).await;
        format!("{n}\n")
    }));
    let lines = futures_util::StreamExt::map(lines, |line| line.map_err(BoxError::from));
    Body::from_stream(local(lines))
}

fn app() -> Router {
    let app = App { visits: local(Rc::new(Lock::new(0))) };
    Router::new()
        .route("/visits", get(visits))
        .route("/slow", get(slow))
        .route("/spawned/{number}", get(spawned))
        .route("/gathered", get(gathered))
        .route("/tuple", get(tuple))
        .route("/group", get(group))
        .route("/without", get(without_a_wrapper))
        .route("/streamed", get(streamed))
        .with_state(app)
}

async fn fetch(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = client::conn::http1::handshake(stream).await.unwrap();
    spawn(async { drop(connection.await) });
    let request = Request::get(path).header("host", "localhost").body(String::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn serve(listener: TcpListener) -> Result {
    let app = app();
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(app.clone());
        spawn(async move {
            let mut http = server::conn::http1::Builder::new();
            http.timer(LoopTimer).serve_connection(stream, service).await
        });
    }
}

async fn client(address: SocketAddr) {
    for (path, expected) in [
        ("/visits", "1"),
        ("/visits", "2"),
        ("/spawned/7", "49"),
        ("/gathered", "[3, 1, 2]"),
        ("/tuple", "(1, \"two\")"),
        ("/group", "3"),
        ("/without", "from a thread"),
        ("/streamed", "1\n2\n"),
    ] {
        assert_eq!(fetch(address, path).await, (StatusCode::OK, expected.into()), "{path}");
    }
    assert_eq!(fetch(address, "/slow").await.0, StatusCode::GATEWAY_TIMEOUT);
}

fn main() -> Result {
    EventLoop::new().run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        match called() {
            Called::Connect(_) => return Err("this program has no `connect`".into()),
            Called::Serve => {
                println!("listening at {address}");
                serve(listener).await?;
            }
            Called::Alone => {
                spawn(serve(listener));
                client(address).await;
                println!("axum: handlers with timeout, spawn, gather, Lock, groups, streams and threads");
            }
        }
        Ok(())
    })
}
