//! Stand-ins for AWS, for tests, benches and examples on a machine without an account.
//!
//! **Lambda** is AWS's own runtime interface emulator: it starts the runtime, hands out events,
//! holds deadlines, kills and restarts. What it lacks is added here and nothing else: a *front*
//! that speaks the service's public interface (function names, errors, log tail, throttling,
//! size limits, tenant ids, event streams; checked against the published service model), a pool
//! of environments, and a *proxy* in front of the emulator's Runtime API, which lets streamed
//! responses through while they are made.
//!
//! Each environment runs behind a [*launcher*](../lambda-launcher): a process namespace of its
//! own stands in for the microVM, and inside it the runtime has Lambda's user and none of the
//! mechanisms that Lambda is known or suspected to refuse.
//!
//! **S3** is [`s3s`](https://docs.rs/s3s) in process, or SeaweedFS.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a stand-in that does not work fails its test"
)]

mod environment;
mod faults;
mod front;
mod function;
mod invocation;
mod pool;
mod proxy;
mod s3;
mod service;
mod tools;

pub use faults::Fault;
pub use front::Lambda;
pub use function::{Function, Launcher, Tenancy};
pub use s3::{BUCKET, S3, Seaweed, credentials};
pub use service::{ERRORS, OPERATIONS, Operation, ServiceError};
pub use tools::{plain_runtime, runner};
