//! A report of attacks names exactly what does not hold.

mod support;

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

use async_trait::async_trait;
use sandbox_core::{
    Artifact, Capabilities, Execution, Executor, ExecutorExt as _, Job, Layer, LayerState, Network,
    Outcome, Program, RelPath, Result, Session, SessionSpec, Surroundings, Termination, Verdict,
    Verification,
};
use sandbox_local::LocalExecutor;
use support::{METADATA, executor, in_a_network};

fn show(verification: &Verification) -> String {
    let lines = verification.attacks.iter().map(|attempt| format!("{attempt:?}\n"));
    lines.collect()
}

#[tokio::test]
async fn the_default_sandbox_holds() {
    let verification = executor().await.verify().await;
    assert!(verification.holds(), "{}", show(&verification));
    let held = verification.attacks.iter().filter(|attempt| attempt.verdict == Verdict::Held);
    assert_eq!(held.count(), 35, "{}", show(&verification));
}

#[tokio::test]
async fn a_layer_that_is_left_out_is_the_one_that_is_named() {
    for layer in [
        Layer::User,
        Layer::Network,
        Layer::Ipc,
        Layer::Uts,
        Layer::NoNewPrivs,
        Layer::Capabilities,
        Layer::Seccomp,
        Layer::Landlock,
        Layer::Rlimits,
        Layer::Memory,
        Layer::Processes,
        Layer::Disk,
    ] {
        let executor = LocalExecutor::builder().without(layer).build().await.expect("executor");
        let enforcement = &executor.capabilities().enforcement;
        assert_eq!(*enforcement.state(layer), LayerState::Off, "{layer}");
        // A job that does not give it up is refused.
        let job = Job::python("print(1)").build().expect("job");
        match executor.run(job).await {
            // The only layer that is not required by default.
            Ok(outcome) => assert!(layer == Layer::Memory && outcome.is_success(), "{layer}"),
            Err(error) => assert_eq!(error.layer(), Some(layer), "{error}"),
        }
        let verification = executor.verify().await;
        let open = verification.layers(Verdict::Open);
        assert_eq!(open, [layer].into(), "{}", show(&verification));
        assert!(verification.holds(), "nothing is claimed: {}", show(&verification));
    }
}

#[tokio::test]
async fn what_holds_the_others_up_cannot_be_left_out() {
    for layer in [Layer::Mount, Layer::Pid, Layer::Environment, Layer::Cleanup, Layer::MicroVm] {
        let error = LocalExecutor::builder().without(layer).build().await.expect_err("refused");
        assert_eq!(error.layer(), Some(layer), "{error}");
    }
}

/// An executor that keeps all its promises but one: attacks on that layer run bare.
#[derive(Debug)]
struct Liar {
    honest: LocalExecutor,
    /// Attacks by name.
    broken: Vec<&'static str>,
    folder: tempfile::TempDir,
}

