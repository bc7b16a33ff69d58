//! `test_sock_lowlevel.py`: sockets, without streams.

mod base_sock_tests_mixin {
    use crate::common::ms;
    use crate::streams::{GET, HERE, http, path, run};
    use futures_util::{AsyncReadExt, AsyncWriteExt};
    use onelane::net::{self, Server, TcpListener, TcpStream, UdpSocket, UnixStream};
    use onelane::{Task, spawn, timeout, yield_now};
    use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
    use std::io::{ErrorKind, Write};
    use std::net::{Shutdown, SocketAddr};
    use std::os::fd::OwnedFd;
    use std::rc::Rc;

    const OK: &[u8] = b"HTTP/1.0 200 OK";

    async fn http_server() -> (Server, SocketAddr) {
        let server = net::start_server(HERE, http).await.unwrap();
        let address = server.local_addr().unwrap();
        (server, address)
    }

    /// A reserved address at which no socket listens yet.
    fn bound() -> (OwnedFd, SocketAddr) {
        let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&listener, &SocketAddr::from(HERE)).unwrap();
        let address = SocketAddr::try_from(getsockname(&listener).unwrap()).unwrap();
        (listener, address)
    }

    /// A socket of the standard library, which blocks by default.
    #[test]
    fn test_sock_client_ops() {
        run(|| async {
            let (_server, address) = http_server().await;
            let sock = std::net::TcpStream::connect(address).unwrap();
            let mut sock = TcpStream::from_std(sock).unwrap();
            sock.write_all(GET).await.unwrap();
            let mut data = [0; 1024];
            let count = sock.read(&mut data).await.unwrap();
            assert!(data[..count].starts_with(OK));

            let mut sock = TcpStream::connect(address).await.unwrap();
            sock.write_all(GET).await.unwrap();
            let mut data = Vec::new();
            sock.read_to_end(&mut data).await.unwrap();
            assert!(data.starts_with(OK));
        });
    }

    #[test]
    fn test_sock_client_racing() {
        run(|| async {
            let (_server, address) = http_server().await;
            let sock = Rc::new(TcpStream::connect(address).await.unwrap());
            let copy = sock.clone();
            let task = spawn(async move { (&*copy).read(&mut [0; 1024]).await.map(drop) });
            yield_now().await;
            task.cancel();
            let copy = sock.clone();
            let sender = spawn(async move { (&*copy).write_all(GET).await });
            let mut data = Vec::new();
            (&*sock).read_to_end(&mut data).await.unwrap();
            assert!(data.starts_with(OK));
            assert!(task.is_cancelled());
            sender.await.unwrap().unwrap();
        });
        run(|| async {
            let listener = TcpListener::bind(HERE).await.unwrap();
            let sock = Rc::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            let (mut server, _) = listener.accept().await.unwrap();
            // Writes until even a few bytes would block.
            let mut size = 8192;
            while size >= 4 {
                let error = loop {
                    if let Err(error) = sock.as_async().get_ref().write(&vec![b' '; size]) {
                        break error.kind();
                    }
                };
                assert_eq!(error, ErrorKind::WouldBlock);
                size /= 2;
            }
            let copy = sock.clone();
            let task = spawn(async move { (&*copy).write_all(b"hello").await });
            yield_now().await;
            task.cancel();
            let receiver = spawn(async move {
                let mut all = Vec::new();
                server.read_to_end(&mut all).await.unwrap();
                all.retain(|byte| *byte != b' ');
                all
            });
            (&*sock).write_all(b"world").await.unwrap();
            sock.shutdown(Shutdown::Write).unwrap();
            assert_eq!(receiver.await.unwrap(), b"world");
            assert!(task.is_cancelled());
        });
    }

    /// Each attempt has its own socket.
    #[test]
    fn test_sock_client_connect_racing() {
        run(|| async {
            let (listener, address) = bound();
            let task = spawn(TcpStream::connect(address));
            yield_now().await;
            task.cancel();
            listen(&listener, 1).unwrap();
            assert_eq!(TcpStream::connect(address).await.unwrap().peer_addr().unwrap(), address);
            yield_now().await;
            assert!(task.is_done());
        });
    }

    const DATA_SIZE: usize = 1_000_000;

    /// Sends a head and a content. Returns the socket, the task that sends the content, and the
    /// content.
    async fn post(address: SocketAddr) -> (Rc<TcpStream>, Task<()>, Vec<u8>) {
        let chunk = b"0123456789".repeat(DATA_SIZE / 10);
        let sock = Rc::new(TcpStream::connect(address).await.unwrap());
        let head = format!("POST /loop HTTP/1.0\r\nContent-Length: {DATA_SIZE}\r\n\r\n");
        (&*sock).write_all(head.as_bytes()).await.unwrap();
        let (copy, content) = (sock.clone(), chunk.clone());
        let task = spawn(async move { (&*copy).write_all(&content).await.unwrap() });
        (sock, task, chunk)
    }

    fn content(answer: &[u8]) -> &[u8] {
        assert!(answer.starts_with(OK));
        let head = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
        &answer[head..]
    }

    #[test]
    fn test_huge_content() {
        run(|| async {
            let (_server, address) = http_server().await;
            let (sock, task, chunk) = post(address).await;
            let mut answer = Vec::new();
            loop {
                let mut data = vec![0; DATA_SIZE];
                match (&*sock).read(&mut data).await.unwrap() {
                    0 => break,
                    count => answer.extend_from_slice(&data[..count]),
                }
            }
            assert!(content(&answer) == chunk);
            task.await.unwrap();
        });
    }

    #[test]
    fn test_huge_content_recvinto() {
        run(|| async {
            let (_server, address) = http_server().await;
            let (sock, task, chunk) = post(address).await;
            let (mut array, mut end) = (vec![0; DATA_SIZE + 1024], 0);
            loop {
                match (&*sock).read(&mut array[end..]).await.unwrap() {
                    0 => break,
                    count => end += count,
                }
            }
            assert!(content(&array[..end]) == chunk);
            task.await.unwrap();
        });
    }

    /// Sends each received message back.
    async fn udp_echo_server() -> SocketAddr {
        let server = UdpSocket::bind(HERE).await.unwrap();
        let address = server.local_addr().unwrap();
        drop(spawn(async move {
            let mut buf = vec![0; 65536];
            loop {
                let (count, from) = server.recv_from(&mut buf).await.unwrap();
                server.send_to(&buf[..count], from).await.unwrap();
            }
        }));
        address
    }

    #[test]
    fn test_recvfrom() {
        run(|| async {
            let server_address = udp_echo_server().await;
            let data = [1; 4096];
            let sock = UdpSocket::bind(HERE).await.unwrap();
            sock.send_to(&data, server_address).await.unwrap();
            let mut received = [0; 4096];
            assert_eq!(sock.recv_from(&mut received).await.unwrap(), (4096, server_address));
            assert!(received == data);
        });
    }

    #[test]
    fn test_recvfrom_into() {
        run(|| async {
            let server_address = udp_echo_server().await;
            let data = [1; 4096];
            let sock = UdpSocket::bind(HERE).await.unwrap();
            let mut buf = [0; 4096];
            sock.send_to(&data, server_address).await.unwrap();
            assert_eq!(sock.recv_from(&mut buf).await.unwrap(), (4096, server_address));
            assert!(buf == data);

            let mut buf = [0; 8192];
            sock.send_to(&data, server_address).await.unwrap();
            assert_eq!(sock.recv_from(&mut buf[..4096]).await.unwrap(), (4096, server_address));
            assert!(buf[..4096] == data && buf[4096..] == [0; 4096]);
        });
    }

    /// The first attempt would block.
    #[test]
    fn test_sendto_blocking() {
        run(|| async {
            let server_address = udp_echo_server().await;
            let data = [1; 4096];
            let sock = UdpSocket::bind(HERE).await.unwrap();
            let mut attempts = 0;
            let sent = sock.as_async().write_with(|socket| {
                attempts += 1;
                if attempts == 1 { Err(ErrorKind::WouldBlock.into()) } else { socket.send_to(&data, server_address) }
            });
            assert_eq!((sent.await.unwrap(), attempts), (4096, 2));
            let mut received = [0; 4096];
            assert_eq!(sock.recv_from(&mut received).await.unwrap(), (4096, server_address));
            assert!(received == data);
        });
    }

    #[test]
    fn test_unix_sock_client_ops() {
        run(|| async {
            let path = path("ops");
            let _server = net::start_unix_server(&path, http).unwrap();
            let sock = std::os::unix::net::UnixStream::connect(&path).unwrap();
            let mut sock = UnixStream::from_std(sock).unwrap();
            sock.write_all(GET).await.unwrap();
            let mut data = [0; 1024];
            let count = sock.read(&mut data).await.unwrap();
            assert!(data[..count].starts_with(OK));

            let mut sock = UnixStream::connect(&path).await.unwrap();
            sock.write_all(GET).await.unwrap();
            let mut data = Vec::new();
            sock.read_to_end(&mut data).await.unwrap();
            assert!(data.starts_with(OK));
        });
    }

    #[test]
    fn test_sock_client_fail() {
        run(|| async {
            let (_held, address) = bound();
            let error = TcpStream::connect(address).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        });
    }

    #[test]
    fn test_sock_accept() {
        run(|| async {
            let listener = TcpListener::bind(HERE).await.unwrap();
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (conn, addr) = listener.accept().await.unwrap();
            let error = (&mut conn.as_async().get_ref()).write_all(&vec![0; 10_000_000]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert_eq!(addr, client.local_addr().unwrap());
            assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());
        });
    }

    /// A first connection exists, so that no parallel test gets the same address after the listener
    /// was dropped.
    #[test]
    fn test_cancel_sock_accept() {
        run(|| async {
            let listener = TcpListener::bind(HERE).await.unwrap();
            let sockaddr = listener.local_addr().unwrap();
            let _first = TcpStream::connect(sockaddr).await.unwrap();
            let _accepted = listener.accept().await.unwrap();
            assert!(timeout(ms(100), listener.accept()).await.is_err());
            drop(listener);
            let error = TcpStream::connect(sockaddr).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        });
    }

    /// An existing connection becomes a pair of streams.
    #[test]
    fn test_create_connection_sock() {
        run(|| async {
            let (_server, address) = http_server().await;
            let sock = TcpStream::connect(address).await.unwrap();
            let (mut reader, mut writer) = sock.into_streams();
            writer.write_all(GET).await.unwrap();
            assert!(reader.read_to_end().await.unwrap().starts_with(OK));
            writer.close().await.unwrap();
        });
    }
}
