//! The spans of jobs in Lambda, and of the calls to AWS that they need.

#[path = "../../tests/support/recorder.rs"]
mod recorder;
mod support;

use recorder::{Recorder, named};
use sandbox_core::{ExecutorExt as _, Job};
use support::Cloud;

#[test]
fn each_call_to_aws_is_a_span_in_its_part_of_the_job_and_nothing_in_them_is_secret() {
    let large = "in-file".repeat(1 << 20);
    let (outcome, spans) = Recorder::record(async {
        let (_cloud, executor) = Cloud::with_runner().await;
        let code = "cat; echo \"$TOKEN in-output $1\"; cp large copy # in-code";
        let job = Job::bash(code).arg("in-arg").env("TOKEN", "in-env").stdin("in-stdin");
        let outcome = executor.run(job.file("large", large).build().expect("job")).await;
        let outcome = outcome.expect("outcome");
        outcome.artifact("copy").expect("copy").bytes().await.expect("bytes");
        outcome
    });
    assert!(outcome.stdout.text().contains("in-env in-output in-arg"), "{outcome:?}");

    let job = named(&spans, "sandbox.job");
    assert_eq!(job.fields["otel.name"], "run bash");
    assert_eq!(job.fields["sandbox.backend"], "lambda");
    assert_eq!(job.fields["faas.invocation_id"], outcome.facts["request_id"]);
    assert!(job.fields.contains_key("sandbox.cost.usd"), "{job:?}");
    let calls: Vec<_> = spans.iter().filter(|span| span.name == "aws.call").collect();
    let call = |name: &str| {
        let found = calls.iter().find(|call| call.fields["otel.name"] == name);
        *found.unwrap_or_else(|| panic!("no {name} in {calls:#?}"))
    };
    for (name, parent) in [
        ("S3.HeadObject", Some("sandbox.start")),
        ("S3.PutObject", Some("sandbox.start")),
        ("Lambda.InvokeWithResponseStream", Some("sandbox.start")),
        // After the job, by whoever reads the file.
        ("S3.GetObject", None),
    ] {
        let call = call(name);
        assert_eq!(call.parent.as_deref(), parent, "{call:?}");
        assert_eq!(call.fields["otel.kind"], "client");
        assert_eq!(call.fields["rpc.system"], "aws-api");
        assert_eq!(format!("{}.{}", call.fields["rpc.service"], call.fields["rpc.method"]), name);
    }
    let invoke = call("Lambda.InvokeWithResponseStream");
    assert_eq!(invoke.fields["aws.request_id"], outcome.facts["request_id"]);
    assert_eq!(invoke.fields["faas.invoked_provider"], "aws");
    assert_eq!(call("S3.PutObject").fields["aws.s3.bucket"], sandbox_emulator::BUCKET);
    // An input that is not there yet is looked for in vain.
    assert_eq!(call("S3.HeadObject").fields["otel.status_code"], "ERROR");

    let ours = |name: &str| name.starts_with("sandbox.") || name == "aws.call";
    let ours: Vec<_> = spans.iter().filter(|span| ours(&span.name)).collect();
    let all = format!("{ours:?}");
    for secret in ["in-code", "in-arg", "in-env", "in-stdin", "in-file", "in-output", "X-Amz"] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[test]
fn a_call_that_fails_says_with_what() {
    let ((), spans) = Recorder::record(async {
        let (cloud, executor) = Cloud::with_runner().await;
        cloud.lambda.fail_next(sandbox_emulator::Fault::Service("AccessDeniedException"));
        executor.run(Job::bash("true").build().expect("job")).await.expect_err("denied");
    });
    let failed = spans.iter().find(|span| {
        span.fields.get("error.type").is_some_and(|kind| kind == "AccessDeniedException")
    });
    assert_eq!(failed.map(|span| span.name.as_str()), Some("aws.call"), "{spans:?}");
    assert_eq!(named(&spans, "sandbox.job").fields["error.type"], "access_denied");
}
