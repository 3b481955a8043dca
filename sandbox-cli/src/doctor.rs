//! `sandbox doctor`.

use std::io::{self, Write as _};

use sandbox::wire::enforcement;
use sandbox::{Layer, LayerState, LocalExecutor, ProbeReport};
use serde_json::{Value, json};

/// Shows what this host can enforce; returns 1 when the default job would be refused.
pub(crate) async fn doctor(as_json: bool) -> u8 {
    let executor = match LocalExecutor::new().await {
        Ok(executor) => executor,
        Err(error) => {
            let text = if as_json {
                json!(sandbox::wire::RefusalJson::new(&error)).to_string()
            } else {
                format!("refused: {error}")
            };
            let _ = writeln!(io::stdout(), "{text}");
            return 1;
        }
    };
    let report = executor.probe();
    let refused = report.check_default().err();
    let text = if as_json {
        to_json(report, refused.as_ref().map(ToString::to_string)).to_string()
    } else {
        to_text(report, refused.as_ref().map(ToString::to_string))
    };
    // A reader that went away does not change the verdict.
    let _ = writeln!(io::stdout(), "{text}");
    u8::from(refused.is_some())
}

fn to_json(report: &ProbeReport, refused: Option<String>) -> Value {
    let finding = |finding: &sandbox::Finding| {
        json!({
            "layer": finding.layer,
            "step": finding.step,
            "cause": finding.cause,
            "remedy": finding.remedy,
        })
    };
    json!({
        "version": sandbox::wire::VERSION,
        "kernel": report.kernel,
        "memory_by": report.memory_by,
        "probe_ms": report.took.as_micros() as f64 / 1000.0,
        "enforcement": enforcement(&report.enforcement),
        "findings": report.findings.iter().chain(&report.fatal).map(finding).collect::<Vec<_>>(),
        "default_job_refused": refused,
    })
}

fn to_text(report: &ProbeReport, refused: Option<String>) -> String {
    let mut lines = vec![format!(
        "Linux {}; probed in {:.1} ms; memory by {}\n",
        report.kernel,
        report.took.as_secs_f64() * 1000.0,
        report.memory_by
    )];
    for layer in Layer::ALL {
        let (mark, note) = match report.enforcement.state(*layer) {
            LayerState::Enforced => ("enforced", ""),
            LayerState::Degraded(reason) => ("DEGRADED", reason.as_str()),
            LayerState::Off => ("off", ""),
        };
        lines.push(format!("{:<20} {mark:<9} {note}", layer.name()).trim_end().to_owned());
    }
    lines.push(String::new());
    lines.push(match refused {
        Some(why) => format!("The default job is REFUSED: {why}"),
        None => "The default job runs here.".to_owned(),
    });
    lines.join("\n")
}
