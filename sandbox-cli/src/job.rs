//! From a command line to a job.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sandbox::{Content, Error, ErrorKind, Job, JobBuilder, Network};

use crate::args::{JobArgs, NetworkArg};

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
    for (name, value) in &args.env {
        job = job.env(name, value);
    }
    for glob in &args.artifact {
        job = job.artifact(glob);
    }
    if let Some(tenant) = &args.tenant {
        job = job.tenant(tenant);
    }
    for layer in &args.require {
        job = job.require(*layer);
    }
    for layer in &args.allow_degraded {
        job = job.allow_degraded(*layer);
    }
    job = job.args(args.args.iter().filter(|_| !args.command));
    job = job.network(match args.network {
        NetworkArg::Denied => Network::Denied,
        NetworkArg::Host => Network::Host,
    });
    job.limit(|limits| {
        limits.wall = args.timeout.unwrap_or(limits.wall);
        limits.cpu = args.cpu_time.unwrap_or(limits.cpu);
        limits.memory = args.memory.unwrap_or(limits.memory);
        limits.processes = args.processes.unwrap_or(limits.processes);
        limits.open_files = args.open_files.unwrap_or(limits.open_files);
        limits.file_size = args.file_size.unwrap_or(limits.file_size);
        limits.workspace = args.disk.unwrap_or(limits.workspace);
        limits.files = args.files.unwrap_or(limits.files);
        limits.output = args.output.unwrap_or(limits.output);
    })
    .build()
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
