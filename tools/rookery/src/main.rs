//! `rookery`: the operator's tool.

mod audit;
mod check;
mod cli;
mod common;
mod conflicts;
mod demo;
mod exit;
mod latency;
mod list;
mod locate;
mod output;
mod postfix_config;
mod screen;
mod socket;
mod status;
mod top;

use std::process::ExitCode;

use clap::Parser;

use cli::{Arguments, Task};
use exit::{EX_USAGE, Failure, Outcome};
use output::Form;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are errors to clap, and no errors.
            let status = if error.use_stderr() { EX_USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    match run(&arguments) {
        Ok(outcome) => ExitCode::from(outcome.status()),
        Err(failure) => {
            if let Some(text) = failure.text() {
                eprintln!("rookery: {text}");
            }
            ExitCode::from(failure.status())
        }
    }
}

fn run(arguments: &Arguments) -> Result<Outcome, Failure> {
    let common = &arguments.common;
    let form = Form::of(common.json);
    match &arguments.task {
        Task::Status => status::run(common, form),
        Task::Locate(options) => locate::run(options, common, form),
        Task::List(options) => list::run(options, common, form),
        Task::Accept => list::accept(common, form),
        Task::Conflicts(options) => conflicts::run(options, common, form),
        Task::Latency(options) => latency::run(options, common, form),
        Task::Top(options) => top::run(options, common, form),
        Task::Check(options) => check::run(options, common, form),
        Task::Audit(options) => audit::run(options, common, form),
        Task::Repair(options) => audit::repair(options, common, form),
        Task::PostfixConfig(options) => postfix_config::run(options),
        Task::Demo(options) => demo::run(options).map(|()| Outcome::Fine).map_err(Failure::from),
    }
}
