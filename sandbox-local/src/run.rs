//! One job, from admission to outcome, on the application's side.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sandbox_core::{
    Capture, Content, Driver, Enforcement, Error, ErrorKind, Event, Execution, Job, Layer,
    LayerState, Network, Outcome, OutputEvidence, Program, RelPath, Result, Stop, StopReason,
    trace,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::timeout;
use tracing::{Instrument as _, Span};

use crate::channel::Message;
use crate::collect::{Collection, collect, is_empty};
use crate::executor::Shared;
use crate::ids::JobIds;
use crate::inputs::{self, Source, Stamps};
use crate::interpreter::Interpreter;
use crate::launch::{Streams, base_plan, host_folder, launch, limit};
use crate::protocol::{KILL, flag};
use crate::pump::{self, Input, Stream};
use crate::setup::{Sandbox, Setup};
use crate::verdict::{Known, Report};
use crate::{cgroup, command, fd};

/// Longest time from a kill to the helper's report.
const TEARDOWN: Duration = Duration::from_secs(10);
const TEARDOWN_EXCLUSIVE: Duration = Duration::from_millis(400);

/// Starts a job; returns when its program is executed. The current span is the job's.
pub(crate) async fn start(
    shared: Arc<Shared>,
    job: Job,
    interpreter: Option<Interpreter>,
) -> Result<Execution> {
    let prepared = prepare(shared, job, interpreter).instrument(trace::start()).await;
    let (running, streams, stdin) = prepared?;
    let (execution, driver) = Execution::channel();
    tokio::spawn(running.drive(driver, streams, stdin).in_current_span());
    Ok(execution)
}

