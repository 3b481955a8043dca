//! A sandbox is shown to hold by attacking it.
//!
//! [`ExecutorExt::verify`](crate::ExecutorExt::verify) runs real attacks as ordinary jobs and
//! compares what became of each with what the executor claims about the layer that must hold it.
//! A layer that is not claimed is attacked too: what then succeeds is what its absence means.

mod attacks;
mod canary;
mod surroundings;

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde::Serialize;

use crate::{
    Error, Event, Executor, ExecutorExt, Job, JobBuilder, Layer, LayerState, Limits, Network,
    Outcome, Size, Termination,
};
use attacks::{AROUND, ATTACKS, Attack, MECHANISMS, PRELUDE, Steps};
use canary::Canaries;
pub use surroundings::Surroundings;

/// What attacks on an executor showed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// The executor's backend.
    pub backend: String,
    /// One entry for each attack.
    pub attacks: Vec<Attempt>,
    /// What a job's process may do, when that was asked.
    pub mechanisms: Vec<Mechanism>,
}

/// A mechanism of the kernel, as a job's process meets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mechanism {
    /// What it is.
    pub name: String,
    /// `yes`, a version, or the error that the kernel gives.
    pub state: String,
}

/// One attack and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// What was attempted, as in "read the host's files".
    pub attack: &'static str,
    /// The layer that must hold it.
    pub layer: Layer,
    /// What the executor claims about that layer.
    pub claim: LayerState,
    /// How it went, against that claim.
    pub verdict: Verdict,
    /// What the attack saw.
    pub evidence: String,
}

/// How an attack went, against what the executor claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It failed.
    Held,
    /// It succeeded, and the executor does not claim otherwise.
    Open,
    /// It succeeded although the executor says that the layer is in force.
    Broken,
    /// It could not be tried, which shows nothing.
    Untried,
}

impl Verdict {
    /// The verdict's name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Open => "open",
            Self::Broken => "broken",
            Self::Untried => "untried",
        }
    }
}

impl Verification {
    /// Whether every claim was tried and none is broken.
    pub fn holds(&self) -> bool {
        self.attacks.iter().all(|attempt| match attempt.verdict {
            Verdict::Held | Verdict::Open => true,
            Verdict::Broken => false,
            Verdict::Untried => attempt.claim != LayerState::Enforced,
        })
    }

    /// The layers on which an attack had this verdict.
    pub fn layers(&self, verdict: Verdict) -> BTreeSet<Layer> {
        let such = self.attacks.iter().filter(|attempt| attempt.verdict == verdict);
        such.map(|attempt| attempt.layer).collect()
    }
}

/// Runs every attack; those on the surroundings too, if there are any.
pub(crate) async fn verify<E: Executor + ?Sized>(
    executor: &E,
    surroundings: Option<&Surroundings>,
) -> Verification {
    let mut attempts = Vec::with_capacity(ATTACKS.len() + AROUND.len());
    let canaries = Canaries::place(surroundings.cloned().unwrap_or_default());
    let around = if surroundings.is_some() { AROUND } else { &[] };
    for attack in ATTACKS.iter().chain(around) {
        let result = match &canaries {
            Ok(canaries) => attempt(executor, attack, canaries).await,
            Err(error) => Err(format!("the caller cannot place what an attack looks for: {error}")),
        };
        let (layer, claim) = claim(executor, attack);
        let claimed = claim == LayerState::Enforced;
        let (verdict, evidence) = match result {
            Ok(Found::Held(evidence)) => (Verdict::Held, evidence),
            Ok(Found::Broke(evidence)) if claimed => (Verdict::Broken, evidence),
            Ok(Found::Broke(evidence)) => (Verdict::Open, evidence),
            Err(why) => (Verdict::Untried, why),
        };
        attempts.push(Attempt { attack: attack.name, layer, claim, verdict, evidence });
    }
    let mechanisms = match &canaries {
        Ok(canaries) if surroundings.is_some() => mechanisms(executor, canaries).await,
        _ => Vec::new(),
    };
    let backend = executor.capabilities().backend.clone();
    Verification { backend, attacks: attempts, mechanisms }
}

