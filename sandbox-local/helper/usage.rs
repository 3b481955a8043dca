//! Sums what the job's processes use, from the `/proc` of their own pid namespace.
//!
//! The text read here describes hostile processes: every field is parsed as if it could be
//! anything.

use core::ffi::CStr;

use crate::sys::{self, AT_FDCWD, Fd, O_CLOEXEC, O_DIRECTORY, O_RDONLY};
use crate::text::{Text, parse, value_of};

/// The kernel reports process times in hundredths of a second on every architecture.
const TICK_US: u64 = 10_000;
const PAGE: u64 = 4096;

/// How many processes there are, PID 1 and zombies included.
pub fn processes() -> u64 {
    let mut count = 0;
    for_each_process(|_| count += 1);
    count
}

/// CPU time of every process and of the children that each has waited for.
pub fn cpu_us() -> u64 {
    let mut total = 0u64;
    for_each_process(|pid| {
        let mut buffer = [0u8; 1024];
        let stat = read_of(pid, b"/stat", &mut buffer);
        // The name in parentheses may hold anything, also a parenthesis: fields count from the
        // last one. utime, stime, cutime and cstime are fields 14 to 17 of the line.
        let Some(end) = stat.iter().rposition(|b| *b == b')') else { return };
        let fields = stat[end + 1..].split(|b| *b == b' ').skip(12).take(4);
        let ticks: u64 = fields.filter_map(parse).fold(0, u64::saturating_add);
        total = total.saturating_add(ticks.saturating_mul(TICK_US));
    });
    total
}

/// Memory of the tree and of its tmpfs mounts; exact only when `limit` is in sight.
///
/// Resident sizes are cheap but count shared pages once for every process that maps them, so
/// they only say that the tree is below the limit. Above it, proportional sizes decide.
pub fn memory(limit: u64, tmpfs: &[Fd]) -> u64 {
    let files: u64 = tmpfs.iter().map(|fd| sys::fullness(*fd).used).sum();
    let mut resident = files;
    for_each_process(|pid| {
        let mut buffer = [0u8; 256];
        let statm = read_of(pid, b"/statm", &mut buffer);
        let pages = statm.split(|b| *b == b' ').nth(1).and_then(parse).unwrap_or(0);
        resident = resident.saturating_add(pages.saturating_mul(PAGE));
    });
    if resident < limit {
        return resident;
    }
    let (mut anonymous, mut shared) = (0u64, 0u64);
    for_each_process(|pid| {
        let mut buffer = [0u8; 2048];
        let rollup = read_of(pid, b"/smaps_rollup", &mut buffer);
        let bytes = |key| value_of(rollup, key).unwrap_or(0).saturating_mul(1024);
        anonymous = anonymous.saturating_add(bytes(b"Pss_Anon:"));
        shared = shared.saturating_add(bytes(b"Pss_Shmem:"));
    });
    // A mapped file of a tmpfs is in both sums, an anonymous shared mapping only in the second.
    anonymous.saturating_add(files.max(shared))
}

fn for_each_process(mut visit: impl FnMut(u64)) {
    let Ok(proc) = sys::openat(AT_FDCWD, c"/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0) else {
        return;
    };
    let mut buffer = [0u8; 4096];
    while let Ok(length) = sys::getdents(proc, &mut buffer) {
        let mut entries = &buffer[..length];
        if entries.is_empty() {
            break;
        }
        // struct linux_dirent64: u64 inode, s64 offset, u16 length, u8 type, name.
        while let Some(header) = entries.get(..19) {
            let size = usize::from(u16::from_ne_bytes([header[16], header[17]]));
            let name = entries.get(19..size).unwrap_or(b"");
            if let Some(pid) = parse(name) {
                visit(pid);
            }
            entries = entries.get(size.max(19)..).unwrap_or(b"");
        }
    }
    sys::close(proc);
}

fn read_of<'a>(pid: u64, file: &[u8], buffer: &'a mut [u8]) -> &'a [u8] {
    let path = Text::<48>::new().push(b"/proc/").number(pid).push(file);
    let path: &CStr = path.c_str();
    let Ok(fd) = sys::openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0) else { return b"" };
    let length = sys::read(fd, buffer).unwrap_or(0);
    sys::close(fd);
    &buffer[..length]
}
