//! What must be so, and the sentence by which people know it.

mod bucket;
mod functions;
mod network;
mod role;
mod watch;

use sandbox_core::Verdict;
use serde::Serialize;

use crate::model::{Deployment, Part};

/// A promise, and whether it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What is promised.
    pub promise: &'static str,
    /// Whether that is so; `open` where it was not promised here.
    pub verdict: Verdict,
    /// What was seen.
    pub evidence: String,
}

/// Why a rule is not satisfied.
pub(crate) enum Fault {
    /// It is not as promised.
    Broken(String),
    /// It was deployed in a way that does not promise it.
    Open(String),
    /// Nobody could see.
    Unread(String),
}

/// What a rule has to say: the evidence, or why not.
pub(crate) type Answer = Result<String, Fault>;

type Rule = (&'static str, fn(&Deployment) -> Answer);

const RULES: &[Rule] = &[
    ("functions run in microVMs", functions::microvms),
    ("a microVM serves one tenant", functions::tenants),
    ("functions are in the private subnets", functions::placed),
    ("time and concurrency are bounded", functions::bounded),
    ("nobody else starts them", functions::doors),
    ("the VPC has no way out", network::gateways),
    ("each subnet has its own routes", network::associated),
    ("no route leads out", network::routes),
    ("no address is public", network::addresses),
    ("the only endpoint is S3's", network::endpoints),
    ("the endpoint leads to one bucket", network::endpoint_policy),
    ("only HTTPS to S3 may leave", network::egress),
    ("only the bucket's name is looked up", network::names),
    ("the role has no rights in S3", role::rights),
    ("the role's credentials are no use to code", role::pinned),
    ("only Lambda has the role", role::trusted),
    ("the bucket is private", bucket::private),
    ("the bucket takes only TLS", bucket::tls),
    ("answers are written from the VPC only", bucket::written),
    ("files are encrypted and expire", bucket::kept),
    ("packets and names are logged", watch::logged),
    ("logs expire", watch::expire),
    ("errors and throttles raise alarms", watch::alarms),
    (NOTHING_ELSE, watch::nothing_else),
];

/// What only a template can promise.
const NOTHING_ELSE: &str = "nothing else is deployed";

/// How many promises a template makes.
pub const PROMISES: usize = RULES.len();

/// Judges a deployment.
pub fn check(deployment: &Deployment) -> Vec<Finding> {
    let judge = |(promise, rule): &Rule| {
        let (verdict, evidence) = match rule(deployment) {
            Ok(evidence) => (Verdict::Held, evidence),
            Err(Fault::Broken(why)) => (Verdict::Broken, why),
            Err(Fault::Open(why)) => (Verdict::Open, why),
            Err(Fault::Unread(why)) => (Verdict::Untried, why),
        };
        Finding { promise, verdict, evidence }
    };
    let asked = |(promise, _): &&Rule| *promise != NOTHING_ELSE || deployment.unknown.is_some();
    RULES.iter().filter(asked).map(judge).collect()
}

/// Fails with what is wrong, if anything is.
fn broken<T>(what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Broken(what.into()))
}

/// What could be seen.
fn seen<T>(part: &Part<T>) -> Result<&T, Fault> {
    part.as_ref().map_err(|why| Fault::Unread(why.clone()))
}

/// Those of the items for which something is wrong, with what it is.
fn faults<T>(items: &[T], wrong: impl Fn(&T) -> Option<String>) -> Result<(), Fault> {
    let all: Vec<_> = items.iter().filter_map(wrong).collect();
    if all.is_empty() { Ok(()) } else { broken(all.join("; ")) }
}
