//! One login of a client: who he is, and whether he may act for whom he names.
//!
//! ```text
//!            ┌─ Sasl <─> responses, ScramKeys ──> Proven ─┐
//!  (begin) ──┤                                            ├─> Authorising ─> accepted
//!            └─ Checking ──(ask backend)──> AtHome ───────┘
//!                          (Authorising asks for groups on the way: Grouping)
//! ```
//! It knows no protocol: messages are decoded, commands and replies are the session's.

use super::backend::LoginAs;
use super::rules::Rules;
use crate::mailbox::acl::{self, Rights};
use crate::mailbox::names::{MagicPlus, VirtDomains};
use crate::mailbox::{Groups, Identity};
use crate::proxy::{Answer, Finding, Freshness, PasswordVerdict, Question};
use crate::sasl::{self, Mechanism, SaslError, ServerStep};
use crate::secret::Secret;

/// A login in progress.
pub struct Attempt {
    mechanism: &'static str,
    /// Canonical.
    authcid: Box<[u8]>,
    /// Canonical; empty when nobody else was named.
    authzid: Box<[u8]>,
    magic_plus: Option<MagicPlus>,
    folder: Option<Box<[u8]>>,
    /// The groups of `authcid`, once they were looked up.
    groups: Option<Groups>,
    /// A reserved name was looked up again behind a barrier.
    has_asked_again: bool,
    /// The home was looked up again because its server could not be asked.
    has_looked_behind: bool,
    stage: Stage,
}

enum Stage {
    /// A mechanism waits for a response of the client or for keys.
    Sasl(Box<sasl::Server>),
    /// The client has proven who he is; the last word of the mechanism is for him.
    Proven,
    /// The engine checks the password.
    Checking { password: Secret },
    /// The user's home is looked up, or a server is tried, to check the password there; `tried` is the one that was.
    AtHome { password: Secret, next_server: usize, tried: Box<[u8]> },
    /// `loginuseacl`: the ACL of the INBOX of the other user is looked up.
    Authorising { inbox: Box<[u8]> },
    /// Groups are looked up.
    Grouping(Grouped),
    /// Decided.
    Over,
}

/// Whose groups are looked up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grouped {
    /// Of who proved who he is: may he act for another?
    Authenticated,
    /// Of whose session it will be.
    Authorised,
}

/// What an attempt wants.
#[derive(Debug)]
pub enum Step {
    /// Send this and give the client's response to [`Attempt::respond`].
    Challenge(Vec<u8>),
    /// The client must get this before or with success: as additional data of it where the protocol has
    /// that, else as one more challenge, whose response is empty. Then [`Attempt::proven`].
    LastWord(Vec<u8>),
    /// Ask this and give the answer to [`Attempt::answered`].
    Ask(Question),
    /// The same behind a pause: a mailbox is being moved.
    AskLater(Question),
    /// Log in to this server and tell [`Attempt::tried`].
    Try {
        /// As in the mailbox list.
        server: Box<[u8]>,
        /// The user himself.
        who: LoginAs,
    },
    /// He may.
    Accepted(Identity),
    /// He may not. The reason is for the log.
    Refused(&'static str),
    /// It cannot be decided at the moment. The reason is for the log.
    Unavailable(&'static str),
}

/// How a login at a server ended that was to check a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// It was right.
    Accepted,
    /// It was wrong.
    Refused,
    /// Nobody could say.
    Failed,
}

impl Attempt {
    fn new(mechanism: &'static str, stage: Stage) -> Attempt {
        Attempt {
            mechanism,
            authcid: Box::default(),
            authzid: Box::default(),
            magic_plus: None,
            folder: None,
            groups: None,
            has_asked_again: false,
            has_looked_behind: false,
            stage,
        }
    }

    /// Begins with name and password.
    pub fn password(user: &[u8], password: Secret, rules: &Rules<'_>) -> (Attempt, Step) {
        let mut attempt = Attempt::new("plaintext", Stage::Over);
        let step = attempt.check_password(user, b"", password, rules);
        (attempt, step)
    }

