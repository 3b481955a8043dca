//! What is deployed, whoever says so.

use crate::policy::Policy;

/// Something that was looked for: what is there, or why nobody could see.
pub type Part<T> = Result<T, String>;

/// Functions and all that surrounds them.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// The functions, one for each size.
    pub functions: Vec<Function>,
    /// The account.
    pub account: Part<String>,
    /// The VPC that they are in.
    pub vpc: Part<String>,
    /// What belongs to another VPC, and so is not held by what is said of this one.
    pub elsewhere: Vec<String>,
    /// The subnets that they are in.
    pub subnets: Part<Vec<Subnet>>,
    /// The tables that these subnets are associated with.
    pub route_tables: Part<Vec<RouteTable>>,
    /// What leads out of their VPC, routed to or not.
    pub gateways: Part<Vec<Gateway>>,
    /// Endpoints of their VPC.
    pub endpoints: Part<Vec<Endpoint>>,
    /// Their security groups.
    pub security_groups: Part<Vec<SecurityGroup>>,
    /// The id of the list of S3's addresses.
    pub s3_addresses: Part<String>,
    /// The resolver's firewall in their VPC.
    pub dns: Part<Dns>,
    /// Their roles.
    pub roles: Part<Vec<Role>>,
    /// The bucket that they are given files through.
    pub bucket: Bucket,
    /// Who else may start them.
    pub doors: Part<Vec<Door>>,
    /// What is recorded.
    pub watch: Watch,
    /// What is in a template besides and is not known here. An account has other things too.
    pub unknown: Option<Vec<String>>,
}

/// One function.
#[derive(Clone, Debug)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// What it has that a function here has not: a file system, another entrypoint.
    pub extras: Vec<String>,
    /// Whether an environment serves one tenant only.
    pub tenant_isolation: bool,
    /// Whether it runs on Managed Instances, whose containers share a kernel.
    pub managed_instances: bool,
    /// Whether it is made from an image.
    pub image: bool,
    /// Seconds.
    pub timeout: Option<u64>,
    /// The most that run at once.
    pub concurrency: Part<Option<u64>>,
    /// Its subnets.
    pub subnets: Vec<String>,
    /// Its security groups.
    pub security_groups: Vec<String>,
    /// Its role.
    pub role: String,
    /// Where it logs.
    pub log_group: Option<String>,
}

/// One subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its id.
    pub id: String,
    /// Its availability zone.
    pub zone: String,
    /// Whether what starts in it gets a public address, or one of IPv6, which all are public.
    pub public: bool,
    /// The table that it is associated with by name; without one it follows the VPC's main table.
    pub route_table: Option<String>,
}

/// One route table.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// Its id.
    pub id: String,
    /// Its routes, except those within the VPC.
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Addresses or the id of a list of them.
    pub destination: String,
    /// Where they are sent.
    pub target: String,
}

/// Something that leads out of a VPC.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// What it is.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

/// One endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// The service, as in `com.amazonaws.eu-central-1.s3`.
    pub service: String,
    /// Whether it is a gateway, reached by route tables, and has no addresses in subnets.
    pub gateway: bool,
    /// The tables that lead to it.
    pub route_tables: Vec<String>,
    /// Its policy; without one, everything goes through.
    pub policy: Option<Policy>,
}

/// One security group.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    /// Its id.
    pub id: String,
    /// What may leave.
    pub egress: Vec<Egress>,
    /// How many rules let something in.
    pub ingress: usize,
}

/// One rule of a security group.
#[derive(Clone, Debug)]
pub struct Egress {
    /// Addresses, a group or the id of a list.
    pub to: String,
    /// Protocol and ports, as in `tcp 443`.
    pub what: String,
}

impl Egress {
    /// A rule for ports from one to another, or for all.
    pub(crate) fn new(to: String, protocol: &str, ports: Option<(u64, u64)>) -> Self {
        let what = match ports {
            Some((from, to)) if from == to => format!("{protocol} {from}"),
            Some((from, to)) => format!("{protocol} {from}-{to}"),
            None => format!("{protocol} on all ports"),
        };
        Self { to, what }
    }
}

/// What blocks public access to a bucket, when all four are on.
pub(crate) const PUBLIC_ACCESS_BLOCKS: [&str; 4] =
    ["BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"];

/// The resolver's firewall.
#[derive(Clone, Debug)]
pub struct Dns {
    /// Its rules, the first that fits decides.
    pub rules: Vec<DnsRule>,
    /// Whether names are looked up when the firewall does not answer. Templates cannot say.
    pub fails_open: Option<bool>,
}

/// One rule of the resolver's firewall.
#[derive(Clone, Debug)]
pub struct DnsRule {
    /// That of its group, then its own; the lowest is first.
    pub priority: (i64, i64),
    /// `ALLOW`, `BLOCK` or `ALERT`.
    pub action: String,
    /// The names.
    pub domains: Vec<String>,
}

/// A function's role.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its name or ARN.
    pub id: String,
    /// Who may assume it.
    pub trust: Policy,
    /// What it may do, in its own policies.
    pub policies: Vec<Policy>,
    /// Policies that are attached and were not read.
    pub attached: Vec<String>,
}

/// The bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Its ARN.
    pub arn: String,
    /// The name by which functions reach it.
    pub host: String,
    /// Whether all four blocks of public access are on.
    pub private: Part<bool>,
    /// Its policy.
    pub policy: Part<Policy>,
    /// How it is encrypted.
    pub encryption: Part<Option<String>>,
    /// Whether versions are kept, which outlive what expires.
    pub versioned: Part<bool>,
    /// Days after which everything in it is gone.
    pub expiry: Part<Option<u64>>,
}

/// A way to start functions without being the caller.
#[derive(Clone, Debug)]
pub struct Door {
    /// What it is.
    pub kind: String,
    /// Which function, or its own name.
    pub id: String,
}

/// What is recorded.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Whether all packets of the VPC are logged by flow.
    pub flows: Part<bool>,
    /// Whether all names that are looked up in the VPC are logged.
    pub names: Part<bool>,
    /// Log groups that are kept for ever.
    pub kept_for_ever: Part<Vec<String>>,
    /// The metrics of Lambda that some alarm watches.
    pub alarms: Part<Vec<String>>,
}
