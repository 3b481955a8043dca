//! One job, from admission to outcome, on the application's side.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use sandbox_core::{
    Capture, Driver, Enforcement, Error, ErrorKind, Event, Execution, Job, Layer, LayerState,
    Limits, Network, Outcome, OutputEvidence, Program, RelPath, Result, Stop, StopReason,
};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::cgroup::{self, Parent};
use crate::channel::{self, Control, Message, SetupFailure};
use crate::collect::{Collection, collect, is_empty};
use crate::executor::Shared;
use crate::helper::{Helper, Process};
use crate::host::Host;
use crate::inputs::{self, Source, Stamps};
use crate::interpreter::Interpreter;
use crate::layout::{Layout, describe};
use crate::plan::Plan;
use crate::probe::explain;
use crate::protocol::{GO, KILL, Stage, flag};
use crate::pump::{self, Input, Stream};
use crate::verdict::{Known, Report};
use crate::{command, fd};

/// Longest time from the helper's spawn to the program's execution, input files aside.
const STARTUP: Duration = Duration::from_secs(20);
/// Longest time from a kill to the helper's report.
const TEARDOWN: Duration = Duration::from_secs(10);
/// How often a watcher looks at memory where no cgroup limits it.
const WATCH: Duration = Duration::from_millis(10);

/// A helper and the socket to it. Dropping it kills the job.
#[derive(Debug)]
struct Sandbox {
    // Fields drop in this order: the closed socket makes the helper kill its job and end.
    control: Control,
    process: Process,
    workspace: OwnedFd,
    init: OwnedFd,
}

/// The application's ends of the job's standard streams.
struct Streams {
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: pipe::Receiver,
}

/// Spawns a helper with a plan and the job's ends of its streams.
async fn launch(
    helper: &Helper,
    plan: &Plan,
    parents: &[Parent],
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
            let null = std::fs::File::open("/dev/null").map_err(exhausted("open /dev/null"))?;
            (None, null.into())
        }
    };
    let (stdout, job_stdout) = pump::output_pipe().map_err(exhausted("open pipe"))?;
    let (stderr, job_stderr) = pump::output_pipe().map_err(exhausted("open pipe"))?;
    let (ours, theirs) = channel::pair().map_err(|errno| exhausted("open socket")(errno.into()))?;
    let (sealed, length) = plan.seal().map_err(|errno| exhausted("write plan")(errno.into()))?;
    let mut fds = vec![
        sealed.as_raw_fd(),
        job_stdin.as_raw_fd(),
        job_stdout.as_raw_fd(),
        job_stderr.as_raw_fd(),
    ];
    fds.extend(parents.iter().map(|parent| parent.dir.as_raw_fd()));
    channel::send_plan(&ours, length, &fds)
        .map_err(|errno| exhausted("send plan")(errno.into()))?;
    let process = helper.spawn(theirs).map_err(exhausted("spawn helper"))?;
    let control = Control::new(ours).map_err(exhausted("watch helper"))?;
    Ok((control, process, Streams { stdin, stdout, stderr }))
}

/// A set-up without a job, for probing.
pub(crate) async fn trial(
    host: &Host,
    helper: &Helper,
    layout: &Layout,
    flags: u64,
    parents: Vec<Parent>,
) -> Result<std::result::Result<(), SetupFailure>> {
    let limits = Limits::default();
    let filter = crate::seccomp::compile(true);
    let ids = host.job_ids(0);
    let mut plan = base_plan(host, flags | flag::PROBE, ids, &limits, &filter);
    plan.root = layout.for_job(None, Network::Denied, &limits, ids);
    let name = format!("{}-probe", cgroup::name(next_probe()));
    limit(&mut plan, &parents, &name, &limits);
    let (control, mut process, _streams) = launch(helper, &plan, &parents, false).await?;
    let lost = || Error::new(ErrorKind::Lost, "probe host", "the helper died while probing");
    let result = loop {
        match timeout(STARTUP, control.receive()).await {
            Ok(Ok(Some(Message::Failed(failure)))) => break Ok(Err(failure)),
            Ok(Ok(Some(Message::Finished(_)))) => break Ok(Ok(())),
            Ok(Ok(Some(_))) => {}
            _ => break Err(lost()),
        }
    };
    drop(control);
    process.reap();
    if result.is_err() {
        cgroup::remove(&parents, &name);
    }
    result
}

