//! tokio's channels on a loop of onelane without tokio; then between such a loop and a tokio
//! runtime on another thread.
//!
//! Channels need no runtime, only wakers, and our tasks' wakers work on any thread. So a program
//! can run tokio on a thread of its own, for a library that requires it, and send requests to it.
//!
//! `cargo run --release --bin tokio_channels`, in `examples/hosts`.

use onelane::{EventLoop, gather, spawn};
use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{broadcast, mpsc, oneshot};

fn main() -> Result<(), Box<dyn Error>> {
    // On the virtual clock, a lost wake would be reported as a deadlock.
    EventLoop::with_virtual_clock().run(alone())?;
    EventLoop::new().run(beside_a_runtime())
}

/// All ends of the channels are on our loop.
async fn alone() -> Result<(), Box<dyn Error>> {
    let (sender, mut receiver) = mpsc::channel(4);
    let producers: Vec<_> = ["tea", "toast"]
        .into_iter()
        .map(|what| {
            let sender = sender.clone();
            spawn(async move {
                for number in 0..100 {
                    sender.send(format!("{what} {number}")).await.expect("it is received below");
                }
            })
        })
        .collect();
    drop(sender);
    let mut count = 0;
    while receiver.recv().await.is_some() {
        count += 1;
    }
    assert!(count == 200 && producers.iter().all(|producer| producer.is_done()));

    let (answer, question) = oneshot::channel();
    let asker = spawn(question);
    assert_eq!(answer.send(42), Ok(()));
    assert_eq!(asker.await?, Ok(42));

    let (news, _) = broadcast::channel(8);
    let listeners: Vec<_> = (0..3)
        .map(|_| {
            let mut news = news.subscribe();
            async move {
                let mut heard = Vec::new();
                while let Ok(item) = news.recv().await {
                    heard.push(item);
                }
                heard
            }
        })
        .collect();
    let heard = spawn(gather(listeners));
    assert_eq!(["rain", "sun"].map(|item| news.send(item).ok()), [Some(3), Some(3)]);
    drop(news);
    assert_eq!(heard.await??, [["rain", "sun"]; 3]);
    println!("alone: {count} messages, an answer, and news for three");
    Ok(())
}

/// A request, and where its response goes.
type Question = (u64, oneshot::Sender<u64>);

/// Runs tokio on this thread. It responds to each request after some milliseconds, and handles all
/// requests concurrently. It ends when no sender is left.
fn run_tokio(mut questions: mpsc::Receiver<Question>, news: broadcast::Sender<u64>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        while let Some((number, answer)) = questions.recv().await {
            let news = news.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(number % 20)).await;
                // If the receiver is gone, the response is not needed.
                let _ = news.send(number);
                let _ = answer.send(number * number);
            });
        }
        Ok(())
    })
}

async fn beside_a_runtime() -> Result<(), Box<dyn Error>> {
    let (ask, questions) = mpsc::channel(16);
    let (news, mut heard) = broadcast::channel(256);
    let runtime = thread::Builder::new().name("tokio".into()).spawn(move || run_tokio(questions, news))?;
    let begun = Instant::now();

    let answers = gather((0..200).map(|number| {
        let ask = ask.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            ask.send((number, answer)).await.map_err(|_| "tokio has gone")?;
            answered.await.map_err(|_| "tokio has not answered")
        }
    }));
    drop(ask);
    let listener = spawn(async move {
        let mut sum = 0;
        while let Ok(number) = heard.recv().await {
            sum += number;
        }
        sum
    });
    let answers: Vec<u64> = answers.await?.into_iter().collect::<Result<_, _>>()?;
    assert!(answers.iter().zip(0..).all(|(answer, number)| *answer == number * number));
    assert_eq!(listener.await?, (0..200).sum());
    println!("beside a runtime: {} answers in {:?}", answers.len(), begun.elapsed());
    runtime.join().map_err(|_| "tokio's thread panicked")??;
    Ok(())
}
