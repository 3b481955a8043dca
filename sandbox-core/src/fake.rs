//! A backend in memory: the reference of the conformance suite, and a stand-in for tests of
//! applications.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use tracing::{Instrument as _, Span};

use crate::execution::StopReason;
use crate::{
    Artifact, Capabilities, Capture, Content, Enforcement, Error, ErrorKind, Event, EventSender,
    Execution, Executor, Job, Layer, LayerState, LimitKind, MemoryEvidence, Network, Outcome,
    OutputEvidence, Program, RelPath, Result, Session, SessionSpec, Skipped, Stop, Termination,
    TimeEvidence, sessions_unsupported, trace, unknown_runtime,
};

/// A way in which a [`FakeExecutor`] misbehaves, to test what stands on top of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Behaves.
    None,
    /// Fails the first so many starts as an exhausted host does.
    RefuseStarts(usize),
    /// Loses every job after it started.
    LoseStarted,
    /// Lets a job run past its wall-clock limit.
    IgnoreTimeout,
    /// Lets background processes of a job live on.
    LeakProcess,
    /// Runs a job without a layer that it required.
    DropLayer,
}

/// Interprets a few lines of shell without running anything.
///
/// It understands commands separated by newlines or `;`: `echo`, `cat`, `printenv`, `exit`,
/// `kill -N $$`, `sleep`, `head -c N /dev/zero`, `tail /dev/zero`, `mkdir`, `ln -s`,
/// `while :; do :; done`, a search of other processes' command lines, and the redirections
/// `> FILE` and `>&2`. Anything else is `command not found`.
#[derive(Debug)]
pub struct FakeExecutor {
    capabilities: Capabilities,
    fault: Fault,
    starts: AtomicUsize,
    /// Command lines of background processes that outlived their job (a fault).
    survivors: Mutex<Vec<String>>,
    /// Answers instead of interpreting.
    answer: Option<Answer>,
}

/// What becomes of a job.
struct Answer(Box<Answering>);

type Answering = dyn Fn(&Job) -> Result<Outcome> + Send + Sync;

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

impl Default for FakeExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeExecutor {
    /// A fake that behaves.
    pub fn new() -> Self {
        Self::with_fault(Fault::None)
    }

    /// A fake that has every usual runtime and answers each job with what `answer` says, for tests of
    /// what is built on an executor.
    ///
    /// ```
    /// use sandbox_core::{Enforcement, ExecutorExt as _, FakeExecutor, Job, Outcome, Termination};
    ///
    /// # async fn run() -> sandbox_core::Result<()> {
    /// let fake = FakeExecutor::returning(|job| {
    ///     assert_eq!(job.limits.processes, 64);
    ///     Ok(Outcome::new(Termination::Exited(0), Enforcement::none()).with_stdout("42\n"))
    /// });
    /// assert_eq!(fake.run(Job::python("print(42)")).await?.stdout.text(), "42\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn returning(answer: impl Fn(&Job) -> Result<Outcome> + Send + Sync + 'static) -> Self {
        let mut fake = Self::new();
        let runtimes = crate::Runtime::defaults().map(|runtime| runtime.name);
        fake.capabilities = fake.capabilities.with_runtimes(runtimes);
        fake.answer = Some(Answer(Box::new(answer)));
        fake
    }

    /// A fake that misbehaves.
    pub fn with_fault(fault: Fault) -> Self {
        // What it interprets cannot touch anything, so these layers hold trivially.
        let enforcement = [
            Layer::Memory,
            Layer::Disk,
            Layer::Environment,
            Layer::Descriptors,
            Layer::PrivateTmp,
            Layer::Cleanup,
            Layer::SupervisorHidden,
        ]
        .into_iter()
        .fold(Enforcement::none(), |all, layer| all.with(layer, LayerState::Enforced));
        let limits = [
            LimitKind::Wall,
            LimitKind::Cpu,
            LimitKind::Memory,
            LimitKind::Output,
            LimitKind::Artifacts,
        ];
        let capabilities = Capabilities::new("fake")
            .with_runtimes(["bash"])
            .with_enforcement(enforcement)
            .with_limits(limits)
            .with_networks([Network::Denied])
            .with_files()
            .with_live_output();
        Self {
            capabilities,
            fault,
            starts: AtomicUsize::new(0),
            survivors: Mutex::default(),
            answer: None,
        }
    }

    /// How often a job was started, successfully or not.
    pub fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    fn survivors(&self) -> Vec<String> {
        self.survivors.lock().map(|list| list.clone()).unwrap_or_default()
    }
}

