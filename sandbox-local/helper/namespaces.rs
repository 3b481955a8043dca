//! Namespaces and id maps.

use core::ffi::CStr;

use crate::plan::Plan;
use crate::protocol::{Stage, flag};
use crate::sys::{self, AT_FDCWD, O_WRONLY, Result};
use crate::text::Text;
use crate::{At, Failure};

const CLONE_NEWNS: u64 = 0x0002_0000;
const CLONE_NEWCGROUP: u64 = 0x0200_0000;
const CLONE_NEWUTS: u64 = 0x0400_0000;
const CLONE_NEWIPC: u64 = 0x0800_0000;
const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_NEWNET: u64 = 0x4000_0000;

/// The job's uid and gid as the job sees them.
const INSIDE_ID: u64 = 1000;

/// Moves the supervisor into the namespaces of the job, except the pid namespace, which only its
/// children enter.
pub fn enter(plan: &Plan) -> core::result::Result<(), Failure> {
    if !plan.has(flag::PRIVILEGED) {
        sys::unshare(CLONE_NEWUSER).at(Stage::UnshareUser)?;
        // Not id 0: the owner of a network namespace's id 0 may write its sysctls.
        map_ids(plan.caller_uid, plan.caller_gid).at(Stage::UserMap)?;
    }
    let wanted = [
        (true, CLONE_NEWNS, Stage::UnshareMount),
        (true, CLONE_NEWPID, Stage::UnsharePid),
        (plan.has(flag::NET), CLONE_NEWNET, Stage::UnshareNet),
        (plan.has(flag::IPC), CLONE_NEWIPC, Stage::UnshareIpc),
        (plan.has(flag::UTS), CLONE_NEWUTS, Stage::UnshareUts),
        (plan.has(flag::CGROUP_NS), CLONE_NEWCGROUP, Stage::UnshareCgroup),
    ];
    let all = wanted.iter().filter(|w| w.0).fold(0, |flags, w| flags | w.1);
    if sys::unshare(all).is_err() {
        // One at a time, to name the one that the kernel refuses.
        for (_, bit, stage) in wanted.iter().filter(|w| w.0) {
            sys::unshare(*bit).at(*stage)?;
        }
    }
    if plan.has(flag::UTS) {
        sys::sethostname(plan.hostname).at(Stage::Hostname)?;
    }
    if plan.has(flag::NET) {
        sys::loopback_up().at(Stage::Loopback)?;
    }
    Ok(())
}

/// Gives the calling job child a user namespace that owns none of its other namespaces, and
/// forbids any further one inside.
pub fn enter_inner(plan: &Plan) -> core::result::Result<(), Failure> {
    sys::unshare(CLONE_NEWUSER).at(Stage::InnerUser)?;
    map_ids(plan.job_uid, plan.job_gid).at(Stage::InnerUser)?;
    write_file(c"/proc/sys/user/max_user_namespaces", b"0").at(Stage::NoNestedUser)?;
    Ok(())
}

/// Maps the one id that an unprivileged process may map: its own.
fn map_ids(uid: u64, gid: u64) -> Result<()> {
    let line = |id| Text::<64>::new().number(INSIDE_ID).push(b" ").number(id).push(b" 1");
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", line(uid).bytes())?;
    write_file(c"/proc/self/gid_map", line(gid).bytes())
}

fn write_file(path: &CStr, content: &[u8]) -> Result<()> {
    let fd = sys::openat(AT_FDCWD, path, O_WRONLY | sys::O_CLOEXEC, 0)?;
    let result = sys::write(fd, content);
    sys::close(fd);
    result.map(|_| ())
}