    /// Begins a mechanism that the client named; `secured` tells whether his bytes are under TLS.
    ///
    /// # Errors
    /// `Mechanism`: it is not offered, or would send a password in the clear. Others: the client does
    /// not speak it.
    pub fn sasl(
        mechanism: &[u8],
        initial: Option<&[u8]>,
        nonce: [u8; 18],
        secured: bool,
        rules: &Rules<'_>,
    ) -> Result<(Attempt, Step), SaslError> {
        let known = Mechanism::parse(mechanism)
            .filter(|known| rules.login.allows(*known, secured))
            .ok_or(SaslError::Mechanism)?;
        let (server, step) = sasl::Server::start(mechanism, &rules.login.offer, initial, nonce)?;
        let mut attempt = Attempt::new(known.name(), Stage::Over);
        let step = attempt.follow(Box::new(server), step, rules);
        Ok((attempt, step))
    }

    /// How the client logs in: `plaintext` or the name of a mechanism.
    pub fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// Who logs in, canonical; empty as long as it is not known.
    pub fn authcid(&self) -> &[u8] {
        &self.authcid
    }

    /// Whom the session acts for, canonical.
    pub fn user(&self) -> &[u8] {
        if self.authzid.is_empty() { &self.authcid } else { &self.authzid }
    }

    /// What `imapmagicplus` took off the name.
    pub fn magic_plus(&self) -> Option<&MagicPlus> {
        self.magic_plus.as_ref()
    }

    /// The folder that `popsubfolders` took off the name.
    pub fn folder(&self) -> Option<&[u8]> {
        self.folder.as_deref()
    }

    /// Whether the client's next line is a response for [`Attempt::respond`].
    pub fn expects_response(&self) -> bool {
        match &self.stage {
            Stage::Sasl(server) => !server.awaits_keys(),
            Stage::Proven => true,
            Stage::Checking { .. }
            | Stage::AtHome { .. }
            | Stage::Authorising { .. }
            | Stage::Grouping(_)
            | Stage::Over => false,
        }
    }

    /// Whether a connection on which the user logged in himself may serve his session: he acts for
    /// nobody else and is no admin.
    pub fn may_keep_home(&self, rules: &Rules<'_>) -> bool {
        !self.acts_for_other() && !rules.is_admin(&self.authcid)
    }

    /// Takes a response of the client, decoded.
    ///
    /// # Errors
    /// He does not speak the mechanism; the attempt is over.
    pub fn respond(&mut self, response: &[u8], rules: &Rules<'_>) -> Result<Step, SaslError> {
        match self.take_stage() {
            Stage::Sasl(mut server) => {
                let step = server.step(response)?;
                Ok(self.follow(server, step, rules))
            }
            Stage::Proven => Ok(self.authorise(rules)),
            Stage::Checking { .. }
            | Stage::AtHome { .. }
            | Stage::Authorising { .. }
            | Stage::Grouping(_)
            | Stage::Over => Err(SaslError::Unexpected),
        }
    }

    /// The client has, or will have, the last word of the mechanism.
    pub fn proven(&mut self, rules: &Rules<'_>) -> Step {
        self.stage = Stage::Over;
        self.authorise(rules)
    }

    /// Takes the answer to a question; `None` when it answers none of this attempt.
    pub fn answered(&mut self, answer: Answer, rules: &Rules<'_>) -> Option<Step> {
        Some(match (self.take_stage(), answer) {
            (Stage::Checking { password }, Answer::Password(verdict)) => {
                self.handle_verdict(password, &verdict, rules)
            }
            (Stage::AtHome { password, next_server, tried }, Answer::Found(finding)) => {
                self.handle_home(password, next_server, &tried, &finding, rules)
            }
            (Stage::Authorising { inbox }, Answer::Found(finding)) => {
                self.handle_inbox(&inbox, &finding, rules)
            }
            (Stage::Grouping(of), Answer::Groups(Ok(groups))) => self.handle_groups(of, groups, rules),
            (Stage::Grouping(_), Answer::Groups(Err(_))) => Step::Unavailable("groups cannot be looked up"),
            (Stage::Sasl(mut server), Answer::ScramKeys(keys)) => {
                let step = server.scram_keys(keys);
                self.follow(server, step, rules)
            }
            (stage, _) => {
                self.stage = stage;
                return None;
            }
        })
    }

