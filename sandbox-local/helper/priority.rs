//! Scheduling, disk priority and other attributes that a process inherits: set to known values.

use crate::namespaces::write_file;
use crate::sys;
use crate::tree::{Scope, for_each_thread};

/// ioprio_set(2): the idle class, which is served when nobody else asks.
const IO_IDLE: usize = 3 << 13;
/// ioprio_set(2): best effort, in the middle.
const IO_BEST_EFFORT: usize = 2 << 13 | 4;
const PR_SET_TIMERSLACK: usize = 29;
/// What a process has that nobody changed, in nanoseconds.
const TIMER_SLACK: usize = 50_000;

/// Gives the caller a normal policy and nice value. All that it starts inherits both. An ordinary
/// user may not lower a nice value: its jobs keep the application's when that is above 0.
pub fn take_normal() {
    let _ = sys::set_normal_policy(0);
    let _ = sys::set_normal_nice(0);
}

/// Sets what a job would inherit from the application otherwise. `idle_disk`: nobody bounds what it
/// reads from the host's disk.
pub fn take_jobs_own(idle_disk: bool) {
    let _ = sys::set_io_priority(if idle_disk { IO_IDLE } else { IO_BEST_EFFORT });
    let _ = sys::set_native_personality();
    let _ = sys::prctl(PR_SET_TIMERSLACK, TIMER_SLACK);
}

/// Makes the kernel end this process before others when the host has no memory. Every process may
/// ask for that.
pub fn be_first_to_go() {
    let _ = write_file(c"/proc/self/oom_score_adj", b"1000");
}

/// Gives every thread of the job a normal policy, a normal nice value and the supervisor's
/// processors: what is killed must run once more to end.
pub fn restore(scope: Scope) {
    let processors = sys::affinity();
    for_each_thread(scope, |thread| {
        let thread = thread as i32;
        let _ = sys::set_normal_policy(thread);
        let _ = sys::set_normal_nice(thread);
        if let Ok((set, length)) = &processors {
            let _ = sys::set_affinity(thread, set, *length);
        }
    });
}
