//! Certificates and keys from files, with errors that name the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why TLS cannot be set up from the files that the configuration names.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// A file has nothing of what it is for.
    #[error("no {expected} in {}: expected PEM", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
        /// Certificate or private key.
        expected: &'static str,
    },
    /// A file has something, but not what rustls takes.
    #[error("bad {what} in {}: {error}", file.display())]
    Bad {
        /// The file.
        file: PathBuf,
        /// Certificate or private key.
        what: &'static str,
        /// What rustls said.
        error: Box<str>,
    },
    /// The system has no certification authorities that could be used.
    #[error("no certification authorities: the system has none and tls_server_ca_file is not set")]
    NoRoots,
    /// `tls_versions` leaves nothing.
    #[error("tls_versions has none of tls1_2, tls1_3: {0}")]
    NoVersion(Box<str>),
    /// rustls refuses the whole.
    #[error("TLS configuration: {0}")]
    Refused(Box<str>),
    /// A connection wants TLS, and nothing is configured for it.
    #[error("TLS is not configured (tls_server_cert)")]
    NotConfigured,
    /// A server name that no certificate can carry.
    #[error("not a host name for TLS: {0}")]
    BadName(Box<str>),
}

/// Reads a certificate chain, the end entity's first.
pub(super) fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read(file)?;
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        chain.push(certificate.map_err(|error| bad(file, "certificate", error))?);
    }
    if chain.is_empty() {
        return Err(TlsError::Empty { file: file.into(), expected: "certificate" });
    }
    Ok(chain)
}

/// Reads the first private key of a file.
pub(super) fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = zeroize::Zeroizing::new(read(file)?);
    match PrivateKeyDer::pem_slice_iter(&pem).next() {
        Some(Ok(key)) => Ok(key),
        Some(Err(error)) => Err(bad(file, "private key", error)),
        None => Err(TlsError::Empty { file: file.into(), expected: "private key" }),
    }
}

/// Collects certification authorities from a file and a directory; from the system when neither is
/// named.
pub(super) fn roots(file: Option<&Path>, dir: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let Some(file) = file {
        add_roots(&mut roots, file)?;
    }
    if let Some(dir) = dir {
        add_directory(&mut roots, dir)?;
    }
    if file.is_none() && dir.is_none() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

fn add_roots(roots: &mut RootCertStore, file: &Path) -> Result<(), TlsError> {
    for certificate in chain(file)? {
        roots.add(certificate).map_err(|error| bad(file, "certificate", error))?;
    }
    Ok(())
}

/// A directory may hold other things than certificates (`c_rehash` links, CRLs): what does not
/// parse is left out, what cannot be read is an error.
fn add_directory(roots: &mut RootCertStore, dir: &Path) -> Result<(), TlsError> {
    let unread = |error| TlsError::Read { file: dir.into(), error };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unread)? {
        files.push(entry.map_err(unread)?.path());
    }
    files.sort();
    for file in files.iter().filter(|file| file.is_file()) {
        let pem = read(file)?;
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|error| TlsError::Read { file: file.into(), error })
}

/// An error about the content of a file.
pub(super) fn bad(file: &Path, what: &'static str, error: impl ToString) -> TlsError {
    TlsError::Bad { file: file.into(), what, error: error.to_string().into() }
}