#[async_trait]
impl Executor for FakeExecutor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        let start = self.starts.fetch_add(1, Ordering::Relaxed);
        if matches!(self.fault, Fault::RefuseStarts(count) if start < count) {
            return Err(Error::new(ErrorKind::HostExhausted, "start", "no room; try again"));
        }
        if let Some(Answer(answer)) = &self.answer {
            self.capabilities.check(&job)?;
            let outcome = answer(&job)?;
            let (execution, driver) = Execution::channel();
            let (events, _stop, finish) = driver.into_parts();
            tokio::spawn(async move {
                events.send(Event::Started).await;
                finish.finish(Ok(outcome));
            });
            return Ok(execution);
        }
        let script = match &job.program {
            Program::Source { runtime, code } if runtime == "bash" => code.clone(),
            Program::Source { runtime, .. } => return Err(unknown_runtime(runtime, ["bash"])),
            Program::Command(argv) if COMMANDS.contains(&argv[0].as_str()) => argv.join(" ").into(),
            Program::Command(argv) => {
                let message = format!("{:?} is not a command of the fake", argv[0]);
                return Err(Error::new(ErrorKind::ProgramNotFound, "start", message));
            }
        };
        self.capabilities.check(&job)?;
        if self.fault != Fault::DropLayer {
            self.capabilities.enforcement.require(job.required_layers([]))?;
        }
        let files = read_inputs(&job)?;
        let (execution, driver) = Execution::channel();
        let (events, stop, finish) = driver.into_parts();
        let run = Run {
            limits_ignored: self.fault == Fault::IgnoreTimeout,
            inputs: files.keys().cloned().collect(),
            stdout: Capture::new(job.limits.output.as_u64()),
            stderr: Capture::new(job.limits.output.as_u64()),
            visible: self.survivors(),
            links: BTreeSet::new(),
            since: Instant::now(),
            job,
            files,
            events,
            stop,
        };
        let script = String::from_utf8_lossy(&script).into_owned();
        let background = script.lines().filter_map(|line| line.split_once(" &"));
        let leaked: Vec<_> = background.map(|(command, _)| command.trim().to_owned()).collect();
        if self.fault == Fault::LeakProcess
            && let Ok(mut survivors) = self.survivors.lock()
        {
            survivors.extend(leaked);
        }
        let enforcement = self.capabilities.enforcement.clone();
        let lose = self.fault == Fault::LoseStarted;
        let span = trace::job("fake", &run.job);
        let drive = async move {
            let result = run.run(&script, enforcement).instrument(trace::run()).await;
            let result = if lose {
                let lost = Error::new(ErrorKind::Lost, "wait", "lost by request");
                Err(lost.with_may_have_run().with_retryable(true))
            } else {
                result
            };
            trace::ended(&Span::current(), &result);
            finish.finish(result);
        };
        tokio::spawn(drive.instrument(span));
        Ok(execution)
    }

    async fn open(&self, _: SessionSpec) -> Result<Box<dyn Session>> {
        Err(sessions_unsupported("fake"))
    }
}

/// What a [`Program::Command`] may name.
const COMMANDS: [&str; 9] =
    ["echo", "cat", "printenv", "exit", "sleep", "head", "tail", "mkdir", "true"];

