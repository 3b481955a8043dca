//! What the platform and the wire can do to a job, and what the caller hears of it.

mod support;

use std::time::{Duration, Instant};

use sandbox_core::{ErrorKind, Event, Executor as _, Job, Layer, LayerState, Size, Termination};
use sandbox_emulator::{BUCKET, Fault, Function, Tenancy as FunctionTenancy};
use sandbox_lambda::{FunctionSpec, LambdaExecutor, Tenancy};
use support::{Cloud, bash, config, run};

fn hello() -> sandbox_core::JobBuilder {
    Job::bash("echo hello; exit 3")
}

#[tokio::test]
async fn each_error_of_the_service_has_its_kind() {
    use ErrorKind::{AccessDenied, Backend, Lost, Misconfigured, NotFound, Throttled};
    let (cloud, _) = Cloud::with_runner().await;
    for streaming in [true, false] {
        let builder = cloud.builder("sandbox").streaming(streaming);
        let executor = builder.patience(Duration::ZERO).build().await.expect("executor");
        for (name, kind, may_have_run, retryable) in [
            ("ResourceNotFoundException", NotFound, false, false),
            ("AccessDeniedException", AccessDenied, false, false),
            ("ExpiredTokenException", AccessDenied, false, false),
            ("TooManyRequestsException", Throttled, false, true),
            ("EC2ThrottledException", Throttled, false, true),
            ("ENILimitReachedException", Throttled, false, true),
            ("ResourceNotReadyException", Throttled, false, true),
            ("InvalidParameterValueException", Misconfigured, false, false),
            ("InvalidRequestContentException", Backend, false, false),
            ("KMSAccessDeniedException", Misconfigured, false, false),
            ("KMSDisabledException", Misconfigured, false, false),
            ("CodeArtifactUserDeletedException", Misconfigured, false, false),
            ("InvalidZipFileException", Misconfigured, false, false),
            ("EC2AccessDeniedException", Misconfigured, false, false),
            ("SnapStartException", Misconfigured, false, false),
            ("ServiceException", Lost, true, false),
        ] {
            cloud.lambda.fail_next(Fault::Service(name));
            let error = run(&executor, hello()).await.expect_err(name);
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(error.may_have_run(), may_have_run, "{error}");
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}

#[tokio::test]
async fn throttling_is_waited_out_within_the_callers_patience() {
    let (cloud, executor) = Cloud::with_runner().await;
    for _ in 0..3 {
        cloud.lambda.fail_next(Fault::Service("TooManyRequestsException"));
    }
    assert_eq!(run(&executor, hello()).await.expect("in the end").stdout.text(), "hello\n");
    let busy = Function { concurrency: 1, ..Function::runner("busy") };
    let cloud = Cloud::start([busy]).await;
    let executor = cloud.builder("busy").patience(Duration::from_secs(1));
    let executor = executor.build().await.expect("executor");
    let job = Job::bash("sleep 3").build().expect("job");
    let running = executor.start(job).await.expect("running");
    let error = run(&executor, hello()).await.expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::Throttled, "{error}");
    assert!(error.to_string().contains("for 1s"), "{error}");
    assert!(running.outcome().await.expect("outcome").is_success());
}

#[tokio::test]
async fn each_end_of_the_function_has_its_verdict() {
    let (cloud, executor) = Cloud::with_runner().await;
    let out_of_memory =
        Fault::Platform("Runtime.OutOfMemory", "Runtime exited with error: signal: killed");
    cloud.lambda.fail_next(out_of_memory);
    let outcome = run(&executor, hello()).await.expect("outcome");
    let Termination::Memory(evidence) = &outcome.termination else {
        panic!("{:?}", outcome.termination)
    };
    // The answer says that it exited with 3; the platform says otherwise, and wins.
    assert_eq!(evidence.limit, Size::gib(1));
    assert_eq!(outcome.stdout.text(), "hello\n", "what came before is kept");
    assert!(outcome.cost.is_some());

    for (kind, message, expected) in [
        ("Runtime.ExitError", "Runtime exited with error: exit status 1", ErrorKind::RunnerExited),
        ("Function.ResponseSizeTooLarge", "Response payload size", ErrorKind::AnswerTooLarge),
        ("Runtime.Unknown", "something new", ErrorKind::Backend),
    ] {
        cloud.lambda.fail_next(Fault::Platform(kind, message));
        let error = run(&executor, hello()).await.expect_err(kind);
        assert_eq!(error.kind(), expected, "{error}");
        assert!(error.may_have_run(), "{error}");
    }
    // Without output on the way nobody knows whether the program was started.
    let buffered = cloud.builder("sandbox").streaming(false).build().await.expect("executor");
    for (kind, expected, may_have_run) in [
        ("Sandbox.Timedout", ErrorKind::PlatformTimeout, true),
        ("Runtime.OutOfMemory", ErrorKind::PlatformMemory, true),
        ("Runtime.InvalidEntrypoint", ErrorKind::Misconfigured, false),
        ("Extension.LaunchError", ErrorKind::InitFailed, false),
        ("Extension.Crash", ErrorKind::Backend, true),
    ] {
        cloud.lambda.fail_next(Fault::Platform(kind, "x"));
        let error = run(&buffered, hello()).await.expect_err(kind);
        assert_eq!((error.kind(), error.may_have_run()), (expected, may_have_run), "{error}");
    }
}

#[tokio::test]
async fn an_image_that_does_not_start_is_found_when_the_executor_is_made() {
    let broken = Function { runtime: "/bin/false".into(), ..Function::runner("broken") };
    let other = Function::plain("other");
    let cloud = Cloud::start([broken, other]).await;
    let error = cloud.builder("broken").build().await.expect_err("no runner");
    assert_eq!(error.kind(), ErrorKind::InitFailed, "{error}");
    assert!(!error.may_have_run());
    let error = cloud.builder("other").build().await.expect_err("another runtime");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("sandbox-runner"), "{error}");
    let error = cloud.builder("missing").build().await.expect_err("no function");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn an_answer_in_pieces_is_the_same_answer() {
    let (cloud, executor) = Cloud::with_runner().await;
    for size in [1, 2, 3, 7] {
        cloud.lambda.fail_next(Fault::Pieces(size));
        let outcome = run(&executor, hello()).await.expect("outcome");
        assert_eq!(outcome.termination, Termination::Exited(3), "pieces of {size}");
        assert_eq!(outcome.stdout.text(), "hello\n");
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_doubled_or_replaced_is_no_answer() {
    let (cloud, executor) = Cloud::with_runner().await;
    for length in [0, 1, 9, 20, 100, 400] {
        cloud.lambda.fail_next(Fault::CutAfter(length));
        let error = run(&executor, hello()).await.expect_err("cut");
        assert_eq!(error.kind(), ErrorKind::Lost, "after {length}: {error}");
        assert!(error.may_have_run(), "{error}");
    }
    cloud.lambda.fail_next(Fault::Twice);
    let error = run(&executor, hello()).await.expect_err("doubled");
    assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
    for body in [&b""[..], b"{}", b"\0sandboxO\0\0\0\x01x", b"\0sandboxA\0\0\0\x02{}"] {
        cloud.lambda.fail_next(Fault::Body(body.to_vec()));
        let error = run(&executor, hello()).await.expect_err("replaced");
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
        assert!(error.may_have_run(), "{error}");
    }
    let buffered = cloud.builder("sandbox").streaming(false).build().await.expect("executor");
    for body in [&b""[..], b"null", b"{\"version\":1}", b"not json", b"[[[[[[[["] {
        cloud.lambda.fail_next(Fault::Body(body.to_vec()));
        let error = run(&buffered, hello()).await.expect_err("replaced");
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
    }
    assert_eq!(bash(&executor, "echo fine").await, "fine\n");
}

#[tokio::test]
async fn an_emulator_that_dies_is_reported_and_replaced() {
    let (cloud, executor) = Cloud::with_runner().await;
    cloud.lambda.fail_next(Fault::Kill(300));
    let error = run(&executor, Job::bash("sleep 20")).await.expect_err("killed");
    assert_eq!(error.kind(), ErrorKind::RunnerExited, "{error}");
    assert!(error.may_have_run());
    assert_eq!(bash(&executor, "echo fine").await, "fine\n");
    assert_eq!(cloud.lambda.environments("sandbox").await, 2);
}

#[tokio::test]
async fn the_cost_comes_from_the_platforms_report_alone() {
    let (cloud, executor) = Cloud::with_runner().await;
    let outcome = run(&executor, hello()).await.expect("outcome");
    let (cost, facts) = (outcome.cost.expect("cost"), &outcome.facts);
    let billed: f64 = facts["billed_ms"].parse().expect("number");
    let expected = billed / 1000.0 * 0.000_016_666_7 + 0.000_000_2;
    assert!((cost.usd - expected).abs() < 1e-12, "{cost:?} {facts:?}");
    for (fault, why) in [
        (Fault::NoLog, "no REPORT line"),
        (
            Fault::LogLine("REPORT RequestId: other\tDuration: 0 ms\tBilled Duration: 0 ms".into()),
            "",
        ),
    ] {
        cloud.lambda.fail_next(fault);
        let outcome = run(&executor, hello()).await.expect("outcome");
        match why {
            "" => assert!(outcome.cost.is_some_and(|cost| cost.usd > 0.000_000_2)),
            why => {
                assert_eq!(outcome.cost, None);
                assert!(outcome.facts["cost_unknown"].contains(why), "{:?}", outcome.facts);
            }
        }
    }
}

#[tokio::test]
async fn tenants_have_environments_of_their_own() {
    let separated =
        Function { tenancy: FunctionTenancy::PerTenant, ..Function::runner("separated") };
    let cloud = Cloud::start([separated, Function::runner("shared")]).await;
    let error = cloud.builder("separated").build().await.expect_err("no tenancy");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let error = cloud.builder("shared").tenancy(Tenancy::PerJob).build().await.expect_err("none");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");

    let executor = cloud.builder("separated").tenancy(Tenancy::PerTenant).build().await;
    let executor = executor.expect("executor");
    let error = run(&executor, hello()).await.expect_err("no tenant");
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidJob, "tenant"), "{error}");
    let error = run(&executor, hello().tenant("a\nb")).await.expect_err("no tenant id");
    assert_eq!(error.kind(), ErrorKind::InvalidJob, "{error}");
    let before = cloud.lambda.environments("separated").await;
    for tenant in ["ann", "bob", "ann"] {
        let _ = run(&executor, hello().tenant(tenant)).await.expect("outcome");
    }
    assert_eq!(cloud.lambda.environments("separated").await, before + 2);

    let executor = cloud.builder("separated").tenancy(Tenancy::PerJob).build().await;
    let executor = executor.expect("executor");
    let before = cloud.lambda.environments("separated").await;
    for _ in 0..2 {
        let _ = run(&executor, hello()).await.expect("outcome");
    }
    assert_eq!(cloud.lambda.environments("separated").await, before + 2);

    // A function that is not what the caller was told: the platform refuses.
    let told = FunctionSpec::new("separated", Size::gib(1), Duration::from_secs(60));
    let builder = LambdaExecutor::builder().function_spec(told).bucket(BUCKET).aws_config(config());
    let builder = builder.endpoint(cloud.lambda.endpoint()).s3_endpoint(cloud.s3.endpoint());
    let error = builder.emulator().build().await.expect_err("tenant id is missing");
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
}

#[tokio::test]
async fn the_platforms_layers_are_the_platforms() {
    let inside = Function { vpc: Some("vpc-1".into()), ..Function::runner("inside") };
    let cloud = Cloud::start([inside, Function::runner("outside")]).await;
    let real = |name: &str| {
        LambdaExecutor::builder()
            .function(name)
            .bucket(BUCKET)
            .aws_config(config())
            .endpoint(cloud.lambda.endpoint())
            .s3_endpoint(cloud.s3.endpoint())
    };
    // Nothing says that this is no Lambda, so it is taken for one.
    let executor = real("inside").build().await.expect("executor");
    let outcome = run(&executor, hello()).await.expect("outcome");
    assert!(outcome.enforcement.is_enforced(Layer::Vpc));
    assert!(outcome.enforcement.is_enforced(Layer::MicroVm));
    // Of several, each job could go to the weakest, whichever was named last.
    for (first, last) in [("outside", "inside"), ("inside", "outside")] {
        let executor = real(first).function(last).build().await.expect("executor");
        let error = run(&executor, hello()).await.expect_err("one is outside");
        assert_eq!((error.kind(), error.layer()), (ErrorKind::Refused, Some(Layer::Vpc)));
    }
    let executor = real("outside").build().await.expect("executor");
    let error = run(&executor, hello()).await.expect_err("no VPC");
    assert_eq!((error.kind(), error.layer()), (ErrorKind::Refused, Some(Layer::Vpc)), "{error}");
    assert!(error.to_string().contains("internet"), "{error}");
    let outcome = run(&executor, hello().allow_degraded(Layer::Vpc)).await.expect("by name");
    assert!(matches!(outcome.enforcement.state(Layer::Vpc), LayerState::Degraded(_)));
    let executor = cloud.executor("inside").await;
    let outcome = run(&executor, hello()).await.expect("outcome");
    assert_eq!(outcome.enforcement.state(Layer::MicroVm), &LayerState::Off, "an emulator");
}

#[tokio::test]
async fn a_cancelled_job_says_that_lambda_goes_on() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let job = Job::bash("echo begun; sleep 3").build().expect("job");
    let mut execution = executor.start(job).await.expect("execution");
    while let Some(event) = execution.next_event().await {
        if matches!(event, Event::Stdout(_)) {
            execution.cancel_handle().cancel();
        }
    }
    let outcome = execution.outcome().await.expect("outcome");
    assert_eq!(outcome.termination, Termination::Cancelled);
    assert!(outcome.facts["still_running"].contains("cannot stop it"), "{:?}", outcome.facts);
    assert!(outcome.facts.contains_key("cost_unknown"));
}