    /// The user himself, as long as a server checks his password.
    pub fn own_words(&self) -> Option<LoginAs> {
        match &self.stage {
            Stage::AtHome { password, .. } => {
                Some(LoginAs::User { user: self.authcid.clone(), password: password.clone() })
            }
            Stage::Sasl(_)
            | Stage::Proven
            | Stage::Checking { .. }
            | Stage::Authorising { .. }
            | Stage::Grouping(_)
            | Stage::Over => None,
        }
    }

    /// How the login at a server ended.
    pub fn tried(&mut self, tried: Tried, rules: &Rules<'_>) -> Step {
        let Stage::AtHome { password, next_server, tried: server } = self.take_stage() else {
            return Step::Unavailable("a server answered that was not asked");
        };
        match tried {
            Tried::Accepted => self.authorise(rules),
            Tried::Refused => Step::Refused("authentication failure"),
            // Servers of the list are tried in order; a home is the only one there is, but it may have moved.
            Tried::Failed if next_server > 0 => self.try_next_server(password, next_server, rules),
            Tried::Failed if self.has_looked_behind => Step::Unavailable("home server unavailable"),
            Tried::Failed => {
                self.has_looked_behind = true;
                let name = rules.namespace.inbox(&self.authcid).into();
                let question = Question::Find { name, freshness: Freshness::Barrier };
                self.ask(Stage::AtHome { password, next_server, tried: server }, question)
            }
        }
    }

    fn take_stage(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Over)
    }

    fn ask(&mut self, stage: Stage, question: Question) -> Step {
        self.stage = stage;
        Step::Ask(question)
    }

    /// Looks a mailbox up again that is being moved: at once behind a barrier, for the move may be over by then, and
    /// later as long as it is not.
    fn ask_again(&mut self, stage: Stage, name: Box<[u8]>) -> Step {
        let question = Question::Find { name, freshness: Freshness::Barrier };
        self.stage = stage;
        match std::mem::replace(&mut self.has_asked_again, true) {
            false => Step::Ask(question),
            true => Step::AskLater(question),
        }
    }

    /// Whether somebody else was named to act for.
    fn acts_for_other(&self) -> bool {
        !self.authzid.is_empty() && self.authzid != self.authcid
    }

    /// Goes on with what a mechanism wants.
    fn follow(&mut self, server: Box<sasl::Server>, step: ServerStep, rules: &Rules<'_>) -> Step {
        match step {
            ServerStep::Challenge(challenge) => {
                self.stage = Stage::Sasl(server);
                Step::Challenge(challenge)
            }
            ServerStep::CheckPassword { authzid, authcid, password } => {
                self.check_password(&authcid, &authzid, password, rules)
            }
            ServerStep::NeedScramKeys { user, hash } => {
                self.ask(Stage::Sasl(server), Question::ScramKeys { user: user.into(), hash })
            }
            ServerStep::Done { authzid, authcid, final_message } => {
                if !self.name(&authcid, &authzid, rules) {
                    Step::Refused("invalid user name")
                } else if let Some(message) = final_message {
                    self.stage = Stage::Proven;
                    Step::LastWord(message)
                } else {
                    self.authorise(rules)
                }
            }
            ServerStep::Failed => Step::Refused("authentication failure"),
        }
    }

    /// Notes who logs in; false when a name is none.
    fn name(&mut self, authcid: &[u8], authzid: &[u8], rules: &Rules<'_>) -> bool {
        let Some((user, magic_plus, folder)) = rules.canonical(authcid) else { return false };
        // Where user ids have domains, those say who is who.
        let has_domains = rules.namespace.virtdomains != VirtDomains::Off;
        if !has_domains && !rules.login.takes_realm_of(&user) {
            return false;
        }
        (self.authcid, self.magic_plus, self.folder) = (user, magic_plus, folder);
        if !authzid.is_empty() {
            let Some((user, magic_plus, folder)) = rules.canonical(authzid) else { return false };
            (self.authzid, self.magic_plus, self.folder) = (user, magic_plus, folder);
        }
        true
    }

