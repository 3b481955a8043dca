//! XML as services write it, as JSON: lists are elements whose children are all called `item` or
//! `member`, or names that occur more than once.

use roxmltree::{Document, Node};
use serde_json::{Map, Value};

/// The content of the root element.
pub(super) fn to_json(text: &str) -> Result<Value, String> {
    let document = Document::parse(text).map_err(|error| error.to_string())?;
    Ok(convert(document.root_element()))
}

fn convert(node: Node<'_, '_>) -> Value {
    let children: Vec<_> = node.children().filter(Node::is_element).collect();
    let called = |name: &str| children.iter().all(|child| child.tag_name().name() == name);
    if children.is_empty() {
        return Value::String(node.text().unwrap_or_default().trim().to_owned());
    }
    if called("item") || called("member") {
        return children.into_iter().map(convert).collect();
    }
    let mut object = Map::new();
    for child in children {
        let value = convert(child);
        match object.get_mut(child.tag_name().name()) {
            None => {
                object.insert(child.tag_name().name().to_owned(), value);
            }
            Some(Value::Array(all)) => all.push(value),
            Some(one) => *one = Value::Array(vec![one.take(), value]),
        }
    }
    Value::Object(object)
}

/// A list, also one that has a single entry or none.
pub(super) fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        one => vec![one],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_lists() {
        let text = "<R><set><item><id>1</id></item></set><none/><Rule>a</Rule><Rule>b</Rule></R>";
        let value = to_json(text).expect("XML");
        let expected = json!({ "set": [{ "id": "1" }], "none": "", "Rule": ["a", "b"] });
        assert_eq!(value, expected);
        assert!(list(&value["none"]).is_empty() && list(&value["missing"]).is_empty());
        assert!(to_json("<R>").is_err());
    }
}
