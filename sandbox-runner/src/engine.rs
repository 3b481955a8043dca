//! The local engine, as this environment lets it be.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use sandbox_core::{
    Enforcement, Error, ErrorKind, Executor as _, Layer, LayerState, Limits, Result, Size,
};
use sandbox_local::LocalExecutor;
use serde_json::json;

use crate::hidden::{self, Exposed};

/// The one folder that a function may write.
const SCRATCH: &str = "/tmp";
/// Set by an image whose user runs nothing but this: then what else is alive at the start was
/// left by a job that brought an earlier runner down.
const OWNS_USER: &str = "SANDBOX_OWNS_USER";
/// Memory of the function that is not the job's: the runner, its helper, the platform's agent.
const RESERVED: u64 = 64 << 20;
/// Ids remembered, to serve each once.
const REMEMBERED: usize = 256;

/// Runs jobs, and knows what about this environment is worth telling.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) local: LocalExecutor,
    /// Why jobs are not known to have the user to themselves, if they are not.
    pub(crate) shared: Option<String>,
    pub(crate) exposed: Exposed,
    function_memory: Option<u64>,
    served: Mutex<VecDeque<String>>,
}

impl Engine {
    pub(crate) async fn new() -> Result<Self> {
        let exposed = hidden::look();
        let mut builder = LocalExecutor::builder().exclusive(SCRATCH);
        if std::env::var_os(OWNS_USER).is_some_and(|value| value == "1") {
            builder = builder.evict();
        }
        let (local, shared) = match builder.build().await {
            Ok(local) => (local, None),
            // Root, or a user with other processes: the engine then needs namespaces.
            Err(error) if error.layer() == Some(Layer::Cleanup) => {
                (LocalExecutor::builder().build().await?, Some(error.message().to_owned()))
            }
            Err(error) => return Err(error),
        };
        let memory = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok();
        let function_memory = memory.and_then(|text| text.parse::<u64>().ok());
        let function_memory = function_memory.map(|mebibytes| mebibytes << 20);
        Ok(Self { local, shared, exposed, function_memory, served: Mutex::default() })
    }

    /// The isolation of a job here.
    pub(crate) fn enforcement(&self, of_job: &Enforcement) -> Enforcement {
        if self.exposed.0.is_empty() {
            return of_job.clone();
        }
        of_job.clone().with(Layer::SupervisorHidden, LayerState::Off)
    }

    /// Refuses a job that requires more than there is, before anything of it is fetched.
    pub(crate) fn check(
        &self,
        required: impl IntoIterator<Item = Layer>,
        not_off: impl IntoIterator<Item = Layer>,
    ) -> Result<()> {
        let enforcement = self.enforcement(&self.local.capabilities().enforcement);
        for layer in not_off {
            if *enforcement.state(layer) == LayerState::Off {
                let why = match layer {
                    Layer::SupervisorHidden => format!(
                        "a job can read {}; install the runner root-owned with mode 0711",
                        self.exposed.0.join(", ")
                    ),
                    _ => "the runner does not have it".to_owned(),
                };
                let message =
                    format!("layer {layer} is off: {why}, or accept it with allow_degraded");
                return Err(Error::new(ErrorKind::Refused, "isolate", message).with_layer(layer));
            }
        }
        enforcement.require(required)
    }

    /// Limits that this environment can hold: it ends jobs before the platform ends it.
    pub(crate) fn fit(&self, mut limits: Limits, time: Duration) -> Limits {
        limits.wall = limits.wall.min(time);
        if let Some(memory) = self.function_memory {
            // Both streams are kept, encoded and written.
            let output = limits.output.as_u64().saturating_mul(6);
            let most = memory.saturating_sub(RESERVED).saturating_sub(output).max(4 << 20);
            limits.memory = limits.memory.min(Size::b(most));
        }
        limits
    }

    /// Notes that a request is served; false when it was before.
    pub(crate) fn first_time(&self, id: &str) -> bool {
        let Ok(mut served) = self.served.lock() else { return false };
        if served.iter().any(|known| known == id) {
            return false;
        }
        if served.len() >= REMEMBERED {
            served.pop_front();
        }
        served.push_back(id.to_owned());
        true
    }

    /// Facts for people.
    pub(crate) fn facts(&self) -> BTreeMap<String, String> {
        let report = self.local.probe();
        let mut facts = BTreeMap::from([
            ("kernel".to_owned(), report.kernel.clone()),
            ("memory_by".to_owned(), report.memory_by.clone()),
            ("architecture".to_owned(), std::env::consts::ARCH.to_owned()),
            ("uid".to_owned(), nix::unistd::geteuid().to_string()),
        ]);
        if let Some(why) = &self.shared {
            facts.insert("user_is_shared".to_owned(), why.clone());
        }
        if !self.exposed.0.is_empty() {
            facts.insert("readable_by_jobs".to_owned(), self.exposed.0.join(", "));
        }
        let has_shm = Path::new("/dev/shm").is_dir();
        facts.insert("shared_memory".to_owned(), has_shm.to_string());
        facts
    }

    /// One line for the log of the environment's start.
    pub(crate) fn init_report(&self, took: Duration) -> serde_json::Value {
        let enforcement = self.enforcement(&self.local.capabilities().enforcement);
        json!({
            "sandbox_runner": env!("CARGO_PKG_VERSION"),
            "init_ms": took.as_micros() as f64 / 1000.0,
            "enforcement": sandbox_core::wire::enforcement(&enforcement),
            "facts": self.facts(),
        })
    }
}
