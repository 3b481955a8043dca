//! Settings of a [`LambdaExecutor`].

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_lambda::config::StalledStreamProtectionConfig;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use sandbox_core::{Error, ErrorKind, Result, Size};

use crate::backoff;
use crate::executor::{Direct, LambdaExecutor, Settings};
use crate::function::FunctionSpec;
use crate::price::PriceTable;
use crate::store::Store;

/// Whose jobs share an execution environment, one after the other.
///
/// Tenant isolation is chosen when a function is created; see
/// <https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation.html>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tenancy {
    /// Everybody's: the functions have no tenant isolation. What a job leaves, the runner removes.
    #[default]
    Shared,
    /// Those of one tenant: each job names one.
    PerTenant,
    /// Nobody's: each job has an environment of its own, and its cold start.
    PerJob,
}

/// Bytes of a request, which is at most 6 MiB, for inputs; base64 makes four of three.
const INLINE: u64 = 4 << 20;

/// Settings of a [`LambdaExecutor`].
#[derive(Clone, Debug)]
#[must_use = "settings have no effect before build()"]
pub struct LambdaBuilder {
    functions: Vec<Function>,
    bucket: Option<String>,
    config: Option<SdkConfig>,
    endpoint: Option<String>,
    s3_endpoint: Option<String>,
    concurrency: Option<(usize, Duration)>,
    settings: Settings,
}

#[derive(Clone, Debug)]
enum Function {
    Named(String),
    Known(FunctionSpec),
}

impl Default for LambdaBuilder {
    fn default() -> Self {
        Self {
            functions: Vec::new(),
            bucket: None,
            config: None,
            endpoint: None,
            s3_endpoint: None,
            concurrency: None,
            settings: Settings {
                prefix: "sandbox/".into(),
                tenancy: Tenancy::Shared,
                inline_limit: INLINE,
                streaming: true,
                emulator: false,
                patience: Duration::from_secs(60),
                prices: PriceTable::default(),
            },
        }
    }
}

