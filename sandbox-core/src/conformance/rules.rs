//! The rules, one function each.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Failure;
use crate::{
    ErrorKind, Event, Executor, ExecutorExt, Job, JobBuilder, Layer, LayerState, LimitKind,
    Network, Outcome, SessionSpec, Size, Termination,
};

/// Fails the case unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// The job, with a network that the executor offers.
fn build(executor: &dyn Executor, job: JobBuilder) -> Result<Job, Failure> {
    let network = executor.capabilities().networks.first().copied().unwrap_or_default();
    job.network(network).build().map_err(|error| format!("job: {error}"))
}

async fn run(executor: &dyn Executor, job: JobBuilder) -> Result<Outcome, Failure> {
    let job = build(executor, job)?;
    executor.run(job).await.map_err(|error| format!("run: {error}"))
}

pub(super) async fn exit_codes_are_exact(executor: &dyn Executor) -> Result<(), Failure> {
    for code in [0, 1, 2, 3, 124, 125, 137, 255] {
        let outcome = run(executor, Job::bash(format!("exit {code}"))).await?;
        ensure!(
            outcome.termination == Termination::Exited(code),
            "exit {code} became {:?}",
            outcome.termination
        );
    }
    Ok(())
}

pub(super) async fn a_signal_is_not_an_exit_code(executor: &dyn Executor) -> Result<(), Failure> {
    for signal in [9, 15, 6] {
        let outcome = run(executor, Job::bash(format!("kill -{signal} $$"))).await?;
        ensure!(
            outcome.termination == Termination::Signaled(signal),
            "signal {signal} became {:?}",
            outcome.termination
        );
    }
    Ok(())
}

pub(super) async fn output_streams_are_separate(executor: &dyn Executor) -> Result<(), Failure> {
    let outcome = run(executor, Job::bash("echo out; echo err >&2")).await?;
    ensure!(outcome.stdout.text() == "out\n", "stdout: {:?}", outcome.stdout);
    ensure!(outcome.stderr.text() == "err\n", "stderr: {:?}", outcome.stderr);
    Ok(())
}

pub(super) async fn output_keeps_both_ends_and_the_count(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = Job::bash("echo first; head -c 300000 /dev/zero; echo last")
        .limit(|limits| limits.output = Size::kib(4));
    let outcome = run(executor, job).await?;
    let output = &outcome.stdout;
    ensure!(outcome.is_success(), "ended as {:?}", outcome.termination);
    ensure!(output.total == 300_011, "total {}", output.total);
    ensure!(output.head.starts_with(b"first\n"), "the beginning is gone");
    ensure!(output.tail.ends_with(b"last\n"), "the end is gone");
    ensure!(output.bytes().len() == 4096, "kept {}", output.bytes().len());
    ensure!(outcome.limits_hit.contains(&LimitKind::Output), "limits_hit does not say so");
    Ok(())
}

pub(super) async fn output_limit_ends_the_job_on_request(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = Job::bash("head -c 300000 /dev/zero\nsleep 50")
        .limit(|limits| limits.output = Size::kib(4))
        .stop_at_output_limit();
    let outcome = run(executor, job).await?;
    let Termination::Output(evidence) = &outcome.termination else {
        return Err(format!("ended as {:?}", outcome.termination));
    };
    ensure!(evidence.stream == "stdout", "stream {}", evidence.stream);
    ensure!(evidence.total > 4096, "total {}", evidence.total);
    Ok(())
}

pub(super) async fn events_arrive_while_the_job_runs(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = build(executor, Job::bash("echo early\nsleep 1\necho late"))?;
    let mut execution = executor.start(job).await.map_err(|error| error.to_string())?;
    let since = Instant::now();
    let (mut text, mut first) = (Vec::new(), None);
    let mut started = false;
    while let Some(event) = execution.next_event().await {
        match event {
            Event::Started => started = true,
            Event::Stdout(bytes) => {
                first.get_or_insert_with(|| since.elapsed());
                text.extend_from_slice(&bytes);
            }
            Event::Stderr(_) => {}
        }
    }
    let total = since.elapsed();
    let outcome = execution.outcome().await.map_err(|error| error.to_string())?;
    ensure!(started, "no Started event");
    ensure!(text == b"early\nlate\n", "events carried {:?}", String::from_utf8_lossy(&text));
    ensure!(outcome.stdout.bytes() == text, "events and capture differ");
    let early = first.is_some_and(|first| total.saturating_sub(first) > Duration::from_millis(500));
    ensure!(early, "the first output came only at the end");
    Ok(())
}

