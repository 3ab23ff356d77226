use std::fs;
use std::path::Path;

use driver::layer::{Step, Wire};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tempfile::TempDir;

use super::*;

/// A world with one authority, a server certificate for `mail.test` and a client certificate.
struct World {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl World {
    fn new() -> World {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        parameters.distinguished_name.push(DnType::CommonName, "test authority");
        let ca = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        let world = World { dir, ca };
        world.issue("server", |_| {});
        world.issue("client", |parameters| parameters.distinguished_name.push(DnType::CommonName, "fred"));
        world
    }

    fn issue(&self, file: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut parameters = CertificateParams::new(vec!["mail.test".into()]).unwrap();
        change(&mut parameters);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.ca).unwrap();
        fs::write(self.path(file), certificate.pem() + &key.serialize_pem()).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(format!("{file}.pem"))
    }

    fn pair(&self, file: &str) -> Pair {
        Pair { certificate: self.path(file), key: self.path(file) }
    }

    fn settings(&self) -> Settings {
        Settings { server: Some(self.pair("server")), ca_file: Some(self.path("ca")), ..Settings::default() }
    }
}

/// Splits bytes at places that a seed decides.
struct Splits(u64);

impl Splits {
    fn next(&mut self, max: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % max as u64).unwrap() + 1
    }
}

/// One end with the bytes that it has received and not consumed, as the driver keeps them.
struct Peer {
    layer: Box<dyn Layer>,
    wire: Vec<u8>,
    out: Vec<u8>,
    plain: Vec<u8>,
    established: Option<protocols::proxy::TlsInfo>,
    closed: bool,
    error: Option<String>,
}

