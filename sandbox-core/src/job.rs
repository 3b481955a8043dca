//! What to run.

mod content;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::pattern::Pattern;
use crate::{Error, Layer, Limits, RelPath, Result};

pub use content::Content;
pub use program::Program;

/// Bytes that a program's source may have.
const MAX_SOURCE: usize = 16 << 20;

impl fmt::Debug for JobSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("program", &self.program)
            .field("args", &format_args!("{} arguments", self.args.len()))
            .field("env", &self.env.keys())
            .field("stdin", &self.stdin)
            .field("files", &self.files)
            .field("limits", &self.limits)
            .field("network", &self.network)
            .field("artifacts", &self.artifacts)
            .field("stop_at_output_limit", &self.stop_at_output_limit)
            .field("required", &self.required)
            .field("allow_degraded", &self.allow_degraded)
            .field("tenant", &self.tenant)
            .field("idempotency_key", &self.idempotency_key)
            .field("labels", &self.labels)
            .finish()
    }
}

/// Which network a job has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Network {
    /// None but a loopback of its own.
    #[default]
    Denied,
    /// The network of the machine that runs it. An explicit choice: the job can reach whatever
    /// the application can.
    Host,
}

/// The parts of a [`Job`]. Read them through a job; a job's parts never change.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobSpec {
    /// What is executed.
    pub program: Program,
    /// Arguments of the source's program, or more arguments of a command.
    pub args: Vec<String>,
    /// Variables added to the sandbox's own small environment.
    pub env: BTreeMap<String, String>,
    /// Standard input; nothing by default.
    pub stdin: Option<Content>,
    /// Files placed in the workspace before the program starts.
    pub files: BTreeMap<RelPath, Content>,
    /// What the job may use.
    pub limits: Limits,
    /// Which network the job has.
    pub network: Network,
    /// Which files become artifacts; empty stands for every file created or changed.
    pub artifacts: Vec<Pattern>,
    /// Ends the job when an output stream passes its cap, instead of dropping the middle.
    pub stop_at_output_limit: bool,
    /// Layers that must be in force, besides the backend's own required set.
    pub required: BTreeSet<Layer>,
    /// Layers that may be degraded or off.
    pub allow_degraded: BTreeSet<Layer>,
    /// For whom the job runs; backends never share warm state between tenants.
    pub tenant: Option<String>,
    /// Names the run: the same key and job give the same result. Backends without idempotency
    /// refuse it.
    pub idempotency_key: Option<String>,
    /// Free labels, carried to logs and traces.
    pub labels: BTreeMap<String, String>,
}

impl JobSpec {
    /// The layers that must be in force, given those that a backend requires by default.
    pub fn required_layers(
        &self,
        default: impl IntoIterator<Item = Layer>,
    ) -> impl Iterator<Item = Layer> {
        let mut layers: BTreeSet<_> = default.into_iter().collect();
        layers.extend(&self.required);
        layers.into_iter().filter(|layer| !self.allow_degraded.contains(layer))
    }
}

/// One program to run, with its inputs and limits: checked when built, unchangeable after.
///
/// ```
/// use sandbox_core::{Job, Size};
///
/// let job = Job::python("print(open('data.csv').read())")
///     .file("data.csv", "a,b\n1,2\n")
///     .memory(Size::mib(128))
///     .build()?;
/// assert_eq!(job.limits.memory, Size::mib(128));
/// # Ok::<(), sandbox_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job(JobSpec);

impl Job {
    /// Python source.
    pub fn python(code: impl AsRef<[u8]>) -> JobBuilder {
        Self::source("python", code)
    }

    /// R source.
    pub fn r(code: impl AsRef<[u8]>) -> JobBuilder {
        Self::source("r", code)
    }

    /// JavaScript source for Node.js.
    pub fn node(code: impl AsRef<[u8]>) -> JobBuilder {
        Self::source("node", code)
    }

    /// A bash script.
    pub fn bash(code: impl AsRef<[u8]>) -> JobBuilder {
        Self::source("bash", code)
    }

