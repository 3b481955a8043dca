//! A sandbox is shown to hold by attacking it.
//!
//! [`ExecutorExt::verify`](crate::ExecutorExt::verify) runs real attacks as ordinary jobs and
//! compares what became of each with what the executor claims about the layer that must hold it.
//! A layer that is not claimed is attacked too: what then succeeds is what its absence means.

mod attacks;
mod canary;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use crate::{
    Error, Event, Executor, Job, JobBuilder, Layer, LayerState, Limits, Network, Outcome, Size,
    Termination,
};
use attacks::{ATTACKS, Attack, PRELUDE, Steps};
use canary::Canaries;

/// What attacks on an executor showed.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Verification {
    /// The executor's backend.
    pub backend: String,
    /// One entry for each attack.
    pub attacks: Vec<Attempt>,
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

/// Runs every attack.
pub(crate) async fn verify<E: Executor + ?Sized>(executor: &E) -> Verification {
    let mut attempts = Vec::with_capacity(ATTACKS.len());
    let canaries = Canaries::place();
    for attack in ATTACKS {
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
    Verification { backend: executor.capabilities().backend.clone(), attacks: attempts }
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
    let build =
        |script: &str| build(executor, attack, script, canaries).map_err(|error| error.to_string());
    let end = |result: Result<Outcome, Error>| result.map_err(|error| error.to_string());
    let outcome = match attack.steps {
        Steps::Alone(script) => {
            let outcome = end(run(executor, build(script)?).await)?;
            if let Some(found) = (attack.judge)(&outcome, canaries) {
                return Ok(found);
            }
            outcome
        }
        Steps::OneAfterTheOther(first, second) => {
            let outcome = end(run(executor, build(first)?).await)?;
            if let Some(found) = (attack.judge)(&outcome, canaries) {
                return Ok(found);
            }
            read(&outcome)?;
            end(run(executor, build(second)?).await)?
        }
        Steps::Together(first, second) => {
            let mut running = executor.start(build(first)?).await.map_err(|e| e.to_string())?;
            while let Some(event) = running.next_event().await {
                if matches!(event, Event::Stdout(_)) {
                    break;
                }
            }
            let outcome = end(run(executor, build(second)?).await)?;
            // The first job takes away what it has left.
            read(&end(running.outcome().await)?)?;
            outcome
        }
    };
    read(&outcome)
}

async fn run<E: Executor + ?Sized>(executor: &E, job: Job) -> Result<Outcome, Error> {
    executor.start(job).await?.outcome().await
}

/// The job of an attack. It accepts every layer that is not in force, or it would be refused.
fn build<E: Executor + ?Sized>(
    executor: &E,
    attack: &Attack,
    script: &str,
    canaries: &Canaries,
) -> Result<Job, Error> {
    let capabilities = executor.capabilities();
    let limits = Limits { wall: Duration::from_secs(15), ..attack.limits() };
    let job = Job::python(format!("{PRELUDE}\n{script}"))
        .arg(canaries.facts(&limits))
        .label("sandbox.verify", attack.name)
        .network(capabilities.networks.first().copied().unwrap_or(Network::Denied))
        .limits(limits);
    let missing = capabilities.enforcement.iter().filter(|(_, s)| **s != LayerState::Enforced);
    missing.fold(job, |job: JobBuilder, (layer, _)| job.allow_degraded(layer)).build()
}

/// Reads what an attack says. A limit that ended it is an answer too, once it has begun.
fn read(outcome: &Outcome) -> Result<Found, String> {
    let text = outcome.stdout.text();
    let said = |what: &str| text.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
    if let Some(evidence) = said("broke:") {
        return Ok(Found::Broke(evidence.to_owned()));
    }
    if let Some(evidence) = said("held:") {
        return Ok(Found::Held(evidence.to_owned()));
    }
    let reason = outcome.termination.reason();
    match (&outcome.termination, said("tried:")) {
        (Termination::Exited(_) | Termination::Cancelled, _) | (_, None) => {
            let error = outcome.stderr.text();
            let last = error.lines().last().unwrap_or_default();
            Err(format!("the attack did not report: {reason}; {last}"))
        }
        (_, Some(_)) => Ok(Found::Held(format!("the job was ended: {reason}"))),
    }
}

/// Limits that attacks run into.
fn small() -> Limits {
    Limits {
        memory: Size::mib(64),
        processes: 16,
        open_files: 64,
        workspace: Size::mib(1),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecutorExt, FakeExecutor};

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
        let outcome = |end: Termination, text: &'static str| {
            let mut outcome = Outcome::new(end, crate::Enforcement::none());
            let mut capture = crate::Capture::new(1024);
            capture.push(text.as_bytes());
            outcome.stdout = capture.finish();
            read(&outcome)
        };
        let killed = || Termination::Signaled(9);
        assert!(outcome(Termination::Exited(0), "tried: it\n").is_err());
        assert!(outcome(killed(), "").is_err());
        assert!(matches!(outcome(killed(), "tried: it\n"), Ok(Found::Held(_))));
        assert!(matches!(outcome(killed(), "tried: it\nbroke: in\n"), Ok(Found::Broke(_))));
    }
}
