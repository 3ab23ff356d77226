//! The command line, as imtest and its relatives have it.

use std::path::PathBuf;

use clap::Parser;

/// Log in at a MUPDATE server, show what is said, and pass on lines by hand or from a file
///
/// Mechanisms are PLAIN, LOGIN, SCRAM-SHA-256, SCRAM-SHA-1 and EXTERNAL (with the certificate of -t).
#[derive(Parser, Clone, Debug)]
#[command(name = "mupdatetest", version)]
pub(crate) struct Cli {
    /// Port or service to use
    #[arg(short, value_name = "PORT", default_value = "mupdate")]
    pub port: String,
    /// Least protection layer that is required, in bits
    #[arg(short = 'k', value_name = "BITS", default_value_t = 0)]
    pub min_ssf: u32,
    /// Greatest protection layer; only that of TLS is there
    #[arg(short = 'l', value_name = "BITS", default_value_t = 128)]
    pub max_ssf: u32,
    /// Authorization name to use
    #[arg(short = 'u', value_name = "USER")]
    pub username: Option<String>,
    /// Authentication name to use
    #[arg(short = 'a', value_name = "USER")]
    pub authname: Option<String>,
    /// Password to use; without one it is asked for
    #[arg(short = 'w', value_name = "PASSWORD")]
    pub password: Option<String>,
    /// Say more
    #[arg(short = 'v')]
    pub verbose: bool,
    /// SASL mechanism to use
    #[arg(short = 'm', value_name = "MECHANISM")]
    pub mechanism: Option<String>,
    /// Pass on a file after the login
    #[arg(short = 'f', value_name = "FILE", conflicts_with_all = ["socket", "background_socket"])]
    pub file: Option<PathBuf>,
    /// Realm; no mechanism here carries one
    #[arg(short = 'r', value_name = "REALM")]
    pub realm: Option<String>,
    /// Use STARTTLS; FILE has a certificate and its key, "" is none
    #[arg(short = 't', value_name = "FILE")]
    pub starttls: Option<String>,
    /// Use compression after the login
    #[arg(short = 'q')]
    pub compress: bool,
    /// Ask for one-time passwords; no mechanism here has them
    #[arg(short = 'c')]
    pub challenge: bool,
    /// Send no initial response
    #[arg(short = 'i')]
    pub no_initial_response: bool,
    /// Time commands; as in Cyrus' program, not those of MUPDATE
    #[arg(short = 'z')]
    pub timing: bool,
    /// Number of logins, one after the other
    #[arg(short = 'n', value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub logins: u32,
    /// Write the process id to a file
    #[arg(short = 'I', value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Take lines from a client of this UNIX socket, and answer there
    #[arg(short = 'x', value_name = "PATH", conflicts_with = "background_socket")]
    pub socket: Option<PathBuf>,
    /// As -x, in the background
    #[arg(short = 'X', value_name = "PATH")]
    pub background_socket: Option<PathBuf>,
    /// An option of SASL, NAME=VALUE; none is known here
    #[arg(short = 'o', value_name = "OPTION")]
    pub sasl_options: Vec<String>,
    /// The server
    pub host: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_lines_of_imtest_are_understood() {
        let line = "mupdatetest -m SCRAM-SHA-256 -u a -a b -w c -p 3905 -k 0 -l 128 -v -t= -q -z -n 2 -o x=y -r r host";
        let cli = Cli::try_parse_from(line.split(' ')).unwrap();
        assert_eq!((cli.host.as_deref(), cli.logins), (Some("host"), 2));
        assert!(Cli::try_parse_from(["mupdatetest", "-t", "", "-m", "PLAIN", "host"]).is_ok());
        assert!(Cli::try_parse_from(["mupdatetest", "-n", "0"]).is_err());
        assert!(Cli::try_parse_from(["mupdatetest", "-f", "x", "-x", "y"]).is_err());
    }

    #[test]
    fn man_page_is_committed() {
        man::check(Cli::command());
    }
}
