//! Our side of every mechanism against rsasl's other side.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail as it does")]

use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;
use protocols::proxy::{ScramHash, ScramKeys};
use protocols::sasl::{
    Client, ClientStep, Credentials, Mechanism, Offer, SaslError, Server, ServerStep, scram,
};
use protocols::secret::Secret;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::{external::EXTERNAL, login::LOGIN, plain::PLAIN, scram as their_scram};
use rsasl::mechname::Mechname;
use rsasl::prelude::{Mechanism as TheirMechanism, *};
use rsasl::property::{AuthId, AuthzId, Password};
use rsasl::validate::{Validate, Validation, ValidationError};

static MECHANISMS: [TheirMechanism; 5] =
    [PLAIN, LOGIN, EXTERNAL, their_scram::SCRAM_SHA256, their_scram::SCRAM_SHA1];

const SALT: &[u8] = b"a salt of 16 oct";
const ITERATIONS: u32 = 4096;

/// Who exists and who logs in.
#[derive(Clone, Debug)]
struct Person {
    authzid: Option<String>,
    authcid: String,
    password: String,
}

/// What rsasl asks when it is the client, and how it verifies when it is the server.
struct Callback {
    person: Person,
    keys: Option<ScramKeys>,
}

/// What rsasl's server found: authzid, authcid, whether the password is right.
struct Found;

impl Validation for Found {
    type Value = (Option<String>, Option<String>, bool);
}

impl SessionCallback for Callback {
    fn callback(
        &self,
        _: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        if let Some(keys) = &self.keys {
            let stored = their_scram::properties::ScramStoredPassword::new(
                keys.iterations,
                &keys.salt,
                keys.stored_key.expose(),
                keys.server_key.expose(),
            );
            request.satisfy::<their_scram::properties::ScramStoredPassword<'_>>(&stored)?;
            return Ok(());
        }
        request
            .satisfy::<AuthId>(&self.person.authcid)?
            .satisfy::<Password>(self.person.password.as_bytes())?;
        if let Some(authzid) = &self.person.authzid {
            request.satisfy::<AuthzId>(authzid)?;
        }
        Ok(())
    }

    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let given = context.get_ref::<Password>();
        let is_right = given.is_none_or(|given| given == self.person.password.as_bytes());
        let text = |text: Option<&str>| text.map(str::to_owned).filter(|text| !text.is_empty());
        validate.with::<Found, _>(|| {
            Ok((text(context.get_ref::<AuthzId>()), text(context.get_ref::<AuthId>()), is_right))
        })?;
        Ok(())
    }
}

fn config(callback: Callback) -> Arc<SASLConfig> {
    SASLConfig::builder()
        .with_registry(Registry::with_mechanisms(&MECHANISMS))
        .with_callback(callback)
        .unwrap()
}

fn name(mechanism: Mechanism) -> &'static Mechname {
    Mechname::parse(mechanism.name().as_bytes()).unwrap()
}

fn keys(mechanism: Mechanism, password: &str) -> Option<ScramKeys> {
    let hash = mechanism.scram_hash()?;
    let password = protocols::sasl::prepare_password(password.as_bytes())?;
    let iterations = NonZeroU32::new(ITERATIONS)?;
    Some(scram::keys(hash, &scram::salted_password(hash, &password, SALT, iterations), SALT, iterations))
}

/// Lets rsasl's client log in as `person` at our server, where `password` is right.
fn log_in_with_their_client(
    mechanism: Mechanism,
    person: &Person,
    password: &str,
) -> Option<(String, String)> {
    let client = SASLClient::new(config(Callback { person: person.clone(), keys: None }));
    let mut client = client.start_suggested(&[name(mechanism)]).unwrap();
    let mut answer = |challenge: &[u8]| {
        let mut out = Vec::new();
        client.step(Some(challenge), &mut out).map(|_| out)
    };
    let offer = Offer {
        mechanisms: Mechanism::ALL.to_vec(),
        external: Some(person.authcid.as_bytes().into()),
        ..Offer::default()
    };
    let (mut server, mut step) = Server::start(mechanism.name().as_bytes(), &offer, None, [9; 18]).unwrap();
    loop {
        step = match step {
            ServerStep::Challenge(challenge) => server.step(&answer(&challenge).unwrap()).unwrap(),
            ServerStep::NeedScramKeys { user, hash } => {
                assert_eq!(Some(hash), mechanism.scram_hash());
                assert_eq!(user, person.authcid.as_bytes());
                server.scram_keys(keys(mechanism, password))
            }
            ServerStep::CheckPassword { authzid, authcid, password: given } => {
                return (given.expose() == password.as_bytes()).then(|| (text(authzid), text(authcid)));
            }
            ServerStep::Done { authzid, authcid, final_message } => {
                if let Some(last) = final_message {
                    answer(&last).expect("rsasl checks our signature");
                }
                return Some((text(authzid), text(authcid)));
            }
            ServerStep::Failed => return None,
        };
    }
}

