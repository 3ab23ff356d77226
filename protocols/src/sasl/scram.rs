//! What both sides of SCRAM share (RFC 5802, RFC 7677): messages and keys.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use zeroize::{Zeroize, Zeroizing};

use crate::proxy::{ScramHash, ScramKeys};
use crate::secret::Secret;

use super::SaslError;

/// Iteration counts that a client takes from a server. Below, a stolen message is too cheap to try
/// passwords on ("at least 4096", RFC 7677 section 4); above, the server would make us burn CPU.
pub const ITERATIONS: RangeInclusive<u32> = 4096..=600_000;

/// Bytes of a nonce before it is written in base64.
pub const NONCE_BYTES: usize = 18;

/// Bytes of the longest output of a [`ScramHash`].
const OUTPUT_BYTES_MAX: usize = 32;

/// Bytes of one part of a message: nonce or user name.
const PART_BYTES_MAX: usize = 1024;

/// SaltedPassword: `Hi(Normalize(password), salt, i)`, PBKDF2 with the hash's HMAC (RFC 5802 section 3).
/// Slow by design: never called on a shard.
pub fn salted_password(hash: ScramHash, password: &Secret, salt: &[u8], iterations: NonZeroU32) -> Secret {
    let algorithm = match hash {
        ScramHash::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
        ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
    };
    let mut salted = Zeroizing::new([0; OUTPUT_BYTES_MAX]);
    let salted = &mut salted[..output_len(hash)];
    pbkdf2::derive(algorithm, iterations, salt, password.expose(), salted);
    Secret::new(&*salted)
}

/// What a server keeps for a user, from the SaltedPassword.
pub fn keys(hash: ScramHash, salted: &Secret, salt: &[u8], iterations: NonZeroU32) -> ScramKeys {
    let client_key = Zeroizing::new(sign(hash, salted.expose(), b"Client Key"));
    ScramKeys {
        salt: salt.into(),
        iterations: iterations.get(),
        stored_key: Secret::new(digest(hash, &client_key)),
        server_key: Secret::new(sign(hash, salted.expose(), b"Server Key")),
    }
}

/// Whether the proof shows that the client knows the password:
///
/// ```text
/// ClientSignature := HMAC(StoredKey, AuthMessage)
/// ClientKey       := ClientProof XOR ClientSignature
/// StoredKey       == H(ClientKey)      RFC 5802 section 3
/// ```
pub(super) fn is_proven(hash: ScramHash, stored_key: &Secret, auth_message: &[u8], proof: &[u8]) -> bool {
    let signature = sign(hash, stored_key.expose(), auth_message);
    if proof.len() != signature.len() {
        return false;
    }
    let client_key = Zeroizing::new(xor(proof, &signature));
    constant_time::verify_slices_are_equal(&digest(hash, &client_key), stored_key.expose()).is_ok()
}

/// `ServerSignature := HMAC(ServerKey, AuthMessage)`.
pub(super) fn server_signature(hash: ScramHash, server_key: &[u8], auth_message: &[u8]) -> Vec<u8> {
    sign(hash, server_key, auth_message)
}

/// ClientProof and the ServerSignature that must answer it, from the SaltedPassword.
pub(super) fn proof(hash: ScramHash, salted: &Secret, auth_message: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut client_key = sign(hash, salted.expose(), b"Client Key");
    let stored_key = Zeroizing::new(digest(hash, &client_key));
    let proof = xor(&client_key, &sign(hash, &stored_key, auth_message));
    client_key.zeroize();
    let server_key = Zeroizing::new(sign(hash, salted.expose(), b"Server Key"));
    (proof, sign(hash, &server_key, auth_message))
}

/// A salt for a user who does not exist: the same at each try, and nobody without the secret can tell
/// it from a real one.
pub(super) fn fake_salt(secret: &Secret, hash: ScramHash, user: &[u8]) -> Box<[u8]> {
    let label: &[u8] = match hash {
        ScramHash::Sha1 => b"SCRAM-SHA-1 ",
        ScramHash::Sha256 => b"SCRAM-SHA-256 ",
    };
    let salt = sign(ScramHash::Sha256, secret.expose(), &[label, user].concat());
    salt[..16].into()
}

/// Bytes of the hash's output.
pub(super) fn output_len(hash: ScramHash) -> usize {
    match hash {
        ScramHash::Sha1 => 20,
        ScramHash::Sha256 => 32,
    }
}

/// The attributes of a message: `a=value` with commas between.
pub(super) struct Attributes<'a>(Option<&'a [u8]>);

