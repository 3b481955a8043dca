//! `sandbox verify` of templates. Functions are attacked in `scripts/test`, on the emulator.

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

const TEMPLATES: [&str; 2] = ["sandbox.yaml", "development.yaml"];

fn infra(name: &str) -> String {
    format!("{}/../infra/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn verify(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox"));
    command.arg("verify").args(arguments).env_remove("SANDBOX_LAMBDA_BUCKET");
    command.output().expect("sandbox")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn our_templates_keep_their_promises() {
    let [first, second] = TEMPLATES.map(infra);
    let output = verify(&["--template", &first, "--template", &second]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("24 promises: 24 held."), "{}", text(&output));
}

#[test]
fn a_template_that_somebody_has_opened_does_not() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("open.yaml");
    let template = fs::read_to_string(infra("sandbox.yaml")).expect("template");
    let open =
        template.replace("DestinationPrefixListId: !Ref S3PrefixListId", "CidrIp: 0.0.0.0/0");
    assert_ne!(open, template);
    fs::write(&path, open).expect("file");
    let path = path.to_string_lossy();
    let output = verify(&["--template", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("1 BROKEN"), "{}", text(&output));
    let output = verify(&["--template", &path, "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &report["holds"]), (Some(1), &false.into()));
    let promises = report["promises"].as_array().expect("promises");
    let broken: Vec<_> = promises.iter().filter(|promise| promise["verdict"] == "broken").collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0]["promise"], "only HTTPS to S3 may leave");
    assert_eq!(broken[0]["from"], "template");
    assert!(broken[0]["evidence"].as_str().expect("evidence").contains("tcp 443 out to 0.0.0.0/0"));
}

#[test]
fn what_cannot_be_judged_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.yaml").to_string_lossy().into_owned();
    for (content, why) in [
        (None, "cannot read"),
        (Some("a: ["), "is no YAML"),
        (Some("Resources: {}"), "there are 0 buckets"),
        (Some("Description: x"), "no Resources"),
    ] {
        if let Some(content) = content {
            fs::write(&path, content).expect("file");
        }
        let output = verify(&["--template", &path, "--json"]);
        assert_eq!(output.status.code(), Some(125), "{why}");
        let refusal: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let message = refusal["error"]["message"].as_str().expect("message");
        assert!(message.contains(why), "{message}");
    }
    // Without a deployment there is nothing to attack.
    let output = verify(&["--json"]);
    assert_eq!(output.status.code(), Some(125));
    assert!(text(&output).contains("SANDBOX_LAMBDA_BUCKET"), "{}", text(&output));
}
