//! Bytes that go into the sandbox.

use std::fmt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

/// Where bytes that go into the sandbox come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// From memory.
    Bytes(Bytes),
    /// From a file on the caller's machine, streamed when the job starts.
    Path(PathBuf),
}

/// The size, and no content: what jobs are given does not belong into a log.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Path(path) => write!(f, "Path({path:?})"),
        }
    }
}

impl From<PathBuf> for Content {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

macro_rules! content_from {
    ($($kind:ty),+) => {$(
        impl From<$kind> for Content {
            fn from(bytes: $kind) -> Self {
                Self::Bytes(bytes.into())
            }
        }
    )+};
}

content_from!(Bytes, Vec<u8>, String);

/// Text is content and no path; a [`Path`] is a file on the caller's machine.
impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Bytes(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&String> for Content {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Content {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&Path> for Content {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_owned())
    }
}

impl From<&PathBuf> for Content {
    fn from(path: &PathBuf) -> Self {
        Self::Path(path.clone())
    }
}
