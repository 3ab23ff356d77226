use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use mupdate::master;
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
  nntp cmd=\"nntpd -C /x\" listen=\"127.0.0.101:119\" proto=\"tcp4\" prefork=0
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
    assert_eq!(configuration.services.len(), 2);
    let Program::Imap(imap) = &configuration.services[0].program else { panic!("no imap") };
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
fn pop3_is_configured_and_kpop_refused() {
    let own = "poptimeout: 20\npopsubfolders: no\npop3_popsubfolders: yes\npopuseacl: yes\n";
    let services = load(&format!("{IMAPD}{own}"), CYRUS).unwrap().services;
    let Program::Pop3(pop3) = &services[1].program else { panic!("no pop3") };
    assert_eq!(pop3.timeout, Duration::from_secs(20 * 60));
    assert!(pop3.subfolders && pop3.use_acl && pop3.common.login.plaintext_allowed);
    assert_eq!(pop3.common.servername.as_ref(), "frontend");
    let error = refused(IMAPD, &CYRUS.replace("pop3d", "pop3d -k"));
    assert!(error.ends_with("-k (KPOP) is not supported: use GSSAPI"), "{error}");
}

#[test]
fn sieve_refers_only_where_it_is_told_to() {
    let cyrus = CYRUS.replace("pop3d", "timsieved");
    for (own, referrals) in [("", false), ("sieve_allowreferrals: yes\n", true)] {
        let services = load(&format!("{IMAPD}{own}timeout: 5\n"), &cyrus).unwrap().services;
        let Program::Sieve(sieve) = &services[1].program else { panic!("no sieve") };
        assert_eq!((sieve.referrals, sieve.timeout), (referrals, Duration::from_secs(10 * 60)));
    }
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
            == "cyrus.conf:7: nntp: nntpd is not served by this version: nothing listens for it"));
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
        ("umask: 077", "umask: 078", "imapd.conf:6: bad value for umask"),
        ("umask: 077", "umask: 1777", "expected an octal number up to 777, got 1777"),
        ("umask: 077", "rookery_shards: -1", "imapd.conf:6: bad value for rookery_shards"),
        (
            "umask: 077",
            "rookery_unsent_max: 1000K",
            "imapd.conf:6: bad value for rookery_unsent_max: expected 1M",
        ),
        ("umask: 077", "rookery_unsent_max: -1", "imapd.conf:6: bad value for rookery_unsent_max"),
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
    let error = refused(IMAPD, &CYRUS.replace("imapd", "nntpd").replace("pop3d", "nntpd"));
    assert!(error.contains("no service that this version serves"), "{error}");
}

#[test]
fn scram_is_offered_where_a_file_has_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let passwd = dir.path().join("passwd");
    std::fs::write(&passwd, "").unwrap();
    let method = format!("method: passwd_file\nsasl_passwd_file: {}", passwd.display());
    let configuration = load(&IMAPD.replace("method: backend", &method), CYRUS).unwrap();
    let Program::Imap(imap) = &configuration.services[0].program else { panic!("no imap") };
    let offered = [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256];
    assert_eq!(imap.login.offer.mechanisms, offered);
}

/// What `murder up` writes for a master, with passwords where we can read them.
fn master_conf(passwd: &Path, more: &str) -> String {
    format!(
        "configdirectory: /tmp/conf\nservername: mupdate\nadmins: cyrus postman\nallowplaintext: yes\n\
         sasl_pwcheck_method: passwd_file\nsasl_passwd_file: {}\nmupdate_connections_max: 1024\n{more}",
        passwd.display()
    )
}

