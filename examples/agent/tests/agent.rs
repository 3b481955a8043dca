//! The example as a user runs it, without a model.

use std::path::PathBuf;
use std::process::{Command, Output};

fn example() -> PathBuf {
    // Tests are in target/PROFILE/deps, examples beside that folder.
    let test = std::env::current_exe().expect("this test");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("target");
    folder.join("examples/agent")
}

fn run(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(example());
    for prefix in ["OPENAI", "ANTHROPIC"] {
        command.env_remove(format!("{prefix}_API_KEY")).env_remove(format!("{prefix}_BASE_URL"));
    }
    command.env_remove("SANDBOX_BACKEND").current_dir(folder.path());
    command.envs(variables.iter().copied()).output().expect("the example; run cargo test")
}

#[test]
fn over_both_protocols_it_corrects_itself_answers_and_saves_a_plot() {
    for protocol in ["openai", "anthropic"] {
        let folder = tempfile::tempdir().expect("tempdir");
        let output = run(&folder, &[("AGENT_PROTOCOL", protocol)]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{output:?}");
        for line in [
            "a scripted server answers, not a model",
            "not run: Nothing was run, because the arguments are wrong",
            "total: west with 468.40",
            "model: The best region is west with 468.40.",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let saved: Vec<_> = std::fs::read_dir(folder.path().join("target/agent"))
            .expect("folder")
            .map(|entry| std::fs::read(entry.expect("entry").path()).expect("file"))
            .collect();
        assert_eq!(saved.len(), 1, "{text}");
        assert!(saved[0].starts_with(b"\x89PNG\r\n\x1a\n"));
    }
}

#[test]
fn an_endpoint_that_refuses_is_named_and_its_key_is_not_shown() {
    let folder = tempfile::tempdir().expect("tempdir");
    // The discard service's port: nobody listens there.
    let variables =
        [("OPENAI_BASE_URL", "http://127.0.0.1:9/v1"), ("OPENAI_API_KEY", "sk-very-secret")];
    let output = run(&folder, &variables);
    let text = format!("{output:?}");
    assert!(!output.status.success() && text.contains("127.0.0.1:9"), "{text}");
    assert!(!text.contains("sk-very-secret"), "{text}");
}
