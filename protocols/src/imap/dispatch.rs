//! Commands of a logged-in client that are not relayed: answered here, or begun as a task.

use std::sync::Arc;

use super::acl::{AclQuestion, AclTask};
use super::answers::{DENIED, INVALID_NAME, SELECT_FIRST};
use super::append::Append;
use super::backend::Backend;
use super::copy::{Action, By, CopyTask};
use super::esearch::Esearch;
use super::folder::{self, Create, Subscribe};
use super::grammar::{
    AclArgs, Command, NotifyArgs, Verb, annotation_args, append_head, copy_args, create_args, deleteacl_args,
    enable_args, esearch_args, first_mailbox, genurlauth_args, getacl_args, getmetadata_args, getquota_args,
    getquotaroot_args, list_args, listrights_args, lsub_args, mailbox_args, myrights_args, notify_args,
    rename_args, replace_head, select_args, setacl_args, setmetadata_args, setquota_args, status_args,
    subscribe_args, urlfetch_args, xfer_args,
};
use super::guest::Plus;
use super::idle::Idle;
use super::info::Capabilities;
use super::list::{ListTask, Word};
use super::lsub::LsubTask;
use super::metadata;
use super::namespace::NamespaceTask;
use super::notify::Notify;
use super::offer::{Extensions, Offer};
use super::passing;
use super::quota::QuotaTask;
use super::referral::{Kind, Refer};
use super::replace::Replace;
use super::routed::Effect;
use super::select::{Leave, Select};
use super::session::Session;
use super::state::Phase;
use super::status::{StatusApart, without_mailbox_id};
use super::task::{Bond, Task};
use super::urlauth::{ResetKeys, UrlTask};
use crate::mailbox::{Identity, Spelling};
use crate::proxy::{HomeNews, Instant};
use crate::wire::SyntaxError;

/// The answer to arguments where there are none.
pub(super) const EXCESS: &[u8] = b"BAD Unexpected extra arguments";

/// Why a command is answered here, without a server.
struct Refusal {
    text: Vec<u8>,
    is_bad: bool,
}

impl Refusal {
    fn no(text: &[u8]) -> Refusal {
        Refusal { text: text.to_vec(), is_bad: false }
    }

    fn bad(text: String) -> Refusal {
        Refusal { text: text.into_bytes(), is_bad: true }
    }
}

type Begun = Result<Box<dyn Task>, Refusal>;

impl Session {
    /// Acts on a whole command of a logged-in client. Nothing of him is under way.
    #[expect(clippy::wildcard_enum_match_arm, reason = "most verbs are tasks")]
    pub(super) fn dispatch(&mut self, command: Command<'_>, now: Instant) {
        let tag = command.tag;
        match command.verb {
            verb if is_alone(verb) && !command.args.is_empty() => self.bad(tag, EXCESS),
            Verb::Capability => self.start(tag, Box::new(Capabilities::default()), now),
            Verb::Noop => self.reply(tag, b"OK Completed"),
            Verb::Id => self.id(tag, command.args),
            Verb::Logout => self.logout(tag),
            Verb::Enable => self.enable(tag, command.args, now),
            Verb::Compress => self.compress(tag, command.args),
            Verb::Unauthenticate => self.unauthenticate(tag, now),
            Verb::Namespace => {
                self.ask_layouts();
                self.start(tag, Box::new(NamespaceTask::new()), now);
            }
            Verb::Login => self.bad(tag, b"BAD Already logged in"),
            Verb::Authenticate => self.bad(tag, b"BAD Already authenticated"),
            verb => match self.begin(&command) {
                Ok(task) => {
                    if enables_condstore(verb, command.args) {
                        self.enable_condstore();
                    }
                    if asks_for_remote(verb, command.args) {
                        self.refer();
                    }
                    self.start(tag, task, now);
                }
                Err(refusal) if refusal.is_bad => self.bad(tag, &refusal.text),
                Err(refusal) => {
                    self.bad_commands = 0;
                    self.reply(tag, &refusal.text);
                }
            },
        }
    }

