//! The table: every call that this library knows, once, with what happens to it and why.

use super::options::{IP_OPTIONS, IPV6_OPTIONS, SOCKET_OPTIONS, TCP_OPTIONS};

/// A system call by name and number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    #[cfg_attr(not(test), expect(dead_code, reason = "for people: docs/system-calls.md"))]
    name: &'static str,
    pub(super) number: u32,
}

#[cfg(test)]
impl Call {
    /// The name, as in its manual page.
    pub(super) fn name(&self) -> &'static str {
        self.name.trim_start_matches("SYS_")
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The kernel makes it.
    Allow,
    /// The kernel makes it when its arguments fulfil all of these; else it answers like the second.
    AllowIf(&'static [When], Answer),
    /// It is not made.
    Answer(Answer),
}

/// What a call returns that is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `EPERM`: it is forbidden.
    Refused,
    /// `ENOSYS`, as on a kernel that does not have it: callers fall back to an older call.
    Missing,
    /// `EAFNOSUPPORT`, as on a kernel that was built without that family.
    NoFamily,
    /// `EOPNOTSUPP`, as on a file system or a socket that cannot do it.
    NotSupported,
    /// 0, and nothing is done.
    Done,
}

/// A condition on arguments, counted from 0. Arguments are compared in the 32 bits that the kernel
/// reads of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The argument is one of these.
    OneOf(u8, &'static [u32]),
    /// The argument is none of these.
    NoneOf(u8, &'static [u32]),
    /// The argument has none of these bits.
    WithoutBits(u8, u32),
    /// The argument `key` is one that is listed, and the bits `mask` of the argument `value` are
    /// one of those listed beside it.
    Keyed { key: u8, value: u8, mask: u32, allowed: &'static [(u32, &'static [u32])] },
}

/// Calls that share a rule and its reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    #[cfg_attr(not(test), expect(dead_code, reason = "for people: docs/system-calls.md"))]
    pub(super) reason: &'static str,
    pub(super) rule: Rule,
    pub(super) calls: &'static [Call],
}

/// Calls whose rule depends on what else holds the job.
pub(super) struct Exception {
    pub(super) group: Group,
    pub(super) applies: fn(super::Policy) -> bool,
}

/// Calls by their names in `libc`. `(449 futex_waitv)` is one that `libc` has no name for on every
/// architecture.
macro_rules! calls {
    (@ $name:ident) => { Call { name: stringify!($name), number: libc::$name as u32 } };
    (@ ($number:literal $name:ident)) => { Call { name: stringify!($name), number: $number } };
    ($($call:tt)*) => { &[$(calls!(@ $call)),*] };
}

mod exceptions;

pub(super) use exceptions::EXCEPTIONS;

const CLONE_NEW_ANY: u32 = 0x7e02_0080;
const MAP_HUGETLB: u32 = 0x0004_0000;
const MFD_HUGETLB: u32 = 0x0004;
const SHM_HUGETLB: u32 = 0o4000;
const PR_SET_SECCOMP: u32 = 22;
const MS_SYNC: u32 = 4;
const POSIX_FADV_DONTNEED: u32 = 4;
const MSG_MORE: u32 = 0x8000;
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const FIOSETOWN: u32 = 0x8901;
const SIOCSPGRP: u32 = 0x8902;
const F_SETOWN: u32 = 8;
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;

const UNIX: u32 = libc::AF_UNIX as u32;
const INET: u32 = libc::AF_INET as u32;
const INET6: u32 = libc::AF_INET6 as u32;
const NETLINK: u32 = libc::AF_NETLINK as u32;

/// TCP and UDP, by default or by name. Others load modules of the kernel that hardly anybody uses.
const TCP_UDP: &[u32] = &[0, libc::IPPROTO_TCP as u32, libc::IPPROTO_UDP as u32];
const STREAM_DATAGRAM: &[u32] = &[libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32];
const ANY_UNIX: &[u32] =
    &[libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32, libc::SOCK_SEQPACKET as u32];
/// The type of a socket without its flags `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
const TYPE: u32 = 0xf;
const WHOLE: u32 = u32::MAX;

