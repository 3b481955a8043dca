//! What this host allows, found out by doing it.
//!
//! The probe runs the helper through a whole set-up and stops where a job's program would be
//! executed. A step that fails takes its layer away, with the cause and the remedy, and the
//! probe goes on without it. It happens once per executor.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use sandbox_core::{Enforcement, Error, ErrorKind, Layer, LayerState};

use crate::cgroup::Parent;
use crate::channel::SetupFailure;
use crate::explain::explain;
use crate::host::{Host, kernel};
use crate::protocol::{Stage, flag};

/// Layers that a job requires by default: all that this backend has except `memory`, which
/// hosts without a writable cgroup enforce by a watcher, and say so.
pub(crate) const DEFAULT_REQUIRED: [Layer; 18] = [
    Layer::User,
    Layer::Mount,
    Layer::Pid,
    Layer::Network,
    Layer::Ipc,
    Layer::Uts,
    Layer::NoNewPrivs,
    Layer::Capabilities,
    Layer::Seccomp,
    Layer::Landlock,
    Layer::Rlimits,
    Layer::Processes,
    Layer::Disk,
    Layer::Environment,
    Layer::Descriptors,
    Layer::PrivateTmp,
    Layer::Cleanup,
    Layer::SupervisorHidden,
];

/// Layers that a set-up can do without, and the switch of each.
pub(crate) const OPTIONAL: [(Layer, u64); 9] = [
    (Layer::User, flag::USER),
    (Layer::Network, flag::NET),
    (Layer::Ipc, flag::IPC),
    (Layer::Uts, flag::UTS),
    (Layer::Landlock, flag::LANDLOCK),
    (Layer::Seccomp, flag::SECCOMP),
    (Layer::NoNewPrivs, flag::NO_NEW_PRIVS),
    (Layer::Capabilities, flag::CAPABILITIES),
    (Layer::Cleanup, flag::TIED),
];

/// Namespaces that are no layer of their own.
const UNLAYERED: u64 = flag::CGROUP_NS | flag::TIME;

/// Claims that depend on how the host maps users, tried before they are made.
const CHECKS: u64 = flag::CHECK_PROCESSES | flag::CHECK_HIDDEN;

/// What a process can do to itself, without a namespace.
const WITHOUT_NAMESPACES: u64 =
    flag::LANDLOCK | flag::SECCOMP | flag::NO_NEW_PRIVS | flag::CAPABILITIES;

/// A layer that this host does not give, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The layer.
    pub layer: Layer,
    /// The step that failed and the kernel's answer.
    pub step: String,
    /// What on this host forbids it.
    pub cause: String,
    /// What would allow it.
    pub remedy: String,
}

impl Finding {
    fn reason(&self) -> String {
        format!("{}: {}; {}", self.step, self.cause, self.remedy)
    }
}

/// What a host allows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProbeReport {
    /// The isolation that a job gets.
    pub enforcement: Enforcement,
    /// Layers that are missing or weaker, with causes.
    pub findings: Vec<Finding>,
    /// What makes every job impossible, if anything does.
    pub fatal: Option<Finding>,
    /// Jobs have a user namespace, but the application's user on the host.
    shares_user: bool,
    /// How memory is limited.
    pub memory_by: String,
    /// The kernel's release.
    pub kernel: String,
    /// How long probing took.
    pub took: Duration,
}

impl ProbeReport {
    /// The error with which a job of default requirements is refused here.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the layer, the cause and the remedy.
    pub fn check_default(&self) -> Result<(), Error> {
        self.check(self.required_by_default())
    }

    /// Layers that a job requires unless it says otherwise. An ordinary user of a host that lends no
    /// ids still has a user namespace, whose weakness every outcome names.
    pub(crate) fn required_by_default(&self) -> impl Iterator<Item = Layer> {
        let shares_user = self.shares_user;
        DEFAULT_REQUIRED.into_iter().filter(move |layer| !(shares_user && *layer == Layer::User))
    }

    /// Refuses unless every required layer is in force.
    pub(crate) fn check(&self, required: impl IntoIterator<Item = Layer>) -> Result<(), Error> {
        let refused = |finding: &Finding| {
            let message = format!("layer {}: {}", finding.layer, finding.reason());
            Error::new(ErrorKind::Refused, "isolate", message).with_layer(finding.layer)
        };
        if let Some(fatal) = &self.fatal {
            return Err(refused(fatal));
        }
        let required: BTreeSet<_> = required.into_iter().collect();
        match self.findings.iter().find(|finding| required.contains(&finding.layer)) {
            Some(finding) => Err(refused(finding)),
            None => self.enforcement.require(required),
        }
    }
}

