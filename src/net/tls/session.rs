//! A session of TLS on a connection: what is read and written goes through it.
//!
//! The session is borrowed only while rustls works, or while one system call reads or writes; not
//! while a task waits. So one task may read while another writes, as without TLS.
//!
//! This file knows no timeouts.

use crate::net::streams::{RawTrial, Stream};
use crate::net::tls::config::Timeouts;
use crate::net::tls::info::TlsInfo;
use rustls::Connection;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::task::{Context, Poll, ready};

pub(crate) struct Session {
    /// Borrowed while rustls works, and rustls may call code of the user: a verifier, a resolver of
    /// certificates. What such code can call borrows with `try_borrow`.
    tls: RefCell<Connection>,
    /// Set at the end of the handshake.
    info: OnceCell<TlsInfo>,
    failure: RefCell<Option<Failure>>,
    /// Whether a `write_all` has begun, and neither finished nor was continued by another one; or the
    /// writer was dropped in a panic.
    is_cut: Cell<bool>,
    /// Whether `close_notify` was sent: nothing may follow.
    has_ended: Cell<bool>,
    /// Whether this side has closed the connection: what arrives is not read any more.
    is_closed: Cell<bool>,
    peer_has_ended: Cell<bool>,
    pub(super) timeouts: Timeouts,
}

/// Why a session cannot be used any more.
#[derive(Clone)]
enum Failure {
    Handshake,
    Tls(rustls::Error),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Handshake => {
                io::Error::new(ErrorKind::NotConnected, "the TLS handshake of this connection has failed")
            }
            Failure::Tls(error) if is_authority_as_server(&error) => {
                io::Error::new(ErrorKind::InvalidData, AuthorityAsServer(error))
            }
            Failure::Tls(error) => io::Error::new(ErrorKind::InvalidData, error),
        }
    }
}

/// The verifier's error is in a crate that rustls does not export.
fn is_authority_as_server(error: &rustls::Error) -> bool {
    use rustls::{CertificateError, Error};
    matches!(error, Error::InvalidCertificate(CertificateError::Other(other)) if other.to_string() == "CaUsedAsEndEntity")
}

/// The certificate of a server is marked as that of an authority.
#[derive(Debug)]
struct AuthorityAsServer(rustls::Error);

impl fmt::Display for AuthorityAsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why =
            "the server has a certificate of an authority (CaUsedAsEndEntity), as `openssl req -x509` makes by default";
        write!(f, "{why}; make one with `-addext basicConstraints=critical,CA:FALSE`, or one that the authority signs")
    }
}

impl std::error::Error for AuthorityAsServer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

impl Session {
    pub(super) fn new(tls: Connection, timeouts: Timeouts) -> Self {
        Session {
            tls: RefCell::new(tls),
            info: OnceCell::new(),
            failure: RefCell::default(),
            is_cut: Cell::default(),
            has_ended: Cell::default(),
            is_closed: Cell::default(),
            peer_has_ended: Cell::default(),
            timeouts,
        }
    }

    /// `None` during the handshake.
    pub(in crate::net) fn info(&self) -> Option<&TlsInfo> {
        self.info.get()
    }

    pub(super) fn handshake_is_over(&self) {
        if let Some(info) = TlsInfo::of(&self.tls.borrow()) {
            let _ = self.info.set(info);
        }
    }

    pub(super) fn handshake_has_failed(&self) {
        self.failure.borrow_mut().get_or_insert(Failure::Handshake);
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.borrow().is_handshaking()
    }

    pub(super) fn wants_write(&self) -> bool {
        self.tls.try_borrow().is_ok_and(|tls| tls.wants_write())
    }

    /// Whether what was written is not complete.
    pub(in crate::net) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// The writer will not complete what it has written.
    pub(in crate::net) fn cut(&self) {
        self.is_cut.set(self.is_cut.get() || !self.has_ended.get());
    }

    pub(super) fn peer_has_ended(&self) -> bool {
        self.peer_has_ended.get()
    }

    fn check(&self) -> io::Result<()> {
        self.failure.borrow().clone().map_or(Ok(()), |failure| Err(failure.into()))
    }

    pub(super) fn read_tls(&self, socket: &mut dyn Read) -> io::Result<usize> {
        self.tls.borrow_mut().read_tls(socket)
    }

    pub(super) fn write_tls(&self, socket: &mut dyn Write) -> io::Result<usize> {
        match self.tls.borrow_mut().write_tls(socket) {
            Ok(0) => Err(ErrorKind::WriteZero.into()),
            result => result,
        }
    }

    /// Decrypts what was read. If the peer has broken the rules, sends it an alert. What came before
    /// the error can still be read.
    pub(super) fn process(&self, stream: &Stream) -> io::Result<()> {
        let result = self.tls.borrow_mut().process_new_packets();
        match result {
            Ok(state) => {
                self.peer_has_ended.set(state.peer_has_closed());
                Ok(())
            }
            Err(error) => {
                let failure = Failure::Tls(error);
                *self.failure.borrow_mut() = Some(failure.clone());
                self.try_flush(stream);
                Err(failure.into())
            }
        }
    }

