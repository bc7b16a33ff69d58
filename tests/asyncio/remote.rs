//! `test_tasks.py` and `test_free_threading.py`: tasks that are started from other threads.

use crate::common::{ms, virtual_loop};
use onelane::{EventLoop, Remote, TaskError, current_task, sleep, yield_now};
use std::thread;

/// Calls `target` on another thread while the loop turns.
fn from_a_thread<T: Send + 'static>(event_loop: &EventLoop, target: impl FnOnce(Remote) -> T + Send + 'static) -> T {
    let remote = event_loop.remote();
    let thread = thread::spawn(move || target(remote));
    while !thread.is_finished() {
        if event_loop.turn().is_idle() {
            thread::yield_now();
        }
    }
    thread.join().unwrap()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Well,
    Fail,
    Cancel,
}

async fn add(a: u32, b: u32, how: How) -> u32 {
    sleep(ms(50)).await;
    assert!(how != How::Fail, "Fail!");
    if how == How::Cancel {
        current_task().unwrap().cancel();
        yield_now().await;
    }
    a + b
}

mod run_coroutine_threadsafe_tests {
    use super::*;
    use crate::common::{Census, await_that};
    use std::future::pending;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Waker};

    #[test]
    fn test_run_coroutine_threadsafe() {
        let result = from_a_thread(&virtual_loop(), |remote| remote.spawn(add(1, 2, How::Well)).unwrap().wait());
        assert_eq!(result, Ok(3));
    }

    #[test]
    fn test_run_coroutine_threadsafe_with_exception() {
        let result = from_a_thread(&virtual_loop(), |remote| remote.spawn(add(1, 2, How::Fail)).unwrap().wait());
        let Err(TaskError::Panicked(panic)) = result else { panic!("{result:?}") };
        assert_eq!(panic.message(), "Fail!");
    }

    /// A wait of zero time is a poll.
    #[test]
    fn test_run_coroutine_threadsafe_with_timeout() {
        let event_loop = virtual_loop();
        let remote = event_loop.remote();
        let thread = thread::spawn(move || {
            let mut task = remote.spawn(add(1, 2, How::Well)).unwrap();
            let in_time = Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
            task.cancel();
            in_time.is_ready()
        });
        assert!(!thread.join().unwrap());
        event_loop.run(async {});
        assert!(event_loop.all_tasks().is_empty());
    }

    #[test]
    fn test_run_coroutine_threadsafe_task_cancelled() {
        let result = from_a_thread(&virtual_loop(), |remote| remote.spawn(add(1, 2, How::Cancel)).unwrap().wait());
        assert_eq!(result, Err(TaskError::Cancelled));
    }

    #[test]
    fn test_run_coroutine_threadsafe_and_cancel() {
        let event_loop = virtual_loop();
        let census = Census::new();
        let member = census.member();
        let result = from_a_thread(&event_loop, |remote| {
            let begun = Arc::new(AtomicBool::new(false));
            let flag = begun.clone();
            let task = remote.spawn(async move {
                let _member = member;
                flag.store(true, Ordering::SeqCst);
                pending::<()>().await;
            });
            let task = task.unwrap();
            await_that(|| begun.load(Ordering::SeqCst));
            task.cancel();
            task.wait()
        });
        assert_eq!(result, Err(TaskError::Cancelled));
        assert_eq!(census.counts(), (1, 1));
        assert!(event_loop.all_tasks().is_empty());
    }
}

mod test_free_threading {
    use super::*;
    use onelane::{all_tasks, spawn};
    use std::future::pending;

    const THREADS: usize = 10;

    #[test]
    fn test_all_tasks_race() {
        let threads = [(); THREADS].map(|()| {
            thread::spawn(|| {
                virtual_loop().run(async {
                    let main = current_task().unwrap();
                    let mut expected = vec![main.id()];
                    for _ in 0..100 {
                        expected.push(spawn(pending::<()>()).id());
                        yield_now().await;
                    }
                    let tasks = all_tasks();
                    assert!(tasks.iter().all(|task| !task.is_done()));
                    assert_eq!(tasks.iter().map(|task| task.id()).collect::<Vec<_>>(), expected);
                    for task in &tasks[1..] {
                        task.cancel();
                    }
                    yield_now().await;
                    assert_eq!(all_tasks(), [main]);
                });
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
    }

    /// Each result returns to the thread that requested it.
    #[test]
    fn test_run_coroutine_threadsafe() {
        let results = from_a_thread(&virtual_loop(), |remote| {
            let threads = (0..THREADS as u32).map(|number| {
                let remote = remote.clone();
                thread::spawn(move || remote.spawn(add(number, 100, How::Well)).unwrap().wait())
            });
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(results, (100..110).map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn test_run_coroutine_threadsafe_exception() {
        let results = from_a_thread(&virtual_loop(), |remote| {
            let threads = (0..THREADS).map(|number| {
                let remote = remote.clone();
                let fail = async move { panic!("failure of {number}") };
                thread::spawn(move || remote.spawn(fail).unwrap().wait())
            });
            threads.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        for (number, result) in results.into_iter().enumerate() {
            let Err::<(), _>(TaskError::Panicked(panic)) = result else { panic!("{result:?}") };
            assert_eq!(panic.message(), format!("failure of {number}"));
        }
    }
}
