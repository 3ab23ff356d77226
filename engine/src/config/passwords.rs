//! `sasl_pwcheck_method`.

use std::path::Path;
use std::sync::Arc;

use protocols::conf::{ConfError, Imapd};

use super::{missing, wrong};
use crate::helpers::{PasswdFile, PasswordSource, Saslauthd, saslauthd_socket};

/// What is said to whom has none of the three: there is no libsasl2 in this program.
const EXPECTED: &str = "expected saslauthd (its socket), backend (LOGIN at the user's home server) or passwd_file (with \
                        sasl_passwd_file); auxprop is not served";

/// The first method of the list that there is.
pub(super) fn source(imapd: &Imapd, file: &str) -> Result<PasswordSource, ConfError> {
    for method in imapd.list("sasl_pwcheck_method") {
        match method.to_ascii_lowercase().as_str() {
            "saslauthd" => {
                let socket = saslauthd_socket(imapd.text("sasl_saslauthd_path"));
                return Ok(PasswordSource::Saslauthd(Saslauthd::new(socket)));
            }
            "backend" => return Ok(PasswordSource::Backend),
            "passwd_file" => return passwd_file(imapd, file),
            _ => {}
        }
    }
    Err(wrong(imapd, file, "sasl_pwcheck_method", EXPECTED))
}

fn passwd_file(imapd: &Imapd, file: &str) -> Result<PasswordSource, ConfError> {
    let value = imapd.value("sasl_passwd_file").ok_or_else(|| {
        missing(file, "sasl_passwd_file is not set: expected a file of name:hash, as sasl_pwcheck_method is passwd_file")
    })?;
    let passwords = PasswdFile::new(Path::new(&value.text));
    passwords.refresh().map_err(|error| value.error(error.to_string()))?;
    Ok(PasswordSource::PasswdFile(Arc::new(passwords)))
}
