//! TLS on both sides of a frontend (rustls, aws-lc-rs).
//!
//! [`Tls`] holds what the configuration says, compiled, and is swapped whole when it is read again:
//! connections that stand keep what they were made with, and tickets stay valid.

mod files;
mod layer;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use driver::layer::{Layer, RECORD_BYTES_MAX};
use protocols::proxy::LayerKind;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};

pub use files::TlsError;
pub use layer::EARLY_BYTES_MAX;

/// A record as rustls counts it: with its head.
const FRAGMENT_BYTES: usize = RECORD_BYTES_MAX + 5;

/// Backend sessions kept for resumption, per process and certificate.
const CLIENT_SESSIONS_MAX: usize = 256;

/// The TLS options of imapd.conf, as files.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// `tls_server_cert` and `tls_server_key`; without a certificate TLS is not offered to clients.
    pub server: Option<Pair>,
    /// Whether clients are asked for a certificate, and against whom it is checked.
    pub client_certificates: ClientCertificates,
    /// `tls_server_ca_file`, or `tls_client_ca_file` where no authority for servers is named: who may
    /// sign a server's certificate; the system's when neither this nor
    /// the directory is set.
    pub ca_file: Option<PathBuf>,
    /// `tls_server_ca_dir` or `tls_client_ca_dir`.
    pub ca_dir: Option<PathBuf>,
    /// `tls_client_cert` and `tls_client_key`, shown to servers that ask.
    pub client: Option<Pair>,
    /// `HOST_client_cert` and `HOST_client_key` by HOST (the name up to the first dot).
    pub client_by_host: BTreeMap<Box<str>, Pair>,
    /// `tls_versions` as words; empty means 1.2 and 1.3.
    pub versions: Vec<Box<str>>,
}

/// A certificate chain and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pair {
    /// PEM file of the chain.
    pub certificate: PathBuf,
    /// PEM file of the key; may be the same file.
    pub key: PathBuf,
}

/// Whether clients are asked for a certificate (`tls_client_certs`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ClientCertificates {
    /// They are not.
    #[default]
    Off,
    /// They may show one, signed by an authority of `tls_client_ca_file` or `tls_client_ca_dir`.
    Optional {
        /// The file.
        ca_file: Option<PathBuf>,
        /// The directory.
        ca_dir: Option<PathBuf>,
    },
    /// They must.
    Required {
        /// The file.
        ca_file: Option<PathBuf>,
        /// The directory.
        ca_dir: Option<PathBuf>,
    },
}

/// Makes TLS layers; shared by all shards.
pub struct Tls {
    tickets: Arc<dyn ProducesTickets>,
    compiled: ArcSwap<Compiled>,
}

/// The settings as rustls wants them.
struct Compiled {
    server: Option<Arc<ServerConfig>>,
    client: Result<Arc<ClientConfig>, Box<str>>,
    client_by_host: BTreeMap<Box<str>, Arc<ClientConfig>>,
}

impl Tls {
    /// Reads all files that the settings name.
    ///
    /// # Errors
    /// A file cannot be read or has the wrong content; the text names it.
    pub fn new(settings: &Settings) -> Result<Tls, TlsError> {
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(refused)?;
        let compiled = ArcSwap::from_pointee(compile(settings, &tickets)?);
        Ok(Tls { tickets, compiled })
    }

    /// Reads the files again; new connections use what they say.
    ///
    /// # Errors
    /// As [`Tls::new`]; what was in use stays in use.
    pub fn reload(&self, settings: &Settings) -> Result<(), TlsError> {
        self.compiled.store(Arc::new(compile(settings, &self.tickets)?));
        Ok(())
    }

    /// Whether TLS can be offered to clients.
    pub fn is_offered(&self) -> bool {
        self.compiled.load().server.is_some()
    }

    /// Makes a layer.
    ///
    /// # Errors
    /// TLS is not configured for this direction, or the name cannot be on a certificate.
    pub fn layer(&self, kind: &LayerKind) -> Result<Box<dyn Layer>, TlsError> {
        let compiled = self.compiled.load();
        match kind {
            LayerKind::TlsServer => {
                let config = compiled.server.as_ref().ok_or(TlsError::NotConfigured)?;
                layer::server(Arc::clone(config)).map_err(refused)
            }
            LayerKind::TlsClient { server_name } => {
                let name = ServerName::try_from(server_name.to_string())
                    .map_err(|_| TlsError::BadName(server_name.clone()))?;
                layer::client(compiled.client_for(server_name)?, name).map_err(refused)
            }
            LayerKind::Deflate | LayerKind::Telemetry { .. } => Err(TlsError::NotConfigured),
        }
    }
}

