//! Scheduling: who runs when, and whose disk requests come first.

use super::{Fd, Result, syscall};
use crate::nr;

/// The processors that a thread may use.
pub type CpuSet = [u64; 128];

const PRIO_PROCESS: usize = 0;
const IOPRIO_WHO_PROCESS: usize = 1;

/// Gives the thread `tid` (0: the caller) the policy `SCHED_OTHER`.
pub fn set_normal_policy(tid: i32) -> Result<usize> {
    // struct sched_param: the priority, which is 0 for this policy.
    let param = [0u32; 1];
    call!(nr::SCHED_SETSCHEDULER, tid, 0, param.as_ptr())
}

/// Gives the thread `tid` (0: the caller) the nice value 0.
pub fn set_normal_nice(tid: i32) -> Result<usize> {
    call!(nr::SETPRIORITY, PRIO_PROCESS, tid, 0)
}

/// The processors of the caller, and how many bytes of the set the kernel uses.
pub fn affinity() -> Result<(CpuSet, usize)> {
    let mut set = [0; 128];
    let length = call!(nr::SCHED_GETAFFINITY, 0, size_of::<CpuSet>(), set.as_mut_ptr())?;
    Ok((set, length))
}

/// Lets the thread `tid` use these processors.
pub fn set_affinity(tid: i32, set: &CpuSet, length: usize) -> Result<usize> {
    call!(nr::SCHED_SETAFFINITY, tid, length, set.as_ptr())
}

/// Sets the class and level of the caller's disk requests, as in ioprio_set(2).
pub fn set_io_priority(priority: usize) -> Result<usize> {
    call!(nr::IOPRIO_SET, IOPRIO_WHO_PROCESS, 0, priority)
}

/// Sets the execution domain of the caller to the native one.
pub fn set_native_personality() -> Result<usize> {
    call!(nr::PERSONALITY, 0)
}

/// Locks a file or folder; released when the last copy of the descriptor is closed.
pub fn lock(fd: Fd, exclusive: bool) -> Result<usize> {
    call!(nr::FLOCK, fd, if exclusive { 2 } else { 1 })
}
