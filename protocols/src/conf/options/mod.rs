//! What is known about every option: its kind, and whether Rookery honours it.

mod table;

use super::{DurationUnit, values};
use Standing::{Honoured, Ignored};

/// What is known of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its name, in lower case.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// What Rookery does with it.
    pub standing: Standing,
    /// It decides who may do what: passing over it weakens a server.
    pub security: bool,
}

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `yes` or `no`.
    Switch,
    /// Any text.
    Text,
    /// An integer.
    Integer,
    /// `10s`, `1h30m`.
    Duration,
    /// `128K`.
    Size,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words.
    Choices(&'static [&'static str]),
}

/// What Rookery does with an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// What Cyrus does.
    Honoured,
    /// Nothing: it is for a backend, or for something that a frontend does not have.
    Ignored,
    /// Something else, which the text says.
    Differs(&'static str),
    /// What it does with the newer option of this name, unless that one is set too.
    Replaced(&'static str),
}

/// Our own options. In those with a `HOST`, that is the short name of a server, as in `HOST_password`.
const OWN: &[Known] = &[
    own("rookery_accept_empty_list", Kind::Switch),
    own("rookery_hold_back_percent", Kind::Integer),
    own("rookery_shards", Kind::Integer),
    own("rookery_backend_starttls", Kind::Choice(&["needed", "offered", "required"])),
    own("rookery_command_timeout", Kind::Duration),
    own("rookery_control_socket", Kind::Text),
    own("rookery_drain", Kind::Duration),
    own("rookery_fan_out_timeout", Kind::Duration),
    own("rookery_move_timeout", Kind::Duration),
    own("rookery_reconnect_timeout", Kind::Duration),
    own("rookery_list_path", Kind::Text),
    own("rookery_lmtp_data_timeout", Kind::Duration),
    own("rookery_lmtp_envelope_timeout", Kind::Duration),
    own("rookery_lmtp_verify", Kind::Choice(&["backend", "list"])),
    own("rookery_logfmt", Kind::Switch),
    own("rookery_map_here", Kind::Text),
    own("rookery_map_transport", Kind::Text),
    own("rookery_master_path", Kind::Text),
    own("rookery_metrics_listen", Kind::Text),
    own("rookery_mupdate_starttls", Kind::Choice(&["never", "needed", "offered", "required"])),
    own("rookery_send_id", Kind::Switch),
    own("rookery_slow_command", Kind::Duration),
    own("rookery_takeover", Kind::Choice(&["refused", "allowed"])),
    own("rookery_unsent_max", Kind::Size),
    own("rookery_user", Kind::Text),
    own("rookery_xfer_shared", Kind::Switch),
    Known { security: true, ..own("sasl_mech_list", Kind::Text) },
    own("sasl_passwd_file", Kind::Text),
    own("sasl_saslauthd_path", Kind::Text),
];

const fn own(name: &'static str, kind: Kind) -> Known {
    Known { name, kind, standing: Honoured, security: false }
}

/// Keys that are made of something else's name.
const PATTERNS: &[(Pattern, Known)] = &[
    (Pattern::Prefix("partition-"), pattern("partition-NAME", Ignored)),
    (Pattern::Prefix("metapartition-"), pattern("metapartition-NAME", Ignored)),
    (Pattern::Prefix("archivepartition-"), pattern("archivepartition-NAME", Ignored)),
    (Pattern::Prefix("searchpartition-"), pattern("searchpartition-NAME", Ignored)),
    (Pattern::Prefix("backuppartition-"), pattern("backuppartition-NAME", Ignored)),
    (Pattern::Prefix("xlist-"), pattern("xlist-FLAG", Ignored)),
    (Pattern::Host("imap_port"), pattern("rookery_HOST_imap_port", Honoured)),
    (Pattern::Host("pop3_port"), pattern("rookery_HOST_pop3_port", Honoured)),
    (Pattern::Host("lmtp_port"), pattern("rookery_HOST_lmtp_port", Honoured)),
    (Pattern::Host("sieve_port"), pattern("rookery_HOST_sieve_port", Honoured)),
    (Pattern::Host("http_port"), pattern("rookery_HOST_http_port", Ignored)),
    (Pattern::Host("nntp_port"), pattern("rookery_HOST_nntp_port", Ignored)),
    (Pattern::Suffix("_password"), Known { security: true, ..pattern("HOST_password", Honoured) }),
    (Pattern::Suffix("_mechs"), Known { security: true, ..pattern("HOST_mechs", Honoured) }),
    (Pattern::Suffix("_client_cert"), Known { security: true, ..pattern("HOST_client_cert", Honoured) }),
    (Pattern::Suffix("_client_key"), Known { security: true, ..pattern("HOST_client_key", Honoured) }),
    (Pattern::Prefix("sasl_"), pattern("sasl_OPTION", Ignored)),
];

const fn pattern(name: &'static str, standing: Standing) -> Known {
    Known { name, kind: Kind::Text, standing, security: false }
}

/// How a key is made.
#[derive(Clone, Copy)]
enum Pattern {
    Prefix(&'static str),
    Suffix(&'static str),
    /// `rookery_HOST_` and this.
    Host(&'static str),
}

impl Pattern {
    fn matches(self, key: &str) -> bool {
        match self {
            Pattern::Prefix(prefix) => key.len() > prefix.len() && key.starts_with(prefix),
            Pattern::Suffix(suffix) => {
                key.len() > suffix.len() && key.ends_with(suffix) && !key.starts_with("rookery_")
            }
            Pattern::Host(end) => key
                .strip_prefix("rookery_")
                .and_then(|rest| rest.strip_suffix(end))
                .is_some_and(|host| host.len() > 1 && host.ends_with('_')),
        }
    }
}

/// An option by its whole name.
pub fn known(key: &str) -> Option<&'static Known> {
    let at = table::OPTIONS.binary_search_by(|option| option.name.cmp(key)).ok();
    at.map(|at| &table::OPTIONS[at]).or_else(|| OWN.iter().find(|option| option.name == key))
}

/// Options of old names that mean `key`.
pub(super) fn older_names(key: &str) -> impl Iterator<Item = &'static str> {
    let is_older =
        move |option: &&Known| matches!(option.standing, Standing::Replaced(newer) if newer == key);
    table::OPTIONS.iter().filter(is_older).map(|option| option.name)
}

/// An option by a key as it stands in a file: its name, a made one, or `SERVICE_name`.
pub fn find(key: &str) -> Option<&'static Known> {
    known(key)
        .or_else(|| service_option(key).map(|(_, option)| option))
        .or_else(|| PATTERNS.iter().find(|(pattern, _)| pattern.matches(key)).map(|(_, option)| option))
}

/// `SERVICE_name` taken apart, where `name` is a known option. Names of services have no `_`.
pub fn service_option(key: &str) -> Option<(&str, &'static Known)> {
    let (service, name) = key.split_once('_')?;
    let option = known(name)?;
    (!service.is_empty()).then_some((service, option))
}

/// The names of all options but the made ones.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    table::OPTIONS.iter().chain(OWN).map(|option| option.name)
}

