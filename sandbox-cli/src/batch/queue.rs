//! Which jobs run, and which come next.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sandbox::{Error, ErrorKind, Job, Result};

use super::journal::Finished;
use super::line::{self, Id, Lines};
use super::summary::Summary;

/// What there is to do.
#[derive(Debug, Default)]
pub(crate) struct Work {
    pub(crate) jobs: u64,
    pub(crate) finished: u64,
    /// Of those that are finished.
    pub(crate) summary: Summary,
}

/// Checks every line.
pub(crate) fn check(lines: Lines<'_>, finished: &Finished) -> Result<Work> {
    let mut seen = HashSet::new();
    let mut work = Work::default();
    for line in lines {
        let (id, _) = line?;
        finished.agrees(&id)?;
        if !seen.insert(line::digest(id.name.as_bytes())) {
            let message = format!("{:?} is given twice; ids must differ", id.name);
            return Err(Error::new(ErrorKind::InvalidJob, "id", message));
        }
        work.jobs += 1;
        if let Some(end) = finished.end(&id) {
            work.finished += 1;
            work.summary.add(&end);
        }
    }
    Ok(work)
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By their index in what was started.
    running: HashMap<usize, Id>,
    /// The lines are not those that were checked.
    broken: Option<Error>,
}

impl Queue {
    /// The jobs that are not finished, each read when it is its turn.
    pub(crate) fn jobs<'a>(
        self: &Arc<Self>,
        mut lines: Lines<'a>,
        finished: Arc<Finished>,
    ) -> impl Iterator<Item = Job> + Send + 'a {
        let queue = Arc::clone(self);
        let mut index = 0;
        std::iter::from_fn(move || {
            while !queue.stopped.load(Ordering::Relaxed) {
                match lines.next()? {
                    Ok((id, _)) if finished.end(&id).is_some() => {}
                    Ok((id, job)) => {
                        queue.state().running.insert(index, id);
                        index += 1;
                        return Some(job);
                    }
                    Err(error) => {
                        queue.state().broken = Some(error);
                        queue.stop();
                    }
                }
            }
            None
        })
    }

    /// The job of that index does not run any more.
    pub(crate) fn ended(&self, index: usize) -> Id {
        // Each index ends once, after it was started.
        self.state().running.remove(&index).unwrap_or_default()
    }

    /// No more jobs.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// What went wrong with the lines.
    pub(crate) fn broken(&self) -> Result<()> {
        self.state().broken.take().map_or(Ok(()), Err)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with the lock left whole entries.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
