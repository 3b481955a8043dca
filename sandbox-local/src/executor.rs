//! The local backend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use nix::sys::resource::{Resource, getrlimit};
use sandbox_core::{
    Capabilities, Error, ErrorKind, Execution, Executor, Job, Layer, LimitKind, Network, Program,
    Result, Runtime, Session, SessionSpec, sessions_unsupported, trace, unknown_runtime,
};
use tracing::Instrument as _;

use crate::cgroup::{self, Parent};
use crate::exclusive::Exclusive;
use crate::helper::Helper;
use crate::host::Host;
use crate::interpreter::{self, Interpreter};
use crate::layout::{Layout, check_rootfs};
use crate::probe::{self, ProbeReport};
use crate::protocol::flag;
use crate::seccomp::{self, Policy, Sockets};
use crate::{launch, run};

/// Runs jobs on this Linux machine.
///
/// Cheap to clone, made once: making it probes the host.
#[derive(Clone, Debug)]
pub struct LocalExecutor {
    shared: Arc<Shared>,
    capabilities: Capabilities,
}

/// What all jobs of an executor use.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Workspaces that artifacts of earlier jobs keep open.
    pub(crate) kept: Arc<AtomicUsize>,
    pub(crate) host: Host,
    pub(crate) helper: Helper,
    pub(crate) layout: Layout,
    seccomp: [Vec<u8>; 2],
    pub(crate) flags: u64,
    pub(crate) parents: Vec<Parent>,
    pub(crate) report: ProbeReport,
    runtimes: BTreeMap<String, Found>,
    pub(crate) exclusive: Option<Exclusive>,
    left_out: BTreeSet<Layer>,
}

/// An interpreter, or the reason why it cannot be used.
type Found = std::result::Result<Interpreter, String>;

/// Settings of a [`LocalExecutor`].
#[derive(Clone, Debug)]
#[must_use = "settings have no effect before build()"]
pub struct LocalBuilder {
    runtimes: BTreeMap<String, Runtime>,
    rootfs: Option<PathBuf>,
    cgroups: bool,
    exclusive: Option<PathBuf>,
    evict: bool,
    left_out: BTreeSet<Layer>,
    processors: Option<f64>,
}

