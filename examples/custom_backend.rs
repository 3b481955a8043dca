//! A backend of one's own: plain processes, honest about isolating nothing. It passes the
//! conformance suite because it declares what it does not do, and refuses it.
//! `cargo run --example custom_backend`

use sandbox::{conformance::cases, *};
use std::{process::Stdio, sync::Arc, time::Instant};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, process::Command};

#[derive(Debug)]
struct PlainProcess(Capabilities);

#[async_trait::async_trait]
impl Executor for PlainProcess {
    fn capabilities(&self) -> &Capabilities {
        &self.0
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        self.0.enforcement.require(job.required_layers([]))?;
        self.0.check(&job)?;
        if !job.files.is_empty() {
            let why = "only jobs without files";
            return Err(Error::new(ErrorKind::Unsupported, "start", why));
        }
        let argv = match &job.program {
            Program::Command(argv) => argv.clone(),
            Program::Source { runtime, code } if runtime == "bash" => {
                let code = String::from_utf8_lossy(code).into_owned();
                vec!["bash".into(), "-c".into(), code, "bash".into()]
            }
            Program::Source { runtime, .. } => return Err(unknown_runtime(runtime, ["bash"])),
            _ => return Err(Error::new(ErrorKind::Unsupported, "start", "unknown program")),
        };
        let failed = |kind, error| Error::new(kind, "spawn", format!("{}: {error}", argv[0]));
        let folder = tempfile::tempdir().map_err(|e| failed(ErrorKind::HostExhausted, e))?;
        let mut child = Command::new(&argv[0])
            .args(argv[1..].iter().chain(&job.args))
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(&job.env)
            .current_dir(&folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(ErrorKind::ProgramNotFound, e))?;
        let (execution, driver) = Execution::channel();
        let enforcement = self.0.enforcement.clone();
        tokio::spawn(async move {
            let (events, mut stop, finish) = driver.into_parts();
            events.send(Event::Started).await;
            let since = Instant::now();
            let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let (Some(mut stdin), Some(out), Some(err)) = pipes else { return };
            let input = job.stdin.clone();
            tokio::spawn(async move {
                if let Some(Content::Bytes(bytes)) = input {
                    let _ = stdin.write_all(&bytes).await;
                }
            });
            let stdout = tokio::spawn(read(out, events.clone(), Event::Stdout));
            let stderr = tokio::spawn(read(err, events, Event::Stderr));
            let group = nix::unistd::Pid::from_raw(child.id().unwrap_or(0) as i32);
            let end = tokio::select! {
                status = child.wait() => termination(status),
                _ = stop.requested() => Termination::Cancelled,
                () = tokio::time::sleep(job.limits.wall) => Termination::WallTime(TimeEvidence {
                    limit: job.limits.wall, used: since.elapsed(),
                }),
            };
            let _ = nix::sys::signal::killpg(group, nix::sys::signal::SIGKILL);
            let _ = child.wait().await;
            let mut outcome = Outcome::new(end, enforcement);
            outcome.stdout = stdout.await.unwrap_or_default();
            outcome.stderr = stderr.await.unwrap_or_default();
            drop(folder);
            finish.finish(Ok(outcome));
        });
        Ok(execution)
    }

    async fn open(&self, _: SessionSpec) -> Result<Box<dyn Session>> {
        Err(sessions_unsupported("plain"))
    }
}

fn termination(status: std::io::Result<std::process::ExitStatus>) -> Termination {
    use std::os::unix::process::ExitStatusExt as _;
    let status = status.unwrap_or_default();
    status.code().map_or(Termination::Signaled(status.signal().unwrap_or(0)), Termination::Exited)
}

async fn read(
    mut pipe: impl tokio::io::AsyncRead + Unpin,
    events: EventSender,
    event: fn(bytes::Bytes) -> Event,
) -> Output {
    let (mut capture, mut buffer) = (Capture::new(1 << 20), vec![0; 1 << 16]);
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        capture.push(&buffer[..length]);
        events.send(event(bytes::Bytes::copy_from_slice(&buffer[..length]))).await;
    }
    capture.finish()
}

#[tokio::main]
async fn main() {
    let capabilities = Capabilities::new("plain")
        .with_runtimes(["bash"])
        .with_limits([LimitKind::Wall])
        .with_networks([Network::Host]);
    let executor: Arc<dyn Executor> = Arc::new(PlainProcess(capabilities));
    for case in cases() {
        let verdict = match case.applies_to(executor.capabilities()) {
            false => "does not apply".to_owned(),
            true => match case.check(&executor).await {
                Ok(()) => "passed".to_owned(),
                Err(why) => format!("FAILED: {why}"),
            },
        };
        println!("{:<52} {verdict}", case.name);
        assert!(!verdict.starts_with("FAILED"), "the backend breaks the contract");
    }
}
