//! The templates keep every promise, and one that breaks a promise is told by that promise.

use sandbox_core::Verdict;
use sandbox_infra::{PROMISES, Template};
use serde_json::{Value, json};

fn path(name: &str) -> String {
    format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn ours() -> Template {
    Template::read([path("sandbox.yaml"), path("development.yaml")]).expect("templates")
}

#[test]
fn every_promise_is_kept_by_one_stack_and_by_both() {
    for templates in [ours(), Template::read([path("sandbox.yaml")]).expect("template")] {
        let findings = templates.check().expect("findings");
        assert_eq!(findings.len(), PROMISES);
        for finding in findings {
            assert_eq!(finding.verdict, Verdict::Held, "{finding:?}");
        }
    }
}

#[test]
fn a_choice_that_gives_a_promise_up_is_named() {
    let findings = ours().check().expect("findings");
    let tenants = findings.iter().find(|f| f.promise == "a microVM serves one tenant");
    let evidence = &tenants.expect("the promise").evidence;
    assert!(evidence.contains("not so with Tenancy=SHARED"), "{evidence}");
}

/// A change to the first template's JSON.
type Change = fn(&mut Value);

fn resources(template: &mut Value) -> &mut serde_json::Map<String, Value> {
    template["Resources"].as_object_mut().expect("resources")
}

fn add(template: &mut Value, kind: &str, properties: Value) {
    let resource = json!({ "Type": kind, "Properties": properties });
    resources(template).insert("Added".into(), resource);
}

fn properties<'a>(template: &'a mut Value, name: &str) -> &'a mut Value {
    let found = &mut template["Resources"][name]["Properties"];
    assert!(found.is_object(), "no {name}");
    found
}

fn remove(value: &mut Value, name: &str) {
    assert!(value.as_object_mut().expect("object").remove(name).is_some(), "no {name}");
}

fn statement<'a>(document: &'a mut Value, sid: &str) -> &'a mut Value {
    let statements = document["Statement"].as_array_mut().expect("statements");
    statements.iter_mut().find(|statement| statement["Sid"] == sid).expect("statement")
}

fn without(document: &mut Value, sid: &str) {
    let statements = document["Statement"].as_array_mut().expect("statements");
    let before = statements.len();
    statements.retain(|statement| statement["Sid"] != sid);
    assert_eq!(statements.len(), before - 1, "{sid}");
}

fn endpoint(template: &mut Value, sid: &str) -> Value {
    statement(&mut properties(template, "S3Endpoint")["PolicyDocument"], sid).clone()
}

fn set_endpoint(template: &mut Value, sid: &str, name: &str, value: Value) {
    statement(&mut properties(template, "S3Endpoint")["PolicyDocument"], sid)[name] = value;
}

fn role(template: &mut Value) -> &mut Value {
    &mut properties(template, "Role")["Policies"][0]["PolicyDocument"]
}

fn allow(template: &mut Value, action: &str) {
    let statement = json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
    role(template)["Statement"].as_array_mut().expect("statements").push(statement);
}

fn bucket_policy(template: &mut Value) -> &mut Value {
    &mut properties(template, "BucketPolicy")["PolicyDocument"]
}

fn dns_rules(template: &mut Value) -> &mut Vec<Value> {
    properties(template, "DnsRules")["FirewallRules"].as_array_mut().expect("rules")
}

