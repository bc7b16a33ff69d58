//! tokio-postgres: a client of PostgreSQL, over our socket.
//!
//! Leave its feature `runtime` off: it connects by tokio. `Config::connect_raw` takes a stream that has
//! tokio's traits, as our sockets have with the feature `tokio-io`. The connection is a future that we
//! spawn.
//!
//! It needs a server. `.ci/real-servers tokio_postgres` starts PostgreSQL and runs this program:
//! `cargo run --bin tokio_postgres connect HOST:PORT`, as the user `postgres` without a password.

use futures_util::future::try_join;
use futures_util::{StreamExt, stream::poll_fn};
use onelane::net::TcpStream;
use onelane::sync::channel;
use onelane::{EventLoop, spawn, timeout};
use programs::{Called, Result, called};
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Config, Error, NoTls};

async fn client(address: &str) -> Result {
    let stream = TcpStream::connect(address).await?;
    let (mut client, mut connection) = Config::new().user("postgres").connect_raw(stream, NoTls).await?;
    // Whoever needs no notifications spawns the connection itself, which is a future.
    let (sender, notifications) = channel::unbounded();
    let connection = spawn(async move {
        let mut messages = poll_fn(|cx| connection.poll_message(cx));
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message? {
                sender.try_send(notification.payload().to_string()).ok();
            }
        }
        Ok::<(), Error>(())
    });

    client.batch_execute("CREATE TEMPORARY TABLE orders (id serial, what text NOT NULL)").await?;
    let transaction = client.transaction().await?;
    for what in ["tea", "toast"] {
        transaction.execute("INSERT INTO orders (what) VALUES ($1)", &[&what]).await?;
    }
    transaction.commit().await?;
    // Dropped without a commit: rolled back.
    client.transaction().await?.execute("DELETE FROM orders", &[]).await?;

    // Two queries at a time, on one connection. They borrow the client, and `gather!` takes futures
    // that own what they use. `try_join` of futures-util takes them.
    let orders = client.query("SELECT id, what FROM orders ORDER BY id", &[]);
    let (orders, two) = try_join(orders, client.query_one("SELECT $1::int4 + 1", &[&1])).await?;
    let orders: Vec<(i32, &str)> = orders.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!((orders, two.get::<_, i32>(0)), (vec![(1, "tea"), (2, "toast")], 2));

    // The query goes on at the server after the time limit, and the connection can be used further.
    assert!(timeout(Duration::from_millis(10), client.batch_execute("SELECT pg_sleep(0.5)")).await.is_err());
    let error = client.query("SELECT 1 / 0", &[]).await.unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("22012"), "{error}");

    client.batch_execute("LISTEN kitchen; NOTIFY kitchen, 'ready'").await?;
    assert_eq!(notifications.recv().await.as_deref(), Some("ready"));
    drop(client);
    connection.await??;
    println!("tokio-postgres: a transaction, two queries at a time, a time limit, an error, a notification");
    Ok(())
}

fn main() -> Result {
    match called() {
        Called::Connect(address) => EventLoop::new().run(client(&address)),
        Called::Serve => Err("this program has no `serve`".into()),
        Called::Alone => {
            println!("tokio-postgres: not run, because it needs a server: `.ci/real-servers tokio_postgres`");
            Ok(())
        }
    }
}
