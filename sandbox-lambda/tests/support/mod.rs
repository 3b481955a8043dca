//! What the integration tests share: an executor over the emulator and an S3 server.
#![allow(dead_code, reason = "each test binary uses some of it")]

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use sandbox_core::{ExecutorExt as _, Job, JobBuilder, Outcome, Result};
use sandbox_emulator::{BUCKET, Function, Lambda, S3, credentials};
use sandbox_lambda::{LambdaBuilder, LambdaExecutor};

/// A configuration with the signer's credentials.
pub(crate) fn config() -> SdkConfig {
    let (key, secret) = credentials();
    let credentials = Credentials::new(key, secret, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// The stand-ins and the settings that point to them.
pub(crate) struct Cloud {
    pub(crate) lambda: Lambda,
    pub(crate) s3: S3,
}

impl Cloud {
    pub(crate) async fn start(functions: impl IntoIterator<Item = Function>) -> Self {
        Self { lambda: Lambda::start(functions).await, s3: S3::start().await }
    }

    pub(crate) fn builder(&self, function: &str) -> LambdaBuilder {
        LambdaExecutor::builder()
            .function(function)
            .bucket(BUCKET)
            .aws_config(config())
            .endpoint(self.lambda.endpoint())
            .s3_endpoint(self.s3.endpoint())
            .patience(Duration::from_secs(5))
            .emulator()
    }

    pub(crate) async fn executor(&self, function: &str) -> LambdaExecutor {
        self.builder(function).build().await.expect("executor")
    }

    /// One function behind one executor.
    pub(crate) async fn with_runner() -> (Self, LambdaExecutor) {
        let cloud = Self::start([Function::runner("sandbox")]).await;
        let executor = cloud.executor("sandbox").await;
        (cloud, executor)
    }
}

pub(crate) async fn run(executor: &LambdaExecutor, job: JobBuilder) -> Result<Outcome> {
    executor.run(job.build().expect("job")).await
}

/// The signer's client of an S3 server.
pub(crate) fn s3_client(endpoint: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(&config())
        .endpoint_url(endpoint)
        .force_path_style(true)
        .build();
    aws_sdk_s3::Client::from_conf(config)
}

/// Makes the bucket of a server that has none.
pub(crate) async fn make_bucket(endpoint: &str) {
    s3_client(endpoint).create_bucket().bucket(BUCKET).send().await.expect("bucket");
}

/// Runs bash that must succeed; returns what it printed.
pub(crate) async fn bash(executor: &LambdaExecutor, script: &str) -> String {
    let outcome = run(executor, Job::bash(script)).await.expect("outcome");
    assert!(outcome.is_success(), "{:?}\n{}", outcome.termination, outcome.stderr.text());
    outcome.stdout.text()
}

/// Runs Python that must succeed; returns what it printed.
pub(crate) async fn python(executor: &LambdaExecutor, code: &str) -> String {
    let outcome = run(executor, Job::python(code)).await.expect("outcome");
    assert!(outcome.is_success(), "{:?}\n{}", outcome.termination, outcome.stderr.text());
    outcome.stdout.text()
}

/// Invokes a function with a payload of its own.
pub(crate) async fn plain(
    lambda: &Lambda,
    function: &str,
    payload: serde_json::Value,
) -> serde_json::Value {
    let config = aws_sdk_lambda::config::Builder::from(&config())
        .endpoint_url(lambda.endpoint())
        .retry_config(aws_sdk_lambda::config::retry::RetryConfig::disabled())
        .build();
    let sent = aws_sdk_lambda::Client::from_conf(config)
        .invoke()
        .function_name(function)
        .payload(aws_sdk_lambda::primitives::Blob::new(payload.to_string()))
        .send();
    let output = sent.await.expect("invocation");
    let body = output.payload().map(AsRef::as_ref).unwrap_or_default();
    serde_json::from_slice(body).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(body)))
}
