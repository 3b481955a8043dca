//! What the ways to hand code over cost beside running it: the tool beside `run`, an MCP round trip
//! beside the tool, how soon a client sees output, and a batch beside the executor's own rate.
//!
//! `cargo bench -p sandbox-cli --bench agents [-- ROUNDS]`.

mod support;

use std::error::Error;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use sandbox::{CodeTool, ExecutorExt as _, Job, LimitConcurrency, LocalExecutor, Size};
use serde_json::{Value, json};
use support::{Sample, Table};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const SANDBOX: &str = env!("CARGO_BIN_EXE_sandbox");
/// Jobs of one measurement of a batch, and of the one for its memory.
const JOBS: usize = 500;
const MANY: usize = 10_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let rounds = support::rounds(100);
    let mut table = Table::new("agents");
    calls(&mut table, rounds).await?;
    live(&mut table, rounds)?;
    batches(&mut table, rounds.div_ceil(10)).await?;
    table.finish()
}

/// The same program by `run`, by the tool, and over MCP, in turns.
async fn calls(table: &mut Table, rounds: usize) -> Result<()> {
    let executor = LimitConcurrency::new(LocalExecutor::new().await?, 8, Duration::from_secs(60));
    let executor = std::sync::Arc::new(executor);
    let tool = CodeTool::new(std::sync::Arc::clone(&executor))?;
    let mut client = Client::start()?;
    for (language, code) in [("bash", "echo 1"), ("python", "print(1)")] {
        let arguments = json!({ "language": language, "code": code });
        let (mut run, mut call, mut mcp) = (Sample::new(), Sample::new(), Sample::new());
        for round in 0..rounds + 5 {
            let counts = round >= 5;
            let since = Instant::now();
            let outcome = executor.run(Job::source(language, code).build()?).await?;
            run.add(counts, since.elapsed());
            assert_eq!(outcome.stdout.text(), "1\n");
            let since = Instant::now();
            let reply = tool.call(arguments.clone()).await;
            call.add(counts, since.elapsed());
            assert!(!reply.is_error, "{reply:?}");
            let since = Instant::now();
            let answer = client.call(&arguments, |_| {})?;
            mcp.add(counts, since.elapsed());
            assert_eq!(answer["result"]["isError"], false, "{answer}");
        }
        table.add(&format!("{language}: run"), &run, None);
        table.add(&format!("{language}: tool"), &call, Some(&run));
        table.add(&format!("{language}: MCP"), &mcp, Some(&call));
        let unit = "ms, median of pairs";
        table.note(&format!("{language}: tool - run"), call.median_difference_ms(&run), unit);
        table.note(&format!("{language}: MCP - tool"), mcp.median_difference_ms(&call), unit);
    }
    Ok(())
}

/// From the program's own clock to the client's, which are one.
fn live(table: &mut Table, rounds: usize) -> Result<()> {
    let mut client = Client::start()?;
    let code = format!(
        "import time\nfor n in range({rounds}):\n    print(time.time(), flush=True)\n    time.sleep(.03)"
    );
    let arguments = json!({ "language": "python", "code": code, "timeout_seconds": 60 });
    let mut late = Sample::new();
    client.call(&arguments, |message| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for written in message.lines().filter_map(|line| line.parse::<f64>().ok()) {
            late.add(true, Duration::from_secs_f64((now - written).max(0.0)));
        }
    })?;
    table.add("output, written until seen over MCP", &late, None);
    Ok(())
}

/// A batch beside the same jobs on the executor alone.
async fn batches(table: &mut Table, rounds: usize) -> Result<()> {
    let at_once = std::thread::available_parallelism()?.get();
    let executor = LocalExecutor::new().await?;
    let (mut own, mut batch) = (Sample::new(), Sample::new());
    for round in 0..rounds + 1 {
        let counts = round >= 1;
        let since = Instant::now();
        let jobs = (0..JOBS).map(|_| Job::bash("echo 1").build()).collect::<Result<Vec<_>, _>>()?;
        let runs = jobs.into_iter().map(|job| executor.run(job));
        let mut runs = futures_util::stream::iter(runs).buffer_unordered(at_once);
        while let Some(outcome) = runs.next().await {
            assert!(outcome?.is_success());
        }
        own.add(counts, since.elapsed());
        let since = Instant::now();
        run_batch(JOBS, at_once)?;
        batch.add(counts, since.elapsed());
    }
    table.add(&format!("{JOBS} jobs: executor"), &own, None);
    table.add(&format!("{JOBS} jobs: batch"), &batch, Some(&own));
    let rate = |sample: &Sample| JOBS as f64 / sample.quantile(0.5) * 1000.0;
    table.note("executor", rate(&own), "jobs a second");
    table.note("batch", rate(&batch), "jobs a second");
    for jobs in [JOBS, MANY] {
        let peak = run_batch(jobs, at_once)?;
        table.note(
            &format!("batch of {jobs}: peak memory"),
            peak.as_u64() as f64 / 1048576.0,
            "MiB",
        );
    }
    Ok(())
}

/// Runs a batch of small jobs; returns the most memory that it had.
fn run_batch(jobs: usize, at_once: usize) -> Result<Size> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("jobs.jsonl");
    let line = format!("{}\n", json!({ "runtime": "bash", "code": "echo 1" }));
    std::fs::write(&path, line.repeat(jobs))?;
    let mut command = Command::new(SANDBOX);
    command.arg("batch").arg(&path).args(["--jobs", &at_once.to_string(), "--results"]);
    let mut child = command.arg(folder.path().join("results")).stderr(Stdio::null()).spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let status = loop {
        let status = std::fs::read_to_string(&status_file).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()) {
            peak = kib;
        }
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let results = std::fs::read_to_string(folder.path().join("results"))?.lines().count();
    assert!(status.success() && results == jobs, "{status}: {results} results");
    Ok(Size::kib(peak))
}

/// A client of `sandbox mcp` that does nothing but wait.
struct Client {
    server: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    calls: u64,
}

impl Client {
    fn start() -> Result<Self> {
        let mut command = Command::new(SANDBOX);
        let mut server = command.arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = server.stdin.take().ok_or("no input")?;
        let output = BufReader::new(server.stdout.take().ok_or("no output")?).lines();
        let mut client = Self { server, input, output, calls: 0 };
        let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "bench", "version": "1" },
        }});
        writeln!(client.input, "{initialize}")?;
        client.receive()?;
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        writeln!(client.input, "{ready}")?;
        Ok(client)
    }

    fn receive(&mut self) -> Result<Value> {
        Ok(serde_json::from_str(&self.output.next().ok_or("the server is gone")??)?)
    }

    fn call(&mut self, arguments: &Value, mut progress: impl FnMut(&str)) -> Result<Value> {
        self.calls += 1;
        let request = json!({ "jsonrpc": "2.0", "id": self.calls, "method": "tools/call",
            "params": { "name": "run_code", "arguments": arguments,
                        "_meta": { "progressToken": self.calls } } });
        writeln!(self.input, "{request}")?;
        loop {
            let message = self.receive()?;
            if message["id"] == self.calls {
                return Ok(message);
            }
            progress(message["params"]["message"].as_str().unwrap_or_default());
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
