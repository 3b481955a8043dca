//! Trying again what cannot have run.

use std::time::Duration;

use sandbox_core::{Error, Result};
use tokio::time::{Instant, sleep};

/// The first wait is up to this, each later one up to twice the one before.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Does `attempt` until it succeeds, fails for good, or `patience` is over. Waits are drawn at
/// random, so that many callers do not come back at once.
pub(crate) async fn retry<T, F>(patience: Duration, mut attempt: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + patience;
    let mut most = FIRST;
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let wait = most.mul_f64(fastrand::f64());
        if !error.is_retryable() || error.may_have_run() || Instant::now() + wait > deadline {
            return Err(gave_up(error, patience));
        }
        sleep(wait).await;
        most = (most * 2).min(LONGEST);
    }
}

/// Names the patience in the error of something that was retried.
fn gave_up(error: Error, patience: Duration) -> Error {
    if !error.is_retryable() || error.may_have_run() {
        return error;
    }
    let message = format!("{} (for {patience:?})", error.message());
    let operation = error.operation().to_owned();
    let (kind, retryable) = (error.kind(), error.is_retryable());
    Error::new(kind, operation, message).with_retryable(retryable).with_source(error)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use sandbox_core::ErrorKind;

    use super::*;

    async fn attempts(patience: Duration, failures: u32, error: fn() -> Error) -> (bool, u32) {
        let count = AtomicU32::new(0);
        let result = retry(patience, || async {
            let number = count.fetch_add(1, Ordering::Relaxed);
            if number < failures { Err(error()) } else { Ok(()) }
        })
        .await;
        (result.is_ok(), count.into_inner())
    }

    #[tokio::test]
    async fn only_what_cannot_have_run_is_tried_again_and_not_for_ever() {
        let throttled = || Error::new(ErrorKind::Throttled, "invoke", "busy");
        let patience = Duration::from_secs(30);
        assert_eq!(attempts(patience, 2, throttled).await, (true, 3));
        let (ok, count) = attempts(Duration::from_millis(300), 99, throttled).await;
        assert!(!ok && count >= 2, "{count}");
        let ran = || Error::new(ErrorKind::Throttled, "invoke", "late").with_may_have_run();
        assert_eq!(attempts(patience, 2, ran).await, (false, 1));
        let denied = || Error::new(ErrorKind::AccessDenied, "invoke", "no");
        assert_eq!(attempts(patience, 2, denied).await, (false, 1));
    }
}