fn read_inputs(job: &Job) -> Result<BTreeMap<String, Bytes>> {
    let read = |(path, content): (&RelPath, &Content)| {
        let bytes = match content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Path(source) => std::fs::read(source)
                .map_err(|error| {
                    let message = format!("cannot read {source:?} for {path}");
                    Error::new(ErrorKind::Input, "read input", message).with_source(error)
                })?
                .into(),
        };
        Ok((path.to_string(), bytes))
    };
    job.files.iter().map(read).collect()
}

/// One job being interpreted.
struct Run {
    job: Job,
    files: BTreeMap<String, Bytes>,
    inputs: BTreeSet<String>,
    links: BTreeSet<String>,
    stdout: Capture,
    stderr: Capture,
    visible: Vec<String>,
    events: EventSender,
    stop: Stop,
    since: Instant,
    limits_ignored: bool,
}

impl Run {
    async fn run(mut self, script: &str, enforcement: Enforcement) -> Result<Outcome> {
        self.events.send(Event::Started).await;
        let mut code = 0;
        let mut end = None;
        let lines = script.replace("while :; do :; done", "spin");
        for command in lines.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty()) {
            match self.command(command).await {
                Ok(status) => code = status,
                Err(termination) => {
                    end = Some(termination);
                    break;
                }
            }
        }
        let wall = self.since.elapsed();
        let mut outcome = Outcome::new(end.unwrap_or(Termination::Exited(code)), enforcement);
        self.collect(&mut outcome);
        outcome.usage.wall = wall;
        outcome.timing.run = wall;
        outcome.stdout = self.stdout.finish();
        outcome.stderr = self.stderr.finish();
        if outcome.stdout.is_truncated() || outcome.stderr.is_truncated() {
            outcome.limits_hit.insert(LimitKind::Output);
        }
        Ok(outcome)
    }

    fn collect(&mut self, outcome: &mut Outcome) {
        let limits = &self.job.limits;
        let chosen = |path: &str| match self.job.artifacts.as_slice() {
            [] => !self.inputs.contains(path),
            patterns => patterns.iter().any(|pattern| pattern.matches(path)),
        };
        let mut room = limits.artifacts.as_u64();
        for (path, bytes) in &self.files {
            let Ok(rel) = RelPath::new(path.clone()) else { continue };
            let skip = |reason: &str| Skipped { path: path.clone(), reason: reason.into() };
            if !chosen(path) {
                continue;
            } else if self.links.contains(path) {
                outcome.skipped.push(skip("is a symbolic link"));
            } else if outcome.artifacts.len() >= limits.artifact_files as usize
                || bytes.len() as u64 > room
            {
                outcome.skipped.push(skip("does not fit into the artifact limits"));
                outcome.limits_hit.insert(LimitKind::Artifacts);
            } else {
                room -= bytes.len() as u64;
                outcome.artifacts.push(Artifact::from_bytes(rel, bytes.clone()));
            }
        }
    }

    /// Interprets one command; an error is the job's end.
    async fn command(&mut self, line: &str) -> Result<i32, Termination> {
        if line.contains(" &") && !line.contains(">&2") {
            // Runs in the background, and ends with the job.
            return Ok(0);
        }
        let (command, target) = match line.split_once('>') {
            Some((command, target)) => (command.trim(), Some(target.trim())),
            None => (line, None),
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        let unquote = |word: &str| word.trim_matches(['\'', '"']).to_owned();
        let output: Bytes = match words.as_slice() {
            ["echo", rest @ ..] => {
                let text: Vec<_> = rest.iter().map(|word| self.expand(&unquote(word))).collect();
                format!("{}\n", text.join(" ")).into()
            }
            ["cat"] => match &self.job.stdin {
                Some(Content::Bytes(bytes)) => bytes.clone(),
                Some(Content::Path(path)) => std::fs::read(path).unwrap_or_default().into(),
                None => Bytes::new(),
            },
            ["cat", path] => match self.files.get(*path) {
                Some(bytes) => bytes.clone(),
                None => return self.fail(format!("cat: {path}: no such file"), 1).await,
            },
            ["printenv", name] => match self.job.env.get(*name) {
                Some(value) => format!("{value}\n").into(),
                None => return Ok(1),
            },
            ["exit", code] => return Err(Termination::Exited(code.parse().unwrap_or(2))),
            ["kill", signal, "$$"] => {
                let number = signal.trim_start_matches('-').parse().unwrap_or(15);
                return Err(Termination::Signaled(number));
            }
            ["sleep", seconds] => {
                let seconds = seconds.parse().unwrap_or(0.0);
                return self.sleep(Duration::from_secs_f64(seconds)).await;
            }
            ["spin"] => return self.spin().await,
            ["tail", "/dev/zero"] => {
                let limit = self.job.limits.memory;
                let evidence = MemoryEvidence { limit, peak: Some(limit), oom_kills: 1 };
                return Err(Termination::Memory(evidence));
            }
            ["head", "-c", count, "/dev/zero"] => vec![0; count.parse().unwrap_or(0)].into(),
            ["mkdir", ..] | ["true"] => return Ok(0),
            ["ln", "-s", _, name] => {
                self.links.insert((*name).to_owned());
                self.files.insert((*name).to_owned(), Bytes::new());
                return Ok(0);
            }
            ["grep", "-al", pattern, ..] => {
                let needle = pattern.replace(['\'', '[', ']'], "");
                let found = self.visible.iter().find(|command| command.contains(&needle));
                match found {
                    Some(command) => format!("{command}\n").into(),
                    None => return Ok(1),
                }
            }
            _ => return self.fail(format!("{command}: command not found"), 127).await,
        };
        match target {
            None => self.write("stdout", output).await,
            Some("&2") => self.write("stderr", output).await,
            Some(path) => {
                self.inputs.remove(path);
                self.files.insert(path.to_owned(), output);
                Ok(0)
            }
        }
    }

    fn expand(&self, word: &str) -> String {
        match word.strip_prefix('$') {
            Some(digits) if digits.parse::<usize>().is_ok() => {
                let index: usize = digits.parse().unwrap_or(0);
                self.job.args.get(index.wrapping_sub(1)).cloned().unwrap_or_default()
            }
            _ => word.to_owned(),
        }
    }

    async fn fail(&mut self, message: String, code: i32) -> Result<i32, Termination> {
        self.write("stderr", format!("{message}\n").into()).await?;
        Ok(code)
    }

    async fn write(&mut self, stream: &'static str, bytes: Bytes) -> Result<i32, Termination> {
        let capture = if stream == "stdout" { &mut self.stdout } else { &mut self.stderr };
        capture.push(&bytes);
        if capture.is_over() && self.job.stop_at_output_limit {
            let (limit, total) = (self.job.limits.output, capture.total());
            return Err(Termination::Output(OutputEvidence { stream, limit, total }));
        }
        if !bytes.is_empty() {
            let event =
                if stream == "stdout" { Event::Stdout(bytes) } else { Event::Stderr(bytes) };
            self.events.send(event).await;
        }
        Ok(0)
    }

    async fn sleep(&mut self, duration: Duration) -> Result<i32, Termination> {
        let limit = self.job.limits.wall;
        let left = limit.saturating_sub(self.since.elapsed());
        let ignored = self.limits_ignored;
        tokio::select! {
            reason = self.stop.requested() => match reason {
                StopReason::Cancelled | StopReason::Dropped => Err(Termination::Cancelled),
            },
            () = tokio::time::sleep(duration) => Ok(0),
            () = tokio::time::sleep(left), if !ignored => {
                let used = self.since.elapsed();
                Err(Termination::WallTime(TimeEvidence { limit, used }))
            }
        }
    }

    /// Spends processor time until a limit ends it.
    async fn spin(&mut self) -> Result<i32, Termination> {
        let limit = self.job.limits.cpu(1);
        self.sleep(limit).await?;
        if self.limits_ignored {
            return Ok(0);
        }
        Err(Termination::CpuTime(TimeEvidence { limit, used: limit }))
    }
}
