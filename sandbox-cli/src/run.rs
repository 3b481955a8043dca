//! `sandbox run`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sandbox::wire::{OutcomeJson, RefusalJson};
use sandbox::{
    Content, Error, ErrorKind, Event, Execution, Executor as _, Job, JobBuilder, LocalExecutor,
    Network, Outcome, Termination, printable,
};
use tokio::signal::unix::{SignalKind, signal};

use crate::REFUSED;
use crate::args::{Backend, NetworkArg, RunArgs};

/// Runs one program and returns the command's exit status.
pub(crate) async fn run(args: RunArgs) -> u8 {
    let json = args.json;
    match outcome(args).await {
        Ok(code) => code,
        Err(error) => {
            refuse(&error, json);
            REFUSED
        }
    }
}

#[expect(clippy::print_stderr, reason = "the command's one line of explanation")]
pub(crate) fn refuse(error: &Error, json: bool) {
    if json {
        print_json(&RefusalJson::new(error));
    } else {
        eprintln!("sandbox: {}", printable(&error.to_string()));
    }
}

async fn outcome(args: RunArgs) -> Result<u8, Error> {
    if matches!(args.backend, Backend::Lambda) {
        let message = "this build has no lambda backend; use --backend local";
        return Err(Error::new(ErrorKind::Unsupported, "--backend", message));
    }
    let job = job(&args)?;
    let executor = LocalExecutor::new().await?;
    let execution = executor.start(job).await?;
    let outcome = follow(execution, !args.json).await?;
    let saved = save(&outcome, args.artifacts.as_deref()).await?;
    if args.json {
        print_json(&OutcomeJson::new(&outcome, &saved));
    } else {
        explain(&outcome);
    }
    Ok(exit_status(&outcome.termination))
}

/// Passes output through as it comes; an interrupt, or nobody reading any more, cancels the job.
async fn follow(mut execution: Execution, pass_through: bool) -> Result<Outcome, Error> {
    let cancel = execution.cancel_handle();
    let io =
        |error: io::Error| Error::new(ErrorKind::Backend, "wait for signals", error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(io)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(io)?;
    loop {
        tokio::select! {
            event = execution.next_event() => {
                let written = match event {
                    None => break,
                    Some(Event::Stdout(bytes)) if pass_through => write(io::stdout(), &bytes),
                    Some(Event::Stderr(bytes)) if pass_through => write(io::stderr(), &bytes),
                    Some(_) => Ok(()),
                };
                if written.is_err() {
                    cancel.cancel();
                }
            }
            _ = interrupt.recv() => cancel.cancel(),
            _ = terminate.recv() => cancel.cancel(),
            _ = hangup.recv() => cancel.cancel(),
        }
    }
    execution.outcome().await
}

fn write(mut stream: impl io::Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

fn print_json(value: &impl serde::Serialize) {
    // A closed stdout leaves nobody to tell.
    let mut stdout = io::stdout().lock();
    if serde_json::to_writer(&mut stdout, value).is_ok() {
        let _ = stdout.write_all(b"\n");
    }
}

fn job(args: &RunArgs) -> Result<Job, Error> {
    let mut job = program(args)?;
    if let Some(stdin) = &args.stdin {
        let path = if stdin == Path::new("-") { Path::new("/dev/stdin") } else { stdin };
        job = job.stdin(path.to_owned());
    }
    for input in &args.inputs {
        let (source, dest) = input_file(input)?;
        job = job.file(dest, Content::Path(source));
    }
    for (name, value) in &args.env {
        job = job.env(name, value);
    }
    for glob in &args.artifact {
        job = job.artifact(glob);
    }
    for layer in &args.require {
        job = job.require(*layer);
    }
    for layer in &args.allow_degraded {
        job = job.allow_degraded(*layer);
    }
    job = job.args(args.args.iter().filter(|_| !args.command));
    job = job.network(match args.network {
        NetworkArg::Denied => Network::Denied,
        NetworkArg::Host => Network::Host,
    });
    job.limit(|limits| {
        limits.wall = args.timeout.unwrap_or(limits.wall);
        limits.cpu = args.cpu_time.unwrap_or(limits.cpu);
        limits.memory = args.memory.unwrap_or(limits.memory);
        limits.processes = args.processes.unwrap_or(limits.processes);
        limits.open_files = args.open_files.unwrap_or(limits.open_files);
        limits.file_size = args.file_size.unwrap_or(limits.file_size);
        limits.workspace = args.disk.unwrap_or(limits.workspace);
        limits.files = args.files.unwrap_or(limits.files);
        limits.output = args.output.unwrap_or(limits.output);
    })
    .build()
}

fn program(args: &RunArgs) -> Result<JobBuilder, Error> {
    if args.command {
        return Ok(Job::command(args.args.iter().cloned()));
    }
    if let Some(code) = &args.code {
        let runtime = args.runtime.as_deref().unwrap_or("python");
        return Ok(Job::source(runtime, code.clone()));
    }
    let path = args.source.as_deref().unwrap_or(Path::new(""));
    let code = std::fs::read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Error::new(ErrorKind::Input, "FILE", message).with_source(error)
    })?;
    let by_extension = match path.extension().and_then(|extension| extension.to_str()) {
        Some("R" | "r") => "r",
        Some("js" | "mjs" | "cjs") => "node",
        Some("sh" | "bash") => "bash",
        _ => "python",
    };
    Ok(Job::source(args.runtime.as_deref().unwrap_or(by_extension), code))
}

