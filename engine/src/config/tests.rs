use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use protocols::sasl::Mechanism;

use super::*;
use crate::services::Program;

/// What `murder up` writes for a frontend, but for `sasl_pwcheck_method`.
const IMAPD: &str = "\
configdirectory: /tmp/conf
partition-default: /tmp/spool
defaultpartition: default
servername: frontend
syslog_prefix: frontend
umask: 077
admins: cyrus
allowplaintext: yes
unixhierarchysep: no
altnamespace: no
sasl_pwcheck_method: backend
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: /tmp/sasldb2
sasl_auto_transition: no
sasl_mech_list: PLAIN LOGIN SCRAM-SHA-256 DIGEST-MD5
mupdate_server: 127.0.0.1:3905
mupdate_authname: postman
mupdate_username: postman
mupdate_password: pw-postman
mupdate_retry_delay: 2
proxy_authname: mailproxy
proxy_password: pw-mailproxy
backend1_password: own
serverlist: backend1 backend2
";

const CYRUS: &str = "\
START {
  recover cmd=\"ctl_cyrusdb -C /x -r\"
}
SERVICES {
  imap cmd=\"imapd -C /x\" listen=\"127.0.0.101:143\" proto=\"tcp4\" prefork=1
  pop3 cmd=\"pop3d -C /x\" listen=\"127.0.0.101:110\" proto=\"tcp4\" prefork=0
  mupdate cmd=\"mupdate -C /x\" listen=\"127.0.0.101:3905\" proto=\"tcp4\" prefork=1
}
";

fn load(imapd: &str, cyrus: &str) -> Result<Configuration, String> {
    let files: BTreeMap<&str, &str> = [("imapd.conf", imapd), ("cyrus.conf", cyrus)].into();
    let read = |path: &str| {
        files.get(path).map(|text| (*text).to_owned()).ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    Configuration::load("imapd.conf", "cyrus.conf", &read, &ProcessSecret::default())
        .map_err(|error| error.to_string())
}

fn refused(imapd: &str, cyrus: &str) -> String {
    load(imapd, cyrus).err().expect("the configuration is refused")
}

#[test]
fn configuration_of_a_cyrus_frontend_is_read() {
    let configuration = load(IMAPD, CYRUS).unwrap();
    assert!(matches!(configuration.passwords, PasswordSource::Backend));
    assert_eq!(configuration.directory.server.as_ref(), "127.0.0.1:3905");
    assert_eq!(configuration.directory.retry_delay, Duration::from_secs(2));
    assert_eq!(configuration.services.len(), 1);
    let Program::Imap(imap) = &configuration.services[0].program;
    assert_eq!(imap.servername.as_ref(), "frontend");
    assert_eq!(imap.namespace.separator, b'.');
    assert!(!imap.namespace.alt && imap.login.plaintext_allowed && !imap.login.starttls);
    assert_eq!(imap.login.offer.mechanisms, [Mechanism::Plain, Mechanism::Login]);
    assert_eq!(imap.proxy.password_for("backend1.x").expose(), b"own");
    assert_eq!(imap.proxy.password_for("backend2").expose(), b"pw-mailproxy");
    assert_eq!(imap.proxy.hosts.len(), 1, "proxy_password and mupdate_password are no hosts");
    assert_eq!(imap.serverlist.len(), 2);
}

#[test]
fn list_is_guarded_as_by_default_in_mupdate_and_unified_names_its_server() {
    let standard = load(IMAPD, CYRUS).unwrap().directory;
    assert_eq!(standard.hold_back_percent, 20);
    assert_eq!(standard.own_server, None);
    let unified = load(&format!("{IMAPD}mupdate_config: unified\n"), CYRUS).unwrap().directory;
    assert_eq!(unified.own_server.as_deref(), Some(&b"frontend"[..]));
    assert!(!unified.is_same(&standard));
}

#[test]
fn lines_that_are_not_served_are_told() {
    let notes = load(IMAPD, CYRUS).unwrap().notes;
    assert!(notes.iter().any(|(level, text)| *level == Level::Warn
        && text.as_ref()
            == "cyrus.conf:6: pop3: pop3d is not served by this version: nothing listens for it"));
    assert!(
        notes
            .iter()
            .any(|(level, text)| *level == Level::Info && text.contains("slave runs in this process"))
    );
    assert!(!notes.iter().any(|(_, text)| text.contains("unknown option")));
    let notes = load(&format!("{IMAPD}allowplaintxt: yes\n"), CYRUS).unwrap().notes;
    assert!(notes.iter().any(|(_, text)| text.contains("imapd.conf:25: unknown option allowplaintxt")));
}

#[test]
fn password_methods_without_a_source_are_refused_with_the_three_that_have_one() {
    for method in ["auxprop", "auxprop authdaemond"] {
        let error = refused(&IMAPD.replace("method: backend", &format!("method: {method}")), CYRUS);
        assert!(error.starts_with("imapd.conf:11: "), "{error}");
        assert!(["saslauthd", "backend", "passwd_file"].iter().all(|name| error.contains(name)), "{error}");
    }
    let unset = refused(&IMAPD.replace("sasl_pwcheck_method: backend\n", ""), CYRUS);
    assert!(unset.contains("sasl_pwcheck_method is not set: expected saslauthd"), "{unset}");
    let list = load(&IMAPD.replace("method: backend", "method: auxprop saslauthd"), CYRUS).unwrap();
    assert!(matches!(list.passwords, PasswordSource::Saslauthd(_)));
}

#[test]
fn bad_values_are_refused_with_file_and_line() {
    for (from, to, expected) in [
        ("allowplaintext: yes", "allowplaintext: perhaps", "imapd.conf:8: bad value for allowplaintext"),
        ("configdirectory: /tmp/conf\n", "", "configdirectory is not set"),
        ("mupdate_server: 127.0.0.1:3905", "mupdate_server: a:b", "imapd.conf:16: server name"),
        ("mupdate_retry_delay: 2", "mupdate_retry_delay: soon", "imapd.conf:20: bad value"),
        ("umask: 077", "proxyservers: mailproxy", "imapd.conf:6: proxyservers is set"),
        ("umask: 077", "rookery_shards: -1", "imapd.conf:6: bad value for rookery_shards"),
        ("umask: 077", "tls_server_key: /x", "tls_server_cert is not set"),
        ("umask: 077", "syslog_facility: nowhere", "imapd.conf:6: bad value for syslog_facility"),
        ("mech_list: PLAIN LOGIN", "mech_list: GSSAPI", "imapd.conf:15: bad value for sasl_mech_list"),
        ("method: backend", "method: passwd_file", "sasl_passwd_file is not set"),
    ] {
        let error = refused(&IMAPD.replace(from, to), CYRUS);
        assert!(error.contains(expected), "{error}");
    }
    let error = refused(IMAPD, &CYRUS.replace("imapd -C", "imapd -s -C"));
    assert!(error.starts_with("cyrus.conf:5: imap: -s without a certificate"), "{error}");
    let error = refused(IMAPD, &CYRUS.replace("imapd", "lmtpd"));
    assert!(error.contains("no service that this version serves"), "{error}");
}

#[test]
fn scram_is_offered_where_a_file_has_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let passwd = dir.path().join("passwd");
    std::fs::write(&passwd, "").unwrap();
    let method = format!("method: passwd_file\nsasl_passwd_file: {}", passwd.display());
    let configuration = load(&IMAPD.replace("method: backend", &method), CYRUS).unwrap();
    let Program::Imap(imap) = &configuration.services[0].program;
    let offered = [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256];
    assert_eq!(imap.login.offer.mechanisms, offered);
}
