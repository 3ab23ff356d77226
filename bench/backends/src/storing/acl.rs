//! Access control lists (RFC 4314) as this server needs them: identifiers, `anyone`, negative ones.

/// Every right, in the order in which Cyrus writes them.
pub(crate) const ALL: &str = "lrswipkxtecdan";

/// The rights of one mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acl {
    entries: Vec<(String, String)>,
}

impl Acl {
    pub(crate) fn new(entries: &[(String, String)]) -> Acl {
        let mut acl = Acl::default();
        for (id, rights) in entries {
            acl.set(id, rights);
        }
        acl
    }

    /// The list of a user's new mailbox.
    pub(crate) fn of_owner(user: &str) -> Acl {
        Acl::new(&[(user.to_owned(), ALL.to_owned())])
    }

    pub(crate) fn entries(&self) -> &[(String, String)] {
        &self.entries
    }

    /// As MUPDATE carries it: every field followed by a tab.
    pub(crate) fn wire(&self) -> String {
        self.entries.iter().map(|(id, rights)| format!("{id}\t{rights}\t")).collect()
    }

    /// Replaces, adds (`+`) or removes (`-`) rights of an identifier; false for an unknown right.
    pub(crate) fn set(&mut self, id: &str, change: &str) -> bool {
        let (sign, letters) = match change.split_at_checked(1) {
            Some((sign @ ("+" | "-"), rest)) => (sign, rest),
            Some(_) | None => ("", change),
        };
        if !letters.chars().all(|c| ALL.contains(c) || c.is_ascii_digit()) {
            return false;
        }
        let old = self.entries.iter().find(|(i, _)| i == id).map_or("", |(_, r)| r.as_str());
        let kept = |c: char| match sign {
            "+" => old.contains(c) || letters.contains(c),
            "-" => old.contains(c) && !letters.contains(c),
            _ => letters.contains(c),
        };
        let rights: String = ALL.chars().chain('0'..='9').filter(|c| kept(*c)).collect();
        match self.entries.iter().position(|(i, _)| i == id) {
            Some(at) if rights.is_empty() => drop(self.entries.remove(at)),
            Some(at) => self.entries[at].1 = rights,
            None if rights.is_empty() => {}
            None => self.entries.push((id.to_owned(), rights)),
        }
        true
    }

    /// What a user may do, without what he may do as the owner or an administrator.
    pub(crate) fn rights(&self, user: &str) -> String {
        let of = |sign: &str, c: char| {
            self.entries.iter().any(|(id, rights)| {
                let id = if sign.is_empty() { Some(id.as_str()) } else { id.strip_prefix(sign) };
                id.is_some_and(|id| id == user || id == "anyone") && rights.contains(c)
            })
        };
        ALL.chars().filter(|c| of("", *c) && !of("-", *c)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_add_up_and_negative_ones_take_away() {
        let mut acl = Acl::new(&[("fred".into(), "lrs".into()), ("anyone".into(), "p".into())]);
        assert!(acl.set("fred", "+i"));
        assert!(acl.set("-fred", "s"));
        assert_eq!(acl.rights("fred"), "lrip");
        assert_eq!(acl.rights("jane"), "p");
        assert!(acl.set("fred", "-lri"));
        assert_eq!(acl.rights("fred"), "p");
    }

    #[test]
    fn unknown_right_is_refused() {
        assert!(!Acl::default().set("fred", "lq"));
    }

    #[test]
    fn wire_form_ends_every_field_with_a_tab() {
        assert_eq!(Acl::of_owner("fred").wire(), "fred\tlrswipkxtecdan\t");
    }
}
