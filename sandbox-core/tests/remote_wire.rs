//! Version 1 of what travels between a backend and its runner is what the golden files say.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sandbox_core::remote::{Answer, Ask, Body, Payload, Request, Run, RunProgram, Upload};
use sandbox_core::{Job, Layer, Size};
use serde_json::Value;

fn request() -> Request {
    let job = Job::python("print(1)").arg("a").env("NAME", "value").artifact("*.png");
    let job = job.cpu(Duration::from_secs(30)).limit(|l| l.file_size = Some(Size::mib(64)));
    let job = job.build().expect("job");
    let code = Payload::Inline("print(1)".into());
    let program = RunProgram::Source { runtime: "python".into(), code };
    let data = Payload::Staged {
        url: "https://bucket.s3.us-east-1.amazonaws.com/inputs/1".into(),
        size: 9_000_000,
        sha256: "00ff".into(),
    };
    let stdin = Some(Payload::Inline("in".into()));
    let files = BTreeMap::from([("data.csv".to_owned(), data)]);
    let run = Run {
        required: BTreeSet::from([Layer::Rlimits]),
        not_off: BTreeSet::from([Layer::SupervisorHidden]),
        live: true,
        answer_limit: 5 << 20,
        upload: Some(Upload {
            url: "https://bucket.s3.us-east-1.amazonaws.com/".into(),
            fields: BTreeMap::from([("policy".to_owned(), "e30=".to_owned())]),
            prefix: "sandbox/jobs/4f9e/".into(),
            object_limit: 64 << 20,
        }),
        ..Run::new(&job, program, stdin, files)
    };
    Request::new("4f9e", Ask::Run(Box::new(run)))
}

#[test]
fn a_request_is_written_and_read_as_ever() {
    let golden = include_str!("golden/request-v1.json");
    let value: Value = serde_json::from_str(golden).expect("golden");
    assert_eq!(serde_json::to_value(request()).expect("written"), value);
    assert_eq!(serde_json::from_str::<Request>(golden).expect("read"), request());
}

#[test]
fn a_request_with_a_field_from_the_future_is_refused() {
    let mut value = serde_json::to_value(request()).expect("written");
    value["ask"]["run"]["hide_from"] = "everybody".into();
    let error = serde_json::from_value::<Request>(value).expect_err("unknown field");
    assert!(error.to_string().contains("hide_from"), "{error}");
}

#[test]
fn an_answer_is_written_and_read_as_ever_also_with_fields_from_the_future() {
    let golden = include_str!("golden/answer-v1.json");
    let value: Value = serde_json::from_str(golden).expect("golden");
    let answer: Answer = serde_json::from_str(golden).expect("read");
    assert_eq!(serde_json::to_value(&answer).expect("written"), value);
    let mut later = value;
    later["body"]["finished"]["mood"] = "good".into();
    later["body"]["finished"]["enforcement"]["shields"] = serde_json::json!({ "state": "off" });
    let later: Answer = serde_json::from_value(later).expect("read");
    assert!(matches!(later.body, Body::Finished(_)));
}
