//! The spans of jobs, as a subscriber sees them.

#[path = "support/recorder.rs"]
mod recorder;

use std::time::Duration;

use recorder::{Recorder, Span, named};
use sandbox::{CodeTool, Error, ExecutorExt as _, Job, LimitConcurrency, LocalExecutor, Outcome};
use serde_json::json;
/// No place in which a caller can put a secret, and nothing that a program writes.
const SECRETS: [&str; 7] =
    ["in-code", "in-arg", "in-env", "in-stdin", "in-file", "in-output", "in-name"];

fn secretive(code: &str) -> sandbox::JobBuilder {
    Job::bash(format!("{code} # in-code"))
        .arg("in-arg")
        .env("TOKEN", "in-env")
        .stdin("in-stdin")
        .file("in-name.txt", "in-file")
        .timeout(Duration::from_secs(5))
}

fn assert_secret(spans: &[Span]) {
    let all = format!("{spans:?}");
    for secret in SECRETS {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

async fn run(job: Job) -> Result<Outcome, Error> {
    let executor = LimitConcurrency::new(LocalExecutor::new().await?, 1, Duration::from_secs(5));
    executor.run(job).await
}

#[test]
fn a_job_has_a_span_for_each_of_its_parts_and_nothing_in_them_is_secret() {
    let job = secretive("cat; echo \"$TOKEN in-output $1\"; exit 3")
        .tenant("ann")
        .label("task", "7")
        .build()
        .expect("job");
    let (outcome, spans) = Recorder::record(async {
        // The control: what is said is seen.
        let control = tracing::trace_span!("control", said = "in-control");
        tracing::trace!(parent: &control, "in-event");
        run(job).await
    });
    let seen = format!("{spans:?}");
    assert!(seen.contains("in-control") && seen.contains("in-event"), "{seen}");
    let text = outcome.expect("outcome").stdout.text();
    assert!(text.contains("in-env in-output in-arg"), "the secrets were there: {text}");
    assert_eq!(named(&spans, "sandbox.queue").parent, None);
    let job = named(&spans, "sandbox.job");
    for part in ["sandbox.start", "sandbox.run", "sandbox.collect"] {
        assert_eq!(named(&spans, part).parent.as_deref(), Some("sandbox.job"), "{part}");
    }
    for (field, value) in [
        ("otel.name", "run bash"),
        ("otel.kind", "internal"),
        ("otel.status_code", "OK"),
        ("sandbox.backend", "local"),
        ("sandbox.runtime", "bash"),
        ("sandbox.tenant", "ann"),
        ("sandbox.labels", r#"{"task": "7"}"#),
        ("sandbox.termination", "exited"),
        ("process.exit.code", "3"),
    ] {
        assert_eq!(job.fields.get(field).map(String::as_str), Some(value), "{field}: {job:?}");
    }
    assert_secret(&spans);
}

#[test]
fn a_refusal_is_an_error_in_its_span() {
    let job = secretive("true").require(sandbox::Layer::MicroVm).build().expect("job");
    let (refused, spans) = Recorder::record(run(job));
    assert!(refused.is_err());
    let job = named(&spans, "sandbox.job");
    assert_eq!(job.fields["otel.status_code"], "ERROR");
    assert_eq!(job.fields["error.type"], "refused");
    assert!(spans.iter().all(|span| span.name != "sandbox.run"), "{spans:?}");
    assert_secret(&spans);
}

#[test]
fn a_tool_call_is_a_span_around_its_job() {
    let (reply, spans) = Recorder::record(async {
        let tool = CodeTool::new(LocalExecutor::new().await.expect("executor")).expect("tool");
        let wrong = tool.call("no json in-code").await;
        assert!(wrong.is_error);
        let code = "echo in-output; exit 1 # in-code";
        tool.call(json!({ "language": "bash", "code": code })).await
    });
    assert!(reply.is_error && reply.text().contains("in-output"));
    let tools: Vec<_> = spans.iter().filter(|span| span.name == "sandbox.tool").collect();
    let kinds: Vec<_> = tools.iter().map(|span| span.fields["error.type"].as_str()).collect();
    assert_eq!(kinds, ["invalid_arguments", "exited"]);
    assert_eq!(tools[1].fields["otel.name"], "execute_tool run_code");
    assert_eq!(tools[1].fields["gen_ai.tool.name"], "run_code");
    assert_eq!(named(&spans, "sandbox.job").parent.as_deref(), Some("sandbox.tool"));
    assert_secret(&spans);
}
