//! The functions' roles.

use serde_json::Value;

use super::api::Api;
use super::xml::list;
use crate::model::{Function, Part, Role};
use crate::policy::Policy;

pub(super) async fn read(api: &Api, functions: &[Function]) -> Part<Vec<Role>> {
    let mut ids: Vec<_> = functions.iter().map(|function| function.role.clone()).collect();
    ids.sort();
    ids.dedup();
    let mut roles = Vec::new();
    for id in ids {
        let name = id.rsplit('/').next().unwrap_or_default().to_owned();
        let ask = |action: &'static str, more: Option<(&'static str, String)>| {
            let name = name.clone();
            async move {
                let mut parameters = vec![("RoleName", name.as_str())];
                parameters.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
                api.query("iam", "2010-05-08", action, &parameters).await
            }
        };
        let role = ask("GetRole", None).await?;
        let mut policies = Vec::new();
        for policy in list(&ask("ListRolePolicies", None).await?["PolicyNames"]) {
            let policy = policy.as_str().unwrap_or_default().to_owned();
            let found = ask("GetRolePolicy", Some(("PolicyName", policy))).await?;
            policies.push(document(&found["PolicyDocument"])?);
        }
        let attached = ask("ListAttachedRolePolicies", None).await?;
        let attached = list(&attached["AttachedPolicies"]).into_iter();
        roles.push(Role {
            trust: document(&role["Role"]["AssumeRolePolicyDocument"])?,
            policies,
            attached: attached
                .map(|policy| policy["PolicyArn"].as_str().unwrap_or_default().to_owned())
                .collect(),
            id,
        });
    }
    Ok(roles)
}

/// IAM writes documents in the way of URLs.
fn document(value: &Value) -> Part<Policy> {
    let text = value.as_str().unwrap_or_default();
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(text).collect();
    let document = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    Policy::parse(&document)
}