fn next_probe() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PROBES: AtomicU64 = AtomicU64::new(0);
    PROBES.fetch_add(1, Ordering::Relaxed)
}

/// The parts of a plan that do not depend on the program.
fn base_plan(host: &Host, flags: u64, ids: (u32, u32), limits: &Limits, seccomp: &[u8]) -> Plan {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut plan = Plan {
        flags,
        job_ids: ids,
        caller_ids: (host.uid, host.gid),
        wall_ns: nanos(limits.wall),
        cpu_us: u64::try_from(limits.cpu.as_micros()).unwrap_or(u64::MAX),
        memory_limit: limits.memory.as_u64(),
        cpus: host.cpus,
        watch_ns: nanos(WATCH),
        hostname: "sandbox".into(),
        cwd: "/work".into(),
        seccomp: seccomp.to_vec(),
        ..Plan::default()
    };
    crate::landlock::restrict(&mut plan);
    plan
}

/// Adds the cgroups, named `name`, and the limits of single processes that go with them.
fn limit(plan: &mut Plan, parents: &[Parent], name: &str, limits: &Limits) {
    let memory = parents.iter().any(|parent| parent.memory);
    if !memory {
        plan.flags |= flag::WATCH_MEMORY;
    }
    let counted = parents.iter().any(|parent| parent.processes);
    plan.rlimits = command::rlimits(limits, !memory, counted);
    // The first four descriptors of the message are the plan and the streams.
    let group = |(index, parent): (usize, &Parent)| parent.plan(name, limits, 4 + index);
    plan.cgroups = parents.iter().enumerate().map(group).collect();
}

/// Starts a job; returns when its program is executed.
pub(crate) async fn start(
    shared: Arc<Shared>,
    job: Job,
    interpreter: Option<Interpreter>,
) -> Result<Execution> {
    let since = Instant::now();
    let number = shared.next_job();
    let limits = &job.limits;
    let command = command::Command::of(&job, interpreter.as_ref());
    let mut sources = inputs::open(&job.files)?;
    let stdin = match &job.stdin {
        None => None,
        Some(content) => Some(Input::open(content).map_err(|error| {
            Error::new(ErrorKind::Input, "open stdin", format!("cannot read it: {error}"))
                .with_source(error)
        })?),
    };
    if let (Some(interpreter), Program::Source { code, .. }) = (&interpreter, &job.program) {
        let entry = RelPath::new(interpreter.runtime.file_name.clone())?;
        if job.files.contains_key(&entry) {
            let message = format!(
                "{entry} is the name of the program itself for runtime {}; rename the file",
                interpreter.runtime.name
            );
            return Err(Error::new(ErrorKind::InvalidJob, "files", message));
        }
        sources.push((entry, Source::Bytes(code.clone())));
    }

    let mut flags = shared.flags;
    let mut enforcement = shared.report.enforcement.clone();
    if job.network == Network::Host {
        flags &= !flag::NET;
        enforcement = enforcement.with(Layer::Network, LayerState::Off);
    }
    if !sources.is_empty() {
        flags |= flag::AWAIT_GO;
    }
    let ids = shared.host.job_ids(number);
    let mut plan = base_plan(&shared.host, flags, ids, limits, &shared.seccomp);
    plan.root = shared.layout.for_job(interpreter.as_ref(), job.network, limits, ids);
    let group = cgroup::name(number);
    limit(&mut plan, &shared.parents, &group, limits);
    plan.candidates = command.candidates;
    plan.argv = command.argv;
    plan.env = command.env;

    let launched = launch(&shared.helper, &plan, &shared.parents, stdin.is_some()).await?;
    let (control, process, streams) = launched;
    let setup = Setup { shared: &shared, plan: &plan, group: &group };
    let (sandbox, stamps) = setup.bring_up(control, process, sources, ids).await?;
    let startup = since.elapsed();

    let (execution, driver) = Execution::channel();
    let running =
        Running { shared: Arc::clone(&shared), job, sandbox, stamps, enforcement, startup, group };
    tokio::spawn(running.drive(driver, streams, stdin));
    Ok(execution)
}

