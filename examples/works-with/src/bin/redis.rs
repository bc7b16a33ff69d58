//! redis: a client of redis, over our socket.
//!
//! `MultiplexedConnection` takes a stream that has tokio's traits, as our sockets have with the
//! feature `tokio-io`. The crate does not build without its feature `tokio-comp` or `smol-comp`. With
//! the first, its limit for a response needs tokio's timers, so it is off here, and `timeout` takes its
//! place.
//!
//! It needs a server. `.ci/real-servers redis` starts redis and runs this program:
//! `cargo run --bin redis connect HOST:PORT`.

use onelane::net::TcpStream;
use onelane::{EventLoop, spawn, timeout};
use programs::{Called, Result, called};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, RedisConnectionInfo, pipe};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

/// The connection, whose driver is spawned.
async fn connect(address: &str) -> Result<MultiplexedConnection> {
    let stream = TcpStream::connect(address).await?;
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let info = RedisConnectionInfo::default();
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
    spawn(driver);
    Ok(connection)
}

async fn client(address: &str) -> Result {
    let mut redis = connect(address).await?;
    () = redis.del(&["onelane:toast", "onelane:numbers", "onelane:orders"]).await?;
    () = redis.set("onelane:tea", 7).await?;
    assert_eq!(redis.incr::<_, _, i32>("onelane:tea", 1).await?, 8);
    let (tea, toast): (i32, Option<i32>) =
        pipe().get("onelane:tea").get("onelane:toast").query_async(&mut redis).await?;
    assert_eq!((tea, toast), (8, None));

    // Tasks share the connection: a clone of it costs a reference.
    let tasks = (0..100).map(|nth| {
        let mut redis = redis.clone();
        async move { redis.rpush::<_, _, ()>("onelane:numbers", nth).await }
    });
    onelane::try_gather(tasks).await?;
    let sum: i32 = redis.lrange::<_, Vec<i32>>("onelane:numbers", 0, -1).await?.iter().sum();
    assert_eq!(sum, (0..100).sum());

    let error = timeout(LIMIT, redis.get::<_, String>("onelane:numbers")).await?.unwrap_err();
    assert_eq!(error.code(), Some("WRONGTYPE"));

    // Another connection waits for an item. Let the server end such a wait after a time: if only the
    // future is dropped here, the server still takes an item for it.
    let mut waiting = connect(address).await?;
    assert_eq!(waiting.blpop::<_, Option<(String, String)>>("onelane:orders", 0.01).await?, None);
    let order = spawn(async move { waiting.blpop::<_, (String, String)>("onelane:orders", 0.0).await });
    () = redis.rpush("onelane:orders", "toast").await?;
    assert_eq!(order.await??, ("onelane:orders".into(), "toast".into()));
    println!("redis: commands, a pipeline, a hundred tasks on one connection, a blocking pop on another");
    Ok(())
}

fn main() -> Result {
    match called() {
        Called::Connect(address) => EventLoop::new().run(client(&address)),
        Called::Serve => Err("this program has no `serve`".into()),
        Called::Alone => {
            println!("redis: not run, because it needs a server: `.ci/real-servers redis`");
            Ok(())
        }
    }
}
