//! What a function is configured to be.

use std::path::PathBuf;
use std::time::Duration;

use crate::tools;

/// Whether environments are shared between tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenancy {
    /// An invocation must not name a tenant.
    Shared,
    /// An invocation must name a tenant, and gets an environment that no other tenant had.
    PerTenant,
}

/// What the runtime is allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Lambda's user without prctl, seccomp, namespaces, Landlock, ptrace, chroot, `/dev/shm`.
    WorstCase,
    /// Lambda's user, and everything that the kernel gives to anybody.
    Ordinary,
}

/// A function and the runtime behind it.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "Lambda's own names")]
pub struct Function {
    pub name: String,
    pub memory: u64,
    pub timeout: Duration,
    pub tenancy: Tenancy,
    pub concurrency: usize,
    /// What the bootstrap is; with a root, where it is in there.
    pub runtime: PathBuf,
    /// The files of an image, instead of this machine's.
    pub root: Option<PathBuf>,
    pub launcher: Launcher,
    /// Variables of the function.
    pub env: Vec<(String, String)>,
    /// Size of the environment's `/tmp`.
    pub tmp: u64,
    /// The user, or one that nothing else on this machine has.
    pub uid: Option<u32>,
    pub vpc: Option<String>,
}

impl Function {
    /// The runner, in Lambda's worst case.
    pub fn runner(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            memory: 1024,
            timeout: Duration::from_secs(60),
            tenancy: Tenancy::Shared,
            concurrency: 10,
            runtime: tools::runner(),
            root: None,
            launcher: Launcher::WorstCase,
            env: vec![("SANDBOX_OWNS_USER".into(), "1".into())],
            tmp: 512 << 20,
            uid: None,
            vpc: None,
        }
    }

    /// The entrypoint of an image whose files are in that folder, in Lambda's worst case.
    pub fn image(name: impl Into<String>, root: impl Into<PathBuf>) -> Self {
        let runtime = "/usr/local/bin/sandbox-runner".into();
        Self { runtime, root: Some(root.into()), ..Self::runner(name) }
    }

    /// A bare handler that runs commands without any protection.
    pub fn plain(name: impl Into<String>) -> Self {
        Self { runtime: tools::plain_runtime(), env: Vec::new(), ..Self::runner(name) }
    }
}
