//! Patterns that choose artifacts.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use crate::{Error, Result};

/// A glob over paths relative to the workspace: `*` stays within a folder, `**` crosses folders.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    matcher: GlobMatcher,
}

impl Pattern {
    /// Compiles a glob.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) when the glob does not parse, or
    /// could only match outside the workspace.
    pub fn new(glob: &str) -> Result<Self> {
        let invalid = |why: String| Error::invalid("artifacts", why);
        if glob.is_empty() || glob.starts_with('/') || glob.split('/').any(|part| part == "..") {
            let why = format!("{glob:?} cannot match inside the workspace; give a relative glob");
            return Err(invalid(why));
        }
        if glob.len() > 4096 || glob.contains('\0') {
            return Err(invalid("the glob is over 4,096 bytes or contains a NUL".into()));
        }
        let compiled = GlobBuilder::new(glob).literal_separator(true).build();
        let glob_error = |error: globset::Error| invalid(format!("{glob:?}: {}", error.kind()));
        let matcher = compiled.map_err(glob_error)?.compile_matcher();
        Ok(Self { text: glob.to_owned(), matcher })
    }

    /// Whether the pattern chooses `path`.
    pub fn matches(&self, path: &str) -> bool {
        self.matcher.is_match(path)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_a_folder() {
        let matches = |glob: &str, path: &str| Pattern::new(glob).expect(glob).matches(path);
        assert!(matches("*.png", "a.png"));
        assert!(!matches("*.png", "out/a.png"));
        assert!(matches("**/*.png", "out/deep/a.png"));
        assert!(matches("**", "out/a"));
        assert!(!matches("nothing", "a"));
    }

    #[test]
    fn a_pattern_that_cannot_match_is_an_error() {
        for bad in ["", "/etc/*", "../*", "a/../b", "[", "a{b"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }
}
