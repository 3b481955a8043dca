"""Deploys sandbox.yaml to moto, and what moto leaves out of it: DEPLOY.py URL TEMPLATE.

Prints what a test needs as JSON, and then breaks one thing for each name on standard input."""
import json, re, sys

import boto3
from cfnlint.decode import decode

url, path = sys.argv[1:]
session = boto3.Session("setup", "setup", region_name="eu-central-1")
client = lambda name: session.client(name, endpoint_url=url)
cloudformation, ec2, iam, s3 = map(client, ("cloudformation", "ec2", "iam", "s3"))
lists = ec2.describe_managed_prefix_lists()["PrefixLists"]
addresses = next(l["PrefixListId"] for l in lists if l["PrefixListName"] == "com.amazonaws.eu-central-1.s3")
image = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/sandbox@sha256:" + "a" * 64
parameters = {"ImageUri": image, "S3PrefixListId": addresses}
cloudformation.create_stack(
    StackName="sandbox", TemplateBody=open(path).read(), Capabilities=["CAPABILITY_IAM"],
    Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()])
stack = cloudformation.describe_stacks(StackName="sandbox")["Stacks"][0]
assert stack["StackStatus"] == "CREATE_COMPLETE", stack
found = cloudformation.describe_stack_resources(StackName="sandbox")["StackResources"]
ids = {resource["LogicalResourceId"]: resource.get("PhysicalResourceId") for resource in found if "LogicalResourceId" in resource}

template, errors = decode(path)
assert not errors, errors
resources = json.loads(json.dumps(template))["Resources"]
names = {"AWS::AccountId": "123456789012", "AWS::Region": "eu-central-1", "AWS::Partition": "aws",
         "AWS::StackName": "sandbox", "Bucket.Arn": "arn:aws:s3:::" + ids["Bucket"],
         "FunctionLog.Arn": "arn:aws:logs:eu-central-1:123456789012:log-group:/sandbox/sandbox/functions:*",
         **{n: p.get("Default") for n, p in template["Parameters"].items()}, **parameters, **ids}


def value(of):
    """What a property is once it is deployed."""
    if isinstance(of, list):
        return [value(item) for item in of]
    if not isinstance(of, dict):
        return of
    if list(of) == ["Ref"]:
        return names[of["Ref"]]
    if list(of) == ["Fn::GetAtt"]:
        return names[".".join(of["Fn::GetAtt"])]
    if list(of) == ["Fn::Sub"]:
        return re.sub(r"\$\{([^}]+)\}", lambda match: str(names[match[1]]), of["Fn::Sub"])
    return {name: value(part) for name, part in of.items()}


def properties(name):
    return resources[name]["Properties"]


for subnet in ("SubnetA", "SubnetB"):
    ec2.associate_route_table(RouteTableId=ids["RouteTable"], SubnetId=ids[subnet])
    public = properties(subnet)["MapPublicIpOnLaunch"]
    ec2.modify_subnet_attribute(SubnetId=ids[subnet], MapPublicIpOnLaunch={"Value": public})
group = ids["SecurityGroup"]
anywhere = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
ec2.revoke_security_group_egress(GroupId=group, IpPermissions=[anywhere])
ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[{
    "IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "PrefixListIds": [{"PrefixListId": addresses}]}])
role = ids["Role"]
for document in [properties("Role")["Policies"][0]]:
    iam.put_role_policy(RoleName=role, PolicyName=document["PolicyName"],
                        PolicyDocument=json.dumps(value(document["PolicyDocument"])))
iam.update_assume_role_policy(
    RoleName=role, PolicyDocument=json.dumps(value(properties("Role")["AssumeRolePolicyDocument"])))
ec2.modify_vpc_endpoint(VpcEndpointId=ids["S3Endpoint"],
                        PolicyDocument=json.dumps(value(properties("S3Endpoint")["PolicyDocument"])))
bucket = ids["Bucket"]
s3.put_public_access_block(
    Bucket=bucket, PublicAccessBlockConfiguration=properties("Bucket")["PublicAccessBlockConfiguration"])
s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(value(properties("BucketPolicy")["PolicyDocument"])))
s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [
    {"ID": "expire", "Status": "Enabled", "Filter": {}, "Expiration": {"Days": names["FileDays"]}}]})
