//! Claims the one port of the service: the lowest free one, by binding it. There is no check before the bind, so two
//! daemons that start at once never end up with the same port.
//!
//! `SO_REUSEADDR` is set: on Linux it lets us bind while old connections are in TIME_WAIT, and never lets two sockets
//! listen on one address.
//!
//! Who holds a port that we did not get is named, in the error or in the log, from `/proc` (blocking, a few milliseconds,
//! only then).

mod holders;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::config::Sbi;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// There is no port to serve on.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The one port that was asked for is in use.
    #[error("port {port} is held by {holder}: stop it, or change `port` in [sbi]")]
    Taken {
        /// The port.
        port: u16,
        /// Who holds it, in words.
        holder: String,
    },
    /// The whole range is in use.
    #[error("no port of {range} is free: {holders}; stop one of them, or change `ports` in [sbi]")]
    AllTaken {
        /// The range.
        range: String,
        /// Who holds what, in words.
        holders: String,
    },
    /// The system refuses for another reason.
    #[error("cannot listen on 127.0.0.1:{port}: {source}")]
    Refused {
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
}

/// `http://127.0.0.1:PORT/`: clients append the path, so the slash at the end must be there (row R13).
#[must_use]
pub fn base_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/")
}

/// Binds the configured port on 127.0.0.1. Needs the runtime. Ports of the range that others hold are logged.
///
/// # Errors
/// When no port is free, with the names of the processes that hold them; or when the system refuses to bind at all.
pub fn claim(sbi: &Sbi) -> Result<TcpListener, PortError> {
    let candidates: Vec<u16> = match sbi.port {
        Some(port) => vec![port],
        None => sbi.ports.ports().collect(),
    };
    for (index, &port) in candidates.iter().enumerate() {
        match listen(port) {
            Ok(listener) => {
                log_skipped(candidates.get(..index).unwrap_or_default());
                return Ok(listener);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(source) => return Err(PortError::Refused { port, source }),
        }
    }
    let holders = holders::describe(&candidates);
    Err(match sbi.port {
        Some(port) => PortError::Taken { port, holder: holders },
        None => PortError::AllTaken { range: sbi.ports.to_string(), holders },
    })
}

/// A line for each port that was passed over: clients that look at the first few only will not find us behind them.
fn log_skipped(ports: &[u16]) {
    if ports.is_empty() {
        return;
    }
    for (port, holder) in holders::each(ports) {
        tracing::warn!(port, holder, "passed over: the port is in use");
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(port: u16) -> Sbi {
        Sbi { port: Some(port), ..Sbi::default() }
    }

    #[tokio::test]
    async fn a_claimed_port_cannot_be_claimed_again_and_its_holder_is_named() {
        let first = claim(&fixed(0)).unwrap();
        let address = first.local_addr().unwrap();
        assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);

        let error = claim(&fixed(address.port())).unwrap_err().to_string();
        let me = format!("pid {}", std::process::id());
        assert!(error.contains(&me) && error.contains(&address.port().to_string()), "{error}");
        assert_eq!(error.lines().count(), 1);

        drop(first);
        claim(&fixed(address.port())).unwrap();
    }

    #[tokio::test]
    async fn a_listener_on_all_addresses_is_in_the_way_too() {
        let everywhere = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = everywhere.local_addr().unwrap().port();
        let error = claim(&fixed(port)).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    }

    #[tokio::test]
    async fn a_full_range_is_one_clear_error() {
        // whatever part of this small range is free is taken here; the rest is held by somebody already
        let range: Sbi = Sbi { ports: "4597-4599".parse().unwrap(), ..Sbi::default() };
        let mut held: Vec<_> = (4597..=4599).filter_map(|port| listen(port).ok()).collect();
        let error = claim(&range).unwrap_err();
        assert!(matches!(error, PortError::AllTaken { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("no port of 4597-4599 is free: ") && text.lines().count() == 1, "{text}");

        // negative control: with one of them free again, that one is claimed
        let Some(last) = held.pop() else { return };
        let port = last.local_addr().unwrap().port();
        drop(last);
        assert_eq!(claim(&range).unwrap().local_addr().unwrap().port(), port);
    }
}
