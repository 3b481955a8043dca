//! Which system calls a job may make.
//!
//! An allow-list: what is not named fails with `EPERM`, so that a library that probes falls back
//! instead of dying. `clone3`, whose arguments a filter cannot read, and numbers that are newer
//! than this table fail with `ENOSYS`, as on an older kernel. Calls of a foreign ABI kill the
//! process (32-bit entry) or fail (x32 numbers). Arguments are compared in the 32 bits that the
//! kernel reads.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Arguments under which a call is allowed.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// The argument is one of these.
    OneOf(u8, &'static [u64]),
    /// The argument is none of these.
    NoneOf(u8, &'static [u64]),
    /// The argument has none of these bits.
    WithoutBits(u8, u64),
    /// Both arguments have these values, or the first has one of the last list.
    PairOrOneOf((u8, u64), (u8, u64), &'static [u64]),
}

/// A group of calls that share a reason.
struct Group {
    reason: &'static str,
    calls: &'static [i64],
    when: When,
}

/// Numbers of the named calls. A bare number is a call that `libc` has no name for on every
/// architecture: 449 `futex_waitv`, 451 `cachestat`, 452 `fchmodat2`, 453 `map_shadow_stack`,
/// 454 to 456 `futex_wake`, `_wait` and `_requeue`, 462 `mseal`, 463 to 466 the `xattrat` family.
macro_rules! calls {
    (@ $name:ident) => { libc::$name as i64 };
    (@ $number:literal) => { $number };
    ($($call:tt)*) => { &[$(calls!(@ $call)),*] };
}

const CLONE_NEW_ANY: u64 = 0x7e02_0080;
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
const FIOSETOWN: u64 = 0x8901;
const SIOCSPGRP: u64 = 0x8902;

/// What every job may do.
const TABLE: &[Group] = &[
    Group {
        reason: "read and write open files",
        calls: calls![
            SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev
            SYS_preadv2 SYS_pwritev2 SYS_lseek SYS_close SYS_close_range SYS_dup SYS_dup3
            SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_sendfile SYS_splice
            SYS_tee SYS_vmsplice SYS_copy_file_range SYS_ftruncate SYS_truncate SYS_fallocate
            SYS_fadvise64 SYS_readahead SYS_flock 451
        ],
        when: When::Always,
    },
    Group {
        reason: "walk and change files; mounts, DAC and Landlock decide which",
        calls: calls![
            SYS_openat SYS_openat2 SYS_newfstatat SYS_fstat SYS_statx SYS_statfs SYS_fstatfs
            SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64 SYS_getcwd SYS_chdir
            SYS_fchdir SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat
            SYS_mknodat SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_utimensat SYS_umask
            SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr
            SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_removexattr SYS_lremovexattr
            SYS_fremovexattr SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch 452 463
            464 465 466
        ],
        when: When::Always,
    },
    Group {
        reason: "memory of the own process; the memory limit bounds it",
        calls: calls![
            SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_mincore SYS_msync
            SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_pkey_alloc
            SYS_pkey_free SYS_pkey_mprotect SYS_membarrier SYS_mbind SYS_get_mempolicy
            SYS_set_mempolicy 453 462
        ],
        when: When::Always,
    },
    Group {
        reason: "processes and threads; the process limit bounds them",
        calls: calls![
            SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_getpid
            SYS_gettid SYS_getppid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid
            SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_rseq SYS_futex 454 455
            456 449 SYS_sched_yield SYS_sched_getaffinity SYS_sched_setaffinity
            SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler SYS_sched_setscheduler
            SYS_sched_getattr SYS_sched_setattr SYS_sched_get_priority_max
            SYS_sched_get_priority_min SYS_sched_rr_get_interval SYS_getpriority SYS_setpriority
            SYS_ioprio_get SYS_ioprio_set SYS_getcpu SYS_getrlimit SYS_setrlimit SYS_prlimit64
            SYS_getrusage SYS_times SYS_prctl SYS_seccomp SYS_capget SYS_capset
            SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
            SYS_pidfd_open SYS_pidfd_send_signal
        ],
        when: When::Always,
    },
    Group {
        reason: "fork and threads, but no namespaces",
        calls: calls![SYS_clone],
        when: When::WithoutBits(0, CLONE_NEW_ANY),
    },
    Group {
        reason: "signals within the job's own pid namespace",
        calls: calls![
            SYS_kill SYS_tkill SYS_tgkill SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigpending
            SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_rt_sigsuspend SYS_rt_sigtimedwait
            SYS_rt_sigreturn SYS_sigaltstack SYS_signalfd4 SYS_restart_syscall
        ],
        when: When::Always,
    },
    Group {
        reason: "time; setting a clock needs a capability that no job has",
        calls: calls![
            SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_gettimeofday SYS_nanosleep
            SYS_getitimer SYS_setitimer SYS_timer_create SYS_timer_settime SYS_timer_gettime
            SYS_timer_getoverrun SYS_timer_delete SYS_timerfd_create SYS_timerfd_settime
            SYS_timerfd_gettime
        ],
        when: When::Always,
    },
    Group {
        reason: "identity as it is; the user namespace maps a single id",
        calls: calls![
            SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid
            SYS_getgroups SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid
            SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid SYS_uname SYS_sysinfo
            SYS_getrandom
        ],
        when: When::Always,
    },
    Group {
        reason: "waiting for descriptors, and descriptors between the job's processes",
        calls: calls![
            SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
            SYS_epoll_pwait2 SYS_eventfd2 SYS_pipe2 SYS_memfd_create
        ],
        when: When::Always,
    },
    Group {
        reason: "IPC within the job's own IPC namespace",
        calls: calls![
            SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semtimedop
            SYS_semctl SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink
            SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
        ],
        when: When::Always,
    },
    Group {
        reason: "sockets that exist already",
        calls: calls![
            SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname
            SYS_getpeername SYS_getsockopt SYS_setsockopt SYS_sendto SYS_recvfrom SYS_sendmsg
            SYS_recvmsg SYS_sendmmsg SYS_recvmmsg SYS_shutdown
        ],
        when: When::Always,
    },
    Group {
        reason: "unix and internet sockets; of netlink only the routing family, for interface lists",
        calls: calls![SYS_socket],
        when: When::PairOrOneOf(
            (0, libc::AF_NETLINK as u64),
            (2, libc::NETLINK_ROUTE as u64),
            &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64],
        ),
    },
    Group {
        reason: "pairs of unix sockets",
        calls: calls![SYS_socketpair],
        when: When::OneOf(0, &[libc::AF_UNIX as u64]),
    },
    Group {
        reason: "device control, but no input into terminals and no signals to strangers",
        calls: calls![SYS_ioctl],
        when: When::NoneOf(1, &[TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP]),
    },
    Group {
        reason: "descriptor flags and locks, but no signals to strangers",
        calls: calls![SYS_fcntl],
        // F_SETOWN, F_SETSIG, F_SETOWN_EX.
        when: When::NoneOf(1, &[8, 10, 15]),
    },
    Group {
        reason: "asking for the execution domain, and setting the native one",
        calls: calls![SYS_personality],
        when: When::OneOf(0, &[0, 0xffff_ffff]),
    },
];

/// Calls that only x86_64 has: older forms of calls in [`TABLE`].
#[cfg(target_arch = "x86_64")]
const LEGACY: &[Group] = &[Group {
    reason: "older forms of calls that are allowed above",
    calls: calls![
        SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_mkdir
        SYS_rmdir SYS_unlink SYS_rename SYS_link SYS_symlink SYS_mknod SYS_chmod SYS_chown
        SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_poll SYS_select SYS_epoll_create
        SYS_epoll_wait SYS_eventfd SYS_signalfd SYS_inotify_init SYS_pipe SYS_dup2 SYS_fork
        SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_time SYS_arch_prctl
    ],
    when: When::Always,
}];
#[cfg(not(target_arch = "x86_64"))]
const LEGACY: &[Group] = &[];

/// The first number that this table knows nothing about.
const FIRST_UNKNOWN: i64 = 470;

/// Compiles the filters, in the order in which they are installed.
///
/// Without a memory cgroup nobody could count the pages of a memfd, so `memfd` is false then.
pub(crate) fn compile(memfd: bool) -> Result<Vec<Vec<u8>>, seccompiler::BackendError> {
    let mut allowed = BTreeMap::new();
    for group in TABLE.iter().chain(LEGACY) {
        debug_assert!(!group.reason.is_empty());
        for call in group.calls {
            allowed.insert(*call, rules(group.when)?);
        }
    }
    if !memfd {
        allowed.remove(&libc::SYS_memfd_create);
    }
    let unknown = (FIRST_UNKNOWN..FIRST_UNKNOWN + 64).chain([libc::SYS_clone3]);
    let unknown: BTreeMap<_, _> = unknown.map(|call| (call, Vec::new())).collect();
    let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    // Of two filters that return an errno the one installed last decides.
    Ok(vec![
        program(allowed, errno(libc::EPERM), SeccompAction::Allow)?,
        program(unknown, SeccompAction::Allow, errno(libc::ENOSYS))?,
    ])
}

fn rules(when: When) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let compare = |(index, value): (u8, u64), op| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value)
    };
    let any_of = |index: u8, values: &[u64]| {
        let rule = |value| SeccompRule::new(vec![compare((index, value), SeccompCmpOp::Eq)?]);
        values.iter().map(|value| rule(*value)).collect::<Result<Vec<_>, _>>()
    };
    match when {
        When::Always => Ok(Vec::new()),
        When::OneOf(index, values) => any_of(index, values),
        When::NoneOf(index, values) => {
            let differs = |value: &u64| compare((index, *value), SeccompCmpOp::Ne);
            let all = values.iter().map(differs).collect::<Result<Vec<_>, _>>()?;
            Ok(vec![SeccompRule::new(all)?])
        }
        When::WithoutBits(index, bits) => {
            Ok(vec![SeccompRule::new(vec![compare((index, 0), SeccompCmpOp::MaskedEq(bits))?])?])
        }
        When::PairOrOneOf(first, second, values) => {
            let pair = vec![compare(first, SeccompCmpOp::Eq)?, compare(second, SeccompCmpOp::Eq)?];
            let mut rules = any_of(first.0, values)?;
            rules.push(SeccompRule::new(pair)?);
            Ok(rules)
        }
    }
}

/// Compiles to the bytes of an array of `struct sock_filter`.
fn program(
    calls: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<Vec<u8>, seccompiler::BackendError> {
    #[cfg(target_arch = "x86_64")]
    let arch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    let arch = TargetArch::aarch64;
    let program: BpfProgram = SeccompFilter::new(calls, otherwise, matched, arch)?.try_into()?;
    let bytes = program.iter().flat_map(|instruction| {
        let [low, high] = instruction.code.to_ne_bytes();
        let [a, b, c, d] = instruction.k.to_ne_bytes();
        [low, high, instruction.jt, instruction.jf, a, b, c, d]
    });
    Ok(bytes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_fit_into_the_kernel() {
        for memfd in [true, false] {
            for filter in compile(memfd).expect("compiles") {
                assert!(filter.len() / 8 <= 4096, "{} instructions", filter.len() / 8);
            }
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for call in TABLE.iter().chain(LEGACY).flat_map(|group| group.calls) {
            assert!(seen.insert(*call), "call {call} is listed twice");
            assert!(*call < FIRST_UNKNOWN, "call {call} is both allowed and unknown");
        }
    }
}
