//! What a runner answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::encoding::{base64, micros};
use super::end::End;
use crate::{
    Artifact, ArtifactContent, Display, Enforcement, Error, ErrorKind, JobSpec, Layer, LayerState,
    LimitKind, Outcome, Output, RelPath, Result, Size, Skipped, Start,
};

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// [`VERSION`](super::VERSION).
    pub version: u32,
    /// The request's id.
    pub id: String,
    /// What it says.
    pub body: Body,
}

impl Answer {
    /// An answer of this version.
    pub fn new(id: impl Into<String>, body: Body) -> Self {
        Self { version: super::VERSION, id: id.into(), body }
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// To [`Ask::Describe`](super::Ask::Describe).
    Described(Described),
    /// The program ran.
    Finished(Box<Finished>),
    /// It could not be run.
    Failed(Failed),
    /// The answer is too long to send: it is an object beneath the upload's prefix.
    Staged(ObjectRef),
}

/// An uploaded object: its name is the upload's prefix and `index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its number.
    pub index: u32,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256 digest in hexadecimal.
    pub sha256: String,
}

/// What a runner is and can do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Described {
    /// The runner's version.
    pub runner: String,
    /// Runtimes that work.
    pub runtimes: BTreeSet<String>,
    /// Limits that are enforced, by name.
    pub limits: BTreeSet<String>,
    /// The isolation of a job, by layer.
    pub enforcement: BTreeMap<String, LayerState>,
    /// What else is worth knowing, for people.
    pub facts: BTreeMap<String, String>,
}

impl Described {
    /// The layers that this version knows.
    pub fn enforcement(&self) -> Enforcement {
        layers(&self.enforcement)
    }

    /// The limits that this version knows.
    pub fn limits(&self) -> impl Iterator<Item = LimitKind> {
        let known = LimitKind::ALL.iter().copied();
        known.filter(|kind| self.limits.contains(kind.name()))
    }
}

/// Skipped files that a runner lists, besides those that it could not store.
const MOST_SKIPPED: u64 = 1001;
/// Facts that it tells.
const MOST_FACTS: usize = 64;

fn layers(named: &BTreeMap<String, LayerState>) -> Enforcement {
    let known = named.iter().filter_map(|(name, state)| Some((name.parse().ok()?, state)));
    known.fold(Enforcement::none(), |all, (layer, state)| all.with(layer, state.clone()))
}

/// Names the layers of `enforcement`.
impl From<&Enforcement> for BTreeMap<String, LayerState> {
    fn from(enforcement: &Enforcement) -> Self {
        let named = |(layer, state): (Layer, &LayerState)| (layer.name().to_owned(), state.clone());
        enforcement.iter().map(named).collect()
    }
}

/// An [`Error`] that travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The kind's name; one that the reader does not know is [`ErrorKind::Backend`].
    pub kind: String,
    /// The step at which it went wrong.
    pub operation: String,
    /// What went wrong.
    pub message: String,
    /// The layer's name.
    pub layer: Option<String>,
    /// Whether the program may have had effects.
    pub may_have_run: bool,
    /// Whether trying again may help.
    pub retryable: bool,
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Self {
        Self {
            kind: error.kind().name().to_owned(),
            operation: error.operation().to_owned(),
            message: error.message().to_owned(),
            layer: error.layer().map(|layer| layer.name().to_owned()),
            may_have_run: error.may_have_run(),
            retryable: error.is_retryable(),
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        let kind = ErrorKind::from_name(&failed.kind).unwrap_or(ErrorKind::Backend);
        let mut error = Self::new(kind, failed.operation, failed.message);
        if let Some(layer) = failed.layer.and_then(|name| name.parse().ok()) {
            error = error.with_layer(layer);
        }
        if failed.may_have_run {
            error = error.with_may_have_run();
        }
        error.with_retryable(failed.retryable)
    }
}

/// How a program ended, as the runner tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of Outcome")]
pub struct Finished {
    pub termination: End,
    pub stdout: Stream,
    pub stderr: Stream,
    pub artifacts: Vec<File>,
    pub skipped: Vec<Skipped>,
    pub limits_hit: BTreeSet<String>,
    pub displays: Vec<Shown>,
    pub usage: Used,
    pub timing: Spent,
    pub start: Start,
    pub enforcement: BTreeMap<String, LayerState>,
    pub facts: BTreeMap<String, String>,
}

/// [`Output`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of Output")]
pub struct Stream {
    #[serde(with = "base64")]
    pub head: Bytes,
    #[serde(with = "base64")]
    pub tail: Bytes,
    pub total: u64,
}

/// An artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its path in the workspace.
    pub path: String,
    /// Where its bytes are.
    pub content: FileContent,
}

/// Where an artifact's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileContent {
    /// In the answer.
    Inline(#[serde(with = "base64")] Bytes),
    /// Uploaded.
    Object(ObjectRef),
}