    /// Source code for the runtime that the backend knows as `runtime`.
    pub fn source(runtime: impl Into<String>, code: impl AsRef<[u8]>) -> JobBuilder {
        let code = Bytes::copy_from_slice(code.as_ref());
        JobBuilder::new(Program::Source { runtime: runtime.into(), code })
    }

    /// A command with its arguments.
    pub fn command<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> JobBuilder {
        JobBuilder::new(Program::Command(argv.into_iter().map(Into::into).collect()))
    }

    /// A builder that starts from this job.
    pub fn to_builder(&self) -> JobBuilder {
        JobBuilder { spec: self.0.clone(), error: None }
    }
}

/// What can be run: a job, or a builder of one.
pub trait IntoJob: Send {
    /// The job.
    ///
    /// # Errors
    ///
    /// As for [`JobBuilder::build`].
    fn into_job(self) -> Result<Job>;
}

impl IntoJob for Job {
    fn into_job(self) -> Result<Job> {
        Ok(self)
    }
}

impl IntoJob for JobBuilder {
    fn into_job(self) -> Result<Job> {
        self.build()
    }
}

impl Deref for Job {
    type Target = JobSpec;

    fn deref(&self) -> &JobSpec {
        &self.0
    }
}

/// Collects the parts of a [`Job`]; the first wrong one is reported by [`build`](Self::build).
#[derive(Clone, Debug)]
#[must_use = "a job runs only after build() and an executor's start()"]
pub struct JobBuilder {
    spec: JobSpec,
    error: Option<(&'static str, String)>,
}

impl JobBuilder {
    fn new(program: Program) -> Self {
        let spec = JobSpec {
            program,
            args: Vec::new(),
            env: BTreeMap::new(),
            stdin: None,
            files: BTreeMap::new(),
            limits: Limits::default(),
            network: Network::default(),
            artifacts: Vec::new(),
            stop_at_output_limit: false,
            required: BTreeSet::new(),
            allow_degraded: BTreeSet::new(),
            tenant: None,
            idempotency_key: None,
            labels: BTreeMap::new(),
        };
        Self { spec, error: None }
    }

    fn fail(&mut self, field: &'static str, message: impl Into<String>) {
        self.error.get_or_insert((field, message.into()));
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.spec.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.spec.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.env.insert(name.into(), value.into());
        self
    }

    /// Sets standard input.
    pub fn stdin(mut self, content: impl Into<Content>) -> Self {
        self.spec.stdin = Some(content.into());
        self
    }

    /// Places a file in the workspace. Each path may be given once.
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Content>) -> Self {
        match RelPath::new(path) {
            Ok(path) => {
                let duplicate = format!("{:?} is given twice; keep one", path.as_str());
                if self.spec.files.insert(path, content.into()).is_some() {
                    self.fail("files", duplicate);
                }
            }
            Err(error) => self.fail("files", error.message().to_owned()),
        }
        self
    }

