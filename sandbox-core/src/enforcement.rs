//! Which isolation is in force.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind};

macro_rules! layers {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// One mechanism of isolation. Backends report the state of each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Layer { $($(#[$doc])* #[serde(rename = $name)] $variant,)+ }

        impl Layer {
            /// Every layer, in the order in which reports list them.
            pub const ALL: &'static [Layer] = &[$(Layer::$variant,)+];

            /// The layer's name in JSON and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Layer::$variant => $name,)+ }
            }
        }
    };
}

layers! {
    /// The job has a user namespace of its own and is nobody outside it.
    User = "user_namespace",
    /// The job sees its own file system tree.
    Mount = "mount_namespace",
    /// The job sees only its own processes.
    Pid = "pid_namespace",
    /// The job has no network but its own loopback.
    Network = "network_namespace",
    /// System V IPC and POSIX message queues are the job's own.
    Ipc = "ipc_namespace",
    /// The host name is the job's own.
    Uts = "uts_namespace",
    /// No exec can add privileges.
    NoNewPrivs = "no_new_privs",
    /// All capability sets are empty.
    Capabilities = "capabilities",
    /// System calls are filtered.
    Seccomp = "seccomp",
    /// File access is restricted a second time, whatever is mounted.
    Landlock = "landlock",
    /// Per-process resource limits are set.
    Rlimits = "rlimits",
    /// The memory of the whole tree is limited.
    Memory = "memory",
    /// The number of processes and threads of the whole tree is limited.
    Processes = "processes",
    /// The bytes and files of the workspace are limited.
    Disk = "disk",
    /// The environment is built from empty.
    Environment = "environment",
    /// The job inherits no descriptor but 0, 1 and 2.
    Descriptors = "descriptors",
    /// `/tmp` is the job's own and empty at the start.
    PrivateTmp = "private_tmp",
    /// Nothing of the job is alive or left when its outcome is reported.
    Cleanup = "cleanup",
    /// The job can neither see nor signal what supervises it.
    SupervisorHidden = "supervisor_hidden",
    /// The job runs in a virtual machine.
    MicroVm = "microvm",
    /// The job's network is a private cloud network without a way out.
    Vpc = "vpc",
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Layer {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.iter().copied().find(|layer| layer.name() == name).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|l| l.name()).collect();
            Error::invalid("layer", format!("unknown layer {name:?}; known: {}", known.join(", ")))
        })
    }
}

/// How far a layer is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "reason", rename_all = "snake_case")]
pub enum LayerState {
    /// In force.
    Enforced,
    /// In force in part, or by a weaker mechanism; the text says which.
    Degraded(String),
    /// Not in force.
    Off,
}

/// The state of every layer during one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Enforcement(BTreeMap<Layer, LayerState>);

impl Enforcement {
    /// A report in which every layer is [`LayerState::Off`].
    pub fn none() -> Self {
        Self(Layer::ALL.iter().map(|layer| (*layer, LayerState::Off)).collect())
    }

    /// Sets the state of a layer.
    #[must_use]
    pub fn with(mut self, layer: Layer, state: LayerState) -> Self {
        self.0.insert(layer, state);
        self
    }

    /// The state of `layer`.
    pub fn state(&self, layer: Layer) -> &LayerState {
        self.0.get(&layer).unwrap_or(&LayerState::Off)
    }

    /// Whether `layer` is fully in force.
    pub fn is_enforced(&self, layer: Layer) -> bool {
        *self.state(layer) == LayerState::Enforced
    }

    /// Every layer with its state.
    pub fn iter(&self) -> impl Iterator<Item = (Layer, &LayerState)> {
        self.0.iter().map(|(layer, state)| (*layer, state))
    }

    /// Refuses unless every layer of `required` is fully in force.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Refused`] with the first layer that is not.
    pub fn require(&self, required: impl IntoIterator<Item = Layer>) -> Result<(), Error> {
        for layer in required {
            let why = match self.state(layer) {
                LayerState::Enforced => continue,
                LayerState::Degraded(reason) => format!("is only partly in force ({reason})"),
                LayerState::Off => "is not offered by this backend".into(),
            };
            let message = format!(
                "required layer {layer} {why}; use another backend, or accept it by name with \
                 allow_degraded"
            );
            return Err(Error::new(ErrorKind::Refused, "require", message).with_layer(layer));
        }
        Ok(())
    }
}
