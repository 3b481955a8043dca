//! Calls that are answered without being made, each kind with its reason.

use super::*;

pub(super) const REFUSED: &[Group] = &[
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
