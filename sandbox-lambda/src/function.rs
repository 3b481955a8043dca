//! Functions, and which of them a job goes to.

use std::time::Duration;

use aws_sdk_lambda::types::Architecture as AwsArchitecture;
use sandbox_core::{Error, ErrorKind, Job, Limits, Result, Size};
use tokio::time::timeout;

use crate::{service, trace};

/// Memory of a function that is not the job's.
const RESERVED: u64 = 64 << 20;
/// The same of its storage.
const STORAGE_RESERVED: u64 = 64 << 20;
/// Time of an invocation that is not the job's: inputs, artifacts, answer.
const MARGIN: Duration = Duration::from_secs(3);
/// Longest wait for a function's configuration.
const LOOK_UP: Duration = Duration::from_secs(15);
/// A function has one processor for each of these.
const MEMORY_OF_A_CPU: u64 = 1769 << 20;

/// A processor architecture, for prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Architecture {
    /// 64-bit Intel and AMD.
    #[default]
    X86_64,
    /// Graviton.
    Arm64,
}

/// What there is to know about a function. [`LambdaBuilder::function`] asks Lambda for it;
/// [`LambdaBuilder::function_spec`] takes it from the caller, who then needs no right to
/// `lambda:GetFunctionConfiguration`.
///
/// [`LambdaBuilder::function`]: crate::LambdaBuilder::function
/// [`LambdaBuilder::function_spec`]: crate::LambdaBuilder::function_spec
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionSpec {
    /// Its name or ARN, with a version or alias if wanted.
    pub name: String,
    /// Its memory.
    pub memory: Size,
    /// Its timeout.
    pub timeout: Duration,
    /// Its architecture.
    pub architecture: Architecture,
    /// Its `/tmp`.
    pub ephemeral_storage: Size,
    /// Where it logs.
    pub log_group: String,
    /// Whether its environments are separated by tenant id.
    pub tenant_isolation: bool,
    /// Whether it is attached to a VPC. That this has no way out is for its owner to see to.
    pub vpc: bool,
    /// Whether its environments are microVMs of its own: not so on Managed Instances, whose
    /// containers AWS does not call a security boundary.
    pub microvm: bool,
}

impl FunctionSpec {
    /// A function in microVMs and in a VPC, without tenant isolation, on x86_64, with a `/tmp` of
    /// 512 MiB.
    pub fn new(name: impl Into<String>, memory: Size, timeout: Duration) -> Self {
        let name = name.into();
        Self {
            log_group: format!("/aws/lambda/{name}"),
            name,
            memory,
            timeout,
            architecture: Architecture::X86_64,
            ephemeral_storage: Size::mib(512),
            tenant_isolation: false,
            vpc: true,
            microvm: true,
        }
    }

    /// Asks Lambda.
    pub(crate) async fn look_up(client: &aws_sdk_lambda::Client, name: &str) -> Result<Self> {
        let region = client.config().region().map_or("", AsRef::as_ref);
        let span = trace::lambda("GetFunctionConfiguration", region, name);
        let found = client.get_function_configuration().function_name(name).send();
        let found = trace::call(span, found);
        let found = timeout(LOOK_UP, found).await.map_err(|_| {
            let message = format!("{name}: no answer within {LOOK_UP:?}");
            Error::new(ErrorKind::Lost, "look up function", message).with_retryable(true)
        })?;
        let found = found.map_err(|error| service::describe("look up function", name, error))?;
        let mebibytes = |value: i32| Size::mib(u64::try_from(value).unwrap_or(0));
        let memory = found.memory_size().unwrap_or(128);
        let timeout = found.timeout().unwrap_or(3);
        let arm = found.architectures().contains(&AwsArchitecture::Arm64);
        Ok(Self {
            name: name.to_owned(),
            memory: mebibytes(memory),
            timeout: Duration::from_secs(u64::try_from(timeout).unwrap_or(0)),
            architecture: if arm { Architecture::Arm64 } else { Architecture::X86_64 },
            log_group: found
                .logging_config()
                .and_then(|logging| logging.log_group())
                .map_or_else(|| format!("/aws/lambda/{name}"), str::to_owned),
            ephemeral_storage: mebibytes(found.ephemeral_storage().map_or(512, |disk| disk.size())),
            tenant_isolation: found.tenancy_config().is_some(),
            vpc: found.vpc_config().and_then(|vpc| vpc.vpc_id()).is_some_and(|id| !id.is_empty()),
            microvm: found.capacity_provider_config().is_none(),
        })
    }

