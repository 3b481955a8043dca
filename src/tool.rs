//! A tool with which a model runs code.

mod advice;
mod arguments;
mod definition;
mod files;
mod images;
mod python;
mod reply;
mod report;
mod show;
mod text;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::{
    Cancel, Displays, Error, ErrorKind, Event, Execution, Executor, Job, JobBuilder, JobSpec,
    RelPath, Result, Size, Termination,
};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, info_span};

pub use arguments::Arguments;
pub use definition::Definition;
pub use files::KeptFile;
pub use reply::{Part, Reply};

use arguments::Rules;
use files::{Files, Left, Staged};

/// A tool that a model calls with a program, and that answers with what a model can act on.
///
/// One value serves one conversation: files that a program leaves are there for the next one.
/// Clones share them.
///
/// ```no_run
/// use sandbox::{CodeTool, LocalExecutor};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), sandbox::Error> {
/// let tool = CodeTool::new(LocalExecutor::new().await?)?;
/// // Goes to the model with the conversation, in the form that its API takes.
/// let definition = tool.definition().anthropic();
/// // What the model calls it with; what is wrong with it is an answer too.
/// let reply = tool.call(r#"{"language": "python", "code": "print(6 * 7)"}"#).await;
/// // Goes back to the model.
/// let result = reply.anthropic("toolu_01");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CodeTool(Arc<Shared>);

struct Shared {
    executor: Displays<Arc<dyn Executor>>,
    name: String,
    rules: Rules,
    job: Template,
    /// A job of the template's, for what it may use.
    example: Job,
    text: usize,
    images: images::Room,
    files: Mutex<Files>,
}

/// The range of a job's times.
const MINIMUM: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

type Template = Arc<dyn Fn(JobBuilder) -> JobBuilder + Send + Sync>;

/// Settings of a [`CodeTool`].
#[must_use = "a tool is made by build()"]
pub struct CodeToolBuilder {
    executor: Arc<dyn Executor>,
    name: String,
    languages: Option<Vec<String>>,
    longest: Option<Duration>,
    job: Template,
    text: Size,
    images: usize,
    image_bytes: Size,
    room: Size,
    files: Vec<(String, Bytes)>,
}

