//! `test_staggered.py`: `staggered_race` is `happy_eyeballs`, whose coroutines connect to addresses.

mod staggered_tests {
    use onelane::net::{AddressErrors, happy_eyeballs};
    use onelane::{EventLoop, sleep};
    use std::cell::RefCell;
    use std::io::{self, ErrorKind};
    use std::net::SocketAddr;
    use std::time::Duration;

    /// The index of a coroutine is the port of its address.
    fn coros(count: u16) -> Vec<SocketAddr> {
        (0..count).map(|index| SocketAddr::from(([127, 0, 0, 1], index))).collect()
    }

    /// Python returns the exceptions beside the winner. Here they are in the error, if there is no
    /// winner; the calls are recorded.
    fn race(
        count: u16,
        delay: Option<Duration>,
        coro: impl AsyncFn(u16) -> io::Result<String>,
    ) -> (io::Result<String>, Vec<u16>) {
        let called = RefCell::new(Vec::new());
        let dial = |address: SocketAddr| {
            called.borrow_mut().push(address.port());
            coro(address.port())
        };
        let result = EventLoop::with_virtual_clock().run(happy_eyeballs(coros(count), dial).delay(delay));
        (result, called.into_inner())
    }

    fn value_error<T>() -> io::Result<T> {
        Err(ErrorKind::InvalidInput.into())
    }

    #[test]
    fn test_one_successful() {
        let (winner, called) = race(2, None, async |index| Ok(format!("Res: {index}")));
        assert_eq!(winner.unwrap(), "Res: 0");
        assert_eq!(called, [0]);
    }

    #[test]
    fn test_first_error_second_successful() {
        let coro = async |index| if index == 0 { value_error() } else { Ok(format!("Res: {index}")) };
        let (winner, called) = race(2, None, coro);
        assert_eq!(winner.unwrap(), "Res: 1");
        assert_eq!(called, [0, 1]);
    }

    #[test]
    fn test_first_timeout_second_successful() {
        let coro = async |index| {
            if index == 0 {
                sleep(Duration::from_secs(10)).await;
            }
            Ok(format!("Res: {index}"))
        };
        let (winner, called) = race(2, Some(Duration::from_millis(100)), coro);
        assert_eq!(winner.unwrap(), "Res: 1");
        assert_eq!(called, [0, 1]);
    }

    #[test]
    fn test_none_successful() {
        let (winner, called) = race(2, None, async |_| value_error());
        let errors = winner.unwrap_err().downcast::<AddressErrors>().unwrap();
        assert_eq!(errors.errors().len(), 2);
        assert!(errors.errors().iter().all(|(_, error)| error.kind() == ErrorKind::InvalidInput));
        assert_eq!(called, [0, 1]);
    }

    /// The coroutines answer at the same moment. The earlier one wins, and the other is dropped.
    #[test]
    fn test_multiple_winners() {
        let coro = async |index: u16| {
            sleep(Duration::from_millis(100 - 50 * u64::from(index))).await;
            Ok(format!("Res: {index}"))
        };
        let (winner, called) = race(2, Some(Duration::from_millis(50)), coro);
        assert_eq!(winner.unwrap(), "Res: 0");
        assert_eq!(called, [0, 1]);
    }

    #[test]
    fn test_cancelled() {
        EventLoop::with_virtual_clock().run(async {
            let coro = async |_| {
                sleep(Duration::from_secs(1)).await;
                Ok(())
            };
            let task = onelane::spawn(happy_eyeballs(coros(2), coro).delay(None));
            sleep(Duration::from_millis(100)).await;
            task.cancel();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(onelane::metrics().timers_pending, 0);
        });
    }
}
