//! The five operations: an HTTP method of their own and a path each.

use axum::http::Method;

/// An operation of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Which devices are there; no cryptography.
    Discover,
    /// Signed device info of all devices.
    Info,
    /// Authentication capture.
    Capture,
    /// Registration capture.
    RCapture,
    /// Live preview.
    Stream,
}

impl Verb {
    /// Every operation.
    pub(super) const ALL: [Self; 5] =
        [Self::Discover, Self::Info, Self::Capture, Self::RCapture, Self::Stream];

    /// HTTP method, exact upper case.
    #[must_use]
    pub(super) const fn method(self) -> &'static str {
        match self {
            Self::Discover => "MOSIPDISC",
            Self::Info => "MOSIPDINFO",
            Self::Capture => "CAPTURE",
            Self::RCapture => "RCAPTURE",
            Self::Stream => "STREAM",
        }
    }

    /// Path; both captures share one.
    #[must_use]
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Discover => "/device",
            Self::Info => "/info",
            Self::Capture | Self::RCapture => "/capture",
            Self::Stream => "/stream",
        }
    }

    /// The operations on `path`; none where there is no such path.
    pub(super) fn on(path: &str) -> impl Iterator<Item = Self> + Clone {
        Self::ALL.into_iter().filter(move |verb| verb.path() == path)
    }

    /// The operation that `method` means on `path`.
    #[must_use]
    pub(super) fn find(method: &Method, path: &str) -> Option<Self> {
        Self::on(path).find(|verb| verb.method() == method.as_str())
    }
}

/// Comma-separated methods, for `Allow` and `Access-Control-Allow-Methods`.
pub(super) fn list(verbs: impl Iterator<Item = Verb>) -> String {
    verbs.map(Verb::method).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_counts_on_its_own_path_only() {
        for verb in Verb::ALL {
            let method = Method::from_bytes(verb.method().as_bytes()).unwrap();
            for path in ["/device", "/info", "/capture", "/stream", "/", "/Device", "/device/"] {
                let expected = (path == verb.path()).then_some(verb);
                assert_eq!(Verb::find(&method, path), expected, "{method} {path}");
            }
            let lower = Method::from_bytes(verb.method().to_lowercase().as_bytes()).unwrap();
            assert_eq!(Verb::find(&lower, verb.path()), None, "methods are case-sensitive");
        }
    }
}
