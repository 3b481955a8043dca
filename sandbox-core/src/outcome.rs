//! How a job ended.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::output::printable;
use crate::{Artifact, Enforcement, Error, LimitKind, Output, Pattern, RelPath, Size};

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
/// What a signal means, in the words that shells use.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace trap",
        6 => "aborted",
        7 => "bus error",
        8 => "arithmetic error",
        9 => "killed",
        10 => "user signal 1",
        11 => "segmentation fault",
        12 => "user signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        24 => "CPU time limit",
        25 => "file size limit",
        31 => "bad system call",
        _ => return None,
    })
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signaled(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by signal {signal} ({name})"),
                None => write!(f, "killed by signal {signal}"),
            },
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

impl Display {
    /// How names of files of this type end.
    pub fn extension(&self) -> &'static str {
        let media_type = self.media_type.split(';').next().unwrap_or_default().trim();
        match media_type {
            "image/png" => "png",
            "image/jpeg" => "jpg",
            "image/gif" => "gif",
            "image/webp" => "webp",
            "image/svg+xml" => "svg",
            "application/pdf" => "pdf",
            "application/json" => "json",
            "text/html" => "html",
            "text/markdown" => "md",
            "text/csv" => "csv",
            kind if kind.starts_with("text/") => "txt",
            _ => "bin",
        }
    }
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
#[must_use = "a program that failed is an outcome too"]
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

/// How it ended, when, and what it took.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} after {:.1} s", self.termination, self.usage.wall.as_secs_f64())?;
        self.usage.peak_memory.map_or(Ok(()), |peak| write!(f, ", {peak} of memory"))
    }
}

/// A program that did not end with code 0, as an error.
#[derive(Debug)]
pub struct Failed(
    /// What became of it.
    pub Box<Outcome>,
);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.termination)?;
        let errors = self.0.stderr.text();
        match errors.lines().rev().find(|line| !line.trim().is_empty()) {
            Some(last) => write!(f, ": {}", printable(last.trim())),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failed {}

/// What [`Outcome::save_all`] saved.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Saved {
    /// Where each artifact and each display is, by its path or name in the outcome.
    pub paths: BTreeMap<String, PathBuf>,
    /// What could not be saved, and why.
    pub failed: Vec<(String, Error)>,
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

    /// The outcome with this on standard output, for fakes.
    pub fn with_stdout(mut self, text: impl AsRef<[u8]>) -> Self {
        self.stdout = Output::whole(text.as_ref());
        self
    }

    /// Whether the program exited with code 0.
    pub fn is_success(&self) -> bool {
        self.termination.is_success()
    }

    /// Names of files for the displays, in their order: `display-1.png`, and none that an artifact
    /// has.
    pub fn display_names(&self) -> Vec<String> {
        let name = |(index, display): (usize, &Display)| {
            let extension = display.extension();
            let mut name = format!("display-{}.{extension}", index + 1);
            let mut again = 1;
            while self.artifact(&name).is_some() {
                again += 1;
                name = format!("display-{}-{again}.{extension}", index + 1);
            }
            name
        };
        self.displays.iter().enumerate().map(name).collect()
    }

    /// Saves every artifact beneath `folder`, and every display as a file of
    /// [its name](Self::display_names). Goes on after what cannot be saved.
    pub async fn save_all(&self, folder: impl AsRef<Path>) -> Saved {
        let folder = folder.as_ref();
        let shown = self.displays.iter().zip(self.display_names()).filter_map(|(display, name)| {
            let path = RelPath::new(name).ok()?;
            Some(Artifact::from_bytes(path, display.data.clone()))
        });
        let shown: Vec<_> = shown.collect();
        let mut saved = Saved::default();
        for artifact in self.artifacts.iter().chain(&shown) {
            match artifact.save_to(folder).await {
                Ok(path) => {
                    saved.paths.insert(artifact.path().to_owned(), path);
                }
                Err(error) => saved.failed.push((artifact.path().to_owned(), error)),
            }
        }
        saved
    }

    /// Those of the job's patterns that chose no file: neither an artifact nor one that was skipped.
    pub fn unmatched<'a>(&self, patterns: &'a [Pattern]) -> Vec<&'a Pattern> {
        let artifacts = self.artifacts.iter().map(Artifact::path);
        let paths: Vec<_> = artifacts.chain(self.skipped.iter().map(|s| s.path.as_str())).collect();
        let chose = |pattern: &&Pattern| !paths.iter().any(|path| pattern.matches(path));
        patterns.iter().filter(chose).collect()
    }

    /// The outcome, or, unless the program exited with code 0, it as an error that says how it ended
    /// and the last line of its standard error.
    ///
    /// # Errors
    ///
    /// The program failed, or a limit ended it.
    ///
    /// ```
    /// # use sandbox_core::{ExecutorExt as _, FakeExecutor, Job};
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let outcome = FakeExecutor::new().run(Job::bash("echo 42")).await?.into_result()?;
    /// assert_eq!(outcome.stdout.text(), "42\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn into_result(self) -> std::result::Result<Self, Failed> {
        if self.is_success() { Ok(self) } else { Err(Failed(Box::new(self))) }
    }

    /// The artifact at `path`.
    pub fn artifact(&self, path: &str) -> Option<&Artifact> {
        self.artifacts.iter().find(|artifact| artifact.path() == path)
    }
}