    /// The task of a command.
    #[expect(clippy::wildcard_enum_match_arm, reason = "verbs that are not built are alike")]
    fn begin(&self, command: &Command<'_>) -> Begun {
        match command.verb {
            Verb::Select | Verb::Examine => self.begin_select(command),
            Verb::Close | Verb::Unselect if self.selected.is_some() => Ok(Box::new(Leave::new(command.verb))),
            Verb::Idle if self.config.commands.idle => {
                Ok(Box::new(Idle::new(self.config.timeouts.idle_poll)))
            }
            Verb::Append => self.begin_append(command),
            Verb::Replace => self.begin_replace(command),
            Verb::Status => self.begin_status(command),
            Verb::Create => self.begin_create(command),
            Verb::Delete => self.begin_delete(command),
            Verb::Rename | Verb::XRename => self.begin_rename(command),
            Verb::SetAcl | Verb::DeleteAcl => self.begin_acl_change(command),
            Verb::Subscribe | Verb::Unsubscribe => self.begin_subscribe(command),
            Verb::List | Verb::RList | Verb::XList => self.begin_list(command),
            Verb::Lsub | Verb::RLsub => {
                let args = self.arguments(command, lsub_args)?;
                let inbox = self.user().map(|user| &*user.inbox).unwrap_or_default();
                Ok(Box::new(LsubTask::new(&args, inbox)))
            }
            Verb::Copy | Verb::Move | Verb::XMove if self.selected.is_some() => self.begin_copy(command),
            Verb::GetAcl | Verb::MyRights | Verb::ListRights => self.begin_acl_question(command),
            Verb::GetQuota => Ok(Box::new(QuotaTask::get(&self.arguments(command, getquota_args)?))),
            Verb::SetQuota => Ok(Box::new(QuotaTask::set(&self.arguments(command, setquota_args)?))),
            Verb::GetQuotaRoot => self.begin_quota_root(command),
            Verb::GetMetadata | Verb::SetMetadata | Verb::GetAnnotation | Verb::SetAnnotation => {
                self.begin_metadata(command)
            }
            Verb::Esearch => Ok(Box::new(Esearch::new(&self.arguments(command, esearch_args)?))),
            Verb::GenUrlAuth => Ok(Box::new(UrlTask::generate(self.arguments(command, genurlauth_args)?))),
            Verb::UrlFetch => Ok(Box::new(UrlTask::fetch(self.arguments(command, urlfetch_args)?))),
            Verb::ResetKey if command.args.is_empty() => Ok(Box::new(ResetKeys::new())),
            Verb::ResetKey => self.begin_passed_on(command),
            Verb::Notify if self.is_offered("NOTIFY") => self.begin_notify(command),
            Verb::Xfer => self.begin_xfer(command),
            Verb::XWarmup | Verb::Reconstruct => self.begin_passed_on(command),
            Verb::XApplePushService
            | Verb::SetUserGroup
            | Verb::UnsetUserGroup
            | Verb::GetUserGroup
            | Verb::GetJmapAccess
            | Verb::XMeId => {
                let inbox = self.user().map(|user| user.inbox.to_vec()).unwrap_or_default();
                Ok(passing::at_home(command, inbox))
            }
            // Conversations are a user's, not a mailbox's.
            Verb::XConvFetch | Verb::XConvMeta | Verb::XStats => {
                let inbox = self.user().map(|user| user.inbox.to_vec()).unwrap_or_default();
                Ok(passing::at_home(command, inbox))
            }
            verb if needs_selected(verb) => Err(Refusal::bad("BAD Please select a mailbox first".into())),
            verb if is_between_servers(verb) => Err(Refusal::no(DENIED)),
            _ => Err(Refusal::bad("BAD Unrecognized command".into())),
        }
    }

    fn begin_select(&self, command: &Command<'_>) -> Begun {
        let args = self.arguments(command, select_args)?;
        let name = self.place(&args.mailbox)?;
        let select = Box::new(Select::new(command.verb, name.clone(), &args.mailbox, args.parameters));
        Ok(self.or_refer(command.verb, name, &args.mailbox, select, Kind::Opens))
    }

