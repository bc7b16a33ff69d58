//! Against other programs: OpenSSL's `s_client` and `s_server`, Python's `ssl` and `asyncio`. A test
//! is skipped, and says so, if its program is not installed.
//!
//! The other program runs in real time, so the loop has a real clock.

use crate::certificates::Certified;
use crate::{AUTHORITY, LOCALHOST, acceptor, connector, run_in_real_time};
use onelane::net::{self, StreamReader, StreamWriter};
use onelane::process::{Child, Command, Stdio};
use onelane::{Promise, spawn};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A folder with the certificates in files, which is removed at the end.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("onelane-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let Certified { certificate, key } = &*LOCALHOST;
        for (file, text) in [("ca.pem", &AUTHORITY.certificate()), ("cert.pem", certificate), ("key.pem", key)] {
            fs::write(folder.join(file), text).unwrap();
        }
        Files { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().into()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Whether a program is installed. CI installs it.
fn has(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).any(|folder| Path::new(&folder).join(program).exists());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Starts a program with pipes. It is killed when it is dropped.
fn start(program: &str, arguments: &[&str]) -> (Child, StreamReader, StreamWriter) {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (output, input) = (child.stdout.take().unwrap().into_stream(), child.stdin.take().unwrap().into_stream());
    (child, output, input)
}

/// What one connection of a server has read, and how it has ended.
type Outcome = Promise<(Vec<u8>, Result<(), ErrorKind>)>;

/// Starts a server that answers one client with the number of its bytes, and closes.
async fn count_bytes(outcome: Rc<Outcome>) -> net::Server {
    let serve = async move |mut reader: StreamReader, mut writer: StreamWriter| {
        let line = reader.read_line().await.unwrap();
        writer.write_all(format!("{} bytes\n", line.len()).as_bytes()).await.unwrap();
        let end = reader.read_to_end().await.map(|rest| assert_eq!(rest, b"")).map_err(|error| error.kind());
        writer.close().await.unwrap();
        outcome.set_result((line, end)).unwrap();
    };
    net::start_server("127.0.0.1:0", serve).tls(acceptor().alpn_protocols(["count"])).await.unwrap()
}

// ---- OpenSSL ----

#[test]
fn serve_openssl() {
    if !has("openssl") {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        run_in_real_time(move || async move {
            let files = Files::new(&format!("serve-openssl{version}"));
            let outcome = Rc::new(Outcome::new());
            let server = count_bytes(outcome.clone()).await;
            let address = server.local_addr().unwrap().to_string();
            let authority = files.path("ca.pem");
            let arguments = ["s_client", "-connect", &address, "-CAfile", &authority, "-verify_return_error"];
            let more = ["-verify_ip", "127.0.0.1", "-alpn", "count", "-quiet", "-no_ign_eof", version];
            let (child, mut output, mut input) = start("openssl", &[&arguments[..], &more[..]].concat());
            input.write_all(b"from openssl\n").await.unwrap();
            assert_eq!(output.read_line().await.unwrap(), b"13 bytes\n", "with {version}");
            // It ends TLS when its input ends.
            input.close().await.unwrap();
            assert_eq!((*outcome).clone().await.unwrap(), (b"from openssl\n".to_vec(), Ok(())));
            drop(child);
        });
    }
}

#[test]
fn see_that_openssl_was_killed() {
    if !has("openssl") {
        return;
    }
    run_in_real_time(|| async {
        let files = Files::new("killed-openssl");
        let outcome = Rc::new(Outcome::new());
        let server = count_bytes(outcome.clone()).await;
        let address = server.local_addr().unwrap().to_string();
        let arguments = ["s_client", "-connect", &address, "-CAfile", &files.path("ca.pem"), "-quiet"];
        let (child, mut output, mut input) = start("openssl", &arguments);
        input.write_all(b"from openssl\n").await.unwrap();
        assert_eq!(output.read_line().await.unwrap(), b"13 bytes\n");
        child.kill().unwrap();
        assert_eq!((*outcome).clone().await.unwrap().1, Err(ErrorKind::UnexpectedEof));
    });
}

/// Starts `openssl s_server`. Returns its port.
async fn openssl_server(files: &Files, more: &[&str]) -> (Child, StreamReader, StreamWriter, u16) {
    let (certificate, key) = (files.path("cert.pem"), files.path("key.pem"));
    let arguments = ["s_server", "-accept", "127.0.0.1:0", "-cert", &certificate, "-key", &key, "-naccept", "1"];
    let (child, mut output, input) = start("openssl", &[&arguments[..], more].concat());
    // "ACCEPT 127.0.0.1:41234"
    loop {
        let line = String::from_utf8(output.read_line().await.unwrap()).unwrap();
        assert!(!line.is_empty(), "openssl s_server has ended");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            let port = address.trim().rsplit(':').next().unwrap().parse().unwrap();
            return (child, output, input, port);
        }
    }
}

#[test]
fn talk_to_openssl() {
    if !has("openssl") {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        run_in_real_time(move || async move {
            let files = Files::new(&format!("talk-openssl{version}"));
            // It sends each line backwards.
            let (_child, _output, _input, port) = openssl_server(&files, &[version, "-rev"]).await;
            let (mut reader, mut writer) = net::open_connection(("127.0.0.1", port)).tls(connector()).await.unwrap();
            writer.write_all(b"onelane\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"enaleno\n", "with {version}");
            writer.close().await.unwrap();
        });
    }
}

#[test]
fn transfer_much_from_openssl() {
    if !has("openssl") {
        return;
    }
    run_in_real_time(|| async {
        let files = Files::new("much-openssl");
        let page = vec![b'x'; 5_000_000];
        fs::write(files.folder.join("page"), &page).unwrap();
        let mut command = Command::new("openssl");
        let (certificate, key) = (files.path("cert.pem"), files.path("key.pem"));
        command.args([
            "s_server",
            "-accept",
            "127.0.0.1:0",
            "-cert",
            &certificate,
            "-key",
            &key,
            "-WWW",
            "-naccept",
            "1",
        ]);
        command.current_dir(&files.folder).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap().into_stream();
        let port = loop {
            let line = String::from_utf8(output.read_line().await.unwrap()).unwrap();
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                break address.trim().rsplit(':').next().unwrap().parse().unwrap();
            }
            assert!(!line.is_empty(), "openssl s_server has ended");
        };
        let (mut reader, mut writer) = net::open_connection(("127.0.0.1", port)).tls(connector()).await.unwrap();
        writer.write_all(b"GET /page HTTP/1.0\r\n\r\n").await.unwrap();
        let head = reader.read_until(b"\r\n\r\n").await.unwrap();
        assert!(head.starts_with(b"HTTP/1.0 200 ok"), "{}", String::from_utf8_lossy(&head));
        assert!(reader.read_to_end().await.unwrap() == page);
        writer.close().await.unwrap();
    });
}

#[test]
fn start_tls_with_openssl_as_a_mail_client() {
    if !has("openssl") {
        return;
    }
    run_in_real_time(|| async {
        let files = Files::new("starttls-openssl");
        let smtp = async |mut reader: StreamReader, mut writer: StreamWriter| {
            writer.write_all(b"220 onelane\r\n").await.unwrap();
            assert!(reader.read_line().await.unwrap().starts_with(b"EHLO"));
            writer.write_all(b"250-onelane\r\n250 STARTTLS\r\n").await.unwrap();
            assert_eq!(reader.read_line().await.unwrap(), b"STARTTLS\r\n");
            writer.write_all(b"220 go ahead\r\n").await.unwrap();
            writer.start_tls(&mut reader, acceptor()).await.unwrap();
            let line = reader.read_line().await.unwrap();
            writer.write_all(&line).await.unwrap();
            let _ = reader.read_to_end().await;
        };
        let server = net::start_server("127.0.0.1:0", smtp).await.unwrap();
        let address = server.local_addr().unwrap().to_string();
        let arguments = ["s_client", "-connect", &address, "-CAfile", &files.path("ca.pem"), "-verify_return_error"];
        let (_child, mut output, mut input) =
            start("openssl", &[&arguments[..], &["-starttls", "smtp", "-quiet"]].concat());
        input.write_all(b"NOOP secret\n").await.unwrap();
        // It first prints the last line of the plain text.
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| !line.starts_with("NOOP")) {
            lines.push(String::from_utf8(output.read_line().await.unwrap()).unwrap());
            assert_ne!(lines.last().unwrap(), "", "{lines:?}");
        }
        input.close().await.unwrap();
    });
}

