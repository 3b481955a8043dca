//! A server that speaks the protocols of models and follows a script: it makes a mistake that the
//! tool corrects, meets a library that may be missing, and answers.

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::Result;

const FENCED: &str = concat!("```python\n", include_str!("../data/chart.py"), "```");
const WITH_LIBRARIES: &str = include_str!("../data/chart.py");
const WITHOUT: &str = include_str!("../data/plain_chart.py");

/// Serves on a free port of this machine for as long as the program runs.
pub(crate) async fn serve() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/chat/completions", post(chat_completions))
        .route("/v1/messages", post(messages));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// What the script does next, by what the tool answered last.
enum Step {
    Call(&'static str, &'static str),
    Say(String),
}

fn next(results: &[String]) -> Step {
    let Some(last) = results.last() else {
        return Step::Call("I will compute the totals and draw them.", FENCED);
    };
    if last.contains("Markdown fence") {
        Step::Call("Without the fence, then.", WITH_LIBRARIES)
    } else if last.contains("No module named") {
        Step::Call("There is no such library here; I will do without.", WITHOUT)
    } else {
        let totals = last.lines().filter(|line| line.starts_with("total: "));
        let totals: Vec<_> = totals.map(|line| line.trim_start_matches("total: ")).collect();
        Step::Say(match totals.first() {
            Some(best) => format!("The best region is {best}. All: {}.", totals.join(", ")),
            None => format!("I could not find out: {last}"),
        })
    }
}

type Answer = (StatusCode, Json<Value>);

fn refuse(what: &str) -> Answer {
    let error = json!({ "error": { "type": "invalid_request_error", "message": what } });
    (StatusCode::BAD_REQUEST, Json(error))
}

/// Text that stands in an array of parts.
fn texts(parts: &Value) -> String {
    let parts = parts.as_array().into_iter().flatten();
    parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n")
}

async fn chat_completions(Json(request): Json<Value>) -> Answer {
    if request["tools"][0]["function"]["parameters"]["required"] != json!(["language", "code"]) {
        return refuse("there is no tool that takes a language and code");
    }
    let mut results = Vec::new();
    let mut open = Vec::new();
    for message in request["messages"].as_array().into_iter().flatten() {
        match message["role"].as_str() {
            Some("assistant") => {
                let calls = message["tool_calls"].as_array().into_iter().flatten();
                open.extend(calls.map(|call| call["id"].clone()));
            }
            Some("tool") => {
                open.retain(|id| *id != message["tool_call_id"]);
                results.push(texts(&message["content"]));
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        return refuse("a tool call was not answered");
    }
    let message = match next(&results) {
        Step::Say(text) => json!({ "role": "assistant", "content": text }),
        Step::Call(text, code) => {
            let arguments = json!({ "language": "python", "code": code }).to_string();
            json!({ "role": "assistant", "content": text, "tool_calls": [{
                "id": format!("call_{}", results.len()),
                "type": "function",
                "function": { "name": request["tools"][0]["function"]["name"], "arguments": arguments },
            }]})
        }
    };
    let answer =
        json!({ "object": "chat.completion", "choices": [{ "index": 0, "message": message }] });
    (StatusCode::OK, Json(answer))
}

async fn messages(Json(request): Json<Value>) -> Answer {
    if request["tools"][0]["input_schema"]["required"] != json!(["language", "code"]) {
        return refuse("there is no tool that takes a language and code");
    }
    if request["max_tokens"].as_u64().is_none() {
        return refuse("max_tokens: Field required");
    }
    let mut results = Vec::new();
    let mut open = Vec::new();
    for message in request["messages"].as_array().into_iter().flatten() {
        for block in message["content"].as_array().into_iter().flatten() {
            match block["type"].as_str() {
                Some("tool_use") => open.push(block["id"].clone()),
                Some("tool_result") => {
                    open.retain(|id| *id != block["tool_use_id"]);
                    results.push(texts(&block["content"]));
                }
                _ => {}
            }
        }
    }
    if !open.is_empty() {
        return refuse("a tool use was not answered");
    }
    let content = match next(&results) {
        Step::Say(text) => json!([{ "type": "text", "text": text }]),
        Step::Call(text, code) => json!([
            { "type": "text", "text": text },
            {
                "type": "tool_use",
                "id": format!("toolu_{}", results.len()),
                "name": request["tools"][0]["name"],
                "input": { "language": "python", "code": code },
            },
        ]),
    };
    (StatusCode::OK, Json(json!({ "type": "message", "role": "assistant", "content": content })))
}
