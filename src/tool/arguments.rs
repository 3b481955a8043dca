//! What a model calls the tool with.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::text::short;

/// Bytes that a program may have.
const MOST_CODE: usize = 1 << 20;
/// Bytes of arguments that are looked at: such a program with all of it escaped, and the rest.
const MOST_TEXT: usize = 6 * MOST_CODE + 4096;
/// Bytes of a parser's complaint, which may quote what it complains about.
const MOST_COMPLAINT: usize = 300;

/// The arguments of a call as they come from an API: text, or JSON that was parsed.
#[derive(Clone, Debug)]
pub struct Arguments(Given);

#[derive(Clone, Debug)]
enum Given {
    Text(String),
    Parsed(Value),
}

impl From<&str> for Arguments {
    fn from(text: &str) -> Self {
        Self(Given::Text(text.to_owned()))
    }
}

impl From<String> for Arguments {
    fn from(text: String) -> Self {
        Self(Given::Text(text))
    }
}

impl From<Value> for Arguments {
    fn from(value: Value) -> Self {
        match value {
            // Some models escape the whole once more.
            Value::String(text) => Self(Given::Text(text)),
            value => Self(Given::Parsed(value)),
        }
    }
}

impl From<Map<String, Value>> for Arguments {
    fn from(map: Map<String, Value>) -> Self {
        Self(Given::Parsed(Value::Object(map)))
    }
}

/// What can be asked for.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) languages: Vec<String>,
    /// How long a program runs when nothing is asked for.
    pub(crate) usual: Duration,
    pub(crate) longest: Duration,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) language: String,
    pub(crate) code: String,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Fields {
    /// The program's language; node is JavaScript.
    language: String,
    /// The whole program: plain source text, without a Markdown fence around it.
    code: String,
    /// Seconds that the program may run.
    #[serde(default)]
    timeout_seconds: Option<f64>,
}

impl Rules {
    /// The JSON Schema of the arguments: the fields above, and what these rules add.
    pub(crate) fn schema(&self) -> Value {
        let mut schema = schemars::schema_for!(Fields).to_value();
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
            schema.remove("title");
        }
        schema["properties"]["language"]["enum"] = json!(self.languages);
        let timeout = json!({
            "type": "number",
            "description": schema["properties"]["timeout_seconds"]["description"],
            "minimum": 0.001,
            "maximum": self.longest.as_secs_f64(),
            "default": self.usual.as_secs_f64(),
        });
        schema["properties"]["timeout_seconds"] = timeout;
        schema
    }
}

impl Arguments {
    /// Checks the arguments; what is wrong is told as a model can correct it.
    pub(crate) fn parse(self, rules: &Rules) -> Result<Asked, String> {
        let is_object = match &self.0 {
            Given::Text(text) if text.len() > MOST_TEXT => return Err(too_long(text.len())),
            Given::Text(text) => text.trim_start().starts_with('{'),
            Given::Parsed(value) => value.is_object(),
        };
        if !is_object {
            let what = "They are not a JSON object; give one with the fields language and code.";
            return Err(what.into());
        }
        let fields: Result<Fields, _> = match self.0 {
            Given::Text(text) => serde_json::from_str(&text),
            Given::Parsed(value) => serde_json::from_value(value),
        };
        let fields = fields.map_err(|error| complaint(&error))?;
        let Fields { language, code, timeout_seconds } = fields;
        if !rules.languages.contains(&language) {
            return Err(format!(
                "language: {:?} is not offered; give one of: {}.",
                short(&language, MOST_COMPLAINT),
                rules.languages.join(", ")
            ));
        }
        if code.len() > MOST_CODE {
            return Err(too_long(code.len()));
        }
        let trimmed = code.trim_start();
        if trimmed.is_empty() {
            return Err("code: it is empty; give the whole program.".into());
        }
        if trimmed.starts_with("```") {
            return Err("code: it is wrapped in a Markdown fence (```); give only the program \
                        between the fences, without any text around it."
                .into());
        }
        if code.contains('\0') {
            return Err("code: it contains a NUL character; write it as an escape.".into());
        }
        Ok(Asked { language, code, timeout: rules.timeout(timeout_seconds)? })
    }
}

impl Rules {
    fn timeout(&self, seconds: Option<f64>) -> Result<Option<Duration>, String> {
        let Some(seconds) = seconds else { return Ok(None) };
        let longest = self.longest.as_secs_f64();
        // A job has at least a millisecond.
        if !(0.001..=longest).contains(&seconds) {
            return Err(format!(
                "timeout_seconds: {seconds} is out of range; give 0.001 to {longest}."
            ));
        }
        Ok(Duration::try_from_secs_f64(seconds).ok())
    }
}

