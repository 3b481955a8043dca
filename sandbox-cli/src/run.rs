//! `sandbox run`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use sandbox::wire::{OutcomeJson, RefusalJson};
use sandbox::{
    Error, ErrorKind, Event, Execution, Executor as _, LimitKind, Outcome, Pattern, Termination,
    printable, quoted_name,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::args::RunArgs;
use crate::terminal::{Filter, own_line};
use crate::{REFUSED, job};

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

pub(crate) fn refuse(error: &Error, json: bool) {
    if json {
        print_json(&RefusalJson::new(error));
    } else {
        say(&error.to_string());
    }
}

async fn outcome(args: RunArgs) -> Result<u8, Error> {
    let mut signals = Signals::new()?;
    let interrupted = || {
        let message = "interrupted before the program was executed";
        Error::new(ErrorKind::Backend, "start job", message)
    };
    // Whoever writes to a FIFO may never come.
    let described = args.job.clone();
    let built = tokio::task::spawn_blocking(move || job::build(&described));
    let job = tokio::select! {
        built = built => built.unwrap_or_else(|_| Err(interrupted()))?,
        () = signals.any() => return Err(interrupted()),
    };
    if let Some(folder) = &args.artifacts {
        prepare(folder)?;
    }
    let patterns = job.artifacts.clone();
    let start = async { args.backend.showing().await?.start(job).await };
    let execution = tokio::select! {
        execution = start => execution?,
        () = signals.any() => return Err(interrupted()),
    };
    let (outcome, delivered) = follow(execution, &mut signals, !args.json, args.raw).await?;
    let (saved, unsaved) = save(&outcome, args.artifacts.as_deref()).await;
    let wanted = args.artifacts.is_some() || !args.job.artifact.is_empty();
    for loss in losses(&outcome, &patterns, wanted, args.artifacts.is_some() || args.json) {
        say(&loss);
    }
    if args.json {
        if !print_json(&OutcomeJson::new(&outcome, &saved)) {
            return Ok(REFUSED);
        }
    } else {
        explain(&outcome);
    }
    if let Some(error) = unsaved {
        // The outcome stands; what could not be done with it is said beside it.
        say(&error.to_string());
        return Ok(REFUSED);
    }
    if !delivered {
        return Ok(REFUSED);
    }
    Ok(exit_status(&outcome.termination))
}

/// The signals that cancel a job.
pub(crate) struct Signals([Signal; 3]);

impl Signals {
    pub(crate) fn new() -> Result<Self, Error> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Error::new(ErrorKind::Backend, "wait for signals", error.to_string())
            })
        };
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds;
        Ok(Self([listen(interrupt)?, listen(terminate)?, listen(hangup)?]))
    }

    pub(crate) async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Passes output through as it comes; a signal, or nobody reading any more, cancels the job. Says
/// whether all output could be written.
async fn follow(
    mut execution: Execution,
    signals: &mut Signals,
    pass_through: bool,
    raw: bool,
) -> Result<(Outcome, bool), Error> {
    let cancel = execution.cancel_handle();
    let (output, writer) = writer(raw);
    let mut interrupted = false;
    loop {
        tokio::select! {
            event = execution.next_event() => {
                let Some(event) = event else { break };
                if !pass_through || interrupted {
                    continue;
                }
                // Waits for a reader that is slow, but not when a signal says to stop.
                tokio::select! {
                    sent = output.send(event) => if sent.is_err() {
                        cancel.cancel();
                    },
                    () = signals.any() => {
                        interrupted = true;
                        cancel.cancel();
                    }
                }
            }
            () = signals.any() => {
                interrupted = true;
                cancel.cancel();
            }
        }
    }
    let outcome = execution.outcome().await?;
    drop(output);
    // After a signal, a reader that does not read must not keep the command.
    let delivered = tokio::select! {
        delivered = writer, if !interrupted => delivered.unwrap_or(false),
        () = signals.any(), if !interrupted => true,
        else => true,
    };
    Ok((outcome, delivered))
}

/// A thread that writes, because writing to a full pipe waits. `raw`: also on a terminal everything is
/// written as it came.
fn writer(raw: bool) -> (mpsc::Sender<Event>, oneshot::Receiver<bool>) {
    let (events, mut queue) = mpsc::channel(16);
    let (done, finished) = oneshot::channel();
    let filter = |is_terminal: bool| (is_terminal && !raw).then(Filter::default);
    let mut out = (io::stdout(), filter(io::stdout().is_terminal()));
    let mut err = (io::stderr(), filter(io::stderr().is_terminal()));
    std::thread::spawn(move || {
        while let Some(event) = queue.blocking_recv() {
            let written = match event {
                Event::Stdout(bytes) => pass(&mut out, &bytes),
                Event::Stderr(bytes) => pass(&mut err, &bytes),
                _ => Ok(()),
            };
            if let Err(error) = written {
                let _ = done.send(complain("output", &error));
                return;
            }
        }
        let ends = [finish(&mut out), finish(&mut err)];
        let failed = ends.into_iter().find_map(Result::err);
        let _ = done.send(failed.is_none_or(|error| complain("output", &error)));
    });
    (events, finished)
}

