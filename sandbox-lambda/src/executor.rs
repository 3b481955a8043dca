//! The Lambda backend.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use sandbox_core::remote::Described;
use sandbox_core::{
    Capabilities, Enforcement, Error, ErrorKind, Execution, Executor, Job, Layer, LayerState,
    LimitConcurrency, LimitKind, Network, Program, Result, Session, SessionSpec, Surroundings,
    sessions_unsupported, trace, unknown_runtime,
};

use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::backoff;
use crate::builder::{LambdaBuilder, Tenancy};
use crate::drive::Call;
use crate::function::{FunctionSpec, route};
use crate::idempotency::{self, Key};
use crate::invoke;
use crate::price::PriceTable;
use crate::service::causes;
use crate::stage::Items;
use crate::store::Store;

/// Layers that the runner must have in force, unless the job drops them by name.
const RUNNER_REQUIRED: [Layer; 5] =
    [Layer::Environment, Layer::Descriptors, Layer::Rlimits, Layer::PrivateTmp, Layer::Cleanup];

/// Longest wait for credentials.
const CREDENTIALS: Duration = Duration::from_secs(15);

/// Layers that Lambda must have in force.
const PLATFORM_REQUIRED: [Layer; 2] = [Layer::MicroVm, Layer::Vpc];

/// Layers that may be weak but not absent: a runner whose memory its jobs can read.
const NOT_OFF: [Layer; 1] = [Layer::SupervisorHidden];

/// Runs jobs in AWS Lambda.
///
/// Cheap to share (`Arc`), made once: making it asks each function's runner what it can do.
#[derive(Debug)]
pub struct LambdaExecutor {
    inner: Box<dyn Executor>,
    shared: Arc<Shared>,
}

/// What does not depend on AWS.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) prefix: String,
    pub(crate) tenancy: Tenancy,
    pub(crate) inline_limit: u64,
    pub(crate) streaming: bool,
    pub(crate) emulator: bool,
    pub(crate) patience: Duration,
    pub(crate) prices: PriceTable,
}

/// The backend without a bound on jobs at once.
#[derive(Debug)]
pub(crate) struct Direct {
    shared: Arc<Shared>,
    capabilities: Capabilities,
}

/// What all jobs use.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) lambda: aws_sdk_lambda::Client,
    pub(crate) store: Store,
    pub(crate) upload_url: String,
    pub(crate) region: String,
    pub(crate) functions: Vec<FunctionSpec>,
    credentials: SharedCredentialsProvider,
    /// The provider may ask a service for each; these are asked for once.
    signer: Mutex<Option<Credentials>>,
}

impl LambdaExecutor {
    pub(crate) fn new(direct: Direct, concurrency: Option<(usize, Duration)>) -> Self {
        let shared = Arc::clone(&direct.shared);
        let inner: Box<dyn Executor> = match concurrency {
            None => Box::new(direct),
            Some((most, wait)) => Box::new(LimitConcurrency::new(direct, most, wait)),
        };
        Self { inner, shared }
    }

    /// The functions that jobs go to, as they are configured.
    pub fn functions(&self) -> &[FunctionSpec] {
        &self.shared.functions
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.shared.store.bucket
    }

    /// The same backend with one of its functions, to which then every job goes that it holds.
    ///
    /// # Errors
    ///
    /// Whatever Lambda answers when it is asked for the function's runner.
    pub async fn only(&self, function: &FunctionSpec) -> Result<Self> {
        let shared = &self.shared;
        let direct = Direct::new(
            shared.settings.clone(),
            shared.lambda.clone(),
            shared.store.clone(),
            shared.credentials.clone(),
            shared.region.clone(),
            vec![function.clone()],
        );
        Ok(Self::new(direct.await?, None))
    }

    /// Whether there is no Lambda, but an emulator; see [`LambdaBuilder::emulator`].
    pub fn is_emulated(&self) -> bool {
        self.shared.settings.emulator
    }

    /// What is around these functions, for
    /// [`verify_with`](sandbox_core::ExecutorExt::verify_with).
    pub fn surroundings(&self) -> Surroundings {
        let url = &self.shared.upload_url;
        let host = url.split("://").nth(1).and_then(|rest| rest.split('/').next());
        Surroundings::aws(&self.shared.region, host.unwrap_or_default())
    }

    /// Settings to give before the executor is made.
    pub fn builder() -> LambdaBuilder {
        LambdaBuilder::default()
    }