    fn check_password(&mut self, typed: &[u8], authzid: &[u8], password: Secret, rules: &Rules<'_>) -> Step {
        if !self.name(typed, authzid, rules) {
            // The engine's answer to this is "denied", with all that belongs to it.
            self.authcid = Box::default();
        }
        // What stands behind a plus that means something is no part of the name.
        let has_plus = typed.contains(&b'+') && (rules.namespace.imapmagicplus || rules.subfolders);
        let user = if has_plus { self.authcid.clone() } else { rules.in_domain(typed).as_ref().into() };
        let question = Question::CheckPassword { user, password: password.clone(), service: rules.service };
        self.ask(Stage::Checking { password }, question)
    }

    fn handle_verdict(&mut self, password: Secret, verdict: &PasswordVerdict, rules: &Rules<'_>) -> Step {
        if self.authcid.is_empty() {
            return Step::Refused("invalid user name");
        }
        match verdict {
            PasswordVerdict::Accepted => self.authorise(rules),
            PasswordVerdict::Denied => Step::Refused("authentication failure"),
            PasswordVerdict::Unavailable => Step::Unavailable("password check unavailable"),
            PasswordVerdict::AskBackend => {
                let name = rules.namespace.inbox(&self.authcid).into();
                let question = Question::Find { name, freshness: Freshness::BarrierIfAbsent };
                self.ask(Stage::AtHome { password, next_server: 0, tried: Box::default() }, question)
            }
        }
    }

    /// The home of a user whose password a backend checks.
    fn handle_home(
        &mut self,
        password: Secret,
        next: usize,
        tried: &[u8],
        finding: &Finding,
        rules: &Rules<'_>,
    ) -> Step {
        match finding {
            Finding::Active(entry) => match entry.location.server() {
                Some(server) if server == tried => Step::Unavailable("home server unavailable"),
                Some(server) => self.try_at(password, next, server),
                None => self.try_next_server(password, next, rules),
            },
            Finding::Absent if rules.is_admin(&self.authcid) => self.try_next_server(password, next, rules),
            Finding::Absent => Step::Refused("no mailbox"),
            Finding::Reserved { .. } => {
                let name = rules.namespace.inbox(&self.authcid).into();
                self.ask_again(Stage::AtHome { password, next_server: next, tried: Box::default() }, name)
            }
            Finding::Unknown => Step::Unavailable("home unknown"),
        }
    }

    fn try_next_server(&mut self, password: Secret, next: usize, rules: &Rules<'_>) -> Step {
        match rules.serverlist.get(next) {
            Some(server) => self.try_at(password, next + 1, server.as_bytes()),
            None => Step::Unavailable("no server to check the password"),
        }
    }

    fn try_at(&mut self, password: Secret, next_server: usize, server: &[u8]) -> Step {
        let who = LoginAs::User { user: self.authcid.clone(), password: password.clone() };
        self.stage = Stage::AtHome { password, next_server, tried: server.into() };
        Step::Try { server: server.into(), who }
    }

    /// Decides whether who proved who he is may act as whom he named.
    fn authorise(&mut self, rules: &Rules<'_>) -> Step {
        let Some(groups) = self.groups.clone() else {
            return self.look_groups_up(Grouped::Authenticated, rules);
        };
        let who = rules.identity(self.authcid.clone(), groups);
        if !self.acts_for_other() {
            Step::Accepted(who)
        } else if who.is_admin {
            self.look_groups_up(Grouped::Authorised, rules)
        } else if rules.login.use_acl {
            let inbox: Box<[u8]> = rules.namespace.inbox(&self.authzid).into();
            let question = Question::Find { name: inbox.clone(), freshness: Freshness::BarrierIfAbsent };
            self.ask(Stage::Authorising { inbox }, question)
        } else {
            Step::Refused("not allowed to act for another user")
        }
    }