    /// A CONDSTORE enabling command enables it for the whole session (RFC 7162 section 3.1), so also at
    /// the backends that are connected later.
    pub(super) fn enable_condstore(&mut self) {
        let is_offered = self.is_offered("CONDSTORE");
        if let Phase::User(user) = &mut self.phase {
            user.enabled.condstore |= is_offered;
        }
    }

    fn is_offered(&self, wanted: &str) -> bool {
        self.capabilities().split(' ').any(|name| name == wanted)
    }

    fn begin_append(&self, command: &Command<'_>) -> Begun {
        let head = self.arguments(command, append_head)?;
        let Ok(name) = self.place(&head.mailbox) else {
            return Ok(Box::new(Append::refused(head.rest, INVALID_NAME)));
        };
        let append = Box::new(Append::new(name.clone(), &head.mailbox, head.rest));
        let kind = Kind::Appends(head.rest.to_vec());
        Ok(self.or_refer(command.verb, name, &head.mailbox, append, kind))
    }

    /// The command itself, or with a referral before it.
    fn or_refer(
        &self,
        verb: Verb,
        name: Vec<u8>,
        mailbox: &[u8],
        task: Box<dyn Task>,
        kind: Kind,
    ) -> Box<dyn Task> {
        if self.refers(verb) { Box::new(Refer::new(name, mailbox, task, kind)) } else { task }
    }

    fn begin_replace(&self, command: &Command<'_>) -> Begun {
        let (message, head) = self.arguments(command, replace_head)?;
        let append = match self.internal(&head.mailbox) {
            _ if self.selected.is_none() => {
                return Ok(Box::new(Append::refused(head.rest, SELECT_FIRST)));
            }
            Ok(name) => Append::new(name, &head.mailbox, head.rest),
            Err(_) => return Ok(Box::new(Append::refused(head.rest, INVALID_NAME))),
        };
        let message = [if command.uid { b"UID ".as_slice() } else { b"" }, message].concat();
        Ok(Box::new(Replace::new(message, append)))
    }

    fn begin_status(&self, command: &Command<'_>) -> Begun {
        let args = self.arguments(command, status_args)?;
        let name = self.place(&args.mailbox)?;
        let status: Box<dyn Task> = match without_mailbox_id(args.items) {
            Some(others) => Box::new(StatusApart::new(name.clone(), &args.mailbox, &others)),
            None => folder::on_mailbox(b"STATUS", name.clone(), &args.mailbox, &[args.items], Effect::Reads),
        };
        Ok(self.or_refer(command.verb, name, &args.mailbox, status, Kind::Plain))
    }

    fn begin_create(&self, command: &Command<'_>) -> Begun {
        self.check_writable()?;
        let mut args = self.arguments(command, create_args)?;
        let separator = self.config.namespace.separator;
        if args.mailbox.len() > 1 && args.mailbox.last() == Some(&separator) {
            // "If the mailbox name is suffixed with the server's hierarchy separator character, this
            // is a declaration that the client intends to create names under it" (RFC 9051 6.3.4).
            let mut name = args.mailbox.into_owned();
            name.pop();
            args.mailbox = name.into();
        }
        let name = self.internal(&args.mailbox)?;
        let seed = self.seed(&name);
        let mut create = Create::new(&args, &name, self.identity_is_admin(), seed).map_err(Refusal::no)?;
        if self.refers(command.verb) {
            create.refer(&args.mailbox);
        }
        Ok(Box::new(create))
    }

    fn begin_delete(&self, command: &Command<'_>) -> Begun {
        self.check_writable()?;
        let mailbox = self.arguments(command, mailbox_args)?;
        let name = self.internal(&mailbox)?;
        let delete = folder::delete(name.clone(), &mailbox);
        Ok(self.or_refer(command.verb, name, &mailbox, delete, Kind::Plain))
    }

    fn begin_rename(&self, command: &Command<'_>) -> Begun {
        self.check_writable()?;
        let args = self.arguments(command, rename_args)?;
        let (old, new) = (self.internal(&args.old)?, self.internal(&args.new)?);
        let task = folder::rename(&args, old, &new, self.identity_is_admin()).map_err(Refusal::no)?;
        Ok(task)
    }

