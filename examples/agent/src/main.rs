//! An agent: a model that answers a question about data by running code, with what the code
//! prints shown while it runs.
//!
//! `cargo run --example agent` talks to a small scripted server that is part of the example. A
//! real model is one that the environment names:
//!
//! | variable | for |
//! | --- | --- |
//! | `OPENAI_API_KEY`, `OPENAI_BASE_URL`, `OPENAI_MODEL` | OpenAI, and whatever is compatible with its Chat Completions: a base URL alone is enough for a server of your own |
//! | `ANTHROPIC_API_KEY`, `ANTHROPIC_BASE_URL`, `ANTHROPIC_MODEL` | Anthropic |
//! | `SANDBOX_BACKEND=lambda` | code that runs in AWS Lambda; build with `--features lambda` |
//!
//! A question of your own follows `--`, and a file to ask about follows `--file`.

mod model;
mod scripted;

use std::io::Write as _;
use std::path::Path;

use model::{Conversation, Endpoint, Protocol};
use sandbox::{CodeTool, Event, Reply, Size, printable};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Where files are saved.
const FOLDER: &str = "target/agent";
/// A model that has not answered by then is going round in circles.
const MOST_TURNS: usize = 12;

#[tokio::main]
async fn main() -> Result<()> {
    let (question, files) = arguments()?;
    let executor = sandbox::from_env().await?;
    say(&format!("code runs on backend {}", executor.capabilities().backend));
    let mut tool = CodeTool::builder(executor).job(|job| job.memory(Size::gib(1)).tenant("agent"));
    for (name, content) in files {
        tool = tool.file(name, content);
    }
    let tool = tool.build()?;
    let endpoint = match Endpoint::from_env()? {
        Some(endpoint) => endpoint,
        None => scripted().await?,
    };
    say(&format!("question: {question}"));
    let mut figures = 0;
    let mut conversation = Conversation::new(endpoint, &tool.definition(), &question)?;
    for _ in 0..MOST_TURNS {
        let turn = conversation.next_turn().await?;
        if !turn.text.is_empty() {
            say(&format!("model: {}", turn.text));
        }
        if turn.calls.is_empty() {
            return Ok(());
        }
        let mut replies = Vec::new();
        for call in turn.calls {
            let reply = run(&tool, call.arguments).await?;
            save(&reply, &mut figures).await?;
            replies.push((call.id, reply));
        }
        conversation.answer(&replies);
    }
    Err(format!("no answer after {MOST_TURNS} turns").into())
}

/// A file that the question is about.
type File = (String, Vec<u8>);

fn arguments() -> Result<(String, Vec<File>)> {
    let (mut words, mut files) = (Vec::new(), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument != "--file" {
            words.push(argument);
            continue;
        }
        let path = arguments.next().ok_or("--file needs a path")?;
        let name = Path::new(&path).file_name().and_then(|name| name.to_str());
        let content = std::fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
        files.push((name.ok_or_else(|| format!("{path} has no name"))?.to_owned(), content));
    }
    if files.is_empty() {
        files.push(("sales.csv".into(), include_bytes!("../../data/sales.csv").to_vec()));
    }
    if words.is_empty() {
        words.push("Which region in sales.csv sells the most? Draw a bar chart of all.".into());
    }
    Ok((words.join(" "), files))
}

/// Runs what the model asks for, and shows what it prints meanwhile.
async fn run(tool: &CodeTool, arguments: sandbox::Arguments) -> Result<Reply> {
    say("running code");
    let mut call = match tool.start(arguments).await {
        Ok(call) => call,
        Err(reply) => {
            say(&format!("not run: {}", reply.text()));
            return Ok(*reply);
        }
    };
    while let Some(event) = call.next_event().await {
        if let Event::Stdout(bytes) | Event::Stderr(bytes) = event {
            // What a program prints must not steer the terminal.
            show(&printable(&String::from_utf8_lossy(&bytes)))?;
        }
    }
    let reply = call.finish().await;
    if let Some(outcome) = &reply.outcome {
        let cost =
            outcome.cost.as_ref().map_or(String::new(), |cost| format!(", ${:.9}", cost.usd));
        say(&format!("ended: {:?}{cost}", outcome.termination));
    }
    Ok(reply)
}

/// Saves the figures and the files of a call.
async fn save(reply: &Reply, figures: &mut usize) -> Result<()> {
    let Some(outcome) = &reply.outcome else { return Ok(()) };
    for display in outcome.displays.iter().filter(|display| display.media_type == "image/png") {
        *figures += 1;
        let path = Path::new(FOLDER).join(format!("figure-{figures}.png"));
        std::fs::create_dir_all(FOLDER)?;
        std::fs::write(&path, &display.data)?;
        say(&format!("saved: {} ({} bytes)", path.display(), display.data.len()));
    }
    for artifact in &outcome.artifacts {
        let path = artifact.save_to(FOLDER).await?;
        say(&format!("saved: {:?} ({} bytes)", path, artifact.size()));
    }
    Ok(())
}

/// The server that stands in for a model.
async fn scripted() -> Result<Endpoint> {
    let protocol = match std::env::var("AGENT_PROTOCOL").as_deref() {
        Ok("anthropic") => Protocol::Anthropic,
        Ok("openai") | Err(_) => Protocol::OpenAi,
        Ok(other) => return Err(format!("AGENT_PROTOCOL={other}: give openai or anthropic").into()),
    };
    let address = scripted::serve().await?;
    say(
        "no endpoint in OPENAI_API_KEY or ANTHROPIC_API_KEY: a scripted server answers, not a model",
    );
    Ok(Endpoint::new(protocol, format!("http://{address}"), None, "scripted".into()))
}

fn say(text: &str) {
    let _ = show(&format!("\n[agent] {}\n", printable(text)));
}

fn show(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
