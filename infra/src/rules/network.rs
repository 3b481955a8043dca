//! Where packets and names can go.

use super::{Answer, Fault, broken, faults, seen};
use crate::model::{Deployment, Endpoint, Subnet};
use crate::policy::Statement;

pub(super) fn gateways(all: &Deployment) -> Answer {
    let gateways = seen(&all.gateways)?;
    faults(gateways, |gateway| Some(format!("{} {}", gateway.kind, gateway.id)))?;
    Ok("no internet or NAT gateway, peering, VPN or transit".into())
}

/// The subnets; without any, nothing is promised of them.
fn subnets(all: &Deployment) -> Result<&Vec<Subnet>, Fault> {
    let subnets = seen(&all.subnets)?;
    if subnets.is_empty() { broken("there are no subnets") } else { Ok(subnets) }
}

pub(super) fn associated(all: &Deployment) -> Answer {
    let subnets = subnets(all)?;
    faults(subnets, |subnet| {
        let missing = subnet.route_table.is_none();
        missing.then(|| format!("{} follows the VPC's main table", subnet.id))
    })?;
    Ok(format!("{} subnets are associated", subnets.len()))
}

pub(super) fn routes(all: &Deployment) -> Answer {
    let tables = seen(&all.route_tables)?;
    let endpoints = seen(&all.endpoints)?;
    let mut leads = Vec::new();
    for table in tables {
        for route in &table.routes {
            // A gateway endpoint's route is put there by the endpoint.
            if !endpoints.iter().any(|e| e.gateway && e.id == route.target) {
                leads.push(format!("{} sends {} to {}", table.id, route.destination, route.target));
            }
        }
    }
    for subnet in subnets(all)? {
        let table = subnet.route_table.as_ref();
        if let Some(table) = table.filter(|table| !tables.iter().any(|t| t.id == **table)) {
            leads.push(format!("nothing is known about {table}"));
        }
    }
    faults(&leads, |lead| Some(lead.clone()))?;
    Ok("what is not S3's has no route".into())
}

pub(super) fn addresses(all: &Deployment) -> Answer {
    let subnets = subnets(all)?;
    faults(subnets, |subnet| {
        subnet.public.then(|| format!("{} gives out public ones", subnet.id))
    })?;
    Ok("private IPv4 only".into())
}

fn s3(endpoint: &Endpoint) -> bool {
    endpoint.gateway && endpoint.service.ends_with(".s3")
}

pub(super) fn endpoints(all: &Deployment) -> Answer {
    let endpoints = seen(&all.endpoints)?;
    faults(endpoints, |e| (!s3(e)).then(|| format!("{} leads to {}", e.id, e.service)))?;
    let [endpoint] = &endpoints[..] else {
        return broken(format!("there are {} S3 endpoints, and must be one", endpoints.len()));
    };
    for subnet in subnets(all)? {
        if let Some(table) = &subnet.route_table
            && !endpoint.route_tables.contains(table)
        {
            return broken(format!("{table} does not lead to {}", endpoint.id));
        }
    }
    Ok(format!("{}, a gateway", endpoint.id))
}

/// What a function does with the bucket.
const THROUGH_THE_ENDPOINT: [&str; 2] = ["s3:GetObject", "s3:PutObject"];

pub(super) fn endpoint_policy(all: &Deployment) -> Answer {
    let endpoints = seen(&all.endpoints)?;
    let Some(endpoint) = endpoints.iter().find(|endpoint| s3(endpoint)) else {
        return broken("there is no S3 endpoint");
    };
    let Some(policy) = &endpoint.policy else {
        return broken("it has the default policy, which lets everything through to any bucket");
    };
    let account = seen(&all.account)?;
    let prefix = format!("{}/", all.bucket.arn);
    let wrong = |statement: &&Statement| {
        let actions = &statement.actions;
        if statement.inverted || !statement.not_actions.is_empty() || actions.is_empty() {
            return Some("a statement allows by exception".to_owned());
        }
        if let Some(action) = actions.iter().find(|a| !THROUGH_THE_ENDPOINT.contains(&a.as_str())) {
            return Some(format!("it allows {action}"));
        }
        let beyond = |resource: &&String| {
            let key = resource.strip_prefix(&prefix);
            // A prefix of the bucket's, with a wildcard at its end only.
            key.and_then(|key| key.strip_suffix("/*"))
                .is_none_or(|key| key.is_empty() || key.contains(['*', '?']))
        };
        if let Some(resource) = statement.resources.iter().find(beyond) {
            return Some(format!("it leads to {resource}, beyond prefixes of {}", all.bucket.arn));
        }
        if statement.resources.is_empty() {
            return Some("a statement names no resource".to_owned());
        }
        let pinned = |key| {
            let values = statement.condition("StringEquals", key);
            values.is_some_and(|values| values == [account.as_str()])
        };
        let own = pinned("aws:PrincipalAccount") && pinned("aws:ResourceAccount");
        (!own).then(|| "keys and buckets of other accounts may be used".to_owned())
    };
    let allows: Vec<_> = policy.allows().collect();
    if allows.is_empty() {
        return broken("its policy allows nothing, and no file can pass");
    }
    faults(&allows, wrong)?;
    let prefixes: Vec<_> = allows
        .iter()
        .flat_map(|statement| &statement.resources)
        .filter_map(|resource| resource.strip_prefix(&prefix))
        .collect();
    Ok(format!("{} of {}", prefixes.join(", "), all.bucket.arn))
}

pub(super) fn egress(all: &Deployment) -> Answer {
    let groups = seen(&all.security_groups)?;
    if groups.is_empty() {
        return broken("there are no security groups");
    }
    let s3 = seen(&all.s3_addresses)?;
    faults(groups, |group| {
        if group.egress.is_empty() {
            // So it is when a template leaves the list out.
            return Some(format!("{} has no rule for egress, which becomes everything", group.id));
        }
        if group.ingress > 0 {
            return Some(format!("{} lets something in", group.id));
        }
        let other = group.egress.iter().find(|rule| rule.to != *s3 || rule.what != "tcp 443")?;
        Some(format!("{} lets {} out to {}", group.id, other.what, other.to))
    })?;
    let used = all.functions.iter().flat_map(|function| &function.security_groups);
    for id in used {
        if !groups.iter().any(|group| group.id == *id) {
            return broken(format!("nothing is known about {id}"));
        }
    }
    Ok(format!("tcp 443 to {s3}"))
}

pub(super) fn names(all: &Deployment) -> Answer {
    let dns = seen(&all.dns)?;
    let mut rules: Vec<_> = dns.rules.iter().collect();
    rules.sort_by_key(|rule| rule.priority);
    let Some((last, before)) = rules.split_last() else {
        return broken("no firewall of the resolver's is associated with the VPC");
    };
    if last.action != "BLOCK" || last.domains != ["*"] {
        return broken(format!("the last rule is {} {}", last.action, last.domains.join(" ")));
    }
    for rule in before {
        let strange = rule
            .domains
            .iter()
            .find(|name| name.trim_end_matches('.') != all.bucket.host && rule.action != "BLOCK");
        if let Some(name) = strange {
            return broken(format!("{} {name}", rule.action));
        }
    }
    match dns.fails_open {
        Some(true) => broken("the firewall fails open; update-firewall-config can close it"),
        Some(false) => Ok(format!("{}; all others are blocked, failing closed", all.bucket.host)),
        // What a VPC has unless somebody changed it.
        None => Ok(format!("{}; all others are blocked", all.bucket.host)),
    }
}
