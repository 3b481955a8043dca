//! The bucket.

use super::{Answer, broken, seen};
use crate::model::Deployment;
use crate::policy::{Policy, Statement};

pub(super) fn private(all: &Deployment) -> Answer {
    if !*seen(&all.bucket.private)? {
        return broken("public access is not blocked in all four ways");
    }
    let policy = seen(&all.bucket.policy)?;
    if let Some(open) = policy.allows().next() {
        return broken(format!(
            "its policy allows {} to {}",
            open.actions.join(", "),
            open.principal
        ));
    }
    Ok("public access is blocked in all four ways".into())
}

/// A statement that denies to everybody, under that one condition.
fn denial<'a>(
    policy: &'a Policy,
    operator: &str,
    key: &str,
    value: impl Fn(&str) -> bool,
) -> Option<&'a Statement> {
    policy.denies().find(|statement| {
        let values = statement.condition(operator, key);
        statement.concerns_everybody()
            && statement.condition_count() == 1
            && values.is_some_and(|values| values.len() == 1 && value(&values[0]))
    })
}

pub(super) fn tls(all: &Deployment) -> Answer {
    let policy = seen(&all.bucket.policy)?;
    let Some(statement) = denial(policy, "Bool", "aws:SecureTransport", |v| v == "false") else {
        return broken("its policy does not deny what comes without TLS");
    };
    let objects = format!("{}/*", all.bucket.arn);
    match statement.actions == ["s3:*"] && statement.resources.contains(&objects) {
        true => Ok("all else is denied".into()),
        false => broken(format!("only {} is denied", statement.actions.join(", "))),
    }
}

pub(super) fn written(all: &Deployment) -> Answer {
    let policy = seen(&all.bucket.policy)?;
    let endpoints = seen(&all.endpoints)?;
    let own = |id: &str| endpoints.iter().any(|endpoint| endpoint.id == id);
    let Some(statement) = denial(policy, "StringNotEquals", "aws:SourceVpce", own) else {
        return broken("its policy does not deny writes that come through no endpoint of the VPC");
    };
    if !statement.actions.iter().any(|action| action == "s3:PutObject" || action == "s3:*") {
        return broken(format!("only {} is denied", statement.actions.join(", ")));
    }
    let jobs: Vec<_> =
        statement.resources.iter().filter_map(|r| r.strip_suffix("/jobs/*")).collect();
    // Each prefix to which the endpoint leads for writing.
    for endpoint in endpoints {
        let allows = endpoint.policy.iter().flat_map(|policy| policy.allows());
        let writes = allows.filter(|s| s.actions.iter().any(|action| action == "s3:PutObject"));
        for resource in writes.flat_map(|statement| &statement.resources) {
            let covered = jobs.iter().any(|jobs| resource.starts_with(&format!("{jobs}/jobs/")));
            if !covered {
                return broken(format!("{resource} may be written from anywhere"));
            }
        }
    }
    Ok(format!("{} prefixes", jobs.len()))
}

pub(super) fn kept(all: &Deployment) -> Answer {
    let Some(encryption) = seen(&all.bucket.encryption)? else {
        return broken("no encryption is configured");
    };
    if *seen(&all.bucket.versioned)? {
        return broken("versions are kept, which outlive what expires");
    }
    match seen(&all.bucket.expiry)? {
        Some(days) => Ok(format!("{encryption}; {days} days")),
        None => broken("files are kept for ever"),
    }
}
