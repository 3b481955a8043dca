//! From a helper that was started to a program that is executed.

use std::os::fd::OwnedFd;

use nix::errno::Errno;
use sandbox_core::{Error, ErrorKind, RelPath, Result};
use tokio::time::timeout;

use crate::channel::{Control, Message, SetupFailure};
use crate::executor::Shared;
use crate::explain::explain;
use crate::folder::HostFolder;
use crate::helper::Process;
use crate::inputs::{self, Source, Stamps};
use crate::launch::STARTUP;
use crate::layout::describe;
use crate::plan::Plan;
use crate::protocol::{GO, Stage, flag};
use crate::run::blocking;

/// A helper and the socket to it. Dropping it kills the job.
#[derive(Debug)]
pub(crate) struct Sandbox {
    // Fields drop in this order: the closed socket makes the helper kill its job and end.
    pub(crate) control: Control,
    pub(crate) process: Process,
    pub(crate) workspace: OwnedFd,
    /// PID 1 of the job's namespace, where there is one.
    pub(crate) init: Option<OwnedFd>,
}

/// A job that is being set up.
pub(crate) struct Setup<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) plan: &'a Plan,
}

impl Setup<'_> {
    /// Follows the set-up to the program's execution, placing the inputs on the way.
    pub(crate) async fn bring_up(
        &self,
        control: Control,
        mut process: Process,
        sources: Vec<(RelPath, Source)>,
        owner: Option<(u32, u32)>,
        folder: Option<HostFolder>,
    ) -> Result<(Sandbox, Stamps)> {
        let workspace = folder.as_ref().map(HostFolder::open_workspace);
        process.keep(folder);
        let ready = match workspace {
            Some(Ok(workspace)) => Ok((workspace, None)),
            Some(Err(error)) => {
                Err(Error::new(ErrorKind::HostExhausted, "open workspace", error.to_string()))
            }
            None => self.workspace(&control, &process).await,
        };
        let (workspace, init) = match ready {
            Ok(ready) => ready,
            Err(error) => {
                drop(control);
                process.discard().await;
                return Err(error);
            }
        };
        let sandbox = Sandbox { control, process, workspace, init };
        let as_owner = self.plan.flags & flag::TAKE_IDS != 0;
        let stamps = if sources.is_empty() {
            Stamps::new()
        } else {
            let folder = sandbox.workspace.try_clone().map_err(|error| {
                Error::new(ErrorKind::HostExhausted, "place inputs", error.to_string())
            })?;
            blocking(move || inputs::place(&folder, sources, owner, as_owner)).await??
        };
        sandbox.control.tell(GO);
        // From here on the program may be executed before the helper says so.
        match self.next(&sandbox.control).await.map_err(Self::uncertain)? {
            Message::Started => Ok((sandbox, stamps)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Follows the set-up to the workspace, and to PID 1 where that can be handed over.
    async fn workspace(
        &self,
        control: &Control,
        process: &Process,
    ) -> Result<(OwnedFd, Option<OwnedFd>)> {
        loop {
            match self.next(control).await? {
                Message::Map => control.tell(self.shared.host.map_lent(process.pid()).await),
                Message::Ready { workspace, init } => return Ok((workspace, Some(init))),
                Message::ReadyAt { workspace } => {
                    return process.open(workspace).map(|workspace| (workspace, None)).map_err(
                        |errno| {
                            let message = "jobs of this user have put as many descriptors in flight \
                                           as the kernel allows a user; run as root, or lend ids to \
                                           the user (/etc/subuid)";
                            Error::new(ErrorKind::HostExhausted, "start job", message)
                                .with_source(errno)
                        },
                    );
                }
                other => return Err(self.unexpected(&other)),
            }
        }
    }

    async fn next(&self, control: &Control) -> Result<Message> {
        match timeout(STARTUP, control.receive()).await {
            Ok(Ok(Some(Message::Failed(failure)))) => Err(self.refusal(failure)),
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => {
                let message = "the helper died during set-up; it may have been killed";
                Err(Error::new(ErrorKind::Lost, "start job", message).with_retryable(true))
            }
            Ok(Err(error)) if error.raw_os_error() == Some(libc::EMFILE) => {
                let message = "this process may not open more files; raise its limit (ulimit -n)";
                Err(Error::new(ErrorKind::HostExhausted, "start job", message).with_source(error))
            }
            Ok(Err(error)) => {
                Err(Error::new(ErrorKind::Lost, "start job", error.to_string()).with_source(error))
            }
            Err(_) => {
                let message = format!("the sandbox was not ready within {STARTUP:?}");
                Err(Error::new(ErrorKind::Lost, "start job", message).with_retryable(true))
            }
        }
    }

    /// Only the helper's own word says that the program was not executed.
    fn uncertain(error: Error) -> Error {
        match error.kind() {
            ErrorKind::Lost => error.with_may_have_run().with_retryable(false),
            _ => error,
        }
    }

    fn unexpected(&self, message: &Message) -> Error {
        let message = format!("unexpected message from the helper: {message:?}");
        Error::new(ErrorKind::Backend, "start job", message)
    }

    /// Turns a failed step into the error that a caller can act on.
    fn refusal(&self, failure: SetupFailure) -> Error {
        let SetupFailure { stage, index, errno } = failure;
        if stage == Stage::Exec {
            return self.not_executed(errno);
        }
        let finding = explain(failure, &self.shared.host);
        let exhausted = matches!(
            errno,
            Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE | Errno::ENOSPC
        );
        let place = match (stage, self.plan.root.get(index)) {
            (Stage::Bind | Stage::RootEntry | Stage::Tmpfs, Some(step)) => {
                format!(" ({})", describe(step))
            }
            _ => String::new(),
        };
        let message = format!("{}{place}: {}; {}", finding.step, finding.cause, finding.remedy);
        let kind = if exhausted { ErrorKind::HostExhausted } else { ErrorKind::Refused };
        Error::new(kind, "isolate", message).with_layer(finding.layer).with_source(errno)
    }

    fn not_executed(&self, errno: Errno) -> Error {
        let program = self.plan.argv.first().map(String::as_str).unwrap_or_default();
        let (kind, why) = match errno {
            Errno::ENOENT => (
                ErrorKind::ProgramNotFound,
                format!("not found in the sandbox (looked at {})", self.plan.candidates.join(", ")),
            ),
            Errno::EACCES => {
                (ErrorKind::ProgramNotFound, "it may not be executed in the sandbox".to_owned())
            }
            Errno::ENOEXEC => {
                (ErrorKind::ProgramNotFound, "it is not in an executable format".to_owned())
            }
            Errno::E2BIG => {
                (ErrorKind::InvalidJob, "arguments and environment are too long".to_owned())
            }
            other => (ErrorKind::Backend, other.desc().to_owned()),
        };
        Error::new(kind, "execute program", format!("{program:?}: {why}")).with_source(errno)
    }
}
