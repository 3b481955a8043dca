//! What the library and the helper say to each other.
//!
//! This file is compiled twice: into the library and, without the standard library, into the
//! helper. The helper inherits a plan, in a sealed memfd; everything else is a fixed-size message on
//! a `SOCK_SEQPACKET` pair, so a frame can neither be split nor joined. Both ends always come from
//! one build, therefore nothing here is versioned.

#![allow(dead_code, unreachable_pub, reason = "each of the two programs uses its half")]

/// Declares the steps of the set-up once, for the enum, its names and its decoder.
macro_rules! stages {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// The step at which a set-up failed, named after the system call or the thing it sets up.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Stage { $($(#[$doc])* $variant,)+ }

        impl Stage {
            const ALL: &'static [(Stage, &'static str)] = &[$((Stage::$variant, $name),)+];

            /// The step with number `number`.
            pub fn from_number(number: u64) -> Option<Self> {
                Self::ALL.get(usize::try_from(number).ok()?).map(|(stage, _)| *stage)
            }

            /// The step's name in messages.
            pub fn name(self) -> &'static str {
                Self::ALL[self as usize].1
            }
        }
    };
}

stages! {
    /// The plan could not be read or is malformed.
    Plan = "read plan",
    Setsid = "setsid",
    CgroupCreate = "create cgroup",
    CgroupSet = "set cgroup limit",
    CgroupJoin = "join cgroup",
    UnshareUser = "unshare user namespace",
    UserMap = "write user id map",
    LentIds = "map lent ids",
    LentWorkspace = "map the workspace's owner",
    UnshareMount = "unshare mount namespace",
    UnsharePid = "unshare pid namespace",
    UnshareTime = "unshare time namespace",
    UnshareNet = "unshare network namespace",
    UnshareIpc = "unshare ipc namespace",
    UnshareUts = "unshare uts namespace",
    UnshareCgroup = "unshare cgroup namespace",
    Hostname = "sethostname",
    Loopback = "bring loopback up",
    Propagation = "make mounts private",
    RootMount = "mount root",
    RootEntry = "populate root",
    Bind = "bind mount",
    Tmpfs = "mount tmpfs",
    Proc = "mount proc",
    Mask = "mask proc",
    PivotRoot = "pivot_root",
    RootReadOnly = "make root read-only",
    Init = "start pid 1",
    Tie = "tie pid 1 to its supervisor",
    Subreaper = "become subreaper",
    Fork = "fork job",
    Stdio = "set up stdio",
    Chdir = "chdir to workspace",
    Rlimit = "setrlimit",
    SetIds = "setresuid",
    InnerUser = "unshare the job's user namespace",
    NoNestedUser = "forbid nested user namespaces",
    Capabilities = "drop capabilities",
    NoNewPrivs = "set no_new_privs",
    Landlock = "landlock",
    Seccomp = "seccomp",
    Exec = "exec",
    ProcessLimit = "try the process limit",
    Hidden = "try to look into pid 1",
}

/// The descriptors that a helper inherits. Inherited and not sent, because the kernel bounds how many
/// descriptors of a user are in flight, and jobs may have the application's user.
pub mod descriptor {
    /// The helper's end of the socket.
    pub const CONTROL: i32 = 0;
    /// The plan.
    pub const PLAN: i32 = 3;
    /// The job's standard streams.
    pub const STREAMS: [i32; 3] = [4, 5, 6];
    /// The first of the folders in which the job's cgroups are made.
    pub const GROUPS: i32 = 7;
}

/// First word of every plan.
pub const PLAN_MAGIC: u64 = 0x7361_6e64_626f_7832;

/// One step that builds the job's root; the helper runs them in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum RootOp {
    /// `mkdir path`.
    Dir = 0,
    /// `create path` with `data`.
    File = 1,
    /// `symlink data path`.
    Symlink = 2,
    /// Bind `data` (a host path) at `path`, read-only, nosuid, nodev.
    BindReadOnly = 3,
    /// The device node `data` at `path`: one of the job's own where the host lets it be made, else
    /// a bind of the host's.
    Device = 4,
    /// A tmpfs at `path`; `data` is its size, inode count and mode as options.
    Tmpfs = 5,
    /// A file system for device nodes and links at `path`.
    Devices = 6,
    /// `create path` with `data`, which the host has in the file of the same path.
    Copy = 7,
}

impl RootOp {
    /// Decodes a step's number.
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Dir,
            1 => Self::File,
            2 => Self::Symlink,
            3 => Self::BindReadOnly,
            4 => Self::Device,
            5 => Self::Tmpfs,
            6 => Self::Devices,
            7 => Self::Copy,
            _ => return None,
        })
    }
}