pub(super) async fn wall_time_ends_the_job(executor: &dyn Executor) -> Result<(), Failure> {
    let since = Instant::now();
    let limit = Duration::from_millis(300);
    let outcome = run(executor, Job::bash("sleep 5").timeout(limit)).await?;
    let Termination::WallTime(evidence) = &outcome.termination else {
        return Err(format!("ended as {:?}", outcome.termination));
    };
    ensure!(evidence.limit == limit, "limit {:?}", evidence.limit);
    ensure!(evidence.used >= limit, "used {:?}", evidence.used);
    ensure!(since.elapsed() < Duration::from_secs(4), "ended late: {:?}", since.elapsed());
    Ok(())
}

pub(super) async fn cpu_time_ends_the_job(executor: &dyn Executor) -> Result<(), Failure> {
    let limit = Duration::from_millis(300);
    let job = Job::bash("while :; do :; done").limit(|limits| limits.cpu = Some(limit));
    let outcome = run(executor, job).await?;
    let Termination::CpuTime(evidence) = &outcome.termination else {
        return Err(format!("ended as {:?}", outcome.termination));
    };
    ensure!(evidence.used >= limit, "used {:?}", evidence.used);
    Ok(())
}

pub(super) async fn memory_ends_the_job(executor: &dyn Executor) -> Result<(), Failure> {
    let outcome = run(executor, Job::bash("tail /dev/zero").memory(Size::mib(48))).await?;
    let Termination::Memory(evidence) = &outcome.termination else {
        return Err(format!("ended as {:?}", outcome.termination));
    };
    ensure!(evidence.limit == Size::mib(48), "limit {}", evidence.limit);
    Ok(())
}

pub(super) async fn partial_output_survives_a_limit(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = Job::bash("echo before\nsleep 5").timeout(Duration::from_millis(300));
    let outcome = run(executor, job).await?;
    ensure!(outcome.stdout.text() == "before\n", "stdout: {:?}", outcome.stdout);
    Ok(())
}

pub(super) async fn stdin_arrives(executor: &dyn Executor) -> Result<(), Failure> {
    let outcome = run(executor, Job::bash("cat").stdin("line\n")).await?;
    ensure!(outcome.stdout.text() == "line\n", "stdout: {:?}", outcome.stdout);
    let outcome = run(executor, Job::bash("cat")).await?;
    ensure!(outcome.is_success() && outcome.stdout.total == 0, "no stdin: {outcome:?}");
    Ok(())
}

pub(super) async fn arguments_and_variables_arrive(executor: &dyn Executor) -> Result<(), Failure> {
    let job = Job::bash("echo $1\nprintenv NAME").args(["-c", "two"]).env("NAME", "value");
    let outcome = run(executor, job).await?;
    ensure!(outcome.stdout.text() == "-c\nvalue\n", "stdout: {:?}", outcome.stdout);
    Ok(())
}

pub(super) async fn input_files_arrive(executor: &dyn Executor) -> Result<(), Failure> {
    let job = Job::bash("cat in/data.csv").file("in/data.csv", "1,2\n");
    let outcome = run(executor, job).await?;
    ensure!(outcome.stdout.text() == "1,2\n", "{:?} {:?}", outcome.stdout, outcome.stderr);
    ensure!(outcome.artifacts.is_empty(), "an unchanged input is an artifact");
    Ok(())
}

pub(super) async fn created_and_changed_files_are_artifacts(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = Job::bash("echo new > made.csv\necho new > given.txt").file("given.txt", "old\n");
    let outcome = run(executor, job).await?;
    let paths: BTreeSet<_> = outcome.artifacts.iter().map(|a| a.path()).collect();
    ensure!(paths == BTreeSet::from(["given.txt", "made.csv"]), "artifacts: {paths:?}");
    for artifact in &outcome.artifacts {
        let bytes = artifact.bytes().await.map_err(|error| error.to_string())?;
        ensure!(bytes.as_ref() == b"new\n", "{} holds {bytes:?}", artifact.path());
    }
    let made = outcome.artifact("made.csv").map(|a| a.media_type());
    ensure!(made == Some("text/csv"), "media type {made:?}");
    Ok(())
}

