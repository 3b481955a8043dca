//! Calls that only x86_64 has: most are older forms of others.

use super::*;

#[cfg(target_arch = "x86_64")]
use crate::seccomp::commands::{ARCH_PRCTL, OPEN};

#[cfg(target_arch = "x86_64")]
pub(super) const LEGACY: &[Group] = &[
    Group {
        reason: "older forms of calls that are allowed",
        rule: Rule::Allow,
        calls: calls![
            SYS_creat SYS_stat SYS_lstat SYS_access SYS_readlink SYS_getdents SYS_mkdir
            SYS_rmdir SYS_unlink SYS_rename SYS_link SYS_symlink SYS_mknod SYS_chmod SYS_chown
            SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_poll SYS_select SYS_epoll_create
            SYS_epoll_wait SYS_eventfd SYS_signalfd SYS_inotify_init SYS_pipe SYS_dup2 SYS_fork
            SYS_vfork SYS_getpgrp SYS_alarm SYS_pause SYS_time
        ],
    },
    Group {
        reason: "as openat",
        rule: Rule::AllowIf(&[When::OnlyBits(1, OPEN)], Answer::Invalid),
        calls: calls![SYS_open],
    },
    Group {
        reason: "registers of the processor, but none that makes it slower",
        rule: Rule::AllowIf(&[When::OneOf(0, ARCH_PRCTL)], Answer::Invalid),
        calls: calls![SYS_arch_prctl],
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
