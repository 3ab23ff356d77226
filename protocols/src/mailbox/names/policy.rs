//! Which names may be created.

use super::{NEW_NAME_BYTES_MAX, Name, NameError, Namespace, VirtDomains};
use crate::mailbox::utf7;

/// Whether a mailbox of this internal name may be created, as Cyrus checks it.
///
/// # Errors: [`NameError`]; the client sees `NO Invalid mailbox name`.
pub fn valid_new_name(internal: &[u8], namespace: &Namespace) -> Result<(), NameError> {
    if internal.starts_with(b"$") {
        return Err(NameError::Kept);
    }
    if Name::parse(internal, &namespace.deleted_prefix, &namespace.default_domain).deleted.is_some() {
        return Ok(());
    }
    if internal.len() > NEW_NAME_BYTES_MAX {
        return Err(NameError::TooLong { length: internal.len(), limit: NEW_NAME_BYTES_MAX });
    }
    let start = match memchr::memchr(b'!', internal) {
        Some(bang) if namespace.virtdomains == VirtDomains::Off => {
            return Err(NameError::Byte { byte: b'!', at: bang });
        }
        Some(bang) => bang + 1,
        None => 0,
    };
    check_kept(&internal[start..])?;
    check_bytes(internal, start)?;
    if utf7::is_valid(&internal[start..]) { Ok(()) } else { Err(NameError::Utf7) }
}

/// Names without a component between two separators, and those that Cyrus keeps.
fn check_kept(name: &[u8]) -> Result<(), NameError> {
    if name.split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
        return Err(NameError::Empty);
    }
    let is_kept = name.starts_with(b"~")
        || name.starts_with(b"user.%")
        || matches!(name, b"user" | b"user.anyone" | b"user.anonymous");
    if is_kept { Err(NameError::Kept) } else { Ok(()) }
}

/// The ASCII that a name may hold; `&` begins a run of modified UTF-7.
fn check_bytes(internal: &[u8], start: usize) -> Result<(), NameError> {
    for (at, &byte) in internal.iter().enumerate().skip(start) {
        let is_good = byte.is_ascii_alphanumeric() || b" #$&'()*+,-.:=?@[]^_~".contains(&byte);
        if !is_good {
            return Err(NameError::Byte { byte, at });
        }
    }
    Ok(())
}
