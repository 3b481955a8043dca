//! The functions themselves.

use std::collections::BTreeSet;

use super::{Answer, Fault, broken, faults, seen};
use crate::model::{Deployment, Function};

/// The functions; without any, nothing is promised of them.
fn functions(all: &Deployment) -> Result<&Vec<Function>, Fault> {
    if all.functions.is_empty() { broken("there is no function") } else { Ok(&all.functions) }
}

pub(super) fn microvms(all: &Deployment) -> Answer {
    faults(functions(all)?, |function| {
        let name = &function.name;
        if function.managed_instances {
            return Some(format!(
                "{name} runs on Managed Instances, whose containers AWS does not call a security \
                 boundary; leave its capacity provider out"
            ));
        }
        if let Some(extra) = function.extras.first() {
            return Some(format!("{name} has {extra}, which no function here has"));
        }
        (!function.image).then(|| format!("{name} is not made from an image"))
    })?;
    Ok(format!("{} functions from an image, none on Managed Instances", all.functions.len()))
}

pub(super) fn tenants(all: &Deployment) -> Answer {
    let shared: Vec<_> =
        functions(all)?.iter().filter(|f| !f.tenant_isolation).map(|f| f.name.as_str()).collect();
    if shared.is_empty() {
        return Ok("tenant isolation is on".into());
    }
    Err(Fault::Open(format!(
        "{} was created without tenant isolation: jobs of all tenants follow each other",
        shared.join(", ")
    )))
}

pub(super) fn placed(all: &Deployment) -> Answer {
    seen(&all.vpc)?;
    faults(&all.elsewhere, |what| Some(format!("{what} is in another VPC")))?;
    let subnets = seen(&all.subnets)?;
    let known: BTreeSet<_> = subnets.iter().map(|subnet| &subnet.id).collect();
    faults(&all.functions, |function| {
        let name = &function.name;
        if function.subnets.is_empty() {
            return Some(format!("{name} is in no VPC and reaches the internet"));
        }
        if function.security_groups.is_empty() {
            return Some(format!("{name} has no security group of its own"));
        }
        let strange = function.subnets.iter().find(|subnet| !known.contains(subnet))?;
        Some(format!("{name} is in {strange}, about which nothing is known"))
    })?;
    let zones: BTreeSet<_> = subnets.iter().map(|subnet| &subnet.zone).collect();
    match zones.len() {
        0 | 1 => broken("all subnets are in one zone, and so is every function"),
        zones => Ok(format!("{} subnets in {zones} zones", subnets.len())),
    }
}

/// Longest timeout that makes sense; Lambda's own bound.
const MOST_SECONDS: u64 = 900;

pub(super) fn bounded(all: &Deployment) -> Answer {
    let mut most = 0;
    for function in functions(all)? {
        let name = &function.name;
        match function.timeout {
            Some(1..=MOST_SECONDS) => {}
            other => return broken(format!("{name} has a timeout of {other:?} s")),
        }
        match seen(&function.concurrency)? {
            None | Some(0) => {
                return broken(format!(
                    "{name} has no reserved concurrency: one caller can use up the account's, and \
                     nothing bounds what a second costs"
                ));
            }
            Some(bound) => most += bound,
        }
    }
    let longest = all.functions.iter().filter_map(|function| function.timeout).max().unwrap_or(0);
    Ok(format!("at most {most} at once, {longest} s each"))
}

pub(super) fn doors(all: &Deployment) -> Answer {
    let doors = seen(&all.doors)?;
    functions(all)?;
    faults(doors, |door| Some(format!("{} {}", door.kind, door.id)))?;
    Ok("no function URL, no permission for others, no event source".into())
}
