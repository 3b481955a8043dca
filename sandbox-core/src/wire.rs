//! The outcome as JSON, version 1.
//!
//! Readers ignore fields that they do not know; a field is never removed or given another
//! meaning within a version. The types here are written by this crate and read by anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Artifact, Cost, Display, Enforcement, Error, ErrorKind, Layer, LayerState, LimitKind, Outcome,
    Output, Skipped, Start, Termination,
};

/// The version of the format.
pub const VERSION: u32 = 1;

/// An outcome, ready to be serialized.
#[derive(Debug, Serialize)]
pub struct OutcomeJson {
    version: u32,
    termination: TerminationJson,
    stdout: OutputJson,
    stderr: OutputJson,
    artifacts: Vec<ArtifactJson>,
    skipped: Vec<Skipped>,
    limits_hit: BTreeSet<LimitKind>,
    displays: Vec<DisplayJson>,
    usage: UsageJson,
    timing: TimingJson,
    start: Start,
    enforcement: BTreeMap<Layer, LayerJson>,
    cost: Option<Cost>,
    facts: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct TerminationJson {
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    evidence: Value,
}

#[derive(Debug, Serialize)]
struct OutputJson {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    bytes: u64,
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct ArtifactJson {
    path: String,
    size: u64,
    sha256: String,
    media_type: String,
    saved_to: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct DisplayJson {
    media_type: String,
    base64: String,
    saved_to: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct UsageJson {
    wall_ms: f64,
    cpu_ms: f64,
    peak_memory_bytes: Option<u64>,
    processes: Option<u64>,
}

#[derive(Debug, Serialize)]
struct TimingJson {
    queued_ms: f64,
    startup_ms: f64,
    run_ms: f64,
    collect_ms: f64,
}

#[derive(Debug, Serialize)]
struct LayerJson {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// A job that could not be run, ready to be serialized.
#[derive(Debug, Serialize)]
pub struct RefusalJson {
    version: u32,
    error: ErrorJson,
}

#[derive(Debug, Serialize)]
struct ErrorJson {
    kind: ErrorKind,
    message: String,
    layer: Option<Layer>,
    may_have_run: bool,
    retryable: bool,
}

impl OutcomeJson {
    /// Describes `outcome`; `saved_to` says where artifacts were saved, by path, and displays, by
    /// [their names](Outcome::display_names).
    pub fn new(outcome: &Outcome, saved_to: &BTreeMap<String, PathBuf>) -> Self {
        let artifact = |artifact: &Artifact| ArtifactJson {
            path: artifact.path().to_owned(),
            size: artifact.size(),
            sha256: artifact.sha256(),
            media_type: artifact.media_type().to_owned(),
            saved_to: saved_to.get(artifact.path()).cloned(),
        };
        let display = |(display, name): (&Display, String)| DisplayJson {
            media_type: display.media_type.clone(),
            base64: STANDARD.encode(&display.data),
            saved_to: saved_to.get(&name).cloned(),
        };
        Self {
            version: VERSION,
            termination: termination(&outcome.termination),
            stdout: output(&outcome.stdout),
            stderr: output(&outcome.stderr),
            artifacts: outcome.artifacts.iter().map(artifact).collect(),
            skipped: outcome.skipped.clone(),
            limits_hit: outcome.limits_hit.clone(),
            displays: outcome.displays.iter().zip(outcome.display_names()).map(display).collect(),
            usage: UsageJson {
                wall_ms: millis(outcome.usage.wall),
                cpu_ms: millis(outcome.usage.cpu),
                peak_memory_bytes: outcome.usage.peak_memory.map(|size| size.as_u64()),
                processes: outcome.usage.processes,
            },
            timing: TimingJson {
                queued_ms: millis(outcome.timing.queued),
                startup_ms: millis(outcome.timing.startup),
                run_ms: millis(outcome.timing.run),
                collect_ms: millis(outcome.timing.collect),
            },
            start: outcome.start,
            enforcement: layers(&outcome.enforcement),
            cost: outcome.cost.clone(),
            facts: outcome.facts.clone(),
        }
    }
}

impl RefusalJson {
    /// Describes `error`.
    pub fn new(error: &Error) -> Self {
        Self {
            version: VERSION,
            error: ErrorJson {
                kind: error.kind(),
                message: error.to_string(),
                layer: error.layer(),
                may_have_run: error.may_have_run(),
                retryable: error.is_retryable(),
            },
        }
    }
}

/// The state of each layer as JSON writes it.
pub fn enforcement(enforcement: &Enforcement) -> Value {
    json!(layers(enforcement))
}

fn layers(enforcement: &Enforcement) -> BTreeMap<Layer, LayerJson> {
    let layer = |state: &LayerState| match state {
        LayerState::Enforced => LayerJson { state: "enforced", reason: None },
        LayerState::Degraded(why) => LayerJson { state: "degraded", reason: Some(why.clone()) },
        LayerState::Off => LayerJson { state: "off", reason: None },
    };
    enforcement.iter().map(|(name, state)| (name, layer(state))).collect()
}

fn termination(termination: &Termination) -> TerminationJson {
    let (mut code, mut signal) = (None, None);
    let evidence = match termination {
        Termination::Exited(status) => {
            code = Some(*status);
            json!({})
        }
        Termination::Signaled(number) => {
            signal = Some(*number);
            json!({})
        }
        Termination::WallTime(e) | Termination::CpuTime(e) => {
            json!({ "limit_ms": millis(e.limit), "used_ms": millis(e.used) })
        }
        Termination::Memory(e) => json!({
            "limit_bytes": e.limit.as_u64(),
            "peak_bytes": e.peak.map(|peak| peak.as_u64()),
            "oom_kills": e.oom_kills,
        }),
        Termination::Output(e) => json!({
            "stream": e.stream,
            "limit_bytes": e.limit.as_u64(),
            "total_bytes": e.total,
        }),
        Termination::Disk(e) => json!({
            "limit": e.limit_kind,
            "limit_bytes": e.limit.as_u64(),
            "signal": e.signal,
        }),
        Termination::Cancelled => json!({}),
    };
    TerminationJson { reason: termination.reason(), code, signal, evidence }
}

fn output(output: &Output) -> OutputJson {
    let text = output.text();
    // JSON writes six characters for a control character: a megabyte of NUL would be six.
    let binary = is_binary(&text);
    OutputJson {
        base64: (binary || !output.is_utf8()).then(|| STANDARD.encode(output.bytes())),
        text: if binary { without_control(&text) } else { text },
        bytes: output.total,
        truncated: output.is_truncated(),
    }
}

/// Whether every eighth character or more is one that JSON has no short form for.
fn is_binary(text: &str) -> bool {
    const FEW: usize = 1024;
    let control = text.bytes().filter(|byte| is_long(char::from(*byte))).count();
    control > FEW && control > text.len() / 8
}

fn is_long(character: char) -> bool {
    character < ' ' && !matches!(character, '\n' | '\r' | '\t' | '\x08' | '\x0c')
}

/// The text with U+FFFD for each run of such characters.
fn without_control(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars() {
        if !is_long(character) {
            shown.push(character);
        } else if !shown.ends_with('\u{fffd}') {
            shown.push('\u{fffd}');
        }
    }
    shown
}

/// Milliseconds with microsecond resolution.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiskEvidence, MemoryEvidence, OutputEvidence, RelPath, Size, TimeEvidence};

    #[test]
    fn version_1_is_what_the_golden_file_says() {
        let enforcement = Enforcement::default()
            .with(Layer::Seccomp, LayerState::Enforced)
            .with(Layer::Memory, LayerState::Degraded("watched".into()));
        let mut outcome = Outcome::new(Termination::Exited(3), enforcement);
        outcome.stdout = Output { head: "hi\n".into(), tail: "".into(), total: 3 };
        outcome.stderr = Output { head: vec![0xff].into(), tail: "z".into(), total: 9 };
        let path = RelPath::new("a.png").expect("path");
        outcome.artifacts.push(Artifact::from_bytes(path, "x".into()));
        outcome.skipped.push(Skipped { path: "l".into(), reason: "is a link".into() });
        outcome.limits_hit.insert(LimitKind::Output);
        outcome.usage.wall = Duration::from_micros(1500);
        let saved = BTreeMap::from([("a.png".to_owned(), PathBuf::from("out/a.png"))]);
        let json = serde_json::to_value(OutcomeJson::new(&outcome, &saved)).expect("json");
        let golden: Value =
            serde_json::from_str(include_str!("../tests/golden/outcome-v1.json")).expect("golden");
        assert_eq!(json, golden);
    }

    #[test]
    fn every_reason_has_its_evidence() {
        let (limit, used) = (Duration::from_millis(5), Duration::from_millis(6));
        let time = TimeEvidence { limit, used };
        let memory = MemoryEvidence { limit: Size::b(8), peak: Some(Size::b(7)), oom_kills: 1 };
        let output = OutputEvidence { stream: "stderr", limit: Size::b(3), total: 4 };
        let disk = DiskEvidence { limit_kind: LimitKind::FileSize, limit: Size::b(2), signal: 25 };
        let times = json!({ "limit_ms": 5.0, "used_ms": 6.0 });
        for (end, expected) in [
            (Termination::Exited(7), json!({ "reason": "exited", "code": 7, "evidence": {} })),
            (
                Termination::Signaled(9),
                json!({ "reason": "signaled", "signal": 9, "evidence": {} }),
            ),
            (
                Termination::WallTime(time.clone()),
                json!({ "reason": "wall_time", "evidence": times }),
            ),
            (Termination::CpuTime(time), json!({ "reason": "cpu_time", "evidence": times })),
            (
                Termination::Memory(memory),
                json!({ "reason": "memory", "evidence": {
                    "limit_bytes": 8, "peak_bytes": 7, "oom_kills": 1 } }),
            ),
            (
                Termination::Output(output),
                json!({ "reason": "output", "evidence": {
                    "stream": "stderr", "limit_bytes": 3, "total_bytes": 4 } }),
            ),
            (
                Termination::Disk(disk),
                json!({ "reason": "disk", "evidence": {
                    "limit": "file_size", "limit_bytes": 2, "signal": 25 } }),
            ),
            (Termination::Cancelled, json!({ "reason": "cancelled", "evidence": {} })),
        ] {
            assert_eq!(json!(termination(&end)), expected);
        }
    }

    #[test]
    fn a_refusal_names_its_layer() {
        let error = Error::new(ErrorKind::Refused, "probe", "no").with_layer(Layer::Landlock);
        let json = serde_json::to_value(RefusalJson::new(&error)).expect("json");
        let golden = json!({ "version": 1, "error": {
            "kind": "refused", "message": "probe: no", "layer": "landlock",
            "may_have_run": false, "retryable": false,
        }});
        assert_eq!(json, golden);
    }
}