impl CodeToolBuilder {
    /// The tool's name. Default `run_code`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The languages to offer. Default: every runtime of the executor.
    pub fn languages<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.languages = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The longest time that the model may ask for, up to 24 h; its processor time grows with it.
    /// Default: twice the wall-clock limit of [`job`](Self::job).
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = Some(longest);
        self
    }

    /// What each job has besides its program: limits, tenant, variables, layers, network.
    ///
    /// ```
    /// # use sandbox::{CodeTool, FakeExecutor, Size};
    /// let tool = CodeTool::builder(FakeExecutor::new())
    ///     .job(|job| job.memory(Size::gib(1)).tenant("ann"))
    ///     .build()?;
    /// # Ok::<(), sandbox::Error>(())
    /// ```
    pub fn job(mut self, job: impl Fn(JobBuilder) -> JobBuilder + Send + Sync + 'static) -> Self {
        self.job = Arc::new(job);
        self
    }

    /// How much of a program's output the model gets; of more, it gets the beginning and the end.
    /// Default 16 KiB, about 4,000 tokens; at least 1 KiB.
    pub fn text(mut self, text: Size) -> Self {
        self.text = text;
        self
    }

    /// How many images one reply has. Default 8.
    pub fn images(mut self, images: usize) -> Self {
        self.images = images;
        self
    }

    /// How many bytes the images of one reply have together. Default 8 MiB.
    pub fn image_bytes(mut self, bytes: Size) -> Self {
        self.image_bytes = bytes;
        self
    }

    /// How many bytes of files are kept from call to call, in memory. Default 64 MiB, and at most
    /// what the limits of [`job`](Self::job) let a call collect and half of its workspace; 0 keeps
    /// none.
    pub fn keep_files(mut self, room: Size) -> Self {
        self.room = room;
        self
    }

    /// A file that is there from the beginning: what the user uploaded.
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Bytes>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Makes the tool.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownRuntime`](crate::ErrorKind::UnknownRuntime) for a language that the
    /// executor does not have, and [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) for
    /// what is wrong with jobs, a file's path, or a name that no API takes.
    pub fn build(self) -> Result<CodeTool> {
        let capabilities = self.executor.capabilities();
        let known = || capabilities.runtimes.iter().map(String::as_str);
        let languages = self.languages.unwrap_or_else(|| known().map(str::to_owned).collect());
        if let Some(unknown) = languages.iter().find(|name| !capabilities.runtimes.contains(*name))
        {
            return Err(sandbox_core::unknown_runtime(unknown, known()));
        }
        definition::check_name(&self.name)?;
        let language = languages.first().cloned().unwrap_or_default();
        let example = (self.job)(Job::source(language, "-")).build()?;
        let limits = &example.limits;
        let wrong =
            |field: &'static str, what: String| Err(Error::new(ErrorKind::InvalidJob, field, what));
        if !example.files.is_empty() {
            return wrong("files", "give a tool its files with file(), not with job()".into());
        }
        let longest = self.longest.unwrap_or((limits.wall * 2).min(LONGEST)).max(MINIMUM);
        if longest < limits.wall || longest > LONGEST {
            let usual = limits.wall;
            let what = format!("{longest:?} is out of range; give {usual:?}, the usual, to 24 h");
            return wrong("longest", what);
        }
        // What is kept is placed into each workspace, and there must be room for more.
        let room = self.room.min(limits.artifacts).min(Size::b(limits.workspace().as_u64() / 2));
        let room = files::Room {
            bytes: if capabilities.files { room.as_u64() } else { 0 },
            files: (limits.artifact_files as usize).min(limits.files as usize / 2),
            inodes: limits.files as usize / 2,
        };
        let mut files = Files::new(room, capabilities.program_files.clone());
        for (path, content) in self.files {
            files.add(RelPath::new(path)?, content)?;
        }
        let text = usize::try_from(self.text.as_u64()).unwrap_or(usize::MAX).max(1024);
        Ok(CodeTool(Arc::new(Shared {
            executor: Displays::new(self.executor),
            name: self.name,
            rules: Rules { languages, usual: example.limits.wall, longest },
            job: self.job,
            example,
            text,
            images: images::Room { images: self.images, bytes: self.image_bytes.as_u64() },
            files: Mutex::new(files),
        })))
    }
}

impl CodeTool {
    /// A tool with the usual settings.
    ///
    /// # Errors
    ///
    /// As for [`CodeToolBuilder::build`].
    pub fn new(executor: impl Executor) -> Result<Self> {
        Self::builder(executor).build()
    }

    /// Settings to change before the tool is made.
    pub fn builder(executor: impl Executor) -> CodeToolBuilder {
        CodeToolBuilder {
            executor: Arc::new(executor),
            name: "run_code".to_owned(),
            languages: None,
            longest: None,
            job: Arc::new(|job| job),
            text: Size::kib(16),
            images: 8,
            image_bytes: Size::mib(8),
            room: Size::mib(64),
            files: Vec::new(),
        }
    }

    /// What the model is told about the tool.
    pub fn definition(&self) -> Definition {
        Definition::new(&self.0.name, &self.0.rules, &self.0.example, &self.files())
    }

    /// Runs what the model asks for. What is wrong with it, or with the sandbox, is a reply that
    /// [is an error](Reply::is_error).
    pub async fn call(&self, arguments: impl Into<Arguments>) -> Reply {
        match self.start(arguments).await {
            Ok(call) => call.finish().await,
            Err(reply) => *reply,
        }
    }

    /// Starts what the model asks for, to follow it while it runs.
    ///
    /// # Errors
    ///
    /// The reply for the model when nothing was started.
    pub async fn start(&self, arguments: impl Into<Arguments>) -> Result<Call, Box<Reply>> {
        let span = info_span!(
            "sandbox.tool",
            otel.name = format!("execute_tool {}", self.0.name),
            otel.kind = "internal",
            otel.status_code = Empty,
            "error.type" = Empty,
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = self.0.name,
            "gen_ai.tool.type" = "function",
        );
        let started = self.begin(arguments.into(), &span).instrument(span.clone()).await;
        started.inspect_err(|reply| {
            let kind = reply.error.as_ref().map_or("invalid_arguments", |e| e.kind().name());
            fail(&span, kind);
        })
    }

    async fn begin(&self, arguments: Arguments, span: &Span) -> Result<Call, Box<Reply>> {
        let asked = arguments.parse(&self.0.rules).map_err(|wrong| {
            let text = format!(
                "Nothing was run, because the arguments are wrong. {wrong}\nCorrect them and call \
                 {} again.",
                self.0.name
            );
            Box::new(Reply::refusal(text, None))
        })?;
        let started = async {
            let mut job = (self.0.job)(Job::source(asked.language, asked.code));
            if let Some(timeout) = asked.timeout {
                // Of the processors it has as much more as of time.
                job = job.limit(|limits| {
                    let share = timeout.as_secs_f64() / limits.wall.as_secs_f64();
                    limits.cpu = limits.cpu.map(|cpu| {
                        let cpu = Duration::try_from_secs_f64(cpu.as_secs_f64() * share);
                        cpu.unwrap_or(LONGEST).clamp(MINIMUM, LONGEST)
                    });
                    limits.wall = timeout;
                });
            }
            let (contents, staged) = {
                let files = self.locked();
                (files.contents(), files.staged())
            };
            for (path, content) in contents {
                job = job.file(path, content);
            }
            if !staged.is_empty() && self.0.example.artifacts.is_empty() {
                job = job.artifact(files::ALL);
            }
            let job = job.build()?;
            let spec = JobSpec::clone(&job);
            Ok((self.0.executor.start(job).await?, spec, staged))
        };
        match started.await {
            Ok((execution, spec, staged)) => {
                Ok(Call { tool: self.clone(), spec, staged, execution, span: span.clone() })
            }
            Err(error) => Err(Box::new(report::not_run(error))),
        }
    }

    /// The files that the next call finds.
    pub fn files(&self) -> Vec<KeptFile> {
        self.locked().list()
    }

    /// The same as text for a model: those beyond the first fifty are counted.
    pub fn list_files(&self) -> String {
        match &self.files()[..] {
            [] => "There are no files.".to_owned(),
            files => report::list(files, &[]),
        }
    }

    /// The bytes of a file that the next call finds.
    pub fn read_file(&self, path: &str) -> Option<Bytes> {
        self.locked().get(path).map(|file| file.bytes)
    }

    /// Shows the model a file that the next call finds: an image as an image, and of text what
    /// fits, from the byte `offset` on.
    pub fn show_file(&self, path: &str, offset: u64) -> Reply {
        let found = self.locked().get(path);
        show::file(path, found, offset, &self.files(), self.0.text, self.0.images.bytes)
    }

    /// Removes a file, so that the next call does not find it; says whether it was there.
    pub fn remove_file(&self, path: &str) -> bool {
        self.locked().remove(path)
    }

    /// Adds a file, or replaces one, for the next call to find.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidJob`](crate::ErrorKind::InvalidJob) when the path leads out of the
    /// workspace, or the file does not fit beside those that are kept.
    pub fn add_file(&self, path: impl Into<String>, content: impl Into<Bytes>) -> Result<()> {
        self.locked().add(RelPath::new(path)?, content.into())
    }

    fn locked(&self) -> MutexGuard<'_, Files> {
        // Whoever panicked with the lock left whole files.
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that runs. Dropping it kills the program.
#[derive(Debug)]
#[must_use = "dropping a call kills its program; wait for finish()"]
pub struct Call {
    tool: CodeTool,
    spec: JobSpec,
    staged: Staged,
    execution: Execution,
    span: Span,
}

