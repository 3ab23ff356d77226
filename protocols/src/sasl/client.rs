//! The client side: logs in to servers.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use aws_lc_rs::constant_time;

use crate::proxy::ScramHash;
use crate::secret::Secret;

use super::mechanism::Mechanism;
use super::prep::{prepare_password, prepare_user};
use super::scram::{self, Attributes, ITERATIONS, NONCE_BYTES};
use super::server::auth_message;
use super::{MESSAGE_BYTES_MAX, SaslError, base64_out};

/// Who logs in.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Whom to act for; empty for oneself.
    pub authzid: Box<[u8]>,
    /// Whose password it is.
    pub authcid: Box<[u8]>,
    /// `proxy_realm`. No mechanism here carries a realm, as in Cyrus' own client.
    pub realm: Option<Box<[u8]>>,
    /// The password.
    pub password: Secret,
}

/// What the machine wants.
#[derive(Debug)]
pub enum ClientStep {
    /// Send this.
    Response(Secret),
    /// Derive the SaltedPassword ([`scram::salted_password`]) and give it to
    /// [`Client::salted_password`].
    NeedSaltedPassword {
        /// Which hash.
        hash: ScramHash,
        /// The password, prepared.
        password: Secret,
        /// The server's salt.
        salt: Box<[u8]>,
        /// The server's count, within [`ITERATIONS`].
        iterations: u32,
    },
    /// The server has proven itself: a challenge is answered by an empty response, and success must
    /// follow.
    Done,
}

/// One exchange. The protocol's success counts only if [`Client::is_complete`].
///
/// ```text
///   PLAIN, EXTERNAL  ExpectStart ──initial──> Complete
///   LOGIN            ExpectUserPrompt ──> ExpectPasswordPrompt ──> Complete
///   SCRAM            ExpectStart ──initial──> ExpectServerFirst ──> ExpectSalted ──> ExpectServerFinal ──> Complete
/// ```
#[derive(Debug)]
pub struct Client {
    mechanism: Mechanism,
    credentials: Credentials,
    nonce: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    ExpectStart,
    ExpectUserPrompt,
    ExpectPasswordPrompt,
    ExpectServerFirst { hash: ScramHash },
    ExpectSalted { hash: ScramHash, server_first: Vec<u8>, nonce: Vec<u8> },
    ExpectServerFinal { signature: Vec<u8> },
    Complete,
    Broken,
}

