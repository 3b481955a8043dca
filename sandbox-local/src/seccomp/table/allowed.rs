//! Calls that the kernel makes, some only with the arguments that programs need.

use super::*;
use crate::seccomp::commands::{
    CLONE, FCNTL, IOCTL, IP_OPTIONS, IPV6_OPTIONS, MADVISE, MEMFD, MMAP, OPEN, PIPE, PRCTL,
    READ_WRITE, RECEIVE, SCHEDULER, SEND, SETFL, SHMGET, SOCKET_LEVELS, SOCKET_OPTIONS, SPLICE,
    TCP_OPTIONS,
};

/// The signal that a child's end sends: the low byte of `clone`'s flags.
const CLONE_SIGNAL: u32 = 0xff;
const SIGCHLD: u32 = libc::SIGCHLD as u32;
const F_SETFL: u32 = libc::F_SETFL as u32;
const MS_SYNC: u32 = 4;
const POSIX_FADV_DONTNEED: u32 = 4;

pub(super) const ALLOWED: &[Group] = &[
    Group {
        reason: "read and write open files",
        rule: Rule::Allow,
        calls: calls![
            SYS_read SYS_write SYS_readv SYS_writev SYS_pread64 SYS_pwrite64 SYS_preadv SYS_pwritev
            SYS_lseek SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_sendfile SYS_copy_file_range
            SYS_ftruncate SYS_truncate SYS_fallocate SYS_readahead SYS_flock
        ],
    },
    Group {
        reason: "the same with flags, but none that tells what is in the host's page cache or \
                 goes past it",
        rule: Rule::AllowIf(&[When::OnlyBits(5, READ_WRITE)], Answer::NotSupported),
        calls: calls![SYS_preadv2 SYS_pwritev2],
    },
    Group {
        reason: "tells what is in the host's page cache",
        rule: Rule::Answer(Answer::Missing),
        calls: calls![(451 cachestat)],
    },
    Group {
        reason: "move bytes between pipes and files, but not half a datagram: what waits for the \
                 rest is memory that no limit counts",
        rule: Rule::AllowIf(&[When::OnlyBits(5, SPLICE)], Answer::Invalid),
        calls: calls![SYS_splice],
    },
    Group {
        reason: "the same between pipes and memory",
        rule: Rule::AllowIf(&[When::OnlyBits(3, SPLICE)], Answer::Invalid),
        calls: calls![SYS_tee SYS_vmsplice],
    },
    Group {
        reason: "open files, but not past the host's page cache, whose disk would serve nobody \
                 else, and without signals",
        rule: Rule::AllowIf(&[When::OnlyBits(2, OPEN)], Answer::Invalid),
        calls: calls![SYS_openat],
    },
    Group {
        reason: "its flags are in memory, where a filter cannot see them; callers fall back to \
                 openat",
        rule: Rule::Answer(Answer::Missing),
        calls: calls![SYS_openat2],
    },
    Group {
        reason: "walk and change files; mounts, DAC and Landlock decide which",
        rule: Rule::Allow,
        calls: calls![
            SYS_newfstatat SYS_fstat SYS_statx SYS_statfs SYS_fstatfs
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
            SYS_brk SYS_munmap SYS_mremap SYS_mprotect SYS_mincore SYS_mlock SYS_mlock2 SYS_munlock SYS_mlockall SYS_munlockall SYS_pkey_alloc
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
        rule: Rule::AllowIf(&[When::OnlyBits(3, MMAP)], Answer::Refused),
        calls: calls![SYS_mmap],
    },
    Group {
        reason: "advice about the own memory, but none that shares pages with others, writes them \
                 out or takes them from the machine",
        rule: Rule::AllowIf(&[When::OneOf(2, MADVISE)], Answer::Invalid),
        calls: calls![SYS_madvise],
    },
    Group {
        reason: "files without a name, but not of huge pages",
        rule: Rule::AllowIf(&[When::OnlyBits(1, MEMFD)], Answer::Refused),
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
            SYS_sched_getaffinity SYS_sched_getparam SYS_sched_getscheduler SYS_sched_getattr
            SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval
            SYS_getpriority SYS_ioprio_get SYS_getcpu SYS_getrlimit
            SYS_setrlimit SYS_getrusage SYS_times SYS_capget SYS_capset
            SYS_pidfd_open SYS_pidfd_send_signal
        ],
    },
    Group {
        reason: "limits, processors and priority of the caller itself: PID 1 has the job's user, \
                 and could be ended or slowed down by them",
        rule: Rule::AllowIf(&[When::OneOf(0, &[0])], Answer::Refused),
        calls: calls![SYS_prlimit64 SYS_sched_setaffinity SYS_sched_setparam],
    },
    Group {
        reason: "the caller's policy, but none that waits for an idle machine: a process that is \
                 killed must run once more to end",
        rule: Rule::AllowIf(&[When::OneOf(0, &[0]), When::OneOf(1, SCHEDULER)], Answer::Refused),
        calls: calls![SYS_sched_setscheduler],
    },
    Group {
        reason: "its policy is in memory, where a filter cannot see it; callers fall back to \
                 sched_setscheduler",
        rule: Rule::Answer(Answer::Missing),
        calls: calls![SYS_sched_setattr],
    },
    Group {
        reason: "the caller's nice value, and nobody else's; the supervisor takes it back before \
                 it kills",
        rule: Rule::AllowIf(&[When::OneOf(0, &[0]), When::OneOf(1, &[0])], Answer::Refused),
        calls: calls![SYS_setpriority],
    },
    Group {
        reason: "a job reads the host's disk at the priority that it was given",
        rule: Rule::Answer(Answer::Refused),
        calls: calls![SYS_ioprio_set],
    },
    Group {
        reason: "rules of Landlock of its own: memory that no limit counts, and lines in the \
                 host's audit log; as on a kernel without Landlock",
        rule: Rule::Answer(Answer::Missing),
        calls: calls![
            SYS_landlock_create_ruleset SYS_landlock_add_rule SYS_landlock_restrict_self
        ],
    },
    Group {
        reason: "attributes of the own process, but no filters of its own, names of memory \
                 (memory that no limit counts), merged pages or groups of processors",
        rule: Rule::AllowIf(&[When::OneOf(0, PRCTL)], Answer::Refused),
        calls: calls![SYS_prctl],
    },
    Group {
        reason: "fork and threads, but no namespaces, and no child for the caller's parent, which \
                 is outside",
        rule: Rule::AllowIf(
            &[
                When::OnlyBits(0, CLONE | CLONE_SIGNAL),
                When::BitsOneOf { value: 0, mask: CLONE_SIGNAL, allowed: &[0, SIGCHLD] },
            ],
            Answer::Refused,
        ),
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
            SYS_epoll_pwait2 SYS_eventfd2
        ],
    },
    Group {
        reason: "pipes, but none of packets: a packet of one byte costs its reader a page",
        rule: Rule::AllowIf(&[When::OnlyBits(1, PIPE)], Answer::Invalid),
        calls: calls![SYS_pipe2],
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
        rule: Rule::AllowIf(&[When::OnlyBits(2, SHMGET)], Answer::Refused),
        calls: calls![SYS_shmget],
    },
    Group {
        reason: "sockets that exist already",
        rule: Rule::Allow,
        calls: calls![
            SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_getsockname
            SYS_getpeername SYS_shutdown
        ],
    },
    Group {
        reason: "sending, but not half a datagram, which is memory that no limit counts, and no \
                 urgent data, a rare surface of the kernel",
        rule: Rule::AllowIf(&[When::OnlyBits(3, SEND)], Answer::NotSupported),
        calls: calls![SYS_sendto SYS_sendmmsg],
    },
    Group {
        reason: "the same",
        rule: Rule::AllowIf(&[When::OnlyBits(2, SEND)], Answer::NotSupported),
        calls: calls![SYS_sendmsg],
    },
    Group {
        reason: "receiving, but no urgent data",
        rule: Rule::AllowIf(&[When::OnlyBits(3, RECEIVE)], Answer::NotSupported),
        calls: calls![SYS_recvfrom SYS_recvmmsg],
    },
    Group {
        reason: "the same",
        rule: Rule::AllowIf(&[When::OnlyBits(2, RECEIVE)], Answer::NotSupported),
        calls: calls![SYS_recvmsg],
    },
    Group {
        reason: "reading options of sockets, but none of packet filters and rare protocols, and not \
                 the number of the network namespace, which counts all of the host's",
        rule: Rule::AllowIf(
            &[When::OneOf(1, SOCKET_LEVELS), When::NoneOf(2, &[libc::SO_NETNS_COOKIE as u32])],
            Answer::NotSupported,
        ),
        calls: calls![SYS_getsockopt],
    },
    Group {
        reason: "options of sockets, but none whose memory no limit counts (attached programs, \
                 keys, memberships), none that rewrites the kernel's code (timestamps), and no \
                 wait at the end (`SO_LINGER`), which a worker of the kernel can be made to do",
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
        reason: "device control of terminals, sockets and files",
        rule: Rule::AllowIf(&[When::OneOf(1, IOCTL)], Answer::Refused),
        calls: calls![SYS_ioctl],
    },
    Group {
        reason: "descriptor flags and locks, but no signals to strangers, no watches that slow \
                 everybody in a folder, no leases, no locks that outlive a process's view",
        rule: Rule::AllowIf(
            &[
                When::OneOf(1, FCNTL),
                When::OnlyBitsIf { key: 1, is: F_SETFL, value: 2, bits: SETFL },
            ],
            Answer::Refused,
        ),
        calls: calls![SYS_fcntl],
    },
];
