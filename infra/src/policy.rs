//! Policy documents.

use serde_json::Value;

/// A policy document.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Its statements.
    pub statements: Vec<Statement>,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows, unless another denies.
    Allow,
    /// It denies.
    Deny,
}

/// One statement.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What it does.
    pub effect: Effect,
    /// Whom it concerns; null in policies of an identity.
    pub principal: Value,
    /// Actions that it concerns.
    pub actions: Vec<String>,
    /// Actions that it does not concern, all others being meant.
    pub not_actions: Vec<String>,
    /// Resources that it concerns.
    pub resources: Vec<String>,
    /// Whether it names what it does *not* concern, in place of resources or principals.
    pub inverted: bool,
    /// Its conditions.
    pub conditions: Value,
}

/// What a statement may have.
const KEYS: [&str; 9] = [
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
];

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// What is not as in a policy.
    pub fn parse(document: &Value) -> Result<Self, String> {
        let statements = match &document["Statement"] {
            Value::Array(statements) => statements.iter().collect(),
            Value::Null => return Err("the policy has no statements".into()),
            one => vec![one],
        };
        let statements = statements.into_iter().map(Statement::parse).collect::<Result<_, _>>()?;
        Ok(Self { statements })
    }

    /// Statements that allow.
    pub fn allows(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(|statement| statement.effect == Effect::Allow)
    }

    /// Statements that deny.
    pub fn denies(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter().filter(|statement| statement.effect == Effect::Deny)
    }
}

impl Statement {
    fn parse(value: &Value) -> Result<Self, String> {
        let names = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        if let Some(strange) = names.into_iter().find(|name| !KEYS.contains(name)) {
            return Err(format!("a statement has {strange}, which no statement has"));
        }
        if value["Action"].is_null() == value["NotAction"].is_null() {
            return Err("a statement has neither or both of Action and NotAction".into());
        }
        let effect = match value["Effect"].as_str() {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            _ => return Err(format!("a statement's Effect is {}", value["Effect"])),
        };
        let inverted = !value["NotResource"].is_null() || !value["NotPrincipal"].is_null();
        Ok(Self {
            effect,
            principal: value["Principal"].clone(),
            actions: strings(&value["Action"]),
            not_actions: strings(&value["NotAction"]),
            resources: strings(&value["Resource"]),
            inverted,
            conditions: value["Condition"].clone(),
        })
    }

    /// The values of a condition; keys are written in any case.
    pub fn condition(&self, operator: &str, key: &str) -> Option<Vec<String>> {
        let keys = self.conditions.get(operator)?.as_object()?;
        let found = keys.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))?;
        Some(strings(found.1))
    }

    /// How many conditions there are, all of which must hold.
    pub fn condition_count(&self) -> usize {
        let operators = self.conditions.as_object().into_iter().flat_map(|all| all.values());
        operators.map(|keys| keys.as_object().map_or(1, serde_json::Map::len)).sum()
    }

    /// Whether it concerns everybody.
    pub fn concerns_everybody(&self) -> bool {
        !self.inverted && (self.principal == "*" || strings(&self.principal["AWS"]) == ["*"])
    }
}

/// A string, a number or a list of them.
pub(crate) fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::String(text) => vec![text.clone()],
        Value::Number(_) | Value::Bool(_) => vec![value.to_string()],
        _ => Vec::new(),
    }
}
