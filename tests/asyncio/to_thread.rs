//! `test_threads.py`: `to_thread`.
#![cfg(feature = "threads")]

mod to_thread_tests {
    use crate::common::virtual_loop;
    use onelane::{TaskError, gather, to_thread};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn test_to_thread() {
        let result = virtual_loop().run(async { to_thread(|| [40, 2].iter().sum::<i32>()).await });
        assert_eq!(result, Ok(42));
    }

    #[test]
    fn test_to_thread_exception() {
        virtual_loop().run(async {
            let error = to_thread(|| -> () { panic!("test") }).await.unwrap_err();
            let TaskError::Panicked(panic) = error else { unreachable!() };
            assert_eq!(panic.message(), "test");
        });
    }

    #[test]
    fn test_to_thread_once() {
        let calls = Arc::new(AtomicUsize::new(0));
        let copy = calls.clone();
        virtual_loop().run(async move { to_thread(move || copy.fetch_add(1, Ordering::SeqCst)).await.unwrap() });
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn test_to_thread_concurrent() {
        let calls = Arc::new(AtomicUsize::new(0));
        let ten = (0..10).map(|_| {
            let calls = calls.clone();
            to_thread(move || calls.fetch_add(1, Ordering::SeqCst))
        });
        let results = virtual_loop().run(async { gather(ten.collect::<Vec<_>>()).await }).unwrap();
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(calls.load(Ordering::SeqCst), 10);
    }

    /// Context variables are not passed on, because they would have to be `Send`. The function
    /// captures its values.
    #[test]
    fn test_to_thread_contextvars() {
        let value = "parrot".to_string();
        let result = virtual_loop().run(async { to_thread(move || value).await });
        assert_eq!(result.unwrap(), "parrot");
    }
}