/// What each promise must notice. A change may break others too.
const MUTATIONS: &[(&str, &str, Change)] = &[
    ("functions run in microVMs", "on Managed Instances", |t| {
        properties(t, "Small")["CapacityProviderConfig"] = json!({ "X": "y" });
    }),
    ("functions run in microVMs", "from a zip", |t| {
        properties(t, "Large")["PackageType"] = "Zip".into();
    }),
    ("a microVM serves one tenant", "no tenancy", |t| {
        remove(properties(t, "Medium"), "TenancyConfig");
    }),
    ("a microVM serves one tenant", "shared by default", |t| {
        t["Parameters"]["Tenancy"]["Default"] = "SHARED".into();
    }),
    ("functions are in the private subnets", "no VPC", |t| {
        remove(properties(t, "Small"), "VpcConfig");
    }),
    ("functions are in the private subnets", "a subnet of somebody else's", |t| {
        properties(t, "Small")["VpcConfig"]["SubnetIds"] = json!(["subnet-0123456789abcdef0"]);
    }),
    ("functions are in the private subnets", "the default security group", |t| {
        remove(&mut properties(t, "Small")["VpcConfig"], "SecurityGroupIds");
    }),
    ("functions are in the private subnets", "one zone", |t| {
        properties(t, "SubnetB")["AvailabilityZone"] =
            json!({ "Fn::Select": [0, { "Fn::GetAZs": "" }] });
    }),
    ("time and concurrency are bounded", "no concurrency", |t| {
        remove(properties(t, "Large"), "ReservedConcurrentExecutions");
    }),
    ("time and concurrency are bounded", "no timeout", |t| {
        remove(properties(t, "Large"), "Timeout");
    }),
    ("nobody else starts them", "a URL", |t| {
        add(t, "AWS::Lambda::Url", json!({ "AuthType": "NONE" }));
    }),
    ("nobody else starts them", "a permission", |t| {
        add(t, "AWS::Lambda::Permission", json!({ "Principal": "*" }));
    }),
    ("the VPC has no way out", "an internet gateway", |t| {
        add(t, "AWS::EC2::InternetGateway", json!({}));
    }),
    ("the VPC has no way out", "a NAT gateway", |t| {
        add(t, "AWS::EC2::NatGateway", json!({ "SubnetId": { "Ref": "SubnetA" } }));
    }),
    ("the VPC has no way out", "peering", |t| {
        add(t, "AWS::EC2::VPCPeeringConnection", json!({ "VpcId": { "Ref": "Vpc" } }));
    }),
    ("the VPC has no way out", "hidden behind a condition", |t| {
        t["Parameters"]["Debug"] = json!({ "Type": "String", "Default": "" });
        t["Conditions"]["Debugging"] =
            json!({ "Fn::Not": [{ "Fn::Equals": [{ "Ref": "Debug" }, ""] }] });
        add(t, "AWS::EC2::InternetGateway", json!({}));
        resources(t)["Added"]["Condition"] = "Debugging".into();
    }),
    ("each subnet has its own routes", "no association", |t| {
        resources(t).remove("RouteTableOfSubnetB").expect("association");
    }),
    ("no route leads out", "a route", |t| {
        let route = json!({
            "RouteTableId": { "Ref": "RouteTable" },
            "DestinationCidrBlock": "0.0.0.0/0",
            "GatewayId": "igw-0123456789abcdef0",
        });
        add(t, "AWS::EC2::Route", route);
    }),
    ("no route leads out", "a route of IPv6", |t| {
        let route = json!({
            "RouteTableId": { "Fn::GetAtt": ["RouteTable", "RouteTableId"] },
            "DestinationIpv6CidrBlock": "::/0",
            "EgressOnlyInternetGatewayId": "eigw-0123456789abcdef0",
        });
        add(t, "AWS::EC2::Route", route);
    }),
    ("no route leads out", "a table of somebody else's", |t| {
        properties(t, "RouteTableOfSubnetA")["RouteTableId"] = "rtb-0123456789abcdef0".into();
    }),
    ("no address is public", "public addresses", |t| {
        properties(t, "SubnetA")["MapPublicIpOnLaunch"] = "true".into();
    }),
    ("no address is public", "IPv6", |t| {
        properties(t, "SubnetA")["Ipv6CidrBlock"] = "2001:db8::/64".into();
    }),
    ("the only endpoint is S3's", "another service", |t| {
        let endpoint = json!({
            "VpcEndpointType": "Interface",
            "ServiceName": { "Fn::Sub": "com.amazonaws.${AWS::Region}.sts" },
            "PolicyDocument": { "Statement": [] },
        });
        add(t, "AWS::EC2::VPCEndpoint", endpoint);
    }),
    ("the only endpoint is S3's", "DynamoDB", |t| {
        properties(t, "S3Endpoint")["ServiceName"] = "com.amazonaws.eu-central-1.dynamodb".into();
    }),
    ("the only endpoint is S3's", "of no table", |t| {
        properties(t, "S3Endpoint")["RouteTableIds"] = json!([]);
    }),
    ("the endpoint leads to one bucket", "the default policy", |t| {
        remove(properties(t, "S3Endpoint"), "PolicyDocument");
    }),
    ("the endpoint leads to one bucket", "all buckets", |t| {
        set_endpoint(t, "WriteAnswers", "Resource", json!("*"));
    }),
    ("the endpoint leads to one bucket", "a second bucket", |t| {
        let mut resources = endpoint(t, "ReadInputs")["Resource"].clone();
        resources
            .as_array_mut()
            .expect("list")
            .push("arn:aws:s3:::another/sandbox/inputs/*".into());
        set_endpoint(t, "ReadInputs", "Resource", resources);
    }),
    ("the endpoint leads to one bucket", "the whole bucket", |t| {
        set_endpoint(t, "ReadInputs", "Resource", json!({ "Fn::Sub": "${Bucket.Arn}/*" }));
    }),
    ("the endpoint leads to one bucket", "a longer name", |t| {
        set_endpoint(
            t,
            "ReadInputs",
            "Resource",
            json!({ "Fn::Sub": "${Bucket.Arn}-2/sandbox/*" }),
        );
    }),
    ("the endpoint leads to one bucket", "all actions", |t| {
        set_endpoint(t, "ReadInputs", "Action", json!("s3:*"));
    }),
    ("the endpoint leads to one bucket", "by exception", |t| {
        let policy = &mut properties(t, "S3Endpoint")["PolicyDocument"];
        let read = statement(policy, "ReadInputs");
        remove(read, "Resource");
        read["NotResource"] = "arn:aws:s3:::secret/*".into();
    }),
    ("the endpoint leads to one bucket", "keys of others", |t| {
        let policy = &mut properties(t, "S3Endpoint")["PolicyDocument"];
        remove(statement(policy, "WriteAnswers"), "Condition");
    }),
    ("only HTTPS to S3 may leave", "everything", |t| {
        let all = json!([{ "IpProtocol": "-1", "CidrIp": "0.0.0.0/0" }]);
        properties(t, "SecurityGroup")["SecurityGroupEgress"] = all;
    }),
    ("only HTTPS to S3 may leave", "no rule, which is everything", |t| {
        remove(properties(t, "SecurityGroup"), "SecurityGroupEgress");
    }),
    ("only HTTPS to S3 may leave", "an empty list, which is everything", |t| {
        properties(t, "SecurityGroup")["SecurityGroupEgress"] = json!([]);
    }),
    ("only HTTPS to S3 may leave", "a rule apart", |t| {
        let rule = json!({
            "GroupId": { "Fn::GetAtt": ["SecurityGroup", "GroupId"] },
            "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIp": "0.0.0.0/0",
        });
        add(t, "AWS::EC2::SecurityGroupEgress", rule);
    }),
    ("only HTTPS to S3 may leave", "more ports", |t| {
        properties(t, "SecurityGroup")["SecurityGroupEgress"][0]["FromPort"] = json!(1);
    }),
    ("only HTTPS to S3 may leave", "something in", |t| {
        let rule =
            json!([{ "IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "CidrIp": "0.0.0.0/0" }]);
        properties(t, "SecurityGroup")["SecurityGroupIngress"] = rule;
    }),
    ("only the bucket's name is looked up", "no association", |t| {
        resources(t).remove("DnsFirewall").expect("association");
    }),
    ("only the bucket's name is looked up", "nothing blocked", |t| {
        dns_rules(t).pop().expect("rule");
    }),
    ("only the bucket's name is looked up", "an alert", |t| {
        dns_rules(t)[1]["Action"] = "ALERT".into();
    }),
    ("only the bucket's name is looked up", "blocked too late", |t| {
        dns_rules(t)[0]["Priority"] = json!(3);
    }),
    ("only the bucket's name is looked up", "all of AWS", |t| {
        properties(t, "AllowedNames")["Domains"] = json!(["*.amazonaws.com"]);
    }),
    ("only the bucket's name is looked up", "one kind of query blocked", |t| {
        dns_rules(t)[1]["Qtype"] = "TXT".into();
    }),
    ("only the bucket's name is looked up", "another VPC's", |t| {
        properties(t, "DnsFirewall")["VpcId"] = "vpc-0123456789abcdef0".into();
    }),
    ("the role has no rights in S3", "reading", |t| allow(t, "s3:GetObject")),
    ("the role has no rights in S3", "anything", |t| allow(t, "*")),
    ("the role has no rights in S3", "a wildcard", |t| allow(t, "logs:*")),
    ("the role has no rights in S3", "by exception", |t| {
        let statement = json!({ "Effect": "Allow", "NotAction": "iam:*", "Resource": "*" });
        role(t)["Statement"].as_array_mut().expect("statements").push(statement);
    }),
    ("the role has no rights in S3", "a policy of AWS's", |t| {
        properties(t, "Role")["ManagedPolicyArns"] =
            json!(["arn:aws:iam::aws:policy/AmazonS3FullAccess"]);
    }),
    ("the role has no rights in S3", "a policy apart", |t| {
        let policy = json!({
            "Roles": [{ "Ref": "Role" }],
            "PolicyDocument": { "Statement": { "Effect": "Allow", "Action": "s3:*", "Resource": "*" } },
        });
        add(t, "AWS::IAM::Policy", policy);
    }),
    ("the role's credentials are no use to code", "nothing denied", |t| {
        without(role(t), "NothingForCode");
    }),
    ("the role's credentials are no use to code", "use elsewhere", |t| {
        without(role(t), "NothingOutsideTheVpc");
    }),
    ("the role's credentials are no use to code", "another VPC", |t| {
        statement(role(t), "NothingOutsideTheVpc")["Condition"] =
            json!({ "StringNotEqualsIfExists": { "aws:SourceVpc": "vpc-0123456789abcdef0" } });
    }),
    ("the role's credentials are no use to code", "with a way around", |t| {
        statement(role(t), "NothingForCode")["Condition"]["StringEquals"] = json!({ "aws:a": "b" });
    }),
    ("the role's credentials are no use to code", "functions of another name", |t| {
        statement(role(t), "NothingForCode")["Condition"] = json!({ "ArnLike": { "lambda:SourceFunctionArn": "arn:aws:lambda:eu-central-1:1:function:x-*" } });
    }),
    ("only Lambda has the role", "everybody", |t| {
        properties(t, "Role")["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] = "*".into();
    }),
    ("only Lambda has the role", "EC2 too", |t| {
        properties(t, "Role")["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] =
            json!({ "Service": ["lambda.amazonaws.com", "ec2.amazonaws.com"] });
    }),
    ("the bucket is private", "public access", |t| {
        properties(t, "Bucket")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] =
            false.into();
    }),
    ("the bucket is private", "open to everybody", |t| {
        let open = json!({ "Effect": "Allow", "Principal": { "AWS": "*" }, "Action": "s3:GetObject", "Resource": "*" });
        bucket_policy(t)["Statement"].as_array_mut().expect("statements").push(open);
    }),
    ("the bucket takes only TLS", "no denial", |t| without(bucket_policy(t), "OnlyTls")),
    ("the bucket takes only TLS", "of some", |t| {
        statement(bucket_policy(t), "OnlyTls")["Action"] = "s3:GetObject".into();
    }),
    ("answers are written from the VPC only", "no denial", |t| {
        without(bucket_policy(t), "AnswersOnlyThroughTheEndpoint");
    }),
    ("answers are written from the VPC only", "one prefix", |t| {
        let resource = json!({ "Fn::Sub": "${Bucket.Arn}/sandbox/jobs/*" });
        statement(bucket_policy(t), "AnswersOnlyThroughTheEndpoint")["Resource"] = resource;
    }),
    ("answers are written from the VPC only", "another endpoint", |t| {
        statement(bucket_policy(t), "AnswersOnlyThroughTheEndpoint")["Condition"] =
            json!({ "StringNotEquals": { "aws:SourceVpce": "vpce-0123456789abcdef0" } });
    }),
    ("files are encrypted and expire", "not encrypted", |t| {
        remove(properties(t, "Bucket"), "BucketEncryption");
    }),
    ("files are encrypted and expire", "kept", |t| {
        remove(properties(t, "Bucket"), "LifecycleConfiguration");
    }),
    ("files are encrypted and expire", "some are kept", |t| {
        properties(t, "Bucket")["LifecycleConfiguration"]["Rules"][0]["Prefix"] =
            "sandbox/jobs/".into();
    }),
    ("packets and names are logged", "no flows", |t| {
        resources(t).remove("FlowLog").expect("flow log");
    }),
    ("packets and names are logged", "rejected ones only", |t| {
        properties(t, "FlowLog")["TrafficType"] = "REJECT".into();
    }),
    ("packets and names are logged", "no names", |t| {
        resources(t).remove("QueryLogOfVpc").expect("association");
    }),
    ("logs expire", "kept for ever", |t| remove(properties(t, "FunctionLog"), "RetentionInDays")),
    ("logs expire", "a group of Lambda's", |t| remove(properties(t, "Small"), "LoggingConfig")),
    ("errors and throttles raise alarms", "no errors", |t| {
        resources(t).remove("ErrorAlarm").expect("alarm");
    }),
    ("errors and throttles raise alarms", "no throttles", |t| {
        resources(t).remove("ThrottleAlarm").expect("alarm");
    }),
    ("the VPC has no way out", "hidden behind a comparison of a parameter without values", |t| {
        t["Parameters"]["Debug"] = json!({ "Type": "String", "Default": "no" });
        t["Conditions"]["Debugging"] = json!({ "Fn::Equals": [{ "Fn::Sub": "${Debug}" }, "yes"] });
        add(t, "AWS::EC2::InternetGateway", json!({}));
        resources(t)["Added"]["Condition"] = "Debugging".into();
    }),
    ("the VPC has no way out", "hidden behind the region", |t| {
        t["Conditions"]["Here"] =
            json!({ "Fn::Equals": [{ "Ref": "AWS::Region" }, "eu-central-1"] });
        add(t, "AWS::EC2::InternetGateway", json!({}));
        resources(t)["Added"]["Condition"] = "Here".into();
    }),
    ("the bucket is private", "when a parameter says otherwise", |t| {
        t["Parameters"]["Block"] =
            json!({ "Type": "String", "AllowedValues": [true, false], "Default": true });
        properties(t, "Bucket")["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] =
            json!({ "Ref": "Block" });
    }),
    ("only Lambda has the role", "whoever a parameter says", |t| {
        t["Parameters"]["Who"] = json!({ "Type": "String", "Default": "lambda.amazonaws.com" });
        properties(t, "Role")["AssumeRolePolicyDocument"]["Statement"][0]["Principal"] =
            json!({ "Service": { "Ref": "Who" } });
    }),
    ("functions are in the private subnets", "in another VPC", |t| {
        for name in ["SubnetA", "SubnetB", "RouteTable", "SecurityGroup", "S3Endpoint"] {
            properties(t, name)["VpcId"] = "vpc-0123456789abcdef0".into();
        }
    }),
    ("only the bucket's name is looked up", "a list that nobody sees", |t| {
        dns_rules(t)[0]["FirewallDomainListId"] = "rslvr-fdl-0123456789abcdef".into();
    }),
    ("only the bucket's name is looked up", "names from a file", |t| {
        properties(t, "AllowedNames")["DomainFileUrl"] = "s3://somewhere/names".into();
    }),
    ("only the bucket's name is looked up", "a group that is asked first", |t| {
        let association = json!({
            "FirewallRuleGroupId": "rslvr-frg-0123456789abcdef",
            "VpcId": { "Ref": "Vpc" },
            "Priority": 100,
        });
        add(t, "AWS::Route53Resolver::FirewallRuleGroupAssociation", association);
    }),
    ("the endpoint leads to one bucket", "keys of a certain other account", |t| {
        let condition = json!({ "StringEquals": { "aws:PrincipalAccount": "999999999999", "aws:ResourceAccount": { "Ref": "AWS::AccountId" } } });
        set_endpoint(t, "WriteAnswers", "Condition", condition);
    }),
    ("the bucket is private", "open to another account", |t| {
        let open = json!({ "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::999999999999:root" }, "Action": "s3:*", "Resource": "*" });
        bucket_policy(t)["Statement"].as_array_mut().expect("statements").push(open);
    }),
    ("the role has no rights in S3", "all logs", |t| {
        statement(role(t), "Logs")["Resource"] = "*".into();
    }),
    ("the role's credentials are no use to code", "functions of another account", |t| {
        statement(role(t), "NothingForCode")["Condition"] = json!({ "ArnLike": {
            "lambda:SourceFunctionArn": "arn:aws:lambda:us-west-9:000000000000:function:sandbox-*" } });
    }),
    ("files are encrypted and expire", "versions are kept", |t| {
        properties(t, "Bucket")["VersioningConfiguration"] = json!({ "Status": "Enabled" });
    }),
    ("logs expire", "a group that is not here", |t| {
        properties(t, "Small")["LoggingConfig"]["LogGroup"] = "/somebody/else".into();
    }),
    ("errors and throttles raise alarms", "switched off", |t| {
        properties(t, "ErrorAlarm")["ActionsEnabled"] = false.into();
    }),
    ("only HTTPS to S3 may leave", "two places in one rule", |t| {
        properties(t, "SecurityGroup")["SecurityGroupEgress"][0]["CidrIp"] = "0.0.0.0/0".into();
    }),
    ("no address is public", "in the words of YAML 1.1", |t| {
        properties(t, "SubnetA")["MapPublicIpOnLaunch"] = "yes".into();
    }),
    ("nothing else is deployed", "a role for everybody", |t| {
        let trust = json!({ "Statement": [{ "Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole" }] });
        add(t, "AWS::IAM::Role", json!({ "AssumeRolePolicyDocument": trust }));
    }),
    ("nothing else is deployed", "a flow log's role that does more", |t| {
        properties(t, "FlowLogRole")["ManagedPolicyArns"] =
            json!(["arn:aws:iam::aws:policy/AdministratorAccess"]);
    }),
    ("nothing else is deployed", "a caller's policy for everything", |t| {
        let policy = &mut properties(t, "CallerPolicy")["PolicyDocument"];
        statement(policy, "Files")["Resource"] = "*".into();
    }),
    ("nothing else is deployed", "a log group for everybody", |t| {
        let policy = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"logs:PutLogEvents","Resource":"*"}]}"#;
        properties(t, "NameLogPolicy")["PolicyDocument"] = policy.into();
    }),
    ("nothing else is deployed", "replication", |t| {
        properties(t, "Bucket")["ReplicationConfiguration"] = json!({ "Role": "x", "Rules": [] });
    }),
    ("nothing else is deployed", "secrets in variables", |t| {
        properties(t, "Small")["Environment"] = json!({ "Variables": { "KEY": "secret" } });
    }),
    ("nothing else is deployed", "another entrypoint", |t| {
        properties(t, "Small")["ImageConfig"] = json!({ "EntryPoint": ["/bin/sh"] });
    }),
    ("nothing else is deployed", "a route in a table that is not here", |t| {
        let route = json!({ "RouteTableId": "rtb-0123456789abcdef0", "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-0" });
        add(t, "AWS::EC2::Route", route);
    }),
    ("nothing else is deployed", "a second policy of the bucket", |t| {
        add(
            t,
            "AWS::S3::BucketPolicy",
            json!({ "Bucket": { "Ref": "Bucket" }, "PolicyDocument": { "Statement": [] } }),
        );
    }),
    ("nothing else is deployed", "flow logs for a stranger", |t| {
        properties(t, "FlowLog")["LogDestination"] = "arn:aws:s3:::stranger".into();
    }),
    ("nothing else is deployed", "an instance", |t| add(t, "AWS::EC2::Instance", json!({}))),
    ("nothing else is deployed", "a nested stack", |t| {
        add(t, "AWS::CloudFormation::Stack", json!({ "TemplateURL": "https://example.com/x" }));
    }),
];

#[test]
fn a_template_that_breaks_a_promise_is_told_by_it() {
    let promises: std::collections::BTreeSet<_> =
        MUTATIONS.iter().map(|(promise, ..)| promise).collect();
    assert_eq!(promises.len(), PROMISES, "each promise is broken by some mutation");
    for (promise, what, change) in MUTATIONS {
        let mut documents = ours().documents().to_vec();
        change(&mut documents[0]);
        let template = Template::from_documents(documents).expect("template");
        let findings = template.check().unwrap_or_else(|error| panic!("{what}: {error}"));
        let finding = findings.iter().find(|f| f.promise == *promise);
        let finding = finding.unwrap_or_else(|| panic!("no promise {promise}"));
        assert_eq!(finding.verdict, Verdict::Broken, "{promise}: {what}: {}", finding.evidence);
    }
}

#[test]
fn what_a_check_cannot_see_through_is_refused() {
    let refused: &[(&str, Change)] = &[
        ("Transform", |t| t["Transform"] = "AWS::LanguageExtensions".into()),
        ("Fn::Transform", |t| {
            properties(t, "Small")["Code"] = json!({ "Fn::Transform": { "Name": "AWS::Include" } });
        }),
        ("Fn::FindInMap", |t| {
            properties(t, "Vpc")["CidrBlock"] = json!({ "Fn::FindInMap": ["a", "b", "c"] });
        }),
        ("there is no Nowhere", |t| properties(t, "Small")["Role"] = json!({ "Ref": "Nowhere" })),
        ("two outputs export sandbox-Role", |t| {
            t["Outputs"]["Another"] = json!({ "Value": "x", "Export": { "Name": "sandbox-Role" } });
        }),
        ("2 buckets", |t| add(t, "AWS::S3::Bucket", json!({}))),
    ];
    for (what, change) in refused {
        let mut documents = ours().documents().to_vec();
        change(&mut documents[0]);
        let error = match Template::from_documents(documents) {
            Err(error) => error.to_string(),
            Ok(template) => template.check().expect_err(what).to_string(),
        };
        assert!(error.contains(what), "{what}: {error}");
    }
}

#[test]
fn nothing_is_promised_of_nothing() {
    let bucket =
        json!({ "Resources": { "Bucket": { "Type": "AWS::S3::Bucket", "Properties": {} } } });
    let findings = Template::from_documents(vec![bucket]).expect("template").check();
    let held: Vec<_> =
        findings.expect("findings").into_iter().filter(|f| f.verdict == Verdict::Held).collect();
    let fine = ["the VPC has no way out", "nothing else is deployed"];
    assert!(held.iter().all(|finding| fine.contains(&finding.promise)), "{held:#?}");
}

#[test]
fn the_second_stack_is_judged_with_the_first() {
    let mut documents = ours().documents().to_vec();
    remove(properties(&mut documents[1], "Function"), "TenancyConfig");
    let findings = Template::from_documents(documents).expect("templates").check();
    let findings = findings.expect("findings");
    let tenants = findings.iter().find(|f| f.promise == "a microVM serves one tenant");
    assert_eq!(tenants.expect("the promise").verdict, Verdict::Broken);
    // Alone it imports what nobody exports.
    let alone = Template::read([path("development.yaml")]).expect("template");
    assert!(alone.check().is_err());
}
