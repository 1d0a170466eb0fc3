//! One connection: lines of 64 KiB at most, one request at a time.

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::protocol::{answer, render};
use super::{About, ControlError, ControlErrorKind, Service};

/// Longest request line with its line feed; a certificate chain takes some 10 KiB.
const LINE_BYTES: u64 = 64 * 1024;

/// Serves `stream` until the peer closes it or `stop`.
pub(super) async fn run<S: Service>(
    mut stream: UnixStream,
    service: &S,
    about: &About,
    stop: &CancellationToken,
) {
    let span = match stream.peer_cred() {
        Ok(peer) => tracing::info_span!("control", uid = peer.uid(), gid = peer.gid(), pid = peer.pid()),
        Err(error) => tracing::info_span!("control", peer = %error),
    };
    async {
        tracing::debug!("connected");
        if let Err(error) = exchange(&mut stream, service, about, stop).await {
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

async fn exchange<S: Service>(
    stream: &mut UnixStream,
    service: &S,
    about: &About,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_BYTES);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            read = limited.read_until(b'\n', &mut line) => read?,
        };
        if line.is_empty() {
            return Ok(());
        }
        if line.len() as u64 == LINE_BYTES && !line.ends_with(b"\n") {
            let error = ControlError::new(ControlErrorKind::BadRequest, "a request line has 64 KiB at most");
            return writer.write_all(render(Err(error)).as_bytes()).await;
        }
        let reply = answer(&line, service, about).await;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            written = writer.write_all(reply.as_bytes()) => written?,
        }
    }
}