impl LocalBuilder {
    /// Adds a runtime, or replaces the one of that name.
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtimes.insert(runtime.name.clone(), runtime);
        self
    }

    /// Runs jobs in an unpacked image instead of the host's system folders.
    pub fn rootfs(mut self, folder: impl AsRef<Path>) -> Self {
        self.rootfs = Some(folder.as_ref().to_owned());
        self
    }

    /// Uses no cgroups even where they are writable: memory is then limited by a watcher, and
    /// reported as degraded.
    pub fn without_cgroups(mut self) -> Self {
        self.cgroups = false;
        self
    }

    /// Leaves a layer out, where it collides with what jobs are for. It is then off, so that a job
    /// runs only when it accepts that too, with
    /// [`allow_degraded`](sandbox_core::JobBuilder::allow_degraded).
    ///
    /// The layers that hold the others up cannot be left out: the mount and pid namespaces, the
    /// environment, descriptors, the private `/tmp`, the hidden supervisor and the clean-up.
    pub fn without(mut self, layer: Layer) -> Self {
        self.left_out.insert(layer);
        self
    }

    /// Lets each job use so many processors at most, 0.5 being half of one's time. Needs a writable
    /// cgroup with the controller `cpu` (v1, or v2 where it is delegated).
    pub fn processors(mut self, processors: f64) -> Self {
        self.processors = Some(processors);
        self
    }

    /// Gives this process's user and the folder `scratch` over to jobs: they run one at a time,
    /// and after each, **every other process of the user is killed and everything in `scratch` is
    /// removed**. Jobs then need no namespaces to leave nothing behind.
    ///
    /// [`build`](Self::build) refuses unless this process is the only one of its user, and that
    /// is not root.
    pub fn exclusive(mut self, scratch: impl AsRef<Path>) -> Self {
        self.exclusive = Some(scratch.as_ref().to_owned());
        self
    }

    /// With [`exclusive`](Self::exclusive): ends what else runs as this user when the executor is
    /// made, instead of refusing. For places where only an earlier sandbox can have left it.
    pub fn evict(mut self) -> Self {
        self.evict = true;
        self
    }

    /// Probes the host and makes the executor. Takes under 50 ms.
    ///
    /// A host that cannot isolate at all is not an error here: jobs are refused, and
    /// [`LocalExecutor::probe`] says why.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] when the helper cannot be executed,
    /// or processors cannot be bounded,
    /// [`ErrorKind::Unsupported`] when a layer cannot be left out,
    /// [`ErrorKind::InvalidJob`] when the root file system is not a folder or the number of
    /// processors is none, and
    /// [`ErrorKind::HostExhausted`] when the host has no room for the probe.
    pub async fn build(self) -> Result<LocalExecutor> {
        check_left_out(&self.left_out)?;
        check_processors(self.processors)?;
        let host = Host::look();
        let helper = Helper::load()?;
        let layout = match &self.rootfs {
            None => Layout::of_host(),
            Some(folder) => {
                let wrong = |why: String| Error::new(ErrorKind::InvalidJob, "rootfs", why);
                let folder = check_rootfs(folder).map_err(wrong)?;
                Layout::of_rootfs(&folder).map_err(|error| wrong(error.to_string()))?
            }
        };
        let find = |(name, runtime): (&String, &Runtime)| {
            let found = match &self.rootfs {
                None => interpreter::find(runtime),
                Some(folder) => interpreter::in_rootfs(runtime, folder),
            };
            (name.clone(), found.map_err(|error| error.to_string()))
        };
        let runtimes: BTreeMap<_, Found> = self.runtimes.iter().map(find).collect();
        let exclusive = self.exclusive.as_deref();
        let exclusive =
            exclusive.map(|scratch| Exclusive::claim(scratch, self.evict)).transpose()?;
        let mut parents = if self.cgroups { cgroup::discover() } else { Vec::new() };
        for parent in &mut parents {
            parent.memory &= !self.left_out.contains(&Layer::Memory);
            parent.processes &= !self.left_out.contains(&Layer::Processes);
            parent.processors = self.processors;
        }
        let attempt =
            |flags, parents| launch::trial(&host, &helper, &layout, &self.left_out, flags, parents);
        let unswept = exclusive.as_ref().map(Exclusive::writable_elsewhere).unwrap_or_default();
        let asked = probe::Asked {
            exclusive: exclusive.is_some(),
            unswept: &unswept,
            left_out: &self.left_out,
        };
        let mut probed = probe::probe(&host, parents, asked, attempt).await?;
        if self.processors.is_some() && !probed.parents.iter().any(|parent| parent.bandwidth) {
            let message = "processors cannot be bounded: no cgroup with the controller cpu is \
                           writable; run as root, or delegate it (systemd: Delegate=cpu)";
            return Err(Error::new(ErrorKind::Refused, "processors", message));
        }
        if self.left_out.contains(&Layer::Memory) {
            probed.report.memory_by = "nothing".into();
        }
        // Without a limit there is nothing that it would have to count.
        let counted_memory = probed.parents.iter().any(|parent| parent.memory)
            || self.left_out.contains(&Layer::Memory);
        // Without namespaces the filter is what denies the network.
        let namespaces = probed.flags & flag::NAMESPACES != 0;
        if !namespaces && !host.changes_ids {
            // Not hidden is not refused here: the layer says already that it is weaker.
            let _ = helper.hide();
        }
        // Files are counted, and without a user of its own also bytes, by file systems that only
        // namespaces give.
        let limited = |layer| !self.left_out.contains(&layer);
        let counted = |kind: &LimitKind| match kind {
            LimitKind::Files => namespaces && limited(Layer::Disk),
            LimitKind::Workspace => (namespaces || exclusive.is_some()) && limited(Layer::Disk),
            LimitKind::Memory => limited(Layer::Memory),
            LimitKind::Processes => limited(Layer::Processes),
            LimitKind::OpenFiles | LimitKind::FileSize => limited(Layer::Rlimits),
            _ => true,
        };
        // A supervisor in a user namespace of its own has no rights over the host's priorities.
        let raises_priority = host.raises_priority && (host.privileged || !namespaces);
        let denied = if probed.flags & flag::NET != 0 { Sockets::Own } else { Sockets::Unix };
        let filter = |sockets| {
            seccomp::compile(Policy { counted_memory, sockets, namespaces, raises_priority })
        };
        let seccomp = [filter(denied), filter(Sockets::Host)];
        let usable = runtimes.iter().filter(|(_, found)| found.is_ok()).map(|(name, _)| name);
        let capabilities = Capabilities::new("local")
            .with_runtimes(usable.cloned())
            .with_program_files(self.runtimes.values().map(|runtime| runtime.file_name.clone()))
            .with_enforcement(probed.report.enforcement.clone())
            .with_limits(LimitKind::ALL.iter().copied().filter(counted))
            .with_networks([Network::Denied, Network::Host])
            .with_files()
            .with_live_output();
        let shared = Shared {
            kept: Arc::default(),
            host,
            helper,
            layout,
            seccomp,
            flags: probed.flags,
            parents: probed.parents,
            report: probed.report,
            runtimes,
            exclusive,
            left_out: self.left_out,
        };
        Ok(LocalExecutor { shared: Arc::new(shared), capabilities })
    }
}

