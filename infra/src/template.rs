//! CloudFormation templates, as far as a check needs them.
//!
//! A template is evaluated for every choice that its parameters leave open, so that nothing hides
//! behind a condition. What is unknown before a deployment, an id for instance, becomes a name in
//! braces: `{Vpc}` is what `!Ref Vpc` will be, `{Role.Arn}` what `!GetAtt Role.Arn` will.

mod evaluate;
mod read;
mod strange;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::model::Deployment;
use crate::rules::{Finding, check};
use evaluate::Scope;
use sandbox_core::Verdict;

/// Templates that are deployed together, read and not yet evaluated.
#[derive(Clone, Debug)]
pub struct Template {
    documents: Vec<Value>,
}

/// Why a template cannot be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is no YAML.
    #[error("{place} is no YAML: {why}")]
    Yaml {
        /// Which.
        place: String,
        /// Why not.
        why: String,
    },
    /// It uses something that a check cannot see through.
    #[error("{0}; a check cannot see through that")]
    Opaque(String),
    /// Something is missing or of the wrong kind.
    #[error("{0}")]
    Wrong(String),
}

/// What is chosen at a deployment.
#[derive(Clone, Debug, Default)]
struct Choice {
    /// The values of parameters, by template and name.
    parameters: BTreeMap<(usize, String), Value>,
    /// What comparisons in conditions come to, whatever is compared: by template and comparison.
    comparisons: BTreeMap<(usize, String), bool>,
    /// What differs from the defaults, for people.
    what: String,
}

/// Comparisons of which every combination is evaluated.
const MOST_COMPARISONS: usize = 8;

impl Template {
    /// Reads templates. Those after the first may import what an earlier one exports; the first
    /// one's stack is called `sandbox`, which is what later ones take it to be by default.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is no template.
    pub fn read<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Self, TemplateError> {
        let mut documents = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let text = std::fs::read_to_string(path)
                .map_err(|source| TemplateError::Read { path: path.to_owned(), source })?;
            documents.push(yaml::parse(&path.display().to_string(), &text)?);
        }
        Self::from_documents(documents)
    }

    /// Takes templates in their JSON form, with functions by their long names.
    ///
    /// # Errors
    ///
    /// As for [`read`](Self::read).
    pub fn from_documents(documents: Vec<Value>) -> Result<Self, TemplateError> {
        for document in &documents {
            if !document["Resources"].is_object() {
                return Err(TemplateError::Wrong("a template has no Resources".into()));
            }
            if !document["Transform"].is_null() {
                return Err(TemplateError::Opaque("a template has a Transform".into()));
            }
        }
        Ok(Self { documents })
    }

    /// Their JSON form.
    pub fn documents(&self) -> &[Value] {
        &self.documents
    }

    /// Judges what would be deployed: with the default parameters every promise must be kept;
    /// with any others, none may be broken, and what is then not promised is named.
    ///
    /// # Errors
    ///
    /// A template that cannot be evaluated.
    pub fn check(&self) -> Result<Vec<Finding>, TemplateError> {
        let mut choices = self.choices()?.into_iter();
        let Some(default) = choices.next() else {
            return Err(TemplateError::Wrong("there is no template".into()));
        };
        let mut findings = check(&self.deployment(&default)?);
        for finding in &mut findings {
            if finding.verdict == Verdict::Open {
                finding.verdict = Verdict::Broken;
            }
        }
        for choice in choices {
            let other = check(&self.deployment(&choice)?);
            for (finding, other) in findings.iter_mut().zip(other) {
                if finding.verdict != Verdict::Held || other.verdict == Verdict::Held {
                    continue;
                }
                let of = &choice.what;
                if other.verdict == Verdict::Open {
                    // Once, and not for each way to choose it.
                    if !finding.evidence.contains("(not so with") {
                        finding.evidence += &format!(" (not so with {of})");
                    }
                } else {
                    finding.verdict = other.verdict;
                    finding.evidence = format!("with {of}: {}", other.evidence);
                }
            }
        }
        Ok(findings)
    }

    /// The defaults, then each value that a parameter may have instead, then every combination of
    /// what conditions compare.
    fn choices(&self) -> Result<Vec<Choice>, TemplateError> {
        let mut default = Choice::default();
        let mut others = Vec::new();
        let mut comparisons = Vec::new();
        for (index, document) in self.documents.iter().enumerate() {
            let imported = evaluate::imported(document);
            for (name, parameter) in object(&document["Parameters"]) {
                let unknown = Value::String(format!("{{{name}}}"));
                let key = (index, name.clone());
                let value = match &parameter["Default"] {
                    Value::Null => unknown.clone(),
                    default => default.clone(),
                };
                default.parameters.insert(key.clone(), value);
                match parameter["AllowedValues"].as_array() {
                    Some(allowed) => {
                        others.extend(allowed.iter().map(|v| (key.clone(), v.clone())))
                    }
                    None if parameter["Type"] == "Number" => {
                        let bounds = ["MinValue", "MaxValue"].map(|bound| parameter[bound].clone());
                        let bounds = bounds.into_iter().filter(|bound| !bound.is_null());
                        others.extend(bounds.map(|bound| (key.clone(), bound)));
                    }
                    // Which stack the others' values come from is no choice of this kind.
                    None if imported.contains(name) => {}
                    None => others.push((key, unknown)),
                }
            }
            comparisons.extend(evaluate::comparisons(document).into_iter().map(|c| (index, c)));
        }
        comparisons.sort();
        comparisons.dedup();
        if comparisons.len() > MOST_COMPARISONS {
            let message = format!("conditions make more than {MOST_COMPARISONS} comparisons");
            return Err(TemplateError::Opaque(message));
        }
        let mut choices = vec![default.clone()];
        for (key, value) in others {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut choice = Choice { what: format!("{}={text}", key.1), ..default.clone() };
            choice.parameters.insert(key, value);
            choices.push(choice);
        }
        for combination in 0..1_usize << comparisons.len() {
            let holds = |bit: usize| combination >> bit & 1 == 1;
            let each = comparisons.iter().enumerate().map(|(bit, key)| (key.clone(), holds(bit)));
            let mut choice = Choice { comparisons: each.collect(), ..default.clone() };
            let texts = choice.comparisons.iter().map(|((_, of), holds)| format!("{of} {holds}"));
            choice.what = texts.collect::<Vec<_>>().join(", ");
            choices.push(choice);
        }
        Ok(choices)
    }

    /// What is deployed with these parameters.
    fn deployment(&self, choice: &Choice) -> Result<Deployment, TemplateError> {
        let mut resources = Map::new();
        let mut exports = BTreeMap::new();
        for (index, document) in self.documents.iter().enumerate() {
            let stack = if index == 0 { "sandbox" } else { "another" };
            let mut scope = Scope::new(document, index, choice, stack, &exports);
            for (name, resource) in scope.resources()? {
                if resources.insert(name.clone(), resource).is_some() {
                    let message = format!("two templates have a resource {name}");
                    return Err(TemplateError::Wrong(message));
                }
            }
            let own = scope.exports()?;
            exports.extend(own);
        }
        read::deployment(&resources, choice)
    }
}

/// The entries of an object; none, if it is not one.
fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