fn standalone(imapd: &str, cyrus: &str, is_master: bool, listen: Option<&str>) -> Result<Standalone, String> {
    let read = |path: &str| match path {
        "imapd.conf" => Ok(imapd.to_owned()),
        "cyrus.conf" => Ok(cyrus.to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let cyrus_conf = Some("cyrus.conf").filter(|_| !cyrus.is_empty());
    let command = Command { is_master, imapd_conf: "imapd.conf", cyrus_conf, listen };
    Standalone::load(command, &read, &ProcessSecret::default()).map_err(|error| error.to_string())
}

fn passwd() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new().unwrap()
}

#[test]
fn master_listens_where_it_is_told_and_on_its_port_otherwise() {
    let passwd = passwd();
    let imapd = master_conf(passwd.path(), "");
    let line = "SERVICES {\n  mm cmd=\"mupdate -m\" listen=\"127.0.0.9:4905\" proto=tcp4\n}\n";
    let tcp = |text: &str| Listen::Tcp(vec![text.parse().unwrap()]);
    assert_eq!(standalone(&imapd, line, true, None).unwrap().serving.listen, tcp("127.0.0.9:4905"));
    let told = standalone(&imapd, line, true, Some("127.0.0.8:5905")).unwrap();
    assert_eq!((told.serving.listen, told.serving.name.as_ref()), (tcp("127.0.0.8:5905"), "mm"));
    let Listen::Tcp(all) = standalone(&imapd, "", true, None).unwrap().serving.listen else { panic!() };
    assert!(all.len() == 2 && all.iter().all(|address| address.port() == 3905));
    let slave = standalone(&format!("{imapd}mupdate_server: m\n"), line, false, None).err().unwrap();
    assert!(slave.contains("no line with cmd=\"mupdate\""), "{slave}");
}

#[test]
fn master_has_its_own_list_admins_and_limits() {
    let passwd = passwd();
    let own = "mm_admins: postman\nmm_mupdate_config: replicated\nrookery_master_path: /tmp/list\n";
    let line = "SERVICES {\n  mm cmd=\"mupdate -m\" listen=\"127.0.0.9:4905\" proto=tcp4\n}\n";
    let loaded = standalone(&master_conf(passwd.path(), own), line, true, None).unwrap();
    let Source::Master(list) = &loaded.source else { panic!("a slave") };
    assert_eq!(list.store.as_deref(), Some(Path::new("/tmp/list")));
    assert_eq!(list.rules.mode, master::rules::Mode::Shared);
    let machine = &loaded.serving.machine;
    assert_eq!(machine.admins, [Box::from(*b"postman")]);
    assert_eq!(machine.offer.mechanisms, [Mechanism::Plain, Mechanism::Login]);
    assert_eq!(loaded.serving.connections_max, Some(1024));
}

#[test]
fn master_does_not_ask_backends_for_passwords() {
    let error =
        standalone("configdirectory: /c\nsasl_pwcheck_method: backend\n", "", true, None).err().unwrap();
    assert!(error.contains("saslauthd or passwd_file"), "{error}");
}

#[test]
fn frontend_serves_its_mupdate_line_and_runs_a_master_beside() {
    let configuration = load(IMAPD, CYRUS).unwrap();
    let serving = configuration.mupdate.unwrap();
    let master::Role::Slave { master } = &serving.machine.role else { panic!("a master") };
    assert_eq!(master.as_ref(), "127.0.0.1:3905");
    assert!(configuration.master.is_none());
    let beside = CYRUS.replace("cmd=\"mupdate -C /x\"", "cmd=\"mupdate -m -C /x\"");
    let configuration = load(IMAPD, &beside).unwrap();
    assert!(configuration.mupdate.is_none());
    assert_eq!(configuration.master.unwrap().name.as_ref(), "mupdate");
}

#[test]
fn data_timeout_of_lmtp_is_read() {
    let timeout = |line: &str| load(&format!("{IMAPD}{line}"), CYRUS).unwrap().process.data_timeout;
    assert_eq!(timeout(""), Duration::from_secs(45));
    assert_eq!(timeout("rookery_lmtp_data_timeout: 0\n"), Duration::from_secs(45));
    assert_eq!(timeout("rookery_lmtp_data_timeout: 2m\n"), Duration::from_secs(120));
    assert!(
        refused(&format!("{IMAPD}rookery_lmtp_data_timeout: soon\n"), CYRUS)
            .contains("rookery_lmtp_data_timeout")
    );
}

#[test]
fn message_size_without_a_unit_is_in_bytes() {
    let cyrus = CYRUS.replace("cmd=\"pop3d -C /x\"", "cmd=\"lmtpd -a\"");
    let configuration = load(&format!("{IMAPD}maxmessagesize: 100000\n"), &cyrus).unwrap();
    let Program::Imap(imap) = &configuration.services[0].program else { panic!("no imap") };
    let Program::Lmtp(lmtp) = &configuration.services[1].program else { panic!("no lmtp") };
    assert_eq!((imap.limits.append_bytes_max, lmtp.message_bytes_max), (Some(100_000), Some(100_000)));
}