    fn begin_xfer(&self, command: &Command<'_>) -> Begun {
        self.check_writable()?;
        let args = self.arguments(command, xfer_args)?;
        let name = self.internal(&args.mailbox)?;
        let task = folder::xfer(&args, name, self.identity_is_admin()).map_err(Refusal::no)?;
        Ok(task)
    }

    fn begin_notify(&self, command: &Command<'_>) -> Begun {
        Ok(Box::new(match self.arguments(command, notify_args)? {
            NotifyArgs::None => Notify::none(),
            NotifyArgs::Set { status, groups } => {
                Notify::set(status, &groups, |typed| self.internal(typed).ok())
            }
        }))
    }

    /// To the server of the mailbox that is named first, the rest as it is.
    fn begin_passed_on(&self, command: &Command<'_>) -> Begun {
        let (mailbox, rest_at) = self.arguments(command, first_mailbox)?;
        let name = self.internal(&mailbox)?;
        Ok(passing::to_mailbox(command, name, &mailbox, rest_at))
    }

    fn begin_acl_change(&self, command: &Command<'_>) -> Begun {
        self.check_writable()?;
        if !self.config.commands.setacl_allowed {
            return Err(Refusal::no(b"NO Command is disabled by configuration"));
        }
        let is_set = command.verb == Verb::SetAcl;
        let read: fn(&[u8]) -> Result<AclArgs<'_>, SyntaxError> =
            if is_set { setacl_args } else { deleteacl_args };
        let args = self.arguments(command, read)?;
        let name = self.internal(&args.mailbox)?;
        let change = if is_set {
            folder::acl_change(b"SETACL", name.clone(), &args.mailbox, &[&args.identifier, &args.rights])
        } else {
            folder::acl_change(b"DELETEACL", name.clone(), &args.mailbox, &[&args.identifier])
        };
        Ok(self.or_refer(command.verb, name, &args.mailbox, change, Kind::Plain))
    }

    fn begin_subscribe(&self, command: &Command<'_>) -> Begun {
        let mailbox = self.arguments(command, subscribe_args)?;
        let name = match self.internal(&mailbox) {
            // What cannot be named any more can be unsubscribed: the home judges.
            Err(_) if command.verb == Verb::Unsubscribe => Vec::new(),
            name => name?,
        };
        let inbox = self.user().map(|user| &*user.inbox).unwrap_or_default();
        let is_checked = command.verb == Verb::Subscribe && !self.config.commands.subscribe_all;
        let seen_as = self.identity().and_then(|who| self.config.namespace.external(&name, &who));
        let seen_as = seen_as.map(Vec::into_boxed_slice);
        let (verb, news): (&[u8], _) = if command.verb == Verb::Subscribe {
            (b"SUBSCRIBE", seen_as.map(HomeNews::Subscribed))
        } else {
            (b"UNSUBSCRIBE", seen_as.map(HomeNews::Unsubscribed))
        };
        Ok(Box::new(Subscribe::new(verb, &mailbox, is_checked.then_some(name), inbox, news)))
    }

    fn begin_list(&self, command: &Command<'_>) -> Begun {
        let mut args = self.arguments(command, list_args)?;
        if args.selection.deleted && !self.config.commands.deleted_allowed {
            return Err(Refusal::bad(
                "BAD Invalid List selection option \"vendor.cmu-include-deleted\"".into(),
            ));
        }
        let plus = self.user().map(|user| user.plus).unwrap_or_default();
        args.selection.subscribed |= plus == Plus::Subscribed;
        args.selection.dav |= plus == Plus::Dav;
        let word = if command.verb == Verb::XList { Word::XList } else { Word::List };
        Ok(Box::new(ListTask::new(word, &args)))
    }

    fn begin_copy(&self, command: &Command<'_>) -> Begun {
        let args = self.arguments(command, copy_args)?;
        let action = if command.verb == Verb::Copy { Action::Copy } else { Action::Move };
        let by = if command.uid { By::Uid } else { By::Sequence };
        Ok(Box::new(CopyTask::new(action, by, &args)))
    }