/// Builds the sandbox and executes the program in it.
async fn prepare(
    shared: Arc<Shared>,
    job: Job,
    interpreter: Option<Interpreter>,
) -> Result<(Running, Streams, Option<Input>)> {
    let since = Instant::now();
    let number = JobIds::next_number();
    let turn = match &shared.exclusive {
        None => None,
        Some(exclusive) => {
            let turn = exclusive.turn().await?;
            shared.sweep().await?;
            Some(turn)
        }
    };
    let limits = &job.limits;
    let mut sources = inputs::open(&job.files)?;
    let stdin = match &job.stdin {
        None => None,
        Some(content) => Some(Input::open(content).map_err(|error| {
            let name = match content {
                Content::Path(path) => path.display().to_string(),
                Content::Bytes(_) => "the given bytes".to_owned(),
            };
            Error::new(
                inputs::kind_of(&error),
                "open stdin",
                format!("cannot read {name}: {error}"),
            )
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

    // The application writes them, and not the job, to which they would be charged.
    let inputs = if shared.leaves_out(Layer::Memory) { 0 } else { inputs::total(&sources) };
    if inputs > 0 {
        inputs::check_room(inputs, limits)?;
    }
    let mut flags = shared.flags;
    let mut enforcement = shared.report.enforcement.clone();
    if job.network == Network::Host {
        flags &= !flag::NET;
        enforcement = enforcement.with(Layer::Network, LayerState::Off);
    }
    // Until then the program has certainly not run, whatever goes wrong.
    flags |= flag::AWAIT_GO;
    let namespaces = flags & flag::NAMESPACES != 0;
    let identity = shared.host.identity(number, flags);
    let owner = identity.owner;
    let filter = shared.seccomp(job.network);
    let mut plan = base_plan(&shared.host, flags, identity, limits, filter);
    let disk = (!shared.leaves_out(Layer::Disk)).then_some(limits);
    plan.root = shared.layout.for_job(interpreter.as_ref(), job.network, disk, identity.job);
    let parent = match &shared.exclusive {
        Some(exclusive) => exclusive.scratch().to_owned(),
        None => std::env::temp_dir(),
    };
    let folder = if namespaces { None } else { Some(host_folder(&mut plan, &parent, owner)?) };
    if !namespaces && shared.exclusive.is_some() && disk.is_some() {
        plan.scratch = parent.to_string_lossy().into_owned();
        plan.scratch_limit = limits.workspace().as_u64();
    }
    let tmp = folder.as_ref().map_or("/tmp".to_owned(), |folder| folder.join("tmp"));
    let command = command::Command::of(&job, interpreter.as_ref(), &tmp, shared.processors());
    let group = cgroup::name(&shared.host.ids, number);
    limit(&mut plan, &shared.host, &shared.parents, &group, limits, inputs, |layer| {
        shared.leaves_out(layer)
    });
    plan.candidates = command.candidates;
    plan.argv = command.argv;
    plan.env = command.env;

    // A watcher counts the workspace, and with it the inputs, by itself.
    let inputs = if plan.flags & flag::WATCH_MEMORY == 0 { inputs } else { 0 };
    let launched = launch(&shared.helper, &plan, &shared.parents, owner, stdin.is_some()).await?;
    let (control, process, streams) = launched;
    let setup = Setup { shared: &shared, plan: &plan };
    let (sandbox, stamps) = setup.bring_up(control, process, sources, owner, folder).await?;
    let startup = since.elapsed();

    let running = Running {
        shared: Arc::clone(&shared),
        job,
        sandbox,
        stamps,
        inputs,
        enforcement,
        startup,
        turn,
    };
    Ok((running, streams, stdin))
}

/// How often a collection is tried for which this process lacks descriptors or memory, and for how
/// long others get time to give some back in between.
const COLLECTIONS: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(100);

/// Collects the job's files; tries again while this process is exhausted.
fn collect_patiently(
    mut workspace: OwnedFd,
    job: &Job,
    stamps: &Stamps,
    keep: Option<&Arc<AtomicUsize>>,
) -> std::result::Result<Collection, Errno> {
    let mut tried = 0;
    loop {
        tried += 1;
        match collect(workspace, job, stamps, keep) {
            Ok(found) => return Ok(found),
            Err((_, errno)) if tried >= COLLECTIONS => return Err(errno),
            Err((again, _)) => workspace = again,
        }
        std::thread::sleep(BETWEEN);
    }
}

/// Runs work that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
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
    /// Bytes of inputs, which count as the job's memory.
    inputs: u64,
    enforcement: Enforcement,
    startup: Duration,
    /// Held until nothing of the job is left, where jobs run one at a time.
    turn: Option<OwnedSemaphorePermit>,
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
            if let Some(exclusive) = self.shared.exclusive.clone() {
                // What is left could write for ever. Whether it is gone is looked at again later.
                let _ = blocking(move || exclusive.end_processes()).await;
            }
            dead_tx.send_replace(true);
            report
        };
        let ended = async {
            tokio::join!(
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
            )
        };
        let (report, (), ()) = ended.instrument(trace::run()).await;
        if let Some(feeder) = feeder {
            feeder.abort();
        }
        let result = match report {
            Ok((report, over)) => {
                let outcome = self.outcome(report, over, stdout, stderr);
                outcome.instrument(trace::collect()).await
            }
            Err(error) => {
                let _ = self.shared.sweep().await;
                Err(error)
            }
        };
        trace::ended(&Span::current(), &result);
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
        let (mut killed, mut told) = (false, false);
        // The helper counts the limit; this only notices a helper that no longer does anything.
        let slack = self.teardown();
        let deadline = tokio::time::sleep(self.job.limits.wall + 2 * slack);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                message = self.sandbox.control.receive() => match message {
                    Ok(Some(Message::Finished(words))) => {
                        let report = Report(words);
                        return match report.init_died() {
                            false => Ok((report, ended_by_output)),
                            true => Err(Error::new(
                                ErrorKind::Lost,
                                "supervise job",
                                "the sandbox's first process was killed from outside; nothing of \
                                 the job is left alive",
                            )
                            .with_may_have_run()),
                        };
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
            if killed && !told {
                told = true;
                self.sandbox.control.tell(KILL);
                deadline.as_mut().reset(tokio::time::Instant::now() + slack);
            }
        }
    }

    /// Longest time from a kill to the helper's report. A job that has the helper's user can stop
    /// it, and is not given long for that.
    fn teardown(&self) -> Duration {
        if self.shared.exclusive.is_some() { TEARDOWN_EXCLUSIVE } else { TEARDOWN }
    }

    /// The helper died or hangs. Its death kills the job; this waits until it did.
    async fn lost(&mut self) -> Error {
        let ended = match self.shared.exclusive.clone() {
            Some(exclusive) => {
                blocking(move || exclusive.end_processes()).await.is_ok_and(|e| e.is_ok())
            }
            None => false,
        };
        self.sandbox.process.reap().await;
        let init = self.sandbox.init.as_ref();
        let gone = async {
            let init = init.ok_or(std::io::ErrorKind::NotFound)?.try_clone()?;
            fd::watch(init)?.readable().await.map(|_| ())
        };
        let gone = timeout(TEARDOWN, gone).await;
        let after = match gone {
            _ if ended => "nothing of the job is left alive",
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
        let Self { shared, job, sandbox, stamps, inputs, enforcement, startup, turn } = self;
        let report = report.with_inputs(inputs);
        let Sandbox { control, mut process, workspace, init } = sandbox;
        drop(control);
        let mut left = Ok(());
        if report.cgroup_left() && !process.remove_groups() {
            left = Err("a cgroup of the job could not be removed".to_owned());
        }
        if let Some(exclusive) = shared.exclusive.clone() {
            process.reap().await;
            left = left.and(blocking(move || exclusive.end_processes()).await?);
        }
        let keep = init.is_some().then(|| Arc::clone(&shared.kept));
        let (job, found) = if is_empty(&workspace) {
            (job, Ok(Collection::default()))
        } else {
            let collect = move || {
                let found = collect_patiently(workspace, &job, &stamps, keep.as_ref());
                (job, found)
            };
            blocking(collect).await?
        };
        if let Some(exclusive) = shared.exclusive.clone() {
            process.discard().await;
            left = left.and(blocking(move || exclusive.wipe()).await?);
        } else {
            // The helper has said its last word; the kernel still takes its mounts apart, which
            // concerns nobody.
            tokio::spawn(process.discard());
        }
        drop(turn);
        let Collection { artifacts, skipped, over_caps, file_at_size_limit } =
            found.map_err(|errno| {
                let message = format!(
                    "the job's files cannot be collected: {}; keep fewer outcomes at once, or raise \
                     the limit of open files (ulimit -n)",
                    errno.desc()
                );
                Error::new(ErrorKind::HostExhausted, "collect files", message)
                    .with_source(errno)
                    .with_may_have_run()
            })?;
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
            processors: shared.host.cpus,
        };
        let termination = report.termination(&job.limits, &known);
        let hit = report.limits_hit(&termination, &known);
        let mut enforcement = enforcement;
        if let Err(reason) = left {
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
        outcome.usage.peak_memory = report.memory_peak();
        outcome.usage.processes = report.processes_peak();
        outcome.timing.startup = startup;
        outcome.timing.run = report.run();
        outcome.timing.collect = report.teardown() + since.elapsed();
        Ok(outcome)
    }
}