impl Client {
    /// Begins an exchange.
    ///
    /// # Errors
    /// `Credentials` when they cannot be prepared, are empty or hold NUL; `Authzid` when LOGIN shall act
    /// for another user.
    pub fn new(
        mechanism: Mechanism,
        mut credentials: Credentials,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<Client, SaslError> {
        let is_for_other = !credentials.authzid.is_empty() && credentials.authzid != credentials.authcid;
        if is_for_other && !mechanism.carries_authzid() {
            return Err(SaslError::Authzid);
        }
        check(mechanism, &credentials)?;
        if mechanism.scram_hash().is_some() {
            credentials.authcid = prepare_user(&credentials.authcid).ok_or(SaslError::Credentials)?;
            credentials.password =
                prepare_password(credentials.password.expose()).ok_or(SaslError::Credentials)?;
        }
        let state = match mechanism {
            Mechanism::Login => State::ExpectUserPrompt,
            Mechanism::Plain | Mechanism::External | Mechanism::ScramSha1 | Mechanism::ScramSha256 => {
                State::ExpectStart
            }
        };
        let mut printable = Vec::new();
        base64_out(&mut printable, &nonce);
        Ok(Client { mechanism, credentials, nonce: printable, state })
    }

    /// The initial response, for servers that take one with the command. For others leave it out and
    /// give the empty challenge to [`Client::step`]. `None` for LOGIN, whose server speaks first.
    pub fn initial(&mut self) -> Option<Secret> {
        if !matches!(self.state, State::ExpectStart) {
            return None;
        }
        let credentials = &self.credentials;
        let (message, next) = match self.mechanism {
            Mechanism::Plain => {
                let parts = [&*credentials.authzid, &*credentials.authcid, credentials.password.expose()];
                (parts.join(&0), State::Complete)
            }
            Mechanism::External => (credentials.authzid.to_vec(), State::Complete),
            Mechanism::ScramSha256 => {
                (self.client_first(), State::ExpectServerFirst { hash: ScramHash::Sha256 })
            }
            Mechanism::ScramSha1 => (self.client_first(), State::ExpectServerFirst { hash: ScramHash::Sha1 }),
            Mechanism::Login => return None,
        };
        self.state = next;
        Some(Secret::new(message))
    }

    /// Takes a challenge, decoded; also the data that came with success, where the protocol has that.
    ///
    /// # Errors
    /// The server does not speak the mechanism, refused, or is not who it seems. Nothing more may be sent
    /// to it; the login has failed.
    pub fn step(&mut self, challenge: &[u8]) -> Result<ClientStep, SaslError> {
        if matches!(self.state, State::ExpectStart) && challenge.is_empty() {
            return self.initial().map(ClientStep::Response).ok_or(SaslError::Unexpected);
        }
        let state = std::mem::replace(&mut self.state, State::Broken);
        if challenge.len() > MESSAGE_BYTES_MAX {
            return Err(SaslError::TooLong);
        }
        match state {
            // The prompts are "Username:" and "Password:", "User Name" NUL and the like: their order counts.
            State::ExpectUserPrompt => {
                self.state = State::ExpectPasswordPrompt;
                Ok(ClientStep::Response(Secret::new(&*self.credentials.authcid)))
            }
            State::ExpectPasswordPrompt => {
                self.state = State::Complete;
                Ok(ClientStep::Response(self.credentials.password.clone()))
            }
            State::ExpectServerFirst { hash } => self.server_first(hash, challenge),
            State::ExpectServerFinal { signature } => self.server_final(&signature, challenge),
            State::ExpectStart | State::ExpectSalted { .. } | State::Complete | State::Broken => {
                Err(SaslError::Unexpected)
            }
        }
    }

    /// Takes the SaltedPassword that [`ClientStep::NeedSaltedPassword`] asked for.
    ///
    /// # Errors
    /// `Unexpected` when nobody asked.
    pub fn salted_password(&mut self, salted: &Secret) -> Result<ClientStep, SaslError> {
        let State::ExpectSalted { hash, server_first, nonce } =
            std::mem::replace(&mut self.state, State::Broken)
        else {
            return Err(SaslError::Unexpected);
        };
        let mut message = b"c=".to_vec();
        base64_out(&mut message, &self.gs2_header());
        message.extend_from_slice(b",r=");
        message.extend_from_slice(&nonce);
        let auth_message = auth_message(&self.client_first_bare(), &server_first, &message);
        let (proof, signature) = scram::proof(hash, salted, &auth_message);
        message.extend_from_slice(b",p=");
        base64_out(&mut message, &proof);
        self.state = State::ExpectServerFinal { signature };
        Ok(ClientStep::Response(Secret::new(message)))
    }

    /// Whether everything was said and proven: a server's success before that is a lie.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// ```text
    /// gs2-header = gs2-cbind-flag "," [authzid] ","      RFC 5802 section 7
    /// ```
    fn gs2_header(&self) -> Vec<u8> {
        let mut header = b"n,".to_vec();
        if !self.credentials.authzid.is_empty() {
            header.extend_from_slice(b"a=");
            scram::name_out(&mut header, &self.credentials.authzid);
        }
        header.push(b',');
        header
    }

    /// ```text
    /// client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
    /// ```
    fn client_first_bare(&self) -> Vec<u8> {
        let mut bare = b"n=".to_vec();
        scram::name_out(&mut bare, &self.credentials.authcid);
        bare.extend_from_slice(b",r=");
        bare.extend_from_slice(&self.nonce);
        bare
    }

    fn client_first(&self) -> Vec<u8> {
        [self.gs2_header(), self.client_first_bare()].concat()
    }

    /// ```text
    /// server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
    /// ```
    /// RFC 5802 section 7.
    fn server_first(&mut self, hash: ScramHash, message: &[u8]) -> Result<ClientStep, SaslError> {
        let mut attributes = Attributes::new(message);
        if attributes.has_next(b'e') {
            return Err(SaslError::Refused);
        }
        let nonce = attributes.next(b'r', "nonce")?;
        let is_ours = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        if !is_ours || !scram::is_printable(nonce) {
            return Err(SaslError::Malformed { what: "nonce" });
        }
        let salt = attributes.next(b's', "salt")?;
        let salt = STANDARD.decode(salt).map_err(|_| SaslError::Malformed { what: "salt" })?;
        let iterations = iterations(attributes.next(b'i', "iteration count")?)?;
        attributes.extensions()?;
        self.state = State::ExpectSalted { hash, server_first: message.to_vec(), nonce: nonce.to_vec() };
        let password = self.credentials.password.clone();
        Ok(ClientStep::NeedSaltedPassword { hash, password, salt: salt.into(), iterations: iterations.get() })
    }

    /// ```text
    /// server-final-message = (server-error / verifier) ["," extensions]      RFC 5802 section 7
    /// ```
    fn server_final(&mut self, signature: &[u8], message: &[u8]) -> Result<ClientStep, SaslError> {
        let mut attributes = Attributes::new(message);
        if attributes.has_next(b'e') {
            return Err(SaslError::Refused);
        }
        let verifier = attributes.next(b'v', "verifier")?;
        let verifier = STANDARD.decode(verifier).map_err(|_| SaslError::Malformed { what: "verifier" })?;
        attributes.extensions()?;
        constant_time::verify_slices_are_equal(&verifier, signature)
            .map_err(|_| SaslError::ServerSignature)?;
        self.state = State::Complete;
        Ok(ClientStep::Done)
    }
}

/// Credentials that the mechanism can carry.
fn check(mechanism: Mechanism, credentials: &Credentials) -> Result<(), SaslError> {
    let has_nul = |bytes: &[u8]| memchr::memchr(0, bytes).is_some();
    let needs_password = mechanism != Mechanism::External;
    let lacks = credentials.authcid.is_empty() || credentials.password.expose().is_empty();
    let is_broken = has_nul(&credentials.authzid)
        || has_nul(&credentials.authcid)
        || has_nul(credentials.password.expose())
        || (needs_password && lacks);
    if is_broken { Err(SaslError::Credentials) } else { Ok(()) }
}

/// ```text
/// iteration-count = "i=" posit-number      RFC 5802 section 7
/// ```
fn iterations(digits: &[u8]) -> Result<NonZeroU32, SaslError> {
    let malformed = SaslError::Malformed { what: "iteration count" };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(malformed);
    }
    let text = std::str::from_utf8(digits).map_err(|_| malformed)?;
    let got = text.parse().unwrap_or(u32::MAX);
    NonZeroU32::new(got).filter(|_| ITERATIONS.contains(&got)).ok_or(SaslError::Iterations { got })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_BYTES] = [7; NONCE_BYTES];

    fn credentials(authzid: &[u8]) -> Credentials {
        Credentials {
            authzid: authzid.into(),
            authcid: (*b"user").into(),
            realm: None,
            password: Secret::new(*b"pencil"),
        }
    }

    fn client(mechanism: Mechanism) -> Client {
        Client::new(mechanism, credentials(b""), NONCE).unwrap()
    }

    fn response(step: ClientStep) -> String {
        let ClientStep::Response(response) = step else { panic!("{step:?}") };
        String::from_utf8(response.expose().to_vec()).unwrap()
    }

    /// Derives what the machine asks for.
    fn salted(client: &mut Client, step: ClientStep) -> String {
        let ClientStep::NeedSaltedPassword { hash, password, salt, iterations } = step else {
            panic!("{step:?}")
        };
        let salted = scram::salted_password(hash, &password, &salt, NonZeroU32::new(iterations).unwrap());
        response(client.salted_password(&salted).unwrap())
    }

    #[test]
    fn vector_of_rfc_5802_section_5_is_produced() {
        let mut client = client(Mechanism::ScramSha1);
        client.nonce = b"fyko+d2lbbFgONRv9qkxdawL".to_vec();
        assert_eq!(client.initial().unwrap().expose(), b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL");
        let step =
            client.step(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
        assert_eq!(
            salted(&mut client, step),
            "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
        );
        assert!(!client.is_complete());
        assert!(matches!(client.step(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="), Ok(ClientStep::Done)));
        assert!(client.is_complete());
    }

    #[test]
    fn vector_of_rfc_7677_section_3_is_produced() {
        let mut client = client(Mechanism::ScramSha256);
        client.nonce = b"rOprNGfwEbeRWgbNEkqO".to_vec();
        assert_eq!(response(client.step(b"").unwrap()), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let step = client
            .step(b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        assert_eq!(
            salted(&mut client, step.unwrap()),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(client.step(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_ok());
        assert!(client.is_complete());
    }

    fn expecting_final() -> Client {
        let mut client = client(Mechanism::ScramSha1);
        client.nonce = b"fyko+d2lbbFgONRv9qkxdawL".to_vec();
        client.initial();
        let step =
            client.step(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096").unwrap();
        salted(&mut client, step);
        client
    }

    #[test]
    fn server_that_does_not_know_the_password_is_refused() {
        for (message, error) in [
            (&b"v=rmF9pqV8S7suAoZWja4dJRkFsKR="[..], SaslError::Malformed { what: "verifier" }),
            (b"v=rmF9pqV8S7suAoZWja4dJRkFsKA=", SaslError::ServerSignature),
            (b"v=rmF9", SaslError::ServerSignature),
            (b"v=", SaslError::Malformed { what: "verifier" }),
            (b"", SaslError::Malformed { what: "verifier" }),
            (b"e=invalid-proof", SaslError::Refused),
        ] {
            let mut client = expecting_final();
            assert_eq!(client.step(message).unwrap_err(), error, "{}", message.escape_ascii());
            assert!(!client.is_complete());
        }
    }

    #[test]
    fn iteration_count_is_bounded() {
        let mut printable = Vec::new();
        base64_out(&mut printable, &NONCE);
        for (count, taken) in [
            ("4095", false),
            ("4096", true),
            ("600000", true),
            ("600001", false),
            ("0", false),
            ("99999999999", false),
            ("+4096", false),
            ("4096x", false),
        ] {
            let mut client = client(Mechanism::ScramSha256);
            client.initial();
            let message = [b"r=", &printable[..], b"x,s=QSXCR+Q6sek8bf92,i=", count.as_bytes()].concat();
            assert_eq!(client.step(&message).is_ok(), taken, "{count}");
        }
    }

    #[test]
    fn nonce_of_the_server_must_extend_ours() {
        let mut ours = Vec::new();
        base64_out(&mut ours, &NONCE);
        for nonce in [&ours[..], &ours[1..], b"other"] {
            let mut client = client(Mechanism::ScramSha256);
            client.initial();
            let message = [b"r=", nonce, b",s=QSXCR+Q6sek8bf92,i=4096"].concat();
            assert_eq!(client.step(&message).unwrap_err(), SaslError::Malformed { what: "nonce" });
        }
    }

    #[test]
    fn authzid_stands_in_plain_and_scram() {
        let mut client = Client::new(Mechanism::Plain, credentials(b"anne"), NONCE).unwrap();
        assert_eq!(client.initial().unwrap().expose(), b"anne\0user\0pencil");
        assert!(client.is_complete());
        let mut client = Client::new(Mechanism::ScramSha256, credentials(b"a,b=c"), NONCE).unwrap();
        assert!(client.initial().unwrap().expose().starts_with(b"n,a=a=2Cb=3Dc,n=user,r="));
    }

    #[test]
    fn login_cannot_act_for_another() {
        assert_eq!(
            Client::new(Mechanism::Login, credentials(b"anne"), NONCE).unwrap_err(),
            SaslError::Authzid
        );
        let mut client = Client::new(Mechanism::Login, credentials(b"user"), NONCE).unwrap();
        assert!(client.initial().is_none());
        assert_eq!(response(client.step(b"User Name\0").unwrap()), "user");
        assert_eq!(response(client.step(b"Password\0").unwrap()), "pencil");
        assert!(client.is_complete());
        assert_eq!(client.step(b"more").unwrap_err(), SaslError::Unexpected);
    }

    #[test]
    fn credentials_that_cannot_be_carried_are_refused() {
        let broken = |authcid: &[u8], password: &[u8]| Credentials {
            authcid: authcid.into(),
            password: Secret::new(password),
            ..Credentials::default()
        };
        for (authcid, password) in [(&b""[..], &b"x"[..]), (b"a", b""), (b"a\0b", b"x"), (b"a", b"x\0y")] {
            for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha1] {
                let error = Client::new(mechanism, broken(authcid, password), NONCE).unwrap_err();
                assert_eq!(error, SaslError::Credentials);
            }
        }
        let error = Client::new(Mechanism::ScramSha256, broken(b"a", b"\x07"), NONCE).unwrap_err();
        assert_eq!(error, SaslError::Credentials);
    }

    #[test]
    fn external_sends_the_authzid() {
        let mut client = Client::new(Mechanism::External, Credentials::default(), NONCE).unwrap();
        assert_eq!(client.initial().unwrap().expose(), b"");
        assert!(client.is_complete());
    }
}
