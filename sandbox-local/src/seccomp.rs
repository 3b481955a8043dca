//! Which system calls a job may make.
//!
//! An allow-list: what is not named fails with `EPERM`, so that a library that probes falls back
//! instead of dying. `clone3`, whose arguments a filter cannot read, and numbers that are newer
//! than this table fail with `ENOSYS`, as on an older kernel. Calls of a foreign ABI kill the
//! process (32-bit entry) or fail (x32 numbers). Arguments are compared in the 32 bits that the
//! kernel reads.

//!
//! The filter is a binary search over ranges of numbers. The kernel runs a new filter once for
//! every number to find those that are always allowed, so its length is paid at every start: a
//! list of comparisons, one for each call, took 1.1 ms to install here, this takes a tenth.

use std::collections::BTreeMap;

use crate::bpf::{self, Program, Verdict};

/// Arguments under which a call is allowed.
#[derive(Clone, Copy)]
enum When {
    Always,
    /// The argument is one of these.
    OneOf(u8, &'static [u32]),
    /// The argument is none of these.
    NoneOf(u8, &'static [u32]),
    /// The argument has none of these bits.
    WithoutBits(u8, u32),
    /// Both arguments have these values, or the first has one of the last list.
    PairOrOneOf((u8, u32), (u8, u32), &'static [u32]),
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

const CLONE_NEW_ANY: u32 = 0x7e02_0080;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;

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
            (0, libc::AF_NETLINK as u32),
            (2, libc::NETLINK_ROUTE as u32),
            &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32],
        ),
    },
    Group {
        reason: "pairs of unix sockets",
        calls: calls![SYS_socketpair],
        when: When::OneOf(0, &[libc::AF_UNIX as u32]),
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
const FIRST_UNKNOWN: u32 = 470;

/// Numbers from here on belong to the x32 ABI.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;
#[cfg(not(target_arch = "x86_64"))]
const X32: u32 = u32::MAX;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// Calls that act on the process given by their first argument, 0 being the caller.
const ON_OTHERS: &[i64] = calls![
    SYS_prlimit64 SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam
    SYS_sched_setscheduler
];

/// Calls that reach what all processes of a user share.
const SHARED_WITH_USER: &[i64] = calls![
    SYS_setpriority SYS_ioprio_set SYS_shmget SYS_shmat SYS_shmctl SYS_semget SYS_semctl SYS_semop
    SYS_semtimedop SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink
];

/// What the filter must make up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// A memory cgroup counts pages that no process maps, as memfds and System V segments have;
    /// without one nobody could, and they are refused.
    pub(crate) counted_memory: bool,
    /// The job's network namespace decides what a socket reaches. Where the job is denied the
    /// network and has no such namespace, only unix sockets are left.
    pub(crate) internet: bool,
    /// The job has pid and IPC namespaces of its own. Without, it must not reach other processes
    /// of its user by number, nor their IPC objects.
    pub(crate) namespaces: bool,
}

/// Compiles the filter.
pub(crate) fn compile(policy: Policy) -> Vec<u8> {
    let mut by_number = BTreeMap::new();
    for group in TABLE.iter().chain(LEGACY) {
        debug_assert!(!group.reason.is_empty());
        let code = check(group.when);
        by_number.extend(group.calls.iter().map(|call| (number(*call), code.clone())));
    }
    if !policy.internet {
        let unix = When::OneOf(0, &[libc::AF_UNIX as u32]);
        by_number.insert(number(libc::SYS_socket), check(unix));
    }
    if !policy.counted_memory {
        for call in [libc::SYS_memfd_create, libc::SYS_shmget] {
            by_number.remove(&number(call));
        }
    }
    if !policy.namespaces {
        for call in ON_OTHERS {
            by_number.insert(number(*call), check(When::OneOf(0, &[0])));
        }
        for call in SHARED_WITH_USER {
            by_number.remove(&number(*call));
        }
    }
    by_number.insert(number(libc::SYS_clone3), bpf::ret(ENOSYS));
    // Ranges: each starts at its number and ends where the next one starts.
    let mut ranges = vec![(0, bpf::ret(EPERM))];
    for (call, code) in by_number {
        ranges.push((call, code));
        ranges.push((call + 1, bpf::ret(EPERM)));
    }
    ranges.push((FIRST_UNKNOWN, bpf::ret(ENOSYS)));
    ranges.push((X32, bpf::ret(EPERM)));
    bpf::filter(AUDIT_ARCH, ranges)
}

const EPERM: Verdict = Verdict::Errno(libc::EPERM as u16);
const ENOSYS: Verdict = Verdict::Errno(libc::ENOSYS as u16);

fn number(call: i64) -> u32 {
    // The table holds kernel constants, all small and positive.
    call as u32
}

/// The code that decides a call by its arguments.
fn check(when: When) -> Program {
    let allow = || bpf::ret(Verdict::Allow);
    let deny = || bpf::ret(EPERM);
    match when {
        When::Always => allow(),
        When::OneOf(index, values) => bpf::if_one_of(index, values, allow(), deny()),
        When::NoneOf(index, values) => bpf::if_one_of(index, values, deny(), allow()),
        When::WithoutBits(index, bits) => bpf::if_any_bit(index, bits, deny(), allow()),
        When::PairOrOneOf((first, value), (second, other), values) => {
            let pair = bpf::if_one_of(second, &[other], allow(), deny());
            let either = bpf::if_one_of(first, values, allow(), deny());
            bpf::if_one_of(first, &[value], pair, either)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::run;

    const OPEN: Policy = Policy { counted_memory: true, internet: true, namespaces: true };

    #[test]
    fn the_filter_says_what_the_table_says_for_every_number() {
        let filter = compile(OPEN);
        let allowed: BTreeMap<u32, When> = TABLE
            .iter()
            .chain(LEGACY)
            .flat_map(|group| group.calls.iter().map(|call| (number(*call), group.when)))
            .collect();
        for call in (0..1024).chain(X32..X32 + 1024) {
            let expected = match allowed.get(&call) {
                Some(When::Always) => Verdict::Allow,
                Some(_) => continue,
                None if call == number(libc::SYS_clone3) => ENOSYS,
                None if (FIRST_UNKNOWN..X32).contains(&call) => ENOSYS,
                None => EPERM,
            };
            assert_eq!(run(&filter, AUDIT_ARCH, call, [0; 6]), expected, "call {call}");
        }
        assert_eq!(run(&filter, 0x4000_0003, 20, [0; 6]), Verdict::Kill, "i386 getpid");
    }

    #[test]
    fn arguments_are_compared_in_the_bits_that_the_kernel_reads() {
        let filter = compile(OPEN);
        let high = 0xdead_beef_0000_0000;
        let verdict = |call: i64, args: [u64; 3]| {
            let [a, b, c] = args;
            run(&filter, AUDIT_ARCH, number(call), [a, b, c, 0, 0, 0])
        };
        for extra in [0, high] {
            for (call, args, allowed) in [
                (libc::SYS_socket, [1, 1, 0], true),
                (libc::SYS_socket, [10, 2, 0], true),
                (libc::SYS_socket, [16, 3, 0], true),
                (libc::SYS_socket, [16, 3, 12], false),
                (libc::SYS_socket, [17, 3, 0], false),
                (libc::SYS_socket, [40, 1, 0], false),
                (libc::SYS_ioctl, [0, 0x5401, 0], true),
                (libc::SYS_ioctl, [0, u64::from(TIOCSTI), 0], false),
                (libc::SYS_clone, [17, 0, 0], true),
                (libc::SYS_clone, [0x1000_0000, 0, 0], false),
                (libc::SYS_fcntl, [0, 1, 0], true),
                (libc::SYS_fcntl, [0, 8, 0], false),
                (libc::SYS_personality, [0xffff_ffff, 0, 0], true),
                (libc::SYS_personality, [0x0004_0000, 0, 0], false),
            ] {
                let args = args.map(|arg| arg | extra);
                let expected = if allowed { Verdict::Allow } else { EPERM };
                assert_eq!(verdict(call, args), expected, "call {call} with {args:x?}");
            }
        }
    }

    #[test]
    fn what_nothing_else_holds_is_refused() {
        let filter = compile(Policy { counted_memory: false, internet: false, namespaces: false });
        for (call, first, expected) in [
            (libc::SYS_socket, libc::AF_UNIX, Verdict::Allow),
            (libc::SYS_socket, libc::AF_INET, EPERM),
            (libc::SYS_socket, libc::AF_NETLINK, EPERM),
            (libc::SYS_memfd_create, 0, EPERM),
            (libc::SYS_shmget, 0, EPERM),
            (libc::SYS_prlimit64, 0, Verdict::Allow),
            (libc::SYS_prlimit64, 1, EPERM),
            (libc::SYS_setpriority, 0, EPERM),
        ] {
            let args = [first as u64, 0, 0, 0, 0, 0];
            assert_eq!(run(&filter, AUDIT_ARCH, number(call), args), expected, "call {call}");
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for call in TABLE.iter().chain(LEGACY).flat_map(|group| group.calls) {
            assert!(seen.insert(*call), "call {call} is listed twice");
            assert!(number(*call) < FIRST_UNKNOWN, "call {call} is both allowed and unknown");
        }
    }
}