/// What a job's process may do; where no job runs, why.
async fn mechanisms<E: Executor + ?Sized>(executor: &E, canaries: &Canaries) -> Vec<Mechanism> {
    let Steps::Alone(script) = MECHANISMS.steps else { return Vec::new() };
    let asked = async {
        let job = build(executor, &MECHANISMS, script, canaries, "")?;
        executor.run(job).await
    };
    let mechanism = |name: &str, state: &str| Mechanism { name: name.into(), state: state.into() };
    let why = match asked.await {
        Err(error) => error.to_string(),
        Ok(outcome) => {
            let text = outcome.stdout.text();
            let lines = text.lines().filter_map(|line| line.strip_prefix("mechanism: "));
            let found = lines.filter_map(|line| line.split_once(": "));
            let found: Vec<_> = found.map(|(name, state)| mechanism(name, state)).collect();
            if !found.is_empty() {
                return found;
            }
            outcome.termination.reason().to_owned()
        }
    };
    vec![mechanism("none could be asked about", &why)]
}

/// The layer that an attack is about, and its state: the first that is claimed of those that would
/// each hold it.
fn claim<E: Executor + ?Sized>(executor: &E, attack: &Attack) -> (Layer, LayerState) {
    let enforcement = &executor.capabilities().enforcement;
    let claimed = attack.layers.iter().find(|layer| enforcement.is_enforced(**layer));
    let layer = *claimed.unwrap_or(&attack.layers[0]);
    (layer, enforcement.state(layer).clone())
}

/// What an attack reports of itself.
enum Found {
    Held(String),
    Broke(String),
}

async fn attempt<E: Executor + ?Sized>(
    executor: &E,
    attack: &Attack,
    canaries: &Canaries,
) -> Result<Found, String> {
    let build = |script: &str, told: &str| {
        build(executor, attack, script, canaries, told).map_err(|error| error.to_string())
    };
    let end = |result: Result<Outcome, Error>| result.map_err(|error| error.to_string());
    let outcome = match attack.steps {
        Steps::Alone(script) => {
            let outcome = end(executor.run(build(script, "")?).await)?;
            if let Some(found) = (attack.judge)(&outcome, canaries) {
                return Ok(found);
            }
            outcome
        }
        Steps::OneAfterTheOther(first, second) => {
            let outcome = end(executor.run(build(first, "")?).await)?;
            if let Some(found) = (attack.judge)(&outcome, canaries) {
                return Ok(found);
            }
            read(&outcome, attack)?;
            end(executor.run(build(second, "")?).await)?
        }
        Steps::Together(first, second) => {
            let mut running = executor.start(build(first, "")?).await.map_err(|e| e.to_string())?;
            // The last word of its first line is what the second needs to know.
            let mut said = String::new();
            while !said.contains('\n')
                && let Some(event) = running.next_event().await
            {
                if let Event::Stdout(bytes) = event {
                    said += &String::from_utf8_lossy(&bytes);
                }
            }
            let told = said.split_whitespace().last().unwrap_or_default();
            if told.parse::<u32>().is_err() {
                return read(&end(running.outcome().await)?, attack);
            }
            let outcome = end(executor.run(build(second, told)?).await)?;
            // It says nothing more while it holds what it has made.
            let together = running.next_event().now_or_never().is_none();
            running.cancel_handle().cancel();
            let _ = running.outcome().await;
            match read(&outcome, attack)? {
                Found::Held(_) if !together => return Err("two jobs did not run at once".into()),
                _ => outcome,
            }
        }
    };
    read(&outcome, attack)
}

