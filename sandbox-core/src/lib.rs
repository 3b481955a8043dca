//! The contract between applications that run untrusted code and the backends that run it.
//!
//! An application builds a [`Job`], hands it to an [`Executor`] and gets an [`Outcome`]: how the
//! program ended and the evidence for it, its output, its files, what it used, and which
//! isolation [`Layer`]s were in force. Three rules hold for every backend:
//!
//! 1. **Enforced or refused.** A requested layer or limit is in force, or the job is refused
//!    before it starts. What is in force is on every outcome, as an [`Enforcement`].
//! 2. **The program's failure is not the sandbox's failure.** `Ok(Outcome)` whenever the program
//!    ran, however it died; [`Error`] only when it could not be run, and then the error says
//!    whether it [may have run](Error::may_have_run).
//! 3. **Same meaning everywhere.** The `conformance` feature holds one suite that every backend
//!    and every wrapper passes; a difference is a declared [`Capabilities`] entry or a bug.
//!
//! ```
//! use sandbox_core::{ExecutorExt, FakeExecutor, Job, Termination};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), sandbox_core::Error> {
//! let executor = FakeExecutor::new();
//! let outcome = executor.run(Job::bash("echo hello; exit 3").build()?).await?;
//! assert_eq!(outcome.termination, Termination::Exited(3));
//! assert_eq!(outcome.stdout.text(), "hello\n");
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod artifact;
mod capabilities;
#[cfg(feature = "conformance")]
pub mod conformance;
mod displays;
mod enforcement;
mod error;
mod execution;
mod executor;
mod fake;
mod job;
mod limit;
mod limits;
mod outcome;
mod output;
mod path;
mod pattern;
pub mod remote;
mod retry;
mod runtime;
pub mod trace;
mod verify;
pub mod wire;

pub use artifact::{Artifact, ArtifactContent};
pub use capabilities::Capabilities;
pub use displays::Displays;
pub use enforcement::{Enforcement, Layer, LayerState};
pub use error::{Error, ErrorKind, Result};
pub use execution::{Cancel, Driver, Event, EventSender, Execution, Finish, Stop, StopReason};
pub use executor::{Executor, ExecutorExt, Session, SessionSpec, sessions_unsupported};
pub use fake::{FakeExecutor, Fault};
pub use job::{Content, IntoJob, Job, JobBuilder, JobSpec, Network, Program};
pub use limit::LimitConcurrency;
pub use limits::{LimitKind, Limits, Size};
pub use outcome::{
    Cost, DiskEvidence, Display, Failed, MemoryEvidence, Outcome, OutputEvidence, Saved, Skipped,
    Start, Termination, TimeEvidence, Timing, Usage, signal_name,
};
pub use output::{Capture, Output, printable, quoted_name};
pub use path::RelPath;
pub use pattern::Pattern;
pub use retry::Retry;
pub use runtime::{Runtime, unknown_runtime};
pub use verify::{Attempt, Mechanism, Surroundings, Verdict, Verification};
