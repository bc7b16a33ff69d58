//! `test_server.py`: servers and their ends, over TCP and Unix sockets.

mod base_start_server {
    use crate::Cue;
    use crate::streams::{HERE, run};
    use futures_util::FutureExt;
    use onelane::{TaskRef, net, spawn};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// The client is a task.
    #[test]
    fn test_start_server_1() {
        run(|| async {
            let main_task: Rc<RefCell<Option<TaskRef>>> = Rc::default();
            let copy = main_task.clone();
            let srv = net::start_server(HERE, async move |mut reader, mut writer| {
                reader.read_line().await.unwrap();
                copy.borrow().as_ref().unwrap().cancel();
                writer.write_all(b"1").await.unwrap();
                writer.close().await.unwrap();
            })
            .await;
            let srv = Rc::new(srv.unwrap());
            assert!(srv.is_serving());
            let (copy, begun) = (srv.clone(), Cue::new());
            let begins = begun.clone();
            let main = spawn(async move {
                begins.set(());
                copy.serve_forever().await;
            });
            *main_task.borrow_mut() = Some(main.task_ref());
            begun.wait().await;

            let (mut reader, mut writer) = net::open_connection(srv.local_addr().unwrap()).await.unwrap();
            writer.write_all(&[&[b'1'; 5 * 1024][..], b"\n"].concat()).await.unwrap();
            assert_eq!(reader.read_to_end().await.unwrap(), b"1");
            assert!(main.await.unwrap_err().is_cancelled());

            assert!(!srv.is_serving());
            assert_eq!(srv.connections(), 0);
            assert!(net::open_connection(srv.local_addr().unwrap()).await.is_err());
            assert_eq!(srv.serve_forever().now_or_never(), Some(()));
        });
    }
}

mod selector_start_server_tests {
    use crate::Cue;
    use crate::streams::{path, run};
    use futures_util::FutureExt;
    use onelane::{TaskRef, net, spawn};
    use std::cell::RefCell;
    use std::rc::Rc;

    /// The client is a task.
    #[test]
    fn test_start_unix_server_1() {
        run(|| async {
            let addr = path("server-1");
            let main_task: Rc<RefCell<Option<TaskRef>>> = Rc::default();
            let copy = main_task.clone();
            let srv = net::start_unix_server(&addr, async move |mut reader, mut writer| {
                reader.read_line().await.unwrap();
                copy.borrow().as_ref().unwrap().cancel();
                writer.write_all(b"1").await.unwrap();
                writer.close().await.unwrap();
            });
            let srv = Rc::new(srv.unwrap());
            assert!(srv.is_serving());
            let (copy, started) = (srv.clone(), Cue::new());
            let starts = started.clone();
            let main = spawn(async move {
                starts.set(());
                copy.serve_forever().await;
            });
            *main_task.borrow_mut() = Some(main.task_ref());
            started.wait().await;

            let (mut reader, mut writer) = net::open_unix_connection(&addr).await.unwrap();
            writer.write_all(&[&[b'1'; 5 * 1024][..], b"\n"].concat()).await.unwrap();
            assert_eq!(reader.read_to_end().await.unwrap(), b"1");
            assert!(main.await.unwrap_err().is_cancelled());

            assert!(!srv.is_serving() && !addr.exists());
            assert_eq!(srv.connections(), 0);
            assert_eq!(srv.serve_forever().now_or_never(), Some(()));
        });
    }
}

mod test_server2 {
    use crate::Cue;
    use crate::streams::{HERE, run};
    use futures_util::FutureExt;
    use onelane::net::{self, Server, StreamReader, StreamWriter};
    use onelane::{call_soon, spawn, yield_now};
    use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
    use std::rc::Rc;

    async fn serve(mut rd: StreamReader, wr: StreamWriter) {
        rd.read_to_end().await.unwrap();
        wr.close().await.unwrap();
    }

    async fn start() -> Rc<Server> {
        Rc::new(net::start_server(HERE, serve).await.unwrap())
    }

    /// A connection that the server has accepted.
    async fn connect_to(srv: &Server) -> (StreamReader, StreamWriter) {
        let (rd, wr) = net::open_connection(srv.local_addr().unwrap()).await.unwrap();
        while srv.connections() == 0 {
            yield_now().await;
        }
        (rd, wr)
    }

