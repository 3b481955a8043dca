//! From limits and layers to a plan, and from a plan to a running helper.

use std::collections::BTreeSet;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::resource::Resource;
use nix::unistd::{Gid, Uid};
use sandbox_core::{Error, ErrorKind, Layer, Limits, Network, Result, Size};
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::cgroup::{self, JobGroups, Parent};
use crate::channel::{self, Control, Message, SetupFailure};
use crate::folder::HostFolder;
use crate::helper::{Helper, Process};
use crate::host::{Host, Identity};
use crate::ids::JobIds;
use crate::layout::Layout;
use crate::plan::Plan;
use crate::protocol::{descriptor, flag};
use crate::pump;
use crate::seccomp::{self, Policy, Sockets};
use crate::{command, landlock, user};

/// Longest time from the helper's spawn to the program's execution, input files aside.
pub(crate) const STARTUP: Duration = Duration::from_secs(20);
/// How often a watcher looks at memory where no cgroup limits it.
const WATCH: Duration = Duration::from_millis(10);

/// The application's ends of the job's standard streams.
pub(crate) struct Streams {
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: pipe::Receiver,
}

/// Spawns a helper with a plan and the job's ends of its streams, which are given to `owner`.
pub(crate) async fn launch(
    helper: &Helper,
    plan: &Plan,
    parents: &[Parent],
    owner: Option<(u32, u32)>,
    with_stdin: bool,
) -> Result<(Control, Process, Streams)> {
    let exhausted = |step: &'static str| {
        move |error: std::io::Error| {
            Error::new(ErrorKind::HostExhausted, step, error.to_string()).with_source(error)
        }
    };
    let (stdin, job_stdin) = match with_stdin {
        true => {
            let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
                .map_err(|errno| exhausted("open pipe")(errno.into()))?;
            let writer = pipe::Sender::from_owned_fd(writer).map_err(exhausted("open pipe"))?;
            (Some(writer), reader)
        }
        false => {
            // At its end from the start. Not the host's /dev/null, on whose inode jobs could leave
            // locks for each other.
            let (reader, _closed) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
                .map_err(|errno| exhausted("open pipe")(errno.into()))?;
            (None, reader)
        }
    };
    let (stdout, job_stdout) = pump::output_pipe().map_err(exhausted("open pipe"))?;
    let (stderr, job_stderr) = pump::output_pipe().map_err(exhausted("open pipe"))?;
    if let Some((uid, gid)) = owner {
        // So that it can open /dev/stdout and its kin, which are these by name. An application that
        // may not give them away has jobs that cannot, and is no less safe.
        for fd in [&job_stdin, &job_stdout, &job_stderr] {
            let _ = nix::unistd::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        }
    }
    let (ours, theirs) = channel::pair().map_err(|errno| exhausted("open socket")(errno.into()))?;
    let sealed = plan.seal().map_err(|errno| exhausted("write plan")(errno.into()))?;
    let mut inherited = vec![
        theirs.as_fd(),
        sealed.as_fd(),
        job_stdin.as_fd(),
        job_stdout.as_fd(),
        job_stderr.as_fd(),
    ];
    inherited.extend(parents.iter().map(|parent| parent.dir.as_fd()));
    let name = plan.cgroups.first().map(|group| group.name.clone()).unwrap_or_default();
    let groups = JobGroups::new(if name.is_empty() { &[] } else { parents }, name);
    let process = helper.spawn(&inherited, groups).map_err(exhausted("spawn helper"))?;
    let control = Control::new(ours).map_err(exhausted("watch helper"))?;
    Ok((control, process, Streams { stdin, stdout, stderr }))
}

