//! A wrapper that tries again what cannot have run.

use std::time::Duration;

use async_trait::async_trait;

use crate::{Capabilities, Error, Execution, Executor, Job, Result, Session, SessionSpec};

/// Starts a job again when starting failed, the cause was load, and the program cannot have run.
///
/// Waits double from the first to at most 5 s. Once a job has started it is never started again.
#[derive(Debug)]
pub struct Retry<E> {
    inner: E,
    attempts: u32,
    first_wait: Duration,
}

impl<E: Executor> Retry<E> {
    /// Wraps `inner`: at most `attempts` starts of one job (at least one), the second after
    /// `first_wait`.
    pub fn new(inner: E, attempts: u32, first_wait: Duration) -> Self {
        Self { inner, attempts: attempts.max(1), first_wait }
    }

    /// How long to wait before the next attempt; `None` when there must be none.
    fn wait_after(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let again = attempt < self.attempts && error.is_retryable() && !error.may_have_run();
        let wait = self.first_wait.saturating_mul(1 << (attempt - 1).min(16));
        again.then(|| wait.min(Duration::from_secs(5)))
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<E: Executor> Executor for Retry<E> {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        let mut attempt = 1;
        loop {
            let error = match self.inner.start(job.clone()).await {
                Ok(execution) => return Ok(execution),
                Err(error) => error,
            };
            let Some(wait) = self.wait_after(attempt, &error) else { return Err(error) };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }

    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
        let mut attempt = 1;
        loop {
            let error = match self.inner.open(spec.clone()).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let Some(wait) = self.wait_after(attempt, &error) else { return Err(error) };
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, ExecutorExt, FakeExecutor, Fault};

    async fn attempts(fault: Fault) -> (Result<crate::Outcome>, usize) {
        let fake = std::sync::Arc::new(FakeExecutor::with_fault(fault));
        let retry = Retry::new(std::sync::Arc::clone(&fake), 3, Duration::from_millis(1));
        let result = retry.run(Job::bash("exit 0").build().expect("job")).await;
        (result, fake.starts())
    }

    #[tokio::test]
    async fn only_what_cannot_have_run_is_tried_again() {
        let (result, starts) = attempts(Fault::RefuseStarts(2)).await;
        assert!(result.expect("third attempt").is_success());
        assert_eq!(starts, 3);

        let (result, starts) = attempts(Fault::RefuseStarts(9)).await;
        assert_eq!(result.expect_err("exhausted").kind(), ErrorKind::HostExhausted);
        assert_eq!(starts, 3);

        let (result, starts) = attempts(Fault::LoseStarted).await;
        assert!(result.expect_err("lost").may_have_run());
        assert_eq!(starts, 1);
    }
}