    /// An executor as environment variables describe it, besides the AWS SDK's own:
    ///
    /// - `SANDBOX_LAMBDA_FUNCTIONS`: names, separated by commas. Required.
    /// - `SANDBOX_LAMBDA_BUCKET`: the bucket. Required.
    /// - `SANDBOX_LAMBDA_PREFIX`: what keys begin with.
    /// - `SANDBOX_LAMBDA_TENANCY`: `shared`, `tenant` or `job`.
    /// - `SANDBOX_LAMBDA_ENDPOINT`, `SANDBOX_LAMBDA_S3_ENDPOINT`: URLs of an emulator.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidJob`] naming the variable; as for [`LambdaBuilder::build`].
    pub async fn from_env() -> Result<Self> {
        let variable = |name: &'static str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let required = |name: &'static str| {
            let missing = || Error::new(ErrorKind::InvalidJob, name, "it is not set");
            variable(name).ok_or_else(missing)
        };
        let mut builder = Self::builder().bucket(required("SANDBOX_LAMBDA_BUCKET")?);
        for name in required("SANDBOX_LAMBDA_FUNCTIONS")?.split(',') {
            builder = builder.function(name.trim());
        }
        if let Some(prefix) = variable("SANDBOX_LAMBDA_PREFIX") {
            builder = builder.prefix(prefix);
        }
        builder = builder.tenancy(match variable("SANDBOX_LAMBDA_TENANCY").as_deref() {
            None | Some("shared") => Tenancy::Shared,
            Some("tenant") => Tenancy::PerTenant,
            Some("job") => Tenancy::PerJob,
            Some(other) => {
                let message = format!("{other:?} is none of shared, tenant and job");
                return Err(Error::new(ErrorKind::InvalidJob, "SANDBOX_LAMBDA_TENANCY", message));
            }
        });
        if let Some(url) = variable("SANDBOX_LAMBDA_ENDPOINT") {
            builder = builder.endpoint(url).emulator();
        }
        if let Some(url) = variable("SANDBOX_LAMBDA_S3_ENDPOINT") {
            builder = builder.s3_endpoint(url);
        }
        builder.build().await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Executor for LambdaExecutor {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        self.inner.start(job).await
    }

    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
        self.inner.open(spec).await
    }
}

impl Direct {
    pub(crate) async fn new(
        settings: Settings,
        lambda: aws_sdk_lambda::Client,
        store: Store,
        credentials: SharedCredentialsProvider,
        region: String,
        functions: Vec<FunctionSpec>,
    ) -> Result<Self> {
        let upload_url = store.form_url().await?;
        let signer = Mutex::default();
        let shared =
            Shared { settings, lambda, store, upload_url, region, functions, credentials, signer };
        let mut described = Vec::new();
        for function in &shared.functions {
            let ask = || invoke::describe(&shared, function);
            described.push(backoff::retry(shared.settings.patience, ask).await?);
        }
        let capabilities = shared.capabilities(&described);
        Ok(Self { shared: Arc::new(shared), capabilities })
    }

    /// The layers that an outcome of this job must show.
    fn required(&self, job: &Job) -> BTreeSet<Layer> {
        let platform = if self.shared.settings.emulator { &[][..] } else { &PLATFORM_REQUIRED };
        job.required_layers(RUNNER_REQUIRED.iter().chain(platform).copied()).collect()
    }
}

impl Shared {
    /// What every function can do.
    fn capabilities(&self, described: &[Described]) -> Capabilities {
        let mut runtimes: Option<BTreeSet<String>> = None;
        let mut limits: BTreeSet<_> = LimitKind::ALL.iter().copied().collect();
        let mut enforcement: Option<Enforcement> = None;
        for one in described {
            let own: BTreeSet<_> = one.limits().collect();
            limits = limits.intersection(&own).copied().collect();
            runtimes = Some(match runtimes {
                None => one.runtimes.clone(),
                Some(all) => all.intersection(&one.runtimes).cloned().collect(),
            });
            let own = one.enforcement();
            enforcement = Some(match enforcement {
                None => own,
                Some(all) => weaker(&all, &own),
            });
        }
        let enforcement = enforcement.unwrap_or_default();
        // A layer is as strong as in the function where it is weakest.
        let placed = self.functions.iter().map(|function| {
            let platform = self.platform(function);
            platform
                .into_iter()
                .fold(enforcement.clone(), |all, (layer, state)| all.with(layer, state))
        });
        let enforcement = placed.reduce(|a, b| weaker(&a, &b)).unwrap_or_default();
        let capabilities = Capabilities::new("lambda")
            .with_runtimes(runtimes.unwrap_or_default())
            .with_limits(limits)
            .with_enforcement(enforcement)
            .with_networks([Network::Denied])
            .with_files()
            .with_idempotency();
        if self.settings.streaming { capabilities.with_live_output() } else { capabilities }
    }