/// A set-up without a job, for probing.
pub(crate) async fn trial(
    host: &Host,
    helper: &Helper,
    layout: &Layout,
    left_out: &BTreeSet<Layer>,
    flags: u64,
    parents: Vec<Parent>,
) -> Result<std::result::Result<(), SetupFailure>> {
    let limits = Limits::default();
    let policy = Policy {
        counted_memory: true,
        sockets: Sockets::Own,
        namespaces: true,
        raises_priority: true,
    };
    let filter = seccomp::compile(policy);
    let namespaces = flags & flag::NAMESPACES != 0;
    let number = JobIds::next_number();
    let identity = host.identity(number, flags);
    let mut plan = base_plan(host, flags | flag::PROBE, identity, &limits, &filter);
    let disk = (!left_out.contains(&Layer::Disk)).then_some(&limits);
    plan.root = layout.for_job(None, Network::Denied, disk, identity.job);
    if !namespaces {
        plan.cwd = "/".into();
        let root = std::mem::take(&mut plan.root);
        landlock::restrict_on_host(&mut plan, &root, Path::new("/proc"));
    }
    let name = cgroup::name(&host.ids, number);
    limit(&mut plan, host, &parents, &name, &limits, 0, |layer| left_out.contains(&layer));
    let (control, mut process, _streams) = launch(helper, &plan, &parents, None, false).await?;
    let lost = || Error::new(ErrorKind::Lost, "probe host", "the helper died while probing");
    let result = loop {
        match timeout(STARTUP, control.receive()).await {
            Ok(Ok(Some(Message::Failed(failure)))) => break Ok(Err(failure)),
            Ok(Ok(Some(Message::Finished(_)))) => break Ok(Ok(())),
            Ok(Ok(Some(Message::Map))) => control.tell(host.map_lent(process.pid()).await),
            Ok(Ok(Some(_))) => {}
            _ => break Err(lost()),
        }
    };
    drop(control);
    process.reap().await;
    result
}

/// The parts of a plan that do not depend on the program.
pub(crate) fn base_plan(
    host: &Host,
    flags: u64,
    identity: Identity,
    limits: &Limits,
    seccomp: &[u8],
) -> Plan {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut plan = Plan {
        flags,
        job_ids: identity.job,
        helper_ids: identity.helper,
        wall_ns: nanos(limits.wall),
        cpu_us: u64::try_from(limits.cpu(host.cpus).as_micros()).unwrap_or(u64::MAX),
        memory_limit: limits.memory.as_u64(),
        cpus: host.cpus,
        page_size: host.page_size,
        watch_ns: nanos(WATCH),
        hostname: "sandbox".into(),
        cwd: "/work".into(),
        seccomp: seccomp.to_vec(),
        ..Plan::default()
    };
    landlock::restrict(&mut plan);
    plan
}

/// Adds the cgroups, named `name`, for a job with so many bytes of inputs, and the limits of single
/// processes that go with them.
pub(crate) fn limit(
    plan: &mut Plan,
    host: &Host,
    parents: &[Parent],
    name: &str,
    limits: &Limits,
    inputs: u64,
    leaves_out: impl Fn(Layer) -> bool,
) {
    let watch = !leaves_out(Layer::Memory) && !parents.iter().any(|parent| parent.memory);
    if watch {
        plan.flags |= flag::WATCH_MEMORY;
    }
    if parents.iter().all(|parent| parent.disks.is_empty()) {
        plan.flags |= flag::IDLE_DISK;
    }
    let spare = if parents.iter().any(|parent| parent.processes) {
        // A cgroup refuses first, because it also says that it did.
        16
    } else if plan.flags & (flag::NAMESPACES | flag::PRIVILEGED) == 0 {
        // The job is the application's user, whose other processes count too, the helper among
        // them.
        let tasks = user::tasks(host.uid).unwrap_or_default();
        tasks.iter().map(|task| task.threads).sum::<u64>() + 1
    } else {
        0
    };
    plan.rlimits = command::rlimits(limits, host.cpus, watch, spare);
    plan.rlimits.retain(|(resource, _)| {
        let layer = match *resource {
            nproc if nproc == Resource::RLIMIT_NPROC as u64 => Layer::Processes,
            data if data == Resource::RLIMIT_DATA as u64 => Layer::Memory,
            _ => Layer::Rlimits,
        };
        !leaves_out(layer)
    });
    // The application pays for the inputs that it writes into the workspace: the rest is the job's.
    let mut own = limits.clone();
    own.memory = Size::b(limits.memory.as_u64().saturating_sub(inputs));
    let group = |(number, parent): (u64, &Parent)| parent.plan(name, &own, number);
    plan.cgroups = (descriptor::GROUPS as u64..).zip(parents).map(group).collect();
}

/// Makes a workspace on the host and confines the plan to it.
pub(crate) fn host_folder(
    plan: &mut Plan,
    parent: &Path,
    owner: Option<(u32, u32)>,
) -> Result<HostFolder> {
    let folder = HostFolder::make(parent, owner).map_err(|error| {
        let message = format!("cannot make a folder in {}: {error}", parent.display());
        Error::new(ErrorKind::HostExhausted, "make workspace", message).with_source(error)
    })?;
    let root = std::mem::take(&mut plan.root);
    landlock::restrict_on_host(plan, &root, folder.path());
    plan.cwd = folder.join("work");
    Ok(folder)
}