impl<'a> Attributes<'a> {
    pub(super) fn new(message: &'a [u8]) -> Attributes<'a> {
        Attributes(Some(message))
    }

    /// The value of the next attribute, which must have this name.
    pub(super) fn next(&mut self, name: u8, what: &'static str) -> Result<&'a [u8], SaslError> {
        let malformed = SaslError::Malformed { what };
        let rest = self.0.ok_or(malformed)?;
        let (attribute, behind) = match memchr::memchr(b',', rest) {
            Some(comma) => (&rest[..comma], Some(&rest[comma + 1..])),
            None => (rest, None),
        };
        self.0 = behind;
        match attribute {
            [first, b'=', value @ ..]
                if *first == name && !value.is_empty() && value.len() <= PART_BYTES_MAX =>
            {
                Ok(value)
            }
            _ => Err(malformed),
        }
    }

    /// Whether the next attribute has this name.
    pub(super) fn has_next(&self, name: u8) -> bool {
        matches!(self.0, Some([first, b'=', ..]) if *first == name)
    }

    /// What is left must be extensions, which are ignored: `attr-val = ALPHA "=" value`.
    pub(super) fn extensions(self) -> Result<(), SaslError> {
        let is_extension = |part: &[u8]| matches!(part, [name, b'=', _, ..] if name.is_ascii_alphabetic());
        match self.0 {
            Some(rest) if !rest.split(|byte| *byte == b',').all(is_extension) => {
                Err(SaslError::Malformed { what: "extension" })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// ```text
/// nonce     = "r=" c-nonce [s-nonce]
/// c-nonce   = printable
/// printable = %x21-2B / %x2D-7E      RFC 5802 section 7
/// ```
pub(super) fn is_printable(nonce: &[u8]) -> bool {
    nonce.iter().all(|byte| matches!(byte, 0x21..=0x2b | 0x2d..=0x7e))
}

/// Reads a name: `,` is written `=2C` and `=` is `=3D`.
///
/// ```text
/// saslname = 1*(value-safe-char / "=2C" / "=3D")      RFC 5802 section 7
/// ```
/// "If the server receives a username that contains '=' not followed by either '2C' or '3D', then the
/// server MUST fail the authentication."
pub(super) fn decode_name(name: &[u8]) -> Result<Vec<u8>, SaslError> {
    let malformed = SaslError::Malformed { what: "user name" };
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    loop {
        match rest {
            [] => return Ok(decoded),
            [b'=', b'2', b'C', behind @ ..] => {
                decoded.push(b',');
                rest = behind;
            }
            [b'=', b'3', b'D', behind @ ..] => {
                decoded.push(b'=');
                rest = behind;
            }
            [b'=' | b',' | 0, ..] => return Err(malformed),
            [byte, behind @ ..] => {
                decoded.push(*byte);
                rest = behind;
            }
        }
    }
}

/// Writes a name as [`decode_name`] reads it.
pub(super) fn name_out(out: &mut Vec<u8>, name: &[u8]) {
    for byte in name {
        match byte {
            b',' => out.extend_from_slice(b"=2C"),
            b'=' => out.extend_from_slice(b"=3D"),
            byte => out.push(*byte),
        }
    }
}

fn sign(hash: ScramHash, key: &[u8], message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        ScramHash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        ScramHash::Sha256 => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec()
}

fn digest(hash: ScramHash, bytes: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        ScramHash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        ScramHash::Sha256 => &digest::SHA256,
    };
    digest::digest(algorithm, bytes).as_ref().to_vec()
}

fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_there_and_back() {
        for name in [&b"fred"[..], b"a,b=c", b"=2C", "Jürgen".as_bytes(), b""] {
            let mut out = Vec::new();
            name_out(&mut out, name);
            assert_eq!(decode_name(&out).unwrap(), name);
        }
    }

    #[test]
    fn equals_sign_that_is_no_escape_is_refused() {
        for name in [&b"a=b"[..], b"a=", b"a=2", b"a=2c", b"=3", b"a,b", b"a\0b"] {
            assert!(decode_name(name).is_err(), "{}", name.escape_ascii());
        }
    }

    #[test]
    fn fake_salt_is_stable_and_differs_by_user_hash_and_secret() {
        let secret = Secret::new(*b"per process");
        let salt = |secret: &Secret, hash, user: &[u8]| fake_salt(secret, hash, user);
        let fred = salt(&secret, ScramHash::Sha256, b"fred");
        assert_eq!(fred, salt(&secret, ScramHash::Sha256, b"fred"));
        assert_ne!(fred, salt(&secret, ScramHash::Sha256, b"anne"));
        assert_ne!(fred, salt(&secret, ScramHash::Sha1, b"fred"));
        assert_ne!(fred, salt(&Secret::new(*b"another"), ScramHash::Sha256, b"fred"));
    }
}
