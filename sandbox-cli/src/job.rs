//! From a command line to a job.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sandbox::{Content, Error, ErrorKind, Job, JobBuilder, Network};

use crate::args::{ConditionArgs, JobArgs, LimitArgs, NetworkArg};

/// The job that a command line describes.
pub(crate) fn build(args: &JobArgs) -> Result<Job, Error> {
    let mut job = program(args)?;
    if let Some(stdin) = &args.stdin {
        let path = if stdin == Path::new("-") { Path::new("/dev/stdin") } else { stdin };
        job = job.stdin(path.to_owned());
    }
    for input in &args.inputs {
        let (source, dest) = input_file(input)?;
        job = job.file(dest, Content::Path(source));
    }
    for glob in &args.artifact {
        job = job.artifact(glob);
    }
    job = job.args(args.args.iter().filter(|_| !args.command));
    confine(job, &args.limits, &args.conditions).build()
}

/// Sets what a job may use and what it runs under.
pub(crate) fn confine(
    mut job: JobBuilder,
    limits: &LimitArgs,
    conditions: &ConditionArgs,
) -> JobBuilder {
    for (name, value) in &conditions.env {
        job = job.env(name, value);
    }
    if let Some(tenant) = &conditions.tenant {
        job = job.tenant(tenant);
    }
    for layer in &conditions.require {
        job = job.require(*layer);
    }
    for layer in &conditions.allow_degraded {
        job = job.allow_degraded(*layer);
    }
    job = job.network(match conditions.network {
        NetworkArg::Denied => Network::Denied,
        NetworkArg::Host => Network::Host,
    });
    limit(job, limits)
}

/// Sets those limits that are given.
pub(crate) fn limit(job: JobBuilder, limits: &LimitArgs) -> JobBuilder {
    job.limit(|job| {
        job.wall = limits.timeout.unwrap_or(job.wall);
        job.cpu = limits.cpu_time.or(job.cpu);
        job.memory = limits.memory.unwrap_or(job.memory);
        job.processes = limits.processes.unwrap_or(job.processes);
        job.open_files = limits.open_files.unwrap_or(job.open_files);
        job.file_size = limits.file_size.or(job.file_size);
        job.workspace = limits.disk.or(job.workspace);
        job.files = limits.files.unwrap_or(job.files);
        job.output = limits.output.unwrap_or(job.output);
        job.artifacts = limits.artifact_size.unwrap_or(job.artifacts);
        job.artifact_files = limits.artifact_files.unwrap_or(job.artifact_files);
    })
}

fn program(args: &JobArgs) -> Result<JobBuilder, Error> {
    if args.command {
        return Ok(Job::command(args.args.iter().cloned()));
    }
    if let Some(code) = &args.code {
        let runtime = args.runtime.as_deref().unwrap_or("python");
        return Ok(Job::source(runtime, code.clone()));
    }
    let path = args.source.as_deref().unwrap_or(Path::new(""));
    if path == Path::new("-") && args.stdin.as_deref() == Some(path) {
        let message = "standard input is the program already; give the program as a file";
        return Err(Error::new(ErrorKind::InvalidJob, "--stdin", message));
    }
    let code = read_program(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Error::new(ErrorKind::Input, "FILE", message).with_source(error)
    })?;
    let runtime = match (&args.runtime, path.extension().and_then(|extension| extension.to_str())) {
        (Some(runtime), _) => runtime,
        (None, Some("R" | "r")) => "r",
        (None, Some("js" | "mjs" | "cjs")) => "node",
        (None, Some("sh" | "bash")) => "bash",
        (None, Some("py") | None) => "python",
        (None, Some(other)) => {
            let message = format!("no runtime is known for .{other} files; give --runtime");
            return Err(Error::new(ErrorKind::InvalidJob, "FILE", message));
        }
    };
    Ok(Job::source(runtime, code))
}

/// Reads a program, but not without end: what a job refuses for its length is not read further.
fn read_program(path: &Path) -> io::Result<Vec<u8>> {
    let mut code = Vec::new();
    let path = if path == Path::new("-") { Path::new("/dev/stdin") } else { path };
    std::fs::File::open(path)?.take((16 << 20) + 1).read_to_end(&mut code)?;
    Ok(code)
}

/// `SRC` or `SRC:DEST`. A source that exists as written wins, so a colon in a name is no trap.
fn input_file(text: &str) -> Result<(PathBuf, String), Error> {
    let whole = PathBuf::from(text);
    if let Some((source, dest)) = text.rsplit_once(':').filter(|_| !whole.exists()) {
        return Ok((source.into(), dest.to_owned()));
    }
    match whole.file_name().and_then(|name| name.to_str()) {
        Some(name) => Ok((whole.clone(), name.to_owned())),
        None => {
            let message = format!("{text:?} has no file name; give SRC:DEST");
            Err(Error::new(ErrorKind::InvalidJob, "--file", message))
        }
    }
}

/// Reads the files that programs find.
pub(crate) fn read_inputs(inputs: &[String]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let read = |input: &String| {
        let (source, dest) = input_file(input)?;
        let content = std::fs::read(&source).map_err(|error| {
            let message = format!("cannot read {}: {error}", source.display());
            Error::new(ErrorKind::Input, "--file", message).with_source(error)
        })?;
        Ok((dest, content))
    };
    inputs.iter().map(read).collect()
}
