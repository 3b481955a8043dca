//! What the Lambda backend adds, on AWS's own emulator or in an account.
//!
//! `scripts/lambda-bench [ROUNDS]` runs it on the emulator, in turns within one run: a warm invoke
//! against a bare `lambda_runtime` echo handler plus the same process spawned bare; the runner's
//! init; the way of an output byte; a 256 MiB artifact against the plain SDK.
//!
//! In an account: name function and bucket in `SANDBOX_LAMBDA_FUNCTIONS` and
//! `SANDBOX_LAMBDA_BUCKET`, an echo function in `SANDBOX_LAMBDA_ECHO` for the comparison, and run
//! `cargo bench -p sandbox-lambda --bench lambda_latency`.

mod support;

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::primitives::ByteStream;
use futures_util::TryStreamExt as _;
use sandbox_core::{Event, Executor as _, ExecutorExt as _, Job, Size};
use sandbox_emulator::{BUCKET, Function, Lambda, S3, Seaweed, credentials};
use sandbox_lambda::LambdaExecutor;
use support::{Sample, Table};

const TRUE: &[&str] = &["/bin/true"];
const PYTHON: &[&str] = &["/usr/bin/python3", "-c", "print(1)"];
const ARTIFACT: u64 = 256 << 20;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What is measured, and what it is compared with.
struct Subject {
    executor: LambdaExecutor,
    sdk: aws_sdk_lambda::Client,
    echo: Option<String>,
    emulated: Option<(Lambda, S3)>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let rounds = support::rounds(100);
    let subject = match std::env::var_os("SANDBOX_LAMBDA_FUNCTIONS") {
        Some(_) => in_account().await?,
        None => emulated().await?,
    };
    let mut table = Table::new("lambda_latency");
    match &subject.emulated {
        Some(_) => println!("on AWS's runtime interface emulator; no network, no microVM"),
        None => println!("in an account, with what its network and its cold starts cost"),
    }
    warm(&subject, &mut table, rounds).await?;
    first(&subject, &mut table, rounds.min(20)).await?;
    stream(&subject, &mut table, rounds).await?;
    artifact(&subject, &mut table, rounds.clamp(1, 7)).await?;
    table.finish()
}

fn test_config() -> SdkConfig {
    let (key, secret) = credentials();
    let credentials = Credentials::new(key, secret, None, None, "bench");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

async fn executor(lambda: &Lambda, s3_endpoint: &str) -> Result<LambdaExecutor> {
    let builder = LambdaExecutor::builder().function("sandbox").bucket(BUCKET);
    let builder = builder.aws_config(test_config()).endpoint(lambda.endpoint());
    Ok(builder.s3_endpoint(s3_endpoint).emulator().build().await?)
}

async fn emulated() -> Result<Subject> {
    let runner = Function { tmp: 2 << 30, memory: 2048, ..Function::runner("sandbox") };
    let lambda = Lambda::start([runner, Function::plain("echo")]).await;
    let s3 = S3::start().await;
    let executor = executor(&lambda, s3.endpoint()).await?;
    let sdk = aws_sdk_lambda::config::Builder::from(&test_config())
        .endpoint_url(lambda.endpoint())
        .build();
    let sdk = aws_sdk_lambda::Client::from_conf(sdk);
    Ok(Subject { executor, sdk, echo: Some("echo".into()), emulated: Some((lambda, s3)) })
}

async fn in_account() -> Result<Subject> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let executor = LambdaExecutor::from_env().await?;
    let echo = std::env::var("SANDBOX_LAMBDA_ECHO").ok();
    Ok(Subject { executor, sdk: aws_sdk_lambda::Client::new(&config), echo, emulated: None })
}

/// A warm invoke against echo plus a bare process.
async fn warm(subject: &Subject, table: &mut Table, rounds: usize) -> Result<()> {
    for (name, argv) in [("true", TRUE), ("python", PYTHON)] {
        let (mut base, mut echo, mut ours) = (Sample::new(), Sample::new(), Sample::new());
        for round in 0..rounds + 5 {
            let counts = round >= 5;
            let since = Instant::now();
            if let Some(function) = &subject.echo {
                subject
                    .sdk
                    .invoke()
                    .function_name(function)
                    .payload(b"{}".to_vec().into())
                    .send()
                    .await?;
            }
            echo.add(counts, since.elapsed());
            let bare = Command::new(argv[0]).args(&argv[1..]).stdin(Stdio::null()).output()?;
            base.add(counts, since.elapsed());
            assert!(bare.status.success(), "{bare:?}");
            let job = Job::command(argv.iter().copied()).build()?;
            let since = Instant::now();
            let outcome = subject.executor.run(job).await?;
            ours.add(counts, since.elapsed());
            assert!(outcome.is_success(), "{outcome:?}");
        }
        table.add(&format!("{name}: echo handler"), &echo, None);
        table.add(&format!("{name}: echo + bare process"), &base, None);
        table.add(&format!("{name}: sandbox, warm"), &ours, Some(&base));
        let more = ours.median_difference_ms(&base);
        table.note(&format!("{name}: more than the sum"), more, "ms, median of pairs");
    }
    Ok(())
}

