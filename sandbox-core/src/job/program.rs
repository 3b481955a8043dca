//! Programs.

use std::fmt;

use bytes::Bytes;

/// What is executed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Program {
    /// Source code for a named runtime, which the backend resolves to an interpreter.
    Source {
        /// The runtime's name, for example `python`.
        runtime: String,
        /// The source, byte for byte.
        code: Bytes,
    },
    /// A command and its arguments; the command is looked up in the sandbox's `PATH`.
    Command(Vec<String>),
}

/// Sizes, and no content: what jobs are given is nobody's log's.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source { runtime, code } => {
                write!(f, "Source({runtime:?}, {} bytes)", code.len())
            }
            Self::Command(argv) => {
                let name = argv.first().map(String::as_str).unwrap_or_default();
                write!(f, "Command({name:?}, {} arguments)", argv.len().saturating_sub(1))
            }
        }
    }
}
