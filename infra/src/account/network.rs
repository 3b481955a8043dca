//! The VPC: subnets, tables, gateways, endpoints, groups, names.

use serde_json::{Value, json};

use super::api::{Api, Refusal};
use super::xml::list;
use crate::model::{
    Dns, DnsRule, Egress, Endpoint, Gateway, Part, Route, RouteTable, SecurityGroup, Subnet,
};
use crate::policy::{Policy, strings};

const VERSION: &str = "2016-11-15";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Describes what a filter lets through.
async fn describe(
    api: &Api,
    action: &str,
    filter: &str,
    values: &[&str],
) -> Result<Value, Refusal> {
    let names: Vec<_> = (1..=values.len()).map(|n| format!("Filter.1.Value.{n}")).collect();
    let mut parameters = vec![("Filter.1.Name", filter)];
    parameters.extend(names.iter().map(String::as_str).zip(values.iter().copied()));
    api.query("ec2", VERSION, action, &parameters).await
}

/// A table, and the subnets that are associated with it by name.
pub(super) type Tables = Part<Vec<(RouteTable, Vec<String>)>>;

pub(super) async fn route_tables(api: &Api, vpc: &Part<String>) -> Tables {
    let vpc = vpc.as_ref().map_err(String::clone)?;
    let found = describe(api, "DescribeRouteTables", "vpc-id", &[vpc]).await?;
    let table = |table: &Value| {
        let routes = list(&table["routeSet"]).into_iter().filter(|r| r["gatewayId"] != "local");
        let associations = list(&table["associationSet"]);
        let subnets = associations.iter().filter_map(|a| a["subnetId"].as_str());
        let subnets = subnets.map(str::to_owned).collect();
        (
            RouteTable { id: text(&table["routeTableId"]), routes: routes.map(route).collect() },
            subnets,
        )
    };
    Ok(list(&found["routeTableSet"]).into_iter().map(table).collect())
}

fn route(route: &Value) -> Route {
    // What is neither the destination nor about the route itself says where to.
    let entries = || route.as_object().into_iter().flatten();
    let destination = entries().find(|(name, _)| name.starts_with("destination"));
    let target = entries().find(|(name, _)| {
        name.ends_with("Id") && !name.starts_with("destination") && *name != "instanceOwnerId"
    });
    Route {
        destination: destination.map(|(_, value)| text(value)).unwrap_or_default(),
        target: target.map_or_else(|| "somewhere".to_owned(), |(_, value)| text(value)),
    }
}

/// The tables that subnets are associated with.
pub(super) fn associated(tables: &Tables) -> Part<Vec<RouteTable>> {
    let tables = tables.as_ref().map_err(String::clone)?;
    let used = tables.iter().filter(|(_, subnets)| !subnets.is_empty());
    Ok(used.map(|(table, _)| table.clone()).collect())
}

pub(super) async fn subnets(
    api: &Api,
    vpc: &Part<String>,
    used: &[String],
    tables: &Tables,
) -> Part<Vec<Subnet>> {
    let vpc = vpc.as_ref().map_err(String::clone)?;
    let tables = tables.as_ref().map_err(String::clone)?;
    let found = describe(api, "DescribeSubnets", "vpc-id", &[vpc]).await?;
    let own =
        list(&found["subnetSet"]).into_iter().filter(|s| used.contains(&text(&s["subnetId"])));
    let subnet = |subnet: &Value| {
        let id = text(&subnet["subnetId"]);
        let table = tables.iter().find(|(_, subnets)| subnets.contains(&id));
        Subnet {
            zone: text(&subnet["availabilityZone"]),
            public: subnet["mapPublicIpOnLaunch"] == "true"
                || subnet["assignIpv6AddressOnCreation"] == "true"
                || !list(&subnet["ipv6CidrBlockAssociationSet"]).is_empty(),
            route_table: table.map(|(table, _)| table.id.clone()),
            id,
        }
    };
    Ok(own.map(subnet).collect())
}

pub(super) async fn gateways(api: &Api, vpc: &Part<String>) -> Part<Vec<Gateway>> {
    let vpc = vpc.as_ref().map_err(String::clone)?;
    // What it is, the question, the filter, the list and the id in the answer.
    let kinds: [(&str, &str, &str, &str, &str); 7] = [
        (
            "internet gateway",
            "DescribeInternetGateways",
            "attachment.vpc-id",
            "internetGatewaySet",
            "internetGatewayId",
        ),
        ("NAT gateway", "DescribeNatGateways", "vpc-id", "natGatewaySet", "natGatewayId"),
        (
            "peering connection",
            "DescribeVpcPeeringConnections",
            "requester-vpc-info.vpc-id",
            "vpcPeeringConnectionSet",
            "vpcPeeringConnectionId",
        ),
        (
            "peering connection",
            "DescribeVpcPeeringConnections",
            "accepter-vpc-info.vpc-id",
            "vpcPeeringConnectionSet",
            "vpcPeeringConnectionId",
        ),
        (
            "transit gateway attachment",
            "DescribeTransitGatewayVpcAttachments",
            "vpc-id",
            "transitGatewayVpcAttachments",
            "transitGatewayAttachmentId",
        ),
        (
            "VPN gateway",
            "DescribeVpnGateways",
            "attachment.vpc-id",
            "vpnGatewaySet",
            "vpnGatewayId",
        ),
        (
            "carrier gateway",
            "DescribeCarrierGateways",
            "vpc-id",
            "carrierGatewaySet",
            "carrierGatewayId",
        ),
    ];
    let mut gateways = Vec::new();
    for (kind, action, filter, items, id) in kinds {
        let found = describe(api, action, filter, &[vpc]).await?;
        for item in list(&found[items]) {
            // A gateway stays listed for a while after it is gone.
            let gone = ["deleted", "deleting", "rejected", "expired", "failed"];
            let state = item["state"].as_str().or(item["status"]["code"].as_str());
            if !state.is_some_and(|state| gone.contains(&state)) {
                gateways.push(Gateway { kind, id: text(&item[id]) });
            }
        }
    }
    // This one has no filter by VPC.
    let action = "DescribeEgressOnlyInternetGateways";
    let found = api.query("ec2", VERSION, action, &[]).await?;
    for item in list(&found["egressOnlyInternetGatewaySet"]) {
        if list(&item["attachmentSet"]).iter().any(|attached| attached["vpcId"] == *vpc) {
            let id = text(&item["egressOnlyInternetGatewayId"]);
            gateways.push(Gateway { kind: "egress-only internet gateway", id });
        }
    }
    Ok(gateways)
}

