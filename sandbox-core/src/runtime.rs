//! Named interpreters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind};

/// A named interpreter: how a backend turns source code into a command.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Runtime {
    /// The name that jobs use.
    pub name: String,
    /// The interpreter: a name to look up in `PATH`, or an absolute path.
    pub interpreter: PathBuf,
    /// Arguments before the source file.
    pub args: Vec<String>,
    /// The source's file name in the workspace.
    pub file_name: String,
    /// Variables that the interpreter needs; a job's own variables override them.
    pub env: BTreeMap<String, String>,
    /// Host paths that it reads besides its own prefix and the system's libraries.
    pub read_only: Vec<PathBuf>,
    /// Modules that warm starts load ahead.
    pub preload: Vec<String>,
}

impl Runtime {
    /// A runtime of that name, with the interpreter and the source's file name.
    pub fn new(
        name: impl Into<String>,
        interpreter: impl Into<PathBuf>,
        file_name: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            interpreter: interpreter.into(),
            args: Vec::new(),
            file_name: file_name.into(),
            env: BTreeMap::new(),
            read_only: Vec::new(),
            preload: Vec::new(),
        }
    }

    /// CPython. Output is unbuffered, so that nothing written is lost when the job is killed.
    pub fn python() -> Self {
        Self::new("python", "python3", "main.py")
            .with_args(["-u", "-B"])
            .with_read_only("/etc/python3")
    }

    /// R, without profiles or saved workspaces.
    pub fn r() -> Self {
        Self::new("r", "Rscript", "main.R").with_args(["--vanilla"]).with_read_only("/etc/R")
    }

    /// Node.js.
    pub fn node() -> Self {
        Self::new("node", "node", "main.js")
    }

    /// bash, without start-up files.
    pub fn bash() -> Self {
        Self::new("bash", "bash", "main.sh").with_args(["--noprofile", "--norc"])
    }

    /// The four runtimes that models write for.
    pub fn defaults() -> [Self; 4] {
        [Self::python(), Self::r(), Self::node(), Self::bash()]
    }

    /// Uses another interpreter, for example the one of a virtual environment.
    #[must_use]
    pub fn with_interpreter(mut self, interpreter: impl AsRef<Path>) -> Self {
        self.interpreter = interpreter.as_ref().to_owned();
        self
    }

    /// Sets the arguments before the source file.
    #[must_use]
    pub fn with_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// Adds a host path that the interpreter reads.
    #[must_use]
    pub fn with_read_only(mut self, path: impl Into<PathBuf>) -> Self {
        self.read_only.push(path.into());
        self
    }
}

/// The error of a runtime that a backend does not know.
pub fn unknown_runtime<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    let known: Vec<_> = known.into_iter().collect();
    let message = format!("no runtime {name:?}; known: {}", known.join(", "));
    Error::new(ErrorKind::UnknownRuntime, "resolve runtime", message)
}
