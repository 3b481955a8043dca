//! How a program ended, as it travels.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::encoding::micros;
use crate::{
    DiskEvidence, JobSpec, LimitKind, MemoryEvidence, OutputEvidence, Size, Termination,
    TimeEvidence,
};

/// [`Termination`] with its evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields of Termination")]
pub enum End {
    Exited { code: i32 },
    Signaled { signal: i32 },
    WallTime(Time),
    CpuTime(Time),
    Memory { limit: u64, peak: u64, oom_kills: u64 },
    Output { stream: String, limit: u64, total: u64 },
    Disk { limit_kind: String, limit: u64, signal: i32 },
    Cancelled,
}

/// [`TimeEvidence`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields of TimeEvidence")]
pub struct Time {
    #[serde(with = "micros")]
    pub limit_us: Duration,
    #[serde(with = "micros")]
    pub used_us: Duration,
}

impl From<&Termination> for End {
    fn from(termination: &Termination) -> Self {
        let time = |time: &TimeEvidence| Time { limit_us: time.limit, used_us: time.used };
        match termination {
            Termination::Exited(code) => Self::Exited { code: *code },
            Termination::Signaled(signal) => Self::Signaled { signal: *signal },
            Termination::WallTime(evidence) => Self::WallTime(time(evidence)),
            Termination::CpuTime(evidence) => Self::CpuTime(time(evidence)),
            Termination::Memory(evidence) => Self::Memory {
                limit: evidence.limit.as_u64(),
                // 0 where nobody counted, as readers of an earlier build expect a number.
                peak: evidence.peak.map_or(0, |peak| peak.as_u64()),
                oom_kills: evidence.oom_kills,
            },
            Termination::Output(evidence) => Self::Output {
                stream: evidence.stream.to_owned(),
                limit: evidence.limit.as_u64(),
                total: evidence.total,
            },
            Termination::Disk(evidence) => Self::Disk {
                limit_kind: evidence.limit_kind.name().to_owned(),
                limit: evidence.limit.as_u64(),
                signal: evidence.signal,
            },
            Termination::Cancelled => Self::Cancelled,
        }
    }
}

impl End {
    /// The termination, when it can be that of `job`.
    pub(super) fn check(self, job: &JobSpec) -> Result<Termination, String> {
        let limits = &job.limits;
        let time = |time: Time, most: Duration| {
            // A runner may have less time left than the job may use, never more.
            if time.limit_us > most || time.used_us < time.limit_us {
                return Err(format!("a time limit of {:?}, reached by {:?}", most, time.used_us));
            }
            Ok(TimeEvidence { limit: time.limit_us, used: time.used_us })
        };
        Ok(match self {
            Self::Exited { code: code @ 0..=255 } => Termination::Exited(code),
            Self::Signaled { signal: signal @ 1..=64 } => Termination::Signaled(signal),
            Self::WallTime(evidence) => Termination::WallTime(time(evidence, limits.wall)?),
            Self::CpuTime(evidence) => {
                // How many processors the runner has is its own to know.
                Termination::CpuTime(time(evidence, limits.cpu.unwrap_or(Duration::MAX))?)
            }
            Self::Memory { limit, peak, oom_kills } if limit <= limits.memory.as_u64() => {
                let (limit, peak) = (Size::b(limit), (peak > 0).then_some(Size::b(peak)));
                Termination::Memory(MemoryEvidence { limit, peak, oom_kills })
            }
            Self::Output { stream, limit, total }
                if job.stop_at_output_limit && limit == limits.output.as_u64() && total > limit =>
            {
                let stream = match stream.as_str() {
                    "stdout" => "stdout",
                    "stderr" => "stderr",
                    other => return Err(format!("a stream {other:?}")),
                };
                Termination::Output(OutputEvidence { stream, limit: Size::b(limit), total })
            }
            Self::Disk { limit_kind, limit, signal: signal @ 1..=64 } => {
                let limit_kind = match limit_kind.as_str() {
                    "workspace" if limit == limits.workspace().as_u64() => LimitKind::Workspace,
                    "file_size" if limit == limits.file_size().as_u64() => LimitKind::FileSize,
                    other => return Err(format!("a disk limit {other:?} of {limit}")),
                };
                Termination::Disk(DiskEvidence { limit_kind, limit: Size::b(limit), signal })
            }
            Self::Cancelled => Termination::Cancelled,
            other => return Err(format!("an end that this job cannot have: {other:?}")),
        })
    }
}
