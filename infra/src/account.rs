//! What an account says about a deployment.
//!
//! The services that describe networks are read with plain signed requests: the SDK's own client
//! for EC2 alone takes minutes and gigabytes to compile, for a dozen questions.

mod api;
mod functions;
mod network;
mod role;
mod storage;
mod xml;

use aws_config::{BehaviorVersion, SdkConfig};

use crate::model::{Deployment, Part};
use api::Api;

/// Why an account cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccountError {
    /// The configuration names no credentials or no region.
    #[error("there are no credentials or no region; set AWS_REGION and sign in")]
    Unconfigured,
    /// No requests can be made.
    #[error("cannot make an HTTP client: {0}")]
    Client(String),
    /// Without a function there is nothing to look at.
    #[error("cannot read the function: {0}")]
    Function(String),
}

/// An account, read with the credentials of a configuration.
#[derive(Debug)]
pub struct Account {
    api: Api,
}

impl Account {
    /// The account and region of a configuration. An `endpoint_url` of it is where every service
    /// is then asked.
    ///
    /// # Errors
    ///
    /// A configuration without credentials or region.
    pub fn new(config: &SdkConfig) -> Result<Self, AccountError> {
        Ok(Self { api: Api::new(config)? })
    }

    /// The account and region that the environment names.
    ///
    /// # Errors
    ///
    /// As for [`new`](Self::new).
    pub async fn from_env() -> Result<Self, AccountError> {
        Self::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
    }

    /// What there is around these functions and this bucket. Whatever the credentials may not see
    /// is a part that says so.
    ///
    /// # Errors
    ///
    /// The functions themselves cannot be read.
    pub async fn read(
        &self,
        functions: &[String],
        bucket: &str,
    ) -> Result<Deployment, AccountError> {
        let api = &self.api;
        let mut found = Vec::new();
        for name in functions {
            found.push(functions::read(api, name).await.map_err(AccountError::Function)?);
        }
        let vpc = one_vpc(&found);
        let found: Vec<_> = found.into_iter().map(|(function, _)| function).collect();
        let mut groups: Vec<_> = found.iter().flat_map(|f| f.security_groups.clone()).collect();
        groups.sort();
        groups.dedup();
        let used: Vec<_> = found.iter().flat_map(|f| f.subnets.clone()).collect();
        let tables = network::route_tables(api, &vpc).await;
        let account = found.first().and_then(|function| function.arn.split(':').nth(4));
        let account = account.map(str::to_owned).filter(|id| !id.is_empty());
        Ok(Deployment {
            account: account.ok_or_else(|| "the functions have no ARN".to_owned()),
            // Everything below was asked for by VPC.
            elsewhere: Vec::new(),
            subnets: network::subnets(api, &vpc, &used, &tables).await,
            route_tables: network::associated(&tables),
            gateways: network::gateways(api, &vpc).await,
            endpoints: network::endpoints(api, &vpc).await,
            security_groups: network::security_groups(api, &groups).await,
            s3_addresses: network::s3_addresses(api).await,
            dns: network::dns(api, &vpc).await,
            roles: role::read(api, &found).await,
            bucket: storage::bucket(api, bucket).await,
            doors: functions::doors(api, &found).await,
            watch: storage::watch(api, &vpc, &found).await,
            functions: found,
            vpc,
            unknown: None,
        })
    }
}

/// The VPC of all functions.
fn one_vpc(functions: &[(crate::model::Function, Option<String>)]) -> Part<String> {
    let mut vpcs: Vec<_> = functions.iter().map(|(_, vpc)| vpc.as_deref()).collect();
    vpcs.dedup();
    match vpcs[..] {
        [Some(vpc)] => Ok(vpc.to_owned()),
        [None] => Err("the functions are in no VPC".into()),
        _ => Err("the functions are not all in one VPC".into()),
    }
}