/// The result of probing: the report, and how set-ups are done from now on.
#[derive(Debug)]
pub(crate) struct Probed {
    pub(crate) report: ProbeReport,
    pub(crate) flags: u64,
    pub(crate) parents: Vec<Parent>,
}

/// What the caller wants of a host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The job's user and folder are there for jobs alone.
    pub(crate) exclusive: bool,
    /// Folders that such a job can write and nobody empties.
    pub(crate) unswept: &'a [&'static str],
    /// Layers that the caller does not want.
    pub(crate) left_out: &'a BTreeSet<Layer>,
}

/// Runs trial set-ups until one succeeds or nothing is left to give up.
pub(crate) async fn probe<F>(
    host: &Host,
    mut parents: Vec<Parent>,
    asked: Asked<'_>,
    attempt: impl Fn(u64, Vec<Parent>) -> F,
) -> Result<Probed, Error>
where
    F: Future<Output = Result<Result<(), SetupFailure>, Error>>,
{
    let since = Instant::now();
    let privileged = match host {
        Host { privileged: true, .. } => flag::PRIVILEGED,
        Host { lends_ids: true, .. } => flag::TAKE_IDS,
        Host { lent: Ok(_), .. } => flag::PRIVILEGED | flag::LENT_IDS,
        _ => 0,
    };
    let wanted = OPTIONAL.iter().filter(|(layer, _)| !asked.left_out.contains(layer));
    let mut flags =
        wanted.fold(privileged | UNLAYERED | CHECKS | flag::NAMESPACES, |all, (_, bit)| all | bit);
    if parents.iter().any(|parent| parent.processes) || asked.left_out.contains(&Layer::Processes) {
        // The cgroup limits them.
        flags &= !flag::CHECK_PROCESSES;
    }
    let mut lent = host.lent.clone().map(|_| ());
    let mut findings = Vec::new();
    let (mut fatal, mut no_namespaces) = (None, None);
    loop {
        let Err(failure) = attempt(flags, parents.clone()).await? else { break };
        let finding = explain(failure, host);
        if matches!(failure.errno, Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE) {
            // Load, and no property of the host: to go on would weaken every job for good.
            return Err(Error::new(ErrorKind::HostExhausted, "probe host", finding.reason()));
        }
        let in_groups = matches!(
            failure.stage,
            Stage::CgroupCreate | Stage::CgroupSet | Stage::CgroupJoin | Stage::Fork
        );
        let optional = OPTIONAL.iter().find(|(layer, _)| *layer == finding.layer);
        if in_groups && !parents.is_empty() {
            let lost = parents.remove(failure.index.min(parents.len() - 1));
            if !lost.memory {
                // Processes are limited, and CPU time is summed, without a cgroup too.
                continue;
            }
        } else if flags & flag::LENT_IDS != 0 {
            // It works without, or what fails then says why.
            flags &= !(flag::LENT_IDS | flag::PRIVILEGED);
            lent = Err(finding.reason());
            continue;
        } else if failure.stage == Stage::UnshareCgroup && flags & flag::CGROUP_NS != 0 {
            // Hides nothing that is mounted; not a layer.
            flags &= !flag::CGROUP_NS;
            continue;
        } else if failure.stage == Stage::UnshareTime && flags & flag::TIME != 0 {
            flags &= !flag::TIME;
            if failure.errno == Errno::EINVAL {
                // The kernel has none, and so no inode of it that jobs would share.
                continue;
            }
        } else if let Some(bit) = tried(failure.stage).filter(|bit| flags & bit != 0) {
            flags &= !bit;
        } else if let Some((_, bit)) = optional.filter(|(_, bit)| flags & bit != 0)
            && failure.stage != Stage::UnshareUser
            && failure.stage != Stage::UserMap
        {
            flags &= !bit;
        } else if flags & flag::NAMESPACES != 0 {
            // What a process can take from itself is left.
            flags &= WITHOUT_NAMESPACES;
            flags |= if host.changes_ids { flag::PRIVILEGED } else { 0 };
            flags |= if asked.exclusive { flag::OWN_USER } else { 0 };
            // What was found about namespaces concerns nobody any more.
            findings.retain(|finding: &Finding| {
                let of_a_process = |(layer, bit): &(Layer, u64)| {
                    *layer == finding.layer && bit & WITHOUT_NAMESPACES != 0
                };
                finding.layer == Layer::Memory || OPTIONAL.iter().any(of_a_process)
            });
            no_namespaces = Some(finding);
            continue;
        } else {
            fatal = Some(finding);
            break;
        }
        findings.push(finding);
    }
    if let Some(cause) = findings.iter().find(|finding| finding.layer == Layer::Cleanup) {
        // PID 1 cannot make itself unreadable either.
        findings.push(Finding { layer: Layer::SupervisorHidden, ..cause.clone() });
    }
    if let Some(cause) = no_namespaces {
        // What stands in depends on what was found after that.
        let stand_ins = without_namespaces(&cause, flags);
        findings.splice(0..0, stand_ins);
        if !asked.unswept.is_empty() {
            findings.extend([Layer::PrivateTmp, Layer::Cleanup].map(|layer| unswept(layer, asked)));
        }
    }
    if flags & flag::NAMESPACES == 0 && flags & flag::CAPABILITIES != 0 {
        if flags & flag::NO_NEW_PRIVS == 0 {
            // The job's own mounts are nosuid; the host's are not.
            findings.push(regains_by_exec());
        } else if flags & flag::PRIVILEGED == 0 {
            findings.push(keeps_bounding_set());
        }
    }
    let shares_user = flags & flag::NAMESPACES != 0
        && flags & (flag::PRIVILEGED | flag::TAKE_IDS) == 0
        && !findings.iter().any(|finding| finding.layer == Layer::User);
    if shares_user {
        findings.push(shared_user(lent.err()));
    }
    let memory = parents.iter().find(|parent| parent.memory);
    if memory.is_none() && !findings.iter().any(|f| f.layer == Layer::Memory) {
        findings.push(no_memory_cgroup());
    }
    if let Some(Parent { outside_of: Some(unit), path, .. }) = memory {
        findings.push(beside_unit(unit, path));
    }
    let memory_by = match memory {
        Some(parent) => format!("cgroup v{} at {}", parent.version, parent.path.display()),
        None => "rlimits and a watcher every 10 ms".to_owned(),
    };
    let enforcement = match &fatal {
        Some(_) => Enforcement::none(),
        None => {
            let all = enforcement(&findings);
            asked.left_out.iter().fold(all, |all, layer| all.with(*layer, LayerState::Off))
        }
    };
    findings.retain(|finding| !asked.left_out.contains(&finding.layer));
    let mut named = BTreeSet::new();
    findings.retain(|finding| named.insert(finding.layer));
    let report = ProbeReport {
        enforcement,
        findings,
        fatal,
        shares_user,
        memory_by,
        kernel: kernel(),
        took: since.elapsed(),
    };
    Ok(Probed { report, flags, parents })
}

