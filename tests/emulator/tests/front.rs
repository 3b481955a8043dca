//! The front over AWS's emulator does what Lambda does.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use sandbox_emulator::{ERRORS, Function, Lambda, Launcher, OPERATIONS};
use serde_json::{Value, json};

struct Reply {
    status: u16,
    error: Option<String>,
    kind: Option<String>,
    log: String,
    body: Value,
}

async fn invoke(lambda: &Lambda, function: &str, payload: Value) -> Reply {
    let uri = format!("{}/2015-03-31/functions/{function}/invocations", lambda.endpoint());
    let request = Request::post(uri)
        .header("X-Amz-Log-Type", "Tail")
        .body(Body::from(payload.to_string()))
        .expect("request");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.expect("response");
    let header = |name: &str| {
        response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
    };
    let log = header("x-amz-log-result").unwrap_or_default();
    let log = base64::engine::general_purpose::STANDARD.decode(log).expect("base64");
    let (status, error, kind) =
        (response.status().as_u16(), header("x-amz-function-error"), header("x-amzn-errortype"));
    let body = response.into_body().collect().await.expect("body").to_bytes();
    let log = String::from_utf8_lossy(&log).into_owned();
    let body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    Reply { status, error, kind, log, body }
}

fn shell(command: &str) -> Value {
    json!({ "command": ["/bin/sh", "-c", command] })
}

#[tokio::test]
async fn a_handler_answers_and_the_log_has_a_report() {
    let lambda = Lambda::start([Function::plain("plain")]).await;
    let reply = invoke(&lambda, "plain", json!({ "a": 1 })).await;
    assert_eq!((reply.status, reply.error), (200, None));
    assert_eq!(reply.body, json!({ "a": 1 }));
    assert!(reply.log.contains("REPORT RequestId:"), "{}", reply.log);
    invoke(&lambda, "plain", json!({})).await;
    assert_eq!(lambda.environments("plain").await, 1, "warm");
}

#[tokio::test]
async fn the_worst_case_is_as_bad_as_it_says() {
    let script = "id -u; id -g; ls /dev/shm; unshare -U true; touch /x; head -c1 /proc/1/environ; \
                  python3 -c 'import ctypes; print(ctypes.CDLL(None).prctl(38,1,0,0,0))'; \
                  echo $AWS_SECRET_ACCESS_KEY; df -B1 /tmp | tail -1 | awk '{print $2}'";
    let worst = Function { uid: Some(993), ..Function::plain("worst") };
    let easy = Function { launcher: Launcher::Ordinary, ..Function::plain("easy") };
    let lambda = Lambda::start([worst, easy]).await;
    let reply = invoke(&lambda, "worst", shell(script)).await;
    let out = reply.body["stdout"].as_str().expect("stdout");
    assert_eq!(out, "993\n990\n-1\nrole-secret-canary\n536870912\n", "{}", reply.body);
    let err = reply.body["stderr"].as_str().expect("stderr");
    for refused in ["/dev/shm", "unshare", "/x", "/proc/1/environ"] {
        assert!(err.contains(refused), "{refused}: {err}");
    }
    // The control: an ordinary user may do these things.
    let reply = invoke(&lambda, "easy", shell("unshare -U echo new")).await;
    assert_eq!(reply.body["stdout"], "new\n", "{}", reply.body);
}

#[tokio::test]
async fn failures_of_the_function_are_reported_as_lambda_does() {
    let quick = Function { timeout: Duration::from_secs(1), ..Function::plain("quick") };
    let lambda = Lambda::start([quick]).await;
    let reply = invoke(&lambda, "quick", shell("sleep 30")).await;
    assert_eq!((reply.status, reply.error.as_deref()), (200, Some("Unhandled")));
    assert_eq!(reply.body["errorType"], "Sandbox.Timedout", "{}", reply.body);
    let reply = invoke(&lambda, "quick", shell("kill -9 $PPID")).await;
    assert_eq!(reply.body["errorType"], "Runtime.ExitError", "{}", reply.body);
    assert!(reply.log.contains("Error Type: Runtime.ExitError"), "{}", reply.log);
    let reply = invoke(&lambda, "quick", json!({ "command": [] })).await;
    assert_eq!(reply.error.as_deref(), Some("Unhandled"), "{}", reply.body);
    let reply = invoke(&lambda, "quick", json!({ "fine": true })).await;
    assert_eq!((reply.error, reply.body), (None, json!({ "fine": true })));
    let reply = invoke(&lambda, "nobody", json!({})).await;
    assert_eq!((reply.status, reply.kind.as_deref()), (404, Some("ResourceNotFoundException")));
}

