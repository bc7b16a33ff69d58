//! The orderly end of TLS: both sides send `close_notify`.
//!
//! Neither side has to wait for the other. Waiting has a reason: a socket that is closed with unread
//! data resets the connection, and then the peer may lose what it has not read yet. So what arrives
//! is read, and dropped, until the peer ends TLS too. asyncio does the same.

use crate::net::streams::Connection;
use crate::net::tls::session::Session;
use crate::time::sleep::{Sleep, sleep};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Ends TLS, and then closes the connection. Dropping it closes the connection at once.
#[derive(Debug)]
pub(in crate::net) struct Ending {
    connection: Rc<Connection>,
    limit: Option<Sleep>,
}

impl Ending {
    /// `None` if the connection has no TLS, or is closed already.
    pub(in crate::net) fn of(connection: &Rc<Connection>) -> Option<Self> {
        let session = connection.session()?;
        if session.info().is_none() || connection.is_closed() {
            return None;
        }
        session.end(connection.stream());
        session.close();
        // A read that waits returns the end now, and not when the peer answers.
        connection.stream().wake_readers();
        Some(Ending { connection: connection.clone(), limit: None })
    }

    fn session(&self) -> &Session {
        self.connection.session().expect("only a connection with TLS ends in this way")
    }

    /// Ready when both sides have ended TLS, or the peer has gone. No other code reads now: a read
    /// of this side returns the end.
    #[track_caller]
    fn advance(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (stream, session) = (self.connection.stream(), self.session());
        while session.wants_write() {
            if ready!(stream.poll_write_with(cx, |socket| session.write_tls(socket))).is_err() {
                return Poll::Ready(());
            }
        }
        loop {
            session.discard();
            if session.peer_has_ended() {
                return Poll::Ready(());
            }
            let read = ready!(stream.poll_read_with(cx, |socket| session.read_tls(socket)));
            if !matches!(read, Ok(1..)) || session.process(stream).is_err() {
                return Poll::Ready(());
            }
        }
    }
}

impl Future for Ending {
    type Output = io::Result<()>;

    #[track_caller]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.advance(cx).is_ready() {
            return Poll::Ready(this.connection.close());
        }
        let timeout = this.session().timeouts.shutdown;
        ready!(Pin::new(this.limit.get_or_insert_with(|| sleep(timeout))).poll(cx));
        let _ = this.connection.abort();
        let why = format!("the peer did not end TLS within {timeout:?} after this side had; the connection is closed");
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, why)))
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.connection.close();
    }
}
