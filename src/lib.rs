#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use sandbox_core::*;
#[cfg(feature = "local")]
pub use sandbox_local::{Finding, LocalBuilder, LocalExecutor, ProbeReport};
