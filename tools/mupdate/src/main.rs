//! `mupdate`, the MUPDATE server of a Cyrus Murder: the master or a slave.

use std::process::ExitCode;

use clap::Parser;
use engine::daemon::mupdate::{self, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(mupdate::run(&Options::parse()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn man_page_is_committed() {
        man::check(Options::command());
    }
}
