//! `sandbox mcp`: the code tool for clients of the Model Context Protocol.

mod http;
mod live;
mod server;
mod stdio;
mod surrogates;

use std::sync::Arc;
use std::time::Duration;

use sandbox::{CodeTool, Error, Executor, LimitConcurrency, Size};

use crate::args::McpArgs;
use crate::run::{Signals, say};
use crate::{REFUSED, job};
pub(crate) use http::origins::origin;
use server::Server;

/// Bytes of a reply's images. The official Python client takes messages of 1 MiB by default, and
/// base64 makes four bytes of three.
const MOST_IMAGES: Size = Size::kib(640);
/// How long a call waits for its turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// Serves until the client is gone or a signal comes; returns the command's exit status.
pub(crate) async fn mcp(args: McpArgs) -> u8 {
    match serve(args).await {
        Ok(()) => 0,
        Err(error) => {
            say(&error.to_string());
            REFUSED
        }
    }
}

async fn serve(args: McpArgs) -> Result<(), Error> {
    let mut signals = Signals::new()?;
    let executor = tokio::select! {
        executor = args.backend.executor() => executor?,
        () = signals.any() => return Ok(()),
    };
    let most = usize::from(args.jobs);
    let executor: Arc<dyn Executor> = Arc::new(LimitConcurrency::new(executor, most, PATIENCE));
    let tools = Tools::new(executor, &args)?;
    match args.http {
        None => stdio::serve(Server::new(tools.make()?), signals).await,
        Some(address) => http::serve(tools, address, args.token, &args.allow_origin, signals).await,
    }
}

/// Makes a tool for each client; what clients run shares nothing but the executor.
pub(crate) struct Tools {
    executor: Arc<dyn Executor>,
    args: Arc<(crate::args::LimitArgs, crate::args::ConditionArgs)>,
    runtimes: Vec<String>,
    longest: Option<Duration>,
    files: Vec<(String, Vec<u8>)>,
}

impl Tools {
    fn new(executor: Arc<dyn Executor>, args: &McpArgs) -> Result<Self, Error> {
        let tools = Self {
            executor,
            args: Arc::new((args.limits.clone(), args.conditions.clone())),
            runtimes: args.runtime.clone(),
            longest: args.longest,
            files: job::read_inputs(&args.inputs)?,
        };
        // What is wrong is said before anything is served.
        tools.make().map(|_| tools)
    }

    pub(crate) fn make(&self) -> Result<CodeTool, Error> {
        let args = Arc::clone(&self.args);
        let mut tool = CodeTool::builder(Arc::clone(&self.executor))
            .image_bytes(MOST_IMAGES)
            .job(move |job| job::confine(job, &args.0, &args.1));
        if !self.runtimes.is_empty() {
            tool = tool.languages(&self.runtimes);
        }
        if let Some(longest) = self.longest {
            tool = tool.longest(longest);
        }
        for (path, content) in &self.files {
            tool = tool.file(path, content.clone());
        }
        tool.build()
    }
}
