//! HTTPS to servers that are known beforehand: TLS 1.3 only, believed under the given anchors only, and with bounds on
//! everything that the other side could stretch.
//!
//! Nothing of the environment plays a part: no proxies, no system roots, no redirects, no cookies; and once the time is
//! trusted, certificates are judged by it, whatever the host's clock says.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use biotrust_model::time::Clock;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};

/// What the other side may stretch, and how far.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a connection with its handshake may take.
    pub connect: Duration,
    /// How long the other side may send nothing.
    pub silence: Duration,
    /// How long a whole exchange may take, except for a download.
    pub exchange: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            silence: Duration::from_secs(20),
            exchange: Duration::from_secs(60),
        }
    }
}

/// Why a server was not asked, or its answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpsError {
    /// No connection: no network, no name, nobody there.
    #[error("{host} cannot be reached: {why}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What went wrong.
        why: String,
    },
    /// It is somebody else, or does not speak TLS 1.3.
    #[error("{host} is not the server that it should be: {why}")]
    NotTrusted {
        /// Host and port.
        host: String,
        /// What was wrong with its certificate or its handshake.
        why: String,
    },
    /// It took too long.
    #[error("{host} did not answer in time")]
    TimedOut {
        /// Host and port.
        host: String,
    },
    /// It answered with another status than 200.
    #[error("{host} answered with status {status}{}", said(.text))]
    Status {
        /// Host and port.
        host: String,
        /// The status.
        status: u16,
        /// The beginning of its answer.
        text: String,
    },
    /// Its answer is too long, broke off, or is no text.
    #[error("the answer of {host} cannot be used: {why}")]
    Answer {
        /// Host and port.
        host: String,
        /// What is wrong with it.
        why: String,
    },
}

fn said(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// A client cannot be made of these anchors.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// One of the files.
    #[error("{}: {why}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The TLS library.
    #[error("no TLS client: {0}")]
    Tls(String),
}

/// A client that believes servers under its anchors only. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Https {
    client: Client,
    limits: Limits,
}

impl Https {
    /// Reads the anchors (PEM or DER); servers are judged by `clock`. Blocking.
    ///
    /// # Errors
    /// The first file that cannot be used, and why.
    pub fn new<P: AsRef<Path>>(
        anchors: &[P],
        limits: Limits,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AnchorError> {
        let mut roots = RootCertStore::empty();
        for file in anchors {
            let file = file.as_ref();
            let wrong = |why: String| AnchorError::File { file: file.to_owned(), why };
            let bytes = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
            let certificates = biotrust_certs::certificates(&bytes)
                .map_err(|(index, problem)| wrong(format!("certificate {index}: {problem}")))?;
            for certificate in certificates {
                let der = CertificateDer::from(certificate.der().to_vec());
                roots.add(der).map_err(|error| wrong(error.to_string()))?;
            }
        }
        Self::with_roots(roots, limits, clock)
    }

    fn with_roots(roots: RootCertStore, limits: Limits, clock: Arc<dyn Clock>) -> Result<Self, AnchorError> {
        let tls = |error: &dyn std::error::Error| AnchorError::Tls(causes(error));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(TlsClock(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| tls(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(config)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(limits.connect)
            .read_timeout(limits.silence)
            .user_agent(concat!("biotrustd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| tls(&error))?;
        Ok(Self { client, limits })
    }

    /// A request, to be given to [`Self::send`].
    pub fn request(&self, method: Method, url: &Url) -> RequestBuilder {
        self.client.request(method, url.clone())
    }

    /// Sends, and reads an answer of status 200 and `limit` bytes at most.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn send(&self, request: RequestBuilder, limit: usize) -> Result<Answer, HttpsError> {
        let (host, response) = self.open(request.timeout(self.limits.exchange)).await?;
        let headers = response.headers().clone();
        let body = read(&host, response, limit).await?;
        Ok(Answer { host, headers, body })
    }

    /// Sends, and hands out the answer of status 200 piece by piece; the whole may take as long as something comes.
    ///
    /// # Errors
    /// [`HttpsError`].
    pub async fn download(&self, url: &Url) -> Result<Download, HttpsError> {
        let (host, response) = self.open(self.request(Method::GET, url)).await?;
        Ok(Download { host, response })
    }

    async fn open(&self, request: RequestBuilder) -> Result<(String, Response), HttpsError> {
        let (client, request) = request.build_split();
        let request = request.map_err(|error| HttpsError::Unreachable {
            host: error.url().map(host_of).unwrap_or_default(),
            why: causes(&error),
        })?;
        let host = host_of(request.url());
        let response = client.execute(request).await.map_err(|error| failure(&host, &error))?;
        match response.status() {
            StatusCode::OK => Ok((host, response)),
            status => {
                let text = read(&host, response, 64 * 1024).await.unwrap_or_default();
                let text: String = String::from_utf8_lossy(&text).chars().take(200).collect();
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                Err(HttpsError::Status { host, status: status.as_u16(), text })
            }
        }
    }
}

/// A clock as the TLS library wants it.
struct TlsClock(Arc<dyn Clock>);

impl std::fmt::Debug for TlsClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TlsClock({})", self.0.now().to_wire())
    }
}

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let millis = u64::try_from(self.0.now().0).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_millis(millis)))
    }
}

/// A whole answer of status 200.
#[derive(Debug)]
pub struct Answer {
    host: String,
    /// Its headers.
    pub headers: reqwest::header::HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    ///
    /// # Errors
    /// [`HttpsError::Answer`].
    pub fn text(self) -> Result<String, HttpsError> {
        let why = || "it is no text".to_owned();
        String::from_utf8(self.body).map_err(|_| HttpsError::Answer { host: self.host, why: why() })
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Download {
    host: String,
    response: Response,
}

impl Download {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When it breaks off, or nothing comes for too long.
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>, HttpsError> {
        self.response.chunk().await.map_err(|error| failure(&self.host, &error))
    }
}

async fn read(host: &str, mut response: Response, limit: usize) -> Result<Vec<u8>, HttpsError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| failure(host, &error))? {
        if body.len() + piece.len() > limit {
            let why = format!("it is longer than {limit} bytes");
            return Err(HttpsError::Answer { host: host.to_owned(), why });
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn failure(host: &str, error: &reqwest::Error) -> HttpsError {
    let (host, why) = (host.to_owned(), causes(error));
    if error.is_timeout() {
        return HttpsError::TimedOut { host };
    }
    match tls_cause(error) {
        Some(why) => HttpsError::NotTrusted { host, why },
        None if error.is_connect() => HttpsError::Unreachable { host, why },
        None if error.is_body() || error.is_decode() => HttpsError::Answer { host, why },
        None => HttpsError::Unreachable { host, why },
    }
}

/// What TLS did not like, where it was TLS.
fn tls_cause(error: &reqwest::Error) -> Option<String> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls.to_string());
        }
        // an error of TLS travels inside errors of I/O, which do not name it as their source
        next = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    None
}

/// What happened, from the outside in, each cause once.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let said = error.to_string();
        // the outermost names the URL, which we tell ourselves
        if error.source().is_none() || text.is_empty() && !said.contains("://") {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or("(no host)");
    match url.port_or_known_default() {
        Some(443) | None => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    }
}