/// What every job may do, and may not.
pub(super) const TABLE: &[Group] = &[
    Group {
        reason: "read and write open files",
        rule: Rule::Allow,
        calls: calls![
            SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev
            SYS_preadv2 SYS_pwritev2 SYS_lseek SYS_close SYS_close_range SYS_dup SYS_dup3
            SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_copy_file_range SYS_ftruncate
            SYS_truncate SYS_fallocate SYS_readahead SYS_flock (451 cachestat)
        ],
    },
    Group {
        reason: "walk and change files; mounts, DAC and Landlock decide which",
        rule: Rule::Allow,
        calls: calls![
            SYS_openat SYS_openat2 SYS_newfstatat SYS_fstat SYS_statx SYS_statfs SYS_fstatfs
            SYS_faccessat SYS_faccessat2 SYS_readlinkat SYS_getdents64 SYS_getcwd SYS_chdir
            SYS_fchdir SYS_mkdirat SYS_unlinkat SYS_renameat SYS_renameat2 SYS_linkat SYS_symlinkat
            SYS_mknodat SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_utimensat SYS_umask
            SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_listxattr SYS_llistxattr SYS_flistxattr
            SYS_removexattr SYS_lremovexattr SYS_fremovexattr SYS_inotify_init1
            SYS_inotify_add_watch SYS_inotify_rm_watch (452 fchmodat2) (464 getxattrat)
            (465 listxattrat) (466 removexattrat)
        ],
    },
    Group {
        reason: "an access list of 64 KiB on each file would be memory that no limit counts, and a \
                 filter cannot tell the attributes apart",
        rule: Rule::Answer(Answer::NotSupported),
        calls: calls![SYS_setxattr SYS_lsetxattr SYS_fsetxattr (463 setxattrat)],
    },
    Group {
        reason: "would make the host's disks write, also for a file of the host's that is only read; a \
                 job's files are in memory",
        rule: Rule::Answer(Answer::Done),
        calls: calls![SYS_sync SYS_syncfs SYS_fsync SYS_fdatasync SYS_sync_file_range],
    },
    Group {
        reason: "the same for mapped files",
        rule: Rule::AllowIf(&[When::WithoutBits(2, MS_SYNC)], Answer::Done),
        calls: calls![SYS_msync],
    },
    Group {
        reason: "advice about files, but none that empties the host's page cache",
        rule: Rule::AllowIf(&[When::NoneOf(3, &[POSIX_FADV_DONTNEED])], Answer::Done),
        calls: calls![SYS_fadvise64],
    },
    Group {
        reason: "memory of the own process; the memory limit bounds it",
        rule: Rule::Allow,
        calls: calls![
            SYS_brk SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_mincore SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_pkey_alloc
            SYS_pkey_free SYS_pkey_mprotect SYS_membarrier SYS_get_mempolicy SYS_set_mempolicy (453 map_shadow_stack) (462 mseal)
        ],
    },
    Group {
        reason: "policies of single ranges, which no limit counts",
        rule: Rule::Answer(Answer::Missing),
        calls: calls![SYS_mbind],
    },
    Group {
        reason: "memory, but no huge pages: they come from a pool of the host's that no limit of \
                 memory counts",
        rule: Rule::AllowIf(&[When::WithoutBits(3, MAP_HUGETLB)], Answer::Refused),
        calls: calls![SYS_mmap],
    },
    Group {
        reason: "files without a name, but not of huge pages",
        rule: Rule::AllowIf(&[When::WithoutBits(1, MFD_HUGETLB)], Answer::Refused),
        calls: calls![SYS_memfd_create],
    },
    Group {
        reason: "processes and threads; the process limit bounds them",
        rule: Rule::Allow,
        calls: calls![
            SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid SYS_getpid
            SYS_gettid SYS_getppid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid
            SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_rseq SYS_futex
            (454 futex_wake) (455 futex_wait) (456 futex_requeue) (449 futex_waitv) SYS_sched_yield
            SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getparam SYS_sched_setparam
            SYS_sched_getscheduler SYS_sched_setscheduler SYS_sched_getattr SYS_sched_setattr
            SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval
            SYS_getpriority SYS_setpriority SYS_ioprio_get SYS_ioprio_set SYS_getcpu SYS_getrlimit
            SYS_setrlimit SYS_getrusage SYS_times SYS_capget SYS_capset
            SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
            SYS_pidfd_open SYS_pidfd_send_signal
        ],
    },
    Group {
        reason: "limits of the caller itself: PID 1 has the job's user, and one of its could end it",
        rule: Rule::AllowIf(&[When::OneOf(0, &[0])], Answer::Refused),
        calls: calls![SYS_prlimit64],
    },
    Group {
        reason: "attributes of the own process, but no filters of its own: their programs are \
                 memory that no limit counts",
        rule: Rule::AllowIf(&[When::NoneOf(0, &[PR_SET_SECCOMP])], Answer::Refused),
        calls: calls![SYS_prctl],
    },
    Group {
        reason: "fork and threads, but no namespaces",
        rule: Rule::AllowIf(&[When::WithoutBits(0, CLONE_NEW_ANY)], Answer::Refused),
        calls: calls![SYS_clone],
    },
    Group {
        reason: "its arguments are in memory, where a filter cannot see namespaces; C libraries \
                 fall back to clone",
        rule: Rule::Answer(Answer::Missing),
        calls: calls![SYS_clone3],
    },
    Group {
        reason: "signals within the job's own pid namespace",
        rule: Rule::Allow,
        calls: calls![
            SYS_kill SYS_tkill SYS_tgkill SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigpending
            SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo SYS_rt_sigsuspend SYS_rt_sigtimedwait
            SYS_rt_sigreturn SYS_sigaltstack SYS_signalfd4 SYS_restart_syscall
        ],
    },
    Group {
        reason: "time, read and waited for",
        rule: Rule::Allow,
        calls: calls![
            SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_gettimeofday SYS_nanosleep
            SYS_getitimer SYS_setitimer SYS_timer_create SYS_timer_settime SYS_timer_gettime
            SYS_timer_getoverrun SYS_timer_delete SYS_timerfd_create SYS_timerfd_settime
            SYS_timerfd_gettime
        ],
    },
    Group {
        reason: "identity as it is; the user namespace maps a single id",
        rule: Rule::Allow,
        calls: calls![
            SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid
            SYS_getgroups SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid
            SYS_setresgid SYS_setgroups SYS_setfsuid SYS_setfsgid SYS_uname SYS_sysinfo
            SYS_getrandom
        ],
    },
    Group {
        reason: "asking for the execution domain, and setting the native one",
        rule: Rule::AllowIf(&[When::OneOf(0, &[0, 0xffff_ffff])], Answer::Refused),
        calls: calls![SYS_personality],
    },
    Group {
        reason: "waiting for descriptors, and descriptors between the job's processes",
        rule: Rule::Allow,
        calls: calls![
            SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
            SYS_epoll_pwait2 SYS_eventfd2 SYS_pipe2
        ],
    },
    Group {
        reason: "IPC within the job's own IPC namespace",
        rule: Rule::Allow,
        calls: calls![
            SYS_shmat SYS_shmdt SYS_shmctl SYS_semget SYS_semop SYS_semtimedop SYS_semctl
            SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_mq_open SYS_mq_unlink SYS_mq_timedsend
            SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
        ],
    },
    Group {
        reason: "shared memory, but not of huge pages",
        rule: Rule::AllowIf(&[When::WithoutBits(2, SHM_HUGETLB)], Answer::Refused),
        calls: calls![SYS_shmget],
    },
    Group {
        reason: "sockets that exist already",
        rule: Rule::Allow,
        calls: calls![
            SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname
            SYS_getpeername SYS_getsockopt SYS_recvfrom SYS_recvmsg SYS_recvmmsg SYS_shutdown
        ],
    },
    Group {
        reason: "sending, but not half a datagram: what waits for the rest is memory that no limit \
                 counts",
        rule: Rule::AllowIf(&[When::WithoutBits(3, MSG_MORE)], Answer::NotSupported),
        calls: calls![SYS_sendto SYS_sendmmsg],
    },
    Group {
        reason: "the same",
        rule: Rule::AllowIf(&[When::WithoutBits(2, MSG_MORE)], Answer::NotSupported),
        calls: calls![SYS_sendmsg],
    },
    Group {
        reason: "options of sockets, but none whose memory no limit counts: attached programs, \
                 keys, memberships",
        rule: Rule::AllowIf(
            &[When::Keyed {
                key: 1,
                value: 2,
                mask: WHOLE,
                allowed: &[
                    (libc::SOL_SOCKET as u32, SOCKET_OPTIONS),
                    (libc::IPPROTO_TCP as u32, TCP_OPTIONS),
                    (libc::IPPROTO_IP as u32, IP_OPTIONS),
                    (libc::IPPROTO_IPV6 as u32, IPV6_OPTIONS),
                ],
            }],
            Answer::Refused,
        ),
        calls: calls![SYS_setsockopt],
    },
    Group {
        reason: "unix sockets, and TCP and UDP within the job's own network namespace",
        rule: Rule::AllowIf(
            &[
                When::Keyed {
                    key: 0,
                    value: 1,
                    mask: TYPE,
                    allowed: &[(UNIX, ANY_UNIX), (INET, STREAM_DATAGRAM), (INET6, STREAM_DATAGRAM)],
                },
                When::Keyed {
                    key: 0,
                    value: 2,
                    mask: WHOLE,
                    allowed: &[(UNIX, &[0, 1]), (INET, TCP_UDP), (INET6, TCP_UDP)],
                },
            ],
            Answer::NoFamily,
        ),
        calls: calls![SYS_socket],
    },
    Group {
        reason: "pairs of unix sockets",
        rule: Rule::AllowIf(&[When::OneOf(0, &[UNIX])], Answer::Refused),
        calls: calls![SYS_socketpair],
    },
    Group {
        reason: "device control, but no input into terminals and no signals to strangers",
        rule: Rule::AllowIf(
            &[When::NoneOf(1, &[TIOCSTI, TIOCLINUX, FIOSETOWN, SIOCSPGRP])],
            Answer::Refused,
        ),
        calls: calls![SYS_ioctl],
    },
    Group {
        reason: "descriptor flags and locks, but no signals to strangers",
        rule: Rule::AllowIf(
            &[When::NoneOf(1, &[F_SETOWN, F_SETSIG, F_SETOWN_EX])],
            Answer::Refused,
        ),
        calls: calls![SYS_fcntl],
    },
    Group {
        reason: "other processes: their memory, descriptors and instructions",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![
            SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_process_madvise
            SYS_process_mrelease SYS_pidfd_getfd SYS_kcmp SYS_move_pages SYS_migrate_pages
        ],
    },
    Group {
        reason: "namespaces and roots",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![SYS_unshare SYS_setns SYS_chroot SYS_pivot_root],
    },
    Group {
        reason: "mounts, new and old ways",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![
            SYS_mount SYS_umount2 SYS_open_tree SYS_move_mount SYS_fsopen SYS_fsconfig SYS_fsmount
            SYS_fspick SYS_mount_setattr (457 statmount) (458 listmount) (467 open_tree_attr)
        ],
    },
    Group {
        reason: "makes calls, and opens sockets, past this filter",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register],
    },
    Group {
        reason: "asynchronous I/O of the kernel's, whose rings are memory of their own; C libraries \
                 have it in threads",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![
            SYS_io_setup SYS_io_destroy SYS_io_getevents SYS_io_submit SYS_io_cancel
            (333 io_pgetevents)
        ],
    },
    Group {
        reason: "programs inside the kernel",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![SYS_bpf SYS_seccomp],
    },
    Group {
        reason: "keys, which outlive their makers",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![SYS_add_key SYS_request_key SYS_keyctl],
    },
    Group {
        reason: "large surfaces of the kernel that programs do without",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![
            SYS_perf_event_open SYS_userfaultfd SYS_fanotify_init SYS_fanotify_mark
            SYS_memfd_secret SYS_remap_file_pages SYS_set_mempolicy_home_node SYS_lookup_dcookie
            (468 file_getattr) (469 file_setattr)
        ],
    },
    Group {
        reason: "files by handle, past every path",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![SYS_open_by_handle_at SYS_name_to_handle_at],
    },
    Group {
        reason: "the machine: its clock, name, modules, swap, quotas, log, power",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![
            SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_sethostname
            SYS_setdomainname SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load
            SYS_kexec_file_load SYS_swapon SYS_swapoff SYS_quotactl SYS_quotactl_fd SYS_syslog
            SYS_acct SYS_reboot SYS_vhangup SYS_nfsservctl
        ],
    },
    Group {
        reason: "attributes of security modules",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![(459 lsm_get_self_attr) (460 lsm_set_self_attr) (461 lsm_list_modules)],
    },
];

