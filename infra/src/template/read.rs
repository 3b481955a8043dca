//! From evaluated resources to a deployment.

use serde_json::{Map, Value};

use super::{Choice, TemplateError, strange};
use crate::model::{
    Bucket, Deployment, Dns, DnsRule, Door, Egress, Endpoint, Function, Gateway,
    PUBLIC_ACCESS_BLOCKS, Role, Route, RouteTable, SecurityGroup, Subnet, Watch,
};
use crate::policy::{Policy, strings};

/// Types that lead out of a VPC, and what they are called.
pub(super) const GATEWAYS: &[(&str, &str)] = &[
    ("AWS::EC2::InternetGateway", "internet gateway"),
    ("AWS::EC2::VPCGatewayAttachment", "attachment of a gateway"),
    ("AWS::EC2::EgressOnlyInternetGateway", "egress-only internet gateway"),
    ("AWS::EC2::NatGateway", "NAT gateway"),
    ("AWS::EC2::VPCPeeringConnection", "peering connection"),
    ("AWS::EC2::TransitGatewayAttachment", "transit gateway attachment"),
    ("AWS::EC2::TransitGatewayVpcAttachment", "transit gateway attachment"),
    ("AWS::EC2::VPNGateway", "VPN gateway"),
    ("AWS::EC2::VPNConnection", "VPN connection"),
    ("AWS::EC2::CarrierGateway", "carrier gateway"),
    ("AWS::EC2::EIP", "elastic address"),
];

/// Types that start functions.
pub(super) const DOORS: &[(&str, &str)] = &[
    ("AWS::Lambda::Url", "function URL"),
    ("AWS::Lambda::Permission", "permission for others"),
    ("AWS::Lambda::EventSourceMapping", "event source"),
];

pub(super) type Resources = Map<String, Value>;
type Result<T> = std::result::Result<T, TemplateError>;

/// The parameter that a template takes the id of S3's addresses in, which only an account knows.
const S3_ADDRESSES: &str = "S3PrefixListId";

/// Reads what is deployed.
pub(super) fn deployment(resources: &Resources, choice: &Choice) -> Result<Deployment> {
    let bucket = bucket(resources)?;
    let address_list = choice.parameters.iter().find(|((_, name), _)| name == S3_ADDRESSES);
    let address_list = address_list.and_then(|(_, value)| value.as_str());
    let missing = || format!("no parameter {S3_ADDRESSES} has the id of S3's addresses");
    Ok(Deployment {
        functions: of(resources, "AWS::Lambda::Function").map(|(_, p)| function(p)).collect(),
        vpc: match &of(resources, "AWS::EC2::VPC").collect::<Vec<_>>()[..] {
            [(name, _)] => Ok(reference(name)),
            all => Err(format!("there are {} VPCs, and must be one", all.len())),
        },
        subnets: Ok(subnets(resources)),
        route_tables: Ok(route_tables(resources)),
        gateways: Ok(named(resources, GATEWAYS).map(|(kind, id)| Gateway { kind, id }).collect()),
        endpoints: endpoints(resources),
        security_groups: Ok(security_groups(resources)),
        s3_addresses: address_list.map(str::to_owned).ok_or_else(missing),
        dns: Ok(dns(resources)),
        roles: roles(resources),
        bucket,
        doors: Ok(named(resources, DOORS)
            .map(|(kind, id)| Door { kind: kind.to_owned(), id })
            .collect()),
        watch: watch(resources),
        unknown: Some(strange::find(resources)),
        account: Ok("{AWS::AccountId}".into()),
        elsewhere: elsewhere(resources),
    })
}

/// Resources of a type, with their properties.
pub(super) fn of<'a>(
    resources: &'a Resources,
    kind: &'a str,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let such = resources.iter().filter(move |(_, resource)| resource["Type"] == kind);
    such.map(|(name, resource)| (name, &resource["Properties"]))
}