// ---- Python ----

const PYTHON_CLIENT: &str = r#"
import socket, ssl, sys
port, authority, end = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=authority)
context.set_alpn_protocols(["count"])
raw = socket.create_connection(("127.0.0.1", port))
tls = context.wrap_socket(raw, server_hostname="localhost")
assert tls.selected_alpn_protocol() == "count", tls.selected_alpn_protocol()
tls.sendall(b"from python\n")
print(tls.recv(100))
if end == "orderly":
    tls.unwrap().close()
else:
    tls.close()
"#;

#[test]
fn serve_python() {
    if !has("python3") {
        return;
    }
    for (end, expected) in [("orderly", Ok(())), ("cut", Err(ErrorKind::UnexpectedEof))] {
        run_in_real_time(move || async move {
            let files = Files::new(&format!("serve-python-{end}"));
            let outcome = Rc::new(Outcome::new());
            let server = count_bytes(outcome.clone()).await;
            let port = server.local_addr().unwrap().port().to_string();
            let (child, mut output, _input) =
                start("python3", &["-c", PYTHON_CLIENT, &port, &files.path("ca.pem"), end]);
            assert_eq!(output.read_line().await.unwrap(), b"b'12 bytes\\n'\n");
            assert_eq!((*outcome).clone().await.unwrap(), (b"from python\n".to_vec(), expected));
            drop(child);
        });
    }
}

