//! What a runner is asked to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::encoding::{base64, micros};
use crate::{Error, ErrorKind, Job, JobSpec, Layer, Limits, Result, Size};

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// Chosen at random by the caller; the answer repeats it. A runner serves an id once.
    pub id: String,
    /// What to do.
    pub ask: Ask,
}

impl Request {
    /// A request of this version.
    pub fn new(id: impl Into<String>, ask: Ask) -> Self {
        Self { version: super::VERSION, id: id.into(), ask }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Say which runtimes and layers there are.
    Describe,
    /// Run a job.
    Run(Box<Run>),
}

/// A job, ready to travel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// What is executed.
    pub program: RunProgram,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Its standard input.
    pub stdin: Option<Payload>,
    /// Files by path.
    pub files: BTreeMap<String, Payload>,
    /// What it may use.
    pub limits: RunLimits,
    /// Globs that choose artifacts.
    pub artifacts: Vec<String>,
    /// Ends the job when an output stream passes its cap.
    pub stop_at_output_limit: bool,
    /// Layers that must be in force; every other may be weaker.
    pub required: BTreeSet<Layer>,
    /// Layers that may be weaker, but not off.
    pub not_off: BTreeSet<Layer>,
    /// Answer with frames while the job runs.
    pub live: bool,
    /// Bytes that the answer may have; a longer one is uploaded.
    pub answer_limit: u64,
    /// Where artifacts, and answers that are too long, go.
    pub upload: Option<Upload>,
}

/// What is executed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RunProgram {
    /// Source code for a named runtime.
    Source {
        /// The runtime.
        runtime: String,
        /// The code.
        code: Payload,
    },
    /// A command and its arguments.
    Command(Vec<String>),
}

/// Bytes that go into the sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Payload {
    /// In the request itself.
    Inline(#[serde(with = "base64")] Bytes),
    /// Behind an URL that needs no credentials.
    Staged {
        /// Where to get it.
        url: String,
        /// Its size in bytes.
        size: u64,
        /// Its SHA-256 digest in hexadecimal: what arrives must have it.
        sha256: String,
    },
}

/// A form that an object store accepts without credentials: for one prefix, up to a size, for
/// some minutes. The object's name is the prefix and a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// Where to post.
    pub url: String,
    /// Fields of the form, besides `key` and `file`.
    pub fields: BTreeMap<String, String>,
    /// What every key begins with.
    pub prefix: String,
    /// Bytes that one object may have.
    pub object_limit: u64,
}

/// [`Limits`] as numbers: microseconds and bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of Limits")]
pub struct RunLimits {
    #[serde(with = "micros")]
    pub wall_us: Duration,
    /// 0 where the job has no limit of its own.
    #[serde(with = "micros")]
    pub cpu_us: Duration,
    pub memory: u64,
    pub processes: u32,
    pub open_files: u32,
    pub file_size: u64,
    pub workspace: u64,
    pub files: u64,
    pub output: u64,
    pub artifacts: u64,
    pub artifact_files: u32,
}

impl From<&Limits> for RunLimits {
    fn from(limits: &Limits) -> Self {
        Self {
            wall_us: limits.wall,
            cpu_us: limits.cpu.unwrap_or_default(),
            memory: limits.memory.as_u64(),
            processes: limits.processes,
            open_files: limits.open_files,
            file_size: limits.file_size().as_u64(),
            workspace: limits.workspace().as_u64(),
            files: limits.files,
            output: limits.output.as_u64(),
            artifacts: limits.artifacts.as_u64(),
            artifact_files: limits.artifact_files,
        }
    }
}

impl From<&RunLimits> for Limits {
    fn from(limits: &RunLimits) -> Self {
        Self {
            wall: limits.wall_us,
            cpu: Some(limits.cpu_us).filter(|cpu| !cpu.is_zero()),
            memory: Size::b(limits.memory),
            processes: limits.processes,
            open_files: limits.open_files,
            file_size: Some(Size::b(limits.file_size)),
            workspace: Some(Size::b(limits.workspace)),
            files: limits.files,
            output: Size::b(limits.output),
            artifacts: Size::b(limits.artifacts),
            artifact_files: limits.artifact_files,
        }
    }
}

impl Run {
    /// The parts of a job that travel as they are; `program`, `stdin` and `files` are those that
    /// the caller has made ready.
    pub fn new(
        job: &JobSpec,
        program: RunProgram,
        stdin: Option<Payload>,
        files: BTreeMap<String, Payload>,
    ) -> Self {
        Self {
            program,
            args: job.args.clone(),
            env: job.env.clone(),
            stdin,
            files,
            limits: RunLimits::from(&job.limits),
            artifacts: job.artifacts.iter().map(ToString::to_string).collect(),
            stop_at_output_limit: job.stop_at_output_limit,
            required: BTreeSet::new(),
            not_off: BTreeSet::new(),
            live: false,
            answer_limit: 0,
            upload: None,
        }
    }

    /// The job, checked as if an application had built it. `content` gives the bytes of each
    /// payload, by `code`, `stdin` or the file's path.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob), as for
    /// [`JobBuilder::build`](crate::JobBuilder::build).
    pub fn to_job(
        &self,
        code: Option<Bytes>,
        stdin: Option<crate::Content>,
        files: Vec<(String, crate::Content)>,
    ) -> Result<Job> {
        let mut job = match (&self.program, code) {
            (RunProgram::Command(argv), _) => Job::command(argv.iter().cloned()),
            (RunProgram::Source { runtime, .. }, Some(code)) => Job::source(runtime, code),
            (RunProgram::Source { .. }, None) => {
                let message = "the program's code is missing";
                return Err(Error::new(ErrorKind::InvalidJob, "code", message));
            }
        };
        job = job.args(self.args.iter().cloned()).limits(Limits::from(&self.limits));
        for (name, value) in &self.env {
            job = job.env(name, value);
        }
        for (path, content) in files {
            job = job.file(path, content);
        }
        for glob in &self.artifacts {
            job = job.artifact(glob);
        }
        if let Some(stdin) = stdin {
            job = job.stdin(stdin);
        }
        if self.stop_at_output_limit {
            job = job.stop_at_output_limit();
        }
        for layer in Layer::ALL {
            job = match self.required.contains(layer) {
                true => job.require(*layer),
                false => job.allow_degraded(*layer),
            };
        }
        job.build()
    }
}
