//! The bucket: inputs by content, answers and artifacts by job, results by key.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use sandbox_core::{Error, ErrorKind, Result};

use crate::service::causes;

/// One bucket and a prefix in it.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) client: Client,
    pub(crate) bucket: String,
    /// Ends with a slash, or is empty.
    pub(crate) prefix: String,
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

    fn failed<E, R>(&self, operation: &'static str, key: &str, error: SdkError<E, R>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        let kind = match code {
            Some("AccessDenied" | "InvalidAccessKeyId" | "SignatureDoesNotMatch") => {
                ErrorKind::AccessDenied
            }
            Some("NoSuchBucket") => ErrorKind::NotFound,
            _ => ErrorKind::Storage,
        };
        let message = format!("s3://{}/{key}: {}", self.bucket, causes(&error));
        Error::new(kind, operation, message)
            .with_retryable(kind == ErrorKind::Storage)
            .with_source(error)
    }

    /// Whether an object of that size is there.
    pub(crate) async fn has(&self, key: &str, size: u64) -> Result<bool> {
        let head = self.client.head_object().bucket(&self.bucket).key(key).send().await;
        match head {
            Ok(found) => {
                Ok(found.content_length().and_then(|n| u64::try_from(n).ok()) == Some(size))
            }
            Err(error) if error.as_service_error().is_some_and(|error| error.is_not_found()) => {
                Ok(false)
            }
            Err(error) => Err(self.failed("look for input", key, error)),
        }
    }

    /// Writes an object.
    pub(crate) async fn put(&self, key: &str, body: ByteStream) -> Result<()> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body);
        let sent = put.send().await;
        sent.map(|_| ()).map_err(|error| self.failed("stage input", key, error))
    }

    /// Writes an object from a file.
    pub(crate) async fn put_file(&self, key: &str, path: &Path) -> Result<()> {
        let body = ByteStream::from_path(path).await.map_err(|error| {
            let message = format!("cannot read {}: {error}", path.display());
            Error::new(ErrorKind::Input, "stage input", message).with_source(error)
        })?;
        self.put(key, body).await
    }

    /// Writes an object unless one is there.
    pub(crate) async fn put_first(&self, key: &str, body: Bytes) -> Result<Written> {
        let put = self.client.put_object().bucket(&self.bucket).key(key).if_none_match("*");
        match put.body(ByteStream::from(body)).send().await {
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
        let get = self.client.get_object().bucket(&self.bucket).key(key).send().await;
        let found = match get {
            Ok(found) => found,
            Err(error) if error.as_service_error().is_some_and(|e| e.is_no_such_key()) => {
                return Ok(None);
            }
            Err(error) => return Err(self.failed("read object", key, error)),
        };
        let mut body = found.body;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.next().await {
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

    /// The sizes of all objects whose key begins with `prefix`, by the rest of the key.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        let mut pages = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(prefix)
            .into_paginator()
            .send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| self.failed("list artifacts", prefix, error))?;
            for object in page.contents() {
                let rest = object.key().and_then(|key| key.strip_prefix(prefix));
                let size = object.size().and_then(|size| u64::try_from(size).ok());
                found.extend(rest.map(str::to_owned).zip(size));
            }
        }
        Ok(found)
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