/// Resources of several types, with what these are called.
fn named<'a>(
    resources: &'a Resources,
    kinds: &'a [(&'static str, &'static str)],
) -> impl Iterator<Item = (&'static str, String)> + 'a {
    kinds.iter().flat_map(|(kind, what)| of(resources, kind).map(|(name, _)| (*what, name.clone())))
}

pub(super) fn reference(name: &str) -> String {
    format!("{{{name}}}")
}

/// `{Name.Attribute}` is another word for `{Name}` where an id is meant.
pub(super) fn id(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    match text.split_once('.') {
        Some((name, _)) if text.starts_with('{') && text.ends_with('}') => format!("{name}}}"),
        _ => text.to_owned(),
    }
}

pub(super) fn ids(value: &Value) -> Vec<String> {
    strings(value).into_iter().map(|text| id(&text.into())).collect()
}

pub(super) fn text(value: &Value) -> String {
    strings(value).into_iter().next().unwrap_or_default()
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// CloudFormation takes `true`, `"true"`, and what YAML 1.1 took for it.
fn truth(value: &Value) -> bool {
    let yes = |text: &str| ["true", "yes", "on"].iter().any(|yes| text.eq_ignore_ascii_case(yes));
    *value == true || value.as_str().is_some_and(yes)
}

fn function(properties: &Value) -> Function {
    Function {
        name: text(&properties["FunctionName"]),
        arn: format!(
            "arn:{{AWS::Partition}}:lambda:{{AWS::Region}}:{{AWS::AccountId}}:function:{}",
            text(&properties["FunctionName"])
        ),
        // Those are strange, whatever they are.
        extras: Vec::new(),
        tenant_isolation: properties["TenancyConfig"]["TenantIsolationMode"] == "PER_TENANT",
        managed_instances: !properties["CapacityProviderConfig"].is_null(),
        image: properties["PackageType"] == "Image" && !properties["Code"]["ImageUri"].is_null(),
        timeout: number(&properties["Timeout"]),
        concurrency: Ok(number(&properties["ReservedConcurrentExecutions"])),
        subnets: ids(&properties["VpcConfig"]["SubnetIds"]),
        security_groups: ids(&properties["VpcConfig"]["SecurityGroupIds"]),
        role: id(&properties["Role"]),
        log_group: properties["LoggingConfig"]["LogGroup"].as_str().map(str::to_owned),
    }
}

fn subnets(resources: &Resources) -> Vec<Subnet> {
    let associations: Vec<_> = of(resources, "AWS::EC2::SubnetRouteTableAssociation")
        .map(|(_, p)| (id(&p["SubnetId"]), id(&p["RouteTableId"])))
        .collect();
    of(resources, "AWS::EC2::Subnet")
        .map(|(name, properties)| {
            let id = reference(name);
            let own = associations.iter().find(|(subnet, _)| *subnet == id);
            let ipv6 =
                ["Ipv6CidrBlock", "Ipv6IpamPoolId", "AssignIpv6AddressOnCreation", "Ipv6Native"];
            Subnet {
                zone: text(&properties["AvailabilityZone"]),
                public: truth(&properties["MapPublicIpOnLaunch"])
                    || ipv6.iter().any(|name| {
                        !matches!(&properties[*name], Value::Null | Value::Bool(false))
                    }),
                route_table: own.map(|(_, table)| table.clone()),
                id,
            }
        })
        .collect()
}

fn route_tables(resources: &Resources) -> Vec<RouteTable> {
    let routes: Vec<_> =
        of(resources, "AWS::EC2::Route").map(|(_, p)| (id(&p["RouteTableId"]), p)).collect();
    of(resources, "AWS::EC2::RouteTable")
        .map(|(name, _)| {
            let id = reference(name);
            let own = routes.iter().filter(|(table, _)| *table == id);
            RouteTable { routes: own.map(|(_, properties)| route(properties)).collect(), id }
        })
        .collect()
}

fn route(properties: &Value) -> Route {
    // Whatever is not the destination says where to.
    let entries = || properties.as_object().into_iter().flatten();
    let destination = entries().find(|(name, _)| name.starts_with("Destination"));
    let target =
        entries().find(|(name, _)| !name.starts_with("Destination") && *name != "RouteTableId");
    Route {
        destination: destination.map(|(_, value)| text(value)).unwrap_or_default(),
        target: target.map(|(_, value)| text(value)).unwrap_or_default(),
    }
}

fn endpoints(resources: &Resources) -> std::result::Result<Vec<Endpoint>, String> {
    let read = |(name, properties): (&String, &Value)| {
        let document = &properties["PolicyDocument"];
        let policy = match document.is_null() {
            true => None,
            false => Some(Policy::parse(document).map_err(|why| format!("{name}: {why}"))?),
        };
        Ok(Endpoint {
            id: reference(name),
            service: text(&properties["ServiceName"]),
            // The default type.
            gateway: matches!(properties["VpcEndpointType"].as_str(), None | Some("Gateway")),
            route_tables: ids(&properties["RouteTableIds"]),
            policy,
        })
    };
    of(resources, "AWS::EC2::VPCEndpoint").map(read).collect()
}

fn security_groups(resources: &Resources) -> Vec<SecurityGroup> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    of(resources, "AWS::EC2::SecurityGroup")
        .map(|(name, properties)| {
            let own = reference(name);
            let apart = |kind: &'static str| {
                let rules = of(resources, kind).filter(|(_, p)| id(&p["GroupId"]) == own);
                rules.map(|(_, p)| p.clone()).collect::<Vec<_>>()
            };
            let mut egress = list(&properties["SecurityGroupEgress"]);
            egress.extend(apart("AWS::EC2::SecurityGroupEgress"));
            let ingress = list(&properties["SecurityGroupIngress"]).len();
            SecurityGroup {
                egress: egress.iter().map(rule).collect(),
                ingress: ingress + apart("AWS::EC2::SecurityGroupIngress").len(),
                id: own,
            }
        })
        .collect()
}

