//! `rookeryd`, the mail frontend of a Cyrus Murder.

use std::process::ExitCode;

use clap::Parser;
use engine::daemon::{self, Options};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(daemon::run(&Options::parse()))
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
