//! tonic: the methods of a service, whose futures must be `Send`, on a loop of one thread.
//!
//! The service is that of `grpc.health.v1`, which exists as a crate, so that no code is generated
//! here. Client and server are in one program, without a socket between them.
//!
//! `cargo run --bin tonic_service`, in `examples/works-with`.

use futures_util::{Stream, StreamExt};
use onelane::sync::{Lock, Queue};
use onelane::{EventLoop, Local, local, sleep, spawn, timeout, to_thread, yield_now};
use std::future::pending;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tonic::{Code, Request, Response, Status};
use tonic_health::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

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

fn main() {
    EventLoop::new().run(async {
        let server = HealthServer::new(Checks { checked: local(Rc::new(Lock::new(0))) });
        let mut client = HealthClient::new(server);
        let request = |service: &str| HealthCheckRequest { service: service.into() };
        for service in ["lock", "spawn", "gather", "thread"] {
            assert_eq!(client.check(request(service)).await.unwrap().into_inner(), serving(), "{service}");
        }
        assert_eq!(client.check(request("timeout")).await.unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(client.check(request("tea")).await.unwrap_err().code(), Code::NotFound);
        let watched = client.watch(request("")).await.unwrap().into_inner();
        assert_eq!(watched.count().await, 3);
        println!("tonic: methods with timeout, spawn, gather!, Lock and threads; a stream from a queue");
    });
}
