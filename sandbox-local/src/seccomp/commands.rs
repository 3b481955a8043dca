//! Commands, flags and options that programs need, each with its reason. The table refuses every
//! other value.

/// Declares lists once, for the filter and for the page that people read.
///
/// `values` makes a slice of the values, `bits` a mask of them.
macro_rules! lists {
    ($($kind:ident $list:ident: $title:literal { $($name:ident = $value:expr, $reason:literal;)+ })+) => {
        $(lists!(@ $kind $list, $title, $($value),+);)+

        /// Every list: its title, and the name, value and reason of each entry.
        #[cfg(test)]
        pub(super) const LISTS: &[List] = &[
            $(($title, &[$((stringify!($name), $value, $reason)),+])),+
        ];
    };
    (@ values $list:ident, $title:literal, $($value:expr),+) => {
        #[doc = $title]
        pub(super) const $list: &[u32] = &[$($value),+];
    };
    (@ bits $list:ident, $title:literal, $($value:expr),+) => {
        #[doc = $title]
        pub(super) const $list: u32 = $($value)|+;
    };
}

/// A title, and the name, value and reason of each entry.
#[cfg(test)]
pub(super) type List = (&'static str, &'static [(&'static str, u32, &'static str)]);

/// What `F_GETFL` reports on 64-bit kernels of every file that was opened by `open`.
#[cfg(target_arch = "x86_64")]
const LARGEFILE: u32 = 0o100_000;
#[cfg(not(target_arch = "x86_64"))]
const LARGEFILE: u32 = 0o400_000;

const ACCESS: u32 = libc::O_ACCMODE as u32;
const APPEND: u32 = libc::O_APPEND as u32;
const NONBLOCK: u32 = libc::O_NONBLOCK as u32;
const CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const DIRECTORY: u32 = libc::O_DIRECTORY as u32;
const NOFOLLOW: u32 = libc::O_NOFOLLOW as u32;
const SYNC: u32 = libc::O_SYNC as u32;
const NOATIME: u32 = libc::O_NOATIME as u32;
const TMPFILE: u32 = libc::O_TMPFILE as u32;