pub(super) async fn endpoints(api: &Api, vpc: &Part<String>) -> Part<Vec<Endpoint>> {
    let vpc = vpc.as_ref().map_err(String::clone)?;
    let found = describe(api, "DescribeVpcEndpoints", "vpc-id", &[vpc]).await?;
    let endpoint = |endpoint: &Value| {
        let policy = match endpoint["policyDocument"].as_str() {
            None | Some("") => None,
            Some(document) => {
                let document = serde_json::from_str(document).map_err(|error| error.to_string())?;
                Some(Policy::parse(&document)?)
            }
        };
        Ok(Endpoint {
            id: text(&endpoint["vpcEndpointId"]),
            service: text(&endpoint["serviceName"]),
            gateway: endpoint["vpcEndpointType"] == "Gateway",
            route_tables: list(&endpoint["routeTableIdSet"]).into_iter().map(text).collect(),
            policy,
        })
    };
    let all = list(&found["vpcEndpointSet"]).into_iter();
    all.filter(|endpoint| endpoint["state"] != "deleted").map(endpoint).collect()
}

pub(super) async fn security_groups(api: &Api, groups: &[String]) -> Part<Vec<SecurityGroup>> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<_> = groups.iter().map(String::as_str).collect();
    let found = describe(api, "DescribeSecurityGroups", "group-id", &ids).await?;
    let group = |group: &Value| SecurityGroup {
        id: text(&group["groupId"]),
        egress: list(&group["ipPermissionsEgress"]).into_iter().flat_map(rules).collect(),
        ingress: list(&group["ipPermissions"]).len(),
    };
    Ok(list(&found["securityGroupInfo"]).into_iter().map(group).collect())
}

/// One entry has a protocol, ports, and any number of places to go.
fn rules(entry: &Value) -> Vec<Egress> {
    let port = |name: &str| entry[name].as_str().and_then(|port| port.parse().ok());
    let (protocol, ports) = (text(&entry["ipProtocol"]), port("fromPort").zip(port("toPort")));
    let places = [
        ("ipRanges", "cidrIp"),
        ("ipv6Ranges", "cidrIpv6"),
        ("prefixListIds", "prefixListId"),
        ("groups", "groupId"),
    ];
    let to = |(set, id): (&str, &str)| {
        list(&entry[set]).into_iter().map(|place| text(&place[id])).collect::<Vec<_>>()
    };
    let all = places.into_iter().flat_map(to);
    all.map(|to| Egress::new(to, &protocol, ports)).collect()
}

/// The id of the region's list of S3's addresses.
pub(super) async fn s3_addresses(api: &Api) -> Part<String> {
    let name = format!("com.amazonaws.{}.s3", api.region);
    let found = describe(api, "DescribeManagedPrefixLists", "prefix-list-name", &[&name]).await?;
    match list(&found["prefixListSet"])[..] {
        [one] => Ok(text(&one["prefixListId"])),
        _ => Err(format!("DescribeManagedPrefixLists: there is no list {name}")),
    }
}

pub(super) async fn dns(api: &Api, vpc: &Part<String>) -> Part<Dns> {
    let vpc = vpc.as_ref().map_err(String::clone)?;
    let ask = |action: &str, body: Value| {
        let target = format!("Route53Resolver.{action}");
        async move { api.json("route53resolver", &target, body).await }
    };
    let associations = ask("ListFirewallRuleGroupAssociations", json!({ "VpcId": vpc })).await?;
    let mut rules = Vec::new();
    let groups = list(&associations["FirewallRuleGroupAssociations"]);
    if let Some(group) = groups.iter().find(|group| group["Status"] != "COMPLETE") {
        return Err(format!("an association of the firewall is {}", group["Status"]));
    }
    for group in groups {
        // The group of the lowest number is asked first, whatever its rules' numbers are.
        let first = group["Priority"].as_i64().unwrap_or_default();
        let id = json!({ "FirewallRuleGroupId": group["FirewallRuleGroupId"] });
        let found = ask("ListFirewallRules", id).await?;
        for rule in list(&found["FirewallRules"]) {
            let id = json!({ "FirewallDomainListId": rule["FirewallDomainListId"] });
            let domains = ask("ListFirewallDomains", id).await?;
            let partly = !rule["Qtype"].is_null();
            rules.push(DnsRule {
                priority: (first, rule["Priority"].as_i64().unwrap_or(i64::MAX)),
                action: text(&rule["Action"]) + if partly { " in part" } else { "" },
                domains: strings(&domains["Domains"])
                    .iter()
                    .map(|name| name.trim_end_matches('.').to_owned())
                    .collect(),
            });
        }
    }
    let config = ask("GetFirewallConfig", json!({ "ResourceId": vpc })).await?;
    // Whatever else it says, now or some day, is not this.
    let fails_open = config["FirewallConfig"]["FirewallFailOpen"] != "DISABLED";
    Ok(Dns { rules, fails_open: Some(fails_open) })
}