/// A job that is being set up.
struct Setup<'a> {
    shared: &'a Shared,
    plan: &'a Plan,
    group: &'a str,
}

impl Setup<'_> {
    /// Follows the set-up to the program's execution, placing the inputs on the way.
    async fn bring_up(
        &self,
        control: Control,
        mut process: Process,
        sources: Vec<(RelPath, Source)>,
        ids: (u32, u32),
    ) -> Result<(Sandbox, Stamps)> {
        let (workspace, init) = match self.next(&control).await {
            Ok(Message::Ready { workspace, init }) => (workspace, init),
            Ok(other) => return Err(self.unexpected(&other)),
            Err(error) => {
                drop(control);
                process.reap();
                return Err(error);
            }
        };
        let sandbox = Sandbox { control, process, workspace, init };
        let stamps = if sources.is_empty() {
            Stamps::new()
        } else {
            let folder = sandbox.workspace.try_clone().map_err(|error| {
                Error::new(ErrorKind::HostExhausted, "place inputs", error.to_string())
            })?;
            let owner = self.shared.host.owner_of(ids);
            let stamps = blocking(move || inputs::place(&folder, sources, owner)).await??;
            sandbox.control.tell(GO);
            stamps
        };
        match self.next(&sandbox.control).await? {
            Message::Started => Ok((sandbox, stamps)),
            other => Err(self.unexpected(&other)),
        }
    }

    async fn next(&self, control: &Control) -> Result<Message> {
        match timeout(STARTUP, control.receive()).await {
            Ok(Ok(Some(Message::Failed(failure)))) => Err(self.refusal(failure)),
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => {
                cgroup::remove(&self.shared.parents, self.group);
                let message = "the helper died during set-up; it may have been killed";
                Err(Error::new(ErrorKind::Lost, "start job", message).with_retryable(true))
            }
            Ok(Err(error)) => {
                Err(Error::new(ErrorKind::Lost, "start job", error.to_string()).with_source(error))
            }
            Err(_) => {
                let message = format!("the sandbox was not ready within {STARTUP:?}");
                Err(Error::new(ErrorKind::HostExhausted, "start job", message))
            }
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

/// Runs work that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::new(ErrorKind::Backend, "run blocking work", error.to_string()).with_may_have_run()
    })
}

/// A job whose program was executed.
struct Running {
    shared: Arc<Shared>,
    job: Job,
    sandbox: Sandbox,
    stamps: Stamps,
    enforcement: Enforcement,
    startup: Duration,
    group: String,
}

impl Running {
    async fn drive(mut self, driver: Driver, streams: Streams, stdin: Option<Input>) {
        let (events, mut stop, finish) = driver.into_parts();
        events.send(Event::Started).await;
        let cap = self.job.limits.output.as_u64();
        let (mut stdout, mut stderr) = (Capture::new(cap), Capture::new(cap));
        let over = [Notify::new(), Notify::new()];
        let (dead_tx, dead) = watch::channel(false);
        let feeder = streams.stdin.zip(stdin).map(|(pipe, input)| tokio::spawn(input.feed(pipe)));
        let supervise = async {
            let report = self.supervise(&mut stop, &over).await;
            dead_tx.send_replace(true);
            report
        };
        let (report, (), ()) = tokio::join!(
            supervise,
            pump::drain(
                streams.stdout,
                Stream::Stdout,
                &mut stdout,
                events.clone(),
                &over[0],
                dead.clone()
            ),
            pump::drain(streams.stderr, Stream::Stderr, &mut stderr, events, &over[1], dead),
        );
        if let Some(feeder) = feeder {
            feeder.abort();
        }
        let result = match report {
            Ok((report, over)) => self.outcome(report, over, stdout, stderr).await,
            Err(error) => Err(error),
        };
        finish.finish(result);
    }