lists! {
    values FCNTL: "`fcntl`, argument 1" {
        F_DUPFD = 0, "duplicate a descriptor";
        F_GETFD = 1, "read descriptor flags";
        F_SETFD = 2, "set close-on-exec";
        F_GETFL = 3, "read file flags";
        F_SETFL = 4, "set file flags; argument 2 is restricted";
        F_GETLK = 5, "ask for a lock of sqlite and others";
        F_SETLK = 6, "take a lock";
        F_SETLKW = 7, "wait for a lock";
        F_DUPFD_CLOEXEC = 1030, "duplicate a descriptor";
        F_SETPIPE_SZ = 1031, "size of a pipe; the kernel bounds it";
        F_GETPIPE_SZ = 1032, "size of a pipe";
        F_ADD_SEALS = 1033, "seal a memfd";
        F_GET_SEALS = 1034, "read the seals of a memfd";
    }
    bits SETFL: "`fcntl(F_SETFL)`, bits of argument 2" {
        O_ACCMODE = ACCESS, "callers write back what `F_GETFL` said; the kernel ignores it";
        O_APPEND = APPEND, "append";
        O_NONBLOCK = NONBLOCK, "do not wait";
        O_LARGEFILE = LARGEFILE, "as `O_ACCMODE`";
        O_DIRECTORY = DIRECTORY, "as `O_ACCMODE`";
        O_NOFOLLOW = NOFOLLOW, "as `O_ACCMODE`";
        O_SYNC = SYNC, "as `O_ACCMODE`";
        O_NOATIME = NOATIME, "do not note the time of a read";
        O_TMPFILE = TMPFILE, "as `O_ACCMODE`";
    }
    bits OPEN: "`open` and `openat`, bits of the flags" {
        O_ACCMODE = ACCESS, "read, write or both";
        O_CREAT = libc::O_CREAT as u32, "make the file";
        O_EXCL = libc::O_EXCL as u32, "only when there is none";
        O_NOCTTY = libc::O_NOCTTY as u32, "the default of careful libraries";
        O_TRUNC = libc::O_TRUNC as u32, "empty the file";
        O_APPEND = APPEND, "append";
        O_NONBLOCK = NONBLOCK, "do not wait for the other end of a FIFO";
        O_SYNC = SYNC, "databases; files of a job are in memory";
        O_LARGEFILE = LARGEFILE, "set by C libraries";
        O_DIRECTORY = DIRECTORY, "only a folder";
        O_NOFOLLOW = NOFOLLOW, "no link";
        O_NOATIME = NOATIME, "do not note the time of a read";
        O_CLOEXEC = CLOEXEC, "not for children";
        O_PATH = libc::O_PATH as u32, "a place, without its content";
        O_TMPFILE = TMPFILE, "a file without a name";
    }
    bits PIPE: "`pipe2`, bits of argument 1" {
        O_NONBLOCK = NONBLOCK, "do not wait";
        O_CLOEXEC = CLOEXEC, "not for children";
    }
    bits CLONE: "`clone`, bits of argument 0 without the signal" {
        CLONE_VM = 0x100, "threads, vfork";
        CLONE_FS = 0x200, "threads";
        CLONE_FILES = 0x400, "threads";
        CLONE_SIGHAND = 0x800, "threads";
        CLONE_PIDFD = 0x1000, "fork with a descriptor of the child";
        CLONE_VFORK = 0x4000, "posix_spawn";
        CLONE_THREAD = 0x1_0000, "threads";
        CLONE_SYSVSEM = 0x4_0000, "threads";
        CLONE_SETTLS = 0x8_0000, "threads";
        CLONE_PARENT_SETTID = 0x10_0000, "threads";
        CLONE_CHILD_CLEARTID = 0x20_0000, "threads, fork";
        CLONE_DETACHED = 0x40_0000, "threads of musl; the kernel ignores it";
        CLONE_CHILD_SETTID = 0x100_0000, "fork";
    }
    values PRCTL: "`prctl`, argument 0" {
        PR_SET_PDEATHSIG = 1, "end with the parent";
        PR_GET_PDEATHSIG = 2, "read it";
        PR_GET_DUMPABLE = 3, "read whether others may look inside";
        PR_SET_DUMPABLE = 4, "keep others from looking inside";
        PR_SET_NAME = 15, "name a thread";
        PR_GET_NAME = 16, "read the name of a thread";
        PR_GET_SECCOMP = 21, "ask for a filter";
        PR_CAPBSET_READ = 23, "ask for capabilities";
        PR_GET_SECUREBITS = 27, "ask for rules of capabilities";
        PR_SET_TIMERSLACK = 29, "round waits of the caller";
        PR_GET_TIMERSLACK = 30, "read it";
        PR_SET_CHILD_SUBREAPER = 36, "adopt orphans: supervisors of processes";
        PR_GET_CHILD_SUBREAPER = 37, "read it";
        PR_SET_NO_NEW_PRIVS = 38, "set already";
        PR_GET_NO_NEW_PRIVS = 39, "read it";
        PR_SET_THP_DISABLE = 41, "allocators: no huge pages in the own process";
        PR_GET_THP_DISABLE = 42, "read it";
        PR_CAP_AMBIENT = 47, "ask for capabilities";
        PR_SVE_SET_VL = 50, "vectors of arm64";
        PR_SVE_GET_VL = 51, "vectors of arm64";
        PR_GET_SPECULATION_CTRL = 52, "ask for mitigations";
        PR_PAC_RESET_KEYS = 54, "pointer keys of arm64";
        PR_SET_TAGGED_ADDR_CTRL = 55, "tagged pointers of arm64";
        PR_GET_TAGGED_ADDR_CTRL = 56, "read it";
        PR_SET_MDWE = 65, "no memory that is written and executed";
        PR_GET_MDWE = 66, "read it";
    }
    values ARCH_PRCTL: "`arch_prctl`, argument 0" {
        ARCH_SET_GS = 0x1001, "runtimes of other languages";
        ARCH_SET_FS = 0x1002, "the C library's thread pointer";
        ARCH_GET_FS = 0x1003, "read it";
        ARCH_GET_GS = 0x1004, "read it";
        ARCH_GET_XCOMP_SUPP = 0x1021, "ask for AMX";
        ARCH_GET_XCOMP_PERM = 0x1022, "ask for AMX";
        ARCH_REQ_XCOMP_PERM = 0x1023, "use AMX: libraries for matrices";
        ARCH_SHSTK_ENABLE = 0x5001, "the C library's shadow stack";
        ARCH_SHSTK_DISABLE = 0x5002, "the C library's shadow stack";
        ARCH_SHSTK_LOCK = 0x5003, "the C library's shadow stack";
        ARCH_SHSTK_STATUS = 0x5005, "the C library's shadow stack";
    }
    values IOCTL: "`ioctl`, argument 1" {
        TCGETS = 0x5401, "isatty";
        TCSETS = 0x5402, "settings of a terminal: no terminal, says the kernel";
        TCSETSW = 0x5403, "as `TCSETS`";
        TCSETSF = 0x5404, "as `TCSETS`";
        TCGETA = 0x5405, "isatty of old programs";
        TCSBRK = 0x5409, "as `TCSETS`";
        TCXONC = 0x540a, "as `TCSETS`";
        TCFLSH = 0x540b, "as `TCSETS`";
        TIOCSCTTY = 0x540e, "as `TCSETS`";
        TIOCGPGRP = 0x540f, "job control of shells";
        TIOCSPGRP = 0x5410, "job control of shells";
        TIOCOUTQ = 0x5411, "bytes that a socket has not sent";
        TIOCGWINSZ = 0x5413, "width of a terminal";
        TIOCSWINSZ = 0x5414, "as `TCSETS`";
        FIONREAD = 0x541b, "bytes to read";
        FIONBIO = 0x5421, "do not wait";
        TIOCNOTTY = 0x5422, "as `TCSETS`";
        TCSBRKP = 0x5425, "as `TCSETS`";
        TIOCGSID = 0x5429, "session of a terminal";
        TCGETS2 = 0x802c_542a, "isatty of new C libraries";
        FIONCLEX = 0x5450, "for children";
        FIOCLEX = 0x5451, "not for children";
        FIOQSIZE = 0x5460, "size of a file";
        FICLONE = 0x4004_9409, "copy of a file: not supported, says the kernel";
        FS_IOC_GETFLAGS = 0x8008_6601, "attributes of a file: tar, lsattr";
        RNDGETENTCNT = 0x8004_5200, "ask for randomness";
        SIOCATMARK = 0x8905, "urgent data: there is none";
        SIOCGIFNAME = 0x8910, "network interfaces";
        SIOCGIFCONF = 0x8912, "network interfaces";
        SIOCGIFFLAGS = 0x8913, "network interfaces";
        SIOCGIFADDR = 0x8915, "network interfaces";
        SIOCGIFDSTADDR = 0x8917, "network interfaces";
        SIOCGIFBRDADDR = 0x8919, "network interfaces";
        SIOCGIFNETMASK = 0x891b, "network interfaces";
        SIOCGIFMETRIC = 0x891d, "network interfaces";
        SIOCGIFMTU = 0x8921, "network interfaces";
        SIOCGIFHWADDR = 0x8927, "network interfaces: identifiers of machines";
        SIOCGIFINDEX = 0x8933, "network interfaces";
        SIOCGIFTXQLEN = 0x8942, "network interfaces";
        SIOCOUTQNSD = 0x894b, "bytes that a socket has not sent";
    }
    bits SEND: "`sendto`, `sendmsg` and `sendmmsg`, bits of the flags" {
        MSG_DONTROUTE = libc::MSG_DONTROUTE as u32, "no router: there is none";
        MSG_DONTWAIT = libc::MSG_DONTWAIT as u32, "do not wait";
        MSG_EOR = libc::MSG_EOR as u32, "end of a record";
        MSG_NOSIGNAL = libc::MSG_NOSIGNAL as u32, "no SIGPIPE";
        MSG_FASTOPEN = libc::MSG_FASTOPEN as u32, "connect and send";
    }
    bits RECEIVE: "`recvfrom`, `recvmsg` and `recvmmsg`, bits of the flags" {
        MSG_PEEK = libc::MSG_PEEK as u32, "look at what comes";
        MSG_TRUNC = libc::MSG_TRUNC as u32, "the whole length of a datagram";
        MSG_DONTWAIT = libc::MSG_DONTWAIT as u32, "do not wait";
        MSG_WAITALL = libc::MSG_WAITALL as u32, "wait for all";
        MSG_ERRQUEUE = libc::MSG_ERRQUEUE as u32, "errors of datagrams";
        MSG_NOSIGNAL = libc::MSG_NOSIGNAL as u32, "passed by some libraries; the kernel ignores it";
        MSG_WAITFORONE = libc::MSG_WAITFORONE as u32, "several messages, without waiting for the last";
        MSG_CMSG_CLOEXEC = libc::MSG_CMSG_CLOEXEC as u32, "not for children";
    }
    values SOCKET_LEVELS: "`getsockopt`, argument 1" {
        IPPROTO_IP = libc::IPPROTO_IP as u32, "options of IPv4";
        SOL_SOCKET = libc::SOL_SOCKET as u32, "options of every socket";
        IPPROTO_TCP = libc::IPPROTO_TCP as u32, "options of TCP";
        IPPROTO_UDP = libc::IPPROTO_UDP as u32, "options of UDP";
        IPPROTO_IPV6 = libc::IPPROTO_IPV6 as u32, "options of IPv6";
    }
    bits SPLICE: "`splice`, `tee` and `vmsplice`, bits of the flags" {
        SPLICE_F_MOVE = 1, "a hint; the kernel ignores it";
        SPLICE_F_NONBLOCK = 2, "do not wait";
    }
    bits READ_WRITE: "`preadv2` and `pwritev2`, bits of argument 5" {
        RWF_HIPRI = 1, "poll for the end; the job's files are in memory";
        RWF_DSYNC = 2, "databases; the job's files are in memory";
        RWF_SYNC = 4, "databases; the job's files are in memory";
        RWF_APPEND = 0x10, "append";
    }
    values MADVISE: "`madvise`, argument 2" {
        MADV_NORMAL = 0, "order of use";
        MADV_RANDOM = 1, "order of use";
        MADV_SEQUENTIAL = 2, "order of use";
        MADV_WILLNEED = 3, "use soon";
        MADV_DONTNEED = 4, "allocators give memory back";
        MADV_FREE = 8, "allocators give memory back";
        MADV_REMOVE = 9, "give shared memory back";
        MADV_DONTFORK = 10, "not for children";
        MADV_DOFORK = 11, "for children";
        MADV_UNMERGEABLE = 13, "not shared with others";
        MADV_HUGEPAGE = 14, "numpy: huge pages, counted as memory";
        MADV_NOHUGEPAGE = 15, "no huge pages";
        MADV_DONTDUMP = 16, "not in a core dump";
        MADV_DODUMP = 17, "in a core dump";
        MADV_WIPEONFORK = 18, "random numbers of C libraries";
        MADV_KEEPONFORK = 19, "the opposite";
        MADV_COLD = 20, "not used soon";
        MADV_POPULATE_READ = 22, "map now";
        MADV_POPULATE_WRITE = 23, "map now";
        MADV_DONTNEED_LOCKED = 24, "allocators give memory back";
        MADV_GUARD_INSTALL = 102, "ends of stacks in new C libraries";
        MADV_GUARD_REMOVE = 103, "the opposite";
    }
    bits MMAP: "`mmap`, bits of argument 3" {
        MAP_SHARED = 0x1, "shared memory";
        MAP_PRIVATE = 0x2, "memory, files";
        MAP_DROPPABLE = 0x8, "random numbers of C libraries";
        MAP_FIXED = 0x10, "at this address";
        MAP_ANONYMOUS = 0x20, "memory";
        MAP_32BIT = 0x40, "compilers: low addresses of x86_64";
        MAP_GROWSDOWN = 0x100, "stacks";
        MAP_DENYWRITE = 0x800, "the C library's loader; the kernel ignores it";
        MAP_EXECUTABLE = 0x1000, "the kernel ignores it";
        MAP_LOCKED = 0x2000, "within the limit of locked memory";
        MAP_NORESERVE = 0x4000, "runtimes reserve addresses";
        MAP_POPULATE = 0x8000, "map now";
        MAP_NONBLOCK = 0x1_0000, "with `MAP_POPULATE`";
        MAP_STACK = 0x2_0000, "stacks of threads";
        MAP_FIXED_NOREPLACE = 0x10_0000, "at this address, if it is free";
    }
    bits MEMFD: "`memfd_create`, bits of argument 1" {
        MFD_CLOEXEC = 0x1, "not for children";
        MFD_ALLOW_SEALING = 0x2, "seals";
        MFD_NOEXEC_SEAL = 0x8, "no program";
        MFD_EXEC = 0x10, "may become a program";
    }
    bits SHMGET: "`shmget`, bits of argument 2" {
        MODE = 0o777, "who may use the segment";
        IPC_CREAT = 0o1000, "make a segment";
        IPC_EXCL = 0o2000, "only when there is none";
        SHM_NORESERVE = 0o10_000, "reserve nothing";
    }
    values SCHEDULER: "`sched_setscheduler`, argument 1" {
        SCHED_OTHER = 0, "the normal policy";
        SCHED_BATCH = 3, "the normal policy, with longer turns";
    }
    values SOCKET_OPTIONS: "`setsockopt` of `SOL_SOCKET`, argument 2" {
        SO_DEBUG = libc::SO_DEBUG as u32, "the kernel refuses it";
        SO_REUSEADDR = libc::SO_REUSEADDR as u32, "servers";
        SO_DONTROUTE = libc::SO_DONTROUTE as u32, "no router: there is none";
        SO_BROADCAST = libc::SO_BROADCAST as u32, "datagrams";
        SO_KEEPALIVE = libc::SO_KEEPALIVE as u32, "clients and servers";
        SO_OOBINLINE = libc::SO_OOBINLINE as u32, "urgent data: there is none";
        SO_PRIORITY = libc::SO_PRIORITY as u32, "clients and servers";
        SO_REUSEPORT = libc::SO_REUSEPORT as u32, "servers";
        SO_PASSCRED = libc::SO_PASSCRED as u32, "who sends";
        SO_RCVLOWAT = libc::SO_RCVLOWAT as u32, "when to wake";
        SO_RCVTIMEO = libc::SO_RCVTIMEO as u32, "deadlines";
        SO_SNDTIMEO = libc::SO_SNDTIMEO as u32, "deadlines";
        SO_INCOMING_CPU = libc::SO_INCOMING_CPU as u32, "servers";
    }
    values TCP_OPTIONS: "`setsockopt` of `IPPROTO_TCP`, argument 2" {
        TCP_NODELAY = libc::TCP_NODELAY as u32, "send at once";
        TCP_MAXSEG = libc::TCP_MAXSEG as u32, "size of a segment";
        TCP_CORK = libc::TCP_CORK as u32, "send together; counted as memory";
        TCP_KEEPIDLE = libc::TCP_KEEPIDLE as u32, "signs of life";
        TCP_KEEPINTVL = libc::TCP_KEEPINTVL as u32, "signs of life";
        TCP_KEEPCNT = libc::TCP_KEEPCNT as u32, "signs of life";
        TCP_SYNCNT = libc::TCP_SYNCNT as u32, "tries to connect";
        TCP_LINGER2 = libc::TCP_LINGER2 as u32, "how to close";
        TCP_DEFER_ACCEPT = libc::TCP_DEFER_ACCEPT as u32, "servers";
        TCP_WINDOW_CLAMP = libc::TCP_WINDOW_CLAMP as u32, "flow control";
        TCP_QUICKACK = libc::TCP_QUICKACK as u32, "answer at once";
        TCP_USER_TIMEOUT = libc::TCP_USER_TIMEOUT as u32, "deadlines";
        TCP_FASTOPEN = libc::TCP_FASTOPEN as u32, "servers";
        TCP_NOTSENT_LOWAT = libc::TCP_NOTSENT_LOWAT as u32, "flow control";
        TCP_FASTOPEN_CONNECT = libc::TCP_FASTOPEN_CONNECT as u32, "clients";
    }
    values IP_OPTIONS: "`setsockopt` of `IPPROTO_IP`, argument 2" {
        IP_TOS = libc::IP_TOS as u32, "kind of service";
        IP_TTL = libc::IP_TTL as u32, "number of hops";
        IP_PKTINFO = libc::IP_PKTINFO as u32, "where a datagram came in";
        IP_MTU_DISCOVER = libc::IP_MTU_DISCOVER as u32, "size of a packet";
        IP_RECVERR = libc::IP_RECVERR as u32, "errors of datagrams";
        IP_RECVTTL = libc::IP_RECVTTL as u32, "number of hops";
        IP_RECVTOS = libc::IP_RECVTOS as u32, "kind of service";
        IP_FREEBIND = libc::IP_FREEBIND as u32, "servers";
        IP_BIND_ADDRESS_NO_PORT = libc::IP_BIND_ADDRESS_NO_PORT as u32, "clients";
        IP_MULTICAST_IF = libc::IP_MULTICAST_IF as u32, "senders to groups; none can be joined";
        IP_MULTICAST_TTL = libc::IP_MULTICAST_TTL as u32, "senders to groups";
        IP_MULTICAST_LOOP = libc::IP_MULTICAST_LOOP as u32, "senders to groups";
    }
    values IPV6_OPTIONS: "`setsockopt` of `IPPROTO_IPV6`, argument 2" {
        IPV6_UNICAST_HOPS = libc::IPV6_UNICAST_HOPS as u32, "number of hops";
        IPV6_MULTICAST_IF = libc::IPV6_MULTICAST_IF as u32, "senders to groups; none can be joined";
        IPV6_MULTICAST_HOPS = libc::IPV6_MULTICAST_HOPS as u32, "senders to groups";
        IPV6_MULTICAST_LOOP = libc::IPV6_MULTICAST_LOOP as u32, "senders to groups";
        IPV6_MTU_DISCOVER = libc::IPV6_MTU_DISCOVER as u32, "size of a packet";
        IPV6_RECVERR = libc::IPV6_RECVERR as u32, "errors of datagrams";
        IPV6_V6ONLY = libc::IPV6_V6ONLY as u32, "servers";
        IPV6_RECVPKTINFO = libc::IPV6_RECVPKTINFO as u32, "where a datagram came in";
        IPV6_RECVHOPLIMIT = libc::IPV6_RECVHOPLIMIT as u32, "number of hops";
        IPV6_RECVTCLASS = libc::IPV6_RECVTCLASS as u32, "kind of service";
        IPV6_TCLASS = libc::IPV6_TCLASS as u32, "kind of service";
    }
}
