//! An account is judged as a template is.
//!
//! The account is moto's; what it does not have, or has wrong, is put into its answers on the way:
//! images, tenancy and the VPC of functions, and the firewall of the resolver. It takes every
//! signature: those are compared with botocore's.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use sandbox_core::Verdict;
use sandbox_infra::account::Account;
use sandbox_infra::check;
use serde_json::{Value, json};

/// moto, with the stack in it.
struct Moto {
    server: Child,
    deployer: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    url: String,
    facts: Value,
}

fn tool(name: &str) -> PathBuf {
    let venv = std::env::var_os("SANDBOX_TEST_INFRA").map(PathBuf::from);
    let venv = venv.expect("SANDBOX_TEST_INFRA names no tools; run: source scripts/test-tools");
    venv.join("bin").join(name)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("address").port()
}

fn wait_for(port: u16) {
    let since = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(since.elapsed() < Duration::from_secs(60), "nothing listens on {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

impl Moto {
    fn start() -> Self {
        let port = free_port();
        let mut server = Command::new(tool("moto_server"));
        server.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let server =
            server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("moto_server");
        wait_for(port);
        let url = format!("http://127.0.0.1:{port}");
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let mut deployer = Command::new(tool("python"))
            .arg(format!("{here}tests/deploy.py"))
            .args([&url, &format!("{here}sandbox.yaml")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let commands = deployer.stdin.take().expect("stdin");
        let mut answers = BufReader::new(deployer.stdout.take().expect("stdout"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("facts");
        let facts = serde_json::from_str(&line).expect("facts");
        Self { server, deployer, commands, answers, url, facts }
    }

    fn break_one(&mut self, what: &str) {
        writeln!(self.commands, "{what}").expect("command");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("answer");
        assert_eq!(line, "done\n", "{what}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        for process in [&mut self.deployer, &mut self.server] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What is put into answers.
#[derive(Clone)]
struct Front {
    moto: String,
    client: reqwest::Client,
    vpc: String,
    firewall: Arc<Mutex<Firewall>>,
    /// A service that the account may not ask.
    denied: Arc<Mutex<Option<&'static str>>>,
}

/// The resolver's firewall, which moto does not have.
struct Firewall {
    rules: Value,
    domains: BTreeMap<String, Value>,
    fails_open: &'static str,
}

/// Operations of the firewall, and the members of their answers that are read: names of the
/// service's own model.
const FIREWALL: [(&str, &str); 4] = [
    ("ListFirewallRuleGroupAssociations", "FirewallRuleGroupAssociations"),
    ("ListFirewallRules", "FirewallRules"),
    ("ListFirewallDomains", "Domains"),
    ("GetFirewallConfig", "FirewallConfig"),
];

impl Firewall {
    fn answer(&self, operation: &str, ask: &Value) -> Option<Value> {
        Some(match operation {
            "ListFirewallRuleGroupAssociations" => json!({ "FirewallRuleGroupAssociations": [
                { "FirewallRuleGroupId": "group", "VpcId": ask["VpcId"], "Priority": 101,
                  "Status": "COMPLETE" },
            ]}),
            "ListFirewallRules" => json!({ "FirewallRules": self.rules }),
            "ListFirewallDomains" => {
                json!({ "Domains": self.domains[ask["FirewallDomainListId"].as_str()?] })
            }
            "GetFirewallConfig" => {
                json!({ "FirewallConfig": { "FirewallFailOpen": self.fails_open } })
            }
            _ => return None,
        })
    }
}

async fn pass(State(front): State<Front>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("body");
    let answer = |value: Value| Response::new(Body::from(value.to_string()));
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let denied = *front.denied.lock().expect("denied");
    let scope = header("authorization").unwrap_or_default();
    if denied.is_some_and(|service| scope.contains(&format!("/{service}/aws4_request"))) {
        let error = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>You are \
                     not authorized</Message></Error></Errors></Response>";
        let mut response = Response::new(Body::from(error));
        *response.status_mut() = StatusCode::FORBIDDEN;
        return response;
    }
    if let Some(operation) = header("x-amz-target").and_then(|t| t.strip_prefix("Route53Resolver."))
    {
        let ask = serde_json::from_slice(&body).expect("JSON");
        if let Some(value) = front.firewall.lock().expect("firewall").answer(operation, &ask) {
            return answer(value);
        }
    }
    let path = parts.uri.path_and_query().expect("path").as_str();
    if path.ends_with("/urls") {
        return answer(json!({ "FunctionUrlConfigs": [] }));
    }
    let url = format!("{}{path}", front.moto);
    let request = front.client.request(parts.method, url).headers(parts.headers).body(body);
    let found = request.send().await.expect("moto");
    let status = found.status();
    let kind = found.headers().get("x-amzn-errortype").cloned();
    let mut bytes = found.bytes().await.expect("answer").to_vec();
    if status.is_success() && path.ends_with("/configuration") {
        let mut function: Value = serde_json::from_slice(&bytes).expect("function");
        function["PackageType"] = "Image".into();
        function["VpcConfig"]["VpcId"] = front.vpc.clone().into();
        function["TenancyConfig"] = json!({ "TenantIsolationMode": "PER_TENANT" });
        function["LoggingConfig"] = json!({ "LogGroup": "/sandbox/sandbox/functions" });
        bytes = function.to_string().into_bytes();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response.headers_mut().insert("x-amzn-errortype", kind);
    }
    response
}

async fn serve(front: Front) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let router = axum::Router::new().fallback(pass).with_state(front);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn account(url: &str) -> Account {
    let credentials = Credentials::new("key", "secret", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .endpoint_url(url)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    Account::new(&config).expect("account")
}

/// What is broken, and the promise that must notice.
const BREAKS: [(&str, &str); 19] = [
    ("internet gateway", "the VPC has no way out"),
    ("NAT gateway", "the VPC has no way out"),
    ("route", "no route leads out"),
    ("public addresses", "no address is public"),
    ("endpoint policy", "the endpoint leads to one bucket"),
    ("another endpoint", "the only endpoint is S3's"),
    ("egress", "only HTTPS to S3 may leave"),
    ("association", "each subnet has its own routes"),
    ("role's denials", "the role's credentials are no use to code"),
    ("attached policy", "the role has no rights in S3"),
    ("trust", "only Lambda has the role"),
    ("public bucket", "the bucket is private"),
    ("bucket policy", "the bucket takes only TLS"),
    ("expiry", "files are encrypted and expire"),
    ("flow logs", "packets and names are logged"),
    ("retention", "logs expire"),
    ("alarm", "errors and throttles raise alarms"),
    ("concurrency", "time and concurrency are bounded"),
    ("permission", "nobody else starts them"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_promise_is_read_and_each_breach_is_noticed() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut moto = Moto::start();
    let facts = moto.facts.clone();
    let rules = json!([
        { "Priority": 1, "Action": "ALLOW", "FirewallDomainListId": "allowed" },
        { "Priority": 2, "Action": "BLOCK", "FirewallDomainListId": "all" },
    ]);
    let allowed = format!("{}.", facts["allowed"].as_str().expect("host"));
    let firewall = Arc::new(Mutex::new(Firewall {
        rules,
        domains: [("allowed".into(), json!([allowed])), ("all".into(), json!(["*."]))].into(),
        fails_open: "DISABLED",
    }));
    let front = Front {
        moto: moto.url.clone(),
        client: reqwest::Client::new(),
        vpc: facts["vpc"].as_str().expect("vpc").to_owned(),
        firewall: Arc::clone(&firewall),
        denied: Arc::default(),
    };
    let url = serve(front.clone()).await;
    let functions: Vec<String> =
        serde_json::from_value(facts["functions"].clone()).expect("functions");
    let bucket = facts["bucket"].as_str().expect("bucket");
    let judge = async || {
        let deployment = account(&url).read(&functions, bucket).await.expect("deployment");
        check(&deployment)
    };

    let findings = judge().await;
    for finding in &findings {
        assert_eq!(finding.verdict, Verdict::Held, "{finding:?}");
    }
    // A template has one promise more, that there is nothing else.
    assert_eq!(findings.len(), sandbox_infra::PROMISES - 1);

    for (what, promise) in BREAKS {
        moto.break_one(what);
        let findings = judge().await;
        let finding = findings.iter().find(|f| f.promise == promise).expect("the promise");
        assert_eq!(finding.verdict, Verdict::Broken, "{what}: {finding:?}");
    }
    for change in [
        |firewall: &mut Firewall| firewall.fails_open = "ENABLED",
        |firewall: &mut Firewall| firewall.rules[1]["Action"] = "ALERT".into(),
        |firewall: &mut Firewall| {
            firewall.rules[1]["Action"] = "BLOCK".into();
            firewall.rules[1]["Qtype"] = "TXT".into();
        },
    ] {
        change(&mut firewall.lock().expect("firewall"));
        let findings = judge().await;
        let name = "only the bucket's name is looked up";
        let finding = findings.iter().find(|f| f.promise == name).expect("the promise");
        assert_eq!(finding.verdict, Verdict::Broken, "{finding:?}");
    }

    // Whoever may see functions only, sees functions only, and is told what it lacks.
    *front.denied.lock().expect("denied") = Some("ec2");
    let findings = judge().await;
    let finding = findings.iter().find(|f| f.promise == "the VPC has no way out");
    let finding = finding.expect("the promise");
    assert_eq!(finding.verdict, Verdict::Untried, "{finding:?}");
    assert!(finding.evidence.contains("UnauthorizedOperation"), "{finding:?}");
    assert!(finding.evidence.contains("allow this action"), "{finding:?}");
    *front.denied.lock().expect("denied") = Some("lambda");
    let error = account(&url).read(&functions, bucket).await.expect_err("denied");
    assert!(error.to_string().contains("GetFunctionConfiguration: 403"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_service_is_sent_the_signature_that_botocore_makes() {
    let port = free_port();
    let mut server = Command::new(tool("python"))
        .args([concat!(env!("CARGO_MANIFEST_DIR"), "/tests/signed.py"), &port.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    wait_for(port);
    let account = account(&format!("http://127.0.0.1:{port}"));
    // The answers say little, so that each service is asked and little is found.
    let _ = account.read(&["sandbox".to_owned()], "a-bucket").await;
    let _ = server.kill();
    let output = server.wait_with_output().expect("output");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("DIFFERENT"), "{text}");
    for service in [
        "lambda eu-central-1",
        "ec2 eu-central-1",
        "iam us-east-1",
        "s3 eu-central-1",
        "route53resolver eu-central-1",
        "monitoring eu-central-1",
    ] {
        assert!(text.contains(&format!("{service} same")), "{service}: {text}");
    }
}

#[test]
fn names_are_those_of_the_services_own_model() {
    let venv = tool("..").join("lib");
    let python = std::fs::read_dir(&venv).expect("lib").flatten().next().expect("python").path();
    let model =
        python.join("site-packages/botocore/data/route53resolver/2018-04-01/service-2.json.gz");
    let model = Command::new("gzip").arg("-dc").arg(&model).output().expect("gzip");
    let model: Value = serde_json::from_slice(&model.stdout).expect("model");
    let member = |shape: &str, name: &str| !model["shapes"][shape]["members"][name].is_null();
    for (operation, answer) in FIREWALL {
        let output = model["operations"][operation]["output"]["shape"].as_str().expect(operation);
        assert!(member(output, answer), "{output} has no {answer}");
    }
    for (shape, name) in [
        ("FirewallRuleGroupAssociation", "FirewallRuleGroupId"),
        ("FirewallRuleGroupAssociation", "Priority"),
        ("FirewallRuleGroupAssociation", "Status"),
        ("FirewallRule", "FirewallDomainListId"),
        ("FirewallRule", "Priority"),
        ("FirewallRule", "Action"),
        ("FirewallRule", "Qtype"),
        ("FirewallConfig", "FirewallFailOpen"),
        ("ListFirewallRuleGroupAssociationsRequest", "VpcId"),
        ("ListFirewallRulesRequest", "FirewallRuleGroupId"),
        ("ListFirewallDomainsRequest", "FirewallDomainListId"),
        ("GetFirewallConfigRequest", "ResourceId"),
        ("ListResolverQueryLogConfigAssociationsResponse", "ResolverQueryLogConfigAssociations"),
    ] {
        assert!(member(shape, name), "{shape} has no {name}");
    }
}