#[tokio::test]
async fn an_unreachable_service_or_store_is_named_and_nothing_hangs() {
    let since = Instant::now();
    let builder = |lambda: &str, s3: &str| {
        let spec = FunctionSpec::new("sandbox", Size::gib(1), Duration::from_secs(60));
        let builder = LambdaExecutor::builder().function_spec(spec).bucket(BUCKET);
        let builder = builder.aws_config(config()).endpoint(lambda).s3_endpoint(s3).emulator();
        builder.patience(Duration::from_millis(300))
    };
    // Nobody listens; and a name that does not resolve.
    for nowhere in ["http://127.0.0.1:9", "http://no-such-host.invalid:80"] {
        let error = builder(nowhere, nowhere).build().await.expect_err("nowhere");
        assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
        assert!(!error.may_have_run() && error.is_retryable(), "{error}");
        assert!(error.to_string().contains("could not be sent"), "{error}");
    }
    let (cloud, _) = Cloud::with_runner().await;
    let executor = builder(cloud.lambda.endpoint(), "http://127.0.0.1:9");
    let executor = executor.inline_limit(Size::b(0)).build().await.expect("executor");
    let error = run(&executor, hello()).await.expect_err("no store");
    assert_eq!(error.kind(), ErrorKind::Storage, "{error}");
    assert!(!error.may_have_run(), "{error}");
    assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
}

