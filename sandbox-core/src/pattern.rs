//! Patterns that choose artifacts.

use std::fmt;

use globset::{GlobBuilder, GlobMatcher};

use crate::{Error, Result};

/// A glob over paths relative to the workspace: `*` stays within a folder, `**` crosses folders. A
/// folder's name chooses what is in it, with or without a `/` at its end; a `./` at the beginning
/// says nothing.
#[derive(Clone)]
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
        let mut relative = glob;
        while let Some(rest) = relative.strip_prefix("./") {
            relative = rest.trim_start_matches('/');
        }
        let whole = match relative.trim_end_matches('/') {
            "" | "." => "**".to_owned(),
            folder if folder.len() < relative.len() => format!("{folder}/**"),
            // Without a wildcard it is the name of a file or of a folder.
            name if !name.contains(['*', '?', '[', '{', '\\']) => {
                let name = name.replace(',', "[,]").replace('}', "[}]");
                format!("{{{name},{name}/**}}")
            }
            name => name.to_owned(),
        };
        let compiled = GlobBuilder::new(&whole).literal_separator(true).build();
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

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

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
    fn a_folder_is_what_is_in_it() {
        let matches = |glob: &str, path: &str| Pattern::new(glob).expect(glob).matches(path);
        for folder in ["out", "out/", "./out", "././out//", "out/**"] {
            assert!(matches(folder, "out/a") && matches(folder, "out/deep/a"), "{folder}");
            assert!(!matches(folder, "output") && !matches(folder, "a/out/b"), "{folder}");
        }
        assert!(matches("./top.csv", "top.csv") && matches("top.csv", "top.csv"));
        assert!(matches("a,b.csv", "a,b.csv") && !matches("a,b.csv", "a"));
        assert!(matches("*/", "out/a") && !matches("*/", "a"));
        assert!(matches(".", "a/b") && matches("./", "a"));
        assert!(matches("a}b", "a}b"));
    }

    #[test]
    fn a_pattern_that_cannot_match_is_an_error() {
        for bad in ["", "/etc/*", "../*", "a/../b", "[", "a{b"] {
            assert!(Pattern::new(bad).is_err(), "{bad}");
        }
    }
}
