//! A job that is running.

use std::fmt;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Error, ErrorKind, Outcome, Result};

/// Something that happens while a job runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The program was executed.
    Started,
    /// Bytes of standard output, as they came: cut anywhere, also inside a character.
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
}

/// A running job: a stream of events that ends in an outcome. Dropping it kills the job.
///
/// Events are delivered with back-pressure: a program that writes waits for a reader of events,
/// and its wall clock runs. Call [`outcome`](Self::outcome) to stop listening.
#[derive(Debug)]
#[must_use = "dropping an execution kills its job; wait for outcome()"]
pub struct Execution {
    events: mpsc::Receiver<Event>,
    outcome: oneshot::Receiver<Result<Outcome>>,
    control: Cancel,
    finishing: Finishing,
    // Dropped last, with the execution: tells the driver that nobody waits any more.
    _alive: watch::Sender<()>,
}

impl Execution {
    /// An execution and the end that a backend drives it with.
    pub fn channel() -> (Self, Driver) {
        let (event_tx, events) = mpsc::channel(16);
        let (outcome_tx, outcome) = oneshot::channel();
        let (cancel_tx, cancel) = watch::channel(false);
        let (alive, dropped) = watch::channel(());
        let execution = Self {
            events,
            outcome,
            control: Cancel(cancel_tx),
            finishing: Finishing(None),
            _alive: alive,
        };
        let driver = Driver {
            events: EventSender(event_tx),
            outcome: outcome_tx,
            stop: Stop { cancel, dropped },
        };
        (execution, driver)
    }

    /// The next event; `None` when the job has ended and its output is complete.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Stops listening and waits for the outcome. What the program still writes is captured, but
    /// no longer delivered as events.
    ///
    /// # Errors
    ///
    /// What the backend reports; [`ErrorKind::Lost`] when it vanished.
    pub async fn outcome(mut self) -> Result<Outcome> {
        self.events.close();
        while self.events.recv().await.is_some() {}
        match (&mut self.outcome).await {
            Ok(Ok(outcome)) => Ok(match self.finishing.0 {
                Some(change) => change(outcome).await,
                None => outcome,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(
                ErrorKind::Lost,
                "wait for outcome",
                "the backend stopped without an outcome; its runtime may have been shut down",
            )
            .with_may_have_run()),
        }
    }

    /// Changes the outcome before it is handed out, where it is waited for: what a wrapper adds
    /// to each outcome without a task that stands between.
    pub fn map_outcome<F, Changed>(self, change: F) -> Self
    where
        F: FnOnce(Outcome) -> Changed + Send + Sync + 'static,
        Changed: Future<Output = Outcome> + Send + 'static,
    {
        let change: Change = match self.finishing.0 {
            None => Box::new(|outcome| change(outcome).boxed()),
            Some(earlier) => Box::new(|outcome| earlier(outcome).then(change).boxed()),
        };
        Self { finishing: Finishing(Some(change)), ..self }
    }

    /// A handle that cancels this job from elsewhere.
    pub fn cancel_handle(&self) -> Cancel {
        self.control.clone()
    }
}

type Change = Box<dyn FnOnce(Outcome) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// What is done to the outcome before it is handed out.
struct Finishing(Option<Change>);

impl fmt::Debug for Finishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Finishing" } else { "None" })
    }
}

/// Cancels a job. The job is killed, and its outcome is
/// [`Termination::Cancelled`](crate::Termination::Cancelled) with what it wrote until then.
#[derive(Clone, Debug)]
pub struct Cancel(watch::Sender<bool>);

impl Cancel {
    /// Cancels; a job that has ended is not affected.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

/// The backend's end of an [`Execution`].
#[derive(Debug)]
pub struct Driver {
    /// Where events go.
    pub events: EventSender,
    /// Tells when to stop.
    pub stop: Stop,
    outcome: oneshot::Sender<Result<Outcome>>,
}

impl Driver {
    /// Splits off the parts, for a backend that uses them in different places.
    pub fn into_parts(self) -> (EventSender, Stop, Finish) {
        (self.events, self.stop, Finish(self.outcome))
    }
}

/// Delivers the outcome.
#[derive(Debug)]
pub struct Finish(oneshot::Sender<Result<Outcome>>);

impl Finish {
    /// Ends the execution. All event senders must be dropped before.
    pub fn finish(self, result: Result<Outcome>) {
        // Nobody may be waiting any more.
        let _ = self.0.send(result);
    }
}

/// Delivers events.
#[derive(Clone, Debug)]
pub struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    /// Delivers an event, waiting for room; does nothing when nobody listens.
    pub async fn send(&self, event: Event) {
        let _ = self.0.send(event).await;
    }

    /// Whether nobody listens, so that chunks need not be made.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// Why a job must stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The caller cancelled it and waits for the outcome.
    Cancelled,
    /// The caller dropped the execution.
    Dropped,
}

/// Tells a backend when its job must stop.
#[derive(Debug)]
pub struct Stop {
    cancel: watch::Receiver<bool>,
    dropped: watch::Receiver<()>,
}

impl Stop {
    /// Waits until the job must stop. Cancel-safe.
    pub async fn requested(&mut self) -> StopReason {
        tokio::select! {
            biased;
            Ok(_) = self.cancel.wait_for(|cancelled| *cancelled) => StopReason::Cancelled,
            // Nothing is ever sent: the only change is that the sender goes away.
            _ = self.dropped.changed() => StopReason::Dropped,
        }
    }
}
