//! The attacks.

use super::canary::Canaries;
use super::{Found, small};
use crate::{Layer, Limits, Outcome};

/// One attack: Python that tries something and says how it went.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// Layers each of which holds it.
    pub(super) layers: &'static [Layer],
    pub(super) steps: Steps,
    /// What the caller sees for itself once the first job has ended.
    pub(super) judge: fn(&Outcome, &Canaries) -> Option<Found>,
    /// Whether the job has the least limits, into which the attack runs.
    tight: bool,
}

impl Attack {
    pub(super) fn is_tight(&self) -> bool {
        self.tight
    }

    pub(super) fn limits(&self) -> Limits {
        if self.tight { small() } else { Limits::default() }
    }
}

/// The jobs of an attack.
#[derive(Clone, Copy)]
pub(super) enum Steps {
    Alone(&'static str),
    OneAfterTheOther(&'static str, &'static str),
    /// The second starts when the first has said its first word.
    Together(&'static str, &'static str),
}

pub(super) const PRELUDE: &str = include_str!("attacks/prelude.py");

const fn alone(name: &'static str, layers: &'static [Layer], script: &'static str) -> Attack {
    Attack { name, layers, steps: Steps::Alone(script), judge: |_, _| None, tight: false }
}

const fn tight(name: &'static str, layers: &'static [Layer], script: &'static str) -> Attack {
    Attack { tight: true, ..alone(name, layers, script) }
}

macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("attacks/", $name, ".py"))
    };
}

/// In the order in which reports list them.
pub(super) const ATTACKS: &[Attack] = &[
    alone("be a user of the host", &[Layer::User], script!("ids")),
    Attack {
        steps: Steps::Together(script!("flight_fill"), script!("flight_send")),
        ..alone("use up descriptors in flight", &[Layer::User], "")
    },
    alone("read files of the host", &[Layer::Mount], script!("host_files")),
    Attack {
        judge: links_collected,
        ..alone("have files of the host collected", &[Layer::Mount], script!("link_out"))
    },
    alone("see locks of others", &[Layer::Mount], script!("locks_of_others")),
    alone("see processes of others", &[Layer::Pid], script!("processes_of_others")),
    alone("reach the supervisor", &[Layer::SupervisorHidden], script!("supervisor")),
    alone("connect to a service on loopback", &[Layer::Network], script!("loopback")),
    alone("connect to an abstract socket", &[Layer::Network], script!("abstract_socket")),
    alone("list sockets of the host", &[Layer::Network], script!("socket_tables")),
    alone("ask a name server", &[Layer::Network, Layer::Vpc], script!("name_server")),
    alone("reach the metadata service", &[Layer::Network, Layer::Vpc], script!("metadata")),
    alone("find a route to the internet", &[Layer::Network, Layer::Vpc], script!("route")),
    Attack {
        steps: Steps::Together(script!("shared_memory_make"), script!("shared_memory_find")),
        ..alone("find another job's shared memory", &[Layer::Ipc], "")
    },
    alone("learn the host's name", &[Layer::Uts], script!("host_name")),
    alone("gain rights by exec", &[Layer::NoNewPrivs], script!("set_user_id")),
    alone("have a capability", &[Layer::Capabilities], script!("capabilities")),
    alone("set up io_uring", &[Layer::Seccomp], script!("io_uring")),
    alone("call keyctl, add_key and bpf", &[Layer::Seccomp], script!("kernel_calls")),
    alone("nest a user namespace", &[Layer::Seccomp], script!("nested_namespace")),
    alone("make a child for the supervisor", &[Layer::Seccomp], script!("child_of_supervisor")),
    alone("lower the priority of others", &[Layer::Seccomp], script!("lower_others")),
    alone("watch a folder of the host", &[Layer::Seccomp], script!("watch_folder")),
    alone("read past the host's cache", &[Layer::Seccomp], script!("past_cache")),
    alone("type into the terminal", &[Layer::Seccomp], script!("terminal")),
    alone("write to /proc", &[Layer::Landlock], script!("proc_write")),
    tight("open files without end", &[Layer::Rlimits], script!("open_files")),
    tight("take memory without end", &[Layer::Memory], script!("memory")),
    tight("fork without end", &[Layer::Processes], script!("fork_bomb")),
    tight("fill the disk", &[Layer::Disk], script!("disk_fill")),
    alone("inherit variables", &[Layer::Environment], script!("environment")),
    alone("inherit descriptors", &[Layer::Descriptors], script!("descriptors")),
    alone("find temporary files of others", &[Layer::PrivateTmp], script!("temporary_files")),
    Attack {
        steps: Steps::OneAfterTheOther(script!("leave_files"), script!("find_files")),
        ..alone("leave files for a later job", &[Layer::Cleanup], "")
    },
    Attack {
        steps: Steps::OneAfterTheOther(script!("leave_process"), script!("find_process")),
        judge: daemon_lives,
        ..alone("outlive the job", &[Layer::Cleanup], "")
    },
];

/// What is attacked around a sandbox, when somebody says what there is.
pub(super) const AROUND: &[Attack] = &[
    alone("connect to the internet", &[Layer::Network, Layer::Vpc], script!("internet")),
    alone("look up a name", &[Layer::Network, Layer::Vpc], script!("look_up")),
    alone("read a stranger's object", &[Layer::Network, Layer::Vpc], script!("foreign_object")),
    alone("answer in the runner's place", &[Layer::SupervisorHidden], script!("runtime_api")),
];

/// Not an attack: what there is, in lines.
pub(super) const MECHANISMS: Attack = alone("ask", &[Layer::Seccomp], script!("mechanisms"));

/// None of the links may have come back as a file.
fn links_collected(outcome: &Outcome, _: &Canaries) -> Option<Found> {
    let left = outcome.stdout.text().lines().any(|line| line.starts_with("left: "));
    if !left {
        return None;
    }
    let came: Vec<_> = outcome.artifacts.iter().map(|artifact| artifact.path()).collect();
    Some(match came.as_slice() {
        [] => Found::Held(format!("{} links were left where they are", outcome.skipped.len())),
        _ => Found::Broke(format!("collected: {}", came.join(" "))),
    })
}

/// Where jobs run on the caller's own kernel, the caller sees what is alive.
fn daemon_lives(_: &Outcome, canaries: &Canaries) -> Option<Found> {
    let pid = canaries.daemon()?;
    Some(Found::Broke(format!("process {pid} is alive after its job's outcome")))
}
