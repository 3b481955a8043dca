//! The `sandbox` command.
#![forbid(unsafe_code)]

mod args;
mod doctor;
mod run;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Args, Command};

/// The sandbox refused or failed; no program's exit status is meant.
const REFUSED: u8 = 125;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let code = match args.command {
        Command::Run(args) => run::run(*args).await,
        Command::Doctor(args) => doctor::doctor(args.json).await,
    };
    ExitCode::from(code)
}

/// Prints help or what is wrong with the command line. Refusals have one exit status, so a wrong
/// command line has it too.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(REFUSED) } else { ExitCode::SUCCESS }
}