/// Writes a program's output, on a terminal without what that would obey.
fn pass<W: io::Write>(stream: &mut (W, Option<Filter>), bytes: &[u8]) -> io::Result<()> {
    let (stream, filter) = stream;
    match filter {
        None => write(stream, bytes),
        Some(filter) => write(stream, &filter.pass(bytes)),
    }
}

fn finish<W: io::Write>(stream: &mut (W, Option<Filter>)) -> io::Result<()> {
    let (stream, filter) = stream;
    let rest = filter.as_mut().map(Filter::finish).unwrap_or_default();
    if rest.is_empty() { Ok(()) } else { write(stream, &rest) }
}

fn write(mut stream: impl io::Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}

/// A reader that went away is no error; anything else that loses output is, and is said. Returns
/// whether it is none.
fn complain(what: &str, error: &io::Error) -> bool {
    let gone = error.kind() == io::ErrorKind::BrokenPipe;
    if !gone {
        say(&format!("cannot write {what}: {error}"));
    }
    gone
}

#[expect(clippy::print_stderr, reason = "the command's lines of explanation")]
pub(crate) fn say(text: &str) {
    eprintln!("{} {}", own_line(), printable(text));
}

/// Prints one object on one line; false when it was lost.
fn print_json(value: &impl serde::Serialize) -> bool {
    let mut stdout = io::stdout().lock();
    let line = serde_json::to_vec(value).map_err(io::Error::other);
    let written = line.and_then(|mut line| {
        line.push(b'\n');
        write(&mut stdout, &line)
    });
    match written {
        Ok(()) => true,
        Err(error) => complain("the outcome", &error),
    }
}

/// Makes the folder for artifacts before anything runs, so that a wrong one costs no run.
pub(crate) fn prepare(folder: &Path) -> Result<(), Error> {
    let wrong = |why: String| {
        Err(Error::new(ErrorKind::Save, "--artifacts", format!("{}: {why}", folder.display())))
    };
    if let Err(error) = std::fs::create_dir_all(folder) {
        return wrong(error.to_string());
    }
    match std::fs::symlink_metadata(folder) {
        Ok(metadata) if metadata.is_symlink() => wrong("is a link; name the folder itself".into()),
        Ok(metadata) if !metadata.is_dir() => wrong("is not a folder".into()),
        Ok(_) => Ok(()),
        Err(error) => wrong(error.to_string()),
    }
}

/// Saves every artifact and display; returns where, and the first error.
pub(crate) async fn save(
    outcome: &Outcome,
    folder: Option<&Path>,
) -> (BTreeMap<String, PathBuf>, Option<Error>) {
    let Some(folder) = folder else { return (BTreeMap::new(), None) };
    let saved = outcome.save_all(folder).await;
    (saved.paths, saved.failed.into_iter().next().map(|(_, error)| error))
}

/// Files that are named of those that were not kept.
const NAMED: usize = 5;

/// What a program left and nobody gets, in lines: files where somebody `wanted` them, and figures
/// where they are not `shown`.
pub(crate) fn losses(
    outcome: &Outcome,
    patterns: &[Pattern],
    wanted: bool,
    shown: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for pattern in outcome.unmatched(patterns) {
        lines.push(format!("the pattern {:?} has chosen no file", pattern.to_string()));
    }
    if wanted {
        for file in outcome.skipped.iter().take(NAMED) {
            lines.push(format!("not kept: {}: {}", quoted_name(&file.path), file.reason));
        }
        if outcome.skipped.len() > NAMED {
            lines.push(format!("not kept: {} files more", outcome.skipped.len() - NAMED));
        }
        if outcome.limits_hit.contains(&LimitKind::Artifacts) {
            lines.push("--artifact-size and --artifact-files raise what is kept".into());
        }
    }
    if !shown && !outcome.displays.is_empty() {
        let number = outcome.displays.len();
        let figures = if number == 1 { "1 figure was" } else { &format!("{number} figures were") };
        lines.push(format!("{figures} shown; --artifacts DIR saves them"));
    }
    lines
}

/// One line on stderr for an end that is not the program's own.
fn explain(outcome: &Outcome) {
    match &outcome.termination {
        Termination::Exited(_) => {}
        end => say(&end.to_string()),
    }
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
