//! `test_unix_events.py` and `test_events.py`: handlers of signals. A signal affects the whole
//! process, so each test has its own process.

use std::io::ErrorKind;

/// Greater than the number of any signal.
const NSIG: i32 = 65;

/// The error of a failed `listen`.
fn refused(signal: i32) -> ErrorKind {
    onelane::signals::listen(signal).unwrap_err().kind()
}

mod selector_event_loop_signal_tests {
    use super::{NSIG, refused};
    use crate::common::{alone, killed, virtual_loop};
    use onelane::signals::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, listen};
    use onelane::{spawn, yield_now};
    use rlimit::Resource;
    use signal_hook::consts::{SIGKILL, SIGSTOP};
    use signal_hook::low_level::raise;
    use std::fs::File;
    use std::io::ErrorKind;

    #[test]
    fn test_check_signal() {
        alone("signals::selector_event_loop_signal_tests::test_check_signal", || {
            virtual_loop().run(async { assert_eq!(refused(NSIG + 1), ErrorKind::InvalidInput) });
        });
    }

    /// The signal is one that is ignored by default.
    #[test]
    fn test_handle_signal_no_handler() {
        alone("signals::selector_event_loop_signal_tests::test_handle_signal_no_handler", || {
            virtual_loop().run(async {
                drop(listen(SIGWINCH).unwrap());
                let mut other = listen(SIGUSR1).unwrap();
                raise(SIGWINCH).unwrap();
                raise(SIGUSR1).unwrap();
                other.next().await;
            });
        });
    }

    #[test]
    fn test_handle_signal_cancelled_handler() {
        let name = "signals::selector_event_loop_signal_tests::test_handle_signal_cancelled_handler";
        let told = killed(name, SIGUSR1, || {
            virtual_loop().run(async {
                let mut listener = listen(SIGUSR1).unwrap();
                let mut other = listen(SIGUSR1).unwrap();
                let h = spawn(async move { listener.next().await });
                yield_now().await;
                raise(SIGUSR1).unwrap();
                h.cancel();
                other.next().await;
                assert!(h.await.unwrap_err().is_cancelled());
                drop(other);
                eprintln!("handled");
                raise(SIGUSR1).unwrap();
            });
        });
        assert!(told.contains("handled"), "{told}");
    }

    /// There is no descriptor left.
    #[test]
    fn test_add_signal_handler_setup_error() {
        alone("signals::selector_event_loop_signal_tests::test_add_signal_handler_setup_error", || {
            virtual_loop().run(async {
                let (current, maximum) = Resource::NOFILE.get().unwrap();
                Resource::NOFILE.set(0, maximum).unwrap();
                let (error, of_a_file) = (listen(SIGUSR1).unwrap_err(), File::open("/").unwrap_err());
                Resource::NOFILE.set(current, maximum).unwrap();
                assert_eq!(error.raw_os_error(), of_a_file.raw_os_error());
                let mut listener = listen(SIGUSR1).unwrap();
                raise(SIGUSR1).unwrap();
                listener.next().await;
            });
        });
    }

    #[test]
    fn test_add_signal_handler() {
        alone("signals::selector_event_loop_signal_tests::test_add_signal_handler", || {
            virtual_loop().run(async {
                let mut h = listen(SIGHUP).unwrap();
                assert_eq!(h.signal(), SIGHUP);
                raise(SIGHUP).unwrap();
                h.next().await;
            });
        });
    }

    #[test]
    fn test_add_signal_handler_install_error2() {
        alone("signals::selector_event_loop_signal_tests::test_add_signal_handler_install_error2", || {
            virtual_loop().run(async {
                let mut other = listen(SIGUSR1).unwrap();
                assert_eq!(refused(SIGSTOP), ErrorKind::InvalidInput);
                raise(SIGUSR1).unwrap();
                other.next().await;
            });
        });
    }

    #[test]
    fn test_add_signal_handler_install_error3() {
        alone("signals::selector_event_loop_signal_tests::test_add_signal_handler_install_error3", || {
            virtual_loop().run(async { assert_eq!(refused(SIGKILL), ErrorKind::InvalidInput) });
        });
    }

    #[test]
    fn test_remove_signal_handler() {
        killed("signals::selector_event_loop_signal_tests::test_remove_signal_handler", SIGUSR1, || {
            virtual_loop().run(async {
                drop(listen(SIGUSR1).unwrap());
                raise(SIGUSR1).unwrap();
            });
        });
    }

    /// A listener of another signal exists.
    #[test]
    fn test_remove_signal_handler_2() {
        killed("signals::selector_event_loop_signal_tests::test_remove_signal_handler_2", SIGUSR1, || {
            virtual_loop().run(async {
                let listener = listen(SIGUSR1).unwrap();
                let mut other = listen(SIGUSR2).unwrap();
                drop(listener);
                raise(SIGUSR2).unwrap();
                other.next().await;
                raise(SIGUSR1).unwrap();
            });
        });
    }

    /// The listeners belong to tasks, which end with their loop.
    #[test]
    fn test_close() {
        let told = killed("signals::selector_event_loop_signal_tests::test_close", SIGTERM, || {
            let event_loop = virtual_loop();
            for signal in [SIGUSR1, SIGTERM] {
                drop(event_loop.spawn(async move { listen(signal).unwrap().next().await }));
            }
            event_loop.turn();
            raise(SIGTERM).unwrap();
            drop(event_loop);
            eprintln!("closed");
            raise(SIGTERM).unwrap();
        });
        assert!(told.contains("closed"), "{told}");
    }
}