fn rule(properties: &Value) -> Egress {
    let to = ["DestinationPrefixListId", "CidrIp", "CidrIpv6", "DestinationSecurityGroupId"];
    let to: Vec<_> = to.iter().map(|name| &properties[*name]).filter(|to| !to.is_null()).collect();
    let to = to.into_iter().map(text).collect::<Vec<_>>().join(" and ");
    let ports = number(&properties["FromPort"]).zip(number(&properties["ToPort"]));
    Egress::new(to, &text(&properties["IpProtocol"]), ports)
}

fn dns(resources: &Resources) -> Dns {
    let vpcs: Vec<_> = of(resources, "AWS::EC2::VPC").map(|(name, _)| reference(name)).collect();
    let mut rules = Vec::new();
    for (_, association) in of(resources, "AWS::Route53Resolver::FirewallRuleGroupAssociation") {
        if !vpcs.contains(&id(&association["VpcId"])) {
            continue;
        }
        // The group of the lowest number is asked first, whatever its rules' numbers are.
        let first = association["Priority"].as_i64().unwrap_or_default();
        let own = id(&association["FirewallRuleGroupId"]);
        let mut groups = of(resources, "AWS::Route53Resolver::FirewallRuleGroup");
        let Some((_, group)) = groups.find(|(name, _)| reference(name) == own) else {
            let domains = vec![format!("whatever {own} does")];
            rules.push(DnsRule { priority: (first, 0), action: "ALLOW".into(), domains });
            continue;
        };
        for rule in group["FirewallRules"].as_array().into_iter().flatten() {
            // A rule for some kinds of query leaves the others.
            let partly = !rule["Qtype"].is_null();
            rules.push(DnsRule {
                priority: (first, rule["Priority"].as_i64().unwrap_or(i64::MAX)),
                action: text(&rule["Action"]) + if partly { " in part" } else { "" },
                domains: domains(resources, &id(&rule["FirewallDomainListId"])),
            });
        }
    }
    Dns { rules, fails_open: None }
}

/// The names of a list; one that nobody can see has a name that is not allowed.
fn domains(resources: &Resources, own: &str) -> Vec<String> {
    let mut lists = of(resources, "AWS::Route53Resolver::FirewallDomainList");
    match lists.find(|(name, _)| reference(name) == own) {
        Some((_, list)) if list["DomainFileUrl"].is_null() && !list["Domains"].is_null() => {
            strings(&list["Domains"])
        }
        _ => vec![format!("whatever {own} has")],
    }
}

/// What is placed into another VPC than the one that there is.
fn elsewhere(resources: &Resources) -> Vec<String> {
    let vpcs: Vec<_> = of(resources, "AWS::EC2::VPC").map(|(name, _)| reference(name)).collect();
    let placed = ["Subnet", "RouteTable", "SecurityGroup", "VPCEndpoint"];
    let mut elsewhere = Vec::new();
    for kind in placed.map(|kind| format!("AWS::EC2::{kind}")) {
        for (name, properties) in of(resources, &kind) {
            if !vpcs.contains(&id(&properties["VpcId"])) {
                elsewhere.push(name.clone());
            }
        }
    }
    elsewhere
}

fn roles(resources: &Resources) -> std::result::Result<Vec<Role>, String> {
    let used: Vec<_> =
        of(resources, "AWS::Lambda::Function").map(|(_, p)| id(&p["Role"])).collect();
    let mut roles = Vec::new();
    for (name, properties) in of(resources, "AWS::IAM::Role") {
        let own = reference(name);
        if !used.contains(&own) {
            continue;
        }
        let inline = properties["Policies"].as_array().into_iter().flatten();
        let mut policies: Vec<_> = inline
            .map(|p| Policy::parse(&p["PolicyDocument"]))
            .collect::<std::result::Result<_, _>>()?;
        let mut attached = strings(&properties["ManagedPolicyArns"]);
        for kind in ["AWS::IAM::Policy", "AWS::IAM::RolePolicy", "AWS::IAM::ManagedPolicy"] {
            for (policy, p) in of(resources, kind) {
                let to = [ids(&p["Roles"]), ids(&p["RoleName"])].concat();
                if to.contains(&own) {
                    policies.push(Policy::parse(&p["PolicyDocument"])?);
                } else if !to.is_empty() {
                    // By its name, which need not be the resource's.
                    attached.push(policy.clone());
                }
            }
        }
        let trust = Policy::parse(&properties["AssumeRolePolicyDocument"])?;
        roles.push(Role { id: own, trust, policies, attached });
    }
    Ok(roles)
}

