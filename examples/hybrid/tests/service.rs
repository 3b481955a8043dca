//! The service, on the local sandbox and on an emulated function, as its environment says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use sandbox_emulator::{BUCKET, Function, Lambda, S3, credentials};
use serde_json::Value;

struct Service {
    child: Child,
    address: String,
}

impl Service {
    fn start(env: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hybrid"))
            .env("ADDRESS", "127.0.0.1:0")
            .env_remove("SANDBOX_BACKEND")
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .expect("service");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("stdout");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let (_, rest) = line.split_once("http://").unwrap_or_else(|| panic!("{line}"));
        let address = rest.split('/').next().expect("address").to_owned();
        Self { child, address }
    }

    fn post(&self, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).expect("connection");
        write!(
            stream,
            "POST /run HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("request");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("reply");
        let (head, body) = reply.split_once("\r\n\r\n").expect("head");
        let status = head.split(' ').nth(1).expect("status").parse().expect("number");
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check(service: &Service) {
    let code = r#"print(6 * 7); open(\"a.txt\", \"w\").write(\"made\")"#;
    let (status, outcome) = service.post(&format!(r#"{{"runtime": "python", "code": "{code}"}}"#));
    assert_eq!(status, 200, "{outcome}");
    assert_eq!(outcome["stdout"]["text"], "42\n", "{outcome}");
    assert_eq!(outcome["artifacts"][0]["base64"], "bWFkZQ==", "{outcome}");
    let (status, refusal) = service.post(r#"{"runtime": "cobol", "code": "x"}"#);
    assert_eq!((status, &refusal["error"]["kind"]), (400, &"unknown_runtime".into()));
    let (status, _) = service.post(r#"{"runtime": "python", "code": "1", "timeout": 999}"#);
    assert_eq!(status, 422, "the limits are the service's");
}

#[test]
fn jobs_run_in_the_local_sandbox() {
    check(&Service::start(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_in_a_function() {
    let lambda = Lambda::start([Function::runner("shared-dev")]).await;
    let s3 = S3::start().await;
    let (key, secret) = credentials();
    let env = [
        ("SANDBOX_BACKEND", "lambda"),
        ("SANDBOX_LAMBDA_FUNCTIONS", "shared-dev"),
        ("SANDBOX_LAMBDA_BUCKET", BUCKET),
        ("SANDBOX_LAMBDA_ENDPOINT", lambda.endpoint()),
        ("SANDBOX_LAMBDA_S3_ENDPOINT", s3.endpoint()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    tokio::task::block_in_place(|| check(&Service::start(&env)));
    assert!(lambda.invocations().len() >= 2, "the function did the work");
}
