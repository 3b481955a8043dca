//! Runs untrusted code in AWS Lambda.
//!
//! A job goes to a function whose image has `sandbox-runner` as its entrypoint. Output comes back
//! while the program runs; inputs that are too large for the request, and files that the job
//! leaves, go through one S3 bucket, by requests that the caller signs: the function's own role
//! needs no rights in S3.
//!
//! ```no_run
//! use sandbox_core::{ExecutorExt, Job};
//! use sandbox_lambda::LambdaExecutor;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), sandbox_core::Error> {
//! let executor =
//!     LambdaExecutor::builder().function("sandbox").bucket("my-sandbox-bucket").build().await?;
//! let outcome = executor.run(Job::python("print(6 * 7)").build()?).await?;
//! assert_eq!(outcome.stdout.text(), "42\n");
//! println!("{} for {:?}", outcome.facts["request_id"], outcome.cost);
//! # Ok(())
//! # }
//! ```
//!
//! # What holds a job
//!
//! Inside a function little can be taken away from a process: plan for `prctl`, seccomp,
//! namespaces and Landlock to be refused. The walls are the microVM, the VPC, IAM, tenant
//! isolation, and hygiene: after each job the runner ends every process of its user, empties
//! `/tmp`, and ends itself when anything is left. Each layer's state is on the outcome.
//!
//! **An outcome is what the function said.** A job has its runner's user and can reach the
//! Runtime API. The runner's answer begins before the job does, so that there is no room for
//! another; an answer is checked against the job; and what the platform says (timeout, memory,
//! exit, the REPORT line, the bill) never comes from it. But that a program exited with 0, or which
//! layers held it, is the function's word. Give each tenant a [tenant id](Tenancy), so that the
//! word concerns nobody else.
//!
//! # Cancelling
//!
//! Lambda has no way to stop an invocation. A cancelled or dropped job is no longer waited for,
//! and runs (and costs) until its own wall-clock limit.

#![forbid(unsafe_code)]

mod answer;
mod backoff;
mod builder;
mod content;
mod drive;
mod executor;
mod form;
mod function;
mod idempotency;
mod invoke;
mod platform;
mod price;
mod report;
mod request;
mod service;
mod stage;
mod store;
mod trace;

pub use builder::{LambdaBuilder, Tenancy};
pub use executor::LambdaExecutor;
pub use function::{Architecture, FunctionSpec};
pub use price::PriceTable;
