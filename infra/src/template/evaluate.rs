//! Intrinsic functions, conditions and exports.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Choice, TemplateError, object};

/// Exports of templates that came before.
type Exports = BTreeMap<String, Value>;

/// One template, with its parameters chosen.
pub(super) struct Scope<'a> {
    document: &'a Value,
    index: usize,
    choice: &'a Choice,
    stack: &'a str,
    imports: &'a Exports,
}

/// What is left of a property whose value is `AWS::NoValue`.
fn is_nothing(value: &Value) -> bool {
    *value == json!({ "Ref": "AWS::NoValue" })
}

fn wrong<T>(what: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError::Wrong(what.into()))
}

/// What conditions compare.
pub(super) fn comparisons(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(&document["Conditions"], &mut |name, argument| {
        if name == "Fn::Equals" {
            found.push(argument.to_string());
        }
    });
    found
}

/// Parameters that say what is imported.
pub(super) fn imported(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(document, &mut |name, argument| {
        if name == "Fn::ImportValue" {
            let text = argument.to_string();
            for (parameter, _) in object(&document["Parameters"]) {
                if text.contains(&format!("${{{parameter}}}"))
                    || text.contains(&format!("\"{parameter}\""))
                {
                    found.insert(parameter.clone());
                }
            }
        }
    });
    found
}

/// Visits every entry of every object.
fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(entries) => {
            for (name, item) in entries {
                visit(name, item);
                walk(item, visit);
            }
        }
        _ => {}
    }
}

impl<'a> Scope<'a> {
    pub(super) fn new(
        document: &'a Value,
        index: usize,
        choice: &'a Choice,
        stack: &'a str,
        imports: &'a Exports,
    ) -> Self {
        Self { document, index, choice, stack, imports }
    }

    /// The resources that there are, with their properties evaluated.
    pub(super) fn resources(&mut self) -> Result<Map<String, Value>, TemplateError> {
        let mut resources = Map::new();
        for (name, resource) in object(&self.document["Resources"]) {
            if let Some(condition) = resource["Condition"].as_str()
                && !self.condition(&json!({ "Condition": condition }), 0)?
            {
                continue;
            }
            let properties = self.value(&resource["Properties"], 0)?;
            resources.insert(
                name.clone(),
                json!({ "Type": resource["Type"], "Properties": properties }),
            );
        }
        Ok(resources)
    }

    /// What other templates may import.
    pub(super) fn exports(&self) -> Result<Exports, TemplateError> {
        let mut exports = Exports::new();
        for (_, output) in object(&self.document["Outputs"]) {
            if let Some(condition) = output["Condition"].as_str()
                && !self.condition(&json!({ "Condition": condition }), 0)?
            {
                continue;
            }
            if !output["Export"].is_null() {
                let name = self.text(&output["Export"]["Name"], 0)?;
                let value = self.value(&output["Value"], 0)?;
                if exports.insert(name.clone(), value).is_some() {
                    return wrong(format!("two outputs export {name}"));
                }
            }
        }
        Ok(exports)
    }

    fn value(&self, value: &Value, depth: usize) -> Result<Value, TemplateError> {
        if depth > 64 {
            return wrong("functions are nested too deeply");
        }
        Ok(match value {
            Value::Array(items) => {
                let items: Result<Vec<_>, _> =
                    items.iter().map(|item| self.value(item, depth + 1)).collect();
                Value::Array(items?.into_iter().filter(|item| !is_nothing(item)).collect())
            }
            Value::Object(entries) => {
                let only = (entries.len() == 1).then(|| entries.iter().next()).flatten();
                match only {
                    Some((name, argument)) if name == "Ref" => self.reference(argument)?,
                    Some((name, argument)) if name.starts_with("Fn::") => {
                        self.function(name, argument, depth + 1)?
                    }
                    _ => {
                        let mut evaluated = Map::new();
                        for (name, value) in entries {
                            let value = self.value(value, depth + 1)?;
                            if !is_nothing(&value) {
                                evaluated.insert(name.clone(), value);
                            }
                        }
                        Value::Object(evaluated)
                    }
                }
            }
            other => other.clone(),
        })
    }

