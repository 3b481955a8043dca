//! Spans of calls to AWS, with the names of OpenTelemetry's conventions for its SDK.

use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_lambda::operation::RequestId;
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

/// A call to Lambda, which is about a function.
pub(crate) fn lambda(method: &'static str, region: &str, function: &str) -> Span {
    let span = span("Lambda", method);
    span.record("cloud.region", region);
    span.record("faas.invoked_region", region);
    span.record("faas.invoked_provider", "aws");
    span.record("faas.invoked_name", function);
    span
}

/// A call to S3, which is about an object.
pub(crate) fn s3(method: &'static str, bucket: &str, key: &str) -> Span {
    let span = span("S3", method);
    span.record("aws.s3.bucket", bucket);
    span.record("aws.s3.key", key);
    span
}

fn span(service: &'static str, method: &'static str) -> Span {
    info_span!(
        "aws.call",
        otel.name = format!("{service}.{method}"),
        otel.kind = "client",
        otel.status_code = Empty,
        "error.type" = Empty,
        rpc.system = "aws-api",
        rpc.service = service,
        rpc.method = method,
        cloud.region = Empty,
        aws.request_id = Empty,
        aws.s3.bucket = Empty,
        aws.s3.key = Empty,
        faas.invoked_name = Empty,
        faas.invoked_provider = Empty,
        faas.invoked_region = Empty,
    )
}

/// Makes a call in its span, and notes what came of it.
pub(crate) async fn call<T, E, R>(
    span: Span,
    call: impl Future<Output = Result<T, SdkError<E, R>>>,
) -> Result<T, SdkError<E, R>>
where
    T: RequestId,
    E: ProvideErrorMetadata,
    SdkError<E, R>: RequestId,
{
    let result = call.instrument(span.clone()).await;
    if let Some(id) = result.request_id() {
        span.record("aws.request_id", id);
    }
    if let Err(error) = &result {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        span.record("otel.status_code", "ERROR");
        span.record("error.type", code.unwrap_or(kind(error)));
    }
    result
}

fn kind<E, R>(error: &SdkError<E, R>) -> &'static str {
    match error {
        SdkError::ConstructionFailure(_) => "construction",
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(_) => "dispatch",
        SdkError::ResponseError(_) => "response",
        _ => "_OTHER",
    }
}
