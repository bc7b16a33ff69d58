//! `test_futures.py`: asyncio's `Future` is [`Promise`]. An exception that is set is a value, a
//! `Promise<Result<T, E>>`. `InvalidStateError` is an error that is returned, or a panic if the
//! function returns no error.

use crate::common::{panic_of, telling_loop, virtual_loop};
use onelane::{EventLoop, Promise, TaskError};
use std::cell::RefCell;
use std::rc::Rc;

/// As CPython's `run_briefly`: runs what is ready now, and the callback of a task that ends in that
/// turn.
fn run_briefly(event_loop: &EventLoop) {
    event_loop.turn();
    event_loop.turn();
}

mod base_future_tests {
    use super::*;

    #[test]
    fn test_initial_state() {
        let f = Promise::<()>::new();
        assert!(!f.is_cancelled());
        assert!(!f.is_done());
        f.cancel();
        assert!(f.is_cancelled());
    }

    #[test]
    fn test_cancel() {
        let f = Promise::<Result<i32, &str>>::new();
        assert!(f.cancel());
        assert!(f.is_cancelled());
        assert!(f.is_done());
        assert_eq!(f.result().err(), Some(TaskError::Cancelled));
        assert_eq!(f.set_result(Ok(1)), Err(Ok(1)));
        assert_eq!(f.set_result(Err("no")), Err(Err("no")));
        assert!(!f.cancel());
    }

    #[test]
    fn test_result() {
        let f = Promise::<Result<i32, &str>>::new();
        assert!(panic_of(|| f.result().is_ok()).contains("it is pending"));

        f.set_result(Ok(42)).unwrap();
        assert!(!f.is_cancelled());
        assert!(f.is_done());
        assert_eq!(*f.result().unwrap(), Ok(42));
        assert_eq!(f.result().unwrap().err(), None);
        assert_eq!(f.set_result(Ok(1)), Err(Ok(1)));
        assert_eq!(f.set_result(Err("no")), Err(Err("no")));
        assert!(!f.cancel());
    }

    #[test]
    fn test_exception() {
        let f = Promise::<Result<i32, &str>>::new();
        assert!(panic_of(|| f.result().is_ok()).contains("it is pending"));

        f.set_result(Err("no")).unwrap();
        assert!(!f.is_cancelled());
        assert!(f.is_done());
        assert_eq!(*f.result().unwrap(), Err("no"));
        assert_eq!(f.set_result(Ok(1)), Err(Ok(1)));
        assert_eq!(f.set_result(Err("other")), Err(Err("other")));
        assert!(!f.cancel());
    }

    /// Makes a promise in a loop, calls `act` with it, and drops it. Returns the number of calls of
    /// the exception handler.
    fn told_of(act: impl FnOnce(&Promise<Result<i32, &'static str>>)) -> usize {
        let (event_loop, told) = telling_loop();
        event_loop.run(async {
            let promise = Promise::new();
            act(&promise);
            drop(promise);
        });
        run_briefly(&event_loop);
        told.take().len()
    }

    #[test]
    fn test_tb_logger_abandoned() {
        assert_eq!(told_of(|_| {}), 0);
    }

    #[test]
    fn test_tb_logger_not_called_after_cancel() {
        let told = told_of(|f| {
            f.set_result(Err("no")).unwrap();
            f.cancel();
        });
        assert_eq!(told, 0);
    }

    #[test]
    fn test_tb_logger_result_unretrieved() {
        assert_eq!(told_of(|f| f.set_result(Ok(42)).unwrap()), 0);
    }

    #[test]
    fn test_tb_logger_result_retrieved() {
        let told = told_of(|f| {
            f.set_result(Ok(42)).unwrap();
            assert_eq!(*f.result().unwrap(), Ok(42));
        });
        assert_eq!(told, 0);
    }

    #[test]
    fn test_tb_logger_exception_retrieved() {
        let told = told_of(|f| {
            f.set_result(Err("boom")).unwrap();
            assert_eq!(f.result().unwrap().err(), Some("boom"));
        });
        assert_eq!(told, 0);
    }

    /// In Rust this is the same as the previous test, because there is no `result()` that raises.
    #[test]
    fn test_tb_logger_exception_result_retrieved() {
        let told = told_of(|f| {
            f.set_result(Err("boom")).unwrap();
            assert!(f.result().unwrap().is_err());
        });
        assert_eq!(told, 0);
    }

    /// `set_result(..).ok()` replaces asyncio's private helper.
    #[test]
    fn test_set_result_unless_cancelled() {
        let fut = Promise::new();
        fut.cancel();
        assert_eq!(fut.set_result(2).ok(), None);
        assert!(fut.is_cancelled());
    }
}

mod base_future_done_callback_tests {
    use super::*;
    use onelane::CallbackId;

    type Bag = Rc<RefCell<Vec<u32>>>;