    /// Waits for the helper's report, passing on what ends the job early.
    async fn supervise(
        &mut self,
        stop: &mut Stop,
        over: &[Notify; 2],
    ) -> Result<(Report, Option<Stream>)> {
        let stop_at_output = self.job.stop_at_output_limit;
        let mut ended_by_output = None;
        let mut killed = false;
        let deadline = tokio::time::sleep(Duration::MAX);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                message = self.sandbox.control.receive() => match message {
                    Ok(Some(Message::Finished(words))) => {
                        return Ok((Report(words), ended_by_output));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return Err(self.lost().await),
                },
                reason = stop.requested(), if !killed => {
                    let (StopReason::Cancelled | StopReason::Dropped) = reason;
                    killed = true;
                }
                () = over[0].notified(), if stop_at_output && !killed => {
                    ended_by_output = Some(Stream::Stdout);
                    killed = true;
                }
                () = over[1].notified(), if stop_at_output && !killed => {
                    ended_by_output = Some(Stream::Stderr);
                    killed = true;
                }
                () = &mut deadline => return Err(self.lost().await),
            }
            if killed && deadline.deadline() > tokio::time::Instant::now() + TEARDOWN {
                self.sandbox.control.tell(KILL);
                deadline.as_mut().reset(tokio::time::Instant::now() + TEARDOWN);
            }
        }
    }

    /// The helper died or hangs. Its death kills the job; this waits until it did.
    async fn lost(&mut self) -> Error {
        self.sandbox.process.reap();
        let gone = async {
            let init = fd::watch(self.sandbox.init.try_clone()?)?;
            init.readable().await.map(|_| ())
        };
        let gone = timeout(TEARDOWN, gone).await;
        cgroup::remove(&self.shared.parents, &self.group);
        let after = match gone {
            Ok(Ok(())) => "nothing of the job is left alive",
            _ => "processes of the job may be left",
        };
        let message = format!("the job's supervisor died before its report; {after}");
        Error::new(ErrorKind::Lost, "supervise job", message).with_may_have_run()
    }

    async fn outcome(
        self,
        report: Report,
        over: Option<Stream>,
        stdout: Capture,
        stderr: Capture,
    ) -> Result<Outcome> {
        let since = Instant::now();
        let Self { job, sandbox, stamps, enforcement, startup, .. } = self;
        let Sandbox { control, mut process, workspace, init: _ } = sandbox;
        drop(control);
        let (job, found) = if is_empty(&workspace) {
            (job, Collection::default())
        } else {
            let collect = move || {
                let found = collect(&workspace, &job, &stamps);
                (job, found)
            };
            blocking(collect).await?
        };
        // The helper has said its last word; the kernel still takes its mounts apart, which
        // concerns nobody.
        tokio::task::spawn_blocking(move || process.reap());
        let Collection { artifacts, skipped, over_caps, file_at_size_limit } = found;
        let output = over.map(|stream| OutputEvidence {
            stream: stream.name(),
            limit: job.limits.output,
            total: if stream == Stream::Stdout { stdout.total() } else { stderr.total() },
        });
        let known = Known {
            output,
            file_at_size_limit,
            output_truncated: stdout.is_over() || stderr.is_over(),
            over_artifact_caps: over_caps,
        };
        let termination = report.termination(&job.limits, &known);
        let hit = report.limits_hit(&termination, &known);
        let mut enforcement = enforcement;
        if report.cgroup_left() {
            let reason = "a cgroup of the job could not be removed".to_owned();
            enforcement = enforcement.with(Layer::Cleanup, LayerState::Degraded(reason));
        }
        let mut outcome = Outcome::new(termination, enforcement);
        outcome.stdout = stdout.finish();
        outcome.stderr = stderr.finish();
        outcome.artifacts = artifacts;
        outcome.skipped = skipped;
        outcome.limits_hit = hit;
        outcome.usage.wall = report.run();
        outcome.usage.cpu = report.cpu();
        outcome.usage.peak_memory = Some(report.memory_peak());
        outcome.usage.processes = report.processes_peak();
        outcome.timing.startup = startup;
        outcome.timing.run = report.run();
        outcome.timing.collect = report.teardown() + since.elapsed();
        Ok(outcome)
    }
}
