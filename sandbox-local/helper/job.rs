//! The job child: takes every privilege from itself, then executes the program.

use crate::cgroup::Cgroups;
use crate::plan::Plan;
use crate::protocol::{Stage, flag};
use crate::sys::{
    self, AT_FDCWD, EACCES, EINVAL, ENOENT, ENOTDIR, Fd, Fork, O_CLOEXEC, O_PATH, StringArray,
};
use crate::{At, Failure, namespaces};

const PR_SET_DUMPABLE: usize = 4;
const PR_CAPBSET_DROP: usize = 24;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const PR_CAP_AMBIENT: usize = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: usize = 4;
const RLIMIT_NPROC: u64 = 6;

/// The descriptors that become the job's 0, 1 and 2.
pub type Stdio = [Fd; 3];

/// A job child as the supervisor sees it.
pub struct Job {
    pub pid: i32,
    pub pidfd: Fd,
    /// Carries a [`Failure`], or reaches end-of-file when the program is executed.
    pub failure: Fd,
    /// Closing it lets the child execute the program.
    pub gate: Fd,
}

/// Forks the job child.
pub fn start(plan: &Plan, groups: &Cgroups, stdio: Stdio, ready: Fd) -> Result<Job, Failure> {
    let (failure, failure_end) = sys::pipe().at(Stage::Fork)?;
    let (gate_end, gate) = sys::pipe().at(Stage::Fork)?;
    match sys::fork(groups.fork_into()).at(Stage::Fork)? {
        Fork::Parent { pid, pidfd } => {
            sys::close(failure_end);
            sys::close(gate_end);
            for fd in stdio {
                sys::close(fd);
            }
            Ok(Job { pid, pidfd, failure, gate })
        }
        Fork::Child => {
            sys::close(gate);
            let error = confine(plan, groups, stdio, [ready, gate_end])
                .and_then(|()| if plan.has(flag::PROBE) { sys::exit(0) } else { execute(plan) })
                .err();
            if let Some(Failure { stage, index, errno }) = error {
                let mut frame = [0u8; 24];
                frame[..8].copy_from_slice(&(stage as u64).to_ne_bytes());
                frame[8..16].copy_from_slice(&index.to_ne_bytes());
                frame[16..].copy_from_slice(&(errno as u64).to_ne_bytes());
                let _ = sys::write(failure_end, &frame);
            }
            sys::exit(127)
        }
    }
}

fn confine(plan: &Plan, groups: &Cgroups, stdio: Stdio, gates: [Fd; 2]) -> Result<(), Failure> {
    sys::setsid().at(Stage::Setsid)?;
    for (target, fd) in stdio.iter().enumerate() {
        // The sources are above 2, so no copy overwrites a source.
        sys::dup3(*fd, target as Fd).at_index(Stage::Stdio, target)?;
    }
    groups.join()?;
    for (index, (resource, value)) in plan.rlimits.clone().enumerate() {
        if resource != RLIMIT_NPROC {
            sys::setrlimit(resource, value, value).at_index(Stage::Rlimit, index)?;
        }
    }
    take_identity(plan)?;
    // The kernel counts processes per user namespace (Linux 5.14) and bounds a namespace by its
    // creator's limit, so this one is set inside.
    for (index, (resource, value)) in plan.rlimits.clone().enumerate() {
        if resource == RLIMIT_NPROC {
            sys::setrlimit(resource, value, value).at_index(Stage::Rlimit, index)?;
        }
    }
    sys::capset_empty().at(Stage::Capabilities)?;
    sys::prctl(PR_SET_NO_NEW_PRIVS, 1).at(Stage::NoNewPrivs)?;
    if plan.has(flag::LANDLOCK) {
        landlock(plan)?;
    }
    sys::chdir(plan.cwd).at(Stage::Chdir)?;
    sys::umask(0o022);
    for gate in gates {
        // Nobody writes: end-of-file opens a gate.
        sys::read(gate, &mut [0u8; 1]).at(Stage::Init)?;
    }
    sys::close_range(3, true).at(Stage::Stdio)?;
    if plan.has(flag::SECCOMP) {
        sys::seccomp_filter(plan.seccomp).at(Stage::Seccomp)?;
    }
    Ok(())
}

/// Becomes an unprivileged user without a capability to regain.
fn take_identity(plan: &Plan) -> Result<(), Failure> {
    let inner = plan.has(flag::USER);
    if !inner {
        drop_bounding_set()?;
    }
    if plan.has(flag::PRIVILEGED) {
        sys::setgroups_empty().at(Stage::SetIds)?;
        sys::setresgid(plan.job_gid).at(Stage::SetIds)?;
        sys::setresuid(plan.job_uid).at(Stage::SetIds)?;
        // The change of ids made /proc/self root's; the id map is written through it. Exec
        // settles the flag anew.
        sys::prctl(PR_SET_DUMPABLE, 1).at(Stage::SetIds)?;
    }
    if inner {
        namespaces::enter_inner(plan)?;
        drop_bounding_set()?;
    }
    Ok(())
}

fn drop_bounding_set() -> Result<(), Failure> {
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
