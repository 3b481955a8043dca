//! PID 1 of the job's namespace: reaps orphans, and its death is the death of all.

use core::ffi::CStr;

use crate::plan::Plan;
use crate::protocol::{Stage, flag};
use crate::sys::{self, Fd, Fork};
use crate::job::{self, Gate};
use crate::{At, Failure, root};

/// The argument that makes this program PID 1.
pub const ARGUMENT: &CStr = c"init";

const PR_SET_PDEATHSIG: usize = 1;
const PR_SET_DUMPABLE: usize = 4;
const PR_SET_NO_NEW_PRIVS: usize = 38;
const SIGKILL: usize = 9;
const SIGCHLD_MASK: u64 = 1 << 16;

/// PID 1 as its parent sees it.
pub struct Init {
    pub pid: i32,
    pub pidfd: Fd,
    /// Carries three bytes, of mounting `/proc`, of hiding what it tells about the host, and of being
    /// tied to the supervisor, each 0 or the error number, and reaches end-of-file when PID 1 is out of the job's reach and ready to reap.
    pub ready: Fd,
    /// Opened when PID 1 has said all that; it ends without.
    pub gate: Gate,
}

impl Init {
    /// Waits until PID 1 has mounted `/proc`, which only a process of the namespace can, and dies
    /// with this process, where the plan wants that.
    pub fn await_proc(&self, plan: &Plan) -> Result<(), Failure> {
        let mut bytes = [0u8; 3];
        match (sys::read(self.ready, &mut bytes).at(Stage::Init)?, bytes) {
            (3, [0, 0, tied]) if tied == 0 || !plan.has(flag::TIED) => Ok(()),
            (3, [0, 0, errno]) => Err(i32::from(errno)).at(Stage::Tie),
            (3, [0, errno, _]) => Err(i32::from(errno)).at(Stage::Mask),
            (3, [errno, ..]) => Err(i32::from(errno)).at(Stage::Proc),
            // It died without a word.
            _ => Err(sys::EAGAIN).at(Stage::Init),
        }
    }
}

/// Starts PID 1: mounts `/proc` beneath `root` and hides what it tells about the host, then is a
/// fresh exec of `program` with an empty environment.
pub fn start(plan: &Plan, program: Fd, root: Fd) -> Result<Init, Failure> {
    let (ready, ready_end) = sys::pipe().at(Stage::Init)?;
    let (gate_end, gate) = sys::pipe().at(Stage::Init)?;
    match sys::fork(None).at(Stage::Init)? {
        Fork::Parent { pid, pidfd } => {
            sys::close(ready_end);
            sys::close(gate_end);
            Ok(Init { pid, pidfd, ready, gate: Gate::new(gate) })
        }
        Fork::Child => {
            sys::close(ready);
            sys::close(gate);
            // The write end of one pipe and the read end of the other become descriptors 0 and 1,
            // which alone survive the exec; PID 1 closes them itself. A failed exec closes them
            // too, but then the process is dead, which the supervisor sees on its pidfd.
            let mounted = root::mount_proc(root).err().unwrap_or(0);
            let owned = !plan.has(flag::PRIVILEGED);
            let masked = root::mask_proc(root, owned).err().unwrap_or(0);
            let _ = sys::dup3(ready_end, 0);
            let _ = sys::dup3(gate_end, 1);
            let _ = sys::close_range(2, true);
            let _ = sys::setgroups_empty();
            let dropped =
                sys::setresgid(plan.job_gid).and_then(|_| sys::setresuid(plan.job_uid));
            // After the change of ids, which would clear it. A supervisor that has died before
            // this line opens no gate.
            let tied = sys::prctl(PR_SET_PDEATHSIG, SIGKILL).err().unwrap_or(0);
            if dropped.is_err() || sys::write(0, &[mounted as u8, masked as u8, tied as u8]).is_err() {
                sys::exit(1);
            }
            sys::exec_fd(program, c"init", ARGUMENT);
            sys::exit(1)
        }
    }
}

/// Lives as PID 1. Signals from inside the namespace never reach it: it has no handlers, and the
/// kernel drops what PID 1 does not handle.
pub fn run() -> ! {
    sys::set_name(c"init");
    let _ = sys::prctl(PR_SET_DUMPABLE, 0);
    let _ = sys::prctl(PR_SET_NO_NEW_PRIVS, 1);
    let _ = sys::capset_empty();
    sys::sigprocmask(u64::MAX);
    sys::close(0);
    if job::pass(1).is_err() {
        sys::exit(1);
    }
    sys::close(1);
    loop {
        if sys::wait(0).is_err() {
            sys::sigwait(SIGCHLD_MASK, None);
        }
    }
}
