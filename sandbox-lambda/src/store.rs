//! The bucket: inputs by content, answers and artifacts by job, results by key.

use std::error::Error as StdError;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sandbox_core::{Content, Error, ErrorKind, Result};
use tokio::time::timeout;
use tracing::Span;

use crate::service::causes;
use crate::trace;

/// One bucket and a prefix in it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// Ends with a slash, or is empty.
    pub(crate) prefix: String,
}

/// Longest wait for an answer, or for the next piece of one.
const QUICK: Duration = Duration::from_secs(20);
/// Bytes of an upload in a second that are always waited for.
const SLOWEST: u64 = 128 << 10;

/// What is staged.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) key: &'a str,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; 32],
    pub(crate) content: &'a Content,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    First,
    /// The object was there before.
    Taken,
}

impl Store {
    /// The key of an input with that digest.
    pub(crate) fn input_key(&self, sha256: &str) -> String {
        format!("{}inputs/{sha256}", self.prefix)
    }

    /// What every key of a job's answer and artifacts begins with.
    pub(crate) fn job_prefix(&self, id: &str) -> String {
        format!("{}jobs/{id}/", self.prefix)
    }

    /// The key of the result that belongs to an idempotency key's digest.
    pub(crate) fn result_key(&self, digest: &str) -> String {
        format!("{}results/{digest}", self.prefix)
    }

    fn span(&self, method: &'static str, key: &str) -> Span {
        trace::s3(method, &self.bucket, key)
    }

    fn failed<E>(&self, operation: &'static str, key: &str, error: SdkError<E>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        // A HEAD has no body to say why.
        let status = error.raw_response().map(|response| response.status().as_u16());
        let kind = match (code, status) {
            (Some("NoSuchBucket"), _) => ErrorKind::NotFound,
            (
                Some(
                    "AccessDenied"
                    | "ExpiredToken"
                    | "InvalidAccessKeyId"
                    | "SignatureDoesNotMatch",
                ),
                _,
            )
            | (_, Some(403)) => ErrorKind::AccessDenied,
            _ => ErrorKind::Storage,
        };
        let remedy = match kind {
            ErrorKind::AccessDenied => {
                "; allow the caller s3:GetObject, s3:PutObject and s3:ListBucket beneath the prefix"
            }
            _ => "",
        };
        let message = format!("s3://{}/{key}: {}{remedy}", self.bucket, causes(&error));
        Error::new(kind, operation, message)
            .with_retryable(kind == ErrorKind::Storage)
            .with_source(error)
    }

    /// Whether an object of that size is there.
    pub(crate) async fn has(&self, key: &str, size: u64) -> Result<bool> {
        let head = self.client.head_object().bucket(&self.bucket).key(key).send();
        let head = trace::call(self.span("HeadObject", key), head);
        match self.in_time("look for object", key, head).await? {
            Ok(found) => {
                Ok(found.content_length().and_then(|n| u64::try_from(n).ok()) == Some(size))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                Ok(false)
            }
            Err(error) => Err(self.failed("look for object", key, error)),
        }
    }

    /// Waits for something small.
    async fn in_time<T>(
        &self,
        operation: &'static str,
        key: &str,
        work: impl Future<Output = T>,
    ) -> Result<T> {
        timeout(QUICK, work).await.map_err(|_| {
            let message = format!("s3://{}/{key}: no answer within {QUICK:?}", self.bucket);
            Error::new(ErrorKind::Storage, operation, message).with_retryable(true)
        })
    }

    /// Writes an input of that size; the store compares it with the digest.
    pub(crate) async fn put_input(&self, item: Input<'_>) -> Result<()> {
        let Input { key, size, sha256, content } = item;
        let body = match content {
            Content::Bytes(bytes) => ByteStream::from(bytes.clone()),
            Content::Path(path) => ByteStream::from_path(path).await.map_err(|error| {
                let message = format!("cannot read {}: {error}", path.display());
                Error::new(ErrorKind::Input, "stage input", message).with_source(error)
            })?,
        };
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body);
        let put = put.checksum_sha256(STANDARD.encode(sha256)).send();
        let put = trace::call(self.span("PutObject", key), put);
        // A slow line is no failure, one that has stopped is.
        let most = QUICK + Duration::from_secs(size / SLOWEST);
        let sent = timeout(most, put).await.map_err(|_| {
            let message = format!("s3://{}/{key}: {size} bytes took over {most:?}", self.bucket);
            Error::new(ErrorKind::Storage, "stage input", message).with_retryable(true)
        })?;
        sent.map(|_| ()).map_err(|error| self.failed("stage input", key, error))
    }

    /// Writes an object unless one is there.
    pub(crate) async fn put_first(&self, key: &str, body: Bytes) -> Result<Written> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).if_none_match("*");
        let put = put.body(ByteStream::from(body)).send();
        let put = trace::call(self.span("PutObject", key), put);
        match self.in_time("store result", key, put).await? {
            Ok(_) => Ok(Written::First),
            Err(error) => {
                let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
                match code {
                    Some("PreconditionFailed" | "ConditionalRequestConflict") => Ok(Written::Taken),
                    _ => Err(self.failed("store result", key, error)),
                }
            }
        }
    }

    /// Reads an object of at most `most` bytes; `None` when there is none.
    pub(crate) async fn get(&self, key: &str, most: u64) -> Result<Option<Bytes>> {
        let get = self.client.get_object().bucket(&self.bucket).key(key).send();
        let get = trace::call(self.span("GetObject", key), get);
        let found = match self.in_time("read object", key, get).await? {
            Ok(found) => found,
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => {
                return Ok(None);
            }
            Err(error) => return Err(self.failed("read object", key, error)),
        };
        let mut body = found.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = self.in_time("read object", key, body.next()).await? {
            let chunk = chunk.map_err(|error| {
                let message = format!("s3://{}/{key}: {error}", self.bucket);
                Error::new(ErrorKind::Storage, "read object", message).with_retryable(true)
            })?;
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > most {
                let message = format!("s3://{}/{key} has more than {most} bytes", self.bucket);
                return Err(Error::new(ErrorKind::Untrusted, "read object", message));
            }
        }
        Ok(Some(bytes.into()))
    }

    /// The URL to which forms are posted, as the client itself reaches the bucket.
    pub(crate) async fn form_url(&self) -> Result<String> {
        let url = self.presign("form", Duration::from_secs(60)).await?;
        let base = url.split_once("/form?").map(|(base, _)| format!("{base}/"));
        base.ok_or_else(|| {
            Error::new(ErrorKind::Storage, "sign upload", "the bucket's URL has another form")
        })
    }

    /// An URL that reads an object without credentials, for so long.
    pub(crate) async fn presign(&self, key: &str, life: Duration) -> Result<String> {
        let failed = |why: String| Error::new(ErrorKind::Storage, "sign input", why);
        let config = PresigningConfig::expires_in(life).map_err(|e| failed(e.to_string()))?;
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        let signed = get.presigned(config).await;
        Ok(signed.map_err(|error| failed(causes(&error)))?.uri().to_owned())
    }
}