/// Whether the value of a key must not be shown.
pub fn is_secret(key: &str) -> bool {
    key.ends_with("password") || key.ends_with("passwd") || key.contains("secret")
}

impl Kind {
    /// Whether a text is a value of this kind.
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Kind::Switch => values::switch(text).is_some(),
            Kind::Text => true,
            Kind::Integer => values::integer(text).is_some(),
            Kind::Duration => values::duration_seconds(text, DurationUnit::Seconds).is_some(),
            Kind::Size => values::size(text, 1).is_some(),
            Kind::Choice(words) => is_word(words, text),
            Kind::Choices(words) => text.split_ascii_whitespace().all(|word| words.contains(&word)),
        }
    }

    /// What to say that was expected.
    pub fn expected(self) -> String {
        match self {
            Kind::Switch => "yes or no".into(),
            Kind::Text => "a text".into(),
            Kind::Integer => "an integer".into(),
            Kind::Duration => "a duration like 10s, 5m, 1h30m or 2d".into(),
            Kind::Size => "a size like 4096, 128K, 10M or 1G".into(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            Kind::Choices(words) => format!("some of {}", words.join(", ")),
        }
    }
}

/// Whether a word is one of a choice. Cyrus takes every spelling of a switch for `on` and `off`.
fn is_word(words: &[&str], text: &str) -> bool {
    let normal = match text {
        "1" | "yes" | "t" | "true" => "on",
        "0" | "no" | "f" | "false" => "off",
        other => other,
    };
    words.contains(&text) || words.contains(&normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_has_no_name_twice() {
        for pair in table::OPTIONS.windows(2) {
            assert!(pair[0].name < pair[1].name, "{} {}", pair[0].name, pair[1].name);
        }
        for option in OWN {
            assert!(!table::OPTIONS.iter().any(|other| other.name == option.name), "{}", option.name);
        }
    }

    #[test]
    fn older_names_lead_to_options_that_exist() {
        for option in table::OPTIONS {
            if let Standing::Replaced(newer) = option.standing {
                let newer = known(newer).unwrap_or_else(|| panic!("{} has no {newer}", option.name));
                assert_eq!(newer.security, option.security, "{}", option.name);
            }
        }
    }

    #[test]
    fn every_option_of_the_specification_is_known() {
        let names = "mupdate_server mupdate_config servername proxyservers proxy_authname proxy_password \
            force_sasl_client_mech proxyd_disable_mailbox_referrals serverlist client_timeout suppress_capabilities \
            admins loginuseacl allowplaintext allowstarttls altnamespace userprefix virtdomains implicit_owner_rights \
            deleteright imapidlepoll timeout lmtp_downcase_rcpt lmtptxn_timeout sieve_allowreferrals maxliteral \
            maxargssize literalminus username_tolower failedloginpause maxlogins_per_host tls_server_cert \
            sasl_minimum_layer sasl_mech_list sasl_pwcheck_method sasl_passwd_file rookery_user rookery_shards \
            rookery_accept_empty_list replicaonly";
        for name in names.split_ascii_whitespace() {
            assert!(known(name).is_some(), "{name}");
        }
    }

    #[test]
    fn made_names_are_known_by_their_pattern() {
        let pairs = [
            ("partition-default", "partition-NAME"),
            ("backend1_password", "HOST_password"),
            ("backend1_mechs", "HOST_mechs"),
            ("backend1_client_cert", "HOST_client_cert"),
            ("backend1_client_key", "HOST_client_key"),
            ("sasl_auxprop_plugin", "sasl_OPTION"),
            ("rookery_backend1_pop3_port", "rookery_HOST_pop3_port"),
            ("lmtp_admins", "admins"),
        ];
        for (key, name) in pairs {
            assert_eq!(find(key).map(|option| option.name), Some(name), "{key}");
        }
        for unknown in [
            "partition-",
            "_password",
            "rookery_pop3_port",
            "rookery__pop3_port",
            "rookery_x_password",
            "my_imap_admins",
        ] {
            assert_eq!(find(unknown), None, "{unknown}");
        }
        assert_eq!(service_option("lmtp_admins").map(|(service, _)| service), Some("lmtp"));
    }

    #[test]
    fn ports_of_services_that_are_not_served_are_told_to_be_ignored() {
        for (service, standing) in [
            ("imap", Honoured),
            ("lmtp", Honoured),
            ("pop3", Honoured),
            ("sieve", Honoured),
            ("http", Ignored),
            ("nntp", Ignored),
        ] {
            let option = find(&format!("rookery_be1_{service}_port"));
            assert_eq!(option.map(|option| option.standing), Some(standing), "{service}");
        }
    }
}