impl Liar {
    /// Runs a program as a home-made wrapper would: as a child, in a folder, collecting by path.
    fn run_bare(&self, job: &Job) -> Outcome {
        let Program::Source { code, .. } = &job.program else { panic!("attacks are source") };
        let before: Vec<_> = names(self.folder.path());
        let main = self.folder.path().join("main.py");
        std::fs::write(&main, code).expect("write");
        let output = std::process::Command::new("/usr/bin/python3")
            .arg(&main)
            .args(&job.args)
            .current_dir(self.folder.path())
            .output()
            .expect("python3");
        let code = output.status.code().unwrap_or(-1);
        let mut outcome =
            Outcome::new(Termination::Exited(code), self.honest.capabilities().enforcement.clone());
        outcome.stdout.head = output.stdout.into();
        outcome.stderr.head = output.stderr.into();
        for name in names(self.folder.path()) {
            let content = std::fs::read(self.folder.path().join(&name));
            if let (false, Ok(content)) = (before.contains(&name) || name == "main.py", content) {
                let path = RelPath::new(name).expect("path");
                outcome.artifacts.push(Artifact::from_bytes(path, content.into()));
            }
        }
        outcome
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[async_trait]
impl Executor for Liar {
    fn capabilities(&self) -> &Capabilities {
        self.honest.capabilities()
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        if !self.broken.contains(&job.labels["sandbox.verify"].as_str()) {
            return self.honest.start(job).await;
        }
        let outcome = self.run_bare(&job);
        let (execution, driver) = Execution::channel();
        let (_, _, finish) = driver.into_parts();
        finish.finish(Ok(outcome));
        Ok(execution)
    }

    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
        self.honest.open(spec).await
    }
}

#[tokio::test]
async fn a_promise_that_is_not_kept_is_the_one_that_is_named() {
    let honest = executor().await.verify().await;
    let mut attacks: BTreeMap<Layer, Vec<&'static str>> = BTreeMap::new();
    for attempt in &honest.attacks {
        attacks.entry(attempt.layer).or_default().push(attempt.attack);
    }
    for layer in [
        Layer::Mount,
        Layer::Pid,
        Layer::SupervisorHidden,
        Layer::Environment,
        Layer::Descriptors,
        Layer::PrivateTmp,
        Layer::Cleanup,
    ] {
        let liar = Liar {
            honest: executor().await,
            broken: attacks[&layer].clone(),
            folder: tempfile::tempdir().expect("tempdir"),
        };
        let verification = liar.verify().await;
        assert_eq!(verification.layers(Verdict::Broken), [layer].into(), "{}", show(&verification));
        assert!(!verification.holds());
        // Each attack on that layer finds it, not just one.
        for attempt in verification.attacks.iter().filter(|attempt| attempt.layer == layer) {
            assert_eq!(attempt.verdict, Verdict::Broken, "{attempt:?}");
        }
    }
}

/// An executor whose jobs have the caller's network.
#[derive(Debug)]
struct Online(LocalExecutor, Capabilities);

#[async_trait]
impl Executor for Online {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        self.0.start(job.to_builder().network(Network::Host).build()?).await
    }

    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
        self.0.open(spec).await
    }
}

/// The control of the attacks on the network: with services to find, each finds one.
#[test]
fn attacks_on_the_network_succeed_where_there_is_one() {
    in_a_network(|| async {
        let metadata = TcpListener::bind((METADATA, 80)).expect("metadata");
        let names = UdpSocket::bind("127.0.0.1:53").expect("name server");
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = names.recv_from(&mut query) {
                let _ = names.send_to(&query[..length], from);
            }
        });
        // Landlock keeps abstract sockets apart by itself.
        let builder = LocalExecutor::builder().without(Layer::Landlock);
        let local = builder.build().await.expect("executor");
        let enforcement =
            local.capabilities().enforcement.clone().with(Layer::Network, LayerState::Off);
        let capabilities = local.capabilities().clone().with_enforcement(enforcement);
        let verification = Online(local, capabilities).verify().await;
        let open: Vec<_> = verification
            .attacks
            .iter()
            .filter(|attempt| attempt.layer == Layer::Network && attempt.verdict == Verdict::Open)
            .map(|attempt| attempt.attack)
            .collect();
        assert_eq!(
            open,
            [
                "connect to a service on loopback",
                "connect to an abstract socket",
                "list sockets of the host",
                "ask a name server",
                "reach the metadata service",
                "find a route to the internet",
            ],
            "{}",
            show(&verification)
        );
        drop(metadata);
    });
}

#[test]
fn where_a_filter_leaves_no_sockets_an_attack_on_them_is_held_and_not_untried() {
    in_a_network(|| async {
        let builder = LocalExecutor::builder().without(Layer::Network);
        let executor = builder.build().await.expect("executor");
        let service = TcpListener::bind("127.0.0.1:0").expect("listener");
        let mut around = Surroundings::default();
        around.addresses = vec![service.local_addr().expect("address").to_string()];
        around.urls = vec![format!("http://{}/nothing", around.addresses[0])];
        let verification = executor.verify_with(&around).await;
        for attack in ["connect to the internet", "read a stranger's object"] {
            let found = verification.attacks.iter().find(|found| found.attack == attack);
            let found = found.expect("the attack");
            assert_eq!(found.verdict, Verdict::Held, "{found:?}");
            assert!(found.evidence.contains("Address family not supported"), "{found:?}");
        }
    });
}
