//! The server side: faces users.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::proxy::{ScramHash, ScramKeys};
use crate::secret::Secret;

use super::mechanism::Mechanism;
use super::prep::{prepare_password, prepare_user};
use super::scram::{self, Attributes, NONCE_BYTES};
use super::{MESSAGE_BYTES_MAX, SaslError, base64_out};

/// The least that a user who does not exist seems to have; what servers write by default.
const FAKE_ITERATIONS_MIN: u32 = 4096;

/// What a listener offers.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// The mechanisms.
    pub mechanisms: Vec<Mechanism>,
    /// Who the client is by its certificate or socket, for EXTERNAL.
    pub external: Option<Box<[u8]>>,
    /// Random bytes of this process, from which the salts of users who do not exist are made.
    pub fake_salt_secret: Secret,
    /// The iteration count that most users who exist have.
    pub fake_iterations: u32,
}

/// What the machine wants.
#[derive(Debug)]
pub enum ServerStep {
    /// Send this and give the answer to [`Server::step`].
    Challenge(Vec<u8>),
    /// The exchange is over: check the password, the login stands and falls with it.
    CheckPassword {
        /// Whom the user wants to act for; empty when nobody was named.
        authzid: Vec<u8>,
        /// The user as typed.
        authcid: Vec<u8>,
        /// The password as typed.
        password: Secret,
    },
    /// Look the user's keys up and give them to [`Server::scram_keys`].
    NeedScramKeys {
        /// The user, prepared.
        user: Vec<u8>,
        /// Which hash.
        hash: ScramHash,
    },
    /// The client has proven who it is.
    Done {
        /// Whom the user wants to act for; empty when nobody was named.
        authzid: Vec<u8>,
        /// The user.
        authcid: Vec<u8>,
        /// Must reach the client before success: as additional data of it where the protocol has that,
        /// else as one more challenge, whose answer is empty.
        final_message: Option<Vec<u8>>,
    },
    /// The client has not proven it: the same answer as for a wrong password.
    Failed,
}

/// One exchange.
///
/// ```text
///   PLAIN     ExpectPlain ──────────────────────────────> CheckPassword
///   LOGIN     ExpectUser ──> ExpectPassword ────────────> CheckPassword
///   EXTERNAL  ExpectAuthzid ────────────────────────────> Done | Failed
///   SCRAM     ExpectFirst ──> ExpectKeys ──> ExpectFinal ──> Done | Failed
/// ```
#[derive(Debug)]
pub struct Server {
    state: State,
    nonce: [u8; NONCE_BYTES],
    offer: Offer,
}

#[derive(Debug)]
enum State {
    ExpectPlain,
    ExpectUser,
    ExpectPassword { user: Vec<u8> },
    ExpectAuthzid,
    ExpectFirst { hash: ScramHash },
    ExpectKeys(Box<First>),
    ExpectFinal(Box<Final>),
    Over,
}

/// What the client's first message of SCRAM said.
#[derive(Debug)]
struct First {
    hash: ScramHash,
    /// The channel-binding flag and authzid as sent: `n,,`.
    gs2_header: Vec<u8>,
    authzid: Vec<u8>,
    user: Vec<u8>,
    nonce: Vec<u8>,
    /// client-first-message-bare.
    bare: Vec<u8>,
}

/// What the client's last message of SCRAM is checked against.
#[derive(Debug)]
struct Final {
    first: First,
    keys: ScramKeys,
    /// The user exists. If not, the keys are made up and no proof is right.
    is_known: bool,
    nonce: Vec<u8>,
    server_first: Vec<u8>,
}