/// [`Display`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of Display")]
pub struct Shown {
    pub media_type: String,
    #[serde(with = "base64")]
    pub data: Bytes,
}

/// [`Usage`](crate::Usage).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of Usage")]
pub struct Used {
    #[serde(with = "micros")]
    pub wall_us: Duration,
    #[serde(with = "micros")]
    pub cpu_us: Duration,
    pub peak_memory: Option<u64>,
    pub processes: Option<u64>,
}

/// [`Timing`](crate::Timing), as far as the runner can see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of Timing")]
pub struct Spent {
    #[serde(with = "micros")]
    pub startup_us: Duration,
    #[serde(with = "micros")]
    pub run_us: Duration,
    #[serde(with = "micros")]
    pub collect_us: Duration,
}

impl Finished {
    /// Describes an outcome; `artifacts` says where the bytes of each artifact are.
    pub fn new(outcome: &Outcome, artifacts: Vec<File>) -> Self {
        let stream = |output: &Output| Stream {
            head: output.head.clone(),
            tail: output.tail.clone(),
            total: output.total,
        };
        let shown = |display: &Display| Shown {
            media_type: display.media_type.clone(),
            data: display.data.clone(),
        };
        Self {
            termination: End::from(&outcome.termination),
            stdout: stream(&outcome.stdout),
            stderr: stream(&outcome.stderr),
            artifacts,
            skipped: outcome.skipped.clone(),
            limits_hit: outcome.limits_hit.iter().map(|kind| kind.name().to_owned()).collect(),
            displays: outcome.displays.iter().map(shown).collect(),
            usage: Used {
                wall_us: outcome.usage.wall,
                cpu_us: outcome.usage.cpu,
                peak_memory: outcome.usage.peak_memory.map(|size| size.as_u64()),
                processes: outcome.usage.processes,
            },
            timing: Spent {
                startup_us: outcome.timing.startup,
                run_us: outcome.timing.run,
                collect_us: outcome.timing.collect,
            },
            start: outcome.start,
            enforcement: (&outcome.enforcement).into(),
            facts: outcome.facts.clone(),
        }
    }

    /// The outcome, as far as an answer may claim it for `job`. `object` makes a handle to an
    /// uploaded object.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Untrusted`] when no runner would have answered this to that job: a file at a
    /// path outside the workspace or twice, more or larger files or output than the job may
    /// leave, an end that its limits do not allow, a layer that was required and is not in force.
    pub fn into_outcome(
        self,
        job: &JobSpec,
        required: impl IntoIterator<Item = Layer>,
        object: impl Fn(&ObjectRef) -> Result<Arc<dyn ArtifactContent>>,
    ) -> Result<Outcome> {
        let untrusted =
            |why: String| Error::new(ErrorKind::Untrusted, "read answer", why).with_may_have_run();
        let enforcement = layers(&self.enforcement);
        enforcement
            .require(required)
            .map_err(|error| untrusted(format!("the runner was asked for more: {error}")))?;
        let termination = self.termination.check(job).map_err(untrusted)?;
        let mut outcome = Outcome::new(termination, enforcement);
        let cap = job.limits.output.as_u64();
        for (name, from, to) in [
            ("stdout", self.stdout, &mut outcome.stdout),
            ("stderr", self.stderr, &mut outcome.stderr),
        ] {
            let kept = (from.head.len() + from.tail.len()) as u64;
            if kept > cap || from.total < kept {
                return Err(untrusted(format!("{name} holds {kept} of {} bytes", from.total)));
            }
            *to = Output { head: from.head, tail: from.tail, total: from.total };
        }
        if self.artifacts.len() as u64 > u64::from(job.limits.artifact_files) {
            return Err(untrusted(format!("{} artifacts", self.artifacts.len())));
        }
        let mut room = job.limits.artifacts.as_u64();
        let mut paths = BTreeSet::new();
        for File { path, content } in self.artifacts {
            let path = RelPath::new(path).map_err(|error| untrusted(error.to_string()))?;
            if !paths.insert(path.clone()) {
                return Err(untrusted(format!("{path} is listed twice")));
            }
            let artifact = match content {
                FileContent::Inline(bytes) => Artifact::from_bytes(path, bytes),
                FileContent::Object(at) => {
                    let digest = at.digest().ok_or_else(|| untrusted("a digest".into()))?;
                    Artifact::new(path, at.size, digest, object(&at)?)
                }
            };
            room = room
                .checked_sub(artifact.size())
                .ok_or_else(|| untrusted("more artifacts than the job may leave".into()))?;
            outcome.artifacts.push(artifact);
        }
        let shown: u64 = self.displays.iter().map(|shown| shown.data.len() as u64).sum();
        let files = u64::from(job.limits.artifact_files);
        if self.skipped.len() as u64 > MOST_SKIPPED + files
            || self.facts.len() > MOST_FACTS
            || shown > room
        {
            return Err(untrusted("more than a runner tells".into()));
        }
        outcome.skipped = self.skipped;
        let hit = LimitKind::ALL.iter().copied();
        outcome.limits_hit = hit.filter(|kind| self.limits_hit.contains(kind.name())).collect();
        let display = |shown: Shown| Display { media_type: shown.media_type, data: shown.data };
        outcome.displays = self.displays.into_iter().map(display).collect();
        outcome.usage.wall = self.usage.wall_us;
        outcome.usage.cpu = self.usage.cpu_us;
        outcome.usage.peak_memory = self.usage.peak_memory.map(Size::b);
        outcome.usage.processes = self.usage.processes;
        outcome.timing.startup = self.timing.startup_us;
        outcome.timing.run = self.timing.run_us;
        outcome.timing.collect = self.timing.collect_us;
        outcome.start = self.start;
        outcome.facts = self.facts;
        Ok(outcome)
    }
}