pub(super) async fn patterns_choose_artifacts(executor: &dyn Executor) -> Result<(), Failure> {
    let script = "echo 1 > a.txt\necho 1 > b.csv";
    let outcome = run(executor, Job::bash(script).artifact("*.csv")).await?;
    let paths: Vec<_> = outcome.artifacts.iter().map(|a| a.path()).collect();
    ensure!(paths == ["b.csv"], "artifacts: {paths:?}");
    let outcome = run(executor, Job::bash(script).artifact("*.none")).await?;
    ensure!(outcome.artifacts.is_empty() && outcome.is_success(), "{:?}", outcome.artifacts);
    Ok(())
}

pub(super) async fn artifact_caps_skip_and_say_so(executor: &dyn Executor) -> Result<(), Failure> {
    let job = Job::bash("echo 1 > a\necho 1 > b\necho 1 > c").limit(|l| l.artifact_files = 2);
    let outcome = run(executor, job).await?;
    ensure!(outcome.artifacts.len() == 2, "kept {}", outcome.artifacts.len());
    ensure!(outcome.skipped.len() == 1, "skipped: {:?}", outcome.skipped);
    ensure!(outcome.limits_hit.contains(&LimitKind::Artifacts), "limits_hit does not say so");
    Ok(())
}

pub(super) async fn links_are_skipped_with_a_reason(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let outcome = run(executor, Job::bash("ln -s /etc/passwd leak")).await?;
    ensure!(outcome.artifacts.is_empty(), "artifacts: {:?}", outcome.artifacts);
    let skipped = outcome.skipped.iter().find(|s| s.path == "leak");
    ensure!(skipped.is_some_and(|s| s.reason.contains("link")), "{:?}", outcome.skipped);
    Ok(())
}

pub(super) async fn artifacts_survive_a_limit(executor: &dyn Executor) -> Result<(), Failure> {
    let job = Job::bash("echo kept > kept.txt\nsleep 5").timeout(Duration::from_millis(300));
    let outcome = run(executor, job).await?;
    ensure!(outcome.artifact("kept.txt").is_some(), "artifacts: {:?}", outcome.artifacts);
    Ok(())
}

pub(super) async fn a_missing_input_is_an_error_and_nothing_ran(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let missing = std::path::PathBuf::from("/nonexistent/input.csv");
    let job = build(executor, Job::bash("echo ran").file("x", missing))?;
    let Err(error) = executor.run(job).await else { return Err("the job ran".into()) };
    ensure!(error.kind() == ErrorKind::Input, "kind {:?}", error.kind());
    ensure!(!error.may_have_run(), "may_have_run");
    ensure!(error.to_string().contains("/nonexistent/input.csv"), "message: {error}");
    Ok(())
}

pub(super) async fn an_unknown_runtime_is_an_error_that_lists_the_known(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = build(executor, Job::source("cobol", "x"))?;
    let Err(error) = executor.run(job).await else { return Err("the job ran".into()) };
    ensure!(error.kind() == ErrorKind::UnknownRuntime, "kind {:?}", error.kind());
    for known in &executor.capabilities().runtimes {
        ensure!(error.to_string().contains(known), "{known} is not in: {error}");
    }
    Ok(())
}

pub(super) async fn a_missing_program_is_an_error_and_nothing_ran(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = build(executor, Job::command(["no-such-program"]))?;
    let Err(error) = executor.run(job).await else { return Err("the job ran".into()) };
    ensure!(error.kind() == ErrorKind::ProgramNotFound, "kind {:?}", error.kind());
    ensure!(!error.may_have_run(), "may_have_run");
    ensure!(error.to_string().contains("no-such-program"), "message: {error}");
    Ok(())
}

pub(super) async fn an_undeclared_network_is_unsupported(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    for network in [Network::Denied, Network::Host] {
        if executor.capabilities().networks.contains(&network) {
            continue;
        }
        let job = Job::bash("exit 0").network(network).build().map_err(|e| e.to_string())?;
        let Err(error) = executor.run(job).await else { return Err("the job ran".into()) };
        ensure!(error.kind() == ErrorKind::Unsupported, "kind {:?}", error.kind());
    }
    Ok(())
}

pub(super) async fn an_undeclared_layer_is_refused(executor: &dyn Executor) -> Result<(), Failure> {
    for layer in Layer::ALL {
        if executor.capabilities().enforcement.is_enforced(*layer) {
            continue;
        }
        let job = build(executor, Job::bash("exit 0").require(*layer))?;
        let Err(error) = executor.run(job).await else {
            return Err(format!("the job ran although {layer} is not offered"));
        };
        ensure!(error.kind() == ErrorKind::Refused, "{layer}: kind {:?}", error.kind());
        ensure!(error.layer() == Some(*layer), "{layer}: names {:?}", error.layer());
        ensure!(!error.may_have_run(), "{layer}: may_have_run");
    }
    Ok(())
}

