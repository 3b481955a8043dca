//! Namespaces and id maps.

use core::ffi::CStr;

use crate::plan::Plan;
use crate::protocol::{Stage, flag};
use crate::sys::{self, AT_FDCWD, O_CLOEXEC, O_WRONLY, Result};
use crate::text::Text;
use crate::{At, Failure};

const CLONE_NEWTIME: u64 = 0x80;
const CLONE_NEWNS: u64 = 0x0002_0000;
const CLONE_NEWCGROUP: u64 = 0x0200_0000;
const CLONE_NEWUTS: u64 = 0x0400_0000;
const CLONE_NEWIPC: u64 = 0x0800_0000;
pub const CLONE_NEWUSER: u64 = 0x1000_0000;
const CLONE_NEWPID: u64 = 0x2000_0000;
const CLONE_NEWNET: u64 = 0x4000_0000;

const PR_SET_DUMPABLE: usize = 4;

/// The job's uid and gid as the job sees them.
const INSIDE: (u64, u64) = (1000, 1000);

/// Settings of a network namespace. A connection that nobody has accepted is in no cgroup: few of them
/// may wait, and each holds little.
const SOCKETS: [(&CStr, &[u8]); 4] = [
    (c"/proc/sys/net/core/somaxconn", b"64"),
    (c"/proc/sys/net/ipv4/tcp_rmem", b"4096 65536 65536"),
    (c"/proc/sys/net/ipv4/tcp_wmem", b"4096 65536 262144"),
    // Nor are connections that wait for late packets.
    (c"/proc/sys/net/ipv4/tcp_max_tw_buckets", b"1024"),
];

/// Settings of the job's user namespace. Whoever uses a file that is watched pays for each watch.
const WATCHES: [(&CStr, &[u8]); 2] = [
    (c"/proc/sys/user/max_inotify_instances", b"16"),
    (c"/proc/sys/user/max_inotify_watches", b"4096"),
];

/// Settles the job's network, with the rights that made it. The root must be in place: before the
/// pivot it hides `/proc`.
pub fn settle_network(plan: &Plan) {
    if plan.has(flag::NET) {
        settle(&SOCKETS);
    }
}

/// Writes settings where the host lets them be written; else its own hold.
fn settle(settings: &[(&CStr, &[u8])]) {
    for (file, value) in settings {
        let _ = write_file(file, value);
    }
}

/// Moves the supervisor into the namespaces that PID 1 and the job child are made in.
pub fn enter_outer(plan: &Plan) -> core::result::Result<(), Failure> {
    if !plan.has(flag::PRIVILEGED) {
        if plan.has(flag::TAKE_IDS) {
            // Before the namespace, whose one id would be the application's: no limit of a user's
            // processes binds root, and root may look into the sandbox's first process.
            sys::setgroups_empty().at(Stage::SetIds)?;
            sys::setresgid(plan.helper_gid).at(Stage::SetIds)?;
            sys::setresuid(plan.helper_uid).at(Stage::SetIds)?;
            let _ = sys::prctl(PR_SET_DUMPABLE, 1);
        }
        sys::unshare(CLONE_NEWUSER).at(Stage::UnshareUser)?;
        // Not id 0: the owner of a network namespace's id 0 may write its sysctls.
        map_ids(INSIDE, (plan.helper_uid, plan.helper_gid)).at(Stage::UserMap)?;
    }
    sys::unshare(CLONE_NEWNS).at(Stage::UnshareMount)?;
    sys::unshare(CLONE_NEWPID).at(Stage::UnsharePid)?;
    if plan.has(flag::TIME) {
        // For the children, as the pid namespace: all jobs would share the inode of the host's.
        sys::unshare(CLONE_NEWTIME).at(Stage::UnshareTime)?;
    }
    Ok(())
}

/// Moves the calling job child into namespaces that only the job's processes are in. They take
/// the longest to make, so the job child makes them while the supervisor mounts.
pub fn enter_own(plan: &Plan) -> core::result::Result<(), Failure> {
    for (wanted, bit, stage) in [
        (flag::NET, CLONE_NEWNET, Stage::UnshareNet),
        (flag::IPC, CLONE_NEWIPC, Stage::UnshareIpc),
        (flag::UTS, CLONE_NEWUTS, Stage::UnshareUts),
        (flag::CGROUP_NS, CLONE_NEWCGROUP, Stage::UnshareCgroup),
    ] {
        if plan.has(wanted) {
            sys::unshare(bit).at(stage)?;
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
/// forbids any further one inside. The root must be in place: the kernel refuses a user namespace
/// to a process whose root is not its mount namespace's, as is so for a moment in `pivot_root`.
pub fn enter_inner(plan: &Plan) -> core::result::Result<(), Failure> {
    sys::unshare(CLONE_NEWUSER).at(Stage::InnerUser)?;
    map_ids(INSIDE, (plan.job_uid, plan.job_gid)).at(Stage::InnerUser)?;
    settle(&WATCHES);
    write_file(c"/proc/sys/user/max_user_namespaces", b"0").at(Stage::NoNestedUser)
}

/// Maps the one user and group that an unprivileged process may map: its own, `outside`.
pub fn map_ids(inside: (u64, u64), outside: (u64, u64)) -> Result<()> {
    let line = |inside, outside| {
        Text::<64>::new().number(inside).push(b" ").number(outside).push(b" 1")
    };
    write_file(c"/proc/self/setgroups", b"deny")?;
    write_file(c"/proc/self/uid_map", line(inside.0, outside.0).bytes())?;
    write_file(c"/proc/self/gid_map", line(inside.1, outside.1).bytes())
}

/// Writes a setting.
pub fn write_file(path: &CStr, content: &[u8]) -> Result<()> {
    let fd = sys::openat(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0)?;
    let result = sys::write(fd, content);
    sys::close(fd);
    result.map(|_| ())
}
