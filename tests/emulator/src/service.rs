//! What of Lambda's public interface the front speaks. The tests compare all of it with the
//! service model that AWS publishes.

/// An operation.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the service model's own names")]
pub struct Operation {
    pub name: &'static str,
    pub method: &'static str,
    pub uri: &'static str,
    /// Members of the request that travel as headers.
    pub request_headers: &'static [(&'static str, &'static str)],
    /// Members of the response that travel as headers.
    pub response_headers: &'static [(&'static str, &'static str)],
}

/// The operations that the front answers.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        name: "Invoke",
        method: "POST",
        uri: "/2015-03-31/functions/{FunctionName}/invocations",
        request_headers: &[("LogType", LOG_TYPE), ("TenantId", TENANT_ID)],
        response_headers: &[
            ("FunctionError", FUNCTION_ERROR),
            ("LogResult", LOG_RESULT),
            ("ExecutedVersion", EXECUTED_VERSION),
        ],
    },
    Operation {
        name: "InvokeWithResponseStream",
        method: "POST",
        uri: "/2021-11-15/functions/{FunctionName}/response-streaming-invocations",
        request_headers: &[("LogType", LOG_TYPE), ("TenantId", TENANT_ID)],
        response_headers: &[("ExecutedVersion", EXECUTED_VERSION)],
    },
    Operation {
        name: "GetFunctionConfiguration",
        method: "GET",
        uri: "/2015-03-31/functions/{FunctionName}/configuration",
        request_headers: &[],
        response_headers: &[],
    },
];

pub(crate) const LOG_TYPE: &str = "X-Amz-Log-Type";
pub(crate) const TENANT_ID: &str = "X-Amz-Tenant-Id";
pub(crate) const FUNCTION_ERROR: &str = "X-Amz-Function-Error";
pub(crate) const LOG_RESULT: &str = "X-Amz-Log-Result";
pub(crate) const EXECUTED_VERSION: &str = "X-Amz-Executed-Version";

/// An error of the service.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the service model's own names")]
pub struct ServiceError {
    pub name: &'static str,
    pub status: u16,
    /// What the service says; tests match on parts of it.
    pub message: &'static str,
    /// Whether the service model lists it; what it does not list comes from other parts of AWS.
    pub modelled: bool,
}

const fn error(name: &'static str, status: u16, message: &'static str) -> ServiceError {
    ServiceError { name, status, message, modelled: true }
}

/// The errors that the front gives.
pub const ERRORS: &[ServiceError] = &[
    error("ResourceNotFoundException", 404, "Function not found"),
    error("TooManyRequestsException", 429, "Rate Exceeded."),
    error(
        "RequestTooLargeException",
        413,
        "Request must be smaller than 6291456 bytes for the InvokeFunction operation",
    ),
    error(
        "InvalidParameterValueException",
        400,
        "Add a valid tenant ID in your request and try again",
    ),
    error("InvalidRequestContentException", 400, "Could not parse request body into json"),
    error("ServiceException", 500, "The service encountered an internal error"),
    error(
        "KMSAccessDeniedException",
        502,
        "Lambda was unable to decrypt the environment variables because KMS access was denied",
    ),
    error("KMSDisabledException", 502, "The KMS key used is disabled"),
    error("CodeArtifactUserDeletedException", 409, "The image of the function was deleted"),
    error("InvalidZipFileException", 502, "Lambda could not unzip the deployment package"),
    error(
        "ResourceNotReadyException",
        502,
        "The function is inactive and its VPC connection is no longer available",
    ),
    error(
        "EC2ThrottledException",
        502,
        "Amazon EC2 throttled Lambda during function initialization",
    ),
    error("ENILimitReachedException", 502, "Lambda could not create an elastic network interface"),
    error("EC2AccessDeniedException", 502, "Need additional permissions to configure VPC settings"),
    ServiceError {
        name: "AccessDeniedException",
        status: 403,
        message: "User is not authorized to perform: lambda:InvokeFunction",
        modelled: false,
    },
    ServiceError {
        name: "ExpiredTokenException",
        status: 403,
        message: "The security token included in the request is expired",
        modelled: false,
    },
    ServiceError {
        name: "SnapStartException",
        status: 400,
        message: "The afterRestore hook failed",
        modelled: true,
    },
];

/// The error of that name.
pub(crate) fn service_error(name: &str) -> ServiceError {
    *ERRORS.iter().find(|error| error.name == name).unwrap_or_else(|| panic!("no error {name}"))
}
