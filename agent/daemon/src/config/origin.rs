//! The origin of a web page, as browsers write it in the `Origin` header (RFC 6454, section 6.2).

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, de};

/// `scheme://host[:port]` in the one form that a browser sends, so that comparing bytes is enough.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin(String);

/// Why a text is not an origin, in words for the one who writes the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadOrigin {
    /// Another scheme or none.
    #[error("an origin begins with https:// or http://")]
    Scheme,
    /// More than an origin.
    #[error("an origin ends after host and port: no path, no slash at the end, no user")]
    Path,
    /// A pattern.
    #[error("an origin is exact: no *")]
    Wildcard,
    /// Upper case, other scripts, or nothing.
    #[error(
        "the host of an origin is written in lower case (other scripts as xn--...), an IPv6 address in brackets"
    )]
    Host,
    /// No number, out of range, or superfluous.
    #[error("the port of an origin is 1 to 65535, and is left out where it is 443 for https or 80 for http")]
    Port,
}

impl Origin {
    /// Reads an origin.
    ///
    /// # Errors
    /// Where it is not in the form that browsers send.
    pub fn parse(text: &str) -> Result<Self, BadOrigin> {
        let (authority, default_port) = match text.split_once("://") {
            Some(("https", rest)) => (rest, "443"),
            Some(("http", rest)) => (rest, "80"),
            _ => return Err(BadOrigin::Scheme),
        };
        if authority.contains('*') {
            return Err(BadOrigin::Wildcard);
        }
        if authority.contains(['/', '?', '#', '@', '\\']) {
            return Err(BadOrigin::Path);
        }
        let (host, port) = split_port(authority);
        if !is_host(host) {
            return Err(BadOrigin::Host);
        }
        match port {
            Some(port) if port == default_port || !is_port(port) => Err(BadOrigin::Port),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// As the browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Splits `host:port`; the colons of an address in brackets belong to the host.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok_and(|a| a.to_string() == address),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'))
        }
    }
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port)
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|bad| de::Error::custom(format!("`{text}` is not an origin: {bad}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_browsers_send_is_an_origin() {
        for good in [
            "https://id.example.org",
            "https://id.example.org:8443",
            "http://localhost:4200",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://xn--bcher-kva.example",
        ] {
            assert_eq!(Origin::parse(good).map(|o| o.as_str().to_owned()).as_deref(), Ok(good));
        }
    }

    #[test]
    fn everything_else_says_what_is_wrong() {
        for (bad, why) in [
            ("null", BadOrigin::Scheme),
            ("", BadOrigin::Scheme),
            ("id.example.org", BadOrigin::Scheme),
            ("file:///tmp", BadOrigin::Scheme),
            ("HTTPS://id.example.org", BadOrigin::Scheme),
            ("https://id.example.org/", BadOrigin::Path),
            ("https://id.example.org/login", BadOrigin::Path),
            ("https://me@id.example.org", BadOrigin::Path),
            ("https://*.example.org", BadOrigin::Wildcard),
            ("https://", BadOrigin::Host),
            ("https://Id.example.org", BadOrigin::Host),
            ("https://b\u{fc}cher.example", BadOrigin::Host),
            ("https://[::0001]", BadOrigin::Host),
            ("https://::1", BadOrigin::Host),
            ("https://id.example.org:443", BadOrigin::Port),
            ("http://id.example.org:80", BadOrigin::Port),
            ("https://id.example.org:0", BadOrigin::Port),
            ("https://id.example.org:08443", BadOrigin::Port),
            ("https://id.example.org:65536", BadOrigin::Port),
            ("https://id.example.org:", BadOrigin::Port),
        ] {
            assert_eq!(Origin::parse(bad), Err(why), "{bad}");
        }
    }
}
