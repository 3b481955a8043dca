//! What is around a sandbox.

use serde::Serialize;

/// What is around a deployed sandbox, for attacks that leave the machine; see
/// [`ExecutorExt::verify_with`](crate::ExecutorExt::verify_with).
///
/// Nothing is tried that is not named here. [`Surroundings::aws`] names what there is in AWS.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Surroundings {
    /// Services on the internet, as `host:port`, to connect to. Nothing is sent.
    pub addresses: Vec<String>,
    /// Names to look up, which exist.
    pub names: Vec<String>,
    /// Objects of strangers, at URLs that need no credentials: public, or presigned.
    pub urls: Vec<String>,
    /// Hosts that are let through, to which requests for those objects are sent too.
    pub hosts: Vec<String>,
    /// Where Lambda's Runtime API may be, as `host:port`.
    pub runtime_apis: Vec<String>,
}

impl Surroundings {
    /// What there is around a function in that region whose bucket has that host name: public name
    /// servers, names of AWS's and others', an object that AWS gives to everybody, the Runtime API.
    pub fn aws(region: &str, bucket_host: &str) -> Self {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        // The packages of Amazon Linux 2023; in each region a bucket of its own, as the S3 page of
        // <https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-s3.html> names it.
        let packages = format!("al2023-repos-{region}-de612dc2.s3.{region}.amazonaws.com");
        Self {
            addresses: list(&[
                "1.1.1.1:443",
                "8.8.8.8:53",
                "9.9.9.9:443",
                "[2606:4700:4700::1111]:443",
            ]),
            names: list(&["example.com", "aws.amazon.com", "dns.google", "one.one.one.one"]),
            urls: vec![format!("https://{packages}/core/mirrors/latest/x86_64/mirror.list")],
            hosts: list(&[bucket_host]),
            runtime_apis: list(&["127.0.0.1:9001", "169.254.100.1:9001"]),
        }
    }
}
