//! From the helper's report to the outcome's termination.

use std::collections::BTreeSet;
use std::time::Duration;

use sandbox_core::{
    DiskEvidence, LimitKind, Limits, MemoryEvidence, OutputEvidence, Size, Termination,
    TimeEvidence,
};

use crate::protocol::{MESSAGE_WORDS, cause, report};

/// What the application itself knows about the end.
#[derive(Debug)]
pub(crate) struct Known {
    /// The stream that passed its cap in a job that asked to be ended by that.
    pub(crate) output: Option<OutputEvidence>,
    /// Some file of the workspace is exactly as large as a file may be.
    pub(crate) file_at_size_limit: bool,
    pub(crate) output_truncated: bool,
    pub(crate) over_artifact_caps: bool,
    /// Those of this machine.
    pub(crate) processors: u64,
}

/// The helper's report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report(pub(crate) [u64; MESSAGE_WORDS]);

const CLD_EXITED: u64 = 1;
const SIGKILL: i32 = 9;
const SIGBUS: i32 = 7;
const SIGXCPU: i32 = 24;
const SIGXFSZ: i32 = 25;

impl Report {
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_micros(self.0[report::CPU_US])
    }

    pub(crate) fn run(&self) -> Duration {
        let ns = self.0[report::ENDED_NS].saturating_sub(self.0[report::STARTED_NS]);
        Duration::from_nanos(ns)
    }

    /// From the program's end until nothing was left alive.
    pub(crate) fn teardown(&self) -> Duration {
        let ns = self.0[report::GONE_NS].saturating_sub(self.0[report::ENDED_NS]);
        Duration::from_nanos(ns)
    }

    /// Whether the job was ended from outside of it, by nobody who may.
    pub(crate) fn init_died(&self) -> bool {
        self.0[report::CAUSE] == cause::INIT_DIED
    }

    pub(crate) fn cgroup_left(&self) -> bool {
        self.0[report::CGROUP_LEFT] != 0
    }

    /// The same job, whose inputs were written, and so paid for, by the application.
    pub(crate) fn with_inputs(mut self, bytes: u64) -> Self {
        let peak = &mut self.0[report::MEMORY_PEAK];
        if *peak > 0 {
            *peak = peak.saturating_add(bytes);
        }
        self
    }

    /// `None` where nobody counted: cgroup v2 has `memory.peak` since Linux 5.19.
    pub(crate) fn memory_peak(&self) -> Option<Size> {
        Some(self.0[report::MEMORY_PEAK]).filter(|bytes| *bytes > 0).map(Size::b)
    }

    pub(crate) fn processes_peak(&self) -> Option<u64> {
        Some(self.0[report::PROCESSES_PEAK]).filter(|count| *count > 0)
    }

    /// How and why the job ended.
    pub(crate) fn termination(&self, limits: &Limits, known: &Known) -> Termination {
        let memory = || MemoryEvidence {
            limit: limits.memory,
            peak: self.memory_peak(),
            oom_kills: self.0[report::OOM_KILLS],
        };
        let cpu = || TimeEvidence { limit: limits.cpu(known.processors), used: self.cpu() };
        match self.0[report::CAUSE] {
            cause::MEMORY => Termination::Memory(memory()),
            cause::WALL => {
                Termination::WallTime(TimeEvidence { limit: limits.wall, used: self.run() })
            }
            cause::CPU => Termination::CpuTime(cpu()),
            cause::DISK => Termination::Disk(DiskEvidence {
                limit_kind: LimitKind::Workspace,
                limit: limits.workspace(),
                signal: SIGKILL,
            }),
            cause::KILLED => match &known.output {
                Some(evidence) => Termination::Output(evidence.clone()),
                None => Termination::Cancelled,
            },
            _ => self.own_end(limits, known, cpu()),
        }
    }

    /// The main process ended without the supervisor's doing.
    fn own_end(&self, limits: &Limits, known: &Known, cpu: TimeEvidence) -> Termination {
        let status = i32::try_from(self.0[report::SI_STATUS]).unwrap_or(-1);
        if self.0[report::SI_CODE] == CLD_EXITED {
            return Termination::Exited(status);
        }
        let disk = |limit_kind, limit| {
            Termination::Disk(DiskEvidence { limit_kind, limit, signal: status })
        };
        // A signal that a limit sends is that limit's verdict only when the limit was reached:
        // a program can send itself any signal.
        match status {
            SIGXFSZ if known.file_at_size_limit => disk(LimitKind::FileSize, limits.file_size()),
            SIGBUS if self.0[report::NO_SPACE] != 0 => {
                disk(LimitKind::Workspace, limits.workspace())
            }
            SIGXCPU | SIGKILL if cpu.used >= cpu.limit => Termination::CpuTime(cpu),
            signal => Termination::Signaled(signal),
        }
    }

    /// Limits that the job ran into without being ended by them.
    pub(crate) fn limits_hit(&self, ended: &Termination, known: &Known) -> BTreeSet<LimitKind> {
        let by_disk = |kind| matches!(ended, Termination::Disk(e) if e.limit_kind == kind);
        [
            (self.0[report::FORKS_REFUSED] > 0, LimitKind::Processes),
            (self.0[report::NO_SPACE] != 0 && !by_disk(LimitKind::Workspace), LimitKind::Workspace),
            (self.0[report::NO_INODES] != 0, LimitKind::Files),
            (known.file_at_size_limit && !by_disk(LimitKind::FileSize), LimitKind::FileSize),
            (known.output_truncated && known.output.is_none(), LimitKind::Output),
            (known.over_artifact_caps, LimitKind::Artifacts),
        ]
        .into_iter()
        .filter_map(|(hit, kind)| hit.then_some(kind))
        .collect()
    }
}
