//! What a model is told about the tool, in the form that each API takes.

use std::fmt::Write as _;

use sandbox_core::{Error, ErrorKind, JobSpec, Network, Result};
use serde_json::{Value, json};

use super::arguments::Rules;
use super::files::KeptFile;
use super::report::list;

/// A tool's name, description and arguments.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Definition {
    /// The name.
    pub name: String,
    /// What it does, what it has and what it keeps, for the model.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
    /// Whether programs reach the network.
    network: bool,
}

impl Definition {
    pub(crate) fn new(name: &str, rules: &Rules, job: &JobSpec, files: &[KeptFile]) -> Self {
        let limits = &job.limits;
        let network = match job.network {
            Network::Denied => "There is no network: nothing can be downloaded or installed.",
            _ => "The network can be used.",
        };
        let draws = |language: &String| matches!(language.as_str(), "python" | "r");
        let figures = match rules.languages.iter().any(draws) {
            true => "Figures of matplotlib and R are shown when the program shows them or ends. ",
            false => "",
        };
        let mut description = format!(
            "Runs a program and returns what it printed, how it ended, and its figures. Print what \
             you need to see. Each call starts a new process: variables, imports and background \
             processes do not last, but files in the working directory do, for later calls. \
             {figures}Pictures are shown when they are saved as PNG. {network} A program has {}, {} of memory and {} \
             for files, and sees no terminal and no standard input.",
            seconds(rules.usual),
            limits.memory,
            limits.workspace(),
        );
        if !files.is_empty() {
            let _ = write!(description, "\nFiles in the working directory:\n{}", list(files, &[]));
        }
        Self {
            name: name.to_owned(),
            description,
            parameters: rules.schema(),
            network: job.network != Network::Denied,
        }
    }

    /// For the OpenAI Chat Completions API, and what is compatible with it.
    pub fn openai_chat(&self) -> Value {
        json!({ "type": "function", "function": {
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }})
    }

    /// For the OpenAI Responses API.
    pub fn openai_responses(&self) -> Value {
        json!({
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            // Strict, which would be the default there, makes every field one that must be given.
            "strict": false,
        })
    }

    /// For the Anthropic Messages API.
    pub fn anthropic(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "input_schema": self.parameters,
        })
    }

    /// For the Model Context Protocol.
    pub fn mcp(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "inputSchema": self.parameters,
            // What it may destroy is its own files.
            "annotations": { "readOnlyHint": false, "destructiveHint": false, "openWorldHint": self.network },
        })
    }
}

pub(crate) fn seconds(duration: std::time::Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds == 1.0 { "1 second".into() } else { format!("{seconds} seconds") }
}

/// The names that every API takes.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        let message = format!("{name:?} is no tool's name; give 1 to 64 letters, digits, - and _");
        return Err(Error::new(ErrorKind::InvalidJob, "name", message));
    }
    Ok(())
}
