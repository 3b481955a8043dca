//! Functions, and who may start them.

use serde_json::Value;

use super::api::{Api, Refusal};
use super::xml::list;
use crate::model::{Door, Function, Part};
use crate::policy::strings;

/// A function, and the VPC that it is in.
pub(super) async fn read(api: &Api, name: &str) -> Result<(Function, Option<String>), String> {
    let path = format!("/2015-03-31/functions/{name}/configuration");
    let found = api.lambda("lambda:GetFunctionConfiguration", path).await?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let path = format!("/2019-09-30/functions/{name}/concurrency");
    let concurrency = api.lambda("lambda:GetFunctionConcurrency", path).await;
    let vpc = &found["VpcConfig"];
    let function = Function {
        name: text(&found["FunctionName"]).unwrap_or_else(|| name.to_owned()),
        arn: text(&found["FunctionArn"]).unwrap_or_default(),
        extras: ["FileSystemConfigs", "ImageConfigResponse", "Layers"]
            .into_iter()
            .filter(|name| !list(&found[*name]).is_empty())
            .map(str::to_owned)
            .collect(),
        tenant_isolation: found["TenancyConfig"]["TenantIsolationMode"] == "PER_TENANT",
        managed_instances: !found["CapacityProviderConfig"].is_null(),
        image: found["PackageType"] == "Image",
        timeout: found["Timeout"].as_u64(),
        concurrency: match concurrency {
            Ok(answer) => Ok(answer["ReservedConcurrentExecutions"].as_u64()),
            Err(refusal) => Err(refusal.into()),
        },
        subnets: strings(&vpc["SubnetIds"]),
        security_groups: strings(&vpc["SecurityGroupIds"]),
        role: text(&found["Role"]).unwrap_or_default(),
        log_group: text(&found["LoggingConfig"]["LogGroup"]),
    };
    Ok((function, text(&vpc["VpcId"])))
}

/// Whatever may start these functions without being allowed to by its own policies.
pub(super) async fn doors(api: &Api, functions: &[Function]) -> Part<Vec<Door>> {
    let mut doors = Vec::new();
    for Function { name, .. } in functions {
        let path = format!("/2015-03-31/functions/{name}/policy");
        match api.lambda("lambda:GetPolicy", path).await {
            Ok(_) => doors.push(Door { kind: "permission for others on".into(), id: name.clone() }),
            Err(Refusal { status: 404, .. }) => {}
            Err(refusal) => return Err(refusal.into()),
        }
        let path = format!("/2021-10-31/functions/{name}/urls");
        let urls = api.lambda("lambda:ListFunctionUrlConfigs", path).await?;
        for url in list(&urls["FunctionUrlConfigs"]) {
            let id = url["FunctionUrl"].as_str().unwrap_or(name).to_owned();
            doors.push(Door { kind: "function URL".into(), id });
        }
        let path = format!("/2015-03-31/event-source-mappings/?FunctionName={name}");
        let sources = api.lambda("lambda:ListEventSourceMappings", path).await?;
        for source in list(&sources["EventSourceMappings"]) {
            let id = source["EventSourceArn"].as_str().unwrap_or(name).to_owned();
            doors.push(Door { kind: "event source".into(), id });
        }
    }
    Ok(doors)
}
