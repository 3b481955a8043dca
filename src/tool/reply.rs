//! What a model is answered, in the form that each API takes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sandbox_core::{Error, Outcome};
use serde_json::{Value, json};

use super::files::KeptFile;
use super::images::Image;

/// A part of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// Text for the model.
    Text(String),
    /// An image for the model: PNG, JPEG, GIF or WebP.
    Image {
        /// The media type, as the bytes show it.
        media_type: &'static str,
        /// The bytes.
        data: Bytes,
    },
}

impl From<Image> for Part {
    fn from(image: Image) -> Self {
        Self::Image { media_type: image.media_type, data: image.data }
    }
}

/// What a model is answered. Of a call's reply the first part is the sandbox's own word; what the
/// program wrote is in parts of its own, so that it cannot pass for the sandbox's.
#[derive(Debug)]
#[must_use = "the model waits for it"]
#[non_exhaustive]
pub struct Reply {
    /// What the model is shown, in order.
    pub content: Vec<Part>,
    /// Whether the call failed: its arguments were wrong, the program failed, or it was not run.
    pub is_error: bool,
    /// Files that the call made or changed, and that the next call finds.
    pub files: Vec<KeptFile>,
    /// How the program ended, when it ran.
    pub outcome: Option<Outcome>,
    /// What the sandbox failed with, for the application's log; the model is told less.
    pub error: Option<Error>,
}

impl Reply {
    pub(crate) fn new(content: Vec<Part>, outcome: Outcome, files: Vec<KeptFile>) -> Self {
        let is_error = !outcome.is_success();
        Self { content, is_error, files, outcome: Some(outcome), error: None }
    }

    /// A reply about something else than a program.
    pub(crate) fn found(content: Vec<Part>) -> Self {
        Self { content, is_error: false, files: Vec::new(), outcome: None, error: None }
    }

    pub(crate) fn refusal(text: String, error: Option<Error>) -> Self {
        Self {
            content: vec![Part::Text(text)],
            is_error: true,
            files: Vec::new(),
            outcome: None,
            error,
        }
    }

    /// All text in one piece, for people: here a program's output can pass for the sandbox's word.
    pub fn text(&self) -> String {
        self.texts().collect::<Vec<_>>().join("\n\n")
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.content.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Image { .. } => None,
        })
    }

    /// The message that answers a tool call of the OpenAI Chat Completions API. It has no images
    /// there: see [`openai_chat_images`](Self::openai_chat_images).
    pub fn openai_chat(&self, call_id: &str) -> Value {
        let text = |text: &str| json!({ "type": "text", "text": text });
        let content: Vec<_> = self.texts().map(text).collect();
        json!({ "role": "tool", "tool_call_id": call_id, "content": content })
    }

    /// The message that shows the images of a tool call in the OpenAI Chat Completions API, if it
    /// has any. It comes after the answers to all calls of a turn.
    pub fn openai_chat_images(&self, call_id: &str) -> Option<Value> {
        let title = format!("The images of the call {call_id}, in order:");
        let mut content = vec![json!({ "type": "text", "text": title })];
        content.extend(self.images().map(|(media_type, data)| {
            json!({ "type": "image_url", "image_url": { "url": data_url(media_type, data) } })
        }));
        (content.len() > 1).then(|| json!({ "role": "user", "content": content }))
    }

    /// The item that answers a function call of the OpenAI Responses API.
    pub fn openai_responses(&self, call_id: &str) -> Value {
        let part = |part: &Part| match part {
            Part::Text(text) => json!({ "type": "input_text", "text": text }),
            Part::Image { media_type, data } => {
                json!({ "type": "input_image", "image_url": data_url(media_type, data) })
            }
        };
        let output: Vec<_> = self.content.iter().map(part).collect();
        json!({ "type": "function_call_output", "call_id": call_id, "output": output })
    }

    /// The block that answers a tool use of the Anthropic Messages API.
    pub fn anthropic(&self, tool_use_id: &str) -> Value {
        let part = |part: &Part| match part {
            Part::Text(text) => json!({ "type": "text", "text": text }),
            Part::Image { media_type, data } => json!({ "type": "image", "source": {
                "type": "base64", "media_type": media_type, "data": STANDARD.encode(data),
            }}),
        };
        let content: Vec<_> = self.content.iter().map(part).collect();
        json!({
            "type": "tool_result",
            "tool_use_id": tool_use_id,
            "content": content,
            "is_error": self.is_error,
        })
    }

    /// The result of a call over the Model Context Protocol. Its type is for the protocol of 28 July
    /// 2026, which requires one; those before pass it over.
    pub fn mcp(&self) -> Value {
        let part = |part: &Part| match part {
            Part::Text(text) => json!({ "type": "text", "text": text }),
            Part::Image { media_type, data } => {
                json!({ "type": "image", "mimeType": media_type, "data": STANDARD.encode(data) })
            }
        };
        let content: Vec<_> = self.content.iter().map(part).collect();
        json!({ "resultType": "complete", "content": content, "isError": self.is_error })
    }

    fn images(&self) -> impl Iterator<Item = (&'static str, &Bytes)> {
        self.content.iter().filter_map(|part| match part {
            Part::Image { media_type, data } => Some((*media_type, data)),
            Part::Text(_) => None,
        })
    }
}

fn data_url(media_type: &str, data: &[u8]) -> String {
    format!("data:{media_type};base64,{}", STANDARD.encode(data))
}
