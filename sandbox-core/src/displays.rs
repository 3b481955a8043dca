//! A wrapper that shows figures.

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Artifact, Capabilities, Display, Execution, Executor, Job, Outcome, Program, Result, Session,
    SessionSpec,
};

/// The folder of the workspace whose files are displays.
const FOLDER: &str = ".displays/";
/// The files by which interpreters are told.
const OURS: [&str; 3] =
    [".displays/matplotlib.py", ".displays/_displays.py", ".displays/displays.R"];
/// Where interpreters that a program starts keep what they compiled of them.
const CACHE: &str = ".displays/__pycache__/";
/// Bytes of all displays together; what is beyond stays an artifact.
const MOST_BYTES: u64 = 16 << 20;

/// Makes figures that a program draws and does not save into [`Outcome::displays`]: each figure
/// that Python's matplotlib shows or leaves open, and each page that R draws on its default device.
///
/// Models end programs with `plt.show()`, as in a notebook. Elsewhere that shows nothing.
///
/// A figure that the program saves is an artifact, as without this wrapper. Any program can add a
/// display: it makes a folder `.displays` in its workspace, where there is none, and puts a file into
/// it. Displays count toward the limits on artifacts, and come first. The first 16 MiB become
/// displays, in the order of their names; what is left over stays among the artifacts.
///
/// Python finds a module of this wrapper's in the place of matplotlib, by `PYTHONPATH`, which
/// becomes the real one; a program that does not import it is not touched. The same holds for
/// interpreters that a program starts in its workspace. Before it is imported,
/// `importlib.util.find_spec` finds this one, also where there is no real one. R is told by
/// `R_TESTS`. A runtime with arguments that make the interpreter ignore variables (`python -I`)
/// shows nothing.
#[derive(Debug)]
pub struct Displays<E>(E);

impl<E: Executor> Displays<E> {
    /// Wraps `inner`.
    pub fn new(inner: E) -> Self {
        Self(inner)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<E: Executor> Executor for Displays<E> {
    fn capabilities(&self) -> &Capabilities {
        self.0.capabilities()
    }

    async fn start(&self, job: Job) -> Result<Execution> {
        Ok(self.0.start(prepare(job)?).await?.map_outcome(show))
    }

    async fn open(&self, spec: SessionSpec) -> Result<Box<dyn Session>> {
        Ok(Box::new(Showing(self.0.open(spec).await?)))
    }
}

#[derive(Debug)]
struct Showing(Box<dyn Session>);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Session for Showing {
    async fn start(&mut self, job: Job) -> Result<Execution> {
        Ok(self.0.start(prepare(job)?).await?.map_outcome(show))
    }

    async fn close(self: Box<Self>) -> Result<()> {
        self.0.close().await
    }
}

/// Gives the program what makes its figures files.
fn prepare(job: Job) -> Result<Job> {
    let Program::Source { runtime, .. } = &job.program else { return Ok(job) };
    let mut builder = job.to_builder();
    match runtime.as_str() {
        "python" => {
            // Relative to the workspace, in which the interpreter starts.
            let path = match job.env.get("PYTHONPATH") {
                Some(own) => format!("{FOLDER}:{own}"),
                None => FOLDER.to_owned(),
            };
            builder = builder
                .file(OURS[0], include_str!("displays/matplotlib.py"))
                .file(OURS[1], include_str!("displays/_displays.py"))
                .env("PYTHONPATH", path);
        }
        "r" => {
            builder =
                builder.file(OURS[2], include_str!("displays/displays.R")).env("R_TESTS", OURS[2]);
        }
        _ => {}
    }
    if !job.artifacts.is_empty() {
        builder = builder.artifact(".displays/**");
    }
    builder.build()
}

/// Moves what the program displayed from the artifacts to the displays.
async fn show(mut outcome: Outcome) -> Outcome {
    let is_shown = |artifact: &Artifact| artifact.path().starts_with(FOLDER);
    if !outcome.artifacts.iter().any(is_shown) {
        return outcome;
    }
    // With patterns, also what did not change is an artifact; and a program that was killed may
    // leave a part of a figure.
    let is_ours =
        |path: &str| OURS.contains(&path) || path.starts_with(CACHE) || path.ends_with(".part");
    outcome.artifacts.retain(|artifact| !(is_shown(artifact) && is_ours(artifact.path())));
    let (mut shown, mut artifacts): (Vec<_>, Vec<_>) =
        std::mem::take(&mut outcome.artifacts).into_iter().partition(is_shown);
    shown.sort_by(|one, other| one.path().cmp(other.path()));
    let mut room = MOST_BYTES;
    for artifact in shown {
        if artifact.size() > room {
            artifacts.push(artifact);
            continue;
        }
        room -= artifact.size();
        match artifact.bytes().await {
            Ok(data) => outcome.displays.push(display(&artifact, data)),
            // Whoever reads it later may be luckier.
            Err(_) => artifacts.push(artifact),
        }
    }
    outcome.artifacts = artifacts;
    outcome
}

fn display(artifact: &Artifact, data: Bytes) -> Display {
    Display { media_type: artifact.media_type().to_owned(), data }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ExecutorExt as _, FakeExecutor};

    async fn run(job: crate::JobBuilder) -> Outcome {
        let executor = Displays::new(FakeExecutor::new());
        executor.run(job.build().expect("job")).await.expect("outcome")
    }

    #[tokio::test]
    async fn files_of_the_folder_are_displays_and_no_artifacts() {
        let code =
            "mkdir .displays\necho b > .displays/2.svg\necho a > .displays/1.png\necho c > d";
        for job in [Job::bash(code), Job::bash(code).artifact("d")] {
            let outcome = run(job).await;
            let shown: Vec<_> = outcome.displays.iter().map(|d| d.media_type.as_str()).collect();
            assert_eq!(shown, ["image/png", "image/svg+xml"]);
            assert_eq!(outcome.displays[0].data.as_ref(), b"a\n");
            let left: Vec<_> = outcome.artifacts.iter().map(Artifact::path).collect();
            assert_eq!(left, ["d"]);
        }
    }

    #[test]
    fn a_path_of_the_jobs_own_is_kept() {
        let job = Job::python("1").env("PYTHONPATH", "lib").build().expect("job");
        let job = prepare(job).expect("prepared");
        assert_eq!(job.env["PYTHONPATH"], ".displays/:lib");
        assert!(job.files.len() == 2 && job.artifacts.is_empty());
        let job = prepare(Job::command(["true"]).build().expect("job")).expect("prepared");
        assert!(job.files.is_empty() && job.env.is_empty());
    }
}
