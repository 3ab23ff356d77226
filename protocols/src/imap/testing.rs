//! A host for tasks in tests: carries wants out as text, checks that literal bytes are conserved.

use std::sync::Arc;

use super::backend::Backend;
use super::config::Config;
use super::offer::{Extensions, Offer};
use super::task::{Access, Context, Line, News, Selected, Task, Want};
use crate::mailbox::Identity;
use crate::proxy::{BackendId, Entry, Finding, Instant, Location, Side, Stage};

/// What every backend of the tests offers.
pub(super) const CYRUS: &[u8] =
    b"IMAP4rev1 LITERAL+ MULTIAPPEND UIDPLUS MOVE LIST-EXTENDED LIST-STATUS METADATA";

/// A session around one task.
pub(super) struct Host<T: Task> {
    pub(super) task: T,
    pub(super) config: Config,
    pub(super) identity: Arc<Identity>,
    pub(super) backends: Vec<Backend>,
    pub(super) selected: Option<(BackendId, Vec<u8>, Vec<u8>)>,
    pub(super) access: Access,
    pub(super) home: Option<Vec<u8>>,
    pub(super) enabled: Extensions,
}

impl<T: Task> Host<T> {
    /// A host with the standard namespace (`.`, INBOX), user001, backends 1 and 2.
    pub(super) fn new(task: T) -> Host<T> {
        let mut config = Config::default();
        let namespace = Arc::make_mut(&mut config.namespace);
        namespace.separator = b'.';
        namespace.alt = false;
        config.commands.special_use_always = false;
        let identity = Identity { user: (*b"user001").into(), ..Identity::default() };
        let offer = Offer::read(CYRUS);
        let backends = vec![
            Backend::ready_for_test(BackendId(1), b"backend1", offer),
            Backend::ready_for_test(BackendId(2), b"backend2", offer),
        ];
        Host {
            task,
            config,
            identity: Arc::new(identity),
            backends,
            selected: None,
            access: Access::ReadWrite,
            home: None,
            enabled: Extensions::default(),
        }
    }

    /// The mailbox `name` of backend 1 is selected.
    pub(super) fn select(mut self, name: &str) -> Host<T> {
        self.selected = Some((BackendId(1), b"backend1".to_vec(), name.as_bytes().to_vec()));
        self
    }

    /// It was EXAMINEd.
    pub(super) fn read_only(mut self) -> Host<T> {
        self.access = Access::ReadOnly;
        self
    }

    /// The user is an administrator.
    pub(super) fn admin(mut self) -> Host<T> {
        self.identity =
            Arc::new(Identity { user: (*b"cyrus").into(), is_admin: true, ..Identity::default() });
        self
    }

    /// Backend `id` offers this.
    pub(super) fn offer(&mut self, id: u32, capabilities: &[u8]) {
        let server = format!("backend{id}");
        let at = self.backends.iter().position(|backend| backend.id() == BackendId(id));
        let backend = Backend::ready_for_test(BackendId(id), server.as_bytes(), Offer::read(capabilities));
        match at {
            Some(at) => self.backends[at] = backend,
            None => self.backends.push(backend),
        }
    }

    fn with<R>(&mut self, f: impl FnOnce(&mut T, &Context<'_>) -> R) -> R {
        let selected = self.selected.as_ref();
        let cx = Context {
            config: &self.config,
            identity: &self.identity,
            selected: selected.map(|(backend, server, name)| Selected {
                backend: *backend,
                server,
                name,
                access: self.access,
            }),
            home: self.home.as_deref(),
            tag: b"A1",
            has_waited: false,
            backends: &self.backends,
            enabled: self.enabled,
        };
        f(&mut self.task, &cx)
    }

    /// All that the task wants at the moment, a line each: `C> bytes` to the client, `B1> bytes` to
    /// backend 1, other wants by name.
    pub(super) fn wants(&mut self) -> Vec<String> {
        let mut wants = Vec::new();
        let mut out = Vec::new();
        while let Some(want) = self.with(|task, cx| {
            out.clear();
            task.poll_want(cx, &mut out)
        }) {
            let is_done = matches!(want, Want::Done);
            wants.push(described(&want, &out));
            if is_done {
                break;
            }
        }
        wants
    }

    /// Tells news and gives the wants behind them.
    pub(super) fn news(&mut self, news: News<'_>) -> Vec<String> {
        self.with(|task, cx| task.handle_news(news, cx, Instant(0)));
        self.wants()
    }

    /// Offers a line of a backend.
    pub(super) fn line(&mut self, backend: u32, line: &str) -> (Line, Vec<String>) {
        let from = Side::Backend(BackendId(backend));
        let verdict = self.with(|task, cx| task.handle_line(from, line.as_bytes(), cx, Instant(0)));
        (verdict, self.wants())
    }

    /// Offers a response of a backend and gives the wants behind it; `Whole` is answered with the
    /// response itself.
    pub(super) fn says(&mut self, backend: u32, line: &str) -> Vec<String> {
        match self.line(backend, line) {
            (Line::Whole, wants) => {
                assert!(wants.is_empty());
                self.line(backend, line).1
            }
            (Line::Relay, wants) => [vec![format!("relay {line:?}")], wants].concat(),
            (_, wants) => wants,
        }
    }
}

fn described(want: &Want, out: &[u8]) -> String {
    let text = String::from_utf8_lossy(out);
    match want {
        Want::Reply => format!("C> {text}"),
        Want::Send(id) => format!("B{}> {text}", id.0),
        Want::Find { name, .. } => format!("find {}", String::from_utf8_lossy(name)),
        Want::Backend { server } => format!("backend {}", String::from_utf8_lossy(server)),
        Want::Page(query) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("page {:?} after {:?}", text(&query.prefix), text(&query.after))
        }
        Want::Forward { from, to, n } => format!("forward {} {} {n}", side(*from), side(*to)),
        Want::Discard { from, n } => format!("discard {} {n}", side(*from)),
        Want::Abandon(id) => format!("abandon B{}", id.0),
        Want::Done => "done".to_owned(),
        Want::Intend(intent) => format!("intend {}", intent.messages.escape_ascii()),
        Want::Stage(Stage::Copied(what)) => format!("copied {}", what.escape_ascii()),
        Want::Stage(stage) => format!("{stage:?}"),
        Want::Apart { server } => format!("apart {}", String::from_utf8_lossy(server)),
        Want::Barrier
        | Want::Selected { .. }
        | Want::Unselected
        | Want::Unselect
        | Want::Wake(_)
        | Want::Remember(_)
        | Want::Doubt(_)
        | Want::IsThere(_)
        | Want::Dismiss(_)
        | Want::Leave(_)
        | Want::Rejoined(_)
        | Want::GiveUp(_)
        | Want::Keep(_)
        | Want::AdminBackend { .. }
        | Want::Recall
        | Want::Offered
        | Want::Notify(_)
        | Want::NotifyNone
        | Want::NotifyOverflow
        | Want::Bye => format!("{want:?}"),
    }
}

fn side(side: Side) -> String {
    match side {
        Side::Client => "C".to_owned(),
        Side::Backend(id) => format!("B{}", id.0),
    }
}

/// An entry of the list.
pub(super) fn entry(name: &str, server: &str, acl: &str) -> Entry {
    Entry {
        name: name.as_bytes().into(),
        location: Location(format!("{server}!default").into_bytes().into()),
        acl: acl.as_bytes().into(),
    }
}

/// News of a mailbox that is there.
pub(super) fn found(name: &str, server: &str, acl: &str) -> News<'static> {
    News::Found(Finding::Active(entry(name, server, acl)))
}