    /// Replaces all limits.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.spec.limits = limits;
        self
    }

    /// Changes limits in place: `.limit(|l| l.processes = 8)`.
    pub fn limit(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.spec.limits);
        self
    }

    /// Sets the wall-clock limit. Default 30 s. Processor time follows it, unless
    /// [`cpu`](Self::cpu) is set.
    pub fn timeout(self, wall: std::time::Duration) -> Self {
        self.limit(|limits| limits.wall = wall)
    }

    /// Sets the limit of processor time. Default: all processors for as long as
    /// [`timeout`](Self::timeout).
    pub fn cpu(self, cpu: std::time::Duration) -> Self {
        self.limit(|limits| limits.cpu = Some(cpu))
    }

    /// Sets the limit of processes and threads. Default 64.
    pub fn processes(self, processes: u32) -> Self {
        self.limit(|limits| limits.processes = processes)
    }

    /// Sets the memory limit. Default 512 MiB. The workspace follows it.
    pub fn memory(self, memory: crate::Size) -> Self {
        self.limit(|limits| limits.memory = memory)
    }

    /// Sets the network.
    pub fn network(mut self, network: Network) -> Self {
        self.spec.network = network;
        self
    }

    /// Makes files that match `glob` artifacts: `*.png`, `out/**`. Without any, every file that
    /// the job created or changed is one.
    pub fn artifact(mut self, glob: &str) -> Self {
        match Pattern::new(glob) {
            Ok(pattern) => self.spec.artifacts.push(pattern),
            Err(error) => self.fail("artifacts", error.message().to_owned()),
        }
        self
    }

    /// Ends the job when an output stream passes its cap.
    pub fn stop_at_output_limit(mut self) -> Self {
        self.spec.stop_at_output_limit = true;
        self
    }

    /// Requires a layer.
    pub fn require(mut self, layer: Layer) -> Self {
        self.spec.required.insert(layer);
        self
    }

    /// Accepts a layer that is degraded or off. The outcome says so.
    pub fn allow_degraded(mut self, layer: Layer) -> Self {
        self.spec.allow_degraded.insert(layer);
        self
    }

    /// Names the tenant.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.spec.tenant = Some(tenant.into());
        self
    }

    /// Names the run, so that repeating it returns the first stored result instead of running
    /// again. Runs that overlap, or that ended without a result, may each run; one result counts.
    /// Needs [`Capabilities::idempotency`](crate::Capabilities::idempotency).
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.spec.idempotency_key = Some(key.into());
        self
    }

    /// Adds a label.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.spec.labels.insert(name.into(), value.into());
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) naming the field, the value and
    /// the remedy.
    pub fn build(self) -> Result<Job> {
        if let Some((field, message)) = self.error {
            return Err(Error::invalid(field, message));
        }
        let spec = self.spec;
        match &spec.program {
            Program::Source { runtime, code } => {
                no_nul("runtime", [runtime.as_str()])?;
                if code.iter().all(u8::is_ascii_whitespace) {
                    return Err(Error::invalid("code", "the program is empty; give some source"));
                }
                if code.len() > MAX_SOURCE {
                    let message = format!(
                        "the source has {} bytes, over {MAX_SOURCE}; put data into files",
                        code.len()
                    );
                    return Err(Error::invalid("code", message));
                }
                if code.contains(&0) {
                    let message = "the source contains a NUL byte; give text";
                    return Err(Error::invalid("code", message));
                }
            }
            Program::Command(argv) => {
                if argv.first().is_none_or(String::is_empty) {
                    let message = "the command is empty; give a program name";
                    return Err(Error::invalid("command", message));
                }
                no_nul("command", argv.iter().map(String::as_str))?;
            }
        }
        no_nul("args", spec.args.iter().map(String::as_str))?;
        for (name, value) in &spec.env {
            if name.is_empty() || name.contains('=') {
                let remedy = if name.is_empty() { "give one" } else { "remove the =" };
                let message = format!("{name:?} is not a variable name; {remedy}");
                return Err(Error::invalid("env", message));
            }
            no_nul("env", [name.as_str(), value.as_str()])?;
        }
        no_nul("tenant", spec.tenant.as_deref())?;
        no_nul("idempotency_key", spec.idempotency_key.as_deref())?;
        if spec.idempotency_key.as_deref() == Some("") {
            return Err(Error::invalid("idempotency_key", "it is empty; give one or leave it out"));
        }
        let labels = spec.labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        no_nul("labels", labels)?;
        check_nesting(&spec.files)?;
        spec.limits.validate()?;
        let both = spec.required.intersection(&spec.allow_degraded).next();
        if let Some(layer) = both {
            let message = format!("{layer} is both required and allowed to be degraded; choose");
            return Err(Error::invalid("required", message));
        }
        Ok(Job(spec))
    }
}

fn no_nul<'a>(field: &'static str, texts: impl IntoIterator<Item = &'a str>) -> Result<()> {
    match texts.into_iter().find(|text| text.contains('\0')) {
        Some(text) => Err(Error::invalid(field, format!("{text:?} contains a NUL; remove it"))),
        None => Ok(()),
    }
}

