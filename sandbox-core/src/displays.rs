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
    [".displays/sitecustomize.py", ".displays/displays.py", ".displays/displays.R"];
/// Bytes of all displays together; what is beyond stays an artifact.
const MOST_BYTES: u64 = 16 << 20;

/// Makes figures that a program draws and does not save into [`Outcome::displays`]: each figure
/// that Python's matplotlib shows or leaves open, and each page that R draws on its default device.
///
/// Models end programs with `plt.show()`, as in a notebook. Elsewhere that shows nothing.
///
/// A figure that the program saves is an artifact, as without this wrapper. Any program can add a
/// display: it makes a folder `.displays` in its workspace, where there is none, and puts a file into
/// it. Displays count toward the limits on artifacts, and come first. The first 16 MiB become displays, in
/// the order of their names; what is left over stays among the artifacts.
///
/// Python is told by a `sitecustomize` module and R by `R_TESTS`, both in the workspace: what an
/// interpreter's own `sitecustomize` does is still done. A runtime with arguments that make the
/// interpreter ignore variables (`python -I`) shows nothing. The module takes 1.4 ms of an
/// interpreter's start; a program that visibly imports nothing but modules of the standard library
/// goes without it.
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
    let Program::Source { runtime, code } = &job.program else { return Ok(job) };
    let mut builder = job.to_builder();
    match runtime.as_str() {
        "python" if job.files.is_empty() && !may_draw(code) => {}
        "python" => {
            // Relative to the workspace, in which the interpreter starts.
            let path = match job.env.get("PYTHONPATH") {
                Some(own) => format!("{FOLDER}:{own}"),
                None => FOLDER.to_owned(),
            };
            builder = builder
                .file(OURS[0], include_str!("displays/sitecustomize.py"))
                .file(OURS[1], include_str!("displays/displays.py"))
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

/// Modules that lead to no figure, and to no module that is not in this list.
const PLAIN: [&str; 58] = [
    "__future__",
    "abc",
    "argparse",
    "array",
    "asyncio",
    "base64",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "configparser",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "gc",
    "glob",
    "gzip",
    "hashlib",
    "heapq",
    "html",
    "io",
    "itertools",
    "json",
    "locale",
    "logging",
    "math",
    "numbers",
    "operator",
    "os",
    "pathlib",
    "platform",
    "pprint",
    "queue",
    "random",
    "re",
    "secrets",
    "shutil",
    "signal",
    "sqlite3",
    "statistics",
    "string",
    "struct",
    "sys",
    "tempfile",
    "textwrap",
    "threading",
    "time",
    "traceback",
    "typing",
    "uuid",
    "zlib",
];

/// Whether a Python program imports anything that could draw. What looks like an import counts,
/// also in a comment or a text; what is hidden on purpose only hides the program's own figures.
fn may_draw(code: &[u8]) -> bool {
    let Ok(code) = std::str::from_utf8(code) else { return true };
    if code.contains("exec(") {
        return true;
    }
    let statements = code.split(['\n', ';']).map(str::trim).filter(|line| line.contains("import"));
    !statements.into_iter().all(|statement| {
        let is_plain = |module: &str| {
            let end = |c: char| !c.is_alphanumeric() && c != '_';
            PLAIN.contains(&module.trim().split(end).next().unwrap_or_default())
        };
        match (statement.strip_prefix("import "), statement.strip_prefix("from ")) {
            (Some(modules), _) => modules.split(',').all(is_plain),
            (_, Some(module)) => is_plain(module),
            _ => false,
        }
    })
}

/// Moves what the program displayed from the artifacts to the displays.
async fn show(mut outcome: Outcome) -> Outcome {
    let is_shown = |artifact: &Artifact| artifact.path().starts_with(FOLDER);
    if !outcome.artifacts.iter().any(is_shown) {
        return outcome;
    }
    // With patterns, also what did not change is an artifact; and a program that was killed may
    // leave a part of a figure.
    let is_ours = |path: &str| OURS.contains(&path) || path.ends_with(".part");
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
    fn only_programs_that_cannot_draw_go_without() {
        for plain in [
            "print(1)",
            "import os, sys\nfrom collections import Counter as plt; import json",
            "def f():\n\timport math\n",
            "from os.path import join",
        ] {
            assert!(!may_draw(plain.as_bytes()), "{plain}");
        }
        for other in [
            "import matplotlib.pyplot as plt",
            "import os, pandas",
            "import os; import seaborn",
            "from pylab import *",
            "try: import numpy\nexcept: pass",
            "__import__('matplotlib')",
            "import importlib",
            "exec('import matplotlib')",
            "import (os)",
            "import\\\n  matplotlib",
        ] {
            assert!(may_draw(other.as_bytes()), "{other}");
        }
        assert!(may_draw(b"\xff"));
        let with_module = Job::python("1").file("own.py", "import matplotlib").build();
        assert!(!prepare(with_module.expect("job")).expect("prepared").env.is_empty());
    }

    #[test]
    fn a_path_of_the_jobs_own_is_kept() {
        let job = Job::python("import x").env("PYTHONPATH", "lib").build().expect("job");
        let job = prepare(job).expect("prepared");
        assert_eq!(job.env["PYTHONPATH"], ".displays/:lib");
        assert!(job.files.len() == 2 && job.artifacts.is_empty());
        let job = prepare(Job::command(["true"]).build().expect("job")).expect("prepared");
        assert!(job.files.is_empty() && job.env.is_empty());
    }
}
