//! `sandbox doctor`.

use sandbox::wire::{RefusalJson, VERSION, enforcement};
use sandbox::{
    Attempt, Enforcement, Error, Executor as _, ExecutorExt as _, Finding, Layer, LayerState,
    LocalExecutor, ProbeReport, Verification, printable,
};
use serde_json::{Value, json};

use crate::table::{self, mark, print, table};

/// Shows what this host enforces; returns 1 when a claim is broken or not shown, or the default
/// job would be refused.
pub(crate) async fn doctor(as_json: bool) -> u8 {
    let diagnosis = match examine().await {
        Ok(diagnosis) => diagnosis,
        Err(error) => {
            print(if as_json {
                json!(RefusalJson::new(&error)).to_string()
            } else {
                format!("refused: {error}")
            });
            return 1;
        }
    };
    print(if as_json { diagnosis.to_json().to_string() } else { diagnosis.to_text() });
    u8::from(diagnosis.refused.is_some() || !diagnosis.verification.holds())
}

async fn examine() -> Result<Diagnosis, Error> {
    let executor = LocalExecutor::new().await?;
    let host = executor.probe().clone();
    Ok(Diagnosis {
        enforcement: executor.capabilities().enforcement.clone(),
        verification: executor.verify().await,
        refused: host.check_default().err().map(|error| error.to_string()),
        host,
    })
}

struct Diagnosis {
    enforcement: Enforcement,
    verification: Verification,
    host: ProbeReport,
    refused: Option<String>,
}

impl Diagnosis {
    fn to_json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "layer": finding.layer,
                "step": finding.step,
                "cause": finding.cause,
                "remedy": finding.remedy,
            })
        };
        let host = &self.host;
        let findings = host.findings.iter().chain(&host.fatal);
        json!({
            "version": VERSION,
            "backend": self.verification.backend,
            "kernel": host.kernel,
            "memory_by": host.memory_by,
            "probe_ms": host.took.as_micros() as f64 / 1000.0,
            "enforcement": enforcement(&self.enforcement),
            "findings": findings.map(finding).collect::<Vec<_>>(),
            "attacks": self.verification.attacks,
            "holds": self.verification.holds(),
            "default_job_refused": self.refused,
        })
    }

    fn to_text(&self) -> String {
        let host = format!(
            "Linux {}; probed in {:.1} ms; memory by {}",
            self.host.kernel,
            self.host.took.as_secs_f64() * 1000.0,
            self.host.memory_by
        );
        let mut layers = table(["layer", "state", ""]);
        for layer in Layer::ALL {
            let (mark, note) = match self.enforcement.state(*layer) {
                LayerState::Enforced => ("enforced", ""),
                LayerState::Degraded(reason) => ("DEGRADED", reason.as_str()),
                LayerState::Off => ("off", ""),
            };
            layers.add_row([layer.name(), mark, note]);
        }
        let mut attacks = table(["attack", "held by", "verdict", "what it saw"]);
        for Attempt { attack, layer, verdict, evidence, .. } in &self.verification.attacks {
            attacks.add_row([*attack, layer.name(), mark(*verdict), &printable(evidence)]);
        }
        [host, layers.trim_fmt(), attacks.trim_fmt(), self.summary()].join("\n\n")
    }

    fn summary(&self) -> String {
        let verdicts = self.verification.attacks.iter().map(|attempt| attempt.verdict);
        let text = table::count("attacks", verdicts);
        match (&self.refused, self.verification.holds()) {
            (Some(why), _) => format!("{text}.\nThe default job is REFUSED: {why}"),
            (None, true) => format!("{text}.\nThe default job runs here."),
            (None, false) => {
                format!("{text}.\nA claim is broken, or could not be tried: do not rely on it.")
            }
        }
    }
}
