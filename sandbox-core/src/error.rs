//! Why a job could not be run.

use std::error::Error as StdError;

use serde::Serialize;

use crate::Layer;

/// What went wrong, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The job itself is wrong: a path, a limit, a name. Correct it.
    InvalidJob,
    /// The backend does not know the runtime. The message lists those it knows.
    UnknownRuntime,
    /// The program or the interpreter does not exist, or cannot be executed, in the sandbox.
    ProgramNotFound,
    /// The backend cannot do what was asked; see its [`Capabilities`](crate::Capabilities).
    Unsupported,
    /// A required layer cannot be enforced here. The error names the layer and the remedy.
    Refused,
    /// The job waited for its turn longer than its queue deadline.
    QueueTimeout,
    /// An input file could not be read, or did not fit into the workspace.
    Input,
    /// The host has run out of something: processes, descriptors, disk.
    HostExhausted,
    /// The backend lost sight of the job: its supervisor died or its connection broke.
    Lost,
    /// A file could not be saved on the caller's side.
    Save,
    /// The backend failed in a way that has no kind of its own.
    Backend,
}

/// A job that could not be run, or whose end could not be observed.
///
/// A program that fails is not an error: it has an [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    layer: Option<Layer>,
    may_have_run: bool,
    retryable: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that happened during `operation`. `message` is a lower-case fragment
    /// that names the value and the remedy.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            message: message.into(),
            layer: None,
            may_have_run: false,
            retryable: matches!(kind, ErrorKind::HostExhausted | ErrorKind::QueueTimeout),
            source: None,
        }
    }

    /// The job is wrong in `field`.
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidJob, field, message)
    }

    /// Adds the layer that could not be enforced.
    #[must_use]
    pub fn with_layer(mut self, layer: Layer) -> Self {
        self.layer = Some(layer);
        self
    }

    /// Adds the underlying error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says that the program may have been executed before the failure.
    #[must_use]
    pub fn with_may_have_run(mut self) -> Self {
        self.may_have_run = true;
        self
    }

    /// Says whether the same job may succeed when it is tried again later.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The step or the job's field at which it went wrong.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What went wrong, without the operation.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The layer that could not be enforced, for [`ErrorKind::Refused`].
    pub fn layer(&self) -> Option<Layer> {
        self.layer
    }

    /// Whether the program may have had effects. False is a promise.
    pub fn may_have_run(&self) -> bool {
        self.may_have_run
    }

    /// Whether trying again later may help: the cause was load, not the job.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }
}

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
