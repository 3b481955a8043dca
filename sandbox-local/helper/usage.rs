//! Sums what the job's processes use, from `/proc`.
//!
//! The text read here describes hostile processes: every field is parsed as if it could be
//! anything.

use crate::plan::Plan;
use crate::sys::{self, Fd};
use crate::text::{parse, value_of};
use crate::tree::{Scope, after_name, read_of};

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

/// Memory of the tree and of its tmpfs mounts; exact only when the limit is in sight.
///
/// Resident sizes are cheap but count shared pages once for every process that maps them, so
/// they only say that the tree is below the limit. Above it, proportional sizes decide.
pub fn memory(scope: Scope, plan: &Plan, tmpfs: &[Fd]) -> u64 {
    let files: u64 = tmpfs.iter().map(|fd| sys::fullness(*fd).used).sum();
    let mut resident = files;
    scope.for_each(|pid| {
        resident = resident.saturating_add(resident_of(pid, plan));
    });
    if resident < plan.memory_limit {
        return resident;
    }
    let (mut anonymous, mut shared) = (0u64, 0u64);
    scope.for_each(|pid| {
        let mut buffer = [0u8; 2048];
        let rollup = read_of(pid, b"/smaps_rollup", &mut buffer);
        if rollup.is_empty() {
            // A process that made itself unreadable counts in full.
            anonymous = anonymous.saturating_add(resident_of(pid, plan));
            return;
        }
        let bytes = |key| value_of(rollup, key).unwrap_or(0).saturating_mul(1024);
        anonymous = anonymous.saturating_add(bytes(b"Pss_Anon:"));
        shared = shared.saturating_add(bytes(b"Pss_Shmem:"));
    });
    // A mapped file of a tmpfs is in both sums, an anonymous shared mapping only in the second.
    anonymous.saturating_add(files.max(shared))
}

fn resident_of(pid: u64, plan: &Plan) -> u64 {
    let mut buffer = [0u8; 256];
    let statm = read_of(pid, b"/statm", &mut buffer);
    let pages = statm.split(|b| *b == b' ').nth(1).and_then(parse).unwrap_or(0);
    pages.saturating_mul(plan.page_size)
}
