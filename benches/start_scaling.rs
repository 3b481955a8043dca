//! Whether a start costs more in an application with much memory and many threads, and what
//! output and teardown cost.
//!
//! `cargo bench --bench start_scaling [-- ROUNDS]`

mod support;

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandbox::{ExecutorExt as _, Job, LocalExecutor};
use support::{Sample, Table};

const SIZES_MIB: [usize; 3] = [50, 1024, 4096];
const THREADS: [usize; 2] = [1, 200];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = support::rounds(60);
    let executor = LocalExecutor::new().await?;
    executor.probe().check_default()?;
    let mut table = Table::new("start_scaling");
    scaling(&executor, &mut table, rounds).await?;
    throughput(&executor, &mut table).await?;
    teardown(&executor, &mut table, rounds).await?;
    table.finish()
}

/// The states are visited in turns, so that a slow minute of the machine hits all of them.
async fn scaling(
    executor: &LocalExecutor,
    table: &mut Table,
    rounds: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let states: Vec<_> =
        SIZES_MIB.iter().flat_map(|size| THREADS.map(|threads| (*size, threads))).collect();
    let mut samples: Vec<_> = states.iter().map(|_| Sample::new()).collect();
    for turn in 0..3 {
        for ((size, threads), sample) in states.iter().zip(&mut samples) {
            let _load = Load::new(*size, *threads);
            for round in 0..rounds.div_ceil(3) + 3 {
                let since = Instant::now();
                let outcome = executor.run(Job::command(["/bin/true"]).build()?).await?;
                sample.add(round >= 3, since.elapsed());
                assert!(outcome.is_success(), "turn {turn}: {outcome:?}");
            }
        }
    }
    for ((size, threads), sample) in states.iter().zip(&samples) {
        let base = (sample.quantile(0.5) > 0.0).then_some(&samples[0]);
        table.add(&format!("true: {size} MiB, {threads} threads"), sample, base);
    }
    let last = samples.len() - 1;
    let ratio = samples[last].quantile(0.5) / samples[0].quantile(0.5);
    table.note("4 GiB, 200 threads / 50 MiB, 1", ratio, "times, medians");
    Ok(())
}

/// Resident memory and idle threads.
struct Load {
    _memory: Vec<u8>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn new(mib: usize, threads: usize) -> Self {
        let mut memory = vec![0u8; mib << 20];
        memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        let stop = Arc::new(AtomicBool::new(false));
        let idle = |stop: Arc<AtomicBool>| {
            move || {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::park_timeout(Duration::from_secs(1));
                }
            }
        };
        let threads = (1..threads).map(|_| std::thread::spawn(idle(Arc::clone(&stop)))).collect();
        Self { _memory: memory, stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// 1 GiB through the sandbox, discarded past the cap, against the same program bare, into a pipe
/// that is read.
async fn throughput(
    executor: &LocalExecutor,
    table: &mut Table,
) -> Result<(), Box<dyn std::error::Error>> {
    const BYTES: u64 = 1 << 30;
    let argv = ["head", "-c", &BYTES.to_string(), "/dev/zero"].map(str::to_owned);
    let (mut bare, mut ours) = (Sample::new(), Sample::new());
    let grown = Mutex::new(0);
    for round in 0..6 {
        bare.time(round > 0, || -> std::io::Result<()> {
            let mut child =
                Command::new(&argv[0]).args(&argv[1..]).stdout(Stdio::piped()).spawn()?;
            let mut pipe = child.stdout.take().ok_or(std::io::ErrorKind::Other)?;
            let mut buffer = vec![0; 1 << 18];
            while pipe.read(&mut buffer)? > 0 {}
            child.wait().map(|_| ())
        })?;
        let before = peak_kib();
        let since = Instant::now();
        let outcome = executor.run(Job::command(argv.clone()).build()?).await?;
        ours.add(round > 0, since.elapsed());
        assert_eq!(outcome.stdout.total, BYTES);
        if let Ok(mut grown) = grown.lock()
            && round > 0
        {
            *grown = (*grown).max(peak_kib() - before);
        }
    }
    table.add("1 GiB: bare, read from a pipe", &bare, None);
    table.add("1 GiB: sandbox, discarded", &ours, Some(&bare));
    let grown = grown.lock().map(|grown| *grown).unwrap_or(u64::MAX);
    table.note("1 GiB: growth of peak memory", grown as f64 / 1024.0, "MiB");
    Ok(())
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// From the wall-clock limit to the outcome, with a tree of 20 stubborn processes.
async fn teardown(
    executor: &LocalExecutor,
    table: &mut Table,
    rounds: usize,
) -> Result<(), Box<dyn std::error::Error>> {
    let script = "trap '' TERM; for n in $(seq 20); do setsid sleep 60 & done; wait; sleep 60";
    let limit = Duration::from_millis(200);
    let mut sample = Sample::new();
    for _ in 0..rounds.div_ceil(4) {
        let outcome = executor.run(Job::bash(script).timeout(limit).build()?).await?;
        sample.add(true, outcome.timing.collect);
    }
    table.add("kill of 20 processes to outcome", &sample, None);
    Ok(())
}
