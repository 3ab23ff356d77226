//! Properties of the SASL machines.

use crate::sasl::{
    Client, ClientStep, Credentials, Mechanism, Offer, Server, ServerStep, base64_out, decode_base64,
};
use crate::secret::Secret;

use super::bounded;

/// Checks both sides on any messages, which are separated by 0xFF; the first byte chooses the
/// mechanism. Nobody gets in who does not know the password, and no server is believed that does not.
///
/// # Panics
/// A property does not hold.
pub fn sasl(input: &[u8]) {
    let Some((choice, rest)) = bounded(input).split_first() else { return };
    let mechanism = Mechanism::ALL[usize::from(*choice) % Mechanism::ALL.len()];
    let messages: Vec<&[u8]> = rest.split(|byte| *byte == 0xff).take(8).collect();
    for is_known in [false, true] {
        server(mechanism, &messages, is_known);
    }
    client(mechanism, &messages);
    base64(rest);
}

fn server(mechanism: Mechanism, messages: &[&[u8]], is_known: bool) {
    let offer = Offer { mechanisms: Mechanism::ALL.to_vec(), ..Offer::default() };
    let name = mechanism.name().as_bytes();
    let (first, rest) = match messages {
        [first, rest @ ..] => (Some(*first), rest),
        [] => (None, messages),
    };
    let Ok((mut server, mut step)) = Server::start(name, &offer, first, [1; 18]) else { return };
    let mut rest = rest.iter();
    loop {
        step = match step {
            ServerStep::Challenge(challenge) => {
                assert!(challenge.len() < 4096);
                let Some(message) = rest.next() else { return };
                let Ok(step) = server.step(message) else { return };
                step
            }
            ServerStep::NeedScramKeys { user, hash } => {
                assert_eq!(Some(hash), mechanism.scram_hash());
                assert!(!user.is_empty() && std::str::from_utf8(&user).is_ok());
                server.scram_keys(is_known.then(|| keys_of_nobody(mechanism)))
            }
            ServerStep::CheckPassword { authcid, password, .. } => {
                assert!(mechanism.sends_password());
                assert!(!authcid.contains(&0) && !password.expose().contains(&0));
                assert!(!authcid.is_empty() && !password.expose().is_empty());
                assert!(server.step(b"more").is_err());
                return;
            }
            ServerStep::Failed => {
                assert!(server.step(b"more").is_err());
                return;
            }
            ServerStep::Done { .. } => panic!("nobody has proven anything"),
        };
    }
}

/// Keys whose password nobody knows.
fn keys_of_nobody(mechanism: Mechanism) -> crate::proxy::ScramKeys {
    let len = if mechanism == Mechanism::ScramSha1 { 20 } else { 32 };
    crate::proxy::ScramKeys {
        salt: (*b"salt").into(),
        iterations: 4096,
        stored_key: Secret::new(vec![7; len]),
        server_key: Secret::new(vec![9; len]),
    }
}

fn client(mechanism: Mechanism, messages: &[&[u8]]) {
    let credentials = Credentials {
        authcid: (*b"user").into(),
        password: Secret::new(*b"pencil"),
        ..Credentials::default()
    };
    let mut client = Client::new(mechanism, credentials, [2; 18]).expect("these credentials suit all");
    for message in messages {
        match client.step(message) {
            Ok(ClientStep::Response(response)) => {
                let is_last = client.is_complete();
                assert!(!is_last || mechanism.scram_hash().is_none());
                // SCRAM never shows the password.
                let shown = response.expose().windows(6).any(|part| part == b"pencil");
                assert!(!shown || mechanism.sends_password());
            }
            Ok(ClientStep::NeedSaltedPassword { iterations, .. }) => {
                assert!(crate::sasl::scram::ITERATIONS.contains(&iterations));
                client.salted_password(&Secret::new([3; 32])).expect("it was asked for");
            }
            Ok(ClientStep::Done) => panic!("the server has proven nothing"),
            Err(_) => {
                assert!(client.step(b"").is_err());
                return;
            }
        }
    }
}

fn base64(text: &[u8]) {
    if let Ok(decoded) = decode_base64(text) {
        let mut again = Vec::new();
        base64_out(&mut again, decoded.expose());
        assert_eq!(again, text);
    }
    let mut written = Vec::new();
    base64_out(&mut written, text);
    assert_eq!(decode_base64(&written).expect("it was just written").expose(), text);
}
