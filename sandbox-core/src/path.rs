//! Paths inside the workspace.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A relative path that stays inside the workspace: no `..`, no `.`, no empty component, not
/// absolute, no NUL, no backslash, at most 4,095 bytes with components of at most 255.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(String);

impl RelPath {
    /// Checks a path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) naming the path and what is wrong
    /// with it.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        let wrong = if path.is_empty() {
            "is empty"
        } else if path.starts_with('/') {
            "is absolute; give it relative to the workspace"
        } else if path.len() > 4095 {
            "is longer than 4,095 bytes"
        } else if path.contains('\0') {
            "contains a NUL"
        } else if path.contains('\\') {
            "contains a backslash; separate folders with /"
        } else if path.split('/').any(|part| part == "..") {
            "contains ..; name the file inside the workspace"
        } else if path.split('/').any(|part| part.is_empty() || part == ".") {
            "has an empty or . component"
        } else if path.split('/').any(|part| part.len() > 255) {
            "has a component longer than 255 bytes"
        } else {
            return Ok(Self(path));
        };
        Err(Error::invalid("path", format!("{path:?} {wrong}")))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, outermost first.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RelPath {
    type Err = Error;

    fn from_str(path: &str) -> Result<Self> {
        Self::new(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_relative_paths_are_accepted() {
        for good in ["a", "a/b.csv", "..a", "a..", "-c", "a b", "ü/日本", ".hidden"] {
            assert!(RelPath::new(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in
            ["", "/a", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\0b", "a\\b", long.as_str()]
        {
            let error = RelPath::new(bad).expect_err(bad).to_string();
            assert!(error.contains("path"), "{error}");
        }
    }
}