    /// Writes what the socket takes without waiting. An error is ignored: the next read or write
    /// gets it too.
    fn try_flush(&self, stream: &Stream) {
        while self.wants_write() {
            match stream.write_now(|socket| self.write_tls(socket)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    /// Sends `close_notify`, behind what was written. What the socket does not take now is sent by
    /// the next read, or at the end of the connection.
    pub(in crate::net) fn end(&self, stream: &Stream) {
        self.is_cut.set(false);
        // If the session has failed, it has sent an alert, and rustls sends nothing more.
        if self.info.get().is_some() && !self.has_ended.replace(true) {
            // If code that rustls has called ends its own connection, the peer gets no `close_notify`.
            if let Ok(mut tls) = self.tls.try_borrow_mut() {
                tls.send_close_notify();
            }
        }
        self.try_flush(stream);
    }

    /// From now on, reads return what was decrypted before, and then the end.
    pub(in crate::net) fn close(&self) {
        self.is_closed.set(true);
        self.has_ended.set(true);
    }

    /// Ends a session whose connection is dropped, if all that was written is complete. If it is
    /// not, the peer must not take what it has for the whole.
    pub(in crate::net) fn end_at_drop(&self, stream: &Stream) {
        if self.is_closed.get() || self.info.get().is_none() {
            return;
        }
        if !self.is_cut.get() && !std::thread::panicking() {
            self.end(stream);
        }
        // If data of the peer is unread when a socket is closed, the operating system resets the
        // connection, and the peer may lose what it has not read yet. A client often has unread
        // data: the session tickets of the server.
        let mut rest = [0; 4096];
        for _ in 0..16 {
            match stream.read_now(|socket| socket.read(&mut rest)) {
                Ok(1..) => {}
                _ => break,
            }
        }
    }

    /// Drops what was decrypted.
    pub(super) fn discard(&self) {
        let mut rest = [0; 4096];
        while matches!(self.tls.borrow_mut().reader().read(&mut rest), Ok(1..)) {}
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info.get() {
            Some(info) => info.fmt(f),
            None => f.write_str("Session(handshake)"),
        }
    }
}

/// Reads and writes plaintext. It would block if the session needs data of the peer.
struct Plaintext<'a>(&'a Session);

impl Read for Plaintext<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.tls.borrow_mut().reader().read(buffer) {
            // This side does not wait for the peer's end any more.
            Err(_) if self.0.is_closed.get() => Ok(0),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the peer closed the connection without ending TLS (close_notify), so data may be missing",
            )),
            result => result,
        }
    }
}

impl Write for Plaintext<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.tls.borrow_mut().writer().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How an operation on a connection with TLS is tried and waited for. Like
/// [`Trial`](crate::net::trial::Trial).
pub(in crate::net) struct TlsTrial<'a> {
    session: &'a Session,
    stream: &'a Stream,
    read: RawTrial<'a>,
    write: RawTrial<'a>,
    is_writing: bool,
}

impl<'a> TlsTrial<'a> {
    pub(in crate::net) fn new(session: &'a Session, stream: &'a Stream) -> Self {
        let (read, write) = (RawTrial::to_read(stream), RawTrial::to_write(stream));
        TlsTrial { session, stream, read, write, is_writing: false }
    }

    #[track_caller]
    pub(in crate::net) fn poll_read<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut read: impl FnMut(&mut dyn Read) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        let session = self.session;
        loop {
            match read(&mut Plaintext(session)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            session.check()?;
            // An end that did not fit, or the rest of a `write_all` that was cancelled: the peer may
            // answer only when it has that. An error of the socket is also reported by the read.
            if session.wants_write() {
                let _ = self.poll_flush(cx);
            }
            ready!(self.read.poll_read(cx, |socket| session.read_tls(socket)))?;
            // An error is returned after the data that came before it.
            let _ = session.process(self.stream);
        }
    }

    #[track_caller]
    pub(in crate::net) fn poll_write<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut dyn Write) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.session.check()?;
        if self.session.has_ended.get() {
            let why = "this side has ended TLS by write_eof() or close(), so nothing more can be written";
            return Poll::Ready(Err(io::Error::new(ErrorKind::BrokenPipe, why)));
        }
        ready!(self.poll_flush(cx))?;
        self.is_writing = true;
        self.session.is_cut.set(true);
        Poll::Ready(write(&mut Plaintext(self.session)))
    }

    /// Waits until the operating system has all that was written.
    #[track_caller]
    pub(in crate::net) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let session = self.session;
        while session.wants_write() {
            ready!(self.write.poll_write(cx, |socket| session.write_tls(socket)))?;
        }
        if std::mem::take(&mut self.is_writing) {
            session.is_cut.set(false);
        }
        Poll::Ready(Ok(()))
    }
}
