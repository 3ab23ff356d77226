//! The exchange of a SASL mechanism with a backend, as far as it is the same in all protocols.
//!
//! ```text
//! Server <──> Salt
//! ```

use std::marker::PhantomData;

use super::backend::Step;
use crate::sasl::{self, Client, ClientStep, SaslError};
use crate::secret::Secret;

/// How a protocol writes what an exchange sends.
pub(crate) trait Frame {
    /// The line that gives an exchange up.
    const CANCEL: &'static [u8];

    /// Writes a message of the mechanism, in base64, with the end of its line.
    fn response(message: &[u8], out: &mut Vec<u8>);
}

/// `base64 CRLF`, `"*" CRLF` (RFC 9051 section 6.2.2, RFC 5034 section 4, RFC 4954 section 4).
pub(crate) enum Bare {}

impl Frame for Bare {
    const CANCEL: &'static [u8] = b"*\r\n";

    fn response(message: &[u8], out: &mut Vec<u8>) {
        sasl::base64_out(out, message);
        out.extend_from_slice(b"\r\n");
    }
}

/// The exchange on one connection, behind the command that began it.
pub(crate) struct Exchange<F = Bare> {
    client: Box<Client>,
    awaits: Awaits,
    frame: PhantomData<F>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// A challenge, success or failure.
    Server,
    /// PBKDF2.
    Salt,
}

impl<F: Frame> Exchange<F> {
    /// The command was sent, perhaps with the initial response of `client`.
    pub(crate) fn new(client: Client) -> Exchange<F> {
        Exchange { client: Box::new(client), awaits: Awaits::Server, frame: PhantomData }
    }

    /// Whether the server has to speak.
    pub(crate) fn awaits_server(&self) -> bool {
        self.awaits == Awaits::Server
    }

    /// Whether the server's success counts: not before it has proven itself, where the mechanism has that.
    pub(crate) fn is_complete(&self) -> bool {
        self.client.is_complete()
    }

    /// Takes a challenge, in base64.
    pub(crate) fn challenge<R>(&mut self, challenge: &[u8], out: &mut Vec<u8>) -> Step<R> {
        let Ok(challenge) = sasl::decode_base64(challenge) else {
            return Self::cancel("challenge is not base64", out);
        };
        let step = self.client.step(challenge.expose());
        self.advance(step, out)
    }

    /// Takes the message that came with success, in base64.
    ///
    /// # Errors
    /// The server failed the mechanism.
    pub(crate) fn last_message(&mut self, message: &[u8]) -> Result<(), SaslError> {
        let message = sasl::decode_base64(message)?;
        self.client.step(message.expose()).map(drop)
    }

    /// PBKDF2 is done.
    pub(crate) fn salted<R>(&mut self, salted: &Secret, out: &mut Vec<u8>) -> Step<R> {
        if self.awaits_server() {
            return Step::Failed(UNASKED_SALT);
        }
        self.awaits = Awaits::Server;
        let step = self.client.salted_password(salted);
        self.advance(step, out)
    }

    fn advance<R>(&mut self, step: Result<ClientStep, SaslError>, out: &mut Vec<u8>) -> Step<R> {
        match step {
            Ok(ClientStep::Response(response)) => F::response(response.expose(), out),
            // The server's last word was a challenge, which wants a response (RFC 4422 section 5.2).
            Ok(ClientStep::Done) => F::response(b"", out),
            Ok(ClientStep::NeedSaltedPassword { hash, password, salt, iterations }) => {
                self.awaits = Awaits::Salt;
                return Step::Salt { hash, password, salt, iterations };
            }
            Err(_) => return Self::cancel("server failed the mechanism", out),
        }
        Step::Wait
    }

    fn cancel<R>(why: &'static str, out: &mut Vec<u8>) -> Step<R> {
        out.extend_from_slice(F::CANCEL);
        Step::Failed(why)
    }
}

/// Why a login fails that is given a salted password before it asked for one.
pub(crate) const UNASKED_SALT: &str = "salted password that was not asked for";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sasl::{Credentials, Mechanism};

    fn exchange(mechanism: Mechanism) -> Exchange {
        let credentials = Credentials {
            authcid: (*b"user").into(),
            password: Secret::new(*b"pencil"),
            ..Credentials::default()
        };
        Exchange::new(Client::new(mechanism, credentials, [7; 18]).unwrap())
    }

    fn told(exchange: &mut Exchange, challenge: &[u8]) -> (Step<()>, Vec<u8>) {
        let mut out = Vec::new();
        (exchange.challenge(challenge, &mut out), out)
    }

    #[test]
    fn challenges_are_answered_until_everything_is_said() {
        let mut exchange = exchange(Mechanism::Login);
        assert!(
            matches!(told(&mut exchange, b"VXNlcm5hbWU6"), (Step::Wait, said) if said == b"dXNlcg==\r\n")
        );
        assert!(!exchange.is_complete());
        assert!(
            matches!(told(&mut exchange, b"UGFzc3dvcmQ6"), (Step::Wait, said) if said == b"cGVuY2ls\r\n")
        );
        assert!(exchange.is_complete());
        assert!(matches!(told(&mut exchange, b""), (Step::Failed(_), said) if said == b"*\r\n"));
    }

    #[test]
    fn challenge_that_is_no_base64_ends_the_exchange() {
        assert!(
            matches!(told(&mut exchange(Mechanism::Plain), b"?"), (Step::Failed(_), said) if said == b"*\r\n")
        );
    }

    #[test]
    fn salted_password_is_taken_only_where_it_was_asked_for() {
        let salted = Secret::new([0; 32]);
        let mut exchange = exchange(Mechanism::ScramSha256);
        let mut out = Vec::new();
        assert!(matches!(exchange.salted::<()>(&salted, &mut out), Step::Failed(UNASKED_SALT)));
        assert!(matches!(told(&mut exchange, b""), (Step::Wait, _)));
        // The nonce of the client is 24 characters of base64 of sevens.
        let server_first = b"r=BwcHBwcHBwcHBwcHBwcHBwcHBwcHx,s=c2FsdA==,i=4096";
        let mut encoded = Vec::new();
        sasl::base64_out(&mut encoded, server_first);
        assert!(matches!(told(&mut exchange, &encoded), (Step::Salt { .. }, said) if said.is_empty()));
        assert!(!exchange.awaits_server());
        assert!(matches!(exchange.salted::<()>(&salted, &mut out), Step::Wait));
        assert!(exchange.awaits_server() && !exchange.is_complete());
    }
}
