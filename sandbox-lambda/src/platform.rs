//! What the platform says about an invocation: it knows better than any answer.

use sandbox_core::{Error, ErrorKind};
use serde_json::Value;

use crate::report::{self, Report};

/// A failure of the function, as the platform reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FunctionError {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl FunctionError {
    /// From the body of a response whose `FunctionError` is set.
    pub(crate) fn from_body(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self { kind: text("errorType"), message: text("errorMessage") }
    }

    /// From the end of an event stream.
    pub(crate) fn from_stream(code: &str, details: Option<&str>) -> Self {
        let parsed = Self::from_body(details.unwrap_or_default().as_bytes());
        let kind = if parsed.kind.is_empty() { code.to_owned() } else { parsed.kind };
        let message = if parsed.message.is_empty() {
            details.unwrap_or_default().to_owned()
        } else {
            parsed.message
        };
        Self { kind, message }
    }

    /// What it means, with the log of the invocation.
    pub(crate) fn verdict(&self, log: &str, report: Option<&Report>) -> Verdict {
        let full = report.is_some_and(|report| report.max_memory >= report.memory);
        match self.kind.as_str() {
            "Sandbox.Timedout" | "Sandbox.Timeout" => Verdict::Timeout,
            _ if self.message.contains("Task timed out after") => Verdict::Timeout,
            "Runtime.OutOfMemory" => Verdict::Memory,
            "Runtime.ExitError" if report::init_failed(log) => Verdict::Init,
            // How Lambda shows that the kernel killed the runtime for its memory.
            "Runtime.ExitError" if full && self.message.contains("signal: killed") => {
                Verdict::Memory
            }
            "Runtime.ExitError" => Verdict::Exit,
            "Function.ResponseSizeTooLarge" => Verdict::TooLarge,
            "Runtime.InitError" | "Sandbox.InitTimedout" | "Sandbox.InitError" => Verdict::Init,
            "Extension.InitError" | "Extension.LaunchError" => Verdict::Init,
            kind if kind.starts_with("Runtime.Invalid") => Verdict::Image,
            _ => Verdict::Other,
        }
    }
}

/// What ended the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its timeout.
    Timeout,
    /// Its memory.
    Memory,
    /// The runner ended.
    Exit,
    /// The runner did not come up.
    Init,
    /// Its image.
    Image,
    /// The answer was too long.
    TooLarge,
    /// Something that this version has no name for.
    Other,
}

impl Verdict {
    /// The error for a job whose program is not known to have been started.
    pub(crate) fn error(self, function: &str, cause: &FunctionError) -> Error {
        let (kind, may_have_run, what) = match self {
            Self::Timeout => (
                ErrorKind::PlatformTimeout,
                true,
                "the function reached its timeout before the runner answered",
            ),
            Self::Memory => {
                (ErrorKind::PlatformMemory, true, "the function used all of its memory")
            }
            Self::Exit => (
                ErrorKind::RunnerExited,
                true,
                "the runner ended during the job, which may have killed it",
            ),
            Self::Init => {
                (ErrorKind::InitFailed, false, "the runner did not start; see the function's log")
            }
            Self::Image => (
                ErrorKind::Misconfigured,
                false,
                "the image cannot be started; its entrypoint must be sandbox-runner",
            ),
            Self::TooLarge => (
                ErrorKind::AnswerTooLarge,
                true,
                "the answer was too long for Lambda; the image's runner is not the caller's",
            ),
            Self::Other => (ErrorKind::Backend, true, "the function failed"),
        };
        let message = format!("{function}: {what} ({}: {})", cause.kind, cause.message);
        let error = Error::new(kind, "invoke", message);
        if may_have_run { error.with_may_have_run() } else { error }
    }
}
