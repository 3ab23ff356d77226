//! `rookery postfix-config`.

use std::fmt::Write as _;
use std::io::Write as _;

use crate::exit::{Failure, Outcome};
use crate::output;

/// Options of `rookery postfix-config`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where the rookery-map line of cyrus.conf listens, in Postfix's words: inet:HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    map: String,
    /// A domain whose mailboxes the list has; may be given more than once
    #[arg(long = "domain", value_name = "DOMAIN", required = true)]
    domains: Vec<String>,
    /// Deliver through the LMTP of this frontend, HOST:PORT, instead of directly to the backends
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "backend")]
    frontend: Option<String>,
    /// Print the lines for the MTA of this backend instead of those for the internal MTA
    #[arg(long, value_name = "SERVER", requires = "relayhost")]
    backend: Option<String>,
    /// Where the MTA of a backend sends what is not for its own mailboxes: the internal MTA, HOST or HOST:PORT
    #[arg(long, value_name = "HOST", requires = "backend")]
    relayhost: Option<String>,
}

/// Prints lines for main.cf.
///
/// # Errors
/// Nobody reads what is printed.
pub(crate) fn run(options: &Options) -> Result<Outcome, Failure> {
    let mut out = output::stdout();
    out.write_all(lines(options).as_bytes())?;
    out.flush()?;
    Ok(Outcome::Fine)
}

/// What a server says who no longer has the mailbox, and Postfix of a server that has no address at the moment. It was
/// there when the recipient was taken, and is looked up anew when the message is tried again. Tables within main.cf need
/// Postfix 3.7.
const MOVED: &str = "lmtp_delivery_status_filter = regexp:{{/^5\\.1\\.1 / 4.2.1 Mailbox is not where the list has it}, \
                     {/^5\\.4\\.4 / 4.4.4 Server of the mailbox has no address}}";

fn lines(options: &Options) -> String {
    let domains = options.domains.join(", ");
    let table = |name: &str| format!("socketmap:{}:{name}", options.map);
    let mut text = String::new();
    let mut line = |line: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    match (&options.backend, &options.frontend) {
        (Some(server), _) => {
            line(&format!(
                "# main.cf of the MTA on {server}: takes mail of its own mailboxes, relays all other."
            ));
            line(
                "# A recipient elsewhere is looked up by the internal MTA; virtual_alias_maps are looked at first.",
            );
            line("# The table answers rookery_map_here, by default lmtp:unix:/run/cyrus/socket/lmtp.");
            line(&format!("relay_domains = {domains}"));
            line(&format!("relay_recipient_maps = {}", table("exists")));
            line(&format!("transport_maps = {}", table(&format!("here={server}"))));
            let relayhost = bracketed(options.relayhost.as_deref().unwrap_or_default());
            line(&format!("relay_transport = smtp:{relayhost}"));
            line(&format!("relayhost = {relayhost}"));
            line("# A mailbox that was moved away meanwhile is no reason to send mail back.");
            line(MOVED);
        }
        (None, frontend) => {
            line("# main.cf of the internal MTA: knows every mailbox of the murder, and where it is.");
            line("# The tables are looked at after virtual_alias_maps, so that aliases stay Postfix's.");
            line(&format!("relay_domains = {domains}"));
            line(&format!("relay_recipient_maps = {}", table("exists")));
            match frontend {
                Some(frontend) => line(&format!("relay_transport = lmtp:inet:{}", bracketed(frontend))),
                None => {
                    line(&format!("transport_maps = {}", table("transport")));
                    line("# The backends want a login: NAME and PASSWORD of lmtp_admins there.");
                    line("lmtp_sasl_auth_enable = yes");
                    line("lmtp_sasl_password_maps = static:NAME:PASSWORD");
                    line("lmtp_sasl_security_options = noanonymous");
                    line("# A mailbox that was moved meanwhile is no reason to send mail back.");
                    line(MOVED);
                }
            }
        }
    }
    text
}

/// A host whose addresses are meant, not its mail exchangers: `[host]:port`.
fn bracketed(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((host, port)) => format!("[{host}]:{port}"),
        None => format!("[{host}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            map: "inet:127.0.0.1:2425".into(),
            domains: vec!["a.test".into(), "b.test".into()],
            frontend: None,
            backend: None,
            relayhost: None,
        }
    }

    #[test]
    fn internal_mta_asks_the_list_where_mail_goes() {
        let text = lines(&options());
        assert!(text.contains("relay_domains = a.test, b.test\n"), "{text}");
        assert!(text.contains("transport_maps = socketmap:inet:127.0.0.1:2425:transport\n"), "{text}");
        assert!(
            text.contains("regexp:{{/^5\\.1\\.1 / 4.2.1 ") && text.contains("{/^5\\.4\\.4 / 4.4.4 "),
            "{text}"
        );
        let through = lines(&Options { frontend: Some("fe:24".into()), ..options() });
        assert!(through.contains("relay_transport = lmtp:inet:[fe]:24\n"), "{through}");
        assert!(!through.contains("transport_maps") && !through.contains(MOVED), "{through}");
    }

    #[test]
    fn backend_keeps_its_own_mail() {
        let of_backend = Options { backend: Some("be1".into()), relayhost: Some("mta".into()), ..options() };
        let text = lines(&of_backend);
        assert!(text.contains("relayhost = [mta]\n"), "{text}");
        assert!(text.contains("transport_maps = socketmap:inet:127.0.0.1:2425:here=be1"), "{text}");
    }
}
