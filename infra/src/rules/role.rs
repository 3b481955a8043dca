//! What whoever holds a function's credentials can do.

use super::{Answer, broken, faults, seen};
use crate::model::{Deployment, Function, Role};
use crate::policy::Statement;

const LOGS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];

/// What Lambda does with a role to place a function into subnets; see
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html>.
const INTERFACES: [&str; 6] = [
    "ec2:CreateNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:DeleteNetworkInterface",
    "ec2:AssignPrivateIpAddresses",
    "ec2:UnassignPrivateIpAddresses",
];

fn roles(all: &Deployment) -> Result<&Vec<Role>, super::Fault> {
    let roles = seen(&all.roles)?;
    if roles.is_empty() {
        return broken("there is no role");
    }
    for function in &all.functions {
        if !roles.iter().any(|role| role.id == function.role) {
            return broken(format!("nothing is known about {}", function.role));
        }
    }
    Ok(roles)
}

pub(super) fn rights(all: &Deployment) -> Answer {
    let roles = roles(all)?;
    faults(roles, |role| {
        if let Some(policy) = role.attached.first() {
            return Some(format!("{} has {policy} attached, which may allow anything", role.id));
        }
        let mut allows = role.policies.iter().flat_map(|policy| policy.allows());
        allows.find_map(|statement| {
            if statement.inverted || !statement.not_actions.is_empty() {
                return Some(format!("{} allows by exception", role.id));
            }
            let known = |action: &str| LOGS.contains(&action) || INTERFACES.contains(&action);
            if let Some(more) = statement.actions.iter().find(|action| !known(action)) {
                return Some(format!("{} may {more}", role.id));
            }
            // Streams are the last part of a group's ARN.
            let wide = |resource: &String| resource.trim_end_matches(":*").contains('*');
            let writes = statement.actions.iter().any(|action| LOGS.contains(&action.as_str()));
            let wide = statement.resources.iter().find(|resource| writes && wide(resource))?;
            Some(format!("{} may write logs to {wide}", role.id))
        })
    })?;
    Ok("logs and network interfaces, nothing else".into())
}

/// Whether a statement denies everything, but for what may be left to Lambda.
fn denies_all_but(statement: &Statement, left: &[&str]) -> bool {
    let everything = statement.actions == ["*"]
        || (statement.actions.is_empty()
            && !statement.not_actions.is_empty()
            && statement.not_actions.iter().all(|action| left.contains(&action.as_str())));
    // Another condition would be a way around it.
    everything
        && statement.resources == ["*"]
        && !statement.inverted
        && statement.condition_count() == 1
}

pub(super) fn pinned(all: &Deployment) -> Answer {
    let roles = roles(all)?;
    let vpc = seen(&all.vpc)?;
    let lambdas: Vec<_> = LOGS.into_iter().chain(INTERFACES).collect();
    faults(roles, |role| {
        let denies: Vec<_> = role.policies.iter().flat_map(|policy| policy.denies()).collect();
        let to_code = denies.iter().any(|statement| {
            let arns = statement.condition("ArnLike", "lambda:SourceFunctionArn");
            let arns = arns.unwrap_or_default();
            let covered = |function: &Function| {
                let prefixes = arns.iter().filter_map(|arn| arn.strip_suffix('*'));
                prefixes
                    .filter(|prefix| prefix.contains(":function:"))
                    .any(|prefix| function.arn.starts_with(prefix))
            };
            let mut own = all.functions.iter().filter(|function| function.role == role.id);
            denies_all_but(statement, &LOGS) && own.all(covered)
        });
        if !to_code {
            return Some(format!("{} denies nothing to code in a function", role.id));
        }
        let elsewhere = denies.iter().any(|statement| {
            let ids = statement.condition("StringNotEqualsIfExists", "aws:SourceVpc");
            denies_all_but(statement, &lambdas) && ids.is_some_and(|ids| ids == [vpc.as_str()])
        });
        (!elsewhere).then(|| format!("{} can be used outside the VPC", role.id))
    })?;
    Ok("all but logs is denied to code, and outside the VPC".into())
}

pub(super) fn trusted(all: &Deployment) -> Answer {
    let roles = roles(all)?;
    faults(roles, |role| {
        role.trust.allows().find_map(|statement| {
            let lambda = serde_json::json!({ "Service": "lambda.amazonaws.com" });
            let other = statement.principal != lambda;
            other.then(|| format!("{} may be assumed by {}", role.id, statement.principal))
        })
    })?;
    Ok("lambda.amazonaws.com".into())
}
