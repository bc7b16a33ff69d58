//! tonic: the methods of a service, whose futures must be `Send`, on a loop of one thread.
//!
//! The service is that of `grpc.health.v1`, which exists as a crate, so that no code is generated
//! here.
//!
//! `cargo run --bin tonic`, in `examples/works-with`.

use futures_util::{Stream, StreamExt};
use hyper::body::Incoming;
use hyper::{client, server};
use hyper_util::service::TowerToHyperService;
use onelane::hyper::{LoopExecutor, LoopTimer};
use onelane::net::{TcpListener, TcpStream};
use onelane::sync::{Lock, Queue};
use onelane::{EventLoop, Local, local, sleep, spawn, timeout, to_thread, yield_now};
use programs::{Called, Result, called};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::{Code, Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tower::service_fn;

const MOMENT: Duration = Duration::from_millis(1);

/// The state of the service: `Rc`, without `Arc` and `Mutex`.
struct Checks {
    checked: Local<Rc<Lock<u32>>>,
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving as i32 }
}

impl Checks {
    /// Not `Send`, and it need not be.
    async fn check(&self, service: &str) -> Result<HealthCheckResponse, Status> {
        match service {
            "lock" => {
                let mut checked = self.checked.lock().await;
                yield_now().await;
                *checked += 1;
            }
            "" => {}
            "timeout" => timeout(MOMENT, pending::<()>()).await.map_err(|_| Status::deadline_exceeded("too slow"))?,
            "spawn" => {
                spawn(sleep(MOMENT)).await.map_err(|error| Status::internal(error.to_string()))?;
            }
            "gather" => _ = onelane::gather!(sleep(MOMENT), async { 1 }).await,
            "thread" => _ = to_thread(|| 6 * 7).await,
            _ => return Err(Status::not_found(service)),
        }
        Ok(serving())
    }
}

#[tonic::async_trait]
impl Health for Checks {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        let request = request.into_inner();
        local(Checks::check(self, &request.service)).await.map(Response::new)
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// A stream of responses, which a task puts into a queue.
    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let queue = Rc::new(Queue::bounded(1));
        let copy = queue.clone();
        spawn(async move {
            for _ in 0..3 {
                sleep(MOMENT).await;
                copy.put(serving()).await.ok();
            }
            copy.shutdown(false);
        });
        let responses = futures_util::stream::unfold(queue, async |queue: Rc<Queue<_>>| {
            let response = queue.get().await.ok()?;
            Some((Ok(response), queue))
        });
        Ok(Response::new(Box::pin(local(responses))))
    }
}

/// The server: tonic's `transport` needs tokio, so hyper serves the connections.
async fn serve(listener: TcpListener) -> Result {
    let checks = Rc::new(Lock::new(0));
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(HealthServer::new(Checks { checked: local(checks.clone()) }));
        spawn(async move {
            let mut http = server::conn::http2::Builder::new(LoopExecutor);
            http.timer(LoopTimer).serve_connection(stream, service).await
        });
    }
}

/// A client over one connection, for the same reason.
async fn connect(address: &str) -> Result<HealthClient<impl GrpcService<Body, ResponseBody = Incoming>>> {
    let stream = TcpStream::connect(address).await?;
    let (requests, connection) = client::conn::http2::handshake(LoopExecutor, stream).await?;
    spawn(connection);
    let service = service_fn(move |request| requests.clone().send_request(request));
    Ok(HealthClient::with_origin(service, format!("http://{address}").parse()?))
}

fn request(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

/// What each server of `grpc.health.v1` does.
async fn health(address: &str) -> Result {
    let mut client = connect(address).await?;
    assert_eq!(client.check(request("")).await?.into_inner(), serving());
    assert_eq!(client.check(request("tea")).await.unwrap_err().code(), Code::NotFound);
    let mut watched = client.watch(request("")).await?.into_inner();
    assert_eq!(watched.next().await.ok_or("no status")??, serving());
    Ok(())
}

/// What only our server does.
async fn vocabulary(address: &str) -> Result {
    let mut client = connect(address).await?;
    for service in ["lock", "spawn", "gather", "thread"] {
        assert_eq!(client.check(request(service)).await?.into_inner(), serving(), "{service}");
    }
    assert_eq!(client.check(request("timeout")).await.unwrap_err().code(), Code::DeadlineExceeded);
    let watched = client.watch(request("")).await?.into_inner();
    assert_eq!(watched.count().await, 3);
    Ok(())
}

fn main() -> Result {
    EventLoop::new().run(async {
        match called() {
            Called::Connect(address) => {
                health(&address).await?;
                println!("tonic: two calls and a stream of another server");
            }
            Called::Serve => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                println!("listening at {}", listener.local_addr()?);
                serve(listener).await?;
            }
            Called::Alone => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?.to_string();
                spawn(serve(listener));
                health(&address).await?;
                vocabulary(&address).await?;
                println!("tonic: methods with timeout, spawn, gather!, Lock and threads; a stream from a queue");
            }
        }
        Ok(())
    })
}