fn bucket(resources: &Resources) -> Result<Bucket> {
    let buckets: Vec<_> = of(resources, "AWS::S3::Bucket").collect();
    let [(name, properties)] = buckets[..] else {
        return Err(TemplateError::Wrong(format!("there are {} buckets, not one", buckets.len())));
    };
    let own = reference(name);
    let access = &properties["PublicAccessBlockConfiguration"];
    let policies: Vec<_> = of(resources, "AWS::S3::BucketPolicy")
        .filter(|(_, p)| id(&p["Bucket"]) == own)
        .map(|(_, p)| Policy::parse(&p["PolicyDocument"]))
        .collect();
    let policy = match policies.into_iter().next() {
        Some(policy) => policy,
        None => Ok(Policy::default()),
    };
    let encryption = &properties["BucketEncryption"]["ServerSideEncryptionConfiguration"][0]["ServerSideEncryptionByDefault"]
        ["SSEAlgorithm"];
    let lifecycle = properties["LifecycleConfiguration"]["Rules"].as_array();
    let whole = lifecycle.into_iter().flatten().find(|rule| {
        let narrow = ["Prefix", "TagFilters", "ObjectSizeGreaterThan", "ObjectSizeLessThan"];
        rule["Status"] == "Enabled" && narrow.iter().all(|name| rule[*name].is_null())
    });
    Ok(Bucket {
        arn: format!("{{{name}.Arn}}"),
        host: format!("{{{name}.RegionalDomainName}}"),
        private: Ok(PUBLIC_ACCESS_BLOCKS.iter().all(|block| truth(&access[*block]))),
        policy,
        versioned: Ok(!properties["VersioningConfiguration"].is_null()),
        encryption: Ok(encryption.as_str().map(str::to_owned)),
        expiry: Ok(whole.and_then(|rule| number(&rule["ExpirationInDays"]))),
    })
}

fn watch(resources: &Resources) -> Watch {
    let vpcs: Vec<_> = of(resources, "AWS::EC2::VPC").map(|(name, _)| reference(name)).collect();
    let of_vpc = |value: &Value| vpcs.contains(&id(value));
    let flows = of(resources, "AWS::EC2::FlowLog")
        .any(|(_, p)| of_vpc(&p["ResourceId"]) && p["TrafficType"] == "ALL");
    let names = of(resources, "AWS::Route53Resolver::ResolverQueryLoggingConfigAssociation")
        .any(|(_, p)| of_vpc(&p["ResourceId"]));
    let for_ever = of(resources, "AWS::Logs::LogGroup")
        .filter(|(_, p)| number(&p["RetentionInDays"]).is_none())
        .map(|(name, _)| name.clone());
    // Nor is anything known about a group that is not there.
    let groups: Vec<_> = of(resources, "AWS::Logs::LogGroup").map(|(n, _)| reference(n)).collect();
    let others = of(resources, "AWS::Lambda::Function")
        .map(|(_, p)| id(&p["LoggingConfig"]["LogGroup"]))
        .filter(|group| !group.is_empty() && !groups.contains(group));
    let for_ever = for_ever.chain(others).collect();
    let mut alarms = Vec::new();
    let on = |alarm: &Value| alarm["ActionsEnabled"].is_null() || truth(&alarm["ActionsEnabled"]);
    for (_, alarm) in of(resources, "AWS::CloudWatch::Alarm").filter(|(_, alarm)| on(alarm)) {
        if alarm["Namespace"] == "AWS/Lambda" {
            alarms.push(text(&alarm["MetricName"]));
        }
        for query in alarm["Metrics"].as_array().into_iter().flatten() {
            let metric = &query["MetricStat"]["Metric"];
            if metric["Namespace"] == "AWS/Lambda" {
                alarms.push(text(&metric["MetricName"]));
            }
        }
    }
    Watch { flows: Ok(flows), names: Ok(names), kept_for_ever: Ok(for_ever), alarms: Ok(alarms) }
}