pub(super) async fn declared_layers_are_in_force(executor: &dyn Executor) -> Result<(), Failure> {
    let outcome = run(executor, Job::bash("exit 0")).await?;
    for (layer, state) in executor.capabilities().enforcement.iter() {
        if *state == LayerState::Enforced {
            ensure!(outcome.enforcement.is_enforced(layer), "{layer} is declared but not in force");
        }
    }
    Ok(())
}

pub(super) async fn sessions_match_their_capability(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let session = executor.open(SessionSpec::default()).await;
    match (executor.capabilities().sessions, session) {
        (true, Ok(session)) => session.close().await.map_err(|error| error.to_string()),
        (true, Err(error)) => Err(format!("declared, but: {error}")),
        (false, Ok(_)) => Err("not declared, but opened".into()),
        (false, Err(error)) => {
            ensure!(error.kind() == ErrorKind::Unsupported, "kind {:?}", error.kind());
            Ok(())
        }
    }
}

pub(super) async fn an_idempotency_key_runs_a_job_once_or_is_unsupported(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let unique = format!("{:?}-{}", std::time::SystemTime::now(), std::process::id());
    let keyed = |script: &'static str| {
        build(executor, Job::bash(script).idempotency_key(format!("conformance {unique}")))
    };
    // Prints something else each time.
    let script = "cat /proc/sys/kernel/random/uuid";
    let first = executor.run(keyed(script)?).await;
    if !executor.capabilities().idempotency {
        let Err(error) = first else { return Err("not declared, but the job ran".into()) };
        ensure!(error.kind() == ErrorKind::Unsupported, "kind {:?}", error.kind());
        return Ok(());
    }
    let first = first.map_err(|error| format!("first run: {error}"))?;
    let again = executor.run(keyed(script)?).await.map_err(|error| format!("again: {error}"))?;
    ensure!(first.is_success(), "{:?}", first.termination);
    ensure!(first.stdout == again.stdout, "ran twice: {:?} {:?}", first.stdout, again.stdout);
    let Err(other) = executor.run(keyed("exit 3")?).await else {
        return Err("another job ran under the same key".into());
    };
    ensure!(other.kind() == ErrorKind::Conflict, "kind {:?}", other.kind());
    ensure!(!other.may_have_run(), "may_have_run");
    Ok(())
}

pub(super) async fn cancel_ends_the_job_with_its_output(
    executor: &dyn Executor,
) -> Result<(), Failure> {
    let job = build(executor, Job::bash("echo before\nsleep 50"))?;
    let mut execution = executor.start(job).await.map_err(|error| error.to_string())?;
    let cancel = execution.cancel_handle();
    while let Some(event) = execution.next_event().await {
        if matches!(event, Event::Stdout(_)) {
            cancel.cancel();
        }
    }
    let outcome = execution.outcome().await.map_err(|error| error.to_string())?;
    ensure!(outcome.termination == Termination::Cancelled, "{:?}", outcome.termination);
    ensure!(outcome.stdout.text() == "before\n", "stdout: {:?}", outcome.stdout);
    Ok(())
}

pub(super) async fn nothing_survives_the_job(executor: &dyn Executor) -> Result<(), Failure> {
    // One leaves a process behind by ending, one by being dropped; a third looks for both.
    let _ = run(executor, Job::bash("sleep 987654 &\nexit 0")).await?;
    let job = build(executor, Job::bash("sleep 987654 &\nsleep 50"))?;
    let mut execution = executor.start(job).await.map_err(|error| error.to_string())?;
    execution.next_event().await;
    drop(execution);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let look = "grep -al '98765[4]' /proc/[0-9]*/cmdline";
    let outcome = run(executor, Job::bash(look)).await?;
    ensure!(outcome.stdout.total == 0, "alive: {}", outcome.stdout.text());
    Ok(())
}

pub(super) async fn jobs_at_once_do_not_mix(executor: &dyn Executor) -> Result<(), Failure> {
    let runs = (0..8).map(|number| async move {
        let job = Job::bash(format!("echo {number} > mine\ncat mine\nexit {number}"));
        (number, run(executor, job).await)
    });
    for (number, result) in futures_util::future::join_all(runs).await {
        let outcome = result?;
        ensure!(outcome.termination == Termination::Exited(number), "{:?}", outcome.termination);
        ensure!(outcome.stdout.text() == format!("{number}\n"), "{number}: {:?}", outcome.stdout);
    }
    Ok(())
}
