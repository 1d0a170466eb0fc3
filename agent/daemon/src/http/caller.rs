//! Who is calling, and what that caller may do: `Host` first, then `Origin`.
//!
//! A web page can reach this port. What keeps it out: it cannot forge `Host` (so a name that was rebound to 127.0.0.1
//! gives itself away) nor `Origin`, and it has no way to send one of our methods without a preflight. A program on
//! this host sends no `Origin` and may do everything; no header could tell us more about it.

use std::collections::HashMap;

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Uri};

use super::verb::Verb;
use crate::config::{self, Origins};

/// What the pages of one origin may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Grant {
    auth: bool,
    registration: bool,
    developer: bool,
}

impl Grant {
    const fn may(self, verb: Verb) -> bool {
        let by_auth = matches!(verb, Verb::Discover | Verb::Info | Verb::Capture);
        let by_registration = !matches!(verb, Verb::Capture);
        self.developer || (self.auth && by_auth) || (self.registration && by_registration)
    }
}

/// Who is calling.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// A program on this host: no `Origin`.
    Program,
    /// A web page that is in the configuration.
    Page {
        /// As sent, to be echoed.
        origin: HeaderValue,
        /// What it may do.
        grant: Grant,
    },
    /// Any other page, `null`, or a header that no browser would send.
    Stranger,
}

impl Caller {
    /// Whether this caller may do `verb`.
    pub(super) const fn may(&self, verb: Verb) -> bool {
        match self {
            Self::Program => true,
            Self::Page { grant, .. } => grant.may(verb),
            Self::Stranger => false,
        }
    }

    /// Whether devices of both purposes are shown to it.
    pub(super) const fn is_developer(&self) -> bool {
        matches!(self, Self::Page { grant: Grant { developer: true, .. }, .. })
    }

    /// For the log: the origin where it is one of ours, and never the text of a stranger's.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Program => "none",
            Self::Page { origin, .. } => origin.to_str().unwrap_or_default(),
            Self::Stranger => "refused",
        }
    }
}

/// The lists that callers are checked against.
#[derive(Debug)]
pub(super) struct Policy {
    hosts: [String; 3],
    grants: HashMap<String, Grant>,
}

impl Policy {
    /// For a service on `port` and the configured origins.
    pub(super) fn new(port: u16, origins: &Origins) -> Self {
        let mut grants: HashMap<String, Grant> = HashMap::new();
        let mut grant = |list: &[config::Origin], give: fn(&mut Grant)| {
            for origin in list {
                give(grants.entry(origin.as_str().to_owned()).or_default());
            }
        };
        grant(&origins.auth, |grant| grant.auth = true);
        grant(&origins.registration, |grant| grant.registration = true);
        grant(&origins.developer, |grant| grant.developer = true);
        Self { hosts: ["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")), grants }
    }

    /// Whether the request is meant for us: exactly one `Host`, with one of our names and our port, and the same of
    /// the target where it is in absolute form.
    pub(super) fn knows_host(&self, headers: &HeaderMap, target: &Uri) -> bool {
        let ours = |name: &str| self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
        let mut names = headers.get_all(HOST).iter();
        let (Some(name), None) = (names.next(), names.next()) else { return false };
        name.to_str().is_ok_and(ours) && target.authority().is_none_or(|authority| ours(authority.as_str()))
    }

    /// Who is calling.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Caller {
        let mut origins = headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Caller::Program,
            (Some(origin), None) => match origin.to_str().ok().and_then(|text| self.grants.get(text)) {
                Some(grant) => Caller::Page { origin: origin.clone(), grant: *grant },
                None => Caller::Stranger,
            },
            (Some(_), Some(_)) => Caller::Stranger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let list = |text: &str| vec![config::Origin::parse(text).unwrap()];
        Policy::new(
            4501,
            &Origins {
                auth: list("https://login.example"),
                registration: list("https://reg.example"),
                developer: list("https://ctk.example"),
            },
        )
    }

    fn headers(name: axum::http::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn only_our_own_names_are_hosts() {
        let policy = policy();
        let origin_form = Uri::from_static("/device");
        for (hosts, known) in [
            (&["127.0.0.1:4501"] as &[&str], true),
            (&["localhost:4501"], true),
            (&["LocalHost:4501"], true),
            (&["[::1]:4501"], true),
            (&[], false),
            (&["127.0.0.1:4501", "127.0.0.1:4501"], false),
            (&["127.0.0.1"], false),
            (&["127.0.0.1:4502"], false),
            (&["rebound.example:4501"], false),
            (&["localhost.:4501"], false),
            (&["127.1:4501"], false),
            (&["me@127.0.0.1:4501"], false),
        ] {
            assert_eq!(policy.knows_host(&headers(HOST, hosts), &origin_form), known, "{hosts:?}");
        }
        let ours = headers(HOST, &["127.0.0.1:4501"]);
        assert!(policy.knows_host(&ours, &Uri::from_static("http://localhost:4501/device")));
        assert!(!policy.knows_host(&ours, &Uri::from_static("http://rebound.example:4501/device")));
    }

    #[test]
    fn each_list_gives_its_own_verbs() {
        let policy = policy();
        let may = |origins: &[&str]| {
            let caller = policy.caller(&headers(ORIGIN, origins));
            Verb::ALL.map(|verb| caller.may(verb))
        };
        // discover, info, capture, rcapture, stream
        assert_eq!(may(&[]), [true; 5]);
        assert_eq!(may(&["https://login.example"]), [true, true, true, false, false]);
        assert_eq!(may(&["https://reg.example"]), [true, true, false, true, true]);
        assert_eq!(may(&["https://ctk.example"]), [true; 5]);
        for strangers in [
            &["null"] as &[&str],
            &[""],
            &["https://evil.example"],
            &["https://login.example.evil.example"],
            &["http://login.example"],
            &["https://login.example:8443"],
            &["https://login.example/"],
            &["HTTPS://LOGIN.EXAMPLE"],
            &["https://login.example", "https://login.example"],
            &["https://login.example https://evil.example"],
        ] {
            assert_eq!(may(strangers), [false; 5], "{strangers:?}");
        }
    }

    #[test]
    fn lists_add_up() {
        let both = vec![config::Origin::parse("https://both.example").unwrap()];
        let policy =
            Policy::new(4501, &Origins { auth: both.clone(), registration: both, developer: Vec::new() });
        let caller = policy.caller(&headers(ORIGIN, &["https://both.example"]));
        assert!(Verb::ALL.into_iter().all(|verb| caller.may(verb)));
        assert!(!caller.is_developer());
    }
}