    fn begin_acl_question(&self, command: &Command<'_>) -> Begun {
        let (question, args) = if command.verb == Verb::MyRights {
            (AclQuestion::MyRights, self.arguments(command, myrights_args)?)
        } else if command.verb == Verb::ListRights {
            (AclQuestion::ListRights, self.arguments(command, listrights_args)?)
        } else {
            (AclQuestion::GetAcl, self.arguments(command, getacl_args)?)
        };
        Ok(Box::new(AclTask::new(question, &args)))
    }

    fn begin_quota_root(&self, command: &Command<'_>) -> Begun {
        let mailbox = self.arguments(command, getquotaroot_args)?;
        let name = self.internal(&mailbox)?;
        Ok(folder::on_mailbox(b"GETQUOTAROOT", name, &mailbox, &[], Effect::Reads))
    }

    fn begin_metadata(&self, command: &Command<'_>) -> Begun {
        let identity = self.identity().ok_or_else(|| Refusal::no(DENIED))?;
        let scope = metadata::Scope { namespace: &self.config.namespace, identity: &identity };
        let task = if command.verb == Verb::GetMetadata {
            metadata::get(&self.arguments(command, getmetadata_args)?, &scope)
        } else if command.verb == Verb::SetMetadata {
            metadata::set(&self.arguments(command, setmetadata_args)?, &scope)
        } else {
            metadata::annotation(command.name, &self.arguments(command, annotation_args)?, &scope)
        };
        task.map_err(Refusal::no)
    }

    /// Reads the arguments of a command.
    fn arguments<'a, T>(
        &self,
        command: &Command<'a>,
        read: impl FnOnce(&'a [u8]) -> Result<T, SyntaxError>,
    ) -> Result<T, Refusal> {
        read(command.args).map_err(|_| {
            let name = proper(command.name);
            let what =
                if command.args.is_empty() { "Missing required argument to" } else { "Invalid arguments in" };
            Refusal::bad(format!("BAD {what} {name}"))
        })
    }

    /// What to route by for a mailbox as typed that its server looks up itself. `\Sent` is the mailbox
    /// with that special use, as Cyrus has it: the user's home knows which.
    fn place(&self, typed: &[u8]) -> Result<Vec<u8>, Refusal> {
        match self.user() {
            Some(user) if typed.first() == Some(&b'\\') => Ok(user.inbox.to_vec()),
            _ => self.internal(typed),
        }
    }

    /// The internal name of a mailbox as typed.
    fn internal(&self, typed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let invalid = || Refusal::no(INVALID_NAME);
        let identity = self.identity().ok_or_else(invalid)?;
        self.config.namespace.internal(typed, &identity).map_err(|_| invalid())
    }

    fn identity(&self) -> Option<Arc<Identity>> {
        self.user().map(|user| Arc::clone(&user.identity))
    }

    fn identity_is_admin(&self) -> bool {
        self.user().is_some_and(|user| user.identity.is_admin)
    }

    fn check_writable(&self) -> Result<(), Refusal> {
        if self.config.commands.read_only {
            return Err(Refusal::no(b"NO This connection is configured for read-only access"));
        }
        Ok(())
    }

    /// LOGOUT.
    pub(super) fn logout(&mut self, tag: &[u8]) {
        self.tell_client(&[b"* BYE LOGOUT received\r\n", tag, b" OK Completed\r\n"]);
        self.end(b"");
    }

