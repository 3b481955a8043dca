//! The invocation's deadline.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Kept for killing, collecting and answering.
const ANSWERING: Duration = Duration::from_millis(1000);
/// Kept for uploads, where there may be any.
const UPLOADING: Duration = Duration::from_millis(1500);
/// An upload that is not through by then is given up, so that there is an answer.
const LAST_MOMENT: Duration = Duration::from_millis(400);

/// When the platform ends the environment, on a clock that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// From the platform's own time, on the clock that the platform sets.
    pub(crate) fn at(time: SystemTime) -> Self {
        let left = time.duration_since(SystemTime::now()).unwrap_or_default();
        Self(Instant::now() + left)
    }

    /// How long a program may run, if there is any time.
    pub(crate) fn for_program(self, uploads: bool) -> Option<Duration> {
        let reserve = if uploads { ANSWERING + UPLOADING } else { ANSWERING };
        let left = self.0.saturating_duration_since(Instant::now()).checked_sub(reserve)?;
        (left >= Duration::from_millis(1)).then_some(left)
    }

    /// When everything but the answer must be done.
    pub(crate) fn for_uploads(self) -> Instant {
        self.0.checked_sub(LAST_MOMENT).unwrap_or(self.0)
    }
}