impl Call {
    /// The next thing that happens, as [`Execution::next_event`].
    pub async fn next_event(&mut self) -> Option<Event> {
        self.execution.next_event().await
    }

    /// A handle that cancels this call from elsewhere.
    pub fn cancel_handle(&self) -> Cancel {
        self.execution.cancel_handle()
    }

    /// Waits for the end and says to the model what came of it.
    pub async fn finish(self) -> Reply {
        let span = self.span.clone();
        let reply = self.reply().instrument(span.clone()).await;
        match (&reply.outcome, &reply.error) {
            (Some(outcome), _) if !outcome.is_success() => {
                fail(&span, outcome.termination.reason())
            }
            (_, Some(error)) => fail(&span, error.kind().name()),
            _ => {}
        }
        reply
    }

    async fn reply(self) -> Reply {
        let mut outcome = match self.execution.outcome().await {
            Ok(outcome) => outcome,
            Err(error) => return report::not_run(error),
        };
        let (room, reserved) = {
            let files = self.tool.locked();
            (files.room(), files.reserved().clone())
        };
        // Nobody waits for what a call was cancelled at.
        let left = match outcome.termination {
            Termination::Cancelled => Left::default(),
            _ => Left::read(&outcome, &self.spec, room, &reserved, &self.staged).await,
        };
        let taken = self.tool.locked().take(left, &self.staged);
        // What did not change was collected to see what was removed, and is nothing that it made.
        if outcome.termination != Termination::Cancelled {
            outcome.artifacts.retain(|artifact| taken.has(artifact.path()));
        }
        let tool = &self.tool.0;
        let images = images::choose(&outcome, &taken.changed, tool.images);
        let limits = &self.spec.limits;
        let report = report::Report {
            outcome: &outcome,
            limits,
            rules: &tool.rules,
            files: &self.tool.files(),
            taken: &taken,
            images: &images,
            text: tool.text,
        };
        let mut content: Vec<_> = report.parts().into_iter().map(Part::Text).collect();
        content.extend(images.shown.into_iter().map(Part::from));
        let changed = taken.kept().map(KeptFile::from).collect();
        Reply::new(content, outcome, changed)
    }
}

fn fail(span: &Span, kind: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("CodeTool");
        debug.field("name", &self.name).field("executor", &self.executor);
        debug.field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl fmt::Debug for CodeToolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("CodeToolBuilder");
        debug.field("name", &self.name).field("executor", &self.executor).finish_non_exhaustive()
    }
}
