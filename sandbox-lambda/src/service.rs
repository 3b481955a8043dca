//! What the service's own errors mean for a job.

use std::error::Error as StdError;

use aws_sdk_lambda::error::{ProvideErrorMetadata, SdkError};
use sandbox_core::{Error, ErrorKind};

/// The kind of a service's error, and whether the program may have run.
fn classify(code: &str, message: &str) -> (ErrorKind, bool) {
    use ErrorKind::{AccessDenied, Backend, InvalidJob, Lost, Misconfigured, NotFound, Throttled};
    match code {
        "ResourceNotFoundException" => (NotFound, false),
        "AccessDeniedException"
        | "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException" => (AccessDenied, false),
        // Capacity, and things that are on their way.
        "TooManyRequestsException"
        | "EC2ThrottledException"
        | "ENILimitReachedException"
        | "ENINotReadyException"
        | "SubnetIPAddressLimitReachedException"
        | "ServiceQuotaExceededException"
        | "ResourceConflictException"
        | "ResourceNotReadyException"
        | "CodeArtifactUserPendingException"
        | "SnapStartNotReadyException" => (Throttled, false),
        "InvalidParameterValueException" if message.to_lowercase().contains("tenan") => {
            (Misconfigured, false)
        }
        "RequestTooLargeException" | "SerializedRequestEntityTooLargeException" => {
            (InvalidJob, false)
        }
        "InvalidParameterValueException"
        | "InvalidRequestContentException"
        | "UnsupportedMediaTypeException" => (Backend, false),
        // The service tried, and does not say how far it came.
        "ServiceException" | "InternalFailure" | "InternalServerError" | "ServiceUnavailable" => {
            (Lost, true)
        }
        _ if code.starts_with("KMS")
            || code.starts_with("EC2")
            || code.starts_with("EFS")
            || code.starts_with("S3Files")
            || code.starts_with("SnapStart")
            || code.starts_with("CodeArtifact")
            || code.starts_with("Invalid")
            || code == "NoPublishedVersionException" =>
        {
            (Misconfigured, false)
        }
        _ => (Backend, true),
    }
}

fn remedy(kind: ErrorKind, code: &str) -> &'static str {
    match (kind, code) {
        (ErrorKind::NotFound, _) => "; check name, region and version",
        (ErrorKind::AccessDenied, "ExpiredTokenException") => "; renew the credentials",
        (ErrorKind::AccessDenied, _) => {
            "; allow the caller lambda:InvokeFunction (which covers streaming) on it"
        }
        (ErrorKind::Misconfigured, "InvalidParameterValueException") => {
            "; make the executor's tenancy that of the function"
        }
        (ErrorKind::Misconfigured, _) => "; repair the function's configuration",
        (ErrorKind::Throttled, _) => "; try later, or raise the function's concurrency",
        _ => "",
    }
}

/// Whether the request cannot have reached the service.
fn not_sent<E, R>(error: &SdkError<E, R>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::DispatchFailure(failure) => {
            if failure.is_user() {
                return true;
            }
            let mut cause =
                failure.as_connector_error().map(|error| error as &(dyn StdError + 'static));
            while let Some(error) = cause {
                let connect = error
                    .downcast_ref::<hyper_util::client::legacy::Error>()
                    .is_some_and(hyper_util::client::legacy::Error::is_connect);
                if connect || error.is::<aws_credential_types::provider::error::CredentialsError>()
                {
                    return true;
                }
                cause = error.source();
            }
            false
        }
        _ => false,
    }
}

/// The error of an operation on `name`.
pub(crate) fn describe<E, R>(operation: &'static str, name: &str, error: SdkError<E, R>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).map(str::to_owned);
    let Some(code) = code else {
        let sent = !not_sent(&error);
        let causes = causes(&error);
        let credentials = causes.contains("credential");
        let kind = if credentials && !sent { ErrorKind::AccessDenied } else { ErrorKind::Lost };
        let what = if sent { "the answer did not come" } else { "the request could not be sent" };
        let mut described = Error::new(kind, operation, format!("{name}: {what}: {causes}"))
            .with_retryable(!sent && !credentials);
        if sent {
            described = described.with_may_have_run();
        }
        return described.with_source(error);
    };
    let text = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or("");
    let (kind, may_have_run) = classify(&code, text);
    let message = format!("{name}: {code}: {text}{}", remedy(kind, &code));
    let described = Error::new(kind, operation, message);
    let described = if may_have_run { described.with_may_have_run() } else { described };
    described.with_source(error)
}

/// The messages of an error's causes, which say more than its own.
pub(crate) fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        next = error.source();
    }
    texts.join(": ")
}
