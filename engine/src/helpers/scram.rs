//! The costly parts of SCRAM (RFC 5802 section 3): PBKDF2, with a memory for what was derived.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocols::proxy::{ScramHash, ScramKeys};
use protocols::secret::Secret;

/// Derived keys that are kept: one per backend and frontend is the usual number.
pub(super) const DERIVED_MAX: usize = 1024;

/// What a derived key depends on. The password stands in it as a digest only.
type Key = (u8, [u8; 32], Box<[u8]>, u32);

/// Keys derived for the client side.
#[derive(Default)]
pub struct Derived(Mutex<BTreeMap<Key, Secret>>);

impl Derived {
    /// A key that was derived before.
    pub fn known(&self, hash: ScramHash, password: &Secret, salt: &[u8], iterations: u32) -> Option<Secret> {
        let key = key(hash, password, salt, iterations);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    /// Derives a key and keeps it; takes 0.7 ms at 4,096 iterations.
    pub fn derive(&self, hash: ScramHash, password: &Secret, salt: &[u8], iterations: u32) -> Secret {
        let derived = salted_password(hash, password.expose(), salt, iterations);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A server that changes its salt with every login fills the memory with what is of no use
        // again; beginning anew costs one derivation a backend.
        if kept.len() >= DERIVED_MAX {
            kept.clear();
        }
        kept.insert(key(hash, password, salt, iterations), derived.clone());
        derived
    }
}

fn key(hash: ScramHash, password: &Secret, salt: &[u8], iterations: u32) -> Key {
    let mut digest_of = [0; 32];
    digest_of.copy_from_slice(digest::digest(&digest::SHA256, password.expose()).as_ref());
    (hash as u8, digest_of, salt.into(), iterations)
}

/// SaltedPassword := Hi(Normalize(password), salt, i).
fn salted_password(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Secret {
    let (algorithm, bytes) = match hash {
        ScramHash::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
        ScramHash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
    };
    let mut out = vec![0; bytes];
    pbkdf2::derive(
        algorithm,
        NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN),
        salt,
        password,
        &mut out,
    );
    Secret::new(out)
}

/// Whether a password has the stored key: StoredKey := H(HMAC(SaltedPassword, "Client Key")).
pub(super) fn is_password(hash: ScramHash, keys: &ScramKeys, password: &[u8]) -> bool {
    let salted = salted_password(hash, password, &keys.salt, keys.iterations);
    let (mac, hashed) = match hash {
        ScramHash::Sha1 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &digest::SHA1_FOR_LEGACY_USE_ONLY),
        ScramHash::Sha256 => (hmac::HMAC_SHA256, &digest::SHA256),
    };
    let client_key = hmac::sign(&hmac::Key::new(mac, salted.expose()), b"Client Key");
    let stored = digest::digest(hashed, client_key.as_ref());
    constant_time::verify_slices_are_equal(stored.as_ref(), keys.stored_key.expose()).is_ok()
}

/// Reads `iterations "$" salt "$" StoredKey "$" ServerKey`.
pub(super) fn stored(text: &str) -> Option<ScramKeys> {
    let mut parts = text.split('$');
    let iterations = parts.next()?.parse().ok().filter(|n| (1..=ITERATIONS_MAX).contains(n))?;
    let mut part = || STANDARD.decode(parts.next()?).ok().filter(|bytes| !bytes.is_empty());
    let (salt, stored_key, server_key) = (part()?, part()?, part()?);
    if parts.next().is_some() {
        return None;
    }
    Some(ScramKeys {
        salt: salt.into(),
        iterations,
        stored_key: Secret::new(stored_key),
        server_key: Secret::new(server_key),
    })
}

/// Iterations that a line may ask for: half a minute of work.
const ITERATIONS_MAX: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_keys_are_those_of_the_rfcs_and_are_kept() {
        let derived = Derived::default();
        let password = Secret::new(*b"pencil");
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        assert!(derived.known(ScramHash::Sha256, &password, &salt, 4096).is_none());
        let salted = derived.derive(ScramHash::Sha256, &password, &salt, 4096);
        let server = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salted.expose()), b"Server Key");
        assert_eq!(STANDARD.encode(server.as_ref()), "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
        let known = derived.known(ScramHash::Sha256, &password, &salt, 4096).unwrap();
        assert_eq!(known.expose(), salted.expose());
        assert!(derived.known(ScramHash::Sha1, &password, &salt, 4096).is_none());
        assert!(derived.known(ScramHash::Sha256, &Secret::new(*b"pen"), &salt, 4096).is_none());
    }

    #[test]
    fn memory_of_derived_keys_is_bounded() {
        let derived = Derived::default();
        for n in 0..DERIVED_MAX + 10 {
            derived.derive(ScramHash::Sha1, &Secret::new(*b"x"), &n.to_le_bytes(), 1);
        }
        assert!(derived.0.lock().unwrap().len() <= DERIVED_MAX);
    }

    #[test]
    fn stored_keys_need_all_four_parts() {
        assert!(stored("4096$AAAA$AAAA$AAAA").is_some());
        for bad in ["", "0$AAAA$AAAA$AAAA", "x$AAAA$AAAA$AAAA", "1$$AAAA$AAAA", "1$AAAA$AAAA", "1$A$A$A$A"] {
            assert!(stored(bad).is_none(), "{bad}");
        }
    }
}
