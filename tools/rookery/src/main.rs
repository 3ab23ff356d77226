//! `rookery`: the operator's tool.

mod demo;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The operator's tool of Rookery.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs a whole murder in this process: a MUPDATE master, two backends, a frontend.
    Demo(demo::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Demo(options) => demo::run(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rookery: {error:#}");
            ExitCode::FAILURE
        }
    }
}