#[tokio::test]
async fn the_runner_describes_itself() {
    let lambda = Lambda::start([Function::runner("sandbox")]).await;
    let ask = json!({ "version": 1, "id": "1", "ask": "describe" });
    let reply = invoke(&lambda, "sandbox", ask).await;
    let described = &reply.body["body"]["described"];
    assert_eq!(reply.body["id"], "1", "{}\n{}", reply.body, reply.log);
    let state = |layer: &str| described["enforcement"][layer]["state"].clone();
    for layer in ["rlimits", "environment", "descriptors", "cleanup", "private_tmp", "processes"] {
        assert_eq!(state(layer), "enforced", "{layer}: {described:#}");
    }
    for layer in ["seccomp", "landlock", "no_new_privs", "pid_namespace", "supervisor_hidden"] {
        assert_eq!(state(layer), "degraded", "{layer}: {described:#}");
    }
}

/// The front's own reading of Lambda's interface, against the model from which AWS makes SDKs.
#[test]
fn the_front_speaks_as_the_published_service_model_says() {
    let path = std::env::var("SANDBOX_TEST_LAMBDA_MODEL")
        .expect("SANDBOX_TEST_LAMBDA_MODEL is not set; run: source scripts/test-tools");
    let model: Value = serde_json::from_slice(&std::fs::read(path).expect("model")).expect("JSON");
    let shape = |name: &Value| model["shapes"][name.as_str().expect("shape")].clone();
    for operation in OPERATIONS {
        let published = &model["operations"][operation.name];
        assert_eq!(published["http"]["method"], operation.method, "{}", operation.name);
        let uri = published["http"]["requestUri"].as_str().expect("uri");
        assert_eq!(uri.trim_end_matches('/'), operation.uri, "{}", operation.name);
        let (input, output) =
            (shape(&published["input"]["shape"]), shape(&published["output"]["shape"]));
        for (shape, headers) in
            [(input, operation.request_headers), (output.clone(), operation.response_headers)]
        {
            for (member, header) in headers {
                let published = &shape["members"][member];
                assert_eq!(published["location"], "header", "{member}");
                let name = published["locationName"].as_str().expect("name");
                assert!(name.eq_ignore_ascii_case(header), "{member}: {name} {header}");
            }
        }
        // Every error that the front gives for it is one that the operation may give.
        if operation.name != "GetFunctionConfiguration" {
            let errors = published["errors"].as_array().expect("errors");
            let names: Vec<_> = errors.iter().map(|e| e["shape"].as_str().expect("name")).collect();
            for error in ERRORS.iter().filter(|error| error.modelled) {
                assert!(names.contains(&error.name), "{} of {}", error.name, operation.name);
            }
        }
    }
    for error in ERRORS.iter().filter(|error| error.modelled) {
        let published = &model["shapes"][error.name];
        assert_eq!(published["exception"], true, "{}", error.name);
        assert_eq!(published["error"]["httpStatusCode"], error.status, "{}", error.name);
    }
    // The two events of a stream and their members.
    let events = &model["shapes"]["InvokeWithResponseStreamResponseEvent"];
    assert_eq!(events["eventstream"], true);
    let member = |event: &str, name: &str| {
        let target = shape(&events["members"][event]["shape"]);
        target["members"][name].clone()
    };
    assert_eq!(member("PayloadChunk", "Payload")["eventpayload"], true);
    for name in ["ErrorCode", "ErrorDetails", "LogResult"] {
        assert!(member("InvokeComplete", name).is_object(), "{name}");
    }
}
