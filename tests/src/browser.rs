//! A web page in a browser: preflight first, and nothing is seen that the answer's CORS headers do not allow. sbi-clients, section 3.

use std::io;

use serde_json::Value;

use crate::http::{Connection, Reply, Request};

/// Why a page got nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// The browser did not let the page send or see it.
    Cors(String),
    /// No answer at all.
    Network(String),
}

impl From<io::Error> for Blocked {
    fn from(error: io::Error) -> Self {
        Self::Network(error.to_string())
    }
}

/// A page of an origin.
#[derive(Debug, Clone)]
pub struct Page {
    /// Port of the service.
    pub port: u16,
    /// The page's origin.
    pub origin: String,
}

impl Page {
    /// A page of `origin`.
    #[must_use]
    pub fn new(port: u16, origin: &str) -> Self {
        Self { port, origin: origin.to_owned() }
    }

    /// The preflight of a verb; `content_type` when the call will carry a JSON body.
    #[must_use]
    pub fn preflight(&self, verb: &str, path: &str, content_type: bool) -> Request {
        let request = Request::new("OPTIONS", path)
            .header("Connection", "keep-alive")
            .header("Accept", "*/*")
            .header("Access-Control-Request-Method", verb)
            .header("Origin", &self.origin)
            .header("Sec-Fetch-Mode", "cors")
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Dest", "empty");
        if content_type { request.header("Access-Control-Request-Headers", "content-type") } else { request }
    }

    /// The call itself, as axios or Angular send it.
    #[must_use]
    pub fn request(&self, verb: &str, path: &str, body: Option<&Value>) -> Request {
        let request = Request::new(verb, path)
            .header("Connection", "keep-alive")
            .header("Accept", "application/json, text/plain, */*")
            .header("Origin", &self.origin)
            .header("Sec-Fetch-Site", "cross-site")
            .header("Sec-Fetch-Mode", "cors")
            .header("Sec-Fetch-Dest", "empty");
        match body {
            Some(body) => request.header("Content-Type", "application/json").json(body),
            None => request,
        }
    }

    /// Preflight and call on one connection; the browser's decisions in between and after.
    ///
    /// # Errors
    /// [`Blocked`] when the browser would show the page a network error.
    pub fn fetch(&self, verb: &str, path: &str, body: Option<&Value>) -> Result<Reply, Blocked> {
        let mut connection = self.open(verb, path, body)?;
        let reply = connection.read_reply()?;
        self.may_see(&reply)?;
        Ok(reply)
    }

    /// [`Self::fetch`] up to the sending of the call.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn open(&self, verb: &str, path: &str, body: Option<&Value>) -> Result<Connection, Blocked> {
        let mut connection = Connection::open(self.port)?;
        connection.send(&self.preflight(verb, path, body.is_some()))?;
        let preflight = connection.read_reply()?;
        self.may_send(&preflight, verb, body.is_some())?;
        if closes(&preflight) {
            connection = Connection::open(self.port)?;
        }
        connection.send(&self.request(verb, path, body))?;
        Ok(connection)
    }

    /// Whether a preflight's answer allows the call: status, origin, method in exactly this case, header.
    ///
    /// # Errors
    /// What the browser's console would say.
    pub fn may_send(&self, preflight: &Reply, verb: &str, content_type: bool) -> Result<(), Blocked> {
        let blocked = |why: String| Err(Blocked::Cors(why));
        if !(200..300).contains(&preflight.status) {
            return blocked(format!("preflight status {}", preflight.status));
        }
        self.may_see(preflight)?;
        let list = |name: &str| -> Vec<String> {
            preflight.header(name).unwrap_or_default().split(',').map(|item| item.trim().to_owned()).collect()
        };
        let methods = list("Access-Control-Allow-Methods");
        if !methods.iter().any(|method| method == verb || method == "*") {
            return blocked(format!("{verb} is not among {methods:?}"));
        }
        let headers = list("Access-Control-Allow-Headers");
        if content_type && !headers.iter().any(|h| h.eq_ignore_ascii_case("content-type") || h == "*") {
            return blocked(format!("content-type is not among {headers:?}"));
        }
        Ok(())
    }

    /// Whether the page may see a reply.
    ///
    /// # Errors
    /// What the browser's console would say.
    pub fn may_see(&self, reply: &Reply) -> Result<(), Blocked> {
        match reply.header("Access-Control-Allow-Origin") {
            Some(origin) if origin == "*" || origin == self.origin => Ok(()),
            other => Err(Blocked::Cors(format!("Access-Control-Allow-Origin is {other:?}"))),
        }
    }
}

fn closes(reply: &Reply) -> bool {
    reply.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
}
