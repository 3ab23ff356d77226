//! `ctl_mboxlist`: dumps, restores, verifies mailbox lists and pushes a backend's to the MUPDATE
//! master. Takes the place of Cyrus' program of this name; it never writes Cyrus' own database.

mod dump;
mod options;
mod place;
mod push;
mod report;
mod undump;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use client::conf;
use store::StoreError;

use options::{Cli, Operation};

/// What a wrong command line exits with, as in Cyrus; a damaged list or dump too.
const EX_WRONG: u8 = 1;

/// `--check` found differences.
const EX_DIFFERENT: u8 = 1;

/// Try again later. Cyrus' master takes it as a good START, as it takes 0; 1 would keep it down.
const EX_TEMPFAIL: u8 = 75;

fn main() -> ExitCode {
    let cli = match options::parse() {
        Ok(cli) => cli,
        Err(error) => {
            let is_help = !error.use_stderr();
            // Nothing is left to be done when the text cannot be printed either.
            let _ = error.print();
            return if is_help { ExitCode::SUCCESS } else { EX_WRONG.into() };
        }
    };
    match run(&cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ctl_mboxlist: {error:#}");
            if is_final(&error) { EX_WRONG.into() } else { EX_TEMPFAIL.into() }
        }
    }
}

/// Whether no waiting mends it.
fn is_final(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Damaged { .. }))
        || error.is::<undump::BrokenDump>()
        || error.is::<place::IsCyrus>()
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let imapd = conf::read(&cli.config)?.for_service("ctl_mboxlist");
    let place = place::choose(&imapd, cli.filename.as_deref())?;
    match cli.operation() {
        Operation::Dump => dump::run(cli, &place)?,
        Operation::Undump => undump::run(cli, &place)?,
        Operation::Verify => verify::run(&imapd, &place)?,
        Operation::Push(mode) => {
            let outcome = push::run(cli, mode, &imapd, &place).context("the push broke off")?;
            let is_check = mode == options::Mode::Check;
            return Ok(if is_check && outcome.differs() { EX_DIFFERENT.into() } else { ExitCode::SUCCESS });
        }
    }
    Ok(ExitCode::SUCCESS)
}
