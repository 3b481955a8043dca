//! The job's cgroups: created before it, joined by it, read and removed after it.

use core::ffi::CStr;

use crate::plan::{Cgroup, Plan};
use crate::protocol::{Stage, flag};
use crate::sys::{self, EBUSY, EINVAL, ENODEV, ENOENT, Fd, O_CLOEXEC, O_DIRECTORY, O_RDONLY, O_WRONLY};
use crate::text::{Text, parse, value_of};
use crate::{At, Failure};

/// At most one hierarchy each for memory, processes, CPU time, CPU shares and disks.
const MAX_CGROUPS: usize = 5;

#[derive(Clone, Copy)]
struct Member {
    version: u64,
    memory: bool,
    cpu: bool,
    parent: Fd,
    dir: Fd,
    name: &'static CStr,
    /// Opened here, with the caller's rights, for the job to write itself into; -1 where it is forked
    /// into the group.
    join: Fd,
    /// The file that counts out-of-memory kills; -1 where the hierarchy has no memory.
    oom: Fd,
    /// Polls ready around an out-of-memory event: an eventfd on v1, the file itself on v2.
    notify: Fd,
}

/// The cgroups of one job.
pub struct Cgroups {
    members: [Option<Member>; MAX_CGROUPS],
}

/// What the cgroups counted.
#[derive(Default)]
pub struct Counters {
    pub memory_peak: u64,
    pub oom_kills: u64,
    pub forks_refused: u64,
    pub processes_peak: u64,
}

impl Cgroups {
    pub const NONE: Self = Self { members: [None; MAX_CGROUPS] };

    /// Creates the plan's cgroups and sets their limits.
    pub fn create(plan: &Plan) -> Result<Self, Failure> {
        let mut groups = Self::NONE;
        for (index, group) in plan.cgroups.clone().enumerate() {
            let made = match groups.members.get_mut(index) {
                Some(member) => create_one(plan, &group, index).map(|made| *member = Some(made)),
                None => Err(EINVAL).at_index(Stage::CgroupCreate, index),
            };
            if let Err(failure) = made {
                groups.remove();
                return Err(failure);
            }
        }
        Ok(groups)
    }

    /// The v2 directory that the job is forked into.
    pub fn fork_into(&self) -> Option<Fd> {
        self.iter().find(|m| m.join == -1).map(|m| m.dir)
    }

    /// Moves the calling single-threaded process into the groups that it was not forked into.
    /// Writing 0 to `tasks` moves only the caller and so takes no system-wide lock, unlike
    /// `cgroup.procs`: 0.04 ms, not 19.
    pub fn join(&self) -> Result<(), Failure> {
        for (index, member) in self.iter().enumerate().filter(|(_, m)| m.join != -1) {
            sys::write(member.join, b"0").at_index(Stage::CgroupJoin, index)?;
        }
        Ok(())
    }

    /// A descriptor that polls ready around an out-of-memory event, and how it does.
    pub fn oom_notifier(&self) -> Option<(Fd, i16)> {
        let ready = |m: &Member| if m.version == 1 { sys::POLLIN } else { sys::POLLPRI };
        self.iter().find(|m| m.memory).map(|m| (m.notify, ready(m)))
    }

    /// Out-of-memory kills so far.
    pub fn oom_kills(&self) -> u64 {
        let kills = |member: &Member| {
            // On v2, a kill of the whole group counts its first victim twice (oom_kill_memcg_member).
            let twice = read_value(member.oom, b"oom_group_kill ");
            read_value(member.oom, b"oom_kill ").saturating_sub(twice)
        };
        self.iter().filter(|m| m.memory).map(kills).sum()
    }

    /// Whether some cgroup limits memory.
    pub fn limit_memory(&self) -> bool {
        self.iter().any(|m| m.memory)
    }

    /// CPU time of every process that was ever in the group, where one counts it.
    pub fn cpu_us(&self) -> Option<u64> {
        let member = self.iter().find(|member| member.cpu)?;
        Some(match member.version {
            1 => read_number(member.dir, c"cpuacct.usage") / 1000,
            _ => read_key(member.dir, c"cpu.stat", b"usage_usec "),
        })
    }

    /// Reads the counters; the groups must still exist.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters { oom_kills: self.oom_kills(), ..Counters::default() };
        for member in self.iter() {
            let number = |file| read_number(member.dir, file);
            if member.memory && member.version == 1 {
                counters.memory_peak = number(c"memory.max_usage_in_bytes");
            } else if member.memory {
                counters.memory_peak = number(c"memory.peak");
            }
            // Absent, and so 0, in the hierarchies of other controllers.
            counters.forks_refused += read_key(member.dir, c"pids.events", b"max ");
            counters.processes_peak += number(c"pids.peak");
        }
        counters
    }

    /// Whether the kernel keeps much that is charged to the job and names what nobody asks for: folder
    /// entries, also of files that are not there, and inodes of the host's file systems.
    pub fn keep_caches(&self) -> bool {
        const MUCH: u64 = 8 << 20;
        self.iter().any(|m| m.memory && m.cached() > MUCH)
    }

    /// Has the kernel give back what it keeps, or else it stays, charged to the application.
    pub fn give_back_caches(&self) {
        for member in self.iter().filter(|m| m.memory) {
            let (file, amount): (_, &[u8]) = match member.version {
                1 => (c"memory.force_empty", b"0"),
                _ => (c"memory.reclaim", b"1G"),
            };
            for _ in 0..8 {
                if let Ok(fd) = sys::openat(member.dir, file, O_WRONLY | O_CLOEXEC, 0) {
                    let _ = sys::write(fd, amount);
                    sys::close(fd);
                }
                if !self.keep_caches() {
                    break;
                }
            }
        }
    }

    /// Removes the groups; false when one could not be removed.
    pub fn remove(&self) -> bool {
        let mut removed = true;
        for member in self.iter() {
            // The last process is reaped, but its charge may be released a moment later.
            let mut result = sys::rmdirat(member.parent, member.name);
            for _ in 0..50 {
                if result != Err(EBUSY) {
                    break;
                }
                let _ = sys::poll(&mut [], Some(1_000_000));
                result = sys::rmdirat(member.parent, member.name);
            }
            removed &= result.is_ok() || result == Err(ENOENT);
        }
        removed
    }

    fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().flatten()
    }
}

