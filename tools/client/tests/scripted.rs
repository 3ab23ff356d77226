//! The client against servers that follow a script.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use client::{
    Answer, Change, ClientError, Endpoint, Imap, ImapLogin, Located, Mupdate, MupdateLogin, TlsSettings,
};
use mupdate::slave::Starttls;
use protocols::imap::config::ProxyLogin;
use protocols::imap::grammar::{Status, UntaggedKind};
use protocols::sasl::Credentials;
use protocols::secret::Secret;

const GREETING: &[u8] = b"* AUTH \"PLAIN\"\r\n* PARTIAL-UPDATE\r\n\
                          * OK MUPDATE \"master\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n";

/// `\0postman\0secret`.
const PLAIN: &str = "AHBvc3RtYW4Ac2VjcmV0";

#[test]
fn rows_of_a_list_are_told_in_order_however_they_come() {
    let (endpoint, server) = serve(|mut peer| {
        peer.log_in();
        peer.expect("X0 LIST \"be1!\"\r\n");
        for part in [
            "X0 MAIL",
            "BOX {6+}\r\nuser",
            ".a \"be1!p\" \"a\\\"b\tlrs\t\"\r\nX0 RESERVE \"user.b\" \"be1!",
            "p\"\r\nX0 OK \"list com",
            "plete\"\r\n",
        ] {
            peer.send(part);
        }
    });
    let mut mupdate = Mupdate::connect(&endpoint, &login(Starttls::Never)).unwrap();
    assert!(mupdate.greeting().is_master());
    assert!(mupdate.greeting().offers("PARTIAL-UPDATE"));
    assert!(!mupdate.greeting().offers("PARTIAL"));
    let mut rows = Vec::new();
    mupdate.list(Some(b"be1!"), |row| rows.push(shown(&row))).unwrap();
    assert_eq!(rows, ["user.a be1!p Some(\"a\\\"b\\tlrs\\t\")", "user.b be1!p None"]);
    server.join().unwrap();
}

#[test]
fn a_list_that_is_cut_off_is_an_error() {
    for end in ["", "* BYE \"no longer ready for connections\"\r\n", "X0 NO \"not now\"\r\n"] {
        let (endpoint, server) = serve(move |mut peer| {
            peer.log_in();
            peer.expect("X0 LIST\r\n");
            peer.send("X0 RESERVE \"user.a\" \"be1!p\"\r\n");
            peer.send(end);
        });
        let mut mupdate = Mupdate::connect(&endpoint, &login(Starttls::Never)).unwrap();
        let error = mupdate.list(None, |_| {}).unwrap_err();
        server.join().unwrap();
        match end {
            "" => assert!(matches!(error, ClientError::Closed { .. }), "{error}"),
            bye if bye.starts_with('*') => assert!(error.to_string().contains("no longer ready"), "{error}"),
            _ => assert!(matches!(error, ClientError::Refused { .. }), "{error}"),
        }
    }
}

#[test]
fn answers_in_another_order_find_their_commands() {
    let (endpoint, server) = serve(|mut peer| {
        peer.log_in();
        peer.expect(
            "X0 ACTIVATE \"a\" \"be1!p\" \"acl\"\r\nX1 FIND \"b\"\r\nX2 FIND \"c\"\r\nX3 DELETE \"d\"\r\n",
        );
        peer.send("X3 NO \"mailbox doesn't exist\"\r\nX1 RESERVE \"b\" \"be2!q\"\r\nX2 OK \"x\"\r\n");
        peer.send("X1 OK \"x\"\r\nX0 OK \"done\"\r\n");
    });
    let mut mupdate = Mupdate::connect(&endpoint, &login(Starttls::Never)).unwrap();
    let mut answers = Vec::new();
    let mut pipeline = mupdate.pipeline(|name: char, answer| answers.push((name, answer)));
    pipeline.submit(Change::Activate { name: b"a", location: b"be1!p", acl: b"acl" }, 'a').unwrap();
    pipeline.submit(Change::Find { name: b"b" }, 'b').unwrap();
    pipeline.submit(Change::Find { name: b"c" }, 'c').unwrap();
    pipeline.submit(Change::Delete { name: b"d" }, 'd').unwrap();
    pipeline.finish().unwrap();
    let located = Located { location: (*b"be2!q").into(), acl: None };
    assert_eq!(
        answers,
        [
            ('d', Answer::Refused("mailbox doesn't exist".into())),
            ('c', Answer::Found(None)),
            ('b', Answer::Found(Some(located))),
            ('a', Answer::Done),
        ]
    );
    server.join().unwrap();
}

