//! Who is compared, and in which protocol.

/// A proxy to compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    /// nginx's mail proxy.
    Nginx,
    /// HAProxy passing TCP through.
    Haproxy,
    /// Dovecot's proxy.
    Dovecot,
    /// The real Cyrus frontend.
    Cyrus,
    /// Ours.
    Rookery,
}

impl Kind {
    /// As the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Nginx => "nginx",
            Kind::Haproxy => "HAProxy",
            Kind::Dovecot => "Dovecot",
            Kind::Cyrus => "Cyrus",
            Kind::Rookery => "Rookery",
        }
    }

    /// Whether it is a proxy for this protocol at all.
    pub(super) fn speaks(self, protocol: Speaks) -> bool {
        !(self == Kind::Nginx && protocol == Speaks::Lmtp)
    }

    /// Whether it wants to be started by root.
    pub(super) fn needs_root(self) -> bool {
        matches!(self, Kind::Dovecot | Kind::Cyrus)
    }
}

/// What a comparison speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaks {
    Imap,
    Pop3,
    Lmtp,
}

impl Speaks {
    /// Where its servers listen.
    pub(super) fn port(self) -> u16 {
        match self {
            Speaks::Imap => 143,
            Speaks::Pop3 => 110,
            Speaks::Lmtp => 24,
        }
    }
}