/// `SRC` or `SRC:DEST`. A source that exists as written wins, so a colon in a name is no trap.
fn input_file(text: &str) -> Result<(PathBuf, String), Error> {
    let whole = PathBuf::from(text);
    if let Some((source, dest)) = text.rsplit_once(':').filter(|_| !whole.exists()) {
        return Ok((source.into(), dest.to_owned()));
    }
    match whole.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((whole.clone(), name.to_owned())),
        None => {
            let message = format!("{text:?} has no file name; give SRC:DEST");
            Err(Error::new(ErrorKind::InvalidJob, "--file", message))
        }
    }
}

async fn save(
    outcome: &Outcome,
    folder: Option<&Path>,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    let mut saved = BTreeMap::new();
    let Some(folder) = folder else { return Ok(saved) };
    for artifact in &outcome.artifacts {
        let path = artifact.save_to(folder).await.map_err(Error::with_may_have_run)?;
        saved.insert(artifact.path().to_owned(), path);
    }
    Ok(saved)
}

/// One line on stderr for an end that is not the program's own.
#[expect(clippy::print_stderr, reason = "the command's one line of explanation")]
fn explain(outcome: &Outcome) {
    let line = match &outcome.termination {
        Termination::Exited(_) => return,
        Termination::Signaled(signal) => format!("killed by signal {signal}"),
        Termination::WallTime(e) => format!("stopped: wall-clock limit of {:?}", e.limit),
        Termination::CpuTime(e) => format!("stopped: CPU-time limit of {:?}", e.limit),
        Termination::Memory(e) => {
            format!("stopped: memory limit of {} (peak {})", e.limit, e.peak)
        }
        Termination::Output(e) => format!("stopped: {} passed its cap of {}", e.stream, e.limit),
        Termination::Disk(e) => {
            format!("killed at the {} limit of {}", e.limit_kind.name(), e.limit)
        }
        Termination::Cancelled => "cancelled".into(),
        other => format!("ended: {}", other.reason()),
    };
    eprintln!("sandbox: {line}");
}

/// The command's exit status, as `timeout` and shells have it.
fn exit_status(termination: &Termination) -> u8 {
    let number = |code: i32| u8::try_from(code & 0xff).unwrap_or(REFUSED);
    match termination {
        Termination::Exited(code) => number(*code),
        Termination::Signaled(signal) => number(128 + signal),
        Termination::WallTime(_) | Termination::CpuTime(_) => 124,
        Termination::Memory(_) => 137,
        Termination::Disk(evidence) => number(128 + evidence.signal),
        // As if SIGPIPE and SIGINT had ended it.
        Termination::Output(_) => 141,
        Termination::Cancelled => 130,
        _ => REFUSED,
    }
}