impl Member {
    /// Bytes of kernel memory that can be given back, with some that cannot.
    fn cached(&self) -> u64 {
        match self.version {
            1 => read_number(self.dir, c"memory.kmem.usage_in_bytes"),
            _ => read_large(self.dir, c"memory.stat", b"slab_reclaimable "),
        }
    }
}

fn create_one(plan: &Plan, group: &Cgroup, index: usize) -> Result<Member, Failure> {
    let parent = group.parent;
    // Whoever sweeps locks the parent exclusively: nobody takes this group for one that was left,
    // before it is locked itself. The helper's end releases that lock, wherever its pid is seen.
    let own = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    let creating = sys::openat(parent, c".", own, 0).at_index(Stage::CgroupCreate, index)?;
    let _ = sys::lock(creating, false);
    let made = sys::mkdirat(parent, group.name, 0o755).at_index(Stage::CgroupCreate, index);
    let dir = made.and_then(|_| {
        let dir = sys::openat(parent, group.name, own, 0).at_index(Stage::CgroupSet, index)?;
        let _ = sys::lock(dir, false);
        Ok(dir)
    });
    sys::close(creating);
    let dir = dir?;
    let fill = || {
        for setting in group.settings.clone() {
            match sys::openat(dir, setting.file, O_WRONLY | O_CLOEXEC, 0) {
                Ok(file) => {
                    let written = sys::write(file, setting.value);
                    sys::close(file);
                    // A disk that this kernel cannot bound is read at the lowest priority.
                    if !(setting.optional && written == Err(ENODEV)) {
                        written?;
                    }
                }
                Err(ENOENT) if setting.optional => {}
                Err(errno) => return Err(errno),
            }
        }
        let join = match group.version {
            1 => sys::openat(dir, c"tasks", O_WRONLY | O_CLOEXEC, 0)?,
            // Forking into a group asks for rights that the helper gives up with its ids.
            _ if plan.has(flag::TAKE_IDS) => {
                sys::openat(dir, c"cgroup.procs", O_WRONLY | O_CLOEXEC, 0)?
            }
            _ => -1,
        };
        let (oom, notify) = match (group.memory, group.version) {
            (false, _) => (-1, -1),
            (true, 1) => watch_oom_v1(dir)?,
            (true, _) => {
                let events = sys::openat(dir, c"memory.events", O_RDONLY | O_CLOEXEC, 0)?;
                // Polls ready until it was read once.
                let _ = read_value(events, b"oom_kill ");
                (events, events)
            }
        };
        Ok((join, oom, notify))
    };
    match fill() {
        Ok((join, oom, notify)) => Ok(Member {
            version: group.version,
            memory: group.memory,
            cpu: group.cpu,
            parent,
            dir,
            name: group.name,
            join,
            oom,
            notify,
        }),
        Err(errno) => {
            let _ = sys::rmdirat(parent, group.name);
            Err(Failure { stage: Stage::CgroupSet, index: index as u64, errno })
        }
    }
}

/// Opens the file that counts kills and ties an eventfd to it (cgroup v1 notification API).
fn watch_oom_v1(dir: Fd) -> sys::Result<(Fd, Fd)> {
    let oom = sys::openat(dir, c"memory.oom_control", O_RDONLY | O_CLOEXEC, 0)?;
    let notify = sys::eventfd()?;
    let control = sys::openat(dir, c"cgroup.event_control", O_WRONLY | O_CLOEXEC, 0)?;
    let line = Text::<32>::new().number(notify as u64).push(b" ").number(oom as u64);
    let written = sys::write(control, line.bytes());
    sys::close(control);
    written.map(|_| (oom, notify))
}

fn read_value(file: Fd, key: &[u8]) -> u64 {
    let mut buffer = [0u8; 512];
    sys::pread(file, &mut buffer).ok().and_then(|n| value_of(&buffer[..n], key)).unwrap_or(0)
}

fn read_key(dir: Fd, name: &CStr, key: &[u8]) -> u64 {
    with_file(dir, name, |text| value_of(text, key))
}

fn read_number(dir: Fd, name: &CStr) -> u64 {
    with_file(dir, name, parse)
}

/// As [`read_key`], in a file of up to 4 KiB.
fn read_large(dir: Fd, name: &CStr, key: &[u8]) -> u64 {
    let Ok(fd) = sys::openat(dir, name, O_RDONLY | O_CLOEXEC, 0) else { return 0 };
    let mut buffer = [0u8; 4096];
    let found = sys::pread(fd, &mut buffer).ok().and_then(|n| value_of(&buffer[..n], key));
    sys::close(fd);
    found.unwrap_or(0)
}

fn with_file(dir: Fd, name: &CStr, find: impl Fn(&[u8]) -> Option<u64>) -> u64 {
    let Ok(fd) = sys::openat(dir, name, O_RDONLY | O_CLOEXEC, 0) else { return 0 };
    let mut buffer = [0u8; 512];
    let found = sys::pread(fd, &mut buffer).ok().and_then(|n| find(&buffer[..n]));
    sys::close(fd);
    found.unwrap_or(0)
}