fn too_long(bytes: usize) -> String {
    format!(
        "code: {bytes} bytes are more than a program may have ({MOST_CODE}); let the program make \
         or read its data instead of containing it."
    )
}

fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = match error.classify() {
        serde_json::error::Category::Data => "They do not have the right fields",
        _ => "They are not JSON",
    };
    format!("{what}: {}.", short(&text, MOST_COMPLAINT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        Rules {
            languages: vec!["python".into(), "node".into()],
            usual: Duration::from_secs(30),
            longest: Duration::from_secs(60),
        }
    }

    fn parse(arguments: impl Into<Arguments>) -> Result<Asked, String> {
        arguments.into().parse(&rules())
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let megabytes = "x".repeat(10 << 20);
        let cases: &[(Value, &str)] = &[
            (json!("print(1)"), "not a JSON object"),
            (json!(""), "not a JSON object"),
            (json!("{\"language\": \"python\", \"code\": \"1\""), "not JSON"),
            (json!(["python", "1", 1]), "not a JSON object"),
            (json!(null), "not a JSON object"),
            (json!({}), "right fields"),
            (json!({ "code": "1" }), "missing field `language`"),
            (json!({ "language": "python" }), "missing field `code`"),
            (json!({ "language": "python", "code": ["1"] }), "invalid type"),
            (json!({ "language": "python", "code": "1", "lang": 1 }), "unknown field `lang`"),
            (json!({ "language": "javascript", "code": "1" }), "one of: python, node"),
            (json!({ "language": megabytes[..9999], "code": "1" }), "..."),
            (json!({ "language": "python", "code": " \n" }), "empty"),
            (json!({ "language": "python", "code": "```python\n1\n```" }), "fence"),
            (json!({ "language": "python", "code": "\n```\n1" }), "fence"),
            (json!({ "language": "python", "code": "a\0b" }), "NUL"),
            (json!({ "language": "python", "code": megabytes }), "bytes are more"),
            (json!({ "language": "python", "code": "1", &megabytes[..9999]: 1 }), "unknown field"),
            (json!({ "language": "python", "code": "1", "timeout_seconds": 0 }), "0.001 to 60"),
            (json!({ "language": "python", "code": "1", "timeout_seconds": -1 }), "0.001 to 60"),
            (json!({ "language": "python", "code": "1", "timeout_seconds": 61 }), "0.001 to 60"),
            (json!({ "language": "python", "code": "1", "timeout_seconds": "5" }), "invalid type"),
        ];
        for (value, expected) in cases {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            for wrong in [parse(text), parse(value.clone())] {
                let wrong = wrong.expect_err(expected);
                assert!(wrong.contains(expected), "{expected}: {wrong}");
                assert!(wrong.len() < 2000, "{expected}: {} bytes", wrong.len());
            }
        }
        let twice = r#"{"language": "python", "code": "1", "code": "2"}"#;
        assert!(parse(twice).expect_err("twice").contains("duplicate field `code`"));
        let huge = format!(r#"{{"language": "python", "code": "1", "x": "{megabytes}"}}"#);
        assert!(parse(huge).expect_err("too long").contains("bytes"));
        let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(parse(deep).is_err());
        assert!(parse(r#"{"language":"python","code":"1","timeout_seconds":1e999}"#).is_err());
    }

    #[test]
    fn what_is_right_is_taken_as_it_is() {
        let code = "\tprint('''\n```\n''')\r\n";
        for arguments in [
            Arguments::from(json!({ "language": "python", "code": code, "timeout_seconds": 1.5 })),
            Arguments::from(
                json!({ "language": "python", "code": code, "timeout_seconds": 1.5 }).to_string(),
            ),
        ] {
            let asked = parse(arguments).expect("asked");
            assert_eq!((asked.language.as_str(), asked.code.as_str()), ("python", code));
            assert_eq!(asked.timeout, Some(Duration::from_millis(1500)));
        }
        let none = json!({ "language": "node", "code": "1", "timeout_seconds": null });
        assert_eq!(parse(none).expect("asked").timeout, None);
    }

    #[test]
    fn the_schema_says_what_is_checked() {
        let schema = rules().schema();
        assert_eq!(schema["required"], json!(["language", "code"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["language"]["enum"], json!(["python", "node"]));
        assert_eq!(schema["properties"]["timeout_seconds"]["maximum"], json!(60.0));
        assert_eq!(schema["properties"].as_object().expect("fields").len(), 3);
    }

    proptest! {
        #[test]
        fn text_of_any_kind_is_an_answer(text in any::<String>()) {
            let _ = parse(text);
        }
    }
}