/// The switch of a claim that was tried and does not hold.
fn tried(stage: Stage) -> Option<u64> {
    match stage {
        Stage::ProcessLimit => Some(flag::CHECK_PROCESSES),
        Stage::Hidden => Some(flag::CHECK_HIDDEN),
        _ => None,
    }
}

/// Everything in force except what was found missing.
fn enforcement(findings: &[Finding]) -> Enforcement {
    // The first of a layer's findings is its cause, here as in a refusal.
    let found: BTreeMap<_, _> = findings.iter().rev().map(|f| (f.layer, f.reason())).collect();
    let ours = DEFAULT_REQUIRED.into_iter().chain([Layer::Memory]);
    ours.fold(Enforcement::none(), |all, layer| {
        let state = match found.get(&layer) {
            Some(reason) => LayerState::Degraded(reason.clone()),
            None => LayerState::Enforced,
        };
        all.with(layer, state)
    })
}

/// Layers that need namespaces, and what stands in for each where there are none.
fn stand_ins(flags: u64) -> Vec<(Layer, &'static str)> {
    let has = |bit: u64| flags & bit != 0;
    let pick = |bit, yes, no| if has(bit) { yes } else { no };
    let mut all = vec![
        (Layer::User, "the job has an id of the host's"),
        (
            Layer::Mount,
            pick(
                flag::LANDLOCK,
                "Landlock alone keeps the job from the host's files",
                "nothing but its user keeps the job from the host's files",
            ),
        ),
        (
            Layer::Pid,
            pick(
                flag::OWN_USER,
                "the job sees the host's processes, and its own are known by their user",
                "the job sees the host's processes, and its tree is followed by reparenting",
            ),
        ),
        (
            Layer::Network,
            pick(
                flag::SECCOMP,
                "the filter leaves unix sockets only",
                "nothing keeps the job from the host's network",
            ),
        ),
        (Layer::Ipc, "the job shares the host's IPC"),
        (Layer::Uts, "the job sees the host's name"),
        (
            Layer::Disk,
            pick(
                flag::OWN_USER,
                "a watcher looks every 10 ms",
                "only the size of a file is limited",
            ),
        ),
        (
            Layer::SupervisorHidden,
            pick(
                flag::OWN_USER,
                "the job can signal its supervisor, but not read it",
                "the job can see its supervisor",
            ),
        ),
    ];
    if !has(flag::OWN_USER) {
        // Where user and folder are the job's alone, the kernel limits the user's processes, and
        // everything of the user and in the folder goes after each job.
        all.extend([
            (Layer::Processes, "a limit of the user's processes stands in"),
            (Layer::PrivateTmp, "a folder of the job's own, and the host's cannot be written"),
            (Layer::Cleanup, "a loop kills the tree"),
        ]);
    }
    all
}

