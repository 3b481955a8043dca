//! Sums what the job's processes use, from `/proc`.
//!
//! The text read here describes hostile processes: every field is parsed as if it could be
//! anything.

use crate::plan::Plan;
use crate::sys::{self, AT_FDCWD, Fd, O_CLOEXEC, O_RDONLY};
use crate::text::{Text, parse, value_of};
use crate::tree::{Scope, after_name, for_each_number_in, read_of};

/// The kernel reports process times in hundredths of a second on every architecture.
const TICK_US: u64 = 10_000;

/// CPU time of every process and of the children that each has waited for.
pub fn cpu_us(scope: Scope) -> u64 {
    let mut total = 0u64;
    scope.for_each(|pid| {
        let mut buffer = [0u8; 1024];
        let stat = read_of(pid, b"/stat", &mut buffer);
        // utime, stime, cutime and cstime are fields 14 to 17 of the line, the state is field 3.
        let Some(fields) = after_name(stat) else { return };
        let ticks = fields.skip(11).take(4).filter_map(parse).fold(0, u64::saturating_add);
        total = total.saturating_add(ticks.saturating_mul(TICK_US));
    });
    total
}

/// What a socket may hold at most, itself included. Where a cgroup counts memory, what is left are
/// connections that nobody has accepted, as large as `tcp_rmem` of the job's network lets them be, and
/// errors of datagrams that nobody has read, as many as `net.core.rmem_default` lets wait; elsewhere
/// nobody counts the buffers of any.
const UNCHARGED_SOCKET: u64 = 68 * 1024;
const UNCHARGED_ERRORS: u64 = 212 * 1024 - UNCHARGED_SOCKET;
const UNCOUNTED_SOCKET: u64 = 256 * 1024;
/// What an end of a pipe may hold: half of 64 KiB, until the user's pipes have as much as the kernel
/// gives to one user (`pipe-user-pages-soft`); then a page.
const PIPE_END: u64 = 32 * 1024;
const PIPES_OF_A_USER: u64 = 64 << 20;
/// What a mapping costs the kernel, and how many a process may have (`vm.max_map_count`).
const MAPPING: u64 = 256;
const MAPPINGS: u64 = 65_530;

/// The counts of sockets of a network: all of them, and those of IPv6.
#[derive(Clone, Copy)]
pub struct Sockstat(Fd, Option<Fd>);

impl Sockstat {
    /// Opens those of the network that `pid` is in.
    pub fn open(pid: i32) -> Option<Self> {
        let open = |name: &[u8]| {
            let path = Text::<48>::new().push(b"/proc/").number(pid as u64).push(name);
            sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC, 0).ok()
        };
        Some(Self(open(b"/net/sockstat")?, open(b"/net/sockstat6")))
    }
}

/// Memory of all sockets of that network, each counted in full: what a cgroup does not count, or,
/// without one, all of it.
pub fn sockets(sockstat: Sockstat, cgroup: bool) -> u64 {
    let count = |file: Fd, key| {
        let mut buffer = [0u8; 512];
        let length = sys::pread(file, &mut buffer).unwrap_or(0);
        value_of(&buffer[..length], key).unwrap_or(0)
    };
    let all = count(sockstat.0, b"sockets: used ");
    if !cgroup {
        return all.saturating_mul(UNCOUNTED_SOCKET);
    }
    let of_ipv6 = sockstat.1.map_or(0, |file| count(file, b"UDP6: inuse "));
    let datagrams = count(sockstat.0, b"UDP: inuse ").saturating_add(of_ipv6);
    all.saturating_mul(UNCHARGED_SOCKET).saturating_add(datagrams.saturating_mul(UNCHARGED_ERRORS))
}

/// What the tree uses.
pub struct Memory {
    /// What is compared with the limit: at least what is used, and exact when the limit is in sight.
    pub bound: u64,
    /// What is surely used.
    pub used: u64,
}

