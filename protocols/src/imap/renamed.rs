//! What went along with a mailbox that was renamed.

/// A RENAME as the client typed it.
pub(super) struct Renamed {
    /// The old name.
    pub(super) old: Vec<u8>,
    /// The new name.
    pub(super) new: Vec<u8>,
    /// The server tells what goes along.
    pub(super) is_told: bool,
}

impl Renamed {
    pub(super) fn new(old: &[u8], new: &[u8]) -> Renamed {
        Renamed { old: old.to_vec(), new: new.to_vec(), is_told: false }
    }

    /// The new name of a mailbox below, from the text of the untagged OK by which Cyrus 3.6 and 3.8 tell each (newer ones do so
    /// for XRENAME alone):
    ///
    /// ```text
    /// "rename " old-name " " new-name     ; neither is quoted
    /// ```
    ///
    /// A space in a name leaves no doubt: what stands behind both names that were typed is the same.
    pub(super) fn below<'t>(&mut self, text: &'t [u8]) -> Option<&'t [u8]> {
        let names = text.trim_ascii_end().strip_prefix(b"rename ")?;
        self.is_told = true;
        let two_suffixes = names.len().checked_sub(self.old.len() + self.new.len() + 1)?;
        let (old, new) = names.split_at_checked(self.old.len() + two_suffixes / 2)?;
        let new = new.strip_prefix(b" ")?;
        let (old, suffix) = (old.strip_prefix(&*self.old)?, new.strip_prefix(&*self.new)?);
        (old == suffix && !suffix.is_empty()).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_below_is_found_whatever_is_in_it() {
        let mut renamed = Renamed::new(b"INBOX.a", b"INBOX.b c");
        let mut below = |text: &'static str| renamed.below(text.as_bytes()).map(<[u8]>::escape_ascii);
        let mut below = |text| below(text).map(|name| name.to_string());
        assert_eq!(below("rename INBOX.a.x INBOX.b c.x\r\n").as_deref(), Some("INBOX.b c.x"));
        assert_eq!(below("rename INBOX.a.x y INBOX.b c.x y\r\n").as_deref(), Some("INBOX.b c.x y"));
        for none in [
            "rename INBOX.a INBOX.b c",
            "rename INBOX.a.x INBOX.b c.y",
            "rename INBOX.a.x INBOX.d c.x",
            "rename x INBOX.b c.x",
            "rename ",
            "USER fred",
            "",
        ] {
            assert_eq!(below(none), None, "{none}");
        }
    }
}
