//! `sandbox batch`: many jobs from JSON lines.

mod journal;
mod line;
mod progress;
mod queue;
mod summary;

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use sandbox::wire::{OutcomeJson, RefusalJson};
use sandbox::{Error, ErrorKind, ExecutorExt as _, Outcome, Result};

use crate::REFUSED;
use crate::args::BatchArgs;
use crate::run::{Signals, losses, prepare, refuse, save};
use journal::{Entry, Journal};
use line::{Id, Lines, Source};
use progress::Progress;
use queue::{Queue, Work};
use summary::End;

/// Some jobs have no outcome.
const INCOMPLETE: u8 = 1;
/// As if SIGINT had ended it.
const INTERRUPTED: u8 = 130;
/// How long results may still be written after a second signal.
const GRACE: Duration = Duration::from_millis(500);

/// Runs all jobs of a file; returns the command's exit status.
pub(crate) async fn batch(args: BatchArgs) -> u8 {
    match run(args).await {
        Ok(code) => code,
        Err(error) => {
            refuse(&error, false);
            REFUSED
        }
    }
}

async fn run(args: BatchArgs) -> Result<u8> {
    let source = Source::open(&args.source)?;
    let lines = || Lines::new(&source, &args.limits, &args.conditions);
    if let Some(folder) = &args.artifacts {
        prepare(folder)?;
    }
    if args.results.as_deref().is_some_and(|results| source.is_at(results)) {
        let message = "the results would go into the file of the jobs; name another";
        return Err(Error::new(ErrorKind::InvalidJob, "--results", message));
    }
    let journal = Journal::open(args.results.as_deref())?;
    // Everything is checked before anything runs.
    let work = queue::check(lines()?, &journal.finished())?;
    // From here on a signal does not just end the command: programs run, and results are written.
    let mut signals = Signals::new()?;
    let executor = tokio::select! {
        executor = args.backend.showing() => executor?,
        () = signals.any() => return Ok(INTERRUPTED),
    };
    let most = args.jobs.map_or_else(|| args.backend.usual_jobs(), usize::from);

    let Work { jobs: total, finished, mut summary } = work;
    let mut progress = Progress::new(total, finished);
    let queue = Arc::new(Queue::default());
    let jobs = queue.jobs(lines()?, journal.finished());
    let writer = journal.write();
    let outcomes = executor.run_all(jobs, most);
    // Files of the jobs that have ended are saved while the next ones run.
    let ended = outcomes.map(|(index, result)| {
        let id = queue.ended(index);
        record(id, result, args.artifacts.as_deref())
    });
    let mut ended = pin!(ended.buffer_unordered(most));
    let mut interrupts = 0;
    // What waits to be written; a reader that is slow must not keep signals out.
    let mut unwritten = None;
    loop {
        tokio::select! {
            next = ended.next(), if unwritten.is_none() => {
                let Some(next) = next else { break };
                unwritten = Some(next);
            }
            place = writer.place(), if unwritten.is_some() => {
                let Some(place) = place else { break };
                let Some((end, entry, losses)) = unwritten.take() else { break };
                losses.iter().for_each(|loss| progress.say(loss));
                place.send(entry);
                progress.step(&end);
                summary.add(&end);
            }
            () = progress.due() => progress.report(),
            () = signals.any() => {
                interrupts += 1;
                queue.stop();
                if interrupts > 1 {
                    break;
                }
                progress.say("no more jobs are started; once more kills those that run");
            }
        }
    }
    progress.finish();
    tokio::select! {
        written = writer.finish() => written?,
        // After a second signal nobody is waited for.
        () = async {
            while interrupts < 2 {
                signals.any().await;
                interrupts += 1;
            }
            tokio::time::sleep(GRACE).await;
        } => {}
    }
    queue.broken()?;
    summary.print(total, progress.elapsed());
    Ok(match interrupts {
        0 if summary.refused() == 0 => 0,
        0 => INCOMPLETE,
        _ => INTERRUPTED,
    })
}

/// Saves what a job left; makes the entry that says how it ended, and lines about what nobody gets.
async fn record(
    id: Id,
    result: Result<Outcome>,
    folder: Option<&Path>,
) -> (End, Entry, Vec<String>) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => {
            let entry = Entry::new(&id, RefusalJson::new(&error));
            return (End::refused(&error), entry, Vec::new());
        }
    };
    let wanted = folder.is_some() || !id.artifacts.is_empty();
    let losses = losses(&outcome, &id.artifacts, wanted, true);
    let losses = losses.iter().map(|loss| format!("job {:?}: {loss}", id.name)).collect();
    let folder = folder.map(|folder| folder.join(&id.name));
    let (saved, unsaved) = match folder {
        Some(folder) if !outcome.artifacts.is_empty() || !outcome.displays.is_empty() => {
            save(&outcome, Some(&folder)).await
        }
        _ => (BTreeMap::new(), None),
    };
    let json = OutcomeJson::new(&outcome, &saved);
    match unsaved {
        None => (End::of(&outcome), Entry::new(&id, json), losses),
        // The outcome stands, and the job is not finished: its files are part of its result.
        Some(error) => (End::unsaved(&outcome), Entry::unsaved(&id, json, &error), losses),
    }
}
