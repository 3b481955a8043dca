//! The trait that backends implement.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, Stream, StreamExt};

use crate::verify::{self, Surroundings, Verification};
use crate::{Capabilities, Error, ErrorKind, Execution, IntoJob, Job, Outcome, Result};

/// Runs jobs. One trait for every backend and every wrapper; see [`ExecutorExt`] for the calls
/// that applications use most.
#[async_trait]
pub trait Executor: Debug + Send + Sync + 'static {
    /// What this executor can do and enforce.
    fn capabilities(&self) -> &Capabilities;

    /// Admits a job. The returned execution streams events and ends in an outcome; dropping it
    /// kills the job.
    ///
    /// # Errors
    ///
    /// The job could not be run. [`Error::may_have_run`] says whether its program may have been
    /// executed nevertheless.
    async fn start(&self, job: Job) -> Result<Execution>;

    /// Opens a workspace that outlives one job.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] unless [`Capabilities::sessions`] is set.
    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>>;
}

/// What a session starts with.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SessionSpec {
    /// For whom the session is.
    pub tenant: Option<String>,
}

/// A workspace in which jobs run one after the other and find each other's files.
#[async_trait]
pub trait Session: Debug + Send + Sync {
    /// Starts a job in the session's workspace.
    ///
    /// # Errors
    ///
    /// As for [`Executor::start`].
    async fn start(&mut self, job: Job) -> Result<Execution>;

    /// Ends the session and removes its workspace.
    ///
    /// # Errors
    ///
    /// When something of the session could not be removed.
    async fn close(self: Box<Self>) -> Result<()>;
}

/// The error of a backend without sessions.
pub fn sessions_unsupported(backend: &str) -> Error {
    let message = format!("backend {backend} has no sessions; run single jobs");
    Error::new(ErrorKind::Unsupported, "open session", message)
}

/// Convenience on top of [`Executor`], for all of them alike.
#[async_trait]
pub trait ExecutorExt: Executor {
    /// Runs a job, or what a builder has collected of one, to its outcome.
    ///
    /// # Errors
    ///
    /// As for [`JobBuilder::build`](crate::JobBuilder::build) and [`Executor::start`].
    async fn run(&self, job: impl IntoJob) -> Result<Outcome> {
        self.start(job.into_job()?).await?.outcome().await
    }

    /// Attacks the sandbox with real attacks, as jobs, and says what became of each: of those on
    /// layers that the executor claims, and of those on layers that it does not.
    ///
    /// Takes under two seconds locally. Needs the runtime `python`; without it nothing is tried,
    /// and nothing shown. Meanwhile the caller listens on loopback, holds a file in its folder for
    /// temporary files and leaves a descriptor of it open to what it executes, for attacks to find.
    async fn verify(&self) -> Verification {
        verify::verify(self, None).await
    }

    /// Attacks the sandbox as [`verify`](Self::verify) does, and what is around it too: connects to
    /// the internet, looks names up, reads strangers' objects, answers in the runner's place. Also
    /// asks which mechanisms of the kernel a job has.
    async fn verify_with(&self, surroundings: &Surroundings) -> Verification {
        verify::verify(self, Some(surroundings)).await
    }

    /// Runs many jobs, at most `concurrency` at once, and yields each outcome with the job's
    /// index as it comes.
    fn run_all<'a, I>(
        &'a self,
        jobs: I,
        concurrency: usize,
    ) -> impl Stream<Item = (usize, Result<Outcome>)> + Send + 'a
    where
        I: IntoIterator<Item = Job> + 'a,
        I::IntoIter: Send + 'a,
        Self: Sized,
    {
        stream::iter(jobs.into_iter().enumerate())
            .map(move |(index, job)| async move { (index, self.run(job).await) })
            .buffer_unordered(concurrency.max(1))
    }
}

impl<E: Executor + ?Sized> ExecutorExt for E {}

macro_rules! forward {
    ($pointer:ty) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<E: Executor + ?Sized> Executor for $pointer {
            fn capabilities(&self) -> &Capabilities {
                (**self).capabilities()
            }

            async fn start(&self, job: Job) -> Result<Execution> {
                (**self).start(job).await
            }

            async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
                (**self).open(spec).await
            }
        }
    };
}

forward!(Arc<E>);
forward!(Box<E>);