/// The first invoke in a new environment, and the runner's own part of its init.
async fn first(subject: &Subject, table: &mut Table, rounds: usize) -> Result<()> {
    let Some((lambda, _)) = &subject.emulated else { return Ok(()) };
    let (mut init, mut invoke) = (Sample::new(), Sample::new());
    for _ in 0..rounds {
        lambda.cool("sandbox").await;
        // The environment itself is the emulator's; the runtime starts with the first event.
        lambda.runtime_api("sandbox").await;
        let since = Instant::now();
        let outcome = subject.executor.run(Job::command(["/bin/true"]).build()?).await?;
        invoke.add(true, since.elapsed());
        assert!(outcome.is_success(), "{outcome:?}");
        let log = lambda.last_log();
        let line = log.lines().find(|line| line.contains("init_ms")).ok_or("no init report")?;
        let start = line.find('{').ok_or("no JSON")?;
        let report: serde_json::Value = serde_json::from_str(&line[start..])?;
        let ms = report["init_ms"].as_f64().ok_or("no init_ms")?;
        init.add(true, Duration::from_secs_f64(ms / 1000.0));
    }
    table.add("runner: init to first event", &init, None);
    table.add("first invoke after init", &invoke, None);
    Ok(())
}

/// From the moment when a program writes until its caller reads.
async fn stream(subject: &Subject, table: &mut Table, rounds: usize) -> Result<()> {
    let code = "import time\nfor _ in range(ROUNDS):\n    time.sleep(0.02)\n    \
                print(time.time_ns(), flush=True)\n";
    let code = code.replace("ROUNDS", &rounds.to_string());
    let mut sample = Sample::new();
    let mut execution = subject.executor.start(Job::python(code).build()?).await?;
    while let Some(event) = execution.next_event().await {
        let Event::Stdout(bytes) = event else { continue };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let text = String::from_utf8_lossy(&bytes);
        if let Some(written) = text.lines().next().and_then(|line| line.parse().ok()) {
            sample.add(true, now.saturating_sub(Duration::from_nanos(written)));
        }
    }
    let _ = execution.outcome().await?;
    table.add("output byte: written to read", &sample, None);
    if subject.emulated.is_none() {
        println!("(across two clocks: as good as these agree)");
    }
    Ok(())
}

/// A large file: made, stored and read back, against the same program and the plain SDK.
async fn artifact(subject: &Subject, table: &mut Table, rounds: usize) -> Result<()> {
    let Some((lambda, _)) = &subject.emulated else {
        println!("(the artifact is compared on the emulator only)");
        return Ok(());
    };
    // A store in a process of its own, so that this one's memory is the client's.
    let s3 = Seaweed::start().await;
    let make = format!("head -c {ARTIFACT} /dev/urandom >large; sha256sum large >/dev/null");
    let config = aws_sdk_s3::config::Builder::from(&test_config())
        .endpoint_url(s3.endpoint())
        .force_path_style(true)
        .build();
    let plain = aws_sdk_s3::Client::from_conf(config);
    plain.create_bucket().bucket(BUCKET).send().await?;
    let executor = executor(lambda, s3.endpoint()).await?;
    let folder = tempfile::tempdir()?;
    let (mut base, mut ours, mut grown) = (Sample::new(), Sample::new(), 0);
    for _ in 0..rounds {
        let since = Instant::now();
        let status = Command::new("bash").args(["-c", &make]).current_dir(&folder).status()?;
        assert!(status.success());
        let body = ByteStream::from_path(folder.path().join("large")).await?;
        plain.put_object().bucket(BUCKET).key("plain").body(body).send().await?;
        let mut read = plain.get_object().bucket(BUCKET).key("plain").send().await?.body;
        let mut bytes = 0;
        while let Some(chunk) = read.try_next().await? {
            bytes += chunk.len() as u64;
        }
        assert_eq!(bytes, ARTIFACT);
        base.add(true, since.elapsed());

        let job = Job::bash(make.clone()).limit(|limits| {
            limits.file_size = Some(Size::gib(1));
            limits.workspace = Some(Size::gib(1));
            limits.artifacts = Size::gib(1);
        });
        // Makes the highest use so far the present one; see proc(5).
        std::fs::write("/proc/self/clear_refs", "5")?;
        let before = peak("/proc/self/status");
        let since = Instant::now();
        let outcome = executor.run(job.build()?).await?;
        let large = outcome.artifact("large").ok_or_else(|| format!("{:?}", outcome.skipped))?;
        let mut bytes = 0;
        let mut chunks = large.stream();
        while let Some(chunk) = chunks.try_next().await? {
            bytes += chunk.len() as u64;
        }
        assert_eq!(bytes, ARTIFACT);
        ours.add(true, since.elapsed());
        grown = grown.max(peak("/proc/self/status").saturating_sub(before));
    }
    table.add("256 MiB: bare program, plain SDK", &base, None);
    table.add("256 MiB: sandbox", &ours, Some(&base));
    table.note("256 MiB: rate against the plain SDK", 1.0 / ours.median_ratio(&base), "times");
    table.note("client and emulator's front grew by", grown as f64 / 1024.0, "MiB");
    let look = "for p in /proc/[0-9]*; do read -r name <$p/comm; [ $name = runtime ] && \
                cat $p/status; done";
    let outcome = executor.run(Job::bash(look).build()?).await?;
    let file = folder.path().join("status");
    std::fs::write(&file, outcome.stdout.bytes())?;
    let runner = peak(file.to_str().unwrap_or_default());
    table.note("peak of the runner", runner as f64 / 1024.0, "MiB");
    Ok(())
}

/// `VmHWM` in KiB.
fn peak(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits = line.map(|line| line.chars().filter(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
