//! Writes plans: the counterpart of the helper's `plan.rs`.

use std::os::fd::OwnedFd;

use crate::memfd::{self, Kind};
use crate::protocol::{PLAN_MAGIC, RootOp};

/// One step of building the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootStep {
    pub(crate) op: RootOp,
    pub(crate) path: String,
    pub(crate) data: String,
}

/// A cgroup that the helper creates.
#[derive(Clone, Debug)]
pub(crate) struct CgroupPlan {
    pub(crate) version: u64,
    pub(crate) parent_fd: u64,
    pub(crate) memory: bool,
    pub(crate) cpu: bool,
    pub(crate) name: String,
    /// File, value, and whether the file may be absent.
    pub(crate) settings: Vec<(String, String, bool)>,
}

/// Everything that the helper needs to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) flags: u64,
    pub(crate) job_ids: (u32, u32),
    pub(crate) helper_ids: (u32, u32),
    pub(crate) wall_ns: u64,
    pub(crate) cpu_us: u64,
    pub(crate) memory_limit: u64,
    pub(crate) cpus: u64,
    pub(crate) page_size: u64,
    pub(crate) watch_ns: u64,
    pub(crate) hostname: String,
    /// With [`flag::OWN_USER`](crate::protocol::flag::OWN_USER): a folder whose file system only
    /// the job fills, and how many bytes it may.
    pub(crate) scratch: String,
    pub(crate) scratch_limit: u64,
    pub(crate) cwd: String,
    pub(crate) root: Vec<RootStep>,
    pub(crate) cgroups: Vec<CgroupPlan>,
    pub(crate) rlimits: Vec<(u64, u64)>,
    pub(crate) landlock: [u64; 3],
    pub(crate) landlock_rules: Vec<(u64, String)>,
    pub(crate) seccomp: Vec<u8>,
    pub(crate) candidates: Vec<String>,
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
}

impl Plan {
    /// Writes the plan into a sealed memfd, which the helper maps.
    pub(crate) fn seal(&self) -> nix::Result<OwnedFd> {
        memfd::sealed(Kind::Data, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        for word in [
            PLAN_MAGIC,
            self.flags,
            u64::from(self.job_ids.0),
            u64::from(self.job_ids.1),
            u64::from(self.helper_ids.0),
            u64::from(self.helper_ids.1),
            self.wall_ns,
            self.cpu_us,
            self.memory_limit,
            self.cpus,
            self.page_size,
            self.watch_ns,
        ] {
            w.word(word);
        }
        w.bytes(self.hostname.as_bytes());
        w.bytes(self.scratch.as_bytes());
        w.word(self.scratch_limit);
        w.bytes(self.cwd.as_bytes());
        w.list(&self.root, |w, step| {
            w.word(step.op as u64);
            w.bytes(step.path.as_bytes());
            w.bytes(step.data.as_bytes());
        });
        w.list(&self.cgroups, |w, group| {
            w.word(group.version);
            w.word(group.parent_fd);
            w.word(u64::from(group.memory));
            w.word(u64::from(group.cpu));
            w.bytes(group.name.as_bytes());
            w.list(&group.settings, |w, (file, value, optional)| {
                w.bytes(file.as_bytes());
                w.bytes(value.as_bytes());
                w.word(u64::from(*optional));
            });
        });
        w.list(&self.rlimits, |w, (resource, value)| {
            w.word(*resource);
            w.word(*value);
        });
        self.landlock.iter().for_each(|word| w.word(*word));
        w.list(&self.landlock_rules, |w, (access, path)| {
            w.word(*access);
            w.bytes(path.as_bytes());
        });
        w.bytes(&self.seccomp);
        for strings in [&self.candidates, &self.argv, &self.env] {
            w.list(strings, |w, text| w.bytes(text.as_bytes()));
        }
        w.0
    }
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, word: u64) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }

    /// Length, bytes, a NUL, and padding to the next word.
    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        let padding = 8 - bytes.len() % 8;
        self.0.extend(std::iter::repeat_n(0, padding));
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.word(items.len() as u64);
        items.iter().for_each(|item| write(self, item));
    }
}
