//! What is in a template and is not known to be harmless: types, properties, rights.

use serde_json::Value;

use super::read::{DOORS, GATEWAYS, Resources, id, ids, of, reference, text};
use crate::policy::{Policy, strings};

/// Types that are read here, or do no harm.
const KNOWN: &[&str] = &[
    "AWS::CloudWatch::Alarm",
    "AWS::EC2::FlowLog",
    "AWS::EC2::Route",
    "AWS::EC2::RouteTable",
    "AWS::EC2::SecurityGroup",
    "AWS::EC2::SecurityGroupEgress",
    "AWS::EC2::SecurityGroupIngress",
    "AWS::EC2::Subnet",
    "AWS::EC2::SubnetRouteTableAssociation",
    "AWS::EC2::VPC",
    "AWS::EC2::VPCEndpoint",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Policy",
    "AWS::IAM::Role",
    "AWS::IAM::RolePolicy",
    "AWS::Lambda::Function",
    "AWS::Logs::LogGroup",
    "AWS::Logs::MetricFilter",
    "AWS::Logs::ResourcePolicy",
    "AWS::Route53Resolver::FirewallDomainList",
    "AWS::Route53Resolver::FirewallRuleGroup",
    "AWS::Route53Resolver::FirewallRuleGroupAssociation",
    "AWS::Route53Resolver::ResolverQueryLoggingConfig",
    "AWS::Route53Resolver::ResolverQueryLoggingConfigAssociation",
    "AWS::S3::Bucket",
    "AWS::S3::BucketPolicy",
];

/// Properties of those types where another one could undo what is promised.
const PROPERTIES: &[(&str, &[&str])] = &[
    (
        "AWS::Lambda::Function",
        &[
            "Architectures",
            "CapacityProviderConfig",
            "Code",
            "Description",
            "EphemeralStorage",
            "FunctionName",
            "LoggingConfig",
            "MemorySize",
            "PackageType",
            "ReservedConcurrentExecutions",
            "Role",
            "Tags",
            "TenancyConfig",
            "Timeout",
            "VpcConfig",
        ],
    ),
    (
        "AWS::S3::Bucket",
        &[
            "BucketEncryption",
            "BucketName",
            "LifecycleConfiguration",
            "OwnershipControls",
            "PublicAccessBlockConfiguration",
            "Tags",
            "VersioningConfiguration",
        ],
    ),
    (
        "AWS::EC2::Subnet",
        &[
            "AssignIpv6AddressOnCreation",
            "AvailabilityZone",
            "CidrBlock",
            "Ipv6CidrBlock",
            "MapPublicIpOnLaunch",
            "Tags",
            "VpcId",
        ],
    ),
    (
        "AWS::EC2::FlowLog",
        &[
            "DeliverLogsPermissionArn",
            "LogDestinationType",
            "LogGroupName",
            "ResourceId",
            "ResourceType",
            "Tags",
            "TrafficType",
        ],
    ),
];

/// Types that change something which they name, and where they name it.
const CHANGES: &[(&str, &str)] = &[
    ("AWS::EC2::Route", "RouteTableId"),
    ("AWS::EC2::SecurityGroupEgress", "GroupId"),
    ("AWS::EC2::SecurityGroupIngress", "GroupId"),
    ("AWS::EC2::SubnetRouteTableAssociation", "RouteTableId"),
    ("AWS::EC2::SubnetRouteTableAssociation", "SubnetId"),
    ("AWS::S3::BucketPolicy", "Bucket"),
];

/// What a caller does.
const CALLER: [&str; 5] = [
    "lambda:InvokeFunction",
    "lambda:GetFunctionConfiguration",
    "s3:GetObject",
    "s3:PutObject",
    "s3:ListBucket",
];

/// Services that write logs, with their own role or by a group's policy.
const WRITERS: [&str; 2] = ["vpc-flow-logs.amazonaws.com", "delivery.logs.amazonaws.com"];

