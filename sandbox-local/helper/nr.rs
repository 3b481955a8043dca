//! Numbers of the system calls that the helper makes.

pub use arch::*;
pub use common::*;

/// System call numbers of the architecture.
#[cfg(target_arch = "x86_64")]
mod arch {
    pub const PERSONALITY: usize = 135;
    pub const SETPRIORITY: usize = 141;
    pub const SCHED_SETSCHEDULER: usize = 144;
    pub const SCHED_SETAFFINITY: usize = 203;
    pub const SCHED_GETAFFINITY: usize = 204;
    pub const IOPRIO_SET: usize = 251;
    pub const FLOCK: usize = 73;
    pub const MKNODAT: usize = 259;
    pub const STATX: usize = 332;
    pub const CAPGET: usize = 125;
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const RT_SIGACTION: usize = 13;
    pub const RT_SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const PREAD64: usize = 17;
    pub const SOCKET: usize = 41;
    pub const SENDMSG: usize = 46;
    pub const FCHOWN: usize = 93;
    pub const LSEEK: usize = 8;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const KILL: usize = 62;
    pub const FCNTL: usize = 72;
    pub const FCHDIR: usize = 81;
    pub const CHDIR: usize = 80;
    pub const UMASK: usize = 95;
    pub const SETGROUPS: usize = 116;
    pub const SETRESUID: usize = 117;
    pub const SETRESGID: usize = 119;
    pub const GETPPID: usize = 110;
    pub const SETSID: usize = 112;
    pub const CAPSET: usize = 126;
    pub const RT_SIGTIMEDWAIT: usize = 128;
    pub const FSTATFS: usize = 138;
    pub const PIVOT_ROOT: usize = 155;
    pub const PRCTL: usize = 157;
    pub const MOUNT: usize = 165;
    pub const UMOUNT2: usize = 166;
    pub const SETHOSTNAME: usize = 170;
    pub const GETDENTS64: usize = 217;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const WAITID: usize = 247;
    pub const OPENAT: usize = 257;
    pub const MKDIRAT: usize = 258;
    pub const UNLINKAT: usize = 263;
    pub const SYMLINKAT: usize = 266;
    pub const PPOLL: usize = 271;
    pub const UNSHARE: usize = 272;
    pub const TIMERFD_CREATE: usize = 283;
    pub const TIMERFD_SETTIME: usize = 286;
    pub const EVENTFD2: usize = 290;
    pub const DUP3: usize = 292;
    pub const PIPE2: usize = 293;
    pub const PRLIMIT64: usize = 302;
    pub const SECCOMP: usize = 317;
    pub const EXECVEAT: usize = 322;
}

/// System call numbers of the architecture.
#[cfg(target_arch = "aarch64")]
mod arch {
    pub const PERSONALITY: usize = 92;
    pub const SETPRIORITY: usize = 140;
    pub const SCHED_SETSCHEDULER: usize = 119;
    pub const SCHED_SETAFFINITY: usize = 122;
    pub const SCHED_GETAFFINITY: usize = 123;
    pub const IOPRIO_SET: usize = 30;
    pub const FLOCK: usize = 32;
    pub const MKNODAT: usize = 33;
    pub const STATX: usize = 291;
    pub const CAPGET: usize = 90;
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const MMAP: usize = 222;
    pub const RT_SIGACTION: usize = 134;
    pub const RT_SIGPROCMASK: usize = 135;
    pub const IOCTL: usize = 29;
    pub const PREAD64: usize = 67;
    pub const SOCKET: usize = 198;
    pub const SENDMSG: usize = 211;
    pub const FCHOWN: usize = 55;
    pub const LSEEK: usize = 62;
    pub const GETPID: usize = 172;
    pub const GETPPID: usize = 173;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const KILL: usize = 129;
    pub const FCNTL: usize = 25;
    pub const FCHDIR: usize = 50;
    pub const CHDIR: usize = 49;
    pub const UMASK: usize = 166;
    pub const SETGROUPS: usize = 159;
    pub const SETRESUID: usize = 147;
    pub const SETRESGID: usize = 149;
    pub const SETSID: usize = 157;
    pub const CAPSET: usize = 91;
    pub const RT_SIGTIMEDWAIT: usize = 137;
    pub const FSTATFS: usize = 44;
    pub const PIVOT_ROOT: usize = 41;
    pub const PRCTL: usize = 167;
    pub const MOUNT: usize = 40;
    pub const UMOUNT2: usize = 39;
    pub const SETHOSTNAME: usize = 161;
    pub const GETDENTS64: usize = 61;
    pub const CLOCK_GETTIME: usize = 113;
    pub const EXIT_GROUP: usize = 94;
    pub const WAITID: usize = 95;
    pub const OPENAT: usize = 56;
    pub const MKDIRAT: usize = 34;
    pub const UNLINKAT: usize = 35;
    pub const SYMLINKAT: usize = 36;
    pub const PPOLL: usize = 73;
    pub const UNSHARE: usize = 97;
    pub const TIMERFD_CREATE: usize = 85;
    pub const TIMERFD_SETTIME: usize = 86;
    pub const EVENTFD2: usize = 19;
    pub const DUP3: usize = 24;
    pub const PIPE2: usize = 59;
    pub const PRLIMIT64: usize = 261;
    pub const SECCOMP: usize = 277;
    pub const EXECVEAT: usize = 281;
}

/// Numbers that every architecture shares: calls added since Linux 5.1.
mod common {
    pub const PIDFD_SEND_SIGNAL: usize = 424;
    pub const OPEN_TREE: usize = 428;
    pub const MOVE_MOUNT: usize = 429;
    pub const FSOPEN: usize = 430;
    pub const FSCONFIG: usize = 431;
    pub const FSMOUNT: usize = 432;
    pub const CLONE3: usize = 435;
    pub const CLOSE_RANGE: usize = 436;
    pub const MOUNT_SETATTR: usize = 442;
    pub const LANDLOCK_CREATE_RULESET: usize = 444;
    pub const LANDLOCK_ADD_RULE: usize = 445;
    pub const LANDLOCK_RESTRICT_SELF: usize = 446;
}
