//! Commands on mailboxes as such: CREATE, DELETE, RENAME, SETACL, DELETEACL, SUBSCRIBE, UNSUBSCRIBE,
//! STATUS. What changes the mailbox list is answered when this frontend sees the change.

use std::borrow::Cow;

use super::agenda::{result_line, result_of};
use super::answers::{ABSENT, DENIED, UNKNOWN, UNREACHABLE};
use super::config::ServerSelection;
use super::deeds::Below;
use super::grammar::Status;
use super::grammar::args::{CreateArgs, CreateParameters, Destination, RenameArgs, XferArgs};
use super::placement::Placement;
use super::referral::referral;
use super::relocate::{Belongs, Relocation};
use super::route::Route;
use super::routed::{Does, Effect, Routed};
use super::task::{Context, Line, News, Task, Want};
use super::text::{astring, name_out, push};
use crate::mailbox::names;
use crate::proxy::{BackendId, Finding, Freshness, HomeNews, Instant, Side};

/// `verb name rest`, to the server of a mailbox.
pub(super) fn on_mailbox(
    verb: &[u8],
    name: Vec<u8>,
    mailbox: &[u8],
    rest: &[&[u8]],
    effect: Effect,
) -> Box<Routed> {
    Box::new(routed(verb, name, mailbox, rest, effect))
}

fn routed(verb: &[u8], name: Vec<u8>, mailbox: &[u8], rest: &[&[u8]], effect: Effect) -> Routed {
    let mut command = Vec::with_capacity(verb.len() + mailbox.len() + 16);
    push(&mut command, &[verb, b" "]);
    name_out(&mut command, mailbox);
    for part in rest {
        push(&mut command, &[b" ", part]);
    }
    command.extend_from_slice(b"\r\n");
    Routed::new(Route::to(name), command, effect)
}

/// DELETE. With a user all that he has goes.
pub(super) fn delete(name: Vec<u8>, mailbox: &[u8]) -> Box<Routed> {
    let below = if names::is_inbox(&name) { Below::Goes } else { Below::Stays };
    let takes = Does::Take { name: name.clone(), below };
    Box::new(routed(b"DELETE", name, mailbox, &[], Effect::ChangesList).doing([takes]))
}

/// SETACL and DELETEACL: mailbox, identifier and, for SETACL, rights.
pub(super) fn acl_change(verb: &[u8], name: Vec<u8>, mailbox: &[u8], words: &[&[u8]]) -> Box<Routed> {
    let quoted: Vec<Vec<u8>> = words.iter().map(|word| astring(word)).collect();
    let parts: Vec<&[u8]> = quoted.iter().map(Vec::as_slice).collect();
    on_mailbox(verb, name, mailbox, &parts, Effect::ChangesList)
}

/// RENAME. With a location it moves: to another partition, or, which Cyrus calls XFER, to another
/// server.
///
/// # Errors
/// The text of the answer.
pub(super) fn rename(
    args: &RenameArgs<'_>,
    old: Vec<u8>,
    new: &[u8],
    is_admin: bool,
) -> Result<Box<Routed>, &'static [u8]> {
    let Some(location) = &args.location else {
        if old == new {
            return Err(b"NO Mailbox already exists");
        }
        let does = [Does::Make(new.to_vec()), Does::Take { name: old.clone(), below: Below::Goes }];
        let routed = routed(b"RENAME", old, &args.old, &[&astring(&args.new)], Effect::ChangesList);
        return Ok(Box::new(routed.doing(does).renaming(&args.old, &args.new)));
    };
    if !is_admin {
        return Err(DENIED);
    }
    if old != new {
        return Err(b"NO Cross-server or cross-partition move w/rename not supported");
    }
    let Destination { server, partition } = Destination::parse(location.clone());
    Ok(relocate(old, &args.old, server, partition))
}