/// Everything strange.
pub(super) fn find(resources: &Resources) -> Vec<String> {
    let mut strange = Vec::new();
    for (name, resource) in resources {
        let kind = text(&resource["Type"]);
        let listed = |list: &[(&str, &str)]| list.iter().any(|(known, _)| *known == kind);
        if !KNOWN.contains(&kind.as_str()) && !listed(GATEWAYS) && !listed(DOORS) {
            strange.push(format!("{name} ({kind})"));
        }
        let allowed = PROPERTIES.iter().find(|(known, _)| *known == kind);
        let entries = resource["Properties"].as_object().into_iter().flatten();
        for (property, _) in entries {
            if allowed.is_some_and(|(_, names)| !names.contains(&property.as_str())) {
                strange.push(format!("{name}.{property}"));
            }
        }
        for (_, place) in CHANGES.iter().filter(|(changing, _)| *changing == kind) {
            let target = id(&resource["Properties"][*place]);
            let own = target.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            if own.is_none_or(|own| !resources.contains_key(own)) {
                strange.push(format!("{name}, which changes {target}"));
            }
        }
        strange.extend(right(resources, name, &kind, &resource["Properties"]));
    }
    strange.extend(second_policies(resources));
    strange
}

/// A bucket has one policy; of two, nobody knows which.
fn second_policies(resources: &Resources) -> Vec<String> {
    of(resources, "AWS::S3::BucketPolicy").skip(1).map(|(name, _)| name.clone()).collect()
}

/// What is wrong with the rights that a resource gives. The functions' role has rules of its own.
fn right(resources: &Resources, name: &str, kind: &str, properties: &Value) -> Option<String> {
    let used = |id: &String| {
        of(resources, "AWS::Lambda::Function").any(|(_, p)| self::id(&p["Role"]) == *id)
    };
    let wrong = match kind {
        "AWS::IAM::Role" if used(&reference(name)) => None,
        "AWS::IAM::Role" => writer(properties),
        "AWS::IAM::ManagedPolicy" | "AWS::IAM::Policy" | "AWS::IAM::RolePolicy" => {
            let to = [ids(&properties["Roles"]), ids(&properties["RoleName"])].concat();
            if to.iter().any(used) { None } else { caller(&properties["PolicyDocument"]) }
        }
        "AWS::Logs::ResourcePolicy" => {
            let document = properties["PolicyDocument"].as_str().unwrap_or_default();
            match serde_json::from_str(document).map(|document| Policy::parse(&document)) {
                Ok(Ok(policy)) => {
                    policy.allows().find_map(|statement| stranger(&statement.principal))
                }
                _ => Some("is no policy".into()),
            }
        }
        _ => None,
    };
    wrong.map(|wrong| format!("{name}, which {wrong}"))
}

fn stranger(principal: &Value) -> Option<String> {
    let service = principal["Service"].as_str().unwrap_or_default();
    let one = principal.as_object().is_some_and(|all| all.len() == 1);
    (!one || !WRITERS.contains(&service)).then(|| format!("is for {principal}"))
}

/// A role that writes logs and does nothing else.
fn writer(properties: &Value) -> Option<String> {
    if !strings(&properties["ManagedPolicyArns"]).is_empty() {
        return Some("has policies attached".into());
    }
    let trust = Policy::parse(&properties["AssumeRolePolicyDocument"]).ok();
    let Some(trust) = trust else { return Some("has no trust policy".into()) };
    if let Some(stranger) = trust.allows().find_map(|statement| stranger(&statement.principal)) {
        return Some(stranger);
    }
    for policy in properties["Policies"].as_array().into_iter().flatten() {
        let Ok(policy) = Policy::parse(&policy["PolicyDocument"]) else {
            return Some("has a policy that is none".into());
        };
        for statement in policy.allows() {
            let logs = |action: &String| action.starts_with("logs:") && !action.contains('*');
            let plain = !statement.inverted && statement.not_actions.is_empty();
            if !plain || !statement.actions.iter().all(logs) {
                return Some("may do more than write logs".into());
            }
        }
    }
    None
}

/// A policy for whoever runs jobs.
fn caller(document: &Value) -> Option<String> {
    let Ok(policy) = Policy::parse(document) else { return Some("is no policy".into()) };
    policy.allows().find_map(|statement| {
        if statement.inverted || !statement.not_actions.is_empty() {
            return Some("allows by exception".to_owned());
        }
        if let Some(more) = statement.actions.iter().find(|a| !CALLER.contains(&a.as_str())) {
            return Some(format!("allows {more}"));
        }
        // Each begins with the ARN of something that is here.
        let wide = |resource: &&String| {
            let path = resource.strip_prefix("arn:{AWS::Partition}:s3:::").unwrap_or(resource);
            !path.starts_with('{') || path.trim_end_matches("/*").contains('*')
        };
        let none = statement.resources.is_empty().then(|| "anything".to_owned());
        let wide = statement.resources.iter().find(wide).cloned().or(none)?;
        Some(format!("allows {} on {wide}", statement.actions.join(", ")))
    })
}