    /// A promise, the loop in which its callbacks are called, and the numbers that they record.
    struct Fixture {
        event_loop: EventLoop,
        bag: Bag,
        f: Promise<&'static str>,
    }

    impl Fixture {
        fn new() -> Self {
            Fixture { event_loop: virtual_loop(), bag: Bag::default(), f: Promise::new() }
        }

        fn add(&self, thing: u32) -> CallbackId {
            let bag = self.bag.clone();
            self.event_loop.run(async { self.f.add_done_callback(move |_| bag.borrow_mut().push(thing)) })
        }

        /// Sets the promise between two turns, and checks which callbacks were called in which
        /// turn.
        fn finish(&self, bag: &[u32]) {
            assert_eq!(*self.bag.borrow(), [0_u32; 0]);
            self.f.set_result("foo").unwrap();
            assert_eq!(*self.bag.borrow(), [0_u32; 0], "not before the loop turns");
            run_briefly(&self.event_loop);
            assert_eq!(*self.bag.borrow(), bag);
            assert_eq!(*self.f.result().unwrap(), "foo");
        }
    }

    #[test]
    fn test_callbacks_remove_first_callback() {
        let fixture = Fixture::new();
        let [cb1, _, _] = [42, 17, 100].map(|thing| fixture.add(thing));
        assert!(fixture.f.remove_done_callback(cb1));
        assert!(!fixture.f.remove_done_callback(cb1));
        fixture.finish(&[17, 100]);
    }

    #[test]
    fn test_callbacks_remove_first_and_second_callback() {
        let fixture = Fixture::new();
        let [cb1, cb2, _] = [42, 17, 100].map(|thing| fixture.add(thing));
        assert!(fixture.f.remove_done_callback(cb1));
        assert!(fixture.f.remove_done_callback(cb2));
        assert!(!fixture.f.remove_done_callback(cb1));
        fixture.finish(&[100]);
    }

    #[test]
    fn test_callbacks_remove_third_callback() {
        let fixture = Fixture::new();
        let [_, _, cb3] = [42, 17, 100].map(|thing| fixture.add(thing));
        assert!(fixture.f.remove_done_callback(cb3));
        assert!(!fixture.f.remove_done_callback(cb3));
        fixture.finish(&[42, 17]);
    }

    #[test]
    fn test_callbacks_invoked_on_set_result() {
        let fixture = Fixture::new();
        let _ = [42, 17].map(|thing| fixture.add(thing));
        fixture.finish(&[42, 17]);
    }

    #[test]
    fn test_callbacks_invoked_on_set_exception() {
        let (event_loop, bag, f) = (virtual_loop(), Bag::default(), Promise::<Result<(), &str>>::new());
        let copy = bag.clone();
        event_loop.run(async { f.add_done_callback(move |_| copy.borrow_mut().push(100)) });
        assert_eq!(*bag.borrow(), [0_u32; 0]);
        f.set_result(Err("no")).unwrap();
        run_briefly(&event_loop);
        assert_eq!(*bag.borrow(), [100]);
        assert_eq!(*f.result().unwrap(), Err("no"));
    }

    /// A callback is removed by its number, not by equality. What Python removes in one call are
    /// six numbers here.
    #[test]
    fn test_remove_done_callback() {
        let fixture = Fixture::new();
        let removed = |callbacks: &[CallbackId]| {
            callbacks.iter().filter(|&&callback| fixture.f.remove_done_callback(callback)).count()
        };
        let (cb1, cb2) = (fixture.add(1), fixture.add(2));
        assert_eq!(removed(&[cb2]), 1);
        // The number of a callback of another promise.
        let other = Promise::<()>::new();
        let cb3 = fixture.event_loop.run(async { other.add_done_callback(|_| unreachable!()) });
        assert_eq!(removed(&[cb3]), 0);
        fixture.add(2);
        let ones: Vec<_> = [cb1].into_iter().chain((0..5).map(|_| fixture.add(1))).collect();
        assert_eq!(removed(&ones), 6);
        fixture.finish(&[2]);
    }

    #[test]
    fn test_schedule_callbacks_list_mutation_1() {
        let (event_loop, fut) = (virtual_loop(), Promise::new());
        let called = Bag::default();
        let others = Rc::new(RefCell::new(Vec::new()));
        event_loop.run(async {
            let (copy, to_remove) = (called.clone(), others.clone());
            fut.add_done_callback(move |f| {
                let removed = to_remove.take().into_iter().filter(|&callback| f.remove_done_callback(callback)).count();
                assert_eq!(removed, 0, "they are queued already");
                copy.borrow_mut().push(1);
            });
            for n in [2, 3] {
                let copy = called.clone();
                others.borrow_mut().push(fut.add_done_callback(move |_| copy.borrow_mut().push(n)));
            }
        });
        fut.set_result(1).unwrap();
        run_briefly(&event_loop);
        assert_eq!(*called.borrow(), [1, 2, 3]);
    }
}