#[test]
fn no_more_than_1000_changes_wait_for_their_answers() {
    const ALL: usize = 2_500;
    let (endpoint, server) = serve(|mut peer| {
        peer.log_in();
        let mut answered = 0;
        while answered < ALL {
            let batch = (ALL - answered).min(1_000);
            for n in answered..answered + batch {
                peer.expect(&format!("X{n} DELETE \"m{n}\"\r\n"));
            }
            // The socket is empty: nothing follows before an answer.
            peer.assert_nothing_there();
            (answered..answered + batch).for_each(|n| peer.send(&format!("X{n} OK \"done\"\r\n")));
            answered += batch;
        }
    });
    let mut mupdate = Mupdate::connect(&endpoint, &login(Starttls::Never)).unwrap();
    let mut done = 0;
    let mut pipeline = mupdate.pipeline(|(), answer| done += usize::from(answer == Answer::Done));
    for n in 0..ALL {
        pipeline.submit(Change::Delete { name: format!("m{n}").as_bytes() }, ()).unwrap();
    }
    pipeline.finish().unwrap();
    assert_eq!(done, ALL);
    server.join().unwrap();
}

#[test]
fn a_silent_server_is_given_up_at_the_deadline() {
    let (mut endpoint, server) = serve(|mut peer| {
        peer.log_in();
        peer.expect("X0 FIND \"a\"\r\n");
        peer.read_to_end();
    });
    endpoint.answer_timeout = Duration::from_millis(20);
    let mut mupdate = Mupdate::connect(&endpoint, &login(Starttls::Never)).unwrap();
    let error = mupdate.find(b"a").unwrap_err();
    assert!(error.to_string().ends_with("no answer in time"), "{error}");
    drop(mupdate);
    server.join().unwrap();
}

#[test]
fn a_refused_login_says_why() {
    let (endpoint, server) = serve(|mut peer| {
        peer.send_bytes(GREETING);
        peer.expect(&format!("A01 AUTHENTICATE \"PLAIN\" \"{PLAIN}\"\r\n"));
        peer.send("A01 NO \"only admins may authenticate\"\r\n");
    });
    let error = Mupdate::connect(&endpoint, &login(Starttls::Never)).err().unwrap();
    assert!(matches!(error, ClientError::Login { .. }));
    assert!(error.to_string().contains("only admins may authenticate"), "{error}");
    server.join().unwrap();
}

#[test]
fn starttls_is_done_with_a_server_of_the_right_name_and_authority() {
    let authority = Authority::new("localhost");
    let tls = authority.server_config();
    let (mut endpoint, server) = serve(move |mut peer| {
        peer.send("* AUTH\r\n* STARTTLS\r\n* OK MUPDATE\r\n");
        peer.expect("S01 STARTTLS\r\n");
        peer.send("S01 OK Begin TLS negotiation now\r\n");
        let mut connection = rustls::ServerConnection::new(tls).unwrap();
        let mut stream = rustls::Stream::new(&mut connection, &mut peer.socket);
        stream.write_all(GREETING).unwrap();
        let mut line = vec![0; 29 + PLAIN.len()];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(line, format!("A01 AUTHENTICATE \"PLAIN\" \"{PLAIN}\"\r\n").as_bytes()[..line.len()]);
        stream.write_all(b"A01 OK \"Authenticated\"\r\n").unwrap();
    });
    endpoint.server = endpoint.server.replace("127.0.0.1", "localhost").into();
    endpoint.tls.ca_file = Some(authority.file.path().into());
    let mupdate = Mupdate::connect(&endpoint, &login(Starttls::Required)).unwrap();
    assert!(mupdate.greeting().is_master());
    server.join().unwrap();
}