impl Server {
    /// Begins an exchange. `initial` is the decoded initial response, if the client sent one.
    ///
    /// # Errors
    /// `Mechanism` when it is not offered; else as [`Server::step`].
    pub fn start(
        mechanism: &[u8],
        offer: &Offer,
        initial: Option<&[u8]>,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<(Server, ServerStep), SaslError> {
        let mechanism = Mechanism::parse(mechanism)
            .filter(|mechanism| offer.mechanisms.contains(mechanism))
            .ok_or(SaslError::Mechanism)?;
        let (state, first_challenge) = match mechanism {
            Mechanism::Plain => (State::ExpectPlain, &b""[..]),
            Mechanism::Login => (State::ExpectUser, &b"Username:"[..]),
            Mechanism::External => (State::ExpectAuthzid, &b""[..]),
            Mechanism::ScramSha256 => (State::ExpectFirst { hash: ScramHash::Sha256 }, &b""[..]),
            Mechanism::ScramSha1 => (State::ExpectFirst { hash: ScramHash::Sha1 }, &b""[..]),
        };
        let mut server = Server { state, nonce, offer: offer.clone() };
        let step = match initial {
            Some(response) => server.step(response)?,
            None => ServerStep::Challenge(first_challenge.to_vec()),
        };
        Ok((server, step))
    }

    /// Takes the client's answer to a challenge, decoded.
    ///
    /// # Errors
    /// The client does not speak the mechanism, or more than [`MESSAGE_BYTES_MAX`] bytes. The exchange is
    /// over.
    pub fn step(&mut self, response: &[u8]) -> Result<ServerStep, SaslError> {
        if response.len() > MESSAGE_BYTES_MAX {
            self.state = State::Over;
            return Err(SaslError::TooLong);
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::ExpectPlain => plain(response),
            State::ExpectUser => {
                self.state = State::ExpectPassword { user: name(response)?.to_vec() };
                Ok(ServerStep::Challenge(b"Password:".to_vec()))
            }
            State::ExpectPassword { user } => login(user, response),
            State::ExpectAuthzid => self.external(response),
            State::ExpectFirst { hash } => self.client_first(hash, response),
            State::ExpectFinal(last) => last.check(response),
            State::ExpectKeys(_) | State::Over => Err(SaslError::Unexpected),
        }
    }

    /// Whether [`Server::scram_keys`] is waited for.
    pub fn awaits_keys(&self) -> bool {
        matches!(self.state, State::ExpectKeys(_))
    }

    /// Takes the keys that [`ServerStep::NeedScramKeys`] asked for; `None` when there are none. Who asks
    /// for a user who does not exist sees the same messages as for a wrong password.
    pub fn scram_keys(&mut self, keys: Option<ScramKeys>) -> ServerStep {
        let State::ExpectKeys(first) = std::mem::replace(&mut self.state, State::Over) else {
            return ServerStep::Failed;
        };
        let is_known = keys.is_some();
        let keys = keys.unwrap_or_else(|| ScramKeys {
            salt: scram::fake_salt(&self.offer.fake_salt_secret, first.hash, &first.user),
            iterations: self.offer.fake_iterations.max(FAKE_ITERATIONS_MIN),
            stored_key: Secret::new(vec![0; scram::output_len(first.hash)]),
            server_key: Secret::default(),
        });
        let mut nonce = first.nonce.clone();
        base64_out(&mut nonce, &self.nonce);
        let server_first = server_first(&nonce, &keys);
        let challenge = server_first.clone();
        self.state =
            State::ExpectFinal(Box::new(Final { first: *first, keys, is_known, nonce, server_first }));
        ServerStep::Challenge(challenge)
    }

    /// ```text
    /// external-client-message = *UTF8-octet      RFC 4422 appendix A
    /// ```
    fn external(&self, response: &[u8]) -> Result<ServerStep, SaslError> {
        if memchr::memchr(0, response).is_some() || std::str::from_utf8(response).is_err() {
            return Err(SaslError::Malformed { what: "authorization identity" });
        }
        Ok(match &self.offer.external {
            Some(identity) => ServerStep::Done {
                authzid: response.to_vec(),
                authcid: identity.to_vec(),
                final_message: None,
            },
            None => ServerStep::Failed,
        })
    }

    /// ```text
    /// client-first-message      = gs2-header client-first-message-bare
    /// gs2-header                = gs2-cbind-flag "," [authzid] ","
    /// gs2-cbind-flag            = ("p=" cb-name) / "n" / "y"
    /// client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
    /// ```
    /// RFC 5802 section 7. `y` is right: no `-PLUS` is offered.
    fn client_first(&mut self, hash: ScramHash, message: &[u8]) -> Result<ServerStep, SaslError> {
        let header = SaslError::Malformed { what: "channel binding flag" };
        let behind_flag = match message {
            [b'n' | b'y', b',', rest @ ..] => rest,
            [b'p', b'=', ..] => return Err(SaslError::ChannelBinding),
            _ => return Err(header),
        };
        let comma = memchr::memchr(b',', behind_flag).ok_or(header)?;
        let authzid = match &behind_flag[..comma] {
            [] => Vec::new(),
            [b'a', b'=', name @ ..] => scram::decode_name(name)?,
            _ => return Err(SaslError::Malformed { what: "authorization identity" }),
        };
        let bare = &behind_flag[comma + 1..];
        let mut attributes = Attributes::new(bare);
        let user = scram::decode_name(attributes.next(b'n', "user name")?)?;
        let nonce = attributes.next(b'r', "nonce")?;
        if !scram::is_printable(nonce) {
            return Err(SaslError::Malformed { what: "nonce" });
        }
        attributes.extensions()?;
        let Some(user) = prepare_user(&user) else {
            return Ok(ServerStep::Failed);
        };
        self.state = State::ExpectKeys(Box::new(First {
            hash,
            gs2_header: message[..message.len() - bare.len()].to_vec(),
            authzid,
            user: user.to_vec(),
            nonce: nonce.to_vec(),
            bare: bare.to_vec(),
        }));
        Ok(ServerStep::NeedScramKeys { user: user.into_vec(), hash })
    }
}

impl Final {
    /// ```text
    /// client-final-message = client-final-message-without-proof "," proof
    /// client-final-message-without-proof = channel-binding "," nonce ["," extensions]      RFC 5802 section 7
    /// ```
    fn check(&self, message: &[u8]) -> Result<ServerStep, SaslError> {
        let no_proof = SaslError::Malformed { what: "proof" };
        let proof_at = memchr::memmem::rfind(message, b",p=").ok_or(no_proof)?;
        let (without_proof, proof) = (&message[..proof_at], &message[proof_at + 3..]);
        let proof = STANDARD.decode(proof).map_err(|_| no_proof)?;
        let mut attributes = Attributes::new(without_proof);
        let binding = attributes.next(b'c', "channel binding")?;
        let binding =
            STANDARD.decode(binding).map_err(|_| SaslError::Malformed { what: "channel binding" })?;
        let nonce = attributes.next(b'r', "nonce")?;
        attributes.extensions()?;
        let auth_message = auth_message(&self.first.bare, &self.server_first, without_proof);
        let is_proven = scram::is_proven(self.first.hash, &self.keys.stored_key, &auth_message, &proof);
        if !(is_proven && self.is_known && binding == self.first.gs2_header && nonce == self.nonce) {
            return Ok(ServerStep::Failed);
        }
        let signature =
            scram::server_signature(self.first.hash, self.keys.server_key.expose(), &auth_message);
        let mut final_message = b"v=".to_vec();
        base64_out(&mut final_message, &signature);
        Ok(ServerStep::Done {
            authzid: self.first.authzid.clone(),
            authcid: self.first.user.clone(),
            final_message: Some(final_message),
        })
    }
}

/// `AuthMessage := client-first-message-bare + "," + server-first-message + "," +
/// client-final-message-without-proof` (RFC 5802 section 3).
pub(super) fn auth_message(bare: &[u8], server_first: &[u8], without_proof: &[u8]) -> Vec<u8> {
    [bare, server_first, without_proof].join(&b","[..])
}

/// ```text
/// server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
/// ```
fn server_first(nonce: &[u8], keys: &ScramKeys) -> Vec<u8> {
    let mut message = b"r=".to_vec();
    message.extend_from_slice(nonce);
    message.extend_from_slice(b",s=");
    base64_out(&mut message, &keys.salt);
    message.extend_from_slice(b",i=");
    message.extend_from_slice(keys.iterations.to_string().as_bytes());
    message
}

/// ```text
/// message = [authzid] UTF8NUL authcid UTF8NUL passwd      RFC 4616 section 2
/// ```
/// User and password go on as typed: who verifies them (saslauthd, PAM, a backend) knows how they were
/// stored. What cannot be prepared is refused here.
fn plain(message: &[u8]) -> Result<ServerStep, SaslError> {
    let mut parts = message.split(|byte| *byte == 0);
    let (Some(authzid), Some(authcid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Malformed { what: "PLAIN message" });
    };
    if prepare_user(authcid).is_none()
        || prepare_password(password).is_none()
        || (!authzid.is_empty() && prepare_user(authzid).is_none())
    {
        return Ok(ServerStep::Failed);
    }
    Ok(ServerStep::CheckPassword {
        authzid: authzid.to_vec(),
        authcid: authcid.to_vec(),
        password: Secret::new(password),
    })
}

/// LOGIN has no character set and no authzid; an empty password is refused as in PLAIN.
fn login(user: Vec<u8>, password: &[u8]) -> Result<ServerStep, SaslError> {
    let password = name(password)?;
    if user.is_empty() || password.is_empty() {
        return Ok(ServerStep::Failed);
    }
    Ok(ServerStep::CheckPassword { authzid: Vec::new(), authcid: user, password: Secret::new(password) })
}

/// A string without NUL.
fn name(bytes: &[u8]) -> Result<&[u8], SaslError> {
    match memchr::memchr(0, bytes) {
        Some(_) => Err(SaslError::Malformed { what: "NUL" }),
        None => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    fn offer() -> Offer {
        Offer {
            mechanisms: Mechanism::ALL.to_vec(),
            external: Some((*b"fred").into()),
            fake_salt_secret: Secret::new(*b"process"),
            fake_iterations: 0,
        }
    }

    fn started(mechanism: &[u8], initial: &[u8]) -> Result<(Server, ServerStep), SaslError> {
        Server::start(mechanism, &offer(), Some(initial), NONCE)
    }

    fn error(mechanism: &[u8], initial: &[u8]) -> SaslError {
        started(mechanism, initial).unwrap_err()
    }

    fn pencil(hash: ScramHash, salt: &str) -> ScramKeys {
        let salt = STANDARD.decode(salt).unwrap();
        let iterations = NonZeroU32::new(4096).unwrap();
        let salted = scram::salted_password(hash, &Secret::new(*b"pencil"), &salt, iterations);
        scram::keys(hash, &salted, &salt, iterations)
    }

    /// A server that has sent `nonce` in its first message to a client that sent `bare`.
    fn expecting_final(hash: ScramHash, bare: &str, nonce: &str, salt: &str) -> Server {
        let keys = pencil(hash, salt);
        let first = First {
            hash,
            gs2_header: b"n,,".to_vec(),
            authzid: Vec::new(),
            user: b"user".to_vec(),
            nonce: Vec::new(),
            bare: bare.into(),
        };
        let server_first = server_first(nonce.as_bytes(), &keys);
        let last = Final { first, keys, is_known: true, nonce: nonce.into(), server_first };
        Server { state: State::ExpectFinal(Box::new(last)), nonce: NONCE, offer: offer() }
    }

    fn final_message(step: ServerStep) -> String {
        let ServerStep::Done { final_message, authcid, .. } = step else { panic!("{step:?}") };
        assert_eq!(authcid, b"user");
        String::from_utf8(final_message.unwrap()).unwrap()
    }

    #[test]
    fn vector_of_rfc_5802_section_5_is_accepted() {
        let mut server = expecting_final(
            ScramHash::Sha1,
            "n=user,r=fyko+d2lbbFgONRv9qkxdawL",
            "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
            "QSXCR+Q6sek8bf92",
        );
        let step = server
            .step(b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=");
        assert_eq!(final_message(step.unwrap()), "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    }

    #[test]
    fn vector_of_rfc_7677_section_3_is_accepted() {
        let mut server = expecting_final(
            ScramHash::Sha256,
            "n=user,r=rOprNGfwEbeRWgbNEkqO",
            "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
        );
        let step = server.step(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        assert_eq!(final_message(step.unwrap()), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn every_changed_byte_of_the_last_message_is_refused() {
        let good = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        for at in 0..good.len() {
            let mut message = good.to_vec();
            message[at] ^= 1;
            let mut server = expecting_final(
                ScramHash::Sha1,
                "n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
                "QSXCR+Q6sek8bf92",
            );
            assert!(!matches!(server.step(&message), Ok(ServerStep::Done { .. })), "byte {at}");
            assert!(matches!(server.step(&message), Err(SaslError::Unexpected)), "over after one try");
        }
    }

    #[test]
    fn unknown_user_sees_the_same_messages_as_a_wrong_password() {
        let mut challenges = Vec::new();
        for keys in [None, Some(pencil(ScramHash::Sha256, "W22ZaJ0SNY7soEsUEjb6gQ=="))] {
            let (mut server, _) = started(b"SCRAM-SHA-256", b"n,,n=anne,r=abc").unwrap();
            let ServerStep::Challenge(challenge) = server.scram_keys(keys) else { panic!("no challenge") };
            let proof = STANDARD.encode([1; 32]);
            let answer = format!("c=biws,r=abc{},p={proof}", STANDARD.encode(NONCE));
            assert!(matches!(server.step(answer.as_bytes()), Ok(ServerStep::Failed)));
            challenges.push(challenge);
        }
        assert_eq!(challenges[0].len(), challenges[1].len());
        let again = started(b"SCRAM-SHA-256", b"n,,n=anne,r=abc").unwrap().0.scram_keys(None);
        assert!(matches!(again, ServerStep::Challenge(challenge) if challenge == challenges[0]));
    }

    #[test]
    fn made_up_keys_are_proven_by_nobody() {
        let (mut server, _) = started(b"SCRAM-SHA-1", b"n,,n=anne,r=abc").unwrap();
        let ServerStep::Challenge(server_first) = server.scram_keys(None) else { panic!("no challenge") };
        let without_proof = format!("c=biws,r=abc{}", STANDARD.encode(NONCE));
        let message = auth_message(b"n=anne,r=abc", &server_first, without_proof.as_bytes());
        // What a client would send whose StoredKey is all zeroes, were its ClientKey known.
        let signature = scram::server_signature(ScramHash::Sha1, &[0; 20], &message);
        let answer = format!("{without_proof},p={}", STANDARD.encode(signature));
        assert!(matches!(server.step(answer.as_bytes()), Ok(ServerStep::Failed)));
    }

    #[test]
    fn first_message_of_scram_names_user_and_authzid() {
        let (_, step) = started(b"scram-sha-256", b"n,a=bo=2Css,n=fr=3Ded,r=abc,x=y").unwrap();
        assert!(matches!(step, ServerStep::NeedScramKeys { user, .. } if user == b"fr=ed"));
        assert!(started(b"SCRAM-SHA-256", b"y,,n=fred,r=abc").is_ok());
    }

    #[test]
    fn malformed_first_messages_of_scram_are_refused() {
        for message in [
            &b""[..],
            b"n",
            b"n,",
            b"n,,",
            b"x,,n=fred,r=abc",
            b"n,fred,n=fred,r=abc",
            b"n,,n=,r=abc",
            b"n,,n=fred",
            b"n,,r=abc,n=fred",
            b"n,,m=ext,n=fred,r=abc",
            b"n,,n=fr=ed,r=abc",
            b"n,,n=fred,r=",
            b"n,,n=fred,r=a b",
            b"n,,n=fred,r=abc,",
            b"n,,n=fred,r=abc,1=x",
        ] {
            let error = error(b"SCRAM-SHA-256", message);
            assert!(matches!(error, SaslError::Malformed { .. }), "{}", message.escape_ascii());
        }
        assert_eq!(error(b"SCRAM-SHA-256", b"p=tls-unique,,n=fred,r=abc"), SaslError::ChannelBinding);
        let (_, step) = started(b"SCRAM-SHA-256", b"n,,n=\x07,r=abc").unwrap();
        assert!(matches!(step, ServerStep::Failed), "a name that cannot be prepared");
    }

    #[test]
    fn plain_has_two_nuls_and_a_password() {
        let (_, step) = started(b"PLAIN", b"boss\0fred\0pass word").unwrap();
        let ServerStep::CheckPassword { authzid, authcid, password } = step else { panic!("{step:?}") };
        assert_eq!(
            (&authzid[..], &authcid[..], password.expose()),
            (&b"boss"[..], &b"fred"[..], &b"pass word"[..])
        );
        for message in [&b""[..], b"fred", b"\0fred", b"\0fred\0a\0b"] {
            assert!(matches!(error(b"PLAIN", message), SaslError::Malformed { .. }));
        }
        for message in [&b"\0\0a"[..], b"\0fred\0", b"\0fred\0\x07", b"\0fr\xff\0a", b"\x07\0fred\0a"] {
            assert!(matches!(started(b"PLAIN", message).unwrap().1, ServerStep::Failed));
        }
    }

    #[test]
    fn plain_without_initial_response_gets_an_empty_challenge() {
        let (mut server, step) = Server::start(b"PLAIN", &offer(), None, NONCE).unwrap();
        assert!(matches!(step, ServerStep::Challenge(challenge) if challenge.is_empty()));
        assert!(matches!(server.step(b"\0fred\0x"), Ok(ServerStep::CheckPassword { .. })));
        assert!(matches!(server.step(b"\0fred\0x"), Err(SaslError::Unexpected)));
    }

    #[test]
    fn login_asks_for_user_and_password() {
        let (mut server, step) = Server::start(b"LOGIN", &offer(), None, NONCE).unwrap();
        assert!(matches!(step, ServerStep::Challenge(challenge) if challenge == b"Username:"));
        assert!(
            matches!(server.step(b"fred"), Ok(ServerStep::Challenge(challenge)) if challenge == b"Password:")
        );
        let step = server.step(b"pass\xe4").unwrap();
        assert!(matches!(step, ServerStep::CheckPassword { authcid, .. } if authcid == b"fred"));
        let (mut server, _) = started(b"LOGIN", b"fred").unwrap();
        assert!(matches!(server.step(b""), Ok(ServerStep::Failed)));
    }

    #[test]
    fn external_needs_an_identity() {
        let (_, step) = started(b"EXTERNAL", b"boss").unwrap();
        assert!(
            matches!(step, ServerStep::Done { authzid, authcid, .. } if authzid == b"boss" && authcid == b"fred")
        );
        let nobody = Offer { external: None, ..offer() };
        let (_, step) = Server::start(b"EXTERNAL", &nobody, Some(b""), NONCE).unwrap();
        assert!(matches!(step, ServerStep::Failed));
    }

    #[test]
    fn what_is_not_offered_cannot_be_used() {
        let few = Offer { mechanisms: vec![Mechanism::ScramSha256], ..offer() };
        for mechanism in [&b"PLAIN"[..], b"GSSAPI", b"", b"SCRAM-SHA-256-PLUS"] {
            assert_eq!(Server::start(mechanism, &few, None, NONCE).unwrap_err(), SaslError::Mechanism);
        }
    }

    #[test]
    fn message_over_limit_is_refused() {
        assert_eq!(error(b"PLAIN", &[b'x'; MESSAGE_BYTES_MAX + 1]), SaslError::TooLong);
    }

    #[test]
    fn debug_shows_no_password() {
        let (server, step) = started(b"PLAIN", b"\0fred\0hunter2").unwrap();
        assert!(!format!("{server:?}{step:?}").contains("hunter2"));
        assert!(!format!("{server:?}{step:?}").contains(&format!("{:?}", b"hunter2")));
    }
}