/// XFER, Cyrus' command that moves a mailbox to another server.
///
/// # Errors
/// The text of the answer.
pub(super) fn xfer(args: &XferArgs<'_>, name: Vec<u8>, is_admin: bool) -> Result<Box<Routed>, &'static [u8]> {
    if !is_admin {
        return Err(DENIED);
    }
    if args.mailbox.iter().any(|byte| matches!(byte, b'*' | b'%')) {
        return Err(b"NO [CANNOT] XFER moves one mailbox here: name it without wildcards");
    }
    let partition = args.partition.clone().unwrap_or_default();
    Ok(relocate(name, &args.mailbox, Some(args.server.clone()), partition))
}

fn relocate(
    name: Vec<u8>,
    mailbox: &[u8],
    server: Option<Cow<'_, [u8]>>,
    partition: Cow<'_, [u8]>,
) -> Box<Routed> {
    let server = server.map(Cow::into_owned);
    let moves = server.clone().map(|server| Does::Move { name: name.clone(), server });
    let relocation = Relocation {
        mailbox: mailbox.to_vec(),
        belongs: Belongs::of(&name),
        server,
        partition: partition.into_owned(),
    };
    Box::new(Routed::relocating(Route::to(name), relocation).doing(moves))
}

/// CREATE: on the server that is named, else where the nearest parent is, else on a server of the
/// list.
pub(super) struct Create {
    step: CreateStep,
    /// The name and its parents, nearest first; only parents are looked up.
    parents: Vec<Vec<u8>>,
    next_parent: usize,
    /// Behind a barrier the parents are looked up once more.
    is_proven: bool,
    /// A random number for the choice of a server.
    seed: u64,
    command: Vec<u8>,
    /// The internal name.
    name: Vec<u8>,
    /// The mailbox as typed, where the answer is a referral.
    refers: Option<Vec<u8>>,
}

enum CreateStep {
    AskParent,
    ExpectParent,
    AskBarrier,
    ExpectBarrier,
    ChooseServer,
    Placing(Box<Placement>),
    Routed(Box<Routed>),
    Refuse(&'static [u8]),
    Refer(Vec<u8>),
    Over,
    End,
}

impl Create {
    /// `name` is internal; `seed` is a random number.
    ///
    /// # Errors
    /// The text of the answer.
    pub(super) fn new(
        args: &CreateArgs<'_>,
        name: &[u8],
        is_admin: bool,
        seed: u64,
    ) -> Result<Create, &'static [u8]> {
        let named = args.parameters.as_ref();
        let is_placed = args.destination.is_some()
            || named.is_some_and(|named| {
                named.server.is_some()
                    || named.partition.is_some()
                    || named.mailbox_id.is_some()
                    || named.version.is_some()
            });
        if is_placed && !is_admin {
            return Err(DENIED);
        }
        let command = create_command(args);
        let server = args
            .destination
            .as_ref()
            .and_then(|destination| destination.server.as_deref())
            .or_else(|| named.and_then(|named| named.server.as_deref()));
        let mut create = Create {
            step: CreateStep::AskParent,
            parents: names::parents(name).map(<[u8]>::to_vec).collect(),
            next_parent: 0,
            is_proven: false,
            seed,
            command,
            name: name.to_vec(),
            refers: None,
        };
        if let Some(server) = server {
            create.send_to(server.to_vec());
        }
        Ok(create)
    }

    /// The client is referred to the server; `mailbox` as typed.
    pub(super) fn refer(&mut self, mailbox: &[u8]) {
        self.refers = Some(mailbox.to_vec());
        if let CreateStep::Routed(routed) = &self.step
            && let Some(server) = routed.server()
        {
            self.send_to(server.to_vec());
        }
    }

    fn send_to(&mut self, server: Vec<u8>) {
        if let Some(mailbox) = &self.refers {
            self.step = CreateStep::Refer(referral(&server, mailbox));
            return;
        }
        let command = std::mem::take(&mut self.command);
        let routed = Routed::new(Route::to_server(server), command, Effect::ChangesList);
        self.step = CreateStep::Routed(Box::new(routed.doing([Does::Make(self.name.clone())])));
    }

    fn found(&mut self, finding: &Finding) {
        match finding {
            Finding::Active(entry) => match entry.location.server() {
                Some(server) => self.send_to(server.to_vec()),
                None => self.step = CreateStep::ChooseServer,
            },
            Finding::Reserved { location } => match location.server() {
                Some(server) => self.send_to(server.to_vec()),
                None => self.step = CreateStep::ChooseServer,
            },
            Finding::Absent => {
                self.next_parent += 1;
                self.step = CreateStep::AskParent;
            }
            Finding::Unknown => {
                self.step = CreateStep::Refuse(UNKNOWN);
            }
        }
    }

    /// No parent is in the list: once more behind a barrier, then any server.
    fn no_parent(&mut self) {
        self.step = if self.is_proven || self.parents.is_empty() {
            CreateStep::ChooseServer
        } else {
            CreateStep::AskBarrier
        };
    }

    /// Any server: only administrators make mailboxes at the top, so what anybody else wants is refused
    /// wherever it is asked, and nobody is asked for space.
    fn place(&mut self, cx: &Context<'_>) {
        let mode = if cx.identity.is_admin { cx.config.serverlist_select } else { ServerSelection::Random };
        self.step = CreateStep::Placing(Box::new(Placement::new(mode, self.seed, cx)));
    }

    /// Goes on when a server is chosen.
    fn follow_placement(&mut self) {
        let CreateStep::Placing(placement) = &mut self.step else { return };
        match placement.poll_chosen() {
            Some(Some(server)) => self.send_to(server),
            Some(None) => self.step = CreateStep::Refuse(UNREACHABLE),
            None => {}
        }
    }
}

/// What stands behind the tag.
fn create_command(args: &CreateArgs<'_>) -> Vec<u8> {
    let mut command = b"CREATE ".to_vec();
    name_out(&mut command, &args.mailbox);
    let named = args.parameters.as_ref();
    let partition = args.destination.as_ref().map(|destination| &*destination.partition);
    let partition = partition.or_else(|| named.and_then(|named| named.partition.as_deref()));
    let partition = partition.filter(|partition| !partition.is_empty());
    let mut parameters = Vec::new();
    if let Some(named) = named {
        parameters_out(&mut parameters, named);
    }
    match (partition, parameters.split_first()) {
        (None, None) => {}
        (Some(partition), None) => push(&mut command, &[b" ", &astring(partition)]),
        (None, Some((_, parameters))) => push(&mut command, &[b" (", parameters, b")"]),
        (Some(partition), Some((_, parameters))) => {
            push(&mut command, &[b" (", parameters, b" PARTITION ", &astring(partition), b")"]);
        }
    }
    command.extend_from_slice(b"\r\n");
    command
}

/// All that is for the backend to judge, each with a space before it; what it does not know it refuses.
fn parameters_out(out: &mut Vec<u8>, named: &CreateParameters<'_>) {
    if let Some(special_use) = named.special_use {
        push(out, &[b" USE ", special_use]);
    }
    for (keyword, value) in [
        (&b" MAILBOXID "[..], &named.mailbox_id),
        (b" TYPE ", &named.mailbox_type),
        (b" COMPACTIDS ", &named.compact_ids),
    ] {
        if let Some(value) = value {
            push(out, &[keyword, &astring(value)]);
        }
    }
    if let Some(version) = named.version {
        push(out, &[b" VERSION ", version.to_string().as_bytes()]);
    }
}

impl Task for Create {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        match (&mut self.step, &news) {
            (CreateStep::Routed(routed), _) => routed.handle_news(news, cx, now),
            (CreateStep::Placing(placement), _) => placement.handle_news(&news, cx),
            (CreateStep::ExpectParent, News::Found(finding)) => self.found(finding),
            (CreateStep::ExpectBarrier, News::Barrier(Ok(()))) => {
                (self.is_proven, self.next_parent) = (true, 0);
                self.step = CreateStep::AskParent;
            }
            (CreateStep::ExpectBarrier, News::Barrier(Err(_))) => {
                self.step = CreateStep::Refuse(UNKNOWN);
            }
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other step has a connection")]
    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        match &mut self.step {
            CreateStep::Routed(routed) => routed.handle_line(from, line, cx, now),
            CreateStep::Placing(placement) => {
                let Side::Backend(backend) = from else { return Line::Hold };
                placement.handle_line(backend, line, cx)
            }
            _ => Line::Drop,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        loop {
            match &mut self.step {
                CreateStep::Routed(routed) => return routed.poll_want(cx, out),
                CreateStep::AskParent => match self.parents.get(self.next_parent) {
                    Some(parent) => {
                        let name = parent.clone();
                        self.step = CreateStep::ExpectParent;
                        return Some(Want::Find { name, freshness: Freshness::Snapshot });
                    }
                    None => self.no_parent(),
                },
                CreateStep::AskBarrier => {
                    self.step = CreateStep::ExpectBarrier;
                    return Some(Want::Barrier);
                }
                CreateStep::ChooseServer => self.place(cx),
                CreateStep::Placing(placement) => {
                    if let Some(want) = placement.poll_want(out) {
                        return Some(want);
                    }
                    self.follow_placement();
                    if matches!(self.step, CreateStep::Placing(_)) {
                        return None;
                    }
                }
                CreateStep::Refuse(text) => {
                    push(out, &[cx.tag, b" ", text, b"\r\n"]);
                    self.step = CreateStep::Over;
                    return Some(Want::Reply);
                }
                CreateStep::Refer(text) => {
                    push(out, &[cx.tag, b" ", text, b"\r\n"]);
                    self.step = CreateStep::Over;
                    return Some(Want::Reply);
                }
                CreateStep::Over => {
                    self.step = CreateStep::End;
                    return Some(Want::Done);
                }
                CreateStep::ExpectParent | CreateStep::ExpectBarrier | CreateStep::End => return None,
            }
        }
    }
}

/// SUBSCRIBE and UNSUBSCRIBE: to the server of the user's INBOX; SUBSCRIBE only what the list has.
pub(super) struct Subscribe {
    step: SubscribeStep,
    inbox: Vec<u8>,
    command: Vec<u8>,
    /// Where the mailbox is, if that was looked up.
    server: Option<Vec<u8>>,
    /// What an OK says.
    news: Option<HomeNews>,
}

enum SubscribeStep {
    AskMailbox(Vec<u8>),
    ExpectMailbox,
    Routed(Box<Routed>),
    /// The home has done it.
    Keep(Vec<u8>),
    /// The answer.
    Answer(Vec<u8>),
    Over,
    End,
}

impl Subscribe {
    /// `checked` is the internal name that must be in the list, if one must; `news` is what an OK says.
    pub(super) fn new(
        verb: &[u8],
        mailbox: &[u8],
        checked: Option<Vec<u8>>,
        inbox: &[u8],
        news: Option<HomeNews>,
    ) -> Subscribe {
        let mut command = Vec::new();
        push(&mut command, &[verb, b" "]);
        name_out(&mut command, mailbox);
        command.extend_from_slice(b"\r\n");
        let inbox = inbox.to_vec();
        let mut subscribe = Subscribe { step: SubscribeStep::End, inbox, command, server: None, news };
        match checked {
            Some(name) => subscribe.step = SubscribeStep::AskMailbox(name),
            None => subscribe.send_home(),
        }
        subscribe
    }

    /// To the INBOX's server; the mailbox itself may be elsewhere, so its NO is an answer.
    fn send_home(&mut self) {
        let route = Route::to(std::mem::take(&mut self.inbox));
        let command = std::mem::take(&mut self.command);
        self.step = SubscribeStep::Routed(Box::new(Routed::new(route, command, Effect::Writes).final_no()));
    }

    fn found(&mut self, finding: &Finding) {
        match finding {
            Finding::Active(entry) => {
                self.server = entry.location.server().map(<[u8]>::to_vec);
                self.send_home();
            }
            Finding::Reserved { .. } => self.send_home(),
            Finding::Absent => self.step = SubscribeStep::Answer(ABSENT.to_vec()),
            Finding::Unknown => self.step = SubscribeStep::Answer(UNKNOWN.to_vec()),
        }
    }

    /// A result of the home. Cyrus looks a name up in its own mailboxes, so what is elsewhere does not
    /// exist for it unless it is told not to look.
    fn handle_result(&mut self, home: BackendId, status: Status, text: &[u8], cx: &Context<'_>) -> Line {
        let is_elsewhere = self.server.as_deref().is_some_and(|server| cx.server(home) != Some(server));
        self.step = match status {
            Status::Ok => SubscribeStep::Keep(result_line(status, text)),
            Status::No if is_elsewhere => SubscribeStep::Answer(
                [&result_line(status, text), &b" ("[..], cx.server(home).unwrap_or_default(), ELSEWHERE_HINT]
                    .concat(),
            ),
            Status::No | Status::Bad => SubscribeStep::Answer(result_line(status, text)),
        };
        Line::Drop
    }
}

/// What an operator has to do, behind the name of a home server.
const ELSEWHERE_HINT: &[u8] =
    b" subscribes to mailboxes of other servers only with allowallsubscribe: yes in its imapd.conf)";

impl Task for Subscribe {
    fn handle_news(&mut self, news: News<'_>, cx: &Context<'_>, now: Instant) {
        match (&mut self.step, &news) {
            (SubscribeStep::Routed(routed), _) => routed.handle_news(news, cx, now),
            (SubscribeStep::ExpectMailbox, News::Found(finding)) => self.found(finding),
            _ => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "no other step has a connection")]
    fn handle_line(&mut self, from: Side, line: &[u8], cx: &Context<'_>, now: Instant) -> Line {
        match &mut self.step {
            SubscribeStep::Routed(routed) => match (from, result_of(line, cx.tag)) {
                (Side::Backend(home), Some((status, text))) => self.handle_result(home, status, text, cx),
                _ => routed.handle_line(from, line, cx, now),
            },
            _ => Line::Drop,
        }
    }

    fn poll_want(&mut self, cx: &Context<'_>, out: &mut Vec<u8>) -> Option<Want> {
        match &mut self.step {
            SubscribeStep::Routed(routed) => routed.poll_want(cx, out),
            SubscribeStep::AskMailbox(name) => {
                let name = std::mem::take(name);
                self.step = SubscribeStep::ExpectMailbox;
                Some(Want::Find { name, freshness: Freshness::BarrierIfAbsent })
            }
            SubscribeStep::Keep(result) => {
                self.step = SubscribeStep::Answer(std::mem::take(result));
                self.news.take().map(Want::Keep).or_else(|| self.poll_want(cx, out))
            }
            SubscribeStep::Answer(text) => {
                push(out, &[cx.tag, b" ", text, b"\r\n"]);
                self.step = SubscribeStep::Over;
                Some(Want::Reply)
            }
            SubscribeStep::Over => {
                self.step = SubscribeStep::End;
                Some(Want::Done)
            }
            SubscribeStep::ExpectMailbox | SubscribeStep::End => None,
        }
    }
}
