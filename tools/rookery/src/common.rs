//! What all commands of the command line understand.

use std::path::PathBuf;

/// What all commands understand.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Configuration file: says where the sockets are, which servers there are, and how to log in there
    #[arg(
        short = 'C',
        long = "config",
        value_name = "FILE",
        default_value = "/etc/imapd.conf",
        global = true
    )]
    pub(crate) config: PathBuf,
    /// The control socket of the daemon to ask, instead of the one that the configuration names
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON, a value a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}
