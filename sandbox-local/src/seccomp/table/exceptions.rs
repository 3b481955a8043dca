//! Calls whose rule depends on what else holds the job.

use super::super::Sockets;
use super::super::commands::MMAP;
use super::*;

/// In this order; a later one wins.
pub(in crate::seccomp) const EXCEPTIONS: &[Exception] = &[
    Exception {
        applies: |policy| policy.sockets == Sockets::Host,
        group: Group {
            reason: "with the caller's network: netlink's routing family too, for interface lists. \
                     Without, its memory would be nobody's",
            rule: Rule::AllowIf(
                &[
                    When::Keyed {
                        key: 0,
                        value: 1,
                        mask: TYPE,
                        allowed: &[
                            (UNIX, ANY_UNIX),
                            (INET, STREAM_DATAGRAM),
                            (INET6, STREAM_DATAGRAM),
                            (NETLINK, &[libc::SOCK_RAW as u32, libc::SOCK_DGRAM as u32]),
                        ],
                    },
                    When::Keyed {
                        key: 0,
                        value: 2,
                        mask: WHOLE,
                        allowed: &[
                            (UNIX, &[0, 1]),
                            (INET, TCP_UDP),
                            (INET6, TCP_UDP),
                            (NETLINK, &[libc::NETLINK_ROUTE as u32]),
                        ],
                    },
                ],
                Answer::NoFamily,
            ),
            calls: calls![SYS_socket],
        },
    },
    Exception {
        applies: |policy| policy.sockets == Sockets::Unix,
        group: Group {
            reason: "without a network namespace, a job that is denied the network has unix sockets \
                     only",
            rule: Rule::AllowIf(&[When::OneOf(0, &[UNIX])], Answer::NoFamily),
            calls: calls![SYS_socket],
        },
    },
    Exception {
        applies: |policy| !policy.counted_memory,
        group: Group {
            reason: "without a memory cgroup, nobody counts memory that no process maps",
            rule: Rule::Answer(Answer::Refused),
            calls: calls![SYS_memfd_create SYS_shmget SYS_vmsplice],
        },
    },
    Exception {
        applies: |policy| !policy.counted_memory,
        group: Group {
            reason: "the same of anonymous memory that is shared: its pages stay when nobody maps \
                     them any more",
            rule: Rule::AllowIf(
                &[
                    When::OnlyBits(3, MMAP),
                    When::BitsOneOf {
                        value: 3,
                        mask: (libc::MAP_SHARED | libc::MAP_ANONYMOUS) as u32,
                        allowed: &[0, libc::MAP_SHARED as u32, libc::MAP_ANONYMOUS as u32],
                    },
                ],
                Answer::Refused,
            ),
            calls: calls![SYS_mmap],
        },
    },
    Exception {
        applies: |policy| !policy.raises_priority,
        group: Group {
            reason: "what a process gave up, the supervisor could not give back, and a process that \
                     is killed must run once more to end",
            rule: Rule::Answer(Answer::Refused),
            calls: calls![SYS_setpriority],
        },
    },
    Exception {
        applies: |policy| !policy.namespaces,
        group: Group {
            reason: "without an IPC and a pid namespace, what processes of a user share",
            rule: Rule::Answer(Answer::Refused),
            calls: calls![
                SYS_shmget SYS_shmat SYS_shmctl SYS_semget
                SYS_semctl SYS_semop SYS_semtimedop SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl
                SYS_mq_open SYS_mq_unlink
            ],
        },
    },
];
