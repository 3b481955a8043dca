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

use futures_util::StreamExt as _;
use sandbox::wire::{OutcomeJson, RefusalJson};
use sandbox::{ExecutorExt as _, Outcome, Result};

use crate::REFUSED;
use crate::args::BatchArgs;
use crate::run::{Signals, prepare, refuse, save};
use journal::{Entry, Journal};
use line::{Id, Lines, Source};
use progress::Progress;
use queue::Queue;
use summary::End;

/// Some jobs have no outcome.
const INCOMPLETE: u8 = 1;
/// As if SIGINT had ended it.
const INTERRUPTED: u8 = 130;

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
    let mut signals = Signals::new()?;
    let source = Source::open(&args.source)?;
    let lines = || Lines::new(&source, &args.limits, &args.conditions);
    if let Some(folder) = &args.artifacts {
        prepare(folder)?;
    }
    let mut journal = Journal::open(args.results.as_deref())?;
    // Everything is checked before anything runs.
    let total = queue::check(lines()?, &journal)?;
    let executor = args.backend.executor().await?;
    let most = args.jobs.map_or_else(|| args.backend.usual_jobs(), usize::from);

    let mut summary = std::mem::take(&mut journal.summary);
    let mut progress = Progress::new(total, journal.done());
    let queue = Arc::new(Queue::default());
    let jobs = queue.jobs(lines()?, journal.finished());
    let mut writer = journal.write();
    let outcomes = executor.run_all(jobs, most);
    // Files of the jobs that have ended are saved while the next ones run.
    let ended = outcomes.map(|(index, result)| {
        let id = queue.ended(index);
        record(id, result, args.artifacts.as_deref())
    });
    let mut ended = pin!(ended.buffer_unordered(most));
    let mut interrupts = 0;
    loop {
        tokio::select! {
            next = ended.next() => {
                let Some((end, entry)) = next else { break };
                if !writer.write(entry).await {
                    break;
                }
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
                progress.say("no more jobs are started; once more cancels those that run");
            }
        }
    }
    progress.finish();
    writer.finish().await?;
    queue.broken()?;
    summary.print(total, progress.elapsed());
    Ok(match interrupts {
        0 if summary.refused() == 0 => 0,
        0 => INCOMPLETE,
        _ => INTERRUPTED,
    })
}

/// Saves what a job left, and makes the entry that says how it ended.
async fn record(id: Id, result: Result<Outcome>, folder: Option<&Path>) -> (End, Entry) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => return (End::refused(&error), Entry::new(&id, RefusalJson::new(&error))),
    };
    let folder = folder.map(|folder| folder.join(&id.name));
    let (saved, unsaved) = match folder {
        Some(folder) if !outcome.artifacts.is_empty() => save(&outcome, Some(&folder)).await,
        _ => (BTreeMap::new(), None),
    };
    if let Some(error) = unsaved {
        // Not finished: its files are part of its result.
        return (End::refused(&error), Entry::new(&id, RefusalJson::new(&error)));
    }
    (End::of(&outcome), Entry::new(&id, OutcomeJson::new(&outcome, &saved)))
}
