//! Who may log in.

use super::session::User;
use super::{Account, Config};

/// What is offered before and after login.
pub(crate) const CAPABILITIES: &str = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE NOTIFY SEARCHRES UIDPLUS MOVE UNSELECT \
     MULTIAPPEND ACL RIGHTS=kxten QUOTA CHILDREN CONDSTORE AUTH=PLAIN AUTH=LOGIN";

/// Passwords, and what their owners may.
pub(crate) struct Accounts {
    accounts: Vec<Account>,
    proxies: Vec<String>,
    admins: Vec<String>,
}

impl Accounts {
    pub(crate) fn new(config: &Config) -> Accounts {
        let (accounts, proxies, admins) =
            (config.accounts.clone(), config.proxies.clone(), config.admins.clone());
        Accounts { accounts, proxies, admins }
    }

    /// The user that a login makes, `None` when it is refused.
    fn authorise(&self, authzid: &str, name: &str, password: &str) -> Option<User> {
        if !self.accounts.iter().any(|a| a.name == name && a.password == password) {
            return None;
        }
        let proxied = !authzid.is_empty() && authzid != name;
        if proxied && !self.proxies.iter().any(|p| p == name) {
            return None;
        }
        let user = if authzid.is_empty() { name } else { authzid };
        Some(User { name: user.to_owned(), admin: self.admins.iter().any(|a| a == user) })
    }

    /// Checks `[authzid] NUL authcid NUL passwd` (RFC 4616).
    pub(crate) fn user_of_plain(&self, message: Option<&str>) -> Option<User> {
        let mut pieces = message?.split('\0');
        let (authzid, name, password) = (pieces.next()?, pieces.next()?, pieces.next()?);
        self.authorise(authzid, name, password)
    }

    /// The user of LOGIN.
    pub(crate) fn user_of_login(&self, name: &str, password: &str) -> Option<User> {
        self.authorise("", name, password)
    }
}
