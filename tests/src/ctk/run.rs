//! One compliance case against a running instance, as the tool kit's front end runs it: a page of its origin, the live preview open during
//! registration captures, the operator's hand on the device.

use std::time::{Duration, Instant};

use biosim_backends::KeyManager;
use biosim_backends::jws::Jws;
use biosim_backends::session::IdaKey;
use serde_json::{Value, json};

use super::cases::{Call, Case, Operator, Project};
use super::decode::{self, Selected};
use super::request::{self, EMPTY_HASH};
use super::validators::{Context, Exchange, validate};
use crate::browser::Page;
use crate::http::{Connection, Reply};
use crate::mjpeg::{DesktopReader, check_jpeg};
use crate::{Device, Instance};

/// A project's run: the selected device and what judges it.
pub struct Run<'a> {
    instance: &'a Instance,
    page: Page,
    project: Project,
    device: &'a Device,
    selected: Selected,
    keys: KeyManager,
    encryption: IdaKey,
    organisation: String,
    /// make, model and serial number, which the report wants to be the same in every case.
    identity: [String; 3],
}

/// What came of a case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The case.
    pub id: u16,
    /// The project.
    pub project: Project,
    /// "L0" or "L1".
    pub level: String,
    /// Everything that failed; empty is green.
    pub faults: Vec<String>,
    /// Wall time.
    pub took: Duration,
}