    /// The processors that Lambda gives to a function of this size; see
    /// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>.
    pub fn processors(&self) -> f64 {
        self.memory.as_u64() as f64 / MEMORY_OF_A_CPU as f64
    }

    /// The most memory that a job can have in it: the runner needs the rest.
    pub fn room(&self) -> Size {
        Size::b(self.memory.as_u64().saturating_sub(RESERVED))
    }

    /// The job with a workspace that the function has room for, where the job's own follows its
    /// memory.
    pub(crate) fn bounded(&self, job: Job) -> Result<Job> {
        let room = Size::b(self.ephemeral_storage.as_u64().saturating_sub(STORAGE_RESERVED));
        // AWS gives no function less than this.
        let room = room.max(Size::mib(256));
        if job.limits.workspace.is_some() || job.limits.workspace() <= room {
            return Ok(job);
        }
        job.to_builder().limit(|limits| limits.workspace = Some(room)).build()
    }

    fn fits(&self, limits: &Limits) -> bool {
        self.room() >= limits.memory && self.timeout >= limits.wall + MARGIN
    }
}

/// The smallest function that can hold the job's limits. A job whose limit of processor time is
/// above that of wall-clock time asks for that many processors.
pub(crate) fn route<'a>(
    functions: &'a [FunctionSpec],
    limits: &Limits,
) -> Result<&'a FunctionSpec> {
    let mut fitting: Vec<_> = functions.iter().filter(|function| function.fits(limits)).collect();
    fitting.sort_by_key(|function| (function.memory, function.timeout));
    let processors = limits.cpu.map(|cpu| cpu.as_secs_f64() / limits.wall.as_secs_f64());
    let wanted = processors.filter(|processors| *processors > 1.0).unwrap_or(0.0);
    let enough = fitting.iter().find(|function| function.processors() >= wanted);
    enough.or(fitting.last()).copied().ok_or_else(|| {
        let have: Vec<_> = functions
            .iter()
            .map(|f| format!("{} ({}, {} s)", f.name, f.memory, f.timeout.as_secs()))
            .collect();
        let message = format!(
            "no function holds limits.memory of {} (and {} of its own) and limits.wall of {:?} \
             (and {:?} of its own); there are {}; lower the limits or add a larger function",
            limits.memory,
            Size::b(RESERVED),
            limits.wall,
            MARGIN,
            have.join(", ")
        );
        Error::new(ErrorKind::Unsupported, "choose function", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_that_follows_memory_stays_within_the_function() {
        let function = FunctionSpec::new("f", Size::mib(4096), Duration::from_secs(60));
        let of = |job: sandbox_core::JobBuilder| {
            let job = function.bounded(job.build().expect("job")).expect("bounded");
            job.limits.workspace()
        };
        assert_eq!(of(Job::python("1")), Size::mib(256));
        assert_eq!(of(Job::python("1").memory(Size::gib(3))), Size::mib(448));
        let asked = Job::python("1").limit(|limits| limits.workspace = Some(Size::gib(1)));
        assert_eq!(of(asked), Size::gib(1), "what was asked for by name is not changed");
    }

    #[test]
    fn a_job_goes_to_the_smallest_function_that_holds_it() {
        let function = |name: &str, mib, seconds| {
            FunctionSpec::new(name, Size::mib(mib), Duration::from_secs(seconds))
        };
        let all = [
            function("large", 4096, 60),
            function("small", 640, 60),
            function("short", 640, 5),
            function("long", 2048, 900),
        ];
        let name = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            route(&all, &limits).map(|function| function.name.as_str())
        };
        assert_eq!(name(|_| {}).expect("default"), "small");
        assert_eq!(name(|l| l.wall = Duration::from_secs(1)).expect("quick"), "short");
        assert_eq!(name(|l| l.memory = Size::gib(1)).expect("memory"), "long");
        assert_eq!(name(|l| l.wall = Duration::from_secs(300)).expect("time"), "long");
        assert_eq!(name(|l| l.cpu = Some(Duration::from_secs(60))).expect("two CPUs"), "large");
        assert_eq!(name(|l| l.cpu = Some(Duration::from_secs(600))).expect("as many"), "large");
        let error = name(|l| l.memory = Size::gib(4)).expect_err("too much");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("large (4.0 GiB, 60 s)"), "{error}");
    }
}
