//! `mupdatetest`: logs in at a MUPDATE server and shows what is said. Takes the place of Cyrus'
//! program of this name (imtest under another).

mod auth;
mod interactive;
mod options;
mod wire;

use std::io::{Write, stdout};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::Parser;

use options::Cli;
use wire::Wire;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_version = error.kind() == clap::error::ErrorKind::DisplayVersion;
            // Nothing is left to be done when the text cannot be printed either.
            let _ = error.print();
            return if is_version { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failure: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    if cli.timing {
        bail!("stress test can only be run for IMAP\n");
    }
    if let Some(path) = &cli.background_socket {
        return start_behind(path);
    }
    let host = cli.host.as_deref().unwrap_or_else(|| {
        eprintln!("WARNING: no hostname supplied, assuming localhost\n");
        "localhost"
    });
    if let Some(file) = &cli.pid_file {
        std::fs::write(file, std::process::id().to_string())
            .with_context(|| format!("could not open {} for writing", file.display()))?;
    }
    let mut wire = log_in(cli, host)?;
    for _ in 1..cli.logins {
        wire.logout()?;
        wire.show_rest();
        say("Connection closed.\n\n")?;
        wire = log_in(cli, host)?;
    }
    if cli.compress && wire.greeting.offers_compress {
        wire.compress()?;
    }
    interactive::run(cli, wire)
}

/// Starts the same program again with `-x`, and leaves it alone.
fn start_behind(socket: &std::path::Path) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    let mut is_path = false;
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("-X") => is_path = true,
            _ if is_path => is_path = false,
            Some(text) if text.starts_with("-X") => {}
            _ => drop(command.arg(argument)),
        }
    }
    command.arg("-x").arg(socket).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0)
        .spawn()
        .context("cannot go on behind")?;
    Ok(())
}

/// Connects, greets, and logs in. That the login fails ends nothing: one may go on by hand.
fn log_in(cli: &Cli, host: &str) -> anyhow::Result<Wire> {
    let mut wire = Wire::connect(cli, host)?;
    wire.greet()?;
    if let Some(file) = &cli.starttls {
        if !wire.greeting.offers_starttls {
            bail!("STARTTLS not supported by the server!\n");
        }
        wire.start_tls(file)?;
    }
    match auth::authenticate(cli, &mut wire)? {
        None => say("Authenticated.\n")?,
        Some(why) => say(&format!("Authentication failed. {why}\n"))?,
    }
    say(&format!("Security strength factor: {}\n", wire.security_bits()))?;
    Ok(wire)
}

/// Writes to the standard output at once.
fn say(text: &str) -> std::io::Result<()> {
    show(text.as_bytes())
}

/// Writes what was received to the standard output at once.
fn show(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