/// Switches of a plan; a cleared bit is a layer that the caller allowed to be absent.
pub mod flag {
    /// The caller may change ids, and makes namespaces without a user namespace around them.
    pub const PRIVILEGED: u64 = 1 << 0;
    /// Give the job a user namespace of its own, which owns none of the others.
    pub const USER: u64 = 1 << 1;
    /// New network namespace.
    pub const NET: u64 = 1 << 2;
    /// New IPC namespace.
    pub const IPC: u64 = 1 << 3;
    /// New UTS namespace.
    pub const UTS: u64 = 1 << 4;
    /// New cgroup namespace.
    pub const CGROUP_NS: u64 = 1 << 5;
    /// Restrict with Landlock.
    pub const LANDLOCK: u64 = 1 << 6;
    /// Install the seccomp filters.
    pub const SECCOMP: u64 = 1 << 7;
    /// Wait for [`super::GO`] before the job is executed.
    pub const AWAIT_GO: u64 = 1 << 8;
    /// No memory cgroup: sum the tree's memory and end the job at its limit.
    pub const WATCH_MEMORY: u64 = 1 << 9;
    /// The job gets a root and namespaces of its own. Without, it is confined by what a process
    /// can give up by itself, and its tree is followed through reparenting.
    pub const NAMESPACES: u64 = 1 << 11;
    /// Stop where the program would be executed: only shows what the host allows.
    pub const PROBE: u64 = 1 << 10;
    /// Set no_new_privs.
    pub const NO_NEW_PRIVS: u64 = 1 << 12;
    /// Empty the capability sets.
    pub const CAPABILITIES: u64 = 1 << 13;
    /// Without namespaces: the job's user is the caller's and nobody else's, so every process of
    /// it but the caller and the helper is the job's.
    pub const OWN_USER: u64 = 1 << 14;
    /// Kill PID 1, and with it the job, when the supervisor dies.
    pub const TIED: u64 = 1 << 15;
    /// New time namespace.
    pub const TIME: u64 = 1 << 16;
    /// No cgroup bounds what the job reads from the host's disk: it reads when nobody else does.
    pub const IDLE_DISK: u64 = 1 << 17;
    /// Take the ids of the job's before the user namespace is made.
    pub const TAKE_IDS: u64 = 1 << 18;
    /// When probing: no more processes than the limit of a user can be made.
    pub const CHECK_PROCESSES: u64 = 1 << 19;
    /// When probing: the first process of the namespace cannot be looked into.
    pub const CHECK_HIDDEN: u64 = 1 << 20;
    /// Not privileged on the host, but in a user namespace with ids that the host lends to the
    /// caller's user: the job gets one of them.
    pub const LENT_IDS: u64 = 1 << 21;
}

/// Caller to helper: inputs are in place, execute the job.
pub const GO: u8 = b'G';
/// Caller to helper: end the job now. Closing the socket means the same.
pub const KILL: u8 = b'K';
/// Caller to helper: the ids of its user namespace are mapped.
pub const MAPPED: u8 = b'M';

/// Number of 64-bit words in a message to the caller.
pub const MESSAGE_WORDS: usize = 16;

/// Kinds of message to the caller: the first word.
pub mod kind {
    /// Set-up failed: stage, index within the stage, errno.
    pub const FAILED: u64 = 1;
    /// The workspace is mounted; carries its directory and, second, PID 1's pidfd.
    pub const READY: u64 = 2;
    /// The same, where the kernel lets no descriptor of this user be sent: the number that the
    /// directory has in the helper.
    pub const READY_AT: u64 = 5;
    /// The helper is in a user namespace of its own and waits for [`super::MAPPED`].
    pub const MAP: u64 = 6;
    /// The job's program was executed: nanoseconds since boot.
    pub const STARTED: u64 = 3;
    /// Everything is dead; words as in [`super::report`].
    pub const FINISHED: u64 = 4;
}

/// Indices of the words of a [`kind::FINISHED`] message.
pub mod report {
    /// Why the supervisor ended the job, one of [`super::cause`].
    pub const CAUSE: usize = 1;
    /// `si_code` of the main process.
    pub const SI_CODE: usize = 2;
    /// `si_status` of the main process.
    pub const SI_STATUS: usize = 3;
    /// CPU time of the whole tree in microseconds.
    pub const CPU_US: usize = 4;
    /// Highest memory use of the tree in bytes.
    pub const MEMORY_PEAK: usize = 5;
    /// Processes killed by the memory cgroup.
    pub const OOM_KILLS: usize = 6;
    /// Forks refused by the pids cgroup.
    pub const FORKS_REFUSED: usize = 7;
    /// Highest number of processes seen (from the pids cgroup; 0 when nobody counted).
    pub const PROCESSES_PEAK: usize = 8;
    /// When the program was executed, `CLOCK_BOOTTIME` nanoseconds.
    pub const STARTED_NS: usize = 9;
    /// When the main process was seen dead or the kill was sent, same clock.
    pub const ENDED_NS: usize = 10;
    /// When nothing of the job was left alive, same clock.
    pub const GONE_NS: usize = 11;
    /// 1 when a cgroup of the job could not be removed.
    pub const CGROUP_LEFT: usize = 12;
    /// Which of workspace (1), `/tmp` (2) and `/dev/shm` (4) had no free block at the end.
    pub const NO_SPACE: usize = 13;
    /// The same for free inodes.
    pub const NO_INODES: usize = 14;
}

/// Why the supervisor ended a job.
pub mod cause {
    /// The main process ended by itself.
    pub const EXIT: u64 = 0;
    /// The wall-clock limit.
    pub const WALL: u64 = 1;
    /// The CPU-time limit, summed over the tree.
    pub const CPU: u64 = 2;
    /// The memory limit.
    pub const MEMORY: u64 = 3;
    /// The caller said so, or is gone.
    pub const KILLED: u64 = 4;
    /// The bytes of the workspace and `/tmp`, where no file system of the job's own limits them.
    pub const DISK: u64 = 5;
    /// Somebody outside killed PID 1, and with it the job.
    pub const INIT_DIED: u64 = 6;
}