impl Peer {
    fn new(mut layer: Box<dyn Layer>) -> Peer {
        let mut first = Wire::default();
        layer.start(&mut first).unwrap();
        Peer {
            layer,
            wire: Vec::new(),
            out: first.bytes().to_vec(),
            plain: Vec::new(),
            established: None,
            closed: false,
            error: None,
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        self.wire.extend_from_slice(bytes);
        loop {
            let mut reply = Wire::default();
            let decoded = self.layer.decode(&mut self.wire, &mut reply);
            self.out.extend_from_slice(reply.bytes());
            let decoded = match decoded {
                Ok(decoded) => decoded,
                Err(error) => {
                    self.error.get_or_insert(error.to_string());
                    return;
                }
            };
            assert!(decoded.plain.end <= decoded.consumed);
            self.plain.extend_from_slice(&self.wire[decoded.plain]);
            self.wire.drain(..decoded.consumed);
            match decoded.step {
                Step::Progress => assert!(decoded.consumed > 0, "progress consumes"),
                Step::NeedMore => return,
                Step::Established(info) => {
                    assert!(self.plain.is_empty(), "plain bytes before the handshake was told");
                    self.established = Some(info);
                }
                Step::Closed => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    fn say(&mut self, plain: &[u8]) {
        let mut wire = Wire::default();
        self.layer.encode(plain, &mut wire).unwrap();
        self.out.extend_from_slice(wire.bytes());
    }

    fn close(&mut self) {
        let mut wire = Wire::default();
        self.layer.close(&mut wire);
        self.out.extend_from_slice(wire.bytes());
    }
}

/// Carries bytes both ways in pieces until nothing moves.
fn carry(a: &mut Peer, b: &mut Peer, splits: &mut Splits) {
    while !(a.out.is_empty() && b.out.is_empty()) {
        carry_piece(a, b, splits);
        carry_piece(b, a, splits);
    }
}

fn carry_piece(from: &mut Peer, to: &mut Peer, splits: &mut Splits) {
    let n = splits.next(700).min(from.out.len());
    let piece: Vec<u8> = from.out.drain(..n).collect();
    if !piece.is_empty() && to.error.is_none() {
        to.receive(&piece);
    }
}

fn pair(server: &Tls, client: &Tls) -> (Peer, Peer) {
    let name = LayerKind::TlsClient { server_name: "mail.test".into() };
    (Peer::new(server.layer(&LayerKind::TlsServer).unwrap()), Peer::new(client.layer(&name).unwrap()))
}

fn shaken(server: &Tls, client: &Tls, seed: u64) -> (Peer, Peer) {
    let (mut s, mut c) = pair(server, client);
    carry(&mut s, &mut c, &mut Splits(seed));
    (s, c)
}

#[test]
fn handshake_and_data_survive_every_kind_of_split() {
    let world = World::new();
    for word in ["tls1_2", "tls1_3"] {
        let settings = Settings { versions: vec![word.into()], ..world.settings() };
        let tls = Tls::new(&settings).unwrap();
        for seed in 1..40 {
            let (mut s, mut c) = pair(&tls, &tls);
            s.say(b"* OK greeting authored before the handshake\r\n");
            let splits = &mut Splits(seed);
            carry(&mut s, &mut c, splits);
            assert_eq!(c.plain, b"* OK greeting authored before the handshake\r\n");
            let version = word.replace("tls1_", "TLSv1.");
            assert_eq!(s.established.as_ref().unwrap().version, version);
            assert_eq!(c.established.as_ref().unwrap().version, version);
            let big: Vec<u8> = (0..70_000u32).map(|i| i.to_le_bytes()[0]).collect();
            c.plain.clear();
            c.say(b"a NOOP\r\n");
            c.say(&big);
            s.say(&big);
            carry(&mut s, &mut c, splits);
            assert_eq!(s.plain, [&b"a NOOP\r\n"[..], &big].concat());
            assert_eq!(c.plain, big);
            assert!(s.wire.is_empty() && c.wire.is_empty());
        }
    }
}

#[test]
fn handshake_works_one_byte_at_a_time() {
    let world = World::new();
    let tls = Tls::new(&world.settings()).unwrap();
    let (mut s, mut c) = pair(&tls, &tls);
    while !(s.out.is_empty() && c.out.is_empty()) {
        for byte in std::mem::take(&mut c.out) {
            s.receive(&[byte]);
        }
        for byte in std::mem::take(&mut s.out) {
            c.receive(&[byte]);
        }
    }
    assert!(s.established.is_some() && c.established.is_some());
}

#[test]
fn close_notify_is_told_behind_the_last_bytes() {
    let world = World::new();
    let tls = Tls::new(&world.settings()).unwrap();
    let (mut s, mut c) = shaken(&tls, &tls, 7);
    s.say(b"* BYE\r\n");
    s.close();
    carry(&mut s, &mut c, &mut Splits(3));
    assert_eq!(c.plain, b"* BYE\r\n");
    assert!(c.closed);
    c.say(b"still may speak\r\n");
    carry(&mut s, &mut c, &mut Splits(3));
    assert_eq!(s.plain, b"still may speak\r\n");
}

#[test]
fn encode_after_close_is_an_error() {
    let world = World::new();
    let tls = Tls::new(&world.settings()).unwrap();
    let (mut s, mut c) = shaken(&tls, &tls, 7);
    s.close();
    c.close();
    carry(&mut s, &mut c, &mut Splits(3));
    let mut wire = Wire::default();
    assert!(s.layer.encode(b"x", &mut wire).is_err() || wire.is_empty());
}

#[test]
fn certificate_of_another_authority_is_refused() {
    let (ours, theirs) = (World::new(), World::new());
    let server = Tls::new(&theirs.settings()).unwrap();
    let client = Tls::new(&ours.settings()).unwrap();
    let (s, c) = shaken(&server, &client, 5);
    assert_error(c.error, "invalid peer certificate");
    assert!(s.error.unwrap().contains("alert"), "the alert arrives");
    assert!(s.established.is_none());
}

#[test]
fn expired_certificate_is_refused() {
    let world = World::new();
    world.issue("server", |parameters| {
        parameters.not_before = rcgen::date_time_ymd(2001, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let tls = Tls::new(&world.settings()).unwrap();
    let (_, c) = shaken(&tls, &tls, 5);
    assert_error(c.error, "xpired");
}

#[test]
fn certificate_for_another_name_is_refused() {
    let world = World::new();
    let tls = Tls::new(&world.settings()).unwrap();
    let kind = LayerKind::TlsClient { server_name: "other.test".into() };
    let mut c = Peer::new(tls.layer(&kind).unwrap());
    let mut s = Peer::new(tls.layer(&LayerKind::TlsServer).unwrap());
    carry(&mut s, &mut c, &mut Splits(9));
    assert_error(c.error, "not valid for name");
}

#[test]
fn no_common_version_ends_in_an_alert_at_both_ends() {
    let world = World::new();
    let server = Tls::new(&Settings { versions: vec!["tls1_2".into()], ..world.settings() }).unwrap();
    let client = Tls::new(&Settings { versions: vec!["tls1_3".into()], ..world.settings() }).unwrap();
    let (s, c) = shaken(&server, &client, 5);
    assert!(s.error.is_some() && c.error.is_some());
}

#[test]
fn garbage_is_an_error_and_no_panic() {
    let world = World::new();
    let tls = Tls::new(&world.settings()).unwrap();
    let mut s = Peer::new(tls.layer(&LayerKind::TlsServer).unwrap());
    s.receive(b"a001 LOGIN fred secret\r\n");
    assert!(s.error.is_some());
}

#[test]
fn second_connection_resumes_with_a_ticket_also_after_a_reload() {
    let world = World::new();
    for word in ["tls1_2", "tls1_3"] {
        let settings = Settings { versions: vec![word.into()], ..world.settings() };
        let server = Tls::new(&settings).unwrap();
        let client = Tls::new(&settings).unwrap();
        let full = server_bytes(&server, &client);
        server.reload(&settings).unwrap();
        let resumed = server_bytes(&server, &client);
        // A resumed handshake carries no certificate and no signature.
        assert!(resumed + 300 < full, "{word}: {resumed} bytes from the server, {full} in full");
    }
}

/// Bytes that the server sends until both ends are established and nothing moves.
fn server_bytes(server: &Tls, client: &Tls) -> usize {
    let (mut s, mut c) = pair(server, client);
    let mut seen = 0;
    while !(s.out.is_empty() && c.out.is_empty()) {
        seen += s.out.len();
        let (to_client, to_server) = (std::mem::take(&mut s.out), std::mem::take(&mut c.out));
        c.receive(&to_client);
        s.receive(&to_server);
    }
    assert!(s.established.is_some() && c.established.is_some());
    seen
}

#[test]
fn client_certificate_is_asked_for_only_when_configured() {
    let world = World::new();
    let client = Settings { client: Some(world.pair("client")), ..world.settings() };
    let plain = Tls::new(&client).unwrap();
    let (s, _) = shaken(&plain, &plain, 5);
    assert_eq!(s.established.unwrap().client_subject, None);
    let asking = Settings {
        client_certificates: ClientCertificates::Optional { ca_file: client.ca_file.clone(), ca_dir: None },
        ..world.settings()
    };
    let (s, _) = shaken(&Tls::new(&asking).unwrap(), &plain, 5);
    assert_eq!(s.established.unwrap().client_subject.as_deref(), Some("fred"));
    let without = Tls::new(&world.settings()).unwrap();
    let (s, _) = shaken(&Tls::new(&asking).unwrap(), &without, 5);
    assert!(s.established.is_some(), "optional");
    let demanding = Settings {
        client_certificates: ClientCertificates::Required { ca_file: client.ca_file.clone(), ca_dir: None },
        ..world.settings()
    };
    let (s, _) = shaken(&Tls::new(&demanding).unwrap(), &without, 5);
    assert!(s.established.is_none() && s.error.is_some());
}

#[test]
fn client_certificate_of_a_host_comes_before_the_common_one() {
    let world = World::new();
    let asking = Settings {
        client_certificates: ClientCertificates::Required { ca_file: Some(world.path("ca")), ca_dir: None },
        ..world.settings()
    };
    let mut settings = world.settings();
    settings.client_by_host.insert("mail".into(), world.pair("client"));
    let (s, _) = shaken(&Tls::new(&asking).unwrap(), &Tls::new(&settings).unwrap(), 5);
    assert_eq!(s.established.unwrap().client_subject.as_deref(), Some("fred"));
}

#[test]
fn reload_shows_the_new_certificate_and_keeps_the_old_one_when_it_is_bad() {
    let world = World::new();
    let tls = Tls::new(&world.settings()).unwrap();
    fs::write(world.path("server"), "nothing").unwrap();
    let error = tls.reload(&world.settings()).unwrap_err().to_string();
    assert!(error.contains("server.pem") && error.contains("no certificate"), "{error}");
    assert!(shaken(&tls, &tls, 5).0.established.is_some());
    world.issue("server", |parameters| {
        parameters.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    tls.reload(&world.settings()).unwrap();
    assert!(shaken(&tls, &tls, 5).1.error.is_some());
}

#[test]
fn errors_name_the_file() {
    let world = World::new();
    let missing = Pair { certificate: "/nowhere/cert.pem".into(), key: world.path("server") };
    let settings = Settings { server: Some(missing), ..world.settings() };
    assert!(message(&settings).starts_with("cannot read /nowhere/cert.pem: "));
    let no_key = Pair { certificate: world.path("server"), key: world.path("ca") };
    let settings = Settings { server: Some(no_key), ..world.settings() };
    assert!(message(&settings).contains("no private key in"));
    let wrong_key = Pair { certificate: world.path("server"), key: world.path("client") };
    let settings = Settings { server: Some(wrong_key), ..world.settings() };
    assert!(message(&settings).contains(Path::new("client.pem").to_str().unwrap()));
    let settings = Settings { versions: vec!["tls1_0".into()], ..world.settings() };
    assert!(message(&settings).contains("tls_versions"));
}

fn message(settings: &Settings) -> String {
    Tls::new(settings).err().unwrap().to_string()
}

#[test]
fn too_much_before_the_handshake_is_refused() {
    let world = World::new();
    let tls = Tls::new(&world.settings()).unwrap();
    let mut layer = tls.layer(&LayerKind::TlsServer).unwrap();
    let mut wire = Wire::default();
    assert!(layer.encode(&vec![0; EARLY_BYTES_MAX], &mut wire).is_ok());
    assert!(layer.encode(b"x", &mut wire).is_err());
    assert!(wire.is_empty());
}

fn assert_error(error: Option<String>, part: &str) {
    let error = error.expect("an error");
    assert!(error.contains(part), "{error}");
}

#[test]
fn server_chooses_the_suite_whose_hash_processors_have() {
    let world = World::new();
    let versions = versions(&[]).unwrap();
    let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let config = server(&world.settings(), &world.pair("server"), &versions, &tickets).unwrap();
    let roots = Arc::new(files::roots(Some(&world.path("ca")), None).unwrap());
    let theirs = client(&roots, None, &versions).unwrap();
    let first = theirs.crypto_provider().cipher_suites[0].suite();
    assert_eq!(first, rustls::CipherSuite::TLS13_AES_256_GCM_SHA384, "the client would choose another");
    let name = ServerName::try_from("mail.test").unwrap();
    let mut c = rustls::ClientConnection::new(theirs, name).unwrap();
    let mut s = rustls::ServerConnection::new(Arc::new(config)).unwrap();
    let mut wire = Vec::new();
    c.write_tls(&mut wire).unwrap();
    s.read_tls(&mut wire.as_slice()).unwrap();
    s.process_new_packets().unwrap();
    let suite = s.negotiated_cipher_suite().unwrap().suite();
    assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let all = |provider: &CryptoProvider| provider.cipher_suites.len();
    assert_eq!(all(&serving()), all(&provider()), "none is left out");
}