    /// ENABLE (RFC 5161): answered here; each backend is told what it offers of it.
    fn enable(&mut self, tag: &[u8], args: &[u8], now: Instant) {
        let Ok(names) = enable_args(args) else {
            self.bad(tag, b"BAD Missing required argument to Enable");
            return;
        };
        let has = |wanted: &[u8]| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
        let qresync = has(b"QRESYNC") && self.is_offered("QRESYNC");
        // The connection in use serves him on, so it must know what is enabled.
        let at_hand = self.selected_backend().map(Backend::offer);
        let is_new = |name: &str, offer| {
            has(name.as_bytes()) && self.is_offered(name) && at_hand.is_none_or(|all| all.has(offer))
        };
        let (utf8, uidonly) = (is_new("UTF8=ACCEPT", Offer::UTF8_ACCEPT), is_new("UIDONLY", Offer::UIDONLY));
        // "A server that supports QRESYNC MUST enable CONDSTORE with it" (RFC 7162 section 3.2.3).
        let condstore = qresync || (has(b"CONDSTORE") && self.is_offered("CONDSTORE"));
        self.bad_commands = 0;
        let Phase::User(user) = &mut self.phase else { return };
        let enabled = Extensions { condstore, qresync, utf8, uidonly };
        user.enabled = user.enabled.and(enabled);
        if utf8 {
            Arc::make_mut(&mut user.identity).spelling = Spelling::Utf8;
        }
        if let Some(selected) = self.selected.as_deref_mut().filter(|_| uidonly) {
            // Numbers of messages are what another connection would be known by.
            selected.bond = Bond::Fast;
        }
        let told = enabled.names();
        if !told.is_empty() {
            self.tell_client(&[b"* ENABLED", told.as_bytes(), b"\r\n"]);
        }
        self.reply(tag, b"OK Completed");
        if let Some(selected) = self.selected.as_deref().map(|selected| selected.backend) {
            self.enable_at(selected, now);
        }
    }
}

/// A verb as Cyrus names it in texts: `Select`.
fn proper(name: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(name).to_ascii_lowercase();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

fn needs_selected(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Check
            | Verb::Close
            | Verb::Unselect
            | Verb::Expunge
            | Verb::Fetch
            | Verb::Store
            | Verb::Search
            | Verb::Sort
            | Verb::Thread
            | Verb::UidBatches
            | Verb::Copy
            | Verb::Move
            | Verb::XMove
            | Verb::XRunAnnotator
            | Verb::XConvMultiSort
            | Verb::XConvSort
            | Verb::XConvUpdates
            | Verb::XSnippets
    )
}

/// Whether a command that is no relayed line is "CONDSTORE enabling" (RFC 7162 section 3.1).
#[expect(clippy::wildcard_enum_match_arm, reason = "few commands are")]
fn enables_condstore(verb: Verb, args: &[u8]) -> bool {
    match verb {
        Verb::Select | Verb::Examine => select_args(args).is_ok_and(|args| args.condstore),
        Verb::Status => status_args(args).is_ok_and(|args| has_word(args.items, b"HIGHESTMODSEQ")),
        Verb::List => {
            let told = list_args(args).ok().and_then(|args| args.returns.status);
            told.is_some_and(|items| has_word(items, b"HIGHESTMODSEQ"))
        }
        _ => false,
    }
}

/// Whether a command says that its client handles referrals.
#[expect(clippy::wildcard_enum_match_arm, reason = "few commands do")]
fn asks_for_remote(verb: Verb, args: &[u8]) -> bool {
    match verb {
        Verb::RList | Verb::RLsub => true,
        Verb::List => list_args(args).is_ok_and(|args| args.selection.remote),
        _ => false,
    }
}

/// Whether a parenthesised list has a word.
fn has_word(list: &[u8], word: &[u8]) -> bool {
    list.split(|byte| matches!(byte, b' ' | b'(' | b')')).any(|item| item.eq_ignore_ascii_case(word))
}

/// Whether a command has no arguments (RFC 9051 section 9, `command-any`): what stands behind it makes it none, so
/// that `CLOSE 1` expunges nothing.
pub(super) fn is_alone(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Capability
            | Verb::Noop
            | Verb::Logout
            | Verb::Starttls
            | Verb::Close
            | Verb::Unselect
            | Verb::Idle
            | Verb::Namespace
            | Verb::Unauthenticate
    )
}

/// What only servers say to each other.
fn is_between_servers(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::LocalAppend
            | Verb::LocalCreate
            | Verb::LocalDelete
            | Verb::Dump
            | Verb::Undump
            | Verb::MupdatePush
            | Verb::Sync
            | Verb::XBackup
    )
}
