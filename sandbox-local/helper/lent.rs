//! Ids that the host lends to an ordinary user: the job gets one of them, and so what the kernel
//! counts per user is the job's alone.
//!
//! The application can neither read nor remove files of such an id. It gets the workspace through a
//! mount that shows the job's files as the application's own (Linux 6.3 for tmpfs).

use crate::plan::Plan;
use crate::protocol::{KILL, MAPPED, Stage, descriptor, kind};
use crate::sys::{
    self, AT_FDCWD, EPERM, Fd, Fork, O_CLOEXEC, O_DIRECTORY, O_RDONLY, Result,
};
use crate::text::Text;
use crate::{At, CONTROL, Failure, namespaces, tell};

/// Enters a user namespace whose ids the application maps: 0 is the caller, the rest are lent. Gives
/// the job's streams to the job. Returns a user namespace that maps the job to the caller.
pub fn enter(plan: &Plan) -> core::result::Result<Fd, Failure> {
    sys::unshare(namespaces::CLONE_NEWUSER).at(Stage::UnshareUser)?;
    let _ = tell(&[kind::MAP], &[]);
    await_map().at(Stage::LentIds)?;
    for stream in descriptor::STREAMS {
        sys::fchown(stream, plan.job_uid, plan.job_gid).at(Stage::LentIds)?;
    }
    job_to_caller(plan).at(Stage::LentWorkspace)
}

fn await_map() -> Result<()> {
    let mut byte = [KILL];
    loop {
        match sys::read(CONTROL, &mut byte) {
            Err(sys::EINTR) => {}
            Ok(1) if byte == [MAPPED] => return Ok(()),
            Ok(_) => return Err(EPERM),
            Err(errno) => return Err(errno),
        }
    }
}

/// A child makes the namespace, which outlives it in the descriptor.
fn job_to_caller(plan: &Plan) -> Result<Fd> {
    let (ready, ready_end) = sys::pipe()?;
    let (gate_end, gate) = sys::pipe()?;
    match sys::fork(None)? {
        Fork::Child => {
            sys::close(ready);
            sys::close(gate);
            let mapped = sys::unshare(namespaces::CLONE_NEWUSER)
                .and_then(|_| namespaces::map_ids((plan.job_uid, plan.job_gid), (0, 0)));
            let _ = sys::write(ready_end, &[mapped.err().unwrap_or(0) as u8]);
            // Until the parent has opened the namespace, or is dead.
            let _ = sys::read(gate_end, &mut [0]);
            sys::exit(0)
        }
        Fork::Parent { pid, pidfd } => {
            sys::close(ready_end);
            sys::close(gate_end);
            let mut answer = [EPERM as u8];
            let opened = match sys::read(ready, &mut answer) {
                Ok(1) if answer == [0] => {
                    let path = Text::<64>::new().push(b"/proc/").number(pid as u64);
                    sys::openat(AT_FDCWD, path.push(b"/ns/user").c_str(), O_RDONLY | O_CLOEXEC, 0)
                }
                Ok(_) => Err(i32::from(answer[0])),
                Err(errno) => Err(errno),
            };
            for fd in [ready, gate, pidfd] {
                sys::close(fd);
            }
            let _ = sys::wait(pid);
            opened
        }
    }
}

/// The directory of the workspace through a mount that shows files of the job as the caller's, and
/// makes the caller's the job's.
pub fn workspace(workspace: Fd, owner: Fd) -> core::result::Result<Fd, Failure> {
    let open = || {
        let mount = sys::open_tree_at(workspace)?;
        sys::mount_setattr_owner(mount, owner)?;
        let fd = sys::openat(mount, c".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)?;
        sys::close(mount);
        sys::close(owner);
        Ok(fd)
    };
    open().at(Stage::LentWorkspace)
}