impl LocalExecutor {
    /// An executor with the default runtimes.
    ///
    /// # Errors
    ///
    /// As for [`LocalBuilder::build`].
    pub async fn new() -> Result<Self> {
        Self::builder().build().await
    }

    /// Settings to change before the executor is made.
    pub fn builder() -> LocalBuilder {
        let runtimes = Runtime::defaults().map(|runtime| (runtime.name.clone(), runtime));
        LocalBuilder {
            runtimes: runtimes.into(),
            rootfs: None,
            cgroups: true,
            exclusive: None,
            evict: false,
            left_out: BTreeSet::new(),
            processors: None,
        }
    }

    /// Ends every other process of the user and empties the folder that
    /// [`LocalBuilder::exclusive`] gave over to jobs, once the running job has ended. Each job
    /// does the same; this is for what comes between.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with [`Layer::Cleanup`] and what is
    /// left.
    pub async fn sweep(&self) -> Result<()> {
        let _turn = match &self.shared.exclusive {
            Some(exclusive) => Some(exclusive.turn().await?),
            None => None,
        };
        self.shared.sweep().await
    }

    /// What this host allows, as found when the executor was made.
    pub fn probe(&self) -> &ProbeReport {
        &self.shared.report
    }
}

/// Refuses what is no number of processors.
fn check_processors(processors: Option<f64>) -> Result<()> {
    match processors {
        None => Ok(()),
        Some(number) if (0.01..=4096.0).contains(&number) => Ok(()),
        Some(number) => {
            let message = format!("{number} is no number of processors; give 0.01 to 4096");
            Err(Error::new(ErrorKind::InvalidJob, "processors", message))
        }
    }
}

/// Refuses to leave out what holds the others up.
fn check_left_out(layers: &BTreeSet<Layer>) -> Result<()> {
    let can = |layer: &Layer| {
        matches!(layer, Layer::Rlimits | Layer::Memory | Layer::Processes | Layer::Disk)
            || (*layer != Layer::Cleanup && probe::OPTIONAL.iter().any(|(one, _)| one == layer))
    };
    match layers.iter().find(|layer| !can(layer)) {
        None => Ok(()),
        Some(layer) => {
            let message = format!(
                "{layer} cannot be left out of the local backend, only accepted as degraded where \
                 the host lacks it; remove without({layer})"
            );
            Err(Error::new(ErrorKind::Unsupported, "leave out layer", message).with_layer(*layer))
        }
    }
}