/// A path cannot be a file and a folder at once.
fn check_nesting(files: &BTreeMap<RelPath, Content>) -> Result<()> {
    for path in files.keys() {
        for (end, _) in path.as_str().match_indices('/') {
            if let Ok(folder) = RelPath::new(&path.as_str()[..end])
                && files.contains_key(&folder)
            {
                let message = format!("{folder} is a file, but {path} needs it to be a folder");
                return Err(Error::invalid("files", message));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Size};

    #[test]
    fn a_wrong_job_names_its_field_and_the_remedy() {
        let day = std::time::Duration::from_secs(24 * 60 * 60);
        let code = || Job::python("1");
        let cases = [
            (Job::python(""), "code", "empty"),
            (Job::python(" \n"), "code", "empty"),
            (Job::python("a\0b"), "code", "NUL"),
            (Job::command(Vec::<String>::new()), "command", "empty"),
            (Job::command(["a", "b\0"]), "command", "NUL"),
            (code().arg("\0"), "args", "NUL"),
            (code().env("A=B", "1"), "env", "remove the ="),
            (code().env("", "1"), "env", "not a variable name"),
            (code().env("A", "\0"), "env", "NUL"),
            (code().tenant("\0"), "tenant", "NUL"),
            (code().file("/a", "1"), "files", "absolute"),
            (code().file("a/../b", "1"), "files", ".."),
            (code().file("a\0", "1"), "files", "NUL"),
            (code().file("a", "1").file("a", "2"), "files", "twice"),
            (code().file("a", "1").file("a/b", "2"), "files", "a is a file"),
            (code().artifact("/etc/*"), "artifacts", "relative glob"),
            (code().artifact("["), "artifacts", "["),
            (code().timeout(std::time::Duration::ZERO), "limits.wall", "1 ms to 24 h"),
            (code().timeout(std::time::Duration::MAX), "limits.wall", "1 ms to 24 h"),
            (code().limit(|l| l.cpu = Some(day * 2)), "limits.cpu", "1 ms to 24 h"),
            (code().memory(Size::b(0)), "limits.memory", "4.0 MiB"),
            (code().memory(Size::b(u64::MAX)), "limits.memory", "1.0 TiB"),
            (code().limit(|l| l.processes = 0), "limits.processes", "1 to 32768"),
            (code().limit(|l| l.open_files = u32::MAX), "limits.open_files", "8 to"),
            (code().limit(|l| l.files = 0), "limits.files", "1 to"),
            (code().limit(|l| l.output = Size::b(u64::MAX)), "limits.output", "1.0 GiB"),
            (code().require(Layer::Memory).allow_degraded(Layer::Memory), "required", "choose"),
        ];
        for (job, field, remedy) in cases {
            let error = job.clone().build().expect_err(field);
            assert_eq!(error.kind(), ErrorKind::InvalidJob, "{job:?}");
            assert_eq!(error.operation(), field, "{error}");
            assert!(error.to_string().contains(remedy), "{error}");
            assert!(!error.may_have_run());
        }
    }

    #[test]
    fn a_log_sees_names_and_sizes_and_no_content() {
        let job = Job::python("print('source')").env("KEY", "hidden").arg("hidden");
        let job = job.stdin("hidden").file("a.csv", "hidden").build().expect("job");
        let text = format!("{job:?}");
        assert!(
            text.contains("KEY") && text.contains("a.csv") && text.contains("15 bytes"),
            "{text}"
        );
        assert!(!text.contains("hidden") && !text.contains("source"), "{text}");
    }

    #[test]
    fn layers_given_up_by_name_are_not_required() {
        let job = Job::python("1").require(Layer::Vpc).allow_degraded(Layer::Memory).build();
        let job = job.expect("job");
        let required: Vec<_> = job.required_layers([Layer::Memory, Layer::Pid]).collect();
        assert_eq!(required, [Layer::Pid, Layer::Vpc]);
    }
}
