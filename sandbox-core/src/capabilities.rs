//! What an executor can do.

use std::collections::BTreeSet;

use crate::{Enforcement, Error, ErrorKind, JobSpec, LimitKind, Network, Result, Runtime};

/// What an executor can do and enforce. The conformance suite checks what it can see from
/// outside; a backend's own tests attack its layers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name, as in `--backend`.
    pub backend: String,
    /// Names of the runtimes that it resolves.
    pub runtimes: BTreeSet<String>,
    /// Names in the workspace that programs themselves have, which no input file may have.
    pub program_files: BTreeSet<String>,
    /// The isolation that a job gets here by default.
    pub enforcement: Enforcement,
    /// The limits that it enforces.
    pub limits: BTreeSet<LimitKind>,
    /// The networks that it offers.
    pub networks: BTreeSet<Network>,
    /// Whether it takes input files and returns artifacts.
    pub files: bool,
    /// Whether output comes while the program runs. Elsewhere all of it comes at the end, and a
    /// cancelled job has none.
    pub live_output: bool,
    /// Whether it has sessions.
    pub sessions: bool,
    /// Whether it honours [`JobSpec::idempotency_key`](crate::JobSpec::idempotency_key).
    pub idempotency: bool,
}

impl Capabilities {
    /// The capabilities of a backend that so far can do nothing.
    pub fn new(backend: impl Into<String>) -> Self {
        Self {
            backend: backend.into(),
            runtimes: BTreeSet::new(),
            program_files: Runtime::defaults().into_iter().map(|r| r.file_name).collect(),
            enforcement: Enforcement::none(),
            limits: BTreeSet::new(),
            networks: BTreeSet::new(),
            files: false,
            live_output: false,
            sessions: false,
            idempotency: false,
        }
    }

    /// Adds runtimes.
    #[must_use]
    pub fn with_runtimes<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.runtimes.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds names that programs have in the workspace, besides those of the default runtimes.
    #[must_use]
    pub fn with_program_files<S: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = S>,
    ) -> Self {
        self.program_files.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the isolation that jobs get by default.
    #[must_use]
    pub fn with_enforcement(mut self, enforcement: Enforcement) -> Self {
        self.enforcement = enforcement;
        self
    }

    /// Adds enforced limits.
    #[must_use]
    pub fn with_limits(mut self, limits: impl IntoIterator<Item = LimitKind>) -> Self {
        self.limits.extend(limits);
        self
    }

    /// Adds offered networks.
    #[must_use]
    pub fn with_networks(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.networks.extend(networks);
        self
    }

    /// Says that output comes while the program runs.
    #[must_use]
    pub fn with_live_output(mut self) -> Self {
        self.live_output = true;
        self
    }

    /// Says that idempotency keys work.
    #[must_use]
    pub fn with_idempotency(mut self) -> Self {
        self.idempotency = true;
        self
    }

    /// Refuses what only other backends have.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] with what the job asks for and this backend lacks.
    pub fn check(&self, job: &JobSpec) -> Result<()> {
        let unsupported = |what: &str| {
            let message = format!("backend {} has no {what}", self.backend);
            Err(Error::new(ErrorKind::Unsupported, "start", message))
        };
        if job.idempotency_key.is_some() && !self.idempotency {
            return unsupported("idempotency; leave out the key, or use one that has");
        }
        if !self.networks.contains(&job.network) {
            let offered: Vec<_> = self.networks.iter().map(|n| format!("{n:?}")).collect();
            return unsupported(&format!(
                "network {:?}; it offers {}",
                job.network,
                offered.join(", ")
            ));
        }
        Ok(())
    }

    /// Says that input files and artifacts work.
    #[must_use]
    pub fn with_files(mut self) -> Self {
        self.files = true;
        self
    }
}