impl Shared {
    /// Whether the caller left this layer out.
    pub(crate) fn leaves_out(&self, layer: Layer) -> bool {
        self.left_out.contains(&layer)
    }

    /// How many processors a job can keep busy.
    pub(crate) fn processors(&self) -> u64 {
        let bound = self.parents.iter().filter(|parent| parent.bandwidth);
        let bound = bound.filter_map(|parent| parent.processors).next();
        bound.map_or(self.host.cpus, |processors| {
            (processors.ceil() as u64).clamp(1, self.host.cpus)
        })
    }

    /// The filter for a job with that network.
    pub(crate) fn seccomp(&self, network: Network) -> &[u8] {
        &self.seccomp[usize::from(network == Network::Host)]
    }

    /// Ends and removes what is left of jobs, where that can be told; jobs must not be running.
    pub(crate) async fn sweep(&self) -> Result<()> {
        let Some(exclusive) = self.exclusive.clone() else { return Ok(()) };
        run::blocking(move || exclusive.sweep()).await?.map_err(|left| {
            Error::new(ErrorKind::Refused, "clean up", format!("{left}; start afresh"))
                .with_layer(Layer::Cleanup)
        })
    }

    /// Refuses while artifacts that were not dropped hold half of the descriptors that this process
    /// may have: the rest is the application's, and for jobs that run.
    fn check_kept(&self) -> Result<()> {
        let kept = self.kept.load(Ordering::Relaxed) as u64;
        let most = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft / 2);
        if kept < most {
            return Ok(());
        }
        let message = format!(
            "artifacts of {kept} outcomes are kept, each with an open folder, and this process may \
             have {most}; save and drop them, or raise the limit of open files (ulimit -n)"
        );
        Err(Error::new(ErrorKind::HostExhausted, "start job", message))
    }

    /// The interpreter of a job's program; `None` for a command.
    fn interpreter(&self, job: &Job) -> Result<Option<&Interpreter>> {
        let Program::Source { runtime, .. } = &job.program else { return Ok(None) };
        match self.runtimes.get(runtime) {
            Some(Ok(interpreter)) => Ok(Some(interpreter)),
            Some(Err(why)) => {
                Err(Error::new(ErrorKind::ProgramNotFound, "resolve runtime", why.clone()))
            }
            None => Err(unknown_runtime(runtime, self.runtimes.keys().map(String::as_str))),
        }
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        let span = trace::job("local", &job);
        let started = self.admit(job).instrument(span.clone()).await;
        started.inspect_err(|error| trace::failed(&span, error))
    }

    async fn open(&self, _: SessionSpec) -> Result<Box<dyn Session>> {
        Err(sessions_unsupported("local"))
    }
}

impl LocalExecutor {
    async fn admit(&self, job: Job) -> Result<Execution> {
        self.capabilities.check(&job)?;
        let interpreter = self.shared.interpreter(&job)?.cloned();
        let by_default = self.shared.report.required_by_default();
        let mut required: Vec<_> = job.required_layers(by_default).collect();
        if job.network == Network::Host {
            // The caller gave this layer up by name.
            if job.required.contains(&Layer::Network) {
                let message = "network_namespace is required, but the job asks for the host's \
                               network; choose one";
                return Err(Error::new(ErrorKind::InvalidJob, "network", message));
            }
            required.retain(|layer| *layer != Layer::Network);
        }
        self.shared.report.check(required)?;
        self.shared.check_kept()?;
        run::start(Arc::clone(&self.shared), job, interpreter).await
    }
}
