//! Runs untrusted code on Linux, cold, in milliseconds.
//!
//! Every job gets namespaces of its own, a root built for it, cgroup and resource limits, no
//! capabilities, a seccomp filter and a Landlock domain; [`LocalExecutor`] refuses a job when the
//! host cannot give it a layer that it requires.
//!
//! ```no_run
//! use sandbox_core::{ExecutorExt, Job};
//! use sandbox_local::LocalExecutor;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), sandbox_core::Error> {
//! let executor = LocalExecutor::new().await?;
//! let outcome = executor.run(Job::python("print(6 * 7)").build()?).await?;
//! assert_eq!(outcome.stdout.text(), "42\n");
//! # Ok(())
//! # }
//! ```
//!
//! # How a job starts
//!
//! The application does not fork. It spawns (`posix_spawn`, so memory and threads of the
//! application cost nothing) a small static helper that is embedded in this crate and executed
//! from a sealed memfd. The helper builds the sandbox and supervises the job from outside its pid
//! namespace; PID 1 inside is a fresh exec with an empty environment and no descriptors. When
//! the job ends, times out or is cancelled, or the application dies, PID 1 is killed, and the
//! kernel kills and reaps the rest before the helper reports.
//!
//! # Requirements
//!
//! Linux 5.14 or newer: `mount_setattr` and Landlock (5.13), process counts per user namespace
//! (5.14). Root or an ordinary user who may create user namespaces. Memory is limited by a
//! cgroup, v2 where delegated, v1 where writable; elsewhere a watcher sums the tree every 10 ms
//! and the outcome says that `memory` is degraded. [`LocalExecutor::probe`] tells what a host
//! allows and why not.
//!
//! # Limitations
//!
//! The kernel is shared: run hostile tenants elsewhere. The workspace and `/tmp` are in memory,
//! and files that a
//! job writes there count toward its memory limit; input files count toward the application's.

#![cfg(target_os = "linux")]
#![deny(unsafe_code)]

mod bpf;
mod cgroup;
mod channel;
mod collect;
mod command;
mod disks;
mod exclusive;
mod executor;
mod explain;
mod fd;
mod folder;
mod helper;
mod host;
mod ids;
mod inputs;
mod interpreter;
mod ipc;
mod landlock;
mod launch;
mod layout;
mod lent;
mod memfd;
mod own;
mod plan;
mod probe;
mod protocol;
mod pump;
mod run;
mod seccomp;
mod setup;
mod user;
mod verdict;
mod wipe;

pub use executor::{LocalBuilder, LocalExecutor};
pub use probe::{Finding, ProbeReport};
