//! The job child: takes every privilege from itself, then executes the program.

use crate::cgroup::Cgroups;
use crate::plan::Plan;
use crate::protocol::{Stage, flag};
use crate::sys::{
    self, AT_FDCWD, EACCES, EINVAL, ENOENT, ENOTDIR, EPERM, Fd, Fork, O_CLOEXEC, O_DIRECTORY,
    O_PATH, O_RDONLY, StringArray,
};
use crate::{At, Failure, namespaces, priority};

const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_DUMPABLE: usize = 4;
const PR_SET_KEEPCAPS: usize = 8;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
const RLIMIT_NPROC: u64 = 6;
const SIGKILL: usize = 9;

/// The descriptors that become the job's 0, 1 and 2.
pub type Stdio = [Fd; 3];

/// Bytes of a [`Failure`] on the pipe.
pub const FRAME: usize = 24;

/// A job child as the supervisor sees it.
#[derive(Clone, Copy)]
pub struct Job {
    pub pid: i32,
    pub pidfd: Fd,
    /// Carries frames, each a [`Failure`] or the step that is next, and reaches end-of-file when
    /// the program is executed.
    pub failure: Fd,
    /// Opened when the child's root is in place.
    pub root: Gate,
    /// Opened when the child may execute the program.
    pub gate: Gate,
}

/// The supervisor's end of a pipe on which the child waits. A byte opens the gate; a supervisor
/// that dies closes the pipe without one, and the child ends.
#[derive(Clone, Copy)]
pub struct Gate(Fd);

impl Gate {
    /// The gate behind the write end of a pipe.
    pub fn new(write_end: Fd) -> Self {
        Self(write_end)
    }

    pub fn open(self) {
        let _ = sys::write(self.0, b"1");
        sys::close(self.0);
    }
}

fn write_frame(to: Fd, Failure { stage, index, errno }: Failure) {
    let mut frame = [0u8; FRAME];
    frame[..8].copy_from_slice(&(stage as u64).to_ne_bytes());
    frame[8..16].copy_from_slice(&index.to_ne_bytes());
    frame[16..].copy_from_slice(&(errno as u64).to_ne_bytes());
    let _ = sys::write(to, &frame);
}

/// Says which step is next: an outer filter may kill this process for it.
fn note(to: Fd, stage: Stage) {
    write_frame(to, Failure { stage, index: 0, errno: 0 });
}

