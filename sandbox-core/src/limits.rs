//! What a job may use.

use std::time::Duration;

use bytesize::ByteSize;

use crate::{Error, Result};

/// A number of bytes; [`ByteSize::mib`] makes one and text such as `"64MiB"` parses into one.
pub type Size = ByteSize;

/// What a job may use. Every field is a limit on the whole tree of processes unless its
/// description says otherwise. A limit that is `None` follows others, as the method of its name says.
///
/// ```
/// use sandbox_core::{Limits, Size};
///
/// let mut limits = Limits::default();
/// limits.memory = Size::gib(2);
/// assert_eq!(limits.workspace(), Size::gib(1));
/// assert_eq!(limits.file_size(), Size::gib(1));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Time from the program's start to its end. Default 30 s; 1 ms to 24 h.
    pub wall: Duration,
    /// Processor time, summed over all processes; see [`Limits::cpu`](Limits::cpu()). Default
    /// `None`; 1 ms to 24 h.
    pub cpu: Option<Duration>,
    /// Memory, including files in the workspace and `/tmp` where a backend keeps them in memory.
    /// Default 512 MiB; 4 MiB to 1 TiB.
    pub memory: Size,
    /// Processes and threads alive at once. Default 64; 1 to 32,768.
    pub processes: u32,
    /// Open files of one process. Default 256; 8 to 1,048,576.
    pub open_files: u32,
    /// Size of one file; see [`Limits::file_size`](Limits::file_size()). Default `None`; 1 byte to
    /// 1 TiB.
    pub file_size: Option<Size>,
    /// Bytes in the workspace; see [`Limits::workspace`](Limits::workspace()). Default `None`;
    /// 64 KiB to 1 TiB.
    pub workspace: Option<Size>,
    /// Files and folders in the workspace. Default 10,000; 1 to 10,000,000.
    pub files: u64,
    /// Bytes kept of each output stream, half of them its beginning and half its end. Default
    /// 1 MiB; 0 to 1 GiB.
    pub output: Size,
    /// Bytes of all artifacts together. Default 64 MiB; 0 to 1 TiB.
    pub artifacts: Size,
    /// Number of artifacts. Default 256; 0 to 1,000,000.
    pub artifact_files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(30),
            cpu: None,
            memory: Size::mib(512),
            processes: 64,
            open_files: 256,
            file_size: None,
            workspace: None,
            files: 10_000,
            output: Size::mib(1),
            artifacts: Size::mib(64),
            artifact_files: 256,
        }
    }
}

impl Limits {
    /// Processor time on a machine with so many processors. Where the caller sets none, all of them
    /// for as long as the wall-clock limit lets the job run.
    pub fn cpu(&self, processors: u64) -> Duration {
        let all = u32::try_from(processors.max(1)).unwrap_or(u32::MAX);
        self.cpu.unwrap_or_else(|| self.wall.saturating_mul(all))
    }

    /// Size of one file. Where the caller sets none, the whole workspace.
    pub fn file_size(&self) -> Size {
        self.file_size.unwrap_or_else(|| self.workspace())
    }

    /// Bytes in the workspace. Where the caller sets none, half of the memory, which the files may be
    /// in, and at least 256 MiB.
    pub fn workspace(&self) -> Size {
        self.workspace.unwrap_or_else(|| Size::b(self.memory.as_u64() / 2).max(Size::mib(256)))
    }

    /// Checks every limit against its range.
    pub(crate) fn validate(&self) -> Result<()> {
        let day = Duration::from_secs(24 * 60 * 60);
        let cpu = self.cpu.map(|cpu| ("limits.cpu", cpu));
        for (field, value) in [("limits.wall", self.wall)].into_iter().chain(cpu) {
            if value < Duration::from_millis(1) || value > day {
                let message = format!("{value:?} is out of range; give 1 ms to 24 h");
                return Err(Error::invalid(field, message));
            }
        }
        for (field, value, low, high) in [
            ("limits.memory", self.memory, Size::mib(4), Size::tib(1)),
            ("limits.file_size", self.file_size(), Size::b(1), Size::tib(1)),
            ("limits.workspace", self.workspace(), Size::kib(64), Size::tib(1)),
            ("limits.output", self.output, Size::b(0), Size::gib(1)),
            ("limits.artifacts", self.artifacts, Size::b(0), Size::tib(1)),
        ] {
            if value < low || value > high {
                let message = format!("{value} is out of range; give {low} to {high}");
                return Err(Error::invalid(field, message));
            }
        }
        for (field, value, low, high) in [
            ("limits.processes", u64::from(self.processes), 1, 32_768),
            ("limits.open_files", u64::from(self.open_files), 8, 1_048_576),
            ("limits.files", self.files, 1, 10_000_000),
            ("limits.artifact_files", u64::from(self.artifact_files), 0, 1_000_000),
        ] {
            if value < low || value > high {
                let message = format!("{value} is out of range; give {low} to {high}");
                return Err(Error::invalid(field, message));
            }
        }
        Ok(())
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// One of the limits, in capabilities and in reports of limits that were hit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        #[non_exhaustive]
        pub enum LimitKind { $($(#[$doc])* #[serde(rename = $name)] $variant,)+ }

        impl LimitKind {
            /// Every limit.
            pub const ALL: &'static [LimitKind] = &[$(LimitKind::$variant,)+];

            /// The limit's name in JSON.
            pub fn name(self) -> &'static str {
                match self { $(LimitKind::$variant => $name,)+ }
            }
        }
    };
}

kinds! {
    /// [`Limits::wall`].
    Wall = "wall",
    /// [`Limits::cpu`].
    Cpu = "cpu",
    /// [`Limits::memory`].
    Memory = "memory",
    /// [`Limits::processes`].
    Processes = "processes",
    /// [`Limits::open_files`].
    OpenFiles = "open_files",
    /// [`Limits::file_size`].
    FileSize = "file_size",
    /// [`Limits::workspace`].
    Workspace = "workspace",
    /// [`Limits::files`].
    Files = "files",
    /// [`Limits::output`].
    Output = "output",
    /// [`Limits::artifacts`] and [`Limits::artifact_files`].
    Artifacts = "artifacts",
}