    fn text(&self, value: &Value, depth: usize) -> Result<String, TemplateError> {
        match self.value(value, depth)? {
            Value::String(text) => Ok(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            other => wrong(format!("{other} is no text")),
        }
    }

    fn reference(&self, name: &Value) -> Result<Value, TemplateError> {
        let Some(name) = name.as_str() else { return wrong(format!("Ref of {name}")) };
        if name == "AWS::NoValue" {
            return Ok(json!({ "Ref": name }));
        }
        if name == "AWS::StackName" {
            return Ok(self.stack.into());
        }
        if self.document["Parameters"][name].is_object() {
            let value = self.choice.parameters.get(&(self.index, name.to_owned()));
            return Ok(value.cloned().unwrap_or_default());
        }
        let known = name.starts_with("AWS::") || self.document["Resources"][name].is_object();
        if known { Ok(format!("{{{name}}}").into()) } else { wrong(format!("there is no {name}")) }
    }

    fn function(&self, name: &str, argument: &Value, depth: usize) -> Result<Value, TemplateError> {
        let parts = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        match (name, parts) {
            ("Fn::GetAtt", [resource, attribute]) => {
                self.reference(resource)?;
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                Ok(format!("{{{}.{}}}", text(resource), text(attribute)).into())
            }
            ("Fn::Sub", _) => self.substitute(argument, depth),
            ("Fn::Join", [separator, items]) => {
                let items = self.value(items, depth)?;
                let texts: Result<Vec<_>, _> = items
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|item| self.text(item, depth))
                    .collect();
                Ok(texts?.join(separator.as_str().unwrap_or_default()).into())
            }
            ("Fn::Split", [separator, text]) => {
                let text = self.text(text, depth)?;
                Ok(text.split(separator.as_str().unwrap_or_default()).collect())
            }
            ("Fn::Select", [index, items]) => {
                let items = self.value(items, depth)?;
                let at = index.as_u64().or_else(|| index.as_str()?.parse().ok());
                let at = at.and_then(|at| usize::try_from(at).ok()).unwrap_or_default();
                match &items {
                    // A list that is known only when it is deployed.
                    Value::String(list) => Ok(format!("{list}[{at}]").into()),
                    items => Ok(items.get(at).cloned().unwrap_or_default()),
                }
            }
            ("Fn::GetAZs", _) => Ok("{zones}".into()),
            ("Fn::If", [condition, yes, no]) => {
                let holds = self.condition(&json!({ "Condition": condition }), depth)?;
                self.value(if holds { yes } else { no }, depth)
            }
            ("Fn::ImportValue", _) => {
                let name = self.text(argument, depth)?;
                let found = self.imports.get(&name).cloned();
                found.map_or_else(|| wrong(format!("nothing exports {name}")), Ok)
            }
            _ => Err(TemplateError::Opaque(format!("{name} is used"))),
        }
    }

    /// `text with ${Name} and ${Resource.Attribute}`, or that and a map of names.
    fn substitute(&self, argument: &Value, depth: usize) -> Result<Value, TemplateError> {
        let (text, names) = match argument {
            Value::String(text) => (text.as_str(), &Value::Null),
            Value::Array(parts) => match &parts[..] {
                [Value::String(text), names] => (text.as_str(), names),
                _ => return wrong("Fn::Sub has another form"),
            },
            _ => return wrong("Fn::Sub has another form"),
        };
        let mut result = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let Some((name, left)) = after.split_once('}') else { return wrong("an open ${") };
            result += before;
            result += &match name.strip_prefix('!') {
                Some(literal) => format!("${{{literal}}}"),
                None if !names[name].is_null() => self.text(&names[name], depth)?,
                None => match name.split_once('.') {
                    Some((resource, attribute)) => {
                        self.text(&json!({ "Fn::GetAtt": [resource, attribute] }), depth)?
                    }
                    None => self.text(&json!({ "Ref": name }), depth)?,
                },
            };
            rest = left;
        }
        Ok((result + rest).into())
    }

    fn condition(&self, value: &Value, depth: usize) -> Result<bool, TemplateError> {
        if depth > 64 {
            return wrong("conditions are nested too deeply");
        }
        let only = value.as_object().and_then(|entries| entries.iter().next());
        let Some((name, argument)) = only else { return wrong(format!("condition {value}")) };
        let parts = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        let each = |part: &Value| self.condition(part, depth + 1);
        match (name.as_str(), parts) {
            ("Condition", _) => {
                let condition = &self.document["Conditions"][argument.as_str().unwrap_or_default()];
                self.condition(condition, depth + 1)
            }
            ("Fn::Equals", [a, b]) => {
                let chosen = self.choice.comparisons.get(&(self.index, argument.to_string()));
                match chosen {
                    Some(holds) => Ok(*holds),
                    None => Ok(self.text(a, depth)? == self.text(b, depth)?),
                }
            }
            ("Fn::Not", [part]) => Ok(!each(part)?),
            ("Fn::And", parts) => parts.iter().try_fold(true, |all, part| Ok(all & each(part)?)),
            ("Fn::Or", parts) => parts.iter().try_fold(false, |any, part| Ok(any | each(part)?)),
            _ => Err(TemplateError::Opaque(format!("a condition uses {name}"))),
        }
    }
}