    /// The layers that are the platform's, and that no answer has a say in.
    pub(crate) fn platform(&self, function: &FunctionSpec) -> [(Layer, LayerState); 2] {
        let state = |present: bool, missing: &str| match present {
            _ if self.settings.emulator => LayerState::Off,
            true => LayerState::Enforced,
            false => LayerState::Degraded(missing.to_owned()),
        };
        [
            (
                Layer::MicroVm,
                state(
                    function.microvm,
                    "the function runs on Managed Instances, whose containers are no security \
                     boundary; create it without a capacity provider",
                ),
            ),
            (
                Layer::Vpc,
                state(
                    function.vpc,
                    "the function is in no VPC and can reach the internet; attach it to one \
                     without a way out",
                ),
            ),
        ]
    }

    /// Credentials that sign what a runner does for so long, if there are any that last.
    pub(crate) async fn signer(&self, life: Duration) -> Result<Credentials> {
        let mut signer = self.signer.lock().await;
        let lasts = |credentials: &Credentials| {
            credentials.expiry().is_none_or(|end| end > SystemTime::now() + life)
        };
        if let Some(known) = signer.as_ref().filter(|known| lasts(known)) {
            return Ok(known.clone());
        }
        let denied = |why: String| Error::new(ErrorKind::AccessDenied, "find credentials", why);
        let found = timeout(CREDENTIALS, self.credentials.provide_credentials()).await;
        let found = found
            .map_err(|_| denied(format!("no credentials within {CREDENTIALS:?}")))?
            .map_err(|error| denied(causes(&error)))?;
        *signer = Some(found.clone());
        Ok(found)
    }

    /// The tenant id of a job's invocation.
    fn tenant(&self, job: &Job) -> Result<Option<String>> {
        let invalid = |why: String| Err(Error::new(ErrorKind::InvalidJob, "tenant", why));
        match self.settings.tenancy {
            Tenancy::Shared => Ok(None),
            Tenancy::PerJob => Ok(Some(uuid::Uuid::new_v4().to_string())),
            Tenancy::PerTenant => match job.tenant.as_deref() {
                None => invalid("the functions separate tenants, and the job names none".into()),
                Some(tenant) if is_tenant_id(tenant) => Ok(Some(tenant.to_owned())),
                Some(tenant) => invalid(format!(
                    "{tenant:?} is no tenant id: give 1 to 256 letters, digits, spaces or any of \
                     .:/=+-@_"
                )),
            },
        }
    }
}

/// The pattern of Lambda's service model.
fn is_tenant_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/=+-@ ".contains(c);
    (1..=256).contains(&text.len()) && text.chars().all(allowed)
}

/// What holds on both sides.
fn weaker(a: &Enforcement, b: &Enforcement) -> Enforcement {
    Layer::ALL.iter().fold(Enforcement::none(), |all, layer| {
        let state = match (a.state(*layer), b.state(*layer)) {
            (LayerState::Off, _) | (_, LayerState::Off) => LayerState::Off,
            (weak @ LayerState::Degraded(_), _) | (_, weak) => weak.clone(),
        };
        all.with(*layer, state)
    })
}

#[async_trait]
impl Executor for Direct {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        let span = trace::job("lambda", &job);
        let started = self.admit(job).instrument(span.clone()).await;
        started.inspect_err(|error| trace::failed(&span, error))
    }

    async fn open(&self, _: SessionSpec) -> Result<Box<dyn Session>> {
        Err(sessions_unsupported("lambda"))
    }
}

impl Direct {
    async fn admit(&self, job: Job) -> Result<Execution> {
        self.capabilities.check(&job)?;
        if let Program::Source { runtime, .. } = &job.program
            && !self.capabilities.runtimes.contains(runtime)
        {
            let known = self.capabilities.runtimes.iter().map(String::as_str);
            return Err(unknown_runtime(runtime, known));
        }
        let required = self.required(&job);
        self.capabilities.enforcement.require(required.iter().copied())?;
        let not_off = job.required_layers(NOT_OFF).filter(|layer| !required.contains(layer));
        let not_off: BTreeSet<_> = not_off.collect();
        let function = route(&self.shared.functions, &job.limits)?.clone();
        let job = function.bounded(job)?;
        let tenant = self.shared.tenant(&job)?;
        let items = Items::read(&job).await?;
        let key = match &job.idempotency_key {
            None => None,
            Some(name) => {
                let mut outline = items.outline(&job);
                outline.required.clone_from(&required);
                let key = Key::new(&self.shared.store, name, job.tenant.as_deref(), &outline)?;
                if let Some(stored) = key.look_up(&self.shared.store).await? {
                    return idempotency::replay(&self.shared, &job, stored).await;
                }
                Some(key)
            }
        };
        let call = Call {
            shared: Arc::clone(&self.shared),
            function,
            tenant,
            job,
            required,
            not_off,
            items,
            key,
        };
        call.start().await
    }
}
