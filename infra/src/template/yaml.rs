//! YAML with CloudFormation's tags, as JSON with the long names of functions.

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value, json};

use super::TemplateError;

/// Reads one document.
pub(super) fn parse(place: &str, text: &str) -> Result<Value, TemplateError> {
    let wrong = |why: String| TemplateError::Yaml { place: place.to_owned(), why };
    let documents = Yaml::load_from_str(text).map_err(|error| wrong(error.to_string()))?;
    match &documents[..] {
        [document] => convert(document).map_err(wrong),
        documents => Err(wrong(format!("it has {} documents", documents.len()))),
    }
}

fn convert(node: &Yaml<'_>) -> Result<Value, String> {
    Ok(match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.into_inner()),
        Yaml::Value(Scalar::String(text)) => Value::String(text.to_string()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(convert).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut object = Map::new();
            for (key, value) in entries {
                let key = match key {
                    // YAML 1.1 merges that into the object.
                    Yaml::Value(Scalar::String(text)) if text != "<<" => text.to_string(),
                    other => return Err(format!("a key is {other:?}")),
                };
                object.insert(key, convert(value)?);
            }
            Value::Object(object)
        }
        Yaml::Tagged(tag, inner) if tag.handle == "!" => function(&tag.suffix, convert(inner)?)?,
        other => return Err(format!("it has something that CloudFormation does not: {other:?}")),
    })
}

/// `!Ref X` is `{"Ref": X}`, `!GetAtt A.B` is `{"Fn::GetAtt": ["A", "B"]}`.
fn function(name: &str, argument: Value) -> Result<Value, String> {
    Ok(match (name, argument) {
        ("Ref" | "Condition", argument) => json!({ name: argument }),
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.').ok_or("!GetAtt has no attribute")?;
            json!({ "Fn::GetAtt": [resource, attribute] })
        }
        (name, argument) => json!({ format!("Fn::{name}"): argument }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_functions() {
        let text = "a: !Ref X\nb: !GetAtt R.Arn\nc: !If [C, !Sub 'x-${Y}', 3]\nd: [true, null]\n";
        let expected = json!({
            "a": { "Ref": "X" },
            "b": { "Fn::GetAtt": ["R", "Arn"] },
            "c": { "Fn::If": ["C", { "Fn::Sub": "x-${Y}" }, 3] },
            "d": [true, null],
        });
        assert_eq!(parse("test", text).expect("YAML"), expected);
    }

    #[test]
    fn what_is_no_template_is_an_error() {
        for text in ["", "a: [", "--- 1\n--- 2\n", "a: !!binary aGk=\n", "a: {<<: {b: c}}\n"] {
            let result = parse("test", text);
            assert!(result.is_err(), "{text:?}: {result:?}");
        }
    }
}
