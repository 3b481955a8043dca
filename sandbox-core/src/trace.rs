//! Spans of jobs, for whoever subscribes with `tracing`.
//!
//! Every backend makes the same ones: `sandbox.job`, and in it `sandbox.start`, `sandbox.run` and
//! `sandbox.collect`; waiting for a turn is `sandbox.queue`, before the job. The fields have
//! [OpenTelemetry's names](https://opentelemetry.io/docs/specs/semconv/) where it has one, and
//! those that begin with `otel.` are what `tracing-opentelemetry` takes as a span's name, kind and
//! status.
//!
//! A job's labels and its tenant are in its span. Its program, arguments, variables, files and
//! output are in none, nor is its idempotency key but as a part of a digest, in the name of an object.

use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::{Error, JobSpec, Outcome, Program, Result, Termination};

/// The span of a job, from admission to outcome.
pub fn job(backend: &str, job: &JobSpec) -> Span {
    let runtime = match &job.program {
        Program::Source { runtime, .. } => runtime.as_str(),
        Program::Command(_) => "command",
    };
    let span = info_span!(
        "sandbox.job",
        otel.name = Empty,
        otel.kind = "internal",
        otel.status_code = Empty,
        "error.type" = Empty,
        process.exit.code = Empty,
        sandbox.backend = backend,
        sandbox.runtime = runtime,
        sandbox.tenant = job.tenant.as_deref(),
        sandbox.labels = Empty,
        sandbox.termination = Empty,
        sandbox.cost.usd = Empty,
        faas.invocation_id = Empty,
    );
    if !span.is_disabled() {
        span.record("otel.name", format!("run {runtime}"));
        if !job.labels.is_empty() {
            span.record("sandbox.labels", tracing::field::debug(&job.labels));
        }
    }
    span
}

/// Waiting for a turn.
pub fn queue() -> Span {
    info_span!("sandbox.queue", otel.kind = "internal")
}

/// From admission to the execution of the program.
pub fn start() -> Span {
    info_span!("sandbox.start", otel.kind = "internal")
}

/// From there to the program's end.
pub fn run() -> Span {
    info_span!("sandbox.run", otel.kind = "internal")
}

/// From there to the outcome.
pub fn collect() -> Span {
    info_span!("sandbox.collect", otel.kind = "internal")
}

/// Notes in the span of a job how it ended. A program that fails is no error of the sandbox's, and
/// none in the span.
pub fn ended(span: &Span, result: &Result<Outcome>) {
    let outcome = match result {
        Ok(outcome) => outcome,
        Err(error) => return failed(span, error),
    };
    span.record("otel.status_code", "OK");
    span.record("sandbox.termination", outcome.termination.reason());
    if let Termination::Exited(code) = outcome.termination {
        span.record("process.exit.code", code);
    }
    if let Some(cost) = &outcome.cost {
        span.record("sandbox.cost.usd", cost.usd);
    }
    if let Some(id) = outcome.facts.get("request_id") {
        span.record("faas.invocation_id", id.as_str());
    }
}

/// Notes in the span of a job that it has no outcome.
pub fn failed(span: &Span, error: &Error) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error.kind().name());
}
