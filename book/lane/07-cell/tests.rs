//! What holds from stage 7 on.

use super::lane::{RunError, Task, TaskError, run, spawn, try_run, yield_now};
use super::tests_06_time::Log;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

#[test]
fn a_task_has_an_outcome() {
    let task = run(async {
        let task = spawn(async {
            yield_now().await;
            7
        });
        assert!(!task.is_done());
        yield_now().await;
        assert_eq!(task.result(), None);
        yield_now().await;
        task
    });
    assert!(task.is_done());
    assert_eq!(task.result(), Some(Ok(7)));
}

/// The destructors of the future run before anyone sees the outcome.
#[test]
fn done_1_the_future_is_dropped_first() {
    /// Its destructor looks at its own task.
    struct Held(Log, Rc<RefCell<Option<Task<()>>>>);

    impl Future for Held {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Ready(())
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let is_done = self.1.borrow().as_ref().unwrap().is_done();
            self.0.add(format!("dropped, done: {is_done}"));
        }
    }

    let log = Log::default();
    let copy = log.clone();
    super::lane::virtual_clock();
    run(async move {
        let itself = Rc::new(RefCell::new(None));
        let task = spawn(Held(copy.clone(), itself.clone()));
        *itself.borrow_mut() = Some(task.clone());
        yield_now().await;
        copy.add(format!("seen, done: {}", task.is_done()));
        itself.take();
    });
    assert_eq!(log.take(), ["0 dropped, done: false", "0 seen, done: true"]);
}

#[test]
fn a_panic_ends_its_task_only() {
    let outcome = run(async {
        let task = spawn(async { if true { panic!("oh") } else { 1 } });
        yield_now().await;
        yield_now().await;
        task.result()
    });
    assert_eq!(outcome, Some(Err(TaskError::Panicked("oh".into()))));
    let main: Result<(), _> = try_run(async { panic!("main") });
    assert_eq!(main, Err(RunError::Main(TaskError::Panicked("main".into()))));
}
