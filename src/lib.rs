#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

/// The guide's code is compiled.
#[cfg(all(doctest, feature = "tool"))]
#[doc = include_str!("../docs/agents.md")]
struct Guide;

mod backend;
#[cfg(feature = "tool")]
mod tool;

pub use backend::from_env;
pub use sandbox_core::*;
#[cfg(feature = "lambda")]
pub use sandbox_lambda::{
    Architecture, FunctionSpec, LambdaBuilder, LambdaExecutor, PriceTable, Tenancy,
};
#[cfg(feature = "local")]
pub use sandbox_local::{Finding, LocalBuilder, LocalExecutor, ProbeReport};
#[cfg(feature = "tool")]
pub use tool::{Arguments, Call, CodeTool, CodeToolBuilder, Definition, KeptFile, Part, Reply};
