//! The form by which a runner uploads without credentials: one prefix, a size, some minutes.
//!
//! See <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sandbox_core::remote::Upload;
use sandbox_core::{Error, ErrorKind, Result};
use serde_json::json;

/// What a form allows.
#[derive(Debug)]
pub(crate) struct Form<'a> {
    pub(crate) url: &'a str,
    pub(crate) bucket: &'a str,
    pub(crate) prefix: String,
    pub(crate) object_limit: u64,
    pub(crate) life: Duration,
    pub(crate) region: &'a str,
}

impl Form<'_> {
    /// Signs the form.
    pub(crate) fn sign(self, credentials: &Credentials, now: SystemTime) -> Result<Upload> {
        let stamp = |time: SystemTime| {
            // Whole seconds: the fraction would be part of the text.
            let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let time = DateTime::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            time.fmt(Format::DateTime)
                .map_err(|error| Error::new(ErrorKind::Backend, "sign upload", error.to_string()))
        };
        let date = stamp(now)?.replace(['-', ':'], "");
        let day = date.get(..8).unwrap_or_default();
        let scope =
            format!("{}/{day}/{}/s3/aws4_request", credentials.access_key_id(), self.region);
        let mut fields = BTreeMap::from([
            ("x-amz-algorithm".to_owned(), "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential".to_owned(), scope),
            ("x-amz-date".to_owned(), date),
        ]);
        if let Some(token) = credentials.session_token() {
            fields.insert("x-amz-security-token".to_owned(), token.to_owned());
        }
        let mut conditions = vec![
            json!({ "bucket": self.bucket }),
            json!(["starts-with", "$key", self.prefix]),
            json!(["content-length-range", 0, self.object_limit]),
        ];
        conditions.extend(fields.iter().map(|(name, value)| json!({ name: value })));
        let policy = json!({ "expiration": stamp(now + self.life)?, "conditions": conditions });
        let policy = STANDARD.encode(policy.to_string());
        let key = generate_signing_key(credentials.secret_access_key(), now, self.region, "s3");
        let signature = calculate_signature(key, policy.as_bytes());
        fields.insert("policy".to_owned(), policy);
        fields.insert("x-amz-signature".to_owned(), signature);
        let (url, prefix) = (self.url.to_owned(), self.prefix);
        Ok(Upload { url, fields, prefix, object_limit: self.object_limit })
    }
}
