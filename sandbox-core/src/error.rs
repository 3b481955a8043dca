//! Why a job could not be run.

use std::borrow::Cow;
use std::error::Error as StdError;

use serde::Serialize;

use crate::Layer;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// What went wrong, by what the caller can do about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
        #[non_exhaustive]
        pub enum ErrorKind { $($(#[$doc])* #[serde(rename = $name)] $variant,)+ }

        impl ErrorKind {
            /// The kind's name in JSON.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The kind of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// The job itself is wrong: a path, a limit, a name. Correct it.
    InvalidJob = "invalid_job",
    /// The backend does not know the runtime. The message lists those it knows.
    UnknownRuntime = "unknown_runtime",
    /// The program or the interpreter does not exist, or cannot be executed, in the sandbox.
    ProgramNotFound = "program_not_found",
    /// The backend cannot do what was asked; see its [`Capabilities`](crate::Capabilities).
    Unsupported = "unsupported",
    /// A required layer cannot be enforced here. The error names the layer and the remedy.
    Refused = "refused",
    /// The job waited for its turn longer than its queue deadline.
    QueueTimeout = "queue_timeout",
    /// An input file could not be read, or did not fit into the workspace.
    Input = "input",
    /// The host has run out of something: processes, descriptors, disk.
    HostExhausted = "host_exhausted",
    /// The platform has no room for the job now.
    Throttled = "throttled",
    /// The caller's credentials do not allow it. The message names the action.
    AccessDenied = "access_denied",
    /// Something of the backend's does not exist: a function, a bucket.
    NotFound = "not_found",
    /// The backend is set up wrongly: tenancy, keys, image.
    Misconfigured = "misconfigured",
    /// The platform could not start what runs jobs.
    InitFailed = "init_failed",
    /// The platform ended the job's surroundings at its own deadline.
    PlatformTimeout = "platform_timeout",
    /// The platform ended the job's surroundings for their use of memory.
    PlatformMemory = "platform_memory",
    /// What runs jobs ended during the job. The job may have killed it.
    RunnerExited = "runner_exited",
    /// The answer was too long for the platform.
    AnswerTooLarge = "answer_too_large",
    /// The answer is not one that a runner gives to this job: cut off, forged, or another's.
    Untrusted = "untrusted",
    /// The idempotency key was used for another job.
    Conflict = "conflict",
    /// The store for inputs, artifacts and results failed.
    Storage = "storage",
    /// The backend lost sight of the job: its supervisor died or its connection broke.
    Lost = "lost",
    /// A file could not be saved on the caller's side.
    Save = "save",
    /// The backend failed in a way that has no kind of its own.
    Backend = "backend",
}

/// A job that could not be run, or whose end could not be observed.
///
/// A program that fails is not an error: it has an [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {message}")]
pub struct Error {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    message: String,
    layer: Option<Layer>,
    may_have_run: bool,
    retryable: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that happened during `operation`. `message` is a lower-case fragment
    /// that names the value and the remedy.
    pub fn new(
        kind: ErrorKind,
        operation: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            operation: operation.into(),
            message: message.into(),
            layer: None,
            may_have_run: false,
            retryable: matches!(
                kind,
                ErrorKind::HostExhausted | ErrorKind::QueueTimeout | ErrorKind::Throttled
            ),
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
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// What went wrong, without the operation.
    pub fn message(&self) -> &str {
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
