//! The desktop registration client: its headers, its order of calls, its decoding. sbi-clients, section 2.

use std::io;
use std::time::{Duration, Instant};

use biosim_backends::info::{InfoVerdict, SeenDevice};
use biosim_backends::{DigitalIdDomain, KeyManager, Verdict, discovery, info, registration};
use serde_json::{Value, json};

use crate::http::{Connection, Reply, Request, call, try_call};
use crate::mjpeg::{DesktopReader, Frame};

/// The client on a host whose service listens on `port`.
#[derive(Debug)]
pub struct Desktop {
    /// Port found by the scan.
    pub port: u16,
    /// Authorities that its synchronisation brought.
    pub keys: KeyManager,
    /// Its one configured domain for digital IDs.
    pub digital_id_domain: DigitalIdDomain,
}

/// Headers of Apache HttpClient 4.5; with a body comes the famous Content-Type.
#[must_use]
pub fn request(verb: &str, path: &str, body: Option<&Value>) -> Request {
    let request = Request::new(verb, path)
        .header("Connection", "Keep-Alive")
        .header("User-Agent", "Apache-HttpClient/4.5.14 (Java/17.0.2)")
        .header("Accept-Encoding", "gzip,deflate");
    match body {
        None => request,
        Some(body) => request.header("Content-Type", "content-type; charset=UTF-8").json(body),
    }
}

impl Desktop {
    /// The probe of the port scan: MOSIPDINFO whose answer is thrown away after the head.
    ///
    /// # Errors
    /// Of the socket.
    pub fn probe(&self) -> io::Result<()> {
        let mut connection = Connection::open(self.port)?;
        connection.send(&request("MOSIPDINFO", "/info", None))?;
        connection.read_head().map(drop)
    }

    /// Probe, then the call that counts.
    ///
    /// # Panics
    /// When the service does not answer.
    #[must_use]
    pub fn scan(&self) -> (InfoVerdict, Reply) {
        self.probe().expect("the probe gets a head");
        let reply = call(self.port, &request("MOSIPDINFO", "/info", None));
        (info::judge(&reply.body, &self.keys, crate::now(), self.digital_id_domain), reply)
    }

    /// The availability check.
    #[must_use]
    pub fn is_available(&self, device: &SeenDevice) -> bool {
        let body = json!({"type": device.bio_type});
        try_call(self.port, &request("MOSIPDISC", "/device", Some(&body)))
            .is_ok_and(|reply| discovery::is_available(&reply.body, device))
    }

    /// Opens the preview and reads the first frame.
    ///
    /// # Errors
    /// Of the socket, or what the client would throw.
    pub fn open_stream(&self, device_id: &str, sub_id: &str) -> io::Result<(Connection, Frame, Duration)> {
        let body = json!({"deviceId": device_id, "deviceSubId": sub_id, "timeout": "10000"});
        let mut connection = Connection::open(self.port)?;
        let start = Instant::now();
        connection.send(&request("STREAM", "/stream", Some(&body)))?;
        let head = connection.read_head()?;
        if head.header("transfer-encoding").is_some() {
            return Err(io::Error::other("a chunked stream: close() blocks until the server ends it"));
        }
        let frame = DesktopReader::new(&mut connection).next_frame()?;
        let first = frame.at - start;
        Ok((connection, frame, first))
    }

    /// RCAPTURE, judged as the client and the registration processor judge.
    ///
    /// # Panics
    /// When the service does not answer.
    #[must_use]
    pub fn capture(&self, body: &Value) -> (Verdict, Reply) {
        let reply = call(self.port, &request("RCAPTURE", "/capture", Some(body)));
        let asked = biosim_backends::Request::from_json(body.to_string().as_bytes()).expect("a request");
        let verdict = registration::judge(
            &reply.body,
            &asked,
            &self.keys,
            crate::packet_time(),
            self.digital_id_domain,
        );
        (verdict, reply)
    }
}