/// The job of an attack. It accepts every layer that is not in force, or it would be refused.
fn build<E: Executor + ?Sized>(
    executor: &E,
    attack: &Attack,
    script: &str,
    canaries: &Canaries,
    told: &str,
) -> Result<Job, Error> {
    let capabilities = executor.capabilities();
    let limits = Limits { wall: Duration::from_secs(15), ..attack.limits() };
    let job = Job::python(format!("{PRELUDE}\n{script}"))
        .arg(canaries.facts(&limits, told))
        .label("sandbox.verify", attack.name)
        // Functions that separate tenants ask for one.
        .tenant("sandbox-verify")
        .network(capabilities.networks.first().copied().unwrap_or(Network::Denied))
        .limits(limits);
    let missing = capabilities.enforcement.iter().filter(|(_, s)| **s != LayerState::Enforced);
    missing.fold(job, |job: JobBuilder, (layer, _)| job.allow_degraded(layer)).build()
}

/// Reads what an attack says. Once it has begun, the limit that it runs into is an answer too, and
/// so is the signal of a filter.
fn read(outcome: &Outcome, attack: &Attack) -> Result<Found, String> {
    const SIGSYS: i32 = 31;
    let text = outcome.stdout.text();
    let said = |what: &str| text.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
    if let Some(evidence) = said("broke:") {
        return Ok(Found::Broke(evidence.to_owned()));
    }
    if let Some(evidence) = said("held:") {
        return Ok(Found::Held(evidence.to_owned()));
    }
    let reason = outcome.termination.reason();
    let ended_by_layer = match &outcome.termination {
        Termination::Memory(_) | Termination::Disk(_) => attack.is_tight(),
        Termination::Signaled(signal) => *signal == SIGSYS,
        _ => false,
    };
    if ended_by_layer && said("tried:").is_some() {
        return Ok(Found::Held(format!("the job was ended: {reason}")));
    }
    let error = outcome.stderr.text();
    let last = error.lines().last().unwrap_or_default();
    Err(format!("the attack did not report: {reason}; {last}"))
}

/// Limits that attacks run into.
fn small() -> Limits {
    Limits {
        memory: Size::mib(64),
        processes: 16,
        open_files: 64,
        workspace: Some(Size::mib(1)),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FakeExecutor;

    #[tokio::test]
    async fn what_was_not_tried_shows_nothing() {
        // The fake claims layers and has no Python.
        let fake = FakeExecutor::new();
        let verification = fake.verify().await;
        assert_eq!(verification.attacks.len(), ATTACKS.len());
        assert!(verification.attacks.iter().all(|a| a.verdict == Verdict::Untried));
        assert!(!verification.holds());
        let evidence = &verification.attacks[0].evidence;
        assert!(evidence.contains("no runtime \"python\""), "{evidence}");
    }

    #[test]
    fn every_layer_of_a_process_is_attacked() {
        let attacked: BTreeSet<_> = ATTACKS.iter().flat_map(|a| a.layers).copied().collect();
        // A virtual machine cannot be told from inside.
        let all: BTreeSet<_> = Layer::ALL.iter().copied().collect();
        assert_eq!(all.difference(&attacked).collect::<Vec<_>>(), [&Layer::MicroVm]);
    }

    #[test]
    fn an_attack_that_says_nothing_is_not_held() {
        let tight = ATTACKS.iter().find(|attack| attack.is_tight()).expect("one");
        let outcome = |end: Termination, text: &'static str| {
            let mut outcome = Outcome::new(end, crate::Enforcement::none());
            let mut capture = crate::Capture::new(1024);
            capture.push(text.as_bytes());
            outcome.stdout = capture.finish();
            read(&outcome, tight)
        };
        let size = Size::mib(1);
        let memory = || {
            Termination::Memory(crate::MemoryEvidence {
                limit: size,
                peak: Some(size),
                oom_kills: 1,
            })
        };
        for end in [Termination::Exited(0), Termination::Signaled(9), Termination::Cancelled] {
            assert!(outcome(end, "tried: it\n").is_err());
        }
        assert!(outcome(memory(), "").is_err());
        assert!(matches!(outcome(memory(), "tried: it\n"), Ok(Found::Held(_))));
        assert!(matches!(outcome(memory(), "tried: it\nbroke: in\n"), Ok(Found::Broke(_))));
    }
}