const PYTHON_SERVER: &str = r#"
import socket, ssl, sys
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[1], sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
raw, _ = listener.accept()
if sys.argv[3] == "starttls":
    assert raw.recv(100) == b"STARTTLS\n"
    raw.sendall(b"OK\n")
tls = context.wrap_socket(raw, server_side=True)
received = bytearray()
while True:
    data = tls.recv(65536)
    if not data:
        break
    received += data
tls.sendall(b"%d bytes" % len(received))
if sys.argv[3] == "cut":
    tls.close()
else:
    tls.unwrap().close()
"#;

/// The client ends its side, and reads the answer to the end: half of the connection is closed.
#[test]
fn talk_to_python() {
    if !has("python3") {
        return;
    }
    for end in ["orderly", "cut", "starttls"] {
        run_in_real_time(move || async move {
            let files = Files::new(&format!("talk-python-{end}"));
            let arguments = ["-c", PYTHON_SERVER, &files.path("cert.pem"), &files.path("key.pem"), end];
            let (_child, mut output, _input) = start("python3", &arguments);
            let port: u16 = String::from_utf8(output.read_line().await.unwrap()).unwrap().trim().parse().unwrap();
            let connector = connector().server_name("localhost");
            let (mut reader, mut writer) = if end == "starttls" {
                let (mut reader, mut writer) = net::open_connection(("127.0.0.1", port)).await.unwrap();
                writer.write_all(b"STARTTLS\n").await.unwrap();
                assert_eq!(reader.read_line().await.unwrap(), b"OK\n");
                writer.start_tls(&mut reader, connector).await.unwrap();
                (reader, writer)
            } else {
                net::open_connection(("127.0.0.1", port)).tls(connector).await.unwrap()
            };
            let book = vec![7; 3_000_000];
            writer.write_all(&book).await.unwrap();
            writer.write_eof().unwrap();
            let answer = reader.read_to_end().await;
            if end == "cut" {
                assert_eq!(answer.unwrap_err().kind(), ErrorKind::UnexpectedEof);
                assert_eq!(reader.read(100).await.unwrap(), b"3000000 bytes");
            } else {
                assert_eq!(answer.unwrap(), b"3000000 bytes");
            }
            writer.close().await.unwrap();
        });
    }
}

const ASYNCIO_ECHO: &str = r#"
import asyncio, ssl, sys
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[1], sys.argv[2])
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
    await writer.wait_closed()
async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"#;

/// Much in both directions at once, with asyncio on the other side.
#[test]
fn exchange_much_with_asyncio() {
    if !has("python3") {
        return;
    }
    run_in_real_time(|| async {
        let files = Files::new("asyncio");
        let arguments = ["-c", ASYNCIO_ECHO, &files.path("cert.pem"), &files.path("key.pem")];
        let (_child, mut output, _input) = start("python3", &arguments);
        let port: u16 = String::from_utf8(output.read_line().await.unwrap()).unwrap().trim().parse().unwrap();
        let (mut reader, mut writer) = net::open_connection(("127.0.0.1", port)).tls(connector()).await.unwrap();
        let book: Vec<u8> = (0..4_000_000_u32).map(|number| (number >> 5) as u8).collect();
        let copy = book.clone();
        let reading = spawn(async move { reader.read_exactly(copy.len()).await.unwrap() == copy });
        writer.write_all(&book).await.unwrap();
        assert_eq!(reading.await, Ok(true));
        writer.close().await.unwrap();
    });
}
