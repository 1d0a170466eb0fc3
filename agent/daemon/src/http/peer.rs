//! The socket of one connection, shared between hyper, which speaks HTTP on it, and us, who must notice three things
//! that hyper does not: that the peer has left while its capture runs, even if it sent something after its request;
//! that it takes nothing of its answer, or takes it too slowly; and that it still writes when the answer is out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::config::Limits;

/// Kernel buffer of a connection that receives a preview: about one frame, so that a slow reader sees fresh ones.
const PREVIEW_SEND_BUFFER: usize = 64 * 1024;
/// How long a refusal may take to be sent.
const SEND: Duration = Duration::from_secs(1);
/// What a peer may still send after its answer before it is cut off.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// One end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    socket: TcpStream,
    served: AtomicBool,
    answering: AtomicBool,
    stalled: AtomicBool,
}

impl Peer {
    pub(super) fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            served: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
        }
    }

    /// Its request's head is complete and valid; what is written from now on is about this request.
    pub(super) fn set_served(&self) {
        self.served.store(true, Ordering::Relaxed);
    }

    /// Whether its request got as far as that.
    pub(super) fn is_served(&self) -> bool {
        self.served.load(Ordering::Relaxed)
    }

    /// What is written from now on is an answer that has an end, and the peer has a limited time for it. Before that
    /// there may have been an invitation to send the body, and a long capture.
    pub(super) fn set_answering(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// Returns when the peer has closed its side, wholly or for writing, or the connection is broken. A request is all
    /// that it may say: what follows is read and thrown away. To be awaited only when the request has been read.
    pub(super) async fn gone(&self) {
        let mut waste = [0; 1024];
        while matches!(self.discard(&mut waste).await, Ok(read) if read > 0) {}
    }

    /// Keeps the kernel from queueing old frames.
    pub(super) fn keep_send_buffer_small(&self) {
        if let Err(error) =
            rustix::net::sockopt::set_socket_send_buffer_size(&self.socket, PREVIEW_SEND_BUFFER)
        {
            tracing::debug!(%error, "cannot limit the send buffer");
        }
    }

    /// Writes an answer of our own, as far as the peer takes it.
    pub(super) async fn send(&self, answer: &[u8]) {
        let all = async {
            let mut rest = answer;
            while !rest.is_empty() {
                self.socket.writable().await?;
                match self.socket.try_write(rest) {
                    Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            io::Result::Ok(())
        };
        let _ = timeout(SEND, all).await;
    }

    /// Closes our side and waits until the peer has closed its own, for `time` at most. Closing at once would make
    /// the kernel answer what is still coming in with a reset, and that would destroy the answer on its way.
    pub(super) async fn linger(&self, time: Duration) {
        if self.stalled.load(Ordering::Relaxed) {
            // it has had its time; drop what it did not take
            let _ = self.socket.set_zero_linger();
            return;
        }
        if rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).is_err() {
            return;
        }
        let closed = async {
            let mut waste = [0; 8192];
            let mut left = LINGER_BYTES;
            while let Ok(read) = self.discard(&mut waste).await {
                left = left.saturating_sub(read);
                if read == 0 || left == 0 {
                    return;
                }
            }
        };
        let _ = timeout(time, closed).await;
    }

    /// Reads something; 0 at the end.
    async fn discard(&self, waste: &mut [u8]) -> io::Result<usize> {
        loop {
            tokio::task::consume_budget().await;
            self.socket.readable().await?;
            match self.socket.try_read(waste) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// The connection as hyper sees it.
pub(super) struct PeerIo {
    peer: Arc<Peer>,
    /// How long the peer may take no byte.
    idle: Duration,
    /// How long it may take for all of its answer; and when that is over, once the answer has begun.
    answer: Duration,
    deadline: Option<Instant>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl PeerIo {
    pub(super) fn new(peer: Arc<Peer>, limits: &Limits) -> Self {
        Self { peer, idle: limits.idle, answer: limits.answer, deadline: None, waiting: None }
    }

    /// Tries `write` until it does something, or the peer's time is over.
    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        if self.deadline.is_none() && self.peer.answering.load(Ordering::Relaxed) {
            self.deadline = Some(now + self.answer);
        }
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return self.cut_off();
        }
        while let Poll::Ready(writable) = self.peer.socket.poll_write_ready(context) {
            writable?;
            match write(&self.peer.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => {
                    self.waiting = None;
                    return Poll::Ready(written);
                }
            }
        }
        let idle = now + self.idle;
        let until = self.deadline.map_or(idle, |deadline| deadline.min(idle));
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(until)));
        ready!(waiting.as_mut().poll(context));
        self.cut_off()
    }

    fn cut_off<T>(&self) -> Poll<io::Result<T>> {
        self.peer.stalled.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not take its answer in time")))
    }
}

impl AsyncRead for PeerIo {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.peer.socket.poll_read_ready(context))?;
            match self.peer.socket.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for PeerIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.peer.is_served() {
            // hyper's own answer to a head that it cannot read has no body; ours follows instead
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_write_with(context, |socket| socket.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.peer.is_served() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        self.poll_write_with(context, |socket| socket.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Left to [`Peer::linger`].
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
