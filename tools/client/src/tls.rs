//! TLS towards servers (rustls): whom to trust and which certificate to show.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use zeroize::Zeroizing;

/// The files and words of imapd.conf that say how TLS is done. They are read when the first
/// connection needs them.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// `tls_server_ca_file`: who may sign a server's certificate; the system's authorities when
    /// neither this nor the directory is set.
    pub ca_file: Option<PathBuf>,
    /// `tls_server_ca_dir`.
    pub ca_dir: Option<PathBuf>,
    /// `tls_client_cert` or `HOST_client_cert`, and the file of its key: shown to a server that asks.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// `tls_versions`; empty means 1.2 and 1.3.
    pub versions: Vec<Box<str>>,
    /// Nobody is turned away for his certificate; what is wrong with it is noted here. For tests by
    /// hand only: who tolerates anybody is sure of nobody.
    pub tolerated: Option<Tolerated>,
}

impl TlsSettings {
    /// Makes the TLS side of a connection to the host of this name, whose certificate must carry it.
    ///
    /// # Errors
    /// One sentence that names the file, or the host name that no certificate can carry.
    pub fn connection(&self, host: &str) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("no host name: {host}"))?;
        ClientConnection::new(Arc::new(self.config()?), name).map_err(|error| error.to_string())
    }

    fn config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions()?)
            .map_err(|error| error.to_string())?;
        let builder = match &self.tolerated {
            None => builder.with_root_certificates(self.roots()?),
            Some(tolerated) => {
                let verifier = TolerantVerifier::new(self.roots()?, tolerated.clone())?;
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
        };
        match &self.certificate {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => builder
                .with_client_auth_cert(chain(certificate)?, private_key(key)?)
                .map_err(|error| format!("bad private key in {}: {error}", key.display())),
        }
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
        let known = [("tls1_3", &rustls::version::TLS13), ("tls1_2", &rustls::version::TLS12)];
        let named = |word: &str| self.versions.iter().any(|version| version.eq_ignore_ascii_case(word));
        let taken = known.into_iter().filter(|(word, _)| self.versions.is_empty() || named(word));
        let versions: Vec<_> = taken.map(|(_, version)| version).collect();
        if versions.is_empty() { Err("tls_versions has none of tls1_2, tls1_3".into()) } else { Ok(versions) }
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        if let Some(file) = &self.ca_file {
            roots.add_parsable_certificates(chain(file)?);
        }
        if let Some(dir) = &self.ca_dir {
            add_directory(&mut roots, dir)?;
        }
        if self.ca_file.is_none() && self.ca_dir.is_none() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        match roots.is_empty() {
            true => Err("no certification authorities: expected tls_server_ca_file".into()),
            false => Ok(roots),
        }
    }
}

/// What was wrong with a certificate that was let pass.
#[derive(Clone, Debug, Default)]
pub struct Tolerated(Arc<OnceLock<Box<str>>>);

impl Tolerated {
    /// One sentence; `None` when nothing was wrong.
    pub fn why(&self) -> Option<&str> {
        self.0.get().map(|why| &**why)
    }
}

/// Checks certificates as usual, and lets everybody pass. The handshake must be right all the same.
#[derive(Debug)]
struct TolerantVerifier {
    verifier: Arc<WebPkiServerVerifier>,
    tolerated: Tolerated,
}

impl TolerantVerifier {
    fn new(roots: RootCertStore, tolerated: Tolerated) -> Result<TolerantVerifier, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(TolerantVerifier { verifier: verifier.map_err(|error| error.to_string())?, tolerated })
    }
}

impl ServerCertVerifier for TolerantVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.verifier.verify_server_cert(certificate, intermediates, name, ocsp, now);
        if let Err(error) = verified {
            // The first one counts: there is one certificate in a handshake.
            let _ = self.tolerated.0.set(error.to_string().into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// A directory may hold other things than certificates: what does not parse is left out.
fn add_directory(roots: &mut RootCertStore, dir: &Path) -> Result<(), String> {
    let unread = |error| format!("cannot read {}: {error}", dir.display());
    for entry in fs::read_dir(dir).map_err(unread)? {
        let file = entry.map_err(unread)?.path();
        if file.is_file() {
            let pem = read(&file)?;
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        }
    }
    Ok(())
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(file)?).collect();
    match certificates {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("no certificate in {}: expected PEM", file.display())),
        Err(error) => Err(format!("bad certificate in {}: {error}", file.display())),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = Zeroizing::new(read(file)?);
    match PrivateKeyDer::pem_slice_iter(&pem).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(format!("bad private key in {}: {error}", file.display())),
        None => Err(format!("no private key in {}: expected PEM", file.display())),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
}
