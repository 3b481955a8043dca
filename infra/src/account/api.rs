//! Signed requests to services, and what they answer as JSON.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials as _, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{AccountError, xml};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pages of an answer that are read.
const MOST_PAGES: usize = 50;

/// Asks services of one account in one region.
pub(super) struct Api {
    client: Client,
    credentials: SharedCredentialsProvider,
    pub(super) region: String,
    endpoint: Option<String>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("region", &self.region).finish_non_exhaustive()
    }
}

/// Why a service did not answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    text: String,
}

impl From<Refusal> for String {
    fn from(refusal: Refusal) -> Self {
        refusal.text
    }
}

impl Refusal {
    fn unsent(action: &str, why: impl fmt::Display) -> Self {
        Self { status: 0, code: String::new(), text: format!("{action}: {why}") }
    }
}

/// A request to a service.
struct Ask<'a> {
    service: &'a str,
    action: &'a str,
    method: Method,
    host: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Api {
    pub(super) fn new(config: &SdkConfig) -> Result<Self, AccountError> {
        let (Some(credentials), Some(region)) = (config.credentials_provider(), config.region())
        else {
            return Err(AccountError::Unconfigured);
        };
        // Fails when the application has chosen one, which is then used.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| AccountError::Client(error.to_string()))?;
        let endpoint = config.endpoint_url().map(|url| url.trim_end_matches('/').to_owned());
        Ok(Self { client, credentials, region: region.as_ref().to_owned(), endpoint })
    }

    fn domain(&self) -> &'static str {
        if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
    }

    /// The name by which functions reach a bucket.
    pub(super) fn bucket_host(&self, bucket: &str) -> String {
        format!("{bucket}.s3.{}.{}", self.region, self.domain())
    }

    /// What ARNs of this region begin with.
    pub(super) fn partition(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "aws-cn"
        } else if self.region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }

    /// Where the services are that have no region, and the region that requests to them are signed
    /// for.
    fn home(&self) -> (&'static str, &'static str) {
        match self.partition() {
            "aws-cn" => ("iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            "aws-us-gov" => ("iam.us-gov.amazonaws.com", "us-gov-west-1"),
            _ => ("iam.amazonaws.com", "us-east-1"),
        }
    }

    /// Asks a service that takes forms and answers in XML. All pages become one answer.
    pub(super) async fn query(
        &self,
        service: &str,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Value, Refusal> {
        let mut pages: Vec<Value> = Vec::new();
        let mut token: Option<(&str, String)> = None;
        for _ in 0..MOST_PAGES {
            let mut form = reqwest::Url::parse("http://form/")
                .map_err(|error| Refusal::unsent(action, error))?;
            form.query_pairs_mut()
                .append_pair("Action", action)
                .append_pair("Version", version)
                .extend_pairs(parameters)
                .extend_pairs(token.iter().map(|(name, value)| (*name, value.as_str())));
            let ask = Ask {
                service,
                action,
                method: Method::POST,
                host: match service {
                    // One for all regions.
                    "iam" => self.home().0.to_owned(),
                    _ => format!("{service}.{}.{}", self.region, self.domain()),
                },
                path: "/".into(),
                headers: vec![("content-type", "application/x-www-form-urlencoded".into())],
                body: form.query().unwrap_or_default().to_owned(),
            };
            let text = self.send(ask).await?;
            let page = xml::to_json(&text).map_err(|why| Refusal::unsent(action, why))?;
            // Services that put the result into an element of its own.
            let page = match &page[format!("{action}Result")] {
                Value::Null => page,
                result => result.clone(),
            };
            let next =
                [("NextToken", "nextToken"), ("NextToken", "NextToken"), ("Marker", "Marker")]
                    .into_iter()
                    .find_map(|(parameter, field)| {
                        Some((parameter, page[field].as_str()?.to_owned()))
                    })
                    .filter(|(_, value)| !value.is_empty());
            pages.push(page);
            match next {
                Some(next) => token = Some(next),
                None => return Ok(joined(pages)),
            }
        }
        Err(Refusal::unsent(action, format!("more than {MOST_PAGES} pages")))
    }

    /// Asks a service that takes and answers JSON. All pages become one answer.
    pub(super) async fn json(
        &self,
        service: &str,
        target: &str,
        mut body: Value,
    ) -> Result<Value, Refusal> {
        let action = target.rsplit('.').next().unwrap_or(target);
        let mut pages: Vec<Value> = Vec::new();
        for _ in 0..MOST_PAGES {
            let ask = Ask {
                service,
                action,
                method: Method::POST,
                host: format!("{service}.{}.{}", self.region, self.domain()),
                path: "/".into(),
                headers: vec![
                    ("content-type", "application/x-amz-json-1.1".into()),
                    ("x-amz-target", target.to_owned()),
                ],
                body: body.to_string(),
            };
            let text = self.send(ask).await?;
            let page: Value =
                serde_json::from_str(&text).map_err(|error| Refusal::unsent(action, error))?;
            let field =
                ["NextToken", "nextToken"].into_iter().find(|field| page[*field].is_string());
            let next = field.map(|field| (field, page[field].clone()));
            pages.push(page);
            match next {
                Some((field, token)) => body[field] = token,
                None => return Ok(joined(pages)),
            }
        }
        Err(Refusal::unsent(action, format!("more than {MOST_PAGES} pages")))
    }

    /// Reads something of Lambda's.
    pub(super) async fn lambda(&self, action: &str, path: String) -> Result<Value, Refusal> {
        let ask = Ask {
            service: "lambda",
            action,
            method: Method::GET,
            host: format!("lambda.{}.{}", self.region, self.domain()),
            path,
            headers: Vec::new(),
            body: String::new(),
        };
        let text = self.send(ask).await?;
        match text.is_empty() {
            true => Ok(json!({})),
            false => serde_json::from_str(&text).map_err(|error| Refusal::unsent(action, error)),
        }
    }

    /// Reads a setting of a bucket, as text.
    pub(super) async fn bucket(
        &self,
        action: &str,
        bucket: &str,
        setting: &str,
    ) -> Result<String, Refusal> {
        let (host, path) = match self.endpoint {
            None => (self.bucket_host(bucket), format!("/?{setting}")),
            Some(_) => (String::new(), format!("/{bucket}?{setting}")),
        };
        let ask = Ask {
            service: "s3",
            action,
            method: Method::GET,
            host,
            path,
            headers: Vec::new(),
            body: String::new(),
        };
        self.send(ask).await
    }

    async fn send(&self, ask: Ask<'_>) -> Result<String, Refusal> {
        let Ask { service, action, method, host, path, headers, body } = ask;
        let unsent = |why: String| Refusal::unsent(action, why);
        let base = self.endpoint.clone().unwrap_or_else(|| format!("https://{host}"));
        let url = format!("{base}{path}");
        // Whoever hands them out may be a service that does not answer.
        let credentials = timeout(PATIENCE, self.credentials.provide_credentials())
            .await
            .map_err(|_| unsent(format!("no credentials within {PATIENCE:?}")))?
            .map_err(|error| unsent(error.to_string()))?;
        // One for all regions lives in one.
        let region = if service == "iam" { self.home().1 } else { &self.region };
        let signed = signature(&credentials, region, service, &method, &url, &headers, &body)
            .map_err(unsent)?;
        let mut request = self.client.request(method, &url).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let response = request.send().await.map_err(|error| unsent(describe(error)))?;
        let status = response.status().as_u16();
        let kind = response.headers().get("x-amzn-errortype");
        let kind = kind.and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let text = response.text().await.map_err(|error| unsent(describe(error)))?;
        if (200..300).contains(&status) {
            Ok(text)
        } else {
            Err(refusal(action, status, kind, &text))
        }
    }
}

/// The headers that sign a request.
fn signature(
    credentials: &Credentials,
    region: &str,
    service: &str,
    method: &Method,
    url: &str,
    headers: &[(&'static str, String)],
    body: &str,
) -> Result<Vec<(String, String)>, String> {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let identity = credentials.clone().into();
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|error| error.to_string())?;
    let headers = headers.iter().map(|(name, value)| (*name, value.as_str()));
    let signable =
        SignableRequest::new(method.as_str(), url, headers, SignableBody::Bytes(body.as_bytes()))
            .map_err(|error| error.to_string())?;
    let output = sign(signable, &parameters.into()).map_err(|error| error.to_string())?;
    let (instructions, _) = output.into_parts();
    let headers = instructions.headers();
    Ok(headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn describe(error: reqwest::Error) -> String {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// What a service says about a request that it refused.
fn refusal(action: &str, status: u16, kind: Option<String>, text: &str) -> Refusal {
    let body =
        serde_json::from_str(text).ok().or_else(|| xml::to_json(text).ok()).unwrap_or(Value::Null);
    let errors =
        [&body, &body["Error"], &body["Errors"], &body["Errors"]["Error"], &body["Errors"][0]];
    let find = |names: &[&str]| {
        let mut all = errors.iter().flat_map(|value| names.iter().map(move |name| &value[*name]));
        all.find_map(|value| value.as_str().map(str::to_owned))
    };
    let code = kind.or_else(|| find(&["Code", "__type"])).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default().to_owned();
    let message = find(&["Message", "message"]).unwrap_or_default();
    let denied = status == 403 || code.contains("AccessDenied") || code.contains("Unauthorized");
    let remedy = if denied { "; attach ReadOnlyAccess, or allow this action" } else { "" };
    let text = format!("{action}: {status} {code} {message}{remedy}");
    Refusal { status, code, text }
}

/// Pages with their lists put together.
fn joined(pages: Vec<Value>) -> Value {
    let mut pages = pages.into_iter();
    let mut whole = pages.next().unwrap_or_default();
    for page in pages {
        for (name, value) in page.as_object().into_iter().flatten() {
            match (&mut whole[name], value) {
                (Value::Array(all), Value::Array(more)) => all.extend(more.iter().cloned()),
                // An empty list is an empty text in XML: it takes nothing away.
                (Value::Array(_), _) => {}
                (slot, value) => *slot = value.clone(),
            }
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_takes_away_what_another_had() {
        let pages = |pages: &[Value]| joined(pages.to_vec());
        let (one, none) = (json!({ "set": ["nat-1"] }), json!({ "set": "" }));
        assert_eq!(pages(&[one.clone(), none.clone()])["set"], json!(["nat-1"]));
        assert_eq!(pages(&[none, one.clone()])["set"], json!(["nat-1"]));
        assert_eq!(pages(&[one.clone(), one])["set"], json!(["nat-1", "nat-1"]));
    }
}
