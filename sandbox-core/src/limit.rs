//! A wrapper that bounds how many jobs run at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument as _;

use crate::{
    Capabilities, Error, ErrorKind, Execution, Executor, Job, Result, Session, SessionSpec, trace,
};

/// Runs at most so many jobs at once; others wait for a turn, no longer than a deadline.
///
/// The time a job waited is the `queued` part of its [`Timing`](crate::Timing). A job in a
/// session takes a turn like any other.
#[derive(Debug)]
pub struct LimitConcurrency<E> {
    inner: E,
    permits: Arc<Semaphore>,
    most: usize,
    deadline: Duration,
}

impl<E: Executor> LimitConcurrency<E> {
    /// Wraps `inner`: `most` jobs at once (at least one), each waiting at most `deadline`.
    pub fn new(inner: E, most: usize, deadline: Duration) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { inner, permits: Arc::new(Semaphore::new(most)), most, deadline }
    }
}

/// Waits for a turn.
async fn admit(
    permits: &Arc<Semaphore>,
    most: usize,
    deadline: Duration,
) -> Result<(OwnedSemaphorePermit, Duration)> {
    let since = Instant::now();
    let permit = tokio::time::timeout(deadline, Arc::clone(permits).acquire_owned());
    let permit = permit.instrument(trace::queue()).await;
    match permit {
        Ok(Ok(permit)) => Ok((permit, since.elapsed())),
        _ => Err(Error::new(
            ErrorKind::QueueTimeout,
            "wait for a turn",
            format!("no turn within {deadline:?} while {most} jobs were running; try again later"),
        )),
    }
}

/// Holds the turn until the inner execution has ended, and adds the wait to the outcome.
fn hold(mut inner: Execution, permit: OwnedSemaphorePermit, queued: Duration) -> Execution {
    let (execution, driver) = Execution::channel();
    let (events, mut stop, finish) = driver.into_parts();
    tokio::spawn(async move {
        let cancel = inner.cancel_handle();
        let mut stopping = false;
        loop {
            tokio::select! {
                _ = stop.requested(), if !stopping => {
                    stopping = true;
                    cancel.cancel();
                }
                event = inner.next_event() => match event {
                    Some(event) if !events.is_closed() => {
                        tokio::select! {
                            () = events.send(event) => {}
                            _ = stop.requested(), if !stopping => {
                                stopping = true;
                                cancel.cancel();
                            }
                        }
                    }
                    Some(_) => {}
                    None => break,
                },
            }
        }
        let mut result = inner.outcome().await;
        if let Ok(outcome) = &mut result {
            outcome.timing.queued += queued;
        }
        drop((events, permit));
        finish.finish(result);
    });
    execution
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<E: Executor> Executor for LimitConcurrency<E> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        let (permit, queued) = admit(&self.permits, self.most, self.deadline).await?;
        Ok(hold(self.inner.start(job).await?, permit, queued))
    }

    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
        let inner = self.inner.open(spec).await?;
        let permits = Arc::clone(&self.permits);
        Ok(Box::new(LimitedSession { inner, permits, most: self.most, deadline: self.deadline }))
    }
}

#[derive(Debug)]
struct LimitedSession {
    inner: Box<dyn Session>,
    permits: Arc<Semaphore>,
    most: usize,
    deadline: Duration,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Session for LimitedSession {
    async fn start(&mut self, job: Job) -> Result<Execution> {
        let (permit, queued) = admit(&self.permits, self.most, self.deadline).await?;
        Ok(hold(self.inner.start(job).await?, permit, queued))
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.inner.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecutorExt, FakeExecutor};

    fn sleeper(seconds: &str) -> Job {
        Job::bash(format!("sleep {seconds}")).build().expect("job")
    }

    #[tokio::test]
    async fn a_job_waits_for_its_turn_and_says_how_long() {
        let limited = LimitConcurrency::new(FakeExecutor::new(), 1, Duration::from_secs(5));
        let (first, second) = tokio::join!(limited.run(sleeper("0.2")), limited.run(sleeper("0")));
        assert!(first.expect("first").timing.queued < Duration::from_millis(100));
        assert!(second.expect("second").timing.queued >= Duration::from_millis(150));
    }

    #[tokio::test]
    async fn a_turn_that_does_not_come_is_a_retryable_error() {
        let limited = LimitConcurrency::new(FakeExecutor::new(), 1, Duration::from_millis(20));
        let running = limited.start(sleeper("60")).await.expect("first");
        let error = limited.run(sleeper("0")).await.expect_err("no turn");
        assert_eq!(error.kind(), ErrorKind::QueueTimeout);
        assert!(error.is_retryable() && !error.may_have_run());
        drop(running);
        // The dropped execution gives its turn back.
        let patient = LimitConcurrency { deadline: Duration::from_secs(5), ..limited };
        let _ = patient.run(sleeper("0")).await.expect("turn");
    }
}
