//! The platform's report of an invocation, from the tail of its log.
//!
//! Nothing that a job writes gets into the log: its output goes through pipes, and the runner's
//! own descriptors are out of its reach. Should that fail, two reports of one request show it,
//! and neither is believed.

use std::time::Duration;

use sandbox_core::Size;
use serde_json::Value;

/// What the platform measured and bills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) duration: Duration,
    pub(crate) billed: Duration,
    pub(crate) memory: Size,
    pub(crate) max_memory: Size,
    pub(crate) init: Option<Duration>,
}

/// Why there is no report.
pub(crate) type Missing = &'static str;

/// The report of the request `id`.
pub(crate) fn find(log: &str, id: &str) -> Result<Report, Missing> {
    let mut found = log.lines().filter_map(|line| text(line, id).or_else(|| json(line, id)));
    match (found.next(), found.next()) {
        (None, _) => Err("the log has no REPORT line of this request"),
        (Some(Some(report)), None) => Ok(report),
        (Some(None), None) => Err("the REPORT line of this request has another form"),
        (Some(_), Some(_)) => Err("the log has several REPORT lines of this request"),
    }
}

/// Whether the log says that the runtime never came up. An init that failed before the invocation
/// is repeated within it, and then only that one counts.
pub(crate) fn init_failed(log: &str) -> bool {
    log.lines().any(|line| {
        line.starts_with("INIT_REPORT ")
            && line.contains("Phase: invoke")
            && (line.contains("Status: error") || line.contains("Status: timeout"))
    })
}

/// `REPORT RequestId: ID<tab>Duration: 1.44 ms<tab>...`; the inner option is a line of this
/// request that does not read as one.
fn text(line: &str, id: &str) -> Option<Option<Report>> {
    let mut fields = line.strip_prefix("REPORT RequestId: ")?.split('\t');
    if fields.next()?.trim() != id {
        return None;
    }
    let fields: Vec<_> = fields.filter_map(|field| field.split_once(": ")).collect();
    let number = |name: &str, unit: &str| {
        let (_, value) = fields.iter().find(|(key, _)| key.trim() == name)?;
        value.trim().strip_suffix(unit)?.trim().parse::<f64>().ok()
    };
    Some((|| {
        Some(Report {
            duration: millis(number("Duration", "ms")?)?,
            billed: millis(number("Billed Duration", "ms")?)?,
            memory: mebibytes(number("Memory Size", "MB")?),
            max_memory: mebibytes(number("Max Memory Used", "MB")?),
            init: number("Init Duration", "ms").and_then(millis),
        })
    })())
}

/// The same in the JSON log format.
fn json(line: &str, id: &str) -> Option<Option<Report>> {
    let value: Value = serde_json::from_str(line.trim()).ok()?;
    if value.get("type")? != "platform.report" || value.get("record")?.get("requestId")? != id {
        return None;
    }
    let metrics = &value["record"]["metrics"];
    let number = |name: &str| metrics[name].as_f64();
    Some((|| {
        Some(Report {
            duration: millis(number("durationMs")?)?,
            billed: millis(number("billedDurationMs")?)?,
            memory: mebibytes(number("memorySizeMB")?),
            max_memory: mebibytes(number("maxMemoryUsedMB")?),
            init: number("initDurationMs").and_then(millis),
        })
    })())
}

fn millis(value: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(value / 1000.0).ok()
}

fn mebibytes(value: f64) -> Size {
    Size::mib(value.max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "REPORT RequestId: a-1\tDuration: 1.44 ms\tBilled Duration: 20 ms\tMemory \
                        Size: 128 MB\tMax Memory Used: 22 MB\tInit Duration: 18.45 ms\t";

    #[test]
    fn both_log_formats_are_read() {
        let report = find(&format!("START\nnoise\n{LINE}\n"), "a-1").expect("report");
        assert_eq!(report.billed, Duration::from_millis(20));
        assert_eq!(report.init, Some(Duration::from_micros(18_450)));
        assert_eq!((report.memory, report.max_memory), (Size::mib(128), Size::mib(22)));
        let json = r#"{"time":"x","type":"platform.report","record":{"requestId":"a-1","metrics":
            {"durationMs":1.44,"billedDurationMs":20,"memorySizeMB":128,"maxMemoryUsedMB":22,
            "initDurationMs":18.45},"status":"success"}}"#
            .replace('\n', "");
        assert_eq!(find(&json, "a-1"), Ok(report));
    }

    #[test]
    fn what_is_not_this_requests_single_report_is_none() {
        for (log, why) in [
            ("", "no REPORT"),
            ("REPORT RequestId: b-2\tDuration: 1 ms\tBilled Duration: 1 ms\t", "no REPORT"),
            ("fake REPORT RequestId: a-1\tDuration: 1 ms\t", "no REPORT"),
            ("REPORT RequestId: a-1\tDuration: cheap\t", "another form"),
            (&format!("{LINE}\n{LINE}"), "several"),
            (&format!("REPORT RequestId: a-1\tDuration: 0 ms\t\n{LINE}"), "several"),
            ("REPORT RequestId: a-1\tDuration: NaN ms\tBilled Duration: -1 ms\t", "another form"),
        ] {
            let missing = find(log, "a-1").expect_err(log);
            assert!(missing.contains(why), "{log:?}: {missing}");
        }
    }
}
