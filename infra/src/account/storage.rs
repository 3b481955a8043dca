//! The bucket, logs and alarms.

use serde_json::{Value, json};

use super::api::{Api, Refusal};
use super::xml::{self, list};
use crate::model::{Bucket, Function, PUBLIC_ACCESS_BLOCKS, Part, Watch};
use crate::policy::Policy;

pub(super) async fn bucket(api: &Api, name: &str) -> Bucket {
    Bucket {
        arn: format!("arn:{}:s3:::{name}", api.partition()),
        host: api.bucket_host(name),
        private: private(api, name).await,
        policy: policy(api, name).await,
        encryption: encryption(api, name).await,
        versioned: versioned(api, name).await,
        expiry: expiry(api, name).await,
    }
}

/// A setting that was never made is no failure to read it.
fn or_unset<T>(result: Result<T, Refusal>, unset: &str) -> Part<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(refusal) if refusal.code == unset => Ok(None),
        Err(refusal) => Err(refusal.into()),
    }
}

async fn private(api: &Api, name: &str) -> Part<bool> {
    let found = api.bucket("s3:GetBucketPublicAccessBlock", name, "publicAccessBlock").await;
    let Some(found) = or_unset(found, "NoSuchPublicAccessBlockConfiguration")? else {
        return Ok(false);
    };
    let found = xml::to_json(&found)?;
    let on = |value: &Value| value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("true"));
    Ok(PUBLIC_ACCESS_BLOCKS.iter().all(|block| on(&found[*block])))
}

async fn policy(api: &Api, name: &str) -> Part<Policy> {
    let found = api.bucket("s3:GetBucketPolicy", name, "policy").await;
    let Some(found) = or_unset(found, "NoSuchBucketPolicy")? else { return Ok(Policy::default()) };
    let document = serde_json::from_str(&found).map_err(|error| error.to_string())?;
    Policy::parse(&document)
}

async fn encryption(api: &Api, name: &str) -> Part<Option<String>> {
    let found = api.bucket("s3:GetEncryptionConfiguration", name, "encryption").await;
    let unset = "ServerSideEncryptionConfigurationNotFoundError";
    let Some(found) = or_unset(found, unset)? else { return Ok(None) };
    let found = xml::to_json(&found)?;
    let rules = list(&found["Rule"]);
    let algorithm = rules.first().map(|r| &r["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]);
    Ok(algorithm.and_then(Value::as_str).map(str::to_owned))
}

async fn versioned(api: &Api, name: &str) -> Part<bool> {
    let found = xml::to_json(&api.bucket("s3:GetBucketVersioning", name, "versioning").await?)?;
    Ok(!found["Status"].is_null())
}

async fn expiry(api: &Api, name: &str) -> Part<Option<u64>> {
    let found = api.bucket("s3:GetLifecycleConfiguration", name, "lifecycle").await;
    let Some(found) = or_unset(found, "NoSuchLifecycleConfiguration")? else { return Ok(None) };
    let found = xml::to_json(&found)?;
    let whole = list(&found["Rule"]).into_iter().find(|rule| {
        // An empty filter, or an empty prefix, is the whole bucket.
        let narrow = |value: &Value| value.as_str().is_none_or(|text| !text.is_empty());
        let filter = &rule["Filter"];
        let narrowed = match filter {
            Value::Null => !rule["Prefix"].is_null() && narrow(&rule["Prefix"]),
            Value::Object(parts) => parts.iter().any(|(name, v)| name != "Prefix" || narrow(v)),
            other => narrow(other),
        };
        rule["Status"] == "Enabled" && !narrowed
    });
    let days = whole.and_then(|rule| rule["Expiration"]["Days"].as_str());
    Ok(days.and_then(|days| days.parse().ok()))
}

pub(super) async fn watch(api: &Api, vpc: &Part<String>, functions: &[Function]) -> Watch {
    Watch {
        flows: flows(api, vpc).await,
        names: names(api, vpc).await,
        kept_for_ever: kept_for_ever(api, functions).await,
        alarms: alarms(api, functions).await,
    }
}

async fn flows(api: &Api, vpc: &Part<String>) -> Part<bool> {
    let vpc = vpc.as_ref().map_err(String::clone)?;
    let filter = [("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", vpc)];
    let found = api.query("ec2", "2016-11-15", "DescribeFlowLogs", &filter).await?;
    let logs = list(&found["flowLogSet"]);
    Ok(logs.iter().any(|log| {
        log["trafficType"] == "ALL"
            && log["flowLogStatus"] == "ACTIVE"
            && log["deliverLogsStatus"] != "FAILED"
    }))
}

async fn names(api: &Api, vpc: &Part<String>) -> Part<bool> {
    let vpc = vpc.as_ref().map_err(String::clone)?;
    let filter = json!({ "Filters": [{ "Name": "ResourceId", "Values": [vpc] }] });
    let target = "Route53Resolver.ListResolverQueryLogConfigAssociations";
    let found = api.json("route53resolver", target, filter).await?;
    let logs = list(&found["ResolverQueryLogConfigAssociations"]);
    Ok(logs.iter().any(|log| log["Status"] == "ACTIVE"))
}

async fn kept_for_ever(api: &Api, functions: &[Function]) -> Part<Vec<String>> {
    let mut groups: Vec<_> = functions.iter().filter_map(|f| f.log_group.clone()).collect();
    groups.sort();
    groups.dedup();
    let mut for_ever = Vec::new();
    for group in groups {
        let ask = json!({ "logGroupNamePrefix": group });
        let found = api.json("logs", "Logs_20140328.DescribeLogGroups", ask).await?;
        let own = list(&found["logGroups"]).into_iter().find(|g| g["logGroupName"] == *group);
        if own.is_none_or(|own| own["retentionInDays"].is_null()) {
            for_ever.push(group);
        }
    }
    Ok(for_ever)
}

/// Metrics that alarms watch, of each of these functions.
async fn alarms(api: &Api, functions: &[Function]) -> Part<Vec<String>> {
    let found = api.query("monitoring", "2010-08-01", "DescribeAlarms", &[]).await?;
    let mut watched: Vec<(String, String)> = Vec::new();
    for alarm in list(&found["MetricAlarms"]) {
        if alarm["ActionsEnabled"] == "false" {
            continue;
        }
        let queries = list(&alarm["Metrics"]);
        let metrics = queries.iter().map(|query| &query["MetricStat"]["Metric"]).chain([alarm]);
        for metric in metrics.filter(|metric| metric["Namespace"] == "AWS/Lambda") {
            for dimension in list(&metric["Dimensions"]) {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                watched.push((text(&metric["MetricName"]), text(&dimension["Value"])));
            }
        }
    }
    let of_all = |metric: &String| {
        let of = |name: &str| watched.iter().any(|(m, function)| m == metric && function == name);
        functions.iter().all(|function| of(&function.name))
    };
    Ok(["Errors", "Throttles"].map(str::to_owned).into_iter().filter(of_all).collect())
}