mod event_loop_tests_mixin {
    use super::{NSIG, refused};
    use crate::common::{alone, ctrl_c_is_ignored, killed, ms, virtual_loop};
    use onelane::signals::{SIGALRM, SIGINT, Signals, listen};
    use onelane::{EventLoop, spawn, yield_now};
    use signal_hook::consts::SIGKILL;
    use signal_hook::low_level::raise;
    use std::cell::Cell;
    use std::io::ErrorKind;
    use std::rc::Rc;
    use std::thread;

    /// The default action of the system ends the process.
    #[test]
    fn test_add_signal_handler() {
        if ctrl_c_is_ignored() {
            return;
        }
        let told = killed("signals::event_loop_tests_mixin::test_add_signal_handler", SIGINT, || {
            virtual_loop().run(async {
                for signal in [NSIG + 1, 0, -1, SIGKILL] {
                    assert_eq!(refused(signal), ErrorKind::InvalidInput, "{signal}");
                }
                let mut listener = listen(SIGINT).unwrap();
                raise(SIGINT).unwrap();
                listener.next().await;
                drop(listener);
                eprintln!("handled");
                raise(SIGINT).unwrap();
            });
        });
        assert!(told.contains("handled"), "{told}");
    }

    #[test]
    fn test_signal_handling_while_selecting() {
        alone("signals::event_loop_tests_mixin::test_signal_handling_while_selecting", || {
            let caught = Rc::new(Cell::new(0));
            EventLoop::new().run(async {
                let mut listener = listen(SIGALRM).unwrap();
                let timer = thread::spawn(|| {
                    // Enough time for the loop to fall asleep.
                    thread::sleep(ms(10));
                    raise(SIGALRM).unwrap();
                });
                listener.next().await;
                caught.set(caught.get() + 1);
                timer.join().unwrap();
            });
            assert_eq!(caught.get(), 1);
        });
    }

    #[test]
    fn test_signal_handling_args() {
        async fn my_handler(mut listener: Signals, args: i32) -> i32 {
            listener.next().await;
            args
        }

        alone("signals::event_loop_tests_mixin::test_signal_handling_args", || {
            virtual_loop().run(async {
                let task = spawn(my_handler(listen(SIGALRM).unwrap(), 42));
                yield_now().await;
                raise(SIGALRM).unwrap();
                assert_eq!(task.await, Ok(42));
            });
        });
    }
}
