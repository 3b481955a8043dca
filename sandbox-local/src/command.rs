//! The job's command line, environment and per-process limits.

use std::collections::BTreeMap;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use sandbox_core::{Job, Limits, Program};

use crate::interpreter::{Interpreter, PATH};

/// Variables by which libraries are told how many threads to start.
const THREAD_POOLS: [&str; 7] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "POLARS_MAX_THREADS",
];

/// What the helper executes.
#[derive(Debug)]
pub(crate) struct Command {
    /// Paths to try, in order.
    pub(crate) candidates: Vec<String>,
    pub(crate) argv: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
}

impl Command {
    /// `tmp` is the job's folder for temporary files; `processors` are those that it may use.
    pub(crate) fn of(
        job: &Job,
        interpreter: Option<&Interpreter>,
        tmp: &str,
        processors: u64,
    ) -> Self {
        let mut argv = match (&job.program, interpreter) {
            (Program::Command(argv), _) => argv.clone(),
            (_, Some(interpreter)) => {
                let runtime = &interpreter.runtime;
                let mut argv = vec![interpreter.program.to_string_lossy().into_owned()];
                argv.extend(runtime.args.iter().cloned());
                argv.push(runtime.file_name.clone());
                argv
            }
            (_, None) => Vec::new(),
        };
        let program = argv.first().cloned().unwrap_or_default();
        argv.extend(job.args.iter().cloned());
        Self {
            candidates: candidates(&program),
            argv,
            env: environment(job, interpreter, tmp, processors),
        }
    }
}

fn candidates(program: &str) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    PATH.iter().map(|folder| format!("{folder}/{program}")).collect()
}

/// Built from nothing: the sandbox's few variables, the runtime's, the job's.
fn environment(
    job: &Job,
    interpreter: Option<&Interpreter>,
    tmp: &str,
    processors: u64,
) -> Vec<String> {
    let threads = processors.to_string();
    let mut path = PATH.join(":");
    let own_bin = interpreter.and_then(|i| i.program.parent()).and_then(Path::to_str);
    if let Some(bin) = own_bin.filter(|bin| !PATH.contains(bin)) {
        path = format!("{bin}:{path}");
    }
    let mut variables = BTreeMap::from([
        ("HOME", tmp),
        ("LANG", "C.UTF-8"),
        ("PATH", path.as_str()),
        ("TMPDIR", tmp),
        ("USER", "sandbox"),
    ]);
    // Pools of threads would be as large as the machine, of which a job may have a part.
    variables.extend(THREAD_POOLS.map(|name| (name, threads.as_str())));
    let runtime = interpreter.iter().flat_map(|i| &i.runtime.env);
    variables.extend(runtime.map(|(name, value)| (name.as_str(), value.as_str())));
    variables.extend(job.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// Limits of each process, as resource number and value; soft and hard are the same.
/// `watch_memory` says that no cgroup limits memory; `spare` is how far the limit of the user's
/// processes is above that of the job's.
pub(crate) fn rlimits(
    limits: &Limits,
    processors: u64,
    watch_memory: bool,
    spare: u64,
) -> Vec<(u64, u64)> {
    // Later than the supervisor, which sums the tree: a backstop. The kernel compares it with a clock
    // that counts whole ticks, and was up to 6 % ahead of the exact one on a busy host.
    let cpu_seconds = (limits.cpu(processors).as_secs() + 2).saturating_mul(5) / 4;
    let processes = u64::from(limits.processes) + spare;
    // Where only the workspace bounds a file, the workspace is full before the file is too large, and
    // a file of holes may be larger than what it holds.
    let whole = limits.workspace().as_u64().saturating_add(1 << 20).max(64 << 20);
    let file_size = limits.file_size.map_or(whole, |size| size.as_u64());
    let mut all = vec![
        (Resource::RLIMIT_CPU, cpu_seconds),
        (Resource::RLIMIT_FSIZE, file_size),
        (Resource::RLIMIT_NOFILE, u64::from(limits.open_files)),
        (Resource::RLIMIT_NPROC, processes),
        // One byte, not zero: the kernel ignores zero when a host pipes core dumps into a
        // handler, and never dumps for one (see fs/coredump.c and core(5)).
        (Resource::RLIMIT_CORE, 1),
        (Resource::RLIMIT_RTPRIO, 0),
        (Resource::RLIMIT_NICE, 0),
    ];
    for (resource, wanted) in [
        (Resource::RLIMIT_STACK, 8 << 20),
        (Resource::RLIMIT_MEMLOCK, 64 << 10),
        (Resource::RLIMIT_MSGQUEUE, 800 << 10),
        (Resource::RLIMIT_SIGPENDING, 1024),
    ] {
        let allowed = getrlimit(resource).map_or(wanted, |(_, hard)| hard);
        all.push((resource, wanted.min(allowed)));
    }
    if watch_memory {
        // Above the limit, so that the watcher ends the job by its name before an allocation
        // fails; it bounds what one process can take between two looks.
        all.push((Resource::RLIMIT_DATA, limits.memory.as_u64().saturating_mul(2)));
    }
    all.into_iter().map(|(resource, value)| (resource as u64, value)).collect()
}