#[tokio::test]
async fn wrong_credentials_are_refused_by_the_store_and_named() {
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    let (cloud, _) = Cloud::with_runner().await;
    let wrong = Credentials::new("AKIDTEST", "another-secret", None, None, "test");
    let wrong =
        config().into_builder().credentials_provider(SharedCredentialsProvider::new(wrong)).build();
    let builder = cloud.builder("sandbox").aws_config(wrong).inline_limit(Size::b(0));
    let executor = builder.build().await.expect("executor");
    let error = run(&executor, hello()).await.expect_err("denied");
    assert!(!error.may_have_run(), "{error}");
    // What the runner may not store is named, and nothing is listed as stored.
    let builder = cloud.builder("sandbox");
    let wrong = Credentials::new("AKIDTEST", "another-secret", None, None, "test");
    let wrong =
        config().into_builder().credentials_provider(SharedCredentialsProvider::new(wrong)).build();
    let executor = builder.aws_config(wrong).build().await.expect("executor");
    let job = Job::bash("head -c 100000 /dev/zero >large; echo small >small");
    let outcome = run(&executor, job).await.expect("outcome");
    let names: Vec<_> = outcome.artifacts.iter().map(|artifact| artifact.path()).collect();
    assert_eq!(names, ["small"]);
    assert!(outcome.skipped[0].reason.contains("SignatureDoesNotMatch"), "{:?}", outcome.skipped);
}

#[tokio::test]
async fn settings_that_cannot_work_are_named() {
    let missing = LambdaExecutor::builder().function("f").aws_config(config());
    assert_eq!(missing.build().await.expect_err("no bucket").operation(), "bucket");
    let missing = LambdaExecutor::builder().bucket("b").aws_config(config());
    assert_eq!(missing.build().await.expect_err("no function").operation(), "functions");
    let wrong = LambdaExecutor::builder().function("f").bucket("b").prefix("no-slash");
    let error = wrong.aws_config(config()).build().await.expect_err("prefix");
    assert_eq!(error.operation(), "prefix");
    let (_cloud, executor) = Cloud::with_runner().await;
    let error = run(&executor, hello().memory(Size::gib(8))).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let huge = hello().args(vec!["x".repeat(7 << 20)]);
    let error = run(&executor, huge).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidJob, "{error}");
}
