//! Runs a command with emulated Lambda functions and a bucket, and variables that lead to them.
//!
//! `emulator COMMAND [ARGS...]`, as root; `scripts/emulator` sets everything up before. The
//! functions are those of `infra/sandbox.yaml`. With `SANDBOX_IMAGE`, a folder with the files of an
//! image, they are made from that; without, they have this machine's files.
#![allow(
    clippy::expect_used,
    clippy::exit,
    clippy::print_stderr,
    reason = "a stand-in that does not work fails"
)]

use std::process::exit;

use sandbox_emulator::{BUCKET, Function, Lambda, S3, credentials};
use tokio::process::Command;

/// Names and MB.
const SIZES: [(&str, u64); 3] =
    [("sandbox-small", 1024), ("sandbox-medium", 2048), ("sandbox-large", 4096)];

#[tokio::main]
async fn main() {
    let mut args = std::env::args_os().skip(1);
    let Some(command) = args.next() else {
        eprintln!("usage: emulator COMMAND [ARGS...]");
        exit(2);
    };
    let image = std::env::var_os("SANDBOX_IMAGE");
    let functions = SIZES.map(|(name, memory)| {
        let function = match &image {
            Some(root) => Function::image(name, root),
            None => Function::runner(name),
        };
        Function { memory, ..function }
    });
    let lambda = Lambda::start(functions).await;
    let s3 = S3::start().await;
    let (key, secret) = credentials();
    let status = Command::new(command)
        .args(args)
        .env("SANDBOX_BACKEND", "lambda")
        .env("SANDBOX_LAMBDA_FUNCTIONS", SIZES.map(|(name, _)| name).join(","))
        .env("SANDBOX_LAMBDA_BUCKET", BUCKET)
        .env("SANDBOX_LAMBDA_ENDPOINT", lambda.endpoint())
        .env("SANDBOX_LAMBDA_S3_ENDPOINT", s3.endpoint())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .kill_on_drop(true)
        .status()
        .await
        .expect("command");
    // The stand-ins have processes, which exit() would leave.
    drop((lambda, s3));
    exit(status.code().unwrap_or(1));
}