/// Memory of the tree, of its tmpfs mounts and of what the kernel holds for it.
///
/// Resident sizes are cheap but count shared pages once for every process that maps them, and
/// mappings are first counted as if each had one page: that only says that the tree is below the
/// limit. Above it, proportional sizes and the mappings themselves decide.
pub fn memory(scope: Scope, plan: &Plan, tmpfs: &[Fd], sockstat: Option<Sockstat>) -> Memory {
    let files: u64 = tmpfs.iter().map(|fd| sys::fullness(*fd).used).sum();
    let sockets = sockstat.map_or(0, |sockstat| sockets(sockstat, false));
    let (mut resident, mut tables, mut mapped, mut descriptors) = (files, 0u64, 0u64, 0u64);
    scope.for_each(|pid| {
        let process = Process::look(pid);
        resident = resident.saturating_add(process.resident);
        tables = tables.saturating_add(process.tables);
        mapped = mapped.saturating_add((process.size / plan.page_size).min(MAPPINGS) * MAPPING);
        descriptors = descriptors.saturating_add(process.descriptors);
    });
    let pipes = descriptors
        .saturating_mul(PIPE_END)
        .min(PIPES_OF_A_USER.saturating_add(descriptors.saturating_mul(plan.page_size)));
    let kernel = tables.saturating_add(sockets).saturating_add(pipes);
    let bound = resident.saturating_add(kernel).saturating_add(mapped);
    if bound < plan.memory_limit {
        return Memory { bound, used: resident.saturating_add(tables) };
    }
    let surely = files.saturating_add(tables);
    if surely >= plan.memory_limit {
        // To look closer at a process with tables of that size takes a while, in which it grows.
        return Memory { bound: surely, used: surely };
    }
    let (mut anonymous, mut shared, mut mappings) = (0u64, 0u64, 0u64);
    scope.for_each(|pid| {
        mappings = mappings.saturating_add(mappings_of(pid));
        let mut buffer = [0u8; 2048];
        let rollup = read_of(pid, b"/smaps_rollup", &mut buffer);
        if rollup.is_empty() {
            // A process that made itself unreadable counts in full.
            anonymous = anonymous.saturating_add(Process::look(pid).resident);
            return;
        }
        let bytes = |key| value_of(rollup, key).unwrap_or(0).saturating_mul(1024);
        anonymous = anonymous.saturating_add(bytes(b"Pss_Anon:"));
        shared = shared.saturating_add(bytes(b"Pss_Shmem:"));
    });
    // A mapped file of a tmpfs is in both sums, an anonymous shared mapping only in the second.
    let pages = anonymous.saturating_add(files.max(shared));
    let used = pages.saturating_add(kernel).saturating_add(mappings.saturating_mul(MAPPING));
    Memory { bound: used, used }
}

/// What the kernel says of one process, in bytes.
struct Process {
    resident: u64,
    /// Page tables.
    tables: u64,
    /// Of the address space.
    size: u64,
    descriptors: u64,
}

impl Process {
    fn look(pid: u64) -> Self {
        let mut buffer = [0u8; 2048];
        let status = read_of(pid, b"/status", &mut buffer);
        let bytes = |key| value_of(status, key).unwrap_or(0).saturating_mul(1024);
        Self {
            resident: bytes(b"VmRSS:"),
            tables: bytes(b"VmPTE:"),
            size: bytes(b"VmSize:"),
            descriptors: descriptors_of(pid),
        }
    }
}

/// Linux 6.2 says it as the size of the folder; older kernels are asked for each.
fn descriptors_of(pid: u64) -> u64 {
    let path = Text::<48>::new().push(b"/proc/").number(pid).push(b"/fd");
    let size = sys::file_size(path.c_str()).unwrap_or(0);
    if size > 0 {
        return size;
    }
    let mut count = 0;
    for_each_number_in(path.c_str(), |_| count += 1);
    count
}

fn mappings_of(pid: u64) -> u64 {
    let mut lines = 0;
    read_maps(pid, |byte| lines += u64::from(byte == b'\n'));
    lines
}

/// Whether a process shares a mapping of `/dev/zero`: its pages stay when they are mapped no more, and
/// are counted nowhere. The other ways to such memory are refused; this one has no name for a filter.
pub fn shares_zeros(scope: Scope) -> bool {
    let mut found = false;
    scope.for_each(|pid| {
        let mut line = MapsLine::default();
        read_maps(pid, |byte| found |= line.shares_zeros(byte));
    });
    found
}

/// A line of `maps` as it comes: addresses, four letters of which the last is `s` where the mapping is
/// shared, numbers, and the file.
#[derive(Default)]
struct MapsLine {
    words: u32,
    letters: u32,
    shared: bool,
    matched: usize,
}

impl MapsLine {
    /// Takes the next byte; true at the end of the name.
    fn shares_zeros(&mut self, byte: u8) -> bool {
        const NAME: &[u8] = b"/dev/zero";
        match byte {
            b'\n' => *self = Self::default(),
            b' ' => (self.words, self.letters, self.matched) = (self.words + 1, 0, 0),
            _ => {
                self.letters += 1;
                self.shared |= self.words == 1 && self.letters == 4 && byte == b's';
                let follows = self.matched + 1 == self.letters as usize
                    && NAME.get(self.matched) == Some(&byte);
                self.matched = if follows { self.matched + 1 } else { 0 };
            }
        }
        self.shared && self.matched == NAME.len()
    }
}

fn read_maps(pid: u64, mut each: impl FnMut(u8)) {
    let path = Text::<48>::new().push(b"/proc/").number(pid).push(b"/maps");
    let Ok(fd) = sys::openat(AT_FDCWD, path.c_str(), O_RDONLY | O_CLOEXEC, 0) else { return };
    let mut buffer = [0u8; 4096];
    while let Ok(length @ 1..) = sys::read(fd, &mut buffer) {
        buffer[..length].iter().for_each(|byte| each(*byte));
    }
    sys::close(fd);
}
