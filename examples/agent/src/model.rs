//! A conversation with a model, over either of two protocols.

use std::time::Duration;

use reqwest::Client;
use sandbox::{Arguments, Definition, Reply};
use serde_json::{Value, json};

use crate::Result;

/// What the model is told before the question.
const SYSTEM: &str = "You answer questions about data. Run code to find out; do not guess.";
/// A model may think for long, but not for ever.
const PATIENCE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// OpenAI's Chat Completions.
    OpenAi,
    /// Anthropic's Messages.
    Anthropic,
}

/// Where a model is.
pub(crate) struct Endpoint {
    protocol: Protocol,
    url: String,
    key: Option<String>,
    model: String,
}

impl Endpoint {
    pub(crate) fn new(
        protocol: Protocol,
        base: String,
        key: Option<String>,
        model: String,
    ) -> Self {
        let base = base.trim_end_matches('/');
        let url = match protocol {
            Protocol::OpenAi => format!("{base}/chat/completions"),
            Protocol::Anthropic => format!("{base}/v1/messages"),
        };
        Self { protocol, url, key, model }
    }

    /// The endpoint that the environment names, if it names one.
    pub(crate) fn from_env() -> Result<Option<Self>> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let providers = [
            (Protocol::OpenAi, "OPENAI", "https://api.openai.com/v1", "gpt-5.1"),
            (Protocol::Anthropic, "ANTHROPIC", "https://api.anthropic.com", "claude-sonnet-4-5"),
        ];
        for (protocol, prefix, base, model) in providers {
            let key = variable(&format!("{prefix}_API_KEY"));
            let url = variable(&format!("{prefix}_BASE_URL"));
            if key.is_none() && url.is_none() {
                continue;
            }
            let base = url.unwrap_or_else(|| base.to_owned());
            let model = variable(&format!("{prefix}_MODEL")).unwrap_or_else(|| model.to_owned());
            return Ok(Some(Self::new(protocol, base, key, model)));
        }
        Ok(None)
    }
}

/// What the model says next.
pub(crate) struct Turn {
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
}

pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) arguments: Arguments,
}

pub(crate) struct Conversation {
    endpoint: Endpoint,
    client: Client,
    tool: Value,
    messages: Vec<Value>,
}

impl Conversation {
    pub(crate) fn new(endpoint: Endpoint, tool: &Definition, question: &str) -> Result<Self> {
        // Fails when one is installed already, which then is used.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().timeout(PATIENCE).build()?;
        let question = json!({ "role": "user", "content": question });
        let (tool, messages) = match endpoint.protocol {
            Protocol::OpenAi => {
                let system = json!({ "role": "system", "content": SYSTEM });
                (tool.openai_chat(), vec![system, question])
            }
            Protocol::Anthropic => (tool.anthropic(), vec![question]),
        };
        Ok(Self { endpoint, client, tool, messages })
    }

    /// Asks for the next turn.
    pub(crate) async fn next_turn(&mut self) -> Result<Turn> {
        let mut body = json!({
            "model": self.endpoint.model,
            "messages": self.messages,
            "tools": [self.tool],
        });
        let mut request = self.client.post(&self.endpoint.url);
        match (self.endpoint.protocol, &self.endpoint.key) {
            (Protocol::OpenAi, Some(key)) => request = request.bearer_auth(key),
            (Protocol::OpenAi, None) => {}
            (Protocol::Anthropic, key) => {
                body["max_tokens"] = json!(4096);
                body["system"] = json!(SYSTEM);
                request = request.header("anthropic-version", "2023-06-01");
                if let Some(key) = key {
                    request = request.header("x-api-key", key);
                }
            }
        }
        let response = request.json(&body).send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            let start: String = text.chars().take(500).collect();
            return Err(format!("{} answered {status}: {start}", self.endpoint.url).into());
        }
        let answer: Value = serde_json::from_str(&text)?;
        match self.endpoint.protocol {
            Protocol::OpenAi => self.openai_turn(&answer),
            Protocol::Anthropic => self.anthropic_turn(&answer),
        }
    }

    fn openai_turn(&mut self, answer: &Value) -> Result<Turn> {
        let message = &answer["choices"][0]["message"];
        if !message.is_object() {
            return Err("the answer has no message".into());
        }
        self.messages.push(message.clone());
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        let calls = calls.map(|call| ToolCall {
            id: text(&call["id"]),
            arguments: call["function"]["arguments"].clone().into(),
        });
        Ok(Turn { text: text(&message["content"]), calls: calls.collect() })
    }

    fn anthropic_turn(&mut self, answer: &Value) -> Result<Turn> {
        let blocks = answer["content"].as_array().ok_or("the answer has no content")?;
        self.messages.push(json!({ "role": "assistant", "content": blocks }));
        let of_type = |kind: &'static str| blocks.iter().filter(move |block| block["type"] == kind);
        let texts: Vec<_> = of_type("text").map(|block| text(&block["text"])).collect();
        let calls = of_type("tool_use").map(|block| ToolCall {
            id: text(&block["id"]),
            arguments: block["input"].clone().into(),
        });
        Ok(Turn { text: texts.join("\n"), calls: calls.collect() })
    }

    /// Answers the calls of the last turn.
    pub(crate) fn answer(&mut self, replies: &[(String, Reply)]) {
        match self.endpoint.protocol {
            Protocol::OpenAi => {
                self.messages.extend(replies.iter().map(|(id, reply)| reply.openai_chat(id)));
                let images = replies.iter().filter_map(|(id, reply)| reply.openai_chat_images(id));
                self.messages.extend(images);
            }
            Protocol::Anthropic => {
                let results: Vec<_> =
                    replies.iter().map(|(id, reply)| reply.anthropic(id)).collect();
                self.messages.push(json!({ "role": "user", "content": results }));
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
