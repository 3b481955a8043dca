//! How a job ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Artifact, Enforcement, LimitKind, Output, Size};

/// Why and how the program ended, with the evidence for it.
///
/// The reason comes from the sandbox and the kernel, never from anything that the program can
/// write: `exit 137` is `Exited(137)`, a SIGKILL that the program sent itself is `Signaled(9)`,
/// and an out-of-memory kill is `Memory`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Termination {
    /// The main process ended with this code.
    Exited(i32),
    /// A signal that no limit explains ended the main process.
    Signaled(i32),
    /// The wall-clock limit ended the job.
    WallTime(TimeEvidence),
    /// The CPU-time limit ended the job.
    CpuTime(TimeEvidence),
    /// The memory limit ended the job: the first out-of-memory kill anywhere in its tree does.
    Memory(MemoryEvidence),
    /// An output stream passed its cap, and the job had asked to be ended by that.
    Output(OutputEvidence),
    /// Writing past a disk limit killed the main process.
    Disk(DiskEvidence),
    /// The caller cancelled the job.
    Cancelled,
}

impl Termination {
    /// The reason's name in JSON.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Exited(_) => "exited",
            Self::Signaled(_) => "signaled",
            Self::WallTime(_) => "wall_time",
            Self::CpuTime(_) => "cpu_time",
            Self::Memory(_) => "memory",
            Self::Output(_) => "output",
            Self::Disk(_) => "disk",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether the program exited with code 0.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

/// The end in a few words, for people: `stopped: wall-clock limit of 5s`.
impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signaled(signal) => write!(f, "killed by signal {signal}"),
            Self::WallTime(e) => write!(f, "stopped: wall-clock limit of {:?}", e.limit),
            Self::CpuTime(e) => write!(f, "stopped: CPU-time limit of {:?}", e.limit),
            Self::Memory(e) => {
                write!(f, "stopped: memory limit of {}", e.limit)?;
                e.peak.map_or(Ok(()), |peak| write!(f, " (peak {peak})"))
            }
            Self::Output(e) => write!(f, "stopped: {} passed its cap of {}", e.stream, e.limit),
            Self::Disk(e) => {
                write!(f, "killed at the {} limit of {}", e.limit_kind.name(), e.limit)
            }
            Self::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// A time limit and what was used of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeEvidence {
    /// The limit.
    pub limit: Duration,
    /// What the job had used when it was ended.
    pub used: Duration,
}

/// What the kernel or the watcher said about memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryEvidence {
    /// The limit.
    pub limit: Size,
    /// The highest use seen; `None` where nobody counted (cgroup v2 before Linux 5.19).
    pub peak: Option<Size>,
    /// Processes that the kernel killed for it; 0 when a watcher ended the job.
    pub oom_kills: u64,
}

/// Which stream passed its cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputEvidence {
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// The cap.
    pub limit: Size,
    /// Bytes written when the job was ended.
    pub total: u64,
}

/// Which disk limit was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskEvidence {
    /// [`LimitKind::FileSize`] or [`LimitKind::Workspace`].
    pub limit_kind: LimitKind,
    /// The limit.
    pub limit: Size,
    /// The signal that the kernel sent.
    pub signal: i32,
}

/// A file that was not collected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// The path; bytes that are not UTF-8 as `\xNN`.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A rich result that the program displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Display {
    /// The media type of the data.
    pub media_type: String,
    /// The data.
    pub data: Bytes,
}

/// What a job used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Time from the program's start to its end.
    pub wall: Duration,
    /// Processor time of the whole tree.
    pub cpu: Duration,
    /// Highest memory use of the tree, where somebody measured it.
    pub peak_memory: Option<Size>,
    /// Highest number of processes and threads, where somebody counted.
    pub processes: Option<u64>,
}

/// Where the time went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timing {
    /// Waiting for a turn.
    pub queued: Duration,
    /// From admission to the execution of the program.
    pub startup: Duration,
    /// From there to the program's end.
    pub run: Duration,
    /// From there to the finished outcome: killing what is left, collecting artifacts.
    pub collect: Duration,
}

/// How the job's sandbox came about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Start {
    /// Built for this job.
    #[default]
    Cold,
    /// Prepared before this job came, used by it alone.
    Spare,
    /// Forked, inside the sandbox, from an interpreter with its libraries loaded.
    Forked,
}

/// What a job cost, where a backend bills for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// The amount in US dollars.
    pub usd: f64,
    /// What it is made of.
    pub basis: String,
}

/// How a job ended, what it left, what it used, and what held it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Why and how the program ended.
    pub termination: Termination,
    /// Its standard output.
    pub stdout: Output,
    /// Its standard error.
    pub stderr: Output,
    /// Files it left, chosen by the job's patterns.
    pub artifacts: Vec<Artifact>,
    /// Chosen files that were not collected, and why.
    pub skipped: Vec<Skipped>,
    /// Limits that the job ran into without being ended by them, where the kernel tells.
    pub limits_hit: BTreeSet<LimitKind>,
    /// Rich results.
    pub displays: Vec<Display>,
    /// What it used.
    pub usage: Usage,
    /// Where the time went.
    pub timing: Timing,
    /// How its sandbox came about.
    pub start: Start,
    /// Which isolation was in force.
    pub enforcement: Enforcement,
    /// What it cost; `None` where nothing is billed.
    pub cost: Option<Cost>,
    /// Facts that only this backend knows, such as a request id.
    pub facts: BTreeMap<String, String>,
}

impl Outcome {
    /// An outcome with this end, this isolation and nothing else.
    pub fn new(termination: Termination, enforcement: Enforcement) -> Self {
        Self {
            termination,
            stdout: Output::default(),
            stderr: Output::default(),
            artifacts: Vec::new(),
            skipped: Vec::new(),
            limits_hit: BTreeSet::new(),
            displays: Vec::new(),
            usage: Usage::default(),
            timing: Timing::default(),
            start: Start::Cold,
            enforcement,
            cost: None,
            facts: BTreeMap::new(),
        }
    }

    /// Whether the program exited with code 0.
    pub fn is_success(&self) -> bool {
        self.termination.is_success()
    }

    /// The artifact at `path`.
    pub fn artifact(&self, path: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.path() == path)
    }
}
