//! The `sandbox` command.
#![forbid(unsafe_code)]

mod args;
mod batch;
mod chart;
mod doctor;
mod job;
mod mcp;
mod run;
mod table;
mod terminal;
mod tune;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use sandbox::{Error, ErrorKind};
use tokio::runtime::Builder;

use crate::args::{Args, Command};

/// The sandbox refused or failed; no program's exit status is meant.
const REFUSED: u8 = 125;

/// How long work that blocks may still take when the command has ended: a read of standard input
/// may wait for ever.
const GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            run::say(&format!("cannot start: {error}"));
            return ExitCode::from(REFUSED);
        }
    };
    let code = runtime.block_on(command());
    runtime.shutdown_timeout(GRACE);
    code
}

async fn command() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let code = match args.command {
        Command::Run(args) => run::run(*args).await,
        Command::Doctor(args) => doctor::doctor(args.json).await,
        Command::Batch(args) => batch::batch(*args).await,
        Command::Mcp(args) => mcp::mcp(*args).await,
        Command::Tune(args) => tune::tune(*args).await,
        Command::Verify(args) => verify::verify(args).await,
    };
    ExitCode::from(code)
}

/// Prints help or what is wrong with the command line. A wrong command line is a refusal like
/// any other: it has their exit status, and is JSON when JSON was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json") {
        // The first paragraph says what is wrong; usage follows it.
        let text = error.to_string();
        let what = text.split("\n\n").next().unwrap_or_default();
        let message = what.strip_prefix("error: ").unwrap_or(what).trim().to_owned();
        run::refuse(&Error::new(ErrorKind::InvalidJob, "command line", message), true);
    } else {
        let _ = error.print();
    }
    ExitCode::from(REFUSED)
}