impl ObjectRef {
    /// The digest, when it is one.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut digest = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut digest).ok()?;
        Some(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Time;
    use crate::{DiskEvidence, Job, MemoryEvidence, Termination, TimeEvidence};

    fn finished() -> Finished {
        let enforcement = Enforcement::none().with(Layer::Rlimits, LayerState::Enforced);
        let mut outcome = Outcome::new(Termination::Exited(0), enforcement);
        outcome.stdout = Output { head: "hi\n".into(), tail: "".into(), total: 3 };
        Finished::new(&outcome, Vec::new())
    }

    fn read(finished: Finished, job: &Job) -> Result<Outcome> {
        finished.into_outcome(job, [Layer::Rlimits], |_| Ok(Arc::new(Bytes::new())))
    }

    #[test]
    fn an_honest_answer_survives_the_journey() {
        let job = Job::bash("true").build().expect("job");
        for end in [
            Termination::Exited(137),
            Termination::Signaled(9),
            Termination::WallTime(TimeEvidence {
                limit: job.limits.wall,
                used: job.limits.wall + Duration::from_micros(7),
            }),
            Termination::Memory(MemoryEvidence {
                limit: job.limits.memory,
                peak: Some(Size::mib(600)),
                oom_kills: 1,
            }),
            Termination::Disk(DiskEvidence {
                limit_kind: LimitKind::Workspace,
                limit: job.limits.workspace(),
                signal: 9,
            }),
            Termination::Cancelled,
        ] {
            let mut answer = finished();
            answer.termination = End::from(&end);
            let json = serde_json::to_string(&answer).expect("json");
            let back: Finished = serde_json::from_str(&json).expect("parse");
            let outcome = read(back, &job).expect("outcome");
            assert_eq!(outcome.termination, end);
            assert_eq!(outcome.stdout.text(), "hi\n");
        }
    }

    #[test]
    fn an_answer_that_no_runner_gives_is_refused() {
        let job = Job::bash("true").limit(|l| l.artifact_files = 2).build().expect("job");
        let file = |path: &str, content| File { path: path.into(), content };
        let inline = |bytes: &'static [u8]| FileContent::Inline(Bytes::from_static(bytes));
        let object = |size, sha256: &str| {
            FileContent::Object(ObjectRef { index: 0, size, sha256: sha256.into() })
        };
        let second = Duration::from_secs(1);
        type Forge = Box<dyn Fn(&mut Finished)>;
        let end = |end: End| -> Forge { Box::new(move |f| f.termination = end.clone()) };
        let files = |files: Vec<File>| -> Forge { Box::new(move |f| f.artifacts = files.clone()) };
        let forgeries: Vec<Forge> = vec![
            files(vec![file("../x", inline(b""))]),
            files(vec![file("/etc/passwd", inline(b""))]),
            files(vec![file("a", inline(b"")), file("a", inline(b""))]),
            files(["a", "b", "c"].map(|path| file(path, inline(b""))).to_vec()),
            files(vec![file("a", object(1 << 40, &"0".repeat(64)))]),
            files(vec![file("a", object(1, "no digest"))]),
            end(End::Exited { code: 256 }),
            end(End::Signaled { signal: 0 }),
            end(End::WallTime(Time { limit_us: second * 99, used_us: second * 99 })),
            end(End::WallTime(Time { limit_us: second, used_us: Duration::ZERO })),
            end(End::Output { stream: "stdout".into(), limit: 1 << 20, total: 1 << 21 }),
            end(End::Disk { limit_kind: "wall".into(), limit: 1, signal: 9 }),
            Box::new(|f| f.enforcement.clear()),
            Box::new(|f| f.stdout.total = 1),
            Box::new(|f| f.stdout.head = vec![0; 2 << 20].into()),
        ];
        for (number, forge) in forgeries.iter().enumerate() {
            let mut answer = finished();
            forge(&mut answer);
            let error = read(answer, &job).expect_err(&format!("forgery {number}"));
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
            assert!(error.may_have_run());
        }
    }
}
