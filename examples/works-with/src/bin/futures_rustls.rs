//! futures-rustls: TLS on our sockets. It asks for futures-io's traits, so there is no glue.
//!
//! The server reverses each line, as `openssl s_server -rev` does.
//!
//! `cargo run --bin futures_rustls`, in `examples/works-with`.

use futures_rustls::rustls::pki_types::pem::PemObject;
use futures_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use futures_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use futures_rustls::{TlsAcceptor, TlsConnector};
use futures_util::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use onelane::net::{TcpListener, TcpStream};
use onelane::{EventLoop, spawn};
use programs::{Called, Result, called};
use std::env::args;
use std::sync::Arc;

/// A certificate for the name `localhost`, and its key.
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

/// Signed by itself, and new at each start.
fn new_identity() -> Result<Identity> {
    let made = rcgen::generate_simple_self_signed(["localhost".into()])?;
    Ok((made.cert.into(), made.signing_key.into()))
}

/// From the files that are the last arguments of `serve`: the certificate and the key.
fn given_identity() -> Result<Identity> {
    let files: Vec<_> = args().skip(2).collect();
    let [certificate, key] = &files[..] else { return Err("serve CERTIFICATE KEY".into()) };
    Ok((CertificateDer::from_pem_file(certificate)?, PrivateKeyDer::from_pem_file(key)?))
}

async fn client(address: &str, trusted: CertificateDer<'static>) -> Result {
    let mut roots = RootCertStore::empty();
    roots.add(trusted)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(address).await?;
    let tls = TlsConnector::from(Arc::new(config)).connect("localhost".try_into()?, stream).await?;
    let mut tls = BufReader::new(tls);
    for (line, reversed) in [("hello\n", "olleh\n"), ("tea\n", "aet\n")] {
        tls.write_all(line.as_bytes()).await?;
        // rustls buffers what it has encrypted.
        tls.flush().await?;
        let mut answer = String::new();
        tls.read_line(&mut answer).await?;
        assert_eq!(answer, reversed);
    }
    // Sends the alert `close_notify`: the server can tell the end from a broken connection.
    tls.close().await?;
    Ok(())
}

/// Reverses the lines of a client, until one is `CLOSE` or the client closes.
async fn reverse(acceptor: TlsAcceptor, stream: TcpStream) -> Result {
    let mut tls = BufReader::new(acceptor.accept(stream).await?);
    let mut line = String::new();
    while tls.read_line(&mut line).await? > 0 && line != "CLOSE\n" {
        let reversed: String = line.trim_end().chars().rev().chain(['\n']).collect();
        tls.write_all(reversed.as_bytes()).await?;
        tls.flush().await?;
        line.clear();
    }
    tls.close().await?;
    Ok(())
}

async fn serve(listener: TcpListener, (certificate, key): Identity) -> Result {
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (stream, _) = listener.accept().await?;
        spawn(reverse(acceptor.clone(), stream));
    }
}

fn main() -> Result {
    EventLoop::new().run(async {
        match called() {
            Called::Connect(address) => {
                let trusted = args().nth(3).ok_or("connect HOST:PORT CERTIFICATE")?;
                client(&address, CertificateDer::from_pem_file(trusted)?).await?;
            }
            Called::Serve => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                println!("listening at {}", listener.local_addr()?);
                serve(listener, given_identity()?).await?;
            }
            Called::Alone => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let address = listener.local_addr()?.to_string();
                let (certificate, key) = new_identity()?;
                spawn(serve(listener, (certificate.clone(), key)));
                client(&address, certificate).await?;
            }
        }
        println!("futures-rustls: two lines over TLS, and an orderly end");
        Ok(())
    })
}
