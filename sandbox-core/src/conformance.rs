//! The suite that every backend and every wrapper passes.
//!
//! Programs are bash scripts within the few lines that [`FakeExecutor`](crate::FakeExecutor)
//! understands too. A case that a backend's [`Capabilities`] rule out is not run, and says so;
//! everything that they declare is held to.
//!
//! With [`libtest_mimic`](https://docs.rs/libtest-mimic) each case becomes a test of its own;
//! this crate's `tests/conformance.rs` shows how.

use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use crate::{Capabilities, Executor, LimitKind};

mod rules;

/// Why a case failed.
pub type Failure = String;

/// One rule of the contract.
#[derive(Clone, Copy)]
pub struct Case {
    /// The rule, as a name for a test.
    pub name: &'static str,
    applies: fn(&Capabilities) -> bool,
    run: for<'a> fn(&'a dyn Executor) -> BoxFuture<'a, Result<(), Failure>>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

impl Case {
    /// Whether the rule applies to an executor with these capabilities.
    pub fn applies_to(&self, capabilities: &Capabilities) -> bool {
        (self.applies)(capabilities)
    }

    /// Checks the rule. A case that takes over a minute has failed.
    ///
    /// # Errors
    ///
    /// What the executor did instead.
    pub async fn check(&self, executor: &dyn Executor) -> Result<(), Failure> {
        match tokio::time::timeout(Duration::from_secs(60), (self.run)(executor)).await {
            Ok(result) => result,
            Err(_) => Err("the case did not end within a minute".into()),
        }
    }
}

/// Runs every case that applies; returns the names of those that failed, with the reason.
pub async fn failures(executor: &dyn Executor) -> Vec<(&'static str, Failure)> {
    let mut failed = Vec::new();
    for case in cases() {
        if case.applies_to(executor.capabilities())
            && let Err(failure) = case.check(executor).await
        {
            failed.push((case.name, failure));
        }
    }
    failed
}

macro_rules! suite {
    ($($name:ident if $applies:expr,)+) => {
        /// Every rule of the contract.
        pub fn cases() -> Vec<Case> {
            vec![$(Case {
                name: stringify!($name),
                applies: $applies,
                run: |executor| rules::$name(executor).boxed(),
            },)+]
        }
    };
}

suite! {
    exit_codes_are_exact if bash,
    a_signal_is_not_an_exit_code if bash,
    output_streams_are_separate if bash,
    output_keeps_both_ends_and_the_count if |c| bash(c) && limits(c, LimitKind::Output),
    output_limit_ends_the_job_on_request if |c| bash(c) && limits(c, LimitKind::Output),
    events_arrive_while_the_job_runs if live,
    wall_time_ends_the_job if |c| bash(c) && limits(c, LimitKind::Wall),
    cpu_time_ends_the_job if |c| bash(c) && limits(c, LimitKind::Cpu),
    memory_ends_the_job if |c| bash(c) && limits(c, LimitKind::Memory),
    partial_output_survives_a_limit if |c| bash(c) && limits(c, LimitKind::Wall),
    stdin_arrives if bash,
    arguments_and_variables_arrive if bash,
    input_files_arrive if files,
    created_and_changed_files_are_artifacts if files,
    patterns_choose_artifacts if files,
    artifact_caps_skip_and_say_so if |c| files(c) && limits(c, LimitKind::Artifacts),
    links_are_skipped_with_a_reason if files,
    artifacts_survive_a_limit if |c| files(c) && limits(c, LimitKind::Wall),
    a_missing_input_is_an_error_and_nothing_ran if files,
    an_unknown_runtime_is_an_error_that_lists_the_known if any,
    a_missing_program_is_an_error_and_nothing_ran if bash,
    an_undeclared_network_is_unsupported if any,
    an_undeclared_layer_is_refused if any,
    declared_layers_are_in_force if bash,
    sessions_match_their_capability if any,
    an_idempotency_key_runs_a_job_once_or_is_unsupported if bash,
    cancel_ends_the_job_with_its_output if live,
    nothing_survives_the_job if bash,
    jobs_at_once_do_not_mix if bash,
}

fn any(_: &Capabilities) -> bool {
    true
}

fn bash(capabilities: &Capabilities) -> bool {
    capabilities.runtimes.contains("bash")
}

fn live(capabilities: &Capabilities) -> bool {
    bash(capabilities) && capabilities.live_output
}

fn files(capabilities: &Capabilities) -> bool {
    bash(capabilities) && capabilities.files
}

fn limits(capabilities: &Capabilities, kind: LimitKind) -> bool {
    capabilities.limits.contains(&kind)
}