    #[test]
    fn test_wait_closed_basic() {
        run(|| async {
            let srv = start().await;
            let wait_closed = || {
                let srv = srv.clone();
                spawn(async move { srv.wait_closed().await })
            };

            // There is no connection, and the server is not closed.
            let task1 = wait_closed();
            yield_now().await;
            assert!(!task1.is_done());

            // There is a connection, and the server is not closed.
            let (_rd, wr) = connect_to(&srv).await;
            let task2 = wait_closed();
            yield_now().await;
            assert!(!task1.is_done() && !task2.is_done());

            // There is a connection, and the server is closed.
            srv.close();
            yield_now().await;
            let task3 = wait_closed();
            yield_now().await;
            assert!(!task1.is_done() && !task2.is_done() && !task3.is_done());

            // There is no connection, and the server is closed.
            wr.close().await.unwrap();
            for task in [task1, task2, task3] {
                assert_eq!(task.await, Ok(()));
            }
            assert_eq!(srv.wait_closed().now_or_never(), Some(()));
        });
    }

    #[test]
    fn test_wait_closed_race() {
        run(|| async {
            let srv = start().await;
            let copy = srv.clone();
            let task = spawn(async move { copy.wait_closed().await });
            yield_now().await;
            assert!(!task.is_done());
            let (_rd, wr) = connect_to(&srv).await;
            let copy = srv.clone();
            call_soon(move || copy.close());
            call_soon(move || wr.close().now_or_never().unwrap().unwrap());
            srv.wait_closed().await;
            assert_eq!(task.await, Ok(()));
        });
    }

    #[test]
    fn test_close_clients() {
        run(|| async {
            let srv = start().await;
            let (_rd, _wr) = connect_to(&srv).await;
            let copy = srv.clone();
            let task = spawn(async move { copy.wait_closed().await });
            yield_now().await;
            assert!(!task.is_done());

            srv.close();
            srv.close_clients();
            yield_now().await;
            yield_now().await;
            assert!(task.is_done());
        });
    }

    /// Nothing is read ahead, so there is no reader to pause. The writer waits when the system
    /// accepts no more bytes.
    #[test]
    fn test_abort_clients() {
        run(|| async {
            let fut = Cue::new();
            let copy = fut.clone();
            let srv = net::start_server(HERE, async move |rd, wr| copy.set((rd, wr))).await.unwrap();
            let srv = Rc::new(srv);
            let (_c_rd, c_wr) = connect_to(&srv).await;
            let (_s_rd, mut s_wr) = fut.wait().await;

            set_socket_send_buffer_size(&s_wr, 65536).unwrap();
            set_socket_recv_buffer_size(&c_wr, 65536).unwrap();
            let book = vec![b'a'; 10_000_000];
            assert!(s_wr.write_all(&book).now_or_never().is_none());

            let copy = srv.clone();
            let task = spawn(async move { copy.wait_closed().await });
            yield_now().await;
            assert!(!task.is_done());

            srv.close();
            srv.abort_clients();
            yield_now().await;
            yield_now().await;
            assert!(task.is_done());
        });
    }
}

mod unix_server_cleanup_tests {
    use crate::streams::{path, run};
    use onelane::net::{self, Server, UnixListener};
    use std::fs;
    use std::path::Path;

    fn start(addr: &Path) -> Server {
        net::start_unix_server(addr, async |_, _| {}).unwrap()
    }

    #[test]
    fn test_unix_server_addr_cleanup() {
        run(|| async {
            let addr = path("cleanup");
            let srv = start(&addr);
            assert!(addr.exists());
            srv.close();
            assert!(!addr.exists());
        });
    }

    #[test]
    fn test_unix_server_cleanup_gone() {
        run(|| async {
            let addr = path("gone");
            let srv = start(&addr);
            fs::remove_file(&addr).unwrap();
            srv.close();
            assert!(!addr.exists());
        });
    }

    #[test]
    fn test_unix_server_cleanup_replaced() {
        run(|| async {
            let addr = path("replaced");
            let srv = start(&addr);
            fs::remove_file(&addr).unwrap();
            let _other = std::os::unix::net::UnixListener::bind(&addr).unwrap();
            srv.close();
            assert!(addr.exists());
            fs::remove_file(&addr).unwrap();
        });
    }

    /// A dropped listener leaves its file behind.
    #[test]
    fn test_unix_server_cleanup_prevented() {
        run(|| async {
            let addr = path("prevented");
            drop(UnixListener::bind(&addr).unwrap());
            assert!(addr.exists());
            fs::remove_file(&addr).unwrap();
        });
    }
}