/// Lets our client log in as `person` at rsasl's server, where `password` is right.
fn log_in_at_their_server(
    mechanism: Mechanism,
    person: &Person,
    password: &str,
) -> Result<(String, String), String> {
    let owner = Person { password: password.to_owned(), ..person.clone() };
    let server =
        SASLServer::<Found>::new(config(Callback { person: owner, keys: keys(mechanism, password) }));
    let mut server = server.start_suggested(name(mechanism)).unwrap();
    let mut client = Client::new(mechanism, credentials(person), [5; 18]).unwrap();
    let mut message = client.initial().map(|initial| initial.expose().to_vec());
    loop {
        let mut challenge = Vec::new();
        let state = server.step(message.as_deref(), &mut challenge).map_err(|error| error.to_string())?;
        if let State::Finished(sent) = state {
            if sent == MessageSent::Yes {
                client.step(&challenge).map_err(|error| error.to_string())?;
            }
            break;
        }
        message = Some(answer(&mut client, &challenge).map_err(|error| error.to_string())?);
    }
    assert!(client.is_complete());
    let (authzid, authcid, is_right) = server.validation().ok_or("nobody was validated")?;
    if !is_right {
        return Err("wrong password".to_owned());
    }
    // rsasl 2.3.1 leaves the escapes of names in SCRAM.
    let unescaped = |name: String| match mechanism.scram_hash() {
        Some(_) => name.replace("=2C", ",").replace("=3D", "="),
        None => name,
    };
    Ok((unescaped(authzid.unwrap_or_default()), unescaped(authcid.unwrap_or_default())))
}

/// What our client says to a challenge.
fn answer(client: &mut Client, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
    match client.step(challenge)? {
        ClientStep::Response(response) => Ok(response.expose().to_vec()),
        ClientStep::Done => Ok(Vec::new()),
        ClientStep::NeedSaltedPassword { hash, password, salt, iterations } => {
            let iterations = NonZeroU32::new(iterations).expect("the machine checks the bounds");
            let salted = scram::salted_password(hash, &password, &salt, iterations);
            let ClientStep::Response(response) = client.salted_password(&salted)? else {
                panic!("a proof follows the salted password")
            };
            Ok(response.expose().to_vec())
        }
    }
}

fn credentials(person: &Person) -> Credentials {
    Credentials {
        authzid: person.authzid.clone().unwrap_or_default().into_bytes().into(),
        authcid: person.authcid.as_bytes().into(),
        realm: None,
        password: Secret::new(person.password.as_bytes()),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

fn person(authzid: Option<&str>, authcid: &str, password: &str) -> Person {
    Person { authzid: authzid.map(str::to_owned), authcid: authcid.to_owned(), password: password.to_owned() }
}

/// What a mechanism carries of a person.
fn expected(mechanism: Mechanism, person: &Person) -> (String, String) {
    let authzid = person.authzid.clone().filter(|_| mechanism.carries_authzid()).unwrap_or_default();
    (authzid, person.authcid.clone())
}

const WITH_PASSWORD: [Mechanism; 4] =
    [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain, Mechanism::Login];

#[test]
fn their_client_logs_in_at_our_server() {
    for mechanism in WITH_PASSWORD {
        for authzid in [None, Some("anne"), Some("a,b=c")] {
            let person = person(authzid, "us,er=1", "pen cil");
            let found = log_in_with_their_client(mechanism, &person, "pen cil");
            assert_eq!(found, Some(expected(mechanism, &person)), "{}", mechanism.name());
        }
    }
}

#[test]
fn their_client_with_a_wrong_password_is_refused() {
    for mechanism in WITH_PASSWORD {
        let person = person(None, "user", "pencil");
        assert_eq!(log_in_with_their_client(mechanism, &person, "crayon"), None, "{}", mechanism.name());
    }
}

#[test]
fn our_client_logs_in_at_their_server() {
    for mechanism in WITH_PASSWORD {
        for authzid in [None, Some("anne"), Some("a,b=c")] {
            if authzid.is_some() && !mechanism.carries_authzid() {
                continue;
            }
            let person = person(authzid, "us,er=1", "pen cil");
            let found = log_in_at_their_server(mechanism, &person, "pen cil");
            assert_eq!(found, Ok(expected(mechanism, &person)), "{}", mechanism.name());
        }
    }
}

#[test]
fn our_client_with_a_wrong_password_is_refused() {
    for mechanism in WITH_PASSWORD {
        let person = person(None, "user", "pencil");
        assert!(log_in_at_their_server(mechanism, &person, "crayon").is_err(), "{}", mechanism.name());
    }
}

#[test]
fn external_carries_the_authzid_both_ways() {
    let person = person(Some("anne"), "user", "unused");
    let found = log_in_with_their_client(Mechanism::External, &person, "");
    assert_eq!(found, Some(("anne".to_owned(), "user".to_owned())));
    let found = log_in_at_their_server(Mechanism::External, &person, "");
    assert_eq!(found, Ok(("anne".to_owned(), String::new())));
}

#[test]
fn our_client_prepares_the_password() {
    // NFKC: the ligature and the full-width letter; mapped away: the soft hyphen. rsasl's client does not
    // prepare passwords.
    let person = person(None, "user", "\u{fb01}\u{ff21}x\u{ad}");
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha1] {
        assert!(log_in_at_their_server(mechanism, &person, "fiAx").is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_printable_credentials_go_both_ways(
        authzid in proptest::option::of("[!-~]{1,12}"),
        authcid in "[!-~]{1,12}",
        password in "[ -~]{1,20}",
        hash in proptest::sample::select(vec![ScramHash::Sha1, ScramHash::Sha256]),
    ) {
        let mechanism = match hash {
            ScramHash::Sha1 => Mechanism::ScramSha1,
            ScramHash::Sha256 => Mechanism::ScramSha256,
        };
        let person = Person { authzid, authcid, password };
        for mechanism in [mechanism, Mechanism::Plain] {
            let expected = expected(mechanism, &person);
            let found = log_in_with_their_client(mechanism, &person, &person.password);
            prop_assert_eq!(found, Some(expected.clone()));
            prop_assert_eq!(log_in_at_their_server(mechanism, &person, &person.password), Ok(expected));
        }
    }
}