impl Compiled {
    fn client_for(&self, host: &str) -> Result<Arc<ClientConfig>, TlsError> {
        let short = host.split('.').next().unwrap_or(host);
        match (self.client_by_host.get(short), &self.client) {
            (Some(config), _) | (None, Ok(config)) => Ok(Arc::clone(config)),
            (None, Err(text)) => Err(TlsError::Refused(text.clone())),
        }
    }
}

fn compile(settings: &Settings, tickets: &Arc<dyn ProducesTickets>) -> Result<Compiled, TlsError> {
    let versions = versions(&settings.versions)?;
    let server = match &settings.server {
        Some(pair) => Some(Arc::new(server(settings, pair, &versions, tickets)?)),
        None => None,
    };
    let roots = match files::roots(settings.ca_file.as_deref(), settings.ca_dir.as_deref()) {
        Ok(roots) => Arc::new(roots),
        // Who never speaks TLS to a backend needs no authorities; the text waits for who does.
        Err(error @ TlsError::NoRoots) if settings.client_by_host.is_empty() => {
            let text = error.to_string().into();
            return Ok(Compiled { server, client: Err(text), client_by_host: BTreeMap::new() });
        }
        Err(error) => return Err(error),
    };
    let mut client_by_host = BTreeMap::new();
    for (host, pair) in &settings.client_by_host {
        client_by_host.insert(host.clone(), client(&roots, Some(pair), &versions)?);
    }
    let client = Ok(client(&roots, settings.client.as_ref(), &versions)?);
    Ok(Compiled { server, client, client_by_host })
}

fn server(
    settings: &Settings,
    pair: &Pair,
    versions: &[&'static SupportedProtocolVersion],
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(serving()).with_protocol_versions(versions).map_err(refused)?;
    let builder = match &settings.client_certificates {
        ClientCertificates::Off => builder.with_no_client_auth(),
        ClientCertificates::Optional { ca_file, ca_dir } => {
            let roots = Arc::new(files::roots(ca_file.as_deref(), ca_dir.as_deref())?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().map_err(refused)?)
        }
        ClientCertificates::Required { ca_file, ca_dir } => {
            let roots = Arc::new(files::roots(ca_file.as_deref(), ca_dir.as_deref())?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            builder.with_client_cert_verifier(verifier.build().map_err(refused)?)
        }
    };
    let chain = files::chain(&pair.certificate)?;
    let mut config = builder
        .with_single_cert(chain, files::key(&pair.key)?)
        .map_err(|error| files::bad(&pair.key, "private key", error))?;
    config.max_fragment_size = Some(FRAGMENT_BYTES);
    config.ignore_client_order = true;
    config.ticketer = Arc::clone(tickets);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // One ticket is enough and costs 4 µs; two is the library's default.
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn client(
    roots: &Arc<rustls::RootCertStore>,
    pair: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(refused)?
        .with_root_certificates(Arc::clone(roots));
    let mut config = match pair {
        Some(pair) => builder
            .with_client_auth_cert(files::chain(&pair.certificate)?, files::key(&pair.key)?)
            .map_err(|error| files::bad(&pair.key, "private key", error))?,
        None => builder.with_no_client_auth(),
    };
    config.max_fragment_size = Some(FRAGMENT_BYTES);
    config.resumption = Resumption::in_memory_sessions(CLIENT_SESSIONS_MAX);
    Ok(Arc::new(config))
}

/// `tls_versions`: words `tls1_0` to `tls1_3`, of which rustls has the last two.
fn versions(words: &[Box<str>]) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let mut versions = Vec::new();
    for (word, version) in [("tls1_3", &rustls::version::TLS13), ("tls1_2", &rustls::version::TLS12)] {
        if words.is_empty() || words.iter().any(|w| w.eq_ignore_ascii_case(word)) {
            versions.push(version);
        }
    }
    if versions.is_empty() { Err(TlsError::NoVersion(words.join(" ").into())) } else { Ok(versions) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Our suites in the order in which a server prefers them: AES-128 with SHA-256 first, as RFC 8446 section 9.1
/// has everybody implement. Processors hash SHA-256 by instruction and SHA-384 not: with it first, as
/// clients have it, SHA-384 took 5.6 % of a login.
fn serving() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // A stable sort: what is equal stays in the library's order, TLS 1.3 before 1.2.
    provider.cipher_suites.sort_by_key(|suite| {
        let is_tls12 = suite.tls13().is_none();
        let hashes_slowly = suite.suite().as_str().is_some_and(|name| name.ends_with("_SHA384"));
        let is_chacha = suite.suite().as_str().is_some_and(|name| name.contains("CHACHA20"));
        (is_tls12, is_chacha, hashes_slowly)
    });
    Arc::new(provider)
}

fn refused(error: impl ToString) -> TlsError {
    TlsError::Refused(error.to_string().into())
}
