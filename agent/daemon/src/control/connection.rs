//! One connection: lines of 64 KiB at most, one request at a time.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::WriteHalf;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::protocol::{answer, render};
use super::{About, Care, ControlError, ControlErrorKind};

/// Longest request line with its line feed; a certificate chain takes some 10 KiB.
const LINE_BYTES: u64 = 64 * 1024;

/// Serves `stream` until the peer closes it, or lets `idle` pass, or `stop`.
pub(super) async fn run<S: Care>(
    mut stream: UnixStream,
    service: &S,
    about: &About,
    idle: Duration,
    stop: &CancellationToken,
) {
    let span = match stream.peer_cred() {
        Ok(peer) => tracing::info_span!("control", uid = peer.uid(), gid = peer.gid(), pid = peer.pid()),
        Err(error) => tracing::info_span!("control", peer = %error),
    };
    async {
        tracing::debug!("connected");
        if let Err(error) = exchange(&mut stream, service, about, idle, stop).await {
            tracing::debug!(%error, "closed");
        }
    }
    .instrument(span)
    .await;
}

/// Tells a connection that is one too many so. The socket's buffer is empty, so this does not have to wait.
pub(super) fn refuse(stream: &UnixStream) {
    tracing::warn!("too many connections on the control socket");
    let error = ControlError::new(ControlErrorKind::Busy, "too many connections; close one and try again");
    let _ = stream.try_write(render(Err(error)).as_bytes());
}

async fn exchange<S: Care>(
    stream: &mut UnixStream,
    service: &S,
    about: &About,
    idle: Duration,
    stop: &CancellationToken,
) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_BYTES);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = within(idle, limited.read_until(b'\n', &mut line)) => read?,
        };
        if line.is_empty() {
            return Ok(());
        }
        let too_long = line.len() as u64 == LINE_BYTES && !line.ends_with(b"\n");
        let reply = match too_long {
            true => render(Err(ControlError::new(
                ControlErrorKind::BadRequest,
                "a request line has 64 KiB at most",
            ))),
            false => answer(&line, service, about, given_up(&writer, stop)).await,
        };
        tokio::select! {
            // first what can be done at once, so that who waited is told why it ends
            biased;
            written = within(idle, writer.write_all(reply.as_bytes())) => written?,
            () = stop.cancelled() => return Ok(()),
        }
        if too_long {
            return Ok(());
        }
    }
}

async fn within<T>(idle: Duration, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(idle, io).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Returns why nobody waits any more for an answer on `peer`.
async fn given_up(peer: &WriteHalf<'_>, stop: &CancellationToken) -> &'static str {
    tokio::select! {
        // Comes with "read closed" as well, however much the peer has sent before that and is not read yet; and never
        // with its own name, because the socket is not registered for urgent data.
        _ = peer.ready(Interest::PRIORITY) => "the other side of the connection was closed",
        () = stop.cancelled() => "biotrustd stops",
    }
}
