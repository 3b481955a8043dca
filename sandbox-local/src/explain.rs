//! Why a step of the set-up failed on this host, and what would help.

use std::fs;

use nix::errno::Errno;
use sandbox_core::Layer;

use crate::channel::SetupFailure;
use crate::host::{Host, field};
use crate::probe::Finding;
use crate::protocol::Stage;

/// The layer that a step belongs to.
fn layer_of(stage: Stage) -> Layer {
    match stage {
        Stage::UnshareUser
        | Stage::UserMap
        | Stage::LentIds
        | Stage::LentWorkspace
        | Stage::InnerUser
        | Stage::NoNestedUser
        | Stage::SetIds => Layer::User,
        Stage::UnsharePid | Stage::Init | Stage::Proc => Layer::Pid,
        Stage::Subreaper | Stage::Tie => Layer::Cleanup,
        Stage::UnshareNet | Stage::Loopback => Layer::Network,
        Stage::UnshareIpc | Stage::UnshareTime => Layer::Ipc,
        Stage::UnshareUts | Stage::Hostname => Layer::Uts,
        Stage::CgroupCreate | Stage::CgroupSet | Stage::CgroupJoin => Layer::Memory,
        Stage::Rlimit => Layer::Rlimits,
        Stage::ProcessLimit => Layer::Processes,
        Stage::Hidden => Layer::SupervisorHidden,
        Stage::Capabilities => Layer::Capabilities,
        Stage::NoNewPrivs => Layer::NoNewPrivs,
        Stage::Landlock => Layer::Landlock,
        Stage::Seccomp => Layer::Seccomp,
        Stage::Stdio | Stage::Plan => Layer::Descriptors,
        Stage::Tmpfs => Layer::Disk,
        Stage::UnshareMount
        | Stage::UnshareCgroup
        | Stage::Propagation
        | Stage::RootMount
        | Stage::RootEntry
        | Stage::Bind
        | Stage::Mask
        | Stage::PivotRoot
        | Stage::RootReadOnly
        | Stage::Chdir
        | Stage::Setsid
        | Stage::Fork
        | Stage::Exec => Layer::Mount,
    }
}

/// Says why a step failed and what would help.
pub(crate) fn explain(failure: SetupFailure, host: &Host) -> Finding {
    let SetupFailure { stage, index, errno } = failure;
    let nth = if index > 0 { format!(" ({index})") } else { String::new() };
    let step = format!("{}{nth}: {}", stage.name(), errno.desc());
    let (cause, remedy) = cause(stage, errno, host);
    Finding { layer: layer_of(stage), step, cause, remedy }
}

fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

fn cause(stage: Stage, errno: Errno, host: &Host) -> (String, String) {
    let answer = |cause: &str, remedy: &str| (cause.to_owned(), remedy.to_owned());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let filtered = field(&status, "Seccomp:").is_some_and(|mode| mode == "2");
    let user = matches!(stage, Stage::UnshareUser | Stage::UserMap | Stage::InnerUser);
    if user && sysctl("user/max_user_namespaces") == Some(0) {
        return answer(
            "the sysctl user.max_user_namespaces is 0",
            "set it to at least 10000, or run where user namespaces are allowed",
        );
    }
    if user && sysctl("kernel/unprivileged_userns_clone") == Some(0) && !host.privileged {
        return answer(
            "the sysctl kernel.unprivileged_userns_clone is 0",
            "set it to 1, or run as root with CAP_SYS_ADMIN",
        );
    }
    let denied = matches!(errno, Errno::EPERM | Errno::EACCES);
    if denied
        && !host.privileged
        && sysctl("kernel/apparmor_restrict_unprivileged_userns") == Some(1)
    {
        return answer(
            "AppArmor forbids unprivileged user namespaces \
             (kernel.apparmor_restrict_unprivileged_userns is 1)",
            "give the application an AppArmor profile with the rule userns, set the sysctl to 0, \
             or run as root",
        );
    }
    match (stage, errno) {
        (Stage::Landlock, Errno::ENOSYS) => answer(
            "the kernel has no Landlock, or a seccomp filter of an outer container hides it",
            "use Linux 5.13 or newer with CONFIG_SECURITY_LANDLOCK, and allow landlock_* in the \
             container's seccomp profile",
        ),
        (Stage::Landlock, Errno::EOPNOTSUPP) => answer(
            "Landlock is built into the kernel but not switched on",
            "add landlock to the lsm= list of the kernel's command line",
        ),
        (Stage::Proc, _) if denied => answer(
            "parts of /proc are masked on this host, as container engines do, and the kernel \
             gives a new /proc only to those who see all of the old one",
            "run the container with unmasked /proc (--security-opt systempaths=unconfined)",
        ),
        (Stage::LentIds, _) => answer(
            "newuidmap or newgidmap refused to map the ids of /etc/subuid and /etc/subgid",
            "see that both are set-user-id root, that the user has an entry in passwd, and that \
             no_new_privs is not set",
        ),
        (Stage::LentWorkspace, _) => answer(
            "the kernel cannot show files of a lent id as the application's",
            "use Linux 6.3 or newer",
        ),
        (Stage::CgroupCreate | Stage::CgroupSet | Stage::CgroupJoin, _) => answer(
            "the cgroup is not delegated to this process",
            "run under systemd with Delegate=yes, or as root",
        ),
        (Stage::ProcessLimit | Stage::Hidden, _) => answer(
            "the job has root's user, which no limit of a user's processes binds and which may look \
             into the sandbox's first process",
            "run with CAP_SYS_ADMIN, with CAP_SETUID, CAP_SETGID, CAP_CHOWN, CAP_DAC_OVERRIDE and \
             CAP_KILL, or as an ordinary user",
        ),
        (Stage::Rlimit, _) => answer(
            "the application's own hard limit is lower than the job's limit",
            "raise the hard limit (ulimit -H), or lower the job's limit",
        ),
        (_, Errno::ENOSPC) => answer(
            "a namespace limit of this host is reached (sysctl user.max_*_namespaces)",
            "raise the limit, or run fewer jobs at once",
        ),
        (_, Errno::ENOSYS) => {
            answer("the kernel does not have this call", "use Linux 5.14 or newer")
        }
        _ if denied && filtered => answer(
            "a seccomp filter of an outer container refuses it",
            "run the container with a profile that allows unshare, mount and their kin \
             (--security-opt seccomp=...), or as root with CAP_SYS_ADMIN",
        ),
        _ if denied => answer(
            "a security policy of this host refuses it",
            "run as root with CAP_SYS_ADMIN, or ask the host's administrator",
        ),
        _ => (
            format!("the kernel answered {errno}"),
            "see the step's manual page for this error".to_owned(),
        ),
    }
}