logs = client("logs")
for name in ("NetworkLog", "NameLog", "FunctionLog"):
    group_name = value(properties(name)["LogGroupName"])
    if not logs.describe_log_groups(logGroupNamePrefix=group_name)["logGroups"]:
        logs.create_log_group(logGroupName=group_name)
    logs.put_retention_policy(logGroupName=group_name, retentionInDays=names["LogDays"])
resolver = client("route53resolver")
config = resolver.create_resolver_query_log_config(
    Name="names", CreatorRequestId="1",
    DestinationArn="arn:aws:logs:eu-central-1:123456789012:log-group:/sandbox/sandbox/names")
resolver.associate_resolver_query_log_config(
    ResolverQueryLogConfigId=config["ResolverQueryLogConfig"]["Id"], ResourceId=ids["Vpc"])
watch = client("cloudwatch")
for name in ("ErrorAlarm", "ThrottleAlarm"):
    metrics = [dict(metric, ReturnData=metric.get("ReturnData", True)) for metric in value(properties(name)["Metrics"])]
    watch.put_metric_alarm(AlarmName=name, Metrics=metrics, EvaluationPeriods=1, Threshold=0,
                           ComparisonOperator="GreaterThanThreshold")


print(json.dumps({
    "functions": [ids[name] for name in ("Small", "Medium", "Large")],
    "bucket": bucket, "vpc": ids["Vpc"],
    "allowed": f"{bucket}.s3.eu-central-1.amazonaws.com",
}), flush=True)


def allow_s3():
    iam.put_role_policy(RoleName=role, PolicyName="more", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}))


def internet_gateway():
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=ids["Vpc"])
    return gateway


def disassociate():
    table = ec2.describe_route_tables(RouteTableIds=[ids["RouteTable"]])["RouteTables"][0]
    ec2.disassociate_route_table(AssociationId=table["Associations"][-1]["RouteTableAssociationId"])


def endpoint(policy):
    ec2.modify_vpc_endpoint(VpcEndpointId=ids["S3Endpoint"], PolicyDocument=json.dumps(policy))


breaks = {
    "internet gateway": internet_gateway,
    "NAT gateway": lambda: ec2.create_nat_gateway(SubnetId=ids["SubnetA"], ConnectivityType="private"),
    "route": lambda: ec2.create_route(
        RouteTableId=ids["RouteTable"], DestinationCidrBlock="0.0.0.0/0", GatewayId=internet_gateway()),
    "association": disassociate,
    "public addresses": lambda: ec2.modify_subnet_attribute(
        SubnetId=ids["SubnetA"], MapPublicIpOnLaunch={"Value": True}),
    "endpoint policy": lambda: endpoint({"Version": "2008-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}]}),
    "another endpoint": lambda: ec2.create_vpc_endpoint(
        VpcId=ids["Vpc"], ServiceName="com.amazonaws.eu-central-1.dynamodb", VpcEndpointType="Gateway"),
    "egress": lambda: ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[anywhere]),
    "right in S3": allow_s3,
    "attached policy": lambda: iam.attach_role_policy(
        RoleName=role, PolicyArn=ids["CallerPolicy"]),
    "trust": lambda: iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps({
        "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})),
    "role's denials": lambda: iam.put_role_policy(RoleName=role, PolicyName="function", PolicyDocument=json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:PutLogEvents", "Resource": "*"}]})),
    "public bucket": lambda: s3.delete_public_access_block(Bucket=bucket),
    "bucket policy": lambda: s3.delete_bucket_policy(Bucket=bucket),
    "expiry": lambda: s3.delete_bucket_lifecycle(Bucket=bucket),
    "flow logs": lambda: ec2.delete_flow_logs(
        FlowLogIds=[log["FlowLogId"] for log in ec2.describe_flow_logs()["FlowLogs"]]),
    "retention": lambda: logs.delete_retention_policy(logGroupName="/sandbox/sandbox/functions"),
    "alarm": lambda: watch.delete_alarms(AlarmNames=["ErrorAlarm"]),
    "concurrency": lambda: client("lambda").delete_function_concurrency(FunctionName="sandbox-small"),
    "permission": lambda: client("lambda").add_permission(
        FunctionName="sandbox-small", StatementId="x", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"),
}
for line in sys.stdin:
    breaks[line.strip()]()
    print("done", flush=True)