/// Calls that only x86_64 has: most are older forms of others.
#[cfg(target_arch = "x86_64")]
pub(super) const LEGACY: &[Group] = &[
    Group {
        reason: "older forms of calls that are allowed",
        rule: Rule::Allow,
        calls: calls![
            SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_mkdir
            SYS_rmdir SYS_unlink SYS_rename SYS_link SYS_symlink SYS_mknod SYS_chmod SYS_chown
            SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_poll SYS_select SYS_epoll_create
            SYS_epoll_wait SYS_eventfd SYS_signalfd SYS_inotify_init SYS_pipe SYS_dup2 SYS_fork
            SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_time SYS_arch_prctl
        ],
    },
    Group {
        reason: "segments and ports of the processor",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![
            SYS_modify_ldt SYS_iopl SYS_ioperm SYS_set_thread_area SYS_get_thread_area
        ],
    },
    Group {
        reason: "obsolete, or never made",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![
            SYS_uselib SYS_ustat SYS_sysfs SYS__sysctl (174 create_module)
            (177 get_kernel_syms) (178 query_module) SYS_getpmsg SYS_putpmsg SYS_afs_syscall SYS_tuxcall SYS_security
            SYS_epoll_ctl_old SYS_epoll_wait_old SYS_vserver
        ],
    },
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const LEGACY: &[Group] = &[];

/// Numbers below [`FIRST_UNKNOWN`](super::FIRST_UNKNOWN) that no program calls; refused. From 335
/// on the kernel has probes' trampolines, then nothing up to the calls that all architectures
/// number alike.
#[cfg(all(test, target_arch = "x86_64"))]
pub(super) const UNUSED: std::ops::RangeInclusive<u32> = 335..=423;