/// The step that failed comes first: it is what a refusal names.
fn without_namespaces(cause: &Finding, flags: u64) -> Vec<Finding> {
    let mut findings = vec![cause.clone()];
    for (layer, instead) in stand_ins(flags) {
        let step = format!("{} ({instead})", cause.step);
        if layer == cause.layer {
            findings[0].step = step;
        } else {
            findings.push(Finding { layer, step, ..cause.clone() });
        }
    }
    findings
}

fn unswept(layer: Layer, asked: Asked<'_>) -> Finding {
    Finding {
        layer,
        step: "look for writable folders".into(),
        cause: format!("a job can write {}, which nobody empties", asked.unswept.join(" and ")),
        remedy: "make them read-only in the image, or remove them".into(),
    }
}

fn regains_by_exec() -> Finding {
    Finding {
        layer: Layer::Capabilities,
        step: "drop capabilities".into(),
        cause: "the sets are empty, but without no_new_privs and mounts of its own the job can \
                regain rights from a set-user-id program of the host"
            .into(),
        remedy: "run where prctl or namespaces are allowed".into(),
    }
}

fn keeps_bounding_set() -> Finding {
    Finding {
        layer: Layer::Capabilities,
        step: "drop capabilities".into(),
        cause:
            "an ordinary user may not empty the bounding set, which no_new_privs makes useless; \
                the other sets are empty"
                .into(),
        remedy: "run as root, or where user namespaces are allowed".into(),
    }
}

fn beside_unit(unit: &Path, parent: &Path) -> Finding {
    Finding {
        layer: Layer::Memory,
        step: "find a cgroup within the application's unit".into(),
        cause: format!(
            "jobs are limited, but beneath {}, outside of {}: what limits the application does not \
             limit them",
            parent.display(),
            unit.display()
        ),
        remedy: "start the application with systemd's Delegate=yes and DelegateSubgroup=, or in a \
                 scope: systemd-run --scope -p Delegate=yes COMMAND, and hand memory and pids on \
                 to its children"
            .into(),
    }
}

fn shared_user(why: Option<String>) -> Finding {
    Finding {
        layer: Layer::User,
        step: "give the job a user of its own".into(),
        cause: format!(
            "{}; the job has the application's user on the host, and with it shares what the kernel \
             counts per user: descriptors in flight, watches of epoll, pages of pipes",
            why.unwrap_or_else(|| "the host lends no ids".into())
        ),
        remedy:
            "lend ids (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER) and \
                 install newuidmap (Debian: uidmap), on Linux 6.3 or newer; or run as root"
                .into(),
    }
}

fn no_memory_cgroup() -> Finding {
    Finding {
        layer: Layer::Memory,
        step: "find a writable cgroup".into(),
        cause: "no memory controller of cgroup v2 is delegated to this process and none of \
                cgroup v1 is writable, so a watcher sums the tree every 10 ms"
            .into(),
        remedy: "run under systemd with Delegate=yes, or as root".into(),
    }
}