    /// Goes on at once where the system's groups do not count.
    fn look_groups_up(&mut self, of: Grouped, rules: &Rules<'_>) -> Step {
        let user = match of {
            Grouped::Authenticated => self.authcid.clone(),
            Grouped::Authorised => self.authzid.clone(),
        };
        if rules.login.groups {
            self.ask(Stage::Grouping(of), Question::Groups { user })
        } else {
            self.handle_groups(of, Groups::default(), rules)
        }
    }

    fn handle_groups(&mut self, of: Grouped, groups: Groups, rules: &Rules<'_>) -> Step {
        match of {
            Grouped::Authenticated => {
                self.groups = Some(groups);
                self.authorise(rules)
            }
            Grouped::Authorised => Step::Accepted(rules.identity(self.authzid.clone(), groups)),
        }
    }

    fn handle_inbox(&mut self, inbox: &[u8], finding: &Finding, rules: &Rules<'_>) -> Step {
        match finding {
            Finding::Active(entry) => {
                let groups = self.groups.clone().unwrap_or_default();
                let who = Identity { user: self.authcid.clone(), groups, ..Identity::default() };
                if acl::rights(&entry.acl, inbox, &who, rules.acl).contains(Rights::A) {
                    self.look_groups_up(Grouped::Authorised, rules)
                } else {
                    Step::Refused("not allowed to act for another user")
                }
            }
            Finding::Absent => Step::Refused("not allowed to act for another user"),
            Finding::Reserved { .. } => {
                let inbox: Box<[u8]> = inbox.into();
                self.ask_again(Stage::Authorising { inbox: inbox.clone() }, inbox)
            }
            Finding::Unknown => Step::Unavailable("mailbox list unavailable"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::config::LoginPolicy;
    use crate::mailbox::Namespace;
    use crate::mailbox::acl::Policy;

    fn with_rules<R>(subfolders: bool, virtdomains: VirtDomains, look: impl FnOnce(&Rules<'_>) -> R) -> R {
        let namespace = Namespace { virtdomains, ..Namespace::default() };
        let (acl, login) = (Policy::default(), LoginPolicy::default());
        look(&Rules {
            service: "pop",
            namespace: &namespace,
            acl: &acl,
            admins: &[],
            login: &login,
            serverlist: &[],
            domain: None,
            subfolders,
        })
    }

    #[test]
    fn folder_is_taken_off_the_name_where_it_may_be() {
        with_rules(true, VirtDomains::Off, |rules| {
            let (attempt, step) = Attempt::password(b"fred+Sent", Secret::new(*b"pw"), rules);
            assert_eq!((attempt.authcid(), attempt.folder()), (&b"fred"[..], Some(&b"Sent"[..])));
            assert!(matches!(step, Step::Ask(Question::CheckPassword { user, .. }) if *user == *b"fred"));
        });
        with_rules(true, VirtDomains::UserId, |rules| {
            let (attempt, _) = Attempt::password(b"fred+Sent@example.com", Secret::default(), rules);
            assert_eq!(attempt.authcid(), b"fred@example.com");
            assert_eq!(attempt.folder(), Some(&b"Sent"[..]));
        });
        with_rules(false, VirtDomains::Off, |rules| {
            let (attempt, _) = Attempt::password(b"fred+Sent", Secret::default(), rules);
            assert_eq!((attempt.authcid(), attempt.folder()), (&b"fred+sent"[..], None));
        });
    }

    #[test]
    fn password_in_the_clear_is_not_offered() {
        with_rules(false, VirtDomains::Off, |rules| {
            let attempt = |secured| Attempt::sasl(b"plain", Some(b"\0fred\0pw"), [0; 18], secured, rules);
            assert!(matches!(attempt(false), Err(SaslError::Mechanism)));
            assert!(attempt(true).is_ok());
        });
    }

    #[test]
    fn answer_that_nobody_waits_for_changes_nothing() {
        with_rules(false, VirtDomains::Off, |rules| {
            let (mut attempt, _) = Attempt::password(b"fred", Secret::default(), rules);
            assert!(attempt.answered(Answer::Found(Finding::Absent), rules).is_none());
            let step = attempt.answered(Answer::Password(PasswordVerdict::Accepted), rules);
            assert!(matches!(step, Some(Step::Accepted(who)) if *who.user == *b"fred"));
        });
    }
}
