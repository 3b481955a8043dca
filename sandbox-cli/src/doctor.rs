//! `sandbox doctor`.

use std::io::{self, Write as _};

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use sandbox::wire::{RefusalJson, VERSION, enforcement};
use sandbox::{
    Attempt, Enforcement, Error, Executor, ExecutorExt as _, Finding, LambdaExecutor, Layer,
    LayerState, LocalExecutor, ProbeReport, Verdict, Verification,
};
use serde_json::{Value, json};

use crate::args::Backend;

/// Shows what a backend enforces; returns 1 when a claim is broken or not shown, or the default
/// job would be refused.
pub(crate) async fn doctor(backend: Backend, as_json: bool) -> u8 {
    let diagnosis = match examine(backend).await {
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

/// A reader that went away does not change the verdict.
fn print(text: String) {
    let _ = writeln!(io::stdout(), "{text}");
}

async fn examine(backend: Backend) -> Result<Diagnosis, Error> {
    Ok(match backend {
        Backend::Local => {
            let executor = LocalExecutor::new().await?;
            let report = executor.probe().clone();
            let refused = report.check_default().err().map(|error| error.to_string());
            Diagnosis::new(&executor, Some(report), refused).await
        }
        Backend::Lambda => Diagnosis::new(&LambdaExecutor::from_env().await?, None, None).await,
    })
}

struct Diagnosis {
    enforcement: Enforcement,
    verification: Verification,
    /// What the local backend knows of its host.
    host: Option<ProbeReport>,
    refused: Option<String>,
}

impl Diagnosis {
    async fn new(
        executor: &impl Executor,
        host: Option<ProbeReport>,
        refused: Option<String>,
    ) -> Self {
        let enforcement = executor.capabilities().enforcement.clone();
        Self { enforcement, verification: executor.verify().await, host, refused }
    }

    fn to_json(&self) -> Value {
        let finding = |finding: &Finding| {
            json!({
                "layer": finding.layer,
                "step": finding.step,
                "cause": finding.cause,
                "remedy": finding.remedy,
            })
        };
        let findings = self.host.iter().flat_map(|host| host.findings.iter().chain(&host.fatal));
        let host = self.host.as_ref();
        json!({
            "version": VERSION,
            "backend": self.verification.backend,
            "kernel": host.map(|host| &host.kernel),
            "memory_by": host.map(|host| &host.memory_by),
            "probe_ms": host.map(|host| host.took.as_micros() as f64 / 1000.0),
            "enforcement": enforcement(&self.enforcement),
            "findings": findings.map(finding).collect::<Vec<_>>(),
            "attacks": self.verification.attacks,
            "holds": self.verification.holds(),
            "default_job_refused": self.refused,
        })
    }

    fn to_text(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.host.as_ref().map(|host| {
            format!(
                "Linux {}; probed in {:.1} ms; memory by {}",
                host.kernel,
                host.took.as_secs_f64() * 1000.0,
                host.memory_by
            )
        }));
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
            attacks.add_row([*attack, layer.name(), mark(*verdict), evidence.as_str()]);
        }
        parts.extend([layers.trim_fmt(), attacks.trim_fmt(), self.summary()]);
        parts.join("\n\n")
    }

    fn summary(&self) -> String {
        let attacks = &self.verification.attacks;
        let count = |verdict| attacks.iter().filter(|attempt| attempt.verdict == verdict).count();
        let others = [Verdict::Open, Verdict::Broken, Verdict::Untried]
            .map(|verdict| (count(verdict), mark(verdict)))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, mark)| format!(", {count} {mark}"));
        let mut text = format!("{} attacks: {} held", attacks.len(), count(Verdict::Held));
        text.extend(others);
        text += match (&self.refused, self.verification.holds()) {
            (Some(why), _) => return format!("{text}.\nThe default job is REFUSED: {why}"),
            (None, true) => ".\nThe default job runs here.",
            (None, false) => ".\nA claim is broken, or could not be tried: do not rely on it.",
        };
        text
    }
}

/// What must be seen at a glance is in capitals.
fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Open => "OPEN, not claimed",
        Verdict::Broken => "BROKEN",
        Verdict::Untried => "NOT TRIED",
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}