impl LambdaBuilder {
    /// Adds a function by name or ARN. Jobs go to the smallest that holds their limits.
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.functions.push(Function::Named(name.into()));
        self
    }

    /// Adds a function whose configuration is known, and is not looked up.
    pub fn function_spec(mut self, spec: FunctionSpec) -> Self {
        self.functions.push(Function::Known(spec));
        self
    }

    /// The bucket for inputs, artifacts and results. Required.
    pub fn bucket(mut self, name: impl Into<String>) -> Self {
        self.bucket = Some(name.into());
        self
    }

    /// What every key in the bucket begins with. Default `sandbox/`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// Region, credentials and the rest, as the application has them. Default: those of the
    /// environment.
    pub fn aws_config(mut self, config: SdkConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Another URL for Lambda, for example of a VPC endpoint.
    pub fn endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoint = Some(url.into());
        self
    }

    /// Another URL for S3. Buckets are then named in the path.
    pub fn s3_endpoint(mut self, url: impl Into<String>) -> Self {
        self.s3_endpoint = Some(url.into());
        self
    }

    /// Says that there is no Lambda behind the endpoint, but an emulator: then neither a microVM
    /// nor a VPC holds the jobs, they are not required, and outcomes say that they are off.
    pub fn emulator(mut self) -> Self {
        self.settings.emulator = true;
        self
    }

    /// Whose jobs share an environment. Must be what the functions were created for.
    pub fn tenancy(mut self, tenancy: Tenancy) -> Self {
        self.settings.tenancy = tenancy;
        self
    }

    /// Bytes of inputs that travel in the request; what is beyond goes through the bucket.
    /// Default and most: 4 MiB.
    pub fn inline_limit(mut self, limit: Size) -> Self {
        self.settings.inline_limit = limit.as_u64().min(INLINE);
        self
    }

    /// Whether output comes while the program runs. Default true; without, it comes with the
    /// outcome.
    pub fn streaming(mut self, streaming: bool) -> Self {
        self.settings.streaming = streaming;
        self
    }

    /// Runs at most so many jobs at once; others wait for a turn, at most so long.
    pub fn concurrency(mut self, most: usize, wait: Duration) -> Self {
        self.concurrency = Some((most, wait));
        self
    }

    /// How long a job that Lambda has no room for is tried again. Default 60 s.
    pub fn patience(mut self, total: Duration) -> Self {
        self.settings.patience = total;
        self
    }

    /// Other prices.
    pub fn prices(mut self, prices: PriceTable) -> Self {
        self.settings.prices = prices;
        self
    }

    /// Looks the functions up and asks the runner of each what it can do: an invocation of each.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidJob`] for settings that are missing or contradict the functions, and
    /// whatever Lambda answers.
    pub async fn build(self) -> Result<LambdaExecutor> {
        let invalid = |field: &'static str, why: &str| {
            Err(Error::new(ErrorKind::InvalidJob, field, why.to_owned()))
        };
        let Some(bucket) = self.bucket else {
            return invalid("bucket", "no bucket was named; inputs and artifacts go through one");
        };
        if self.functions.is_empty() {
            return invalid("functions", "no function was named; name at least one");
        }
        let prefix = &self.settings.prefix;
        if prefix.starts_with('/') || (!prefix.is_empty() && !prefix.ends_with('/')) {
            return invalid("prefix", "it must be empty or end with /, and not begin with one");
        }
        let config = match self.config {
            Some(config) => config,
            None => aws_config::load_defaults(BehaviorVersion::latest()).await,
        };
        let (Some(credentials), Some(region)) = (config.credentials_provider(), config.region())
        else {
            return invalid("aws_config", "it has no credentials or no region; set AWS_REGION");
        };
        let region = region.as_ref().to_owned();
        let lambda = lambda_client(&config, self.endpoint);
        let s3 = s3_client(&config, self.s3_endpoint.as_deref());
        let mut functions = Vec::new();
        for function in self.functions {
            functions.push(match function {
                Function::Known(spec) => spec,
                Function::Named(name) => {
                    let look_up = || FunctionSpec::look_up(&lambda, &name);
                    backoff::retry(self.settings.patience, look_up).await?
                }
            });
        }
        for function in &functions {
            if function.tenant_isolation != (self.settings.tenancy != Tenancy::Shared) {
                let message = format!(
                    "function {} was created {} tenant isolation, which does not go with {:?}",
                    function.name,
                    if function.tenant_isolation { "with" } else { "without" },
                    self.settings.tenancy
                );
                return Err(Error::new(ErrorKind::Misconfigured, "tenancy", message));
            }
        }
        let store = Store { client: s3, bucket, prefix: self.settings.prefix.clone() };
        let direct =
            Direct::new(self.settings, lambda, store, credentials, region, functions).await?;
        Ok(LambdaExecutor::new(direct, self.concurrency))
    }
}

fn lambda_client(config: &SdkConfig, endpoint: Option<String>) -> aws_sdk_lambda::Client {
    // How long an invocation may take is the function's to say, and is watched where it is sent.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .disable_read_timeout()
        .disable_operation_timeout()
        .disable_operation_attempt_timeout()
        .build();
    let mut builder = aws_sdk_lambda::config::Builder::from(config)
        // An invocation is repeated here, and only when it cannot have run.
        .retry_config(RetryConfig::disabled())
        // A job may be silent for longer than a download.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .timeout_config(timeouts);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    aws_sdk_lambda::Client::from_conf(builder.build())
}

fn s3_client(config: &SdkConfig, endpoint: Option<&str>) -> aws_sdk_s3::Client {
    // The SDK's time for reading an answer would count that of a long upload.
    let timeouts = aws_sdk_s3::config::timeout::TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(5))
        .disable_read_timeout()
        .build();
    let mut builder = aws_sdk_s3::config::Builder::from(config).timeout_config(timeouts);
    if let Some(endpoint) = endpoint {
        builder = builder.endpoint_url(endpoint).force_path_style(true);
    }
    aws_sdk_s3::Client::from_conf(builder.build())
}