impl<'a> Run<'a> {
    /// Discovery and selection of the project's device, on a page of `origin`.
    ///
    /// # Errors
    /// Where the front end refuses to start.
    pub fn begin(instance: &'a Instance, origin: &str, project: Project) -> Result<Self, String> {
        let page = Page::new(instance.port, origin);
        let device = instance
            .devices
            .iter()
            .find(|d| {
                d.bio_type == project.bio_type()
                    && d.sub_type == project.sub_type()
                    && d.purpose == project.purpose()
            })
            .ok_or_else(|| format!("no device for {project:?} among {:?}", instance.devices))?;
        let answer = fetch(&page, "MOSIPDISC", "/device", &json!({"type": "Biometric Device"}))?;
        let discovered = decode::discovery(&answer)?;
        let selected = decode::select(&discovered, &device.id)
            .ok_or_else(|| format!("{} is not in the discovery answer: {answer}", device.id))?;
        if !selected.purpose.is_empty() && selected.purpose != project.purpose() {
            return Err(format!("the device is for {:?}", selected.purpose));
        }
        if (selected.bio_type.as_str(), selected.sub_type.as_str())
            != (project.bio_type(), project.sub_type())
        {
            return Err(format!("the device is {:?} {:?}", selected.bio_type, selected.sub_type));
        }
        let info = decode::info(&fetch(&page, "MOSIPDINFO", "/info", &json!({}))?, &selected)?;
        let first =
            Jws::parse(info[0]["deviceInfo"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
        let organisation = first.signer_organisation().ok_or("the device certificate has no organisation")?;
        let identity = identity_of(&info[0]["deviceInfoDecoded"]["digitalIdDecoded"]);
        Ok(Self {
            keys: instance.keys(),
            encryption: instance.ida_key(),
            instance,
            page,
            project,
            device,
            selected,
            organisation,
            identity,
        })
    }

    /// Runs a case. The subject must already be present or absent as the case wants it; everything else the operator does here.
    /// `also` may add faults of its own to an exchange.
    #[must_use]
    pub fn run(&self, case: &Case, also: &dyn Fn(&Case, &Exchange) -> Vec<String>) -> Outcome {
        let start = Instant::now();
        let device = self.device.id.as_str();
        let state = match case.operator {
            Operator::Busy => Some("busy"),
            Operator::NotReady => Some("not-ready"),
            Operator::NotRegistered => Some("not-registered"),
            Operator::Present | Operator::Absent | Operator::Rotates => None,
        };
        if let Some(state) = state {
            self.instance.ctl(&["device", device, state]);
        }
        let faults = match self.exchanges(case) {
            Ok(exchanges) => exchanges
                .iter()
                .flat_map(|exchange| [self.judge(case, exchange), also(case, exchange)].concat())
                .collect(),
            Err(why) => vec![why],
        };
        if state.is_some() {
            self.instance.ctl(&["device", device, "ready"]);
        }
        let level = self.device.level.clone();
        Outcome { id: case.id, project: self.project, level, faults, took: start.elapsed() }
    }

    /// The calls of a case, in order; those that are judged.
    fn exchanges(&self, case: &Case) -> Result<Vec<Exchange>, String> {
        match case.call {
            Call::Discover { .. } | Call::Info(1) => Ok(vec![self.exchange(case, EMPTY_HASH)?]),
            Call::Info(_) => {
                let before = self.exchange(case, EMPTY_HASH)?;
                self.rotate()?;
                let mut after = self.exchange(case, EMPTY_HASH)?;
                after.before = Some(Box::new(before));
                Ok(vec![after])
            }
            Call::Capture(shot) => {
                let mut previous = EMPTY_HASH.to_owned();
                let mut exchanges = Vec::new();
                for _ in 0..shot.times {
                    let exchange = self.exchange(case, &previous)?;
                    let last = exchange.answer["biometrics"].as_array().and_then(|list| list.last());
                    if let Some(hash) = last.and_then(|element| element["hash"].as_str()) {
                        previous = hash.to_owned();
                    }
                    exchanges.push(exchange);
                }
                Ok(exchanges)
            }
        }
    }

    /// The provider's tool for the key-rotation cases.
    fn rotate(&self) -> Result<(), String> {
        let rotated = self.instance.cli(&["device", "rotate", &self.device.id]);
        if rotated.status.success() {
            return Ok(());
        }
        Err(format!("biotrust device rotate: {}", String::from_utf8_lossy(&rotated.stderr)))
    }

    fn exchange(&self, case: &Case, previous_hash: &str) -> Result<Exchange, String> {
        let preview = match case.call {
            Call::Capture(shot) if self.project.purpose() == "Registration" => {
                Some(self.start_stream(shot.sub_id)?)
            }
            _ => None,
        };
        let start_ms = crate::now().0;
        let body = request::body(case, self.project, &self.selected, previous_hash, &iso_millis(start_ms));
        let (verb, path) = match case.call {
            Call::Discover { .. } => ("MOSIPDISC", "/device"),
            Call::Info(_) => ("MOSIPDINFO", "/info"),
            Call::Capture(_) => (self.project.verb(), "/capture"),
        };
        let answer = fetch(&self.page, verb, path, &body)?;
        let end_ms = crate::now().0;
        drop(preview);
        let answer = match case.call {
            Call::Discover { .. } => decode::discovery(&answer)?,
            Call::Info(_) => decode::info(&answer, &self.selected)?,
            Call::Capture(_) => decode::capture(&answer, &self.selected)?,
        };
        Ok(Exchange { request: body, answer, start_ms, end_ms, before: None })
    }

    /// "Start Streaming": by fetch() with a text/plain body; one frame is waited for.
    fn start_stream(&self, sub_id: &str) -> Result<Connection, String> {
        let body = json!({"deviceId": self.selected.device_id, "deviceSubId": sub_id}).to_string();
        let open = || -> std::io::Result<(Connection, Vec<u8>)> {
            let mut connection = Connection::open(self.page.port)?;
            connection.send(&self.page.preflight("STREAM", "/stream", false))?;
            let preflight = connection.read_reply()?;
            let allowed = self.page.may_send(&preflight, "STREAM", false);
            allowed.map_err(|why| std::io::Error::other(format!("{why:?}")))?;
            connection = Connection::open(self.page.port)?;
            let request = self.page.request("STREAM", "/stream", None);
            connection
                .send(&request.header("Content-Type", "text/plain;charset=UTF-8").body(body.clone()))?;
            let head = connection.read_head()?;
            if head.status != 200 {
                return Err(std::io::Error::other(format!("status {}", head.status)));
            }
            let frame = DesktopReader::new(&mut connection).next_frame()?;
            Ok((connection, frame.jpeg))
        };
        let (connection, frame) = open().map_err(|e| format!("the stream did not start: {e}"))?;
        check_jpeg(&frame).map_err(|e| format!("preview frame: {e}"))?;
        Ok(connection)
    }

    fn judge(&self, case: &Case, exchange: &Exchange) -> Vec<String> {
        let context = Context {
            keys: &self.keys,
            encryption: &self.encryption,
            certification: &self.selected.certification,
            organisation: Some(&self.organisation),
        };
        let mut faults: Vec<String> = case
            .validators
            .iter()
            .filter_map(|validator| {
                let result = validate(*validator, case.expect, exchange, &context);
                result.err().map(|why| format!("{validator:?}: {why}"))
            })
            .collect();
        // The report of a run is refused when a device changes its name on the way.
        let ids = [
            &exchange.answer[0]["deviceInfoDecoded"]["digitalIdDecoded"],
            &exchange.answer["biometrics"][0]["dataDecoded"]["digitalIdDecoded"],
        ];
        for id in ids.into_iter().filter(|id| id.is_object()) {
            if identity_of(id) != self.identity {
                faults.push(format!("make, model or serial number differ from {:?}: {id}", self.identity));
            }
        }
        faults
    }
}

fn identity_of(id: &Value) -> [String; 3] {
    ["make", "model", "serialNo"].map(|name| id[name].as_str().unwrap_or_default().to_owned())
}

/// Angular's HttpClient: anything but 2xx is a connection failure, and the body must be JSON.
fn fetch(page: &Page, verb: &str, path: &str, body: &Value) -> Result<Value, String> {
    let reply: Reply = page.fetch(verb, path, Some(body)).map_err(|why| format!("{verb}: {why:?}"))?;
    if !(200..300).contains(&reply.status) {
        return Err(format!("{verb}: Connection Failure (status {}: {})", reply.status, reply.text()));
    }
    serde_json::from_slice(&reply.body).map_err(|e| format!("{verb}: no JSON: {e}"))
}

/// `new Date().toISOString()`: milliseconds, always three digits.
fn iso_millis(ms: i64) -> String {
    let whole = biotrust_model::time::UtcMillis(ms).to_wire();
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), ms.rem_euclid(1000))
}
