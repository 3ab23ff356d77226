//! Base64 as the protocols carry SASL messages (RFC 4648 section 4).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroize;

use crate::secret::Secret;

use super::{MESSAGE_BYTES_MAX, SaslError};

/// Appends `bytes` in base64.
pub fn base64_out(out: &mut Vec<u8>, bytes: &[u8]) {
    let begins = out.len();
    out.resize(begins + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[begins..]).unwrap_or(0);
    out.truncate(begins + written);
}

/// Decodes a message.
///
/// # Errors
/// `Base64`, `TooLong`.
pub fn decode_base64(text: &[u8]) -> Result<Secret, SaslError> {
    if text.len() > MESSAGE_BYTES_MAX.div_ceil(3) * 4 {
        return Err(SaslError::TooLong);
    }
    let mut bytes = vec![0; text.len().div_ceil(4) * 3];
    match STANDARD.decode_slice(text, &mut bytes) {
        Ok(len) => {
            let secret = Secret::new(&bytes[..len]);
            bytes.zeroize();
            Ok(secret)
        }
        Err(_) => {
            bytes.zeroize();
            Err(SaslError::Base64)
        }
    }
}

/// Decodes the initial response of an AUTHENTICATE command: "a single `=`" is an empty one (RFC 4959
/// section 3).
///
/// # Errors
/// As [`decode_base64`].
pub fn decode_initial(text: &[u8]) -> Result<Secret, SaslError> {
    decode_base64(if text == b"=" { b"" } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way_there_and_back() {
        for len in 0..100_u8 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut text = b"+ ".to_vec();
            base64_out(&mut text, &bytes);
            assert_eq!(decode_base64(&text[2..]).unwrap().expose(), bytes);
        }
    }

    #[test]
    fn lone_equals_sign_is_an_empty_initial_response() {
        assert_eq!(decode_initial(b"=").unwrap().expose(), b"");
        assert_eq!(decode_initial(b"").unwrap().expose(), b"");
        assert_eq!(decode_base64(b"=").unwrap_err(), SaslError::Base64);
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in [&b"A"[..], b"AA", b"AA=", b"A===", b"AAA*", b"AA==AA==", b" AAAA", b"*"] {
            assert_eq!(decode_base64(text).unwrap_err(), SaslError::Base64, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn message_over_limit_is_refused_before_decoding() {
        assert_eq!(decode_base64(&[b'A'; 6000]).unwrap_err(), SaslError::TooLong);
    }
}
