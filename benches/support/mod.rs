//! Samples, tables and their JSON, for all benches.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Measurements of one thing.
#[derive(Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

#[allow(dead_code, reason = "each bench uses some of these")]
impl Sample {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add(&mut self, counts: bool, took: Duration) {
        if counts {
            self.0.push(took.as_secs_f64() * 1000.0);
        }
    }

    pub(crate) fn time<T, E>(
        &mut self,
        counts: bool,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let since = Instant::now();
        let result = work()?;
        self.add(counts, since.elapsed());
        Ok(result)
    }

    pub(crate) fn quantile(&self, q: f64) -> f64 {
        quantile(self.0.clone(), q)
    }

    /// The median of this divided by that, pair by pair: steady where the machine is not.
    pub(crate) fn median_ratio(&self, base: &Self) -> f64 {
        quantile(self.0.iter().zip(&base.0).map(|(a, b)| a / b).collect(), 0.5)
    }

    pub(crate) fn median_difference_ms(&self, base: &Self) -> f64 {
        quantile(self.0.iter().zip(&base.0).map(|(a, b)| a - b).collect(), 0.5)
    }
}

fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Rounds given on the command line; cargo adds arguments of its own.
pub(crate) fn rounds(default: usize) -> usize {
    std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(default)
}

/// What a bench prints, and writes as JSON under `target/bench/`.
#[derive(Debug)]
pub(crate) struct Table {
    name: &'static str,
    rows: Vec<Value>,
}

#[allow(dead_code, reason = "each bench uses some of these")]
impl Table {
    pub(crate) fn new(name: &'static str) -> Self {
        println!("{}", machine());
        println!("{:<36} {:>9} {:>9} {:>9}", "milliseconds", "median", "p95", "ratio");
        Self { name, rows: Vec::new() }
    }

    pub(crate) fn add(&mut self, what: &str, sample: &Sample, base: Option<&Sample>) {
        let (median, p95) = (sample.quantile(0.5), sample.quantile(0.95));
        let ratio = base.map(|base| sample.median_ratio(base));
        let shown = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        println!("{what:<36} {median:>9.2} {p95:>9.2} {shown:>9}");
        self.rows.push(json!({
            "what": what, "median_ms": median, "p95_ms": p95, "ratio": ratio, "n": sample.0.len(),
        }));
    }

    pub(crate) fn note(&mut self, what: &str, value: f64, unit: &str) {
        println!("{what:<36} {value:>9.2} {unit}");
        self.rows.push(json!({ "what": what, "value": value, "unit": unit }));
    }

    pub(crate) fn finish(self) -> Result<(), Box<dyn std::error::Error>> {
        // Beside the folder that Cargo names, whichever package the bench is of.
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.json", self.name));
        let text = json!({ "bench": self.name, "machine": machine(), "rows": self.rows });
        std::fs::write(&path, serde_json::to_vec_pretty(&text)?)?;
        println!("written to {}", path.display());
        Ok(())
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("Linux {}, {cpus} x {}", kernel.trim(), cpu.trim_start_matches(['\t', ' ', ':']))
}