#[test]
fn a_server_of_another_authority_is_refused() {
    let (trusted, other) = (Authority::new("localhost"), Authority::new("localhost"));
    let tls = other.server_config();
    let (mut endpoint, server) = serve(move |mut peer| {
        peer.send("* STARTTLS\r\n* OK MUPDATE\r\n");
        peer.expect("S01 STARTTLS\r\n");
        peer.send("S01 OK Begin TLS negotiation now\r\n");
        let mut connection = rustls::ServerConnection::new(tls).unwrap();
        assert!(connection.complete_io(&mut peer.socket).is_err(), "the client must not go on");
    });
    endpoint.server = endpoint.server.replace("127.0.0.1", "localhost").into();
    endpoint.tls.ca_file = Some(trusted.file.path().into());
    let error = Mupdate::connect(&endpoint, &login(Starttls::Required)).err().unwrap();
    assert!(matches!(error, ClientError::Tls { .. }), "{error}");
    server.join().unwrap();
}

#[test]
fn imap_literals_belong_to_their_responses() {
    let (endpoint, server) = serve(|mut peer| {
        peer.send("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n");
        peer.expect(&format!("RKA AUTHENTICATE PLAIN {PLAIN}\r\n"));
        peer.send("RKA OK [CAPABILITY IMAP4rev1 LITERAL+] in\r\n");
        peer.expect("R0 LIST \"\" *\r\n");
        peer.send("* LIST () \".\" {8}\r\na b\r\nR0 ");
        peer.send("\r\n* LIST () \".\" c\r\nR0 OK done\r\n");
    });
    let proxy = ProxyLogin {
        authname: (*b"postman").into(),
        password: Secret::new(*b"secret"),
        ..ProxyLogin::default()
    };
    let mut imap = Imap::connect(&endpoint, &ImapLogin { proxy, authzid: Box::default() }).unwrap();
    assert_eq!(imap.capabilities(), b"IMAP4rev1 LITERAL+");
    let mut rows = Vec::new();
    let completion = imap.command(b"LIST \"\" *", |kind, rest| rows.push((kind, rest.to_vec()))).unwrap();
    assert_eq!(completion.status, Status::Ok);
    let list = |rest: &[u8]| (UntaggedKind::List, rest.to_vec());
    assert_eq!(rows, [list(b"() \".\" {8}\r\na b\r\nR0 "), list(b"() \".\" c")]);
    server.join().unwrap();
}

fn shown(row: &client::Row<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {} {:?}", text(row.name), text(row.location), row.acl.map(text))
}

fn login(starttls: Starttls) -> MupdateLogin {
    let credentials = Credentials {
        authcid: (*b"postman").into(),
        password: Secret::new(*b"secret"),
        ..Credentials::default()
    };
    MupdateLogin { credentials, mechanisms: None, starttls }
}

/// The server's end of one connection.
struct Peer {
    socket: TcpStream,
}

impl Peer {
    fn log_in(&mut self) {
        self.send_bytes(GREETING);
        self.expect(&format!("A01 AUTHENTICATE \"PLAIN\" \"{PLAIN}\"\r\n"));
        self.send("A01 OK \"Authenticated\"\r\n");
    }

    fn expect(&mut self, wanted: &str) {
        let mut read = vec![0; wanted.len()];
        self.socket.read_exact(&mut read).unwrap();
        assert_eq!(String::from_utf8_lossy(&read), wanted);
    }

    fn send(&mut self, text: &str) {
        self.send_bytes(text.as_bytes());
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    fn assert_nothing_there(&mut self) {
        self.socket.set_nonblocking(true).unwrap();
        let peeked = self.socket.peek(&mut [0]);
        self.socket.set_nonblocking(false).unwrap();
        assert_eq!(peeked.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    }

    fn read_to_end(&mut self) {
        let mut rest = String::new();
        // A reset is an end too.
        let _ = BufReader::new(&self.socket).read_line(&mut rest);
    }
}

fn serve(script: impl FnOnce(Peer) + Send + 'static) -> (Endpoint, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint {
        server: listener.local_addr().unwrap().to_string().into(),
        default_port: 3905,
        tls: TlsSettings::default(),
        login_timeout: Duration::from_secs(10),
        answer_timeout: Duration::from_secs(10),
    };
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        script(Peer { socket });
    });
    (endpoint, server)
}

/// A self-signed certificate and the file that a client trusts it by.
struct Authority {
    certified: rcgen::CertifiedKey<rcgen::KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new(host: &str) -> Authority {
        let certified = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(certified.cert.pem().as_bytes()).unwrap();
        Authority { certified, file }
    }

    fn server_config(&self) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(self.certified.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.certified.cert.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}
