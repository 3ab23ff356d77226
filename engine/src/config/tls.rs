//! The TLS options.

use std::collections::BTreeMap;

use protocols::conf::{ConfError, Imapd};

use super::{path, wrong};
use crate::tls::{ClientCertificates, Pair, Settings};

/// How `tls_client_certs` reads.
#[derive(Clone, Copy)]
enum Ask {
    Off,
    Optional,
    Required,
}

pub(super) fn settings(imapd: &Imapd, file: &str) -> Result<Settings, ConfError> {
    // Who has named only one authority has one for both directions.
    let has_own = ["tls_server_ca_file", "tls_server_ca_dir"].iter().any(|key| imapd.value(key).is_some());
    let authorities = if has_own { "tls_server_ca" } else { "tls_client_ca" };
    Ok(Settings {
        server: pair(imapd, file, "tls_server_cert", "tls_server_key")?,
        client_certificates: client_certificates(imapd, file)?,
        ca_file: path(imapd, &format!("{authorities}_file")),
        ca_dir: path(imapd, &format!("{authorities}_dir")),
        client: pair(imapd, file, "tls_client_cert", "tls_client_key")?,
        client_by_host: client_by_host(imapd),
        versions: imapd.list("tls_versions").into_iter().map(Box::from).collect(),
    })
}

/// A certificate without a key of its own has it in the same file; `disabled` turns it off.
fn pair(imapd: &Imapd, file: &str, certificate: &str, key: &str) -> Result<Option<Pair>, ConfError> {
    let set = |key| path(imapd, key).filter(|path| path.as_os_str() != "disabled");
    match (set(certificate), set(key)) {
        (Some(certificate), key) => {
            Ok(Some(Pair { key: key.unwrap_or_else(|| certificate.clone()), certificate }))
        }
        (None, None) => Ok(None),
        (None, Some(_)) => Err(wrong(imapd, file, certificate, &format!("expected a file, as {key} is set"))),
    }
}

/// Cyrus asks for certificates by default when it has an authority to check them with; here only
/// `tls_client_certs` asks, for clients with stray certificates fail otherwise.
fn client_certificates(imapd: &Imapd, file: &str) -> Result<ClientCertificates, ConfError> {
    let choices =
        [("off", Ask::Off), ("optional", Ask::Optional), ("on", Ask::Optional), ("require", Ask::Required)];
    let (ca_file, ca_dir) = (path(imapd, "tls_client_ca_file"), path(imapd, "tls_client_ca_dir"));
    match imapd.choice("tls_client_certs", &choices, Ask::Off)? {
        Ask::Off => Ok(ClientCertificates::Off),
        _ if ca_file.is_none() && ca_dir.is_none() => Err(wrong(
            imapd,
            file,
            "tls_client_certs",
            "expected tls_client_ca_file or tls_client_ca_dir with it",
        )),
        Ask::Optional => Ok(ClientCertificates::Optional { ca_file, ca_dir }),
        Ask::Required => Ok(ClientCertificates::Required { ca_file, ca_dir }),
    }
}

/// `HOST_client_cert` and `HOST_client_key`, where HOST is not `tls`.
fn client_by_host(imapd: &Imapd) -> BTreeMap<Box<str>, Pair> {
    let mut hosts = BTreeMap::new();
    for (key, value) in imapd.iter() {
        let Some(host) = key.strip_suffix("_client_cert").filter(|host| *host != "tls") else { continue };
        let certificate = value.text.clone().into();
        let own_key = path(imapd, &format!("{host}_client_key"));
        let pair = Pair { key: own_key.unwrap_or_else(|| value.text.clone().into()), certificate };
        hosts.insert(host.into(), pair);
    }
    hosts
}