/// The failure in a frame that the child wrote; its errno is 0 when it only says what is next.
pub fn decode(frame: &[u8]) -> Failure {
    let word = |i: usize| {
        let bytes = frame.get(i * 8..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    let stage = Stage::from_number(word(0)).unwrap_or(Stage::Exec);
    Failure { stage, index: word(1), errno: word(2) as i32 }
}

/// Waits at the child's end of a gate; ends this process when nobody is left to open it.
pub fn pass(gate: Fd) -> sys::Result<()> {
    loop {
        match sys::read(gate, &mut [0u8; 1]) {
            Ok(0) => sys::exit(1),
            Ok(_) => return Ok(()),
            Err(sys::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Forks the job child. `ready` is PID 1's, where there is one.
pub fn start(
    plan: &Plan,
    groups: &Cgroups,
    stdio: Stdio,
    ready: Option<Fd>,
) -> Result<Job, Failure> {
    let (failure, failure_end) = sys::pipe().at(Stage::Fork)?;
    let (root_end, root) = sys::pipe().at(Stage::Fork)?;
    let (gate_end, gate) = sys::pipe().at(Stage::Fork)?;
    match sys::fork(groups.fork_into()).at(Stage::Fork)? {
        Fork::Parent { pid, pidfd } => {
            for fd in [failure_end, root_end, gate_end].into_iter().chain(stdio) {
                sys::close(fd);
            }
            Ok(Job { pid, pidfd, failure, root: Gate(root), gate: Gate(gate) })
        }
        Fork::Child => {
            sys::close(root);
            sys::close(gate);
            let run = || {
                prepare(plan, groups, stdio)?;
                pass(root_end).at(Stage::Init)?;
                confine(plan, ready, gate_end, failure_end)?;
                // Tells an exec from a death: both close the pipe.
                note(failure_end, Stage::Exec);
                if plan.has(flag::PROBE) {
                    check_claims(plan)?;
                    sys::exit(0);
                }
                execute(plan)
            };
            if let Err(failure) = run() {
                write_frame(failure_end, failure);
            }
            sys::exit(127)
        }
    }
}

/// Tries what would be claimed of jobs: a success of these attacks is a failure of the set-up.
fn check_claims(plan: &Plan) -> Result<(), Failure> {
    if plan.has(flag::CHECK_HIDDEN)
        && sys::openat(AT_FDCWD, c"/proc/1/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0).is_ok()
    {
        return Err(EPERM).at(Stage::Hidden);
    }
    if plan.has(flag::CHECK_PROCESSES) {
        sys::setrlimit(RLIMIT_NPROC, 0, 0).at(Stage::ProcessLimit)?;
        match sys::fork(None) {
            Err(_) => {}
            Ok(Fork::Child) => sys::exit(0),
            Ok(Fork::Parent { pid, .. }) => {
                let _ = sys::wait(pid);
                return Err(EPERM).at(Stage::ProcessLimit);
            }
        }
    }
    Ok(())
}

/// Waits for end-of-file: PID 1 closes its end when it is ready.
fn await_init(ready: Fd) -> sys::Result<()> {
    loop {
        match sys::read(ready, &mut [0u8; 1]) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(sys::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What needs no root file system, done while the supervisor builds it.
fn prepare(plan: &Plan, groups: &Cgroups, stdio: Stdio) -> Result<(), Failure> {
    sys::setsid().at(Stage::Setsid)?;
    for (target, fd) in stdio.iter().enumerate() {
        // The sources are above 2, so no copy overwrites a source.
        sys::dup3(*fd, target as Fd).at_index(Stage::Stdio, target)?;
    }
    groups.join()?;
    priority::take_jobs_own(plan.has(flag::IDLE_DISK));
    namespaces::enter_own(plan)?;
    set_rlimits(plan, |resource| resource != RLIMIT_NPROC)
}

/// Gives up everything that the program must not have; the filter comes last.
fn confine(plan: &Plan, ready: Option<Fd>, gate: Fd, failure: Fd) -> Result<(), Failure> {
    namespaces::settle_network(plan);
    priority::be_first_to_go();
    take_identity(plan)?;
    if !plan.has(flag::NAMESPACES) {
        // No PID 1 takes the job with it when the supervisor dies. After the change of ids, which
        // would clear it.
        let tied = sys::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if !plan.has(flag::OWN_USER) {
            // The caller of a user's only job finds what is left by the user.
            tied.at(Stage::Tie)?;
        }
    }
    // The kernel counts processes per user namespace (Linux 5.14) and bounds a namespace by its
    // creator's limit, so this one is set inside.
    set_rlimits(plan, |resource| resource == RLIMIT_NPROC)?;
    let reached = |stage: Stage| {
        if plan.has(flag::PROBE) {
            note(failure, stage);
        }
    };
    let drop_capabilities = || {
        if !plan.has(flag::CAPABILITIES) {
            return Ok(());
        }
        reached(Stage::Capabilities);
        sys::capset_empty().at(Stage::Capabilities).map(|_| ())
    };
    // Without no_new_privs only a capability in the job's user namespace lets it restrict itself.
    let restricts_by_capability = !plan.has(flag::NO_NEW_PRIVS);
    if !restricts_by_capability {
        drop_capabilities()?;
        reached(Stage::NoNewPrivs);
        sys::prctl(PR_SET_NO_NEW_PRIVS, 1).at(Stage::NoNewPrivs)?;
    }
    if plan.has(flag::LANDLOCK) {
        reached(Stage::Landlock);
        landlock(plan)?;
    }
    sys::chdir(plan.cwd).at(Stage::Chdir)?;
    sys::umask(0o022);
    sys::sigprocmask(0);
    if let Some(ready) = ready {
        await_init(ready).at(Stage::Init)?;
    }
    pass(gate).at(Stage::Init)?;
    sys::close_range(3, true).at(Stage::Stdio)?;
    if plan.has(flag::SECCOMP) {
        reached(Stage::Seccomp);
        sys::seccomp_filter(plan.seccomp).at(Stage::Seccomp)?;
    }
    if restricts_by_capability { drop_capabilities() } else { Ok(()) }
}

fn set_rlimits(plan: &Plan, wanted: impl Fn(u64) -> bool) -> Result<(), Failure> {
    for (index, (resource, value)) in plan.rlimits.clone().enumerate() {
        if wanted(resource) {
            sys::setrlimit(resource, value, value).at_index(Stage::Rlimit, index)?;
        }
    }
    Ok(())
}

/// Becomes an unprivileged user without a capability to regain.
fn take_identity(plan: &Plan) -> Result<(), Failure> {
    let inner = plan.has(flag::USER);
    if plan.has(flag::PRIVILEGED) {
        if !inner {
            // Without a user namespace only the caller's own rights can empty the set. An ordinary
            // caller has none, and no_new_privs keeps its job from using what the set allows.
            drop_bounding_set(plan)?;
        }
        if inner {
            // Some hosts let only CAP_SYS_ADMIN make user namespaces.
            let _ = sys::prctl(PR_SET_KEEPCAPS, 1);
        }
        sys::setgroups_empty().at(Stage::SetIds)?;
        sys::setresgid(plan.job_gid).at(Stage::SetIds)?;
        sys::setresuid(plan.job_uid).at(Stage::SetIds)?;
        // The change of ids made /proc/self root's; the id map is written through it, and fails
        // where this is refused. Exec settles the flag anew.
        let _ = sys::prctl(PR_SET_DUMPABLE, 1);
    }
    if inner {
        let _ = sys::capset_permitted();
        namespaces::enter_inner(plan)?;
        drop_bounding_set(plan)?;
    } else if plan.has(flag::NAMESPACES) && !plan.has(flag::PRIVILEGED) {
        // With the rights that it has in the user namespace around all the others.
        drop_bounding_set(plan)?;
    }
    Ok(())
}

fn drop_bounding_set(plan: &Plan) -> Result<(), Failure> {
    if !plan.has(flag::CAPABILITIES) {
        return Ok(());
    }
    sys::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL).at(Stage::Capabilities)?;
    for capability in 0..64 {
        match sys::prctl(PR_CAPBSET_DROP, capability) {
            Ok(_) => {}
            // Past the last capability that this kernel knows.
            Err(EINVAL) => break,
            Err(errno) => return Err(errno).at_index(Stage::Capabilities, capability),
        }
    }
    Ok(())
}

fn landlock(plan: &Plan) -> Result<(), Failure> {
    let abi = sys::landlock_abi().at(Stage::Landlock)?;
    // Rights and attributes that came later: REFER 2, TRUNCATE 3, network 4, IOCTL_DEV 5, scopes 6.
    let (known, words) = match abi {
        1 => (0x1fff, 1),
        2 => (0x3fff, 1),
        3 => (0x7fff, 1),
        4 => (0x7fff, 2),
        5 => (0xffff, 2),
        _ => (0xffff, 3),
    };
    let mut attributes = plan.landlock;
    attributes[0] &= known;
    let ruleset = sys::landlock_create(&attributes[..words]).at(Stage::Landlock)?;
    for (index, (access, path)) in plan.landlock_rules.clone().enumerate() {
        let allow = || {
            let fd = sys::openat(AT_FDCWD, path, O_PATH | O_CLOEXEC, 0)?;
            let result = sys::landlock_allow(ruleset, access & known, fd);
            sys::close(fd);
            result
        };
        allow().at_index(Stage::Landlock, index + 1)?;
    }
    sys::landlock_restrict(ruleset).at(Stage::Landlock)?;
    sys::close(ruleset);
    Ok(())
}

/// Executes the first candidate that exists, as a shell walks its PATH.
fn execute(plan: &Plan) -> Result<(), Failure> {
    let strings = |list: crate::plan::List<_>| {
        let mut array = StringArray::with_capacity(list.len())?;
        for (index, value) in list.enumerate() {
            array.set(index, value);
        }
        Ok(array)
    };
    let argv = strings(plan.argv.clone()).at(Stage::Exec)?;
    let envp = strings(plan.env.clone()).at(Stage::Exec)?;
    let mut worst = ENOENT;
    for candidate in plan.candidates.clone() {
        match sys::execve(candidate, &argv, &envp) {
            ENOENT | ENOTDIR => {}
            EACCES => worst = EACCES,
            errno => return Err(errno).at(Stage::Exec),
        }
    }
    Err(worst).at(Stage::Exec)
}
