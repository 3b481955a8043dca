//! What clients can ask for.

use std::borrow::Cow;
use std::pin::pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    JsonObject, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Resource, ResourceContents, ResourceTemplate, ServerCapabilities,
    ServerConfig, Tool, ToolAnnotations,
};
use rmcp::schemars::JsonSchema;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use sandbox::{CodeTool, KeptFile, Reply, quoted_name};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::live::{self, PATIENCE, Progress};

/// Files are resources under this.
const FILES: &str = "sandbox://files/";
/// Bytes of a file that is sent as a resource.
const MOST_RESOURCE: usize = 8 << 20;
/// Files on a page of resources, and links in one result.
const PAGE: usize = 100;
const MOST_LINKS: usize = 20;
/// Bytes of a path that is linked to.
const MOST_PATH: usize = 300;
/// What a path keeps as it is in a URI.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// One client's server. The files that its programs leave are its own.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    tool: CodeTool,
    /// Cancelled when the client cannot be reached any more.
    gone: CancellationToken,
    versions: Cow<'static, [ProtocolVersion]>,
}

/// Arguments of `list_files`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct ListFiles {}

/// Arguments of `read_file`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde", deny_unknown_fields)]
#[schemars(crate = "rmcp::schemars")]
struct ReadFile {
    /// The file's path, as list_files gives it.
    path: String,
    /// Where to begin in a long file, in bytes.
    #[serde(default)]
    offset: u64,
}

impl Server {
    pub(crate) fn new(tool: CodeTool) -> Self {
        let versions = Cow::Borrowed(ProtocolVersion::KNOWN_VERSIONS);
        Self { tool, gone: CancellationToken::new(), versions }
    }

    /// A server among others, until `gone`. It offers only versions of the protocol that have
    /// sessions: elsewhere no call would find the files of another.
    pub(crate) fn for_session(mut self, gone: CancellationToken) -> Self {
        let known = ProtocolVersion::KNOWN_VERSIONS.iter();
        let sessions = known.filter(|version| **version < ProtocolVersion::V_2026_07_28);
        self.versions = sessions.cloned().collect();
        self.gone = gone;
        self
    }

    /// What is cancelled when the client cannot be reached any more.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    async fn run_code(
        &self,
        arguments: JsonObject,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResult, ErrorData> {
        let before = self.tool.files();
        let mut cancelled = pin!(async {
            tokio::select! {
                () = context.ct.cancelled() => {}
                () = self.gone.cancelled() => {}
            }
        });
        let token = context.meta.get_progress_token();
        let progress = token.map(|token| Progress { peer: context.peer.clone(), token });
        let mut step = 0.0;
        let mut starting = pin!(self.tool.start(arguments));
        // Also while it waits for its turn.
        let started = loop {
            tokio::select! {
                biased;
                () = &mut cancelled => {
                    return Err(ErrorData::internal_error("the call was cancelled", None));
                }
                started = &mut starting => break started,
                () = sleep(live::BEAT) => if let Some(progress) = &progress {
                    step += 1.0;
                    let waits = "[waits for its turn]".to_owned();
                    let _ = timeout(PATIENCE, progress.clone().send(step, waits)).await;
                },
            }
        };
        let mut call = match started {
            Ok(call) => call,
            Err(reply) => return result(&reply, Vec::new()),
        };
        let is_cancelled = live::follow(&mut call, progress, step, &mut cancelled).await;
        let reply = call.finish().await;
        if self.tool.files() != before && !is_cancelled {
            // A client that does not listen is no reason to fail.
            let _ = timeout(PATIENCE, context.peer.notify_resource_list_changed()).await;
        }
        let links = links(&reply.files);
        result(&reply, links)
    }

    fn list_files(&self) -> CallToolResult {
        let files = self.tool.files();
        let mut content = vec![ContentBlock::text(self.tool.list_files())];
        content.extend(links(&files));
        CallToolResult::success(content)
    }
}

/// Links to files, as far as a message should have them; all are in the list of resources.
fn links(files: &[KeptFile]) -> Vec<ContentBlock> {
    let short = files.iter().filter(|file| file.path.len() <= MOST_PATH).take(MOST_LINKS);
    short.map(|file| ContentBlock::resource_link(resource(file))).collect()
}

/// A reply, and links to the files that belong to it.
fn result(reply: &Reply, links: Vec<ContentBlock>) -> Result<CallToolResult, ErrorData> {
    let mut result: CallToolResult = serde_json::from_value(reply.mcp()).map_err(internal)?;
    result.content.extend(links);
    Ok(result)
}

fn internal(error: serde_json::Error) -> ErrorData {
    ErrorData::internal_error(error.to_string(), None)
}

fn resource(file: &KeptFile) -> Resource {
    let uri = format!("{FILES}{}", utf8_percent_encode(&file.path, PATH));
    Resource::new(uri, shown(&file.path)).with_mime_type(&file.media_type).with_size(file.size)
}

/// A path as clients may show it: as it is, or, where it has characters that do something to text,
/// quoted. The address has it as it is.
fn shown(path: &str) -> Cow<'_, str> {
    let quoted = quoted_name(path);
    let plain = quoted.len() == path.len() + 2;
    if plain { Cow::Borrowed(path) } else { Cow::Owned(quoted) }
}

/// The arguments of one of the small tools, or what is wrong with them.
fn parse<T: for<'de> Deserialize<'de>>(arguments: JsonObject) -> Result<T, CallToolResult> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        let text = format!("The arguments are wrong: {error}.");
        CallToolResult::error(vec![ContentBlock::text(text)])
    })
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_list_changed()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("sandbox", env!("CARGO_PKG_VERSION")))
            .with_instructions(
                "Runs programs in a sandbox. Files that they leave in the working directory are \
                 resources, and are there for later programs of this session.",
            )
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.versions.clone()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let run: Tool = serde_json::from_value(self.tool.definition().mcp()).map_err(internal)?;
        let list = "Lists the files that programs have left in the working directory.";
        let read = "Reads a file that a program has left: text from an offset on, or an image.";
        Ok(ListToolsResult::with_all_items(vec![
            run,
            reader::<ListFiles>("list_files", list),
            reader::<ReadFile>("read_file", read),
        ]))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.unwrap_or_default();
        let result = match request.name.as_ref() {
            "run_code" => self.run_code(arguments, context).await?,
            "list_files" => match parse(arguments) {
                Ok(ListFiles {}) => self.list_files(),
                Err(wrong) => wrong,
            },
            "read_file" => match parse(arguments) {
                Ok(ReadFile { path, offset }) => {
                    result(&self.tool.show_file(&path, offset), Vec::new())?
                }
                Err(wrong) => wrong,
            },
            other => {
                let message = format!(
                    "there is no tool {other:?}; there are run_code, list_files and read_file"
                );
                return Err(ErrorData::invalid_params(message, None));
            }
        };
        Ok(result.into())
    }

    async fn list_resources(
        &self,
        request: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let cursor = request.and_then(|request| request.cursor);
        let from = cursor.map_or(Ok(0), |cursor| cursor.parse::<usize>());
        let from = from.map_err(|_| {
            ErrorData::invalid_params("the cursor is none that this server gave", None)
        })?;
        let files = self.tool.files();
        let page = files.iter().skip(from).take(PAGE).map(resource).collect();
        let mut result = ListResourcesResult::with_all_items(page);
        let next = from.saturating_add(PAGE);
        result.next_cursor = (next < files.len()).then(|| next.to_string());
        Ok(result)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new(format!("{FILES}{{+path}}"), "file")
            .with_description("A file that a program has left in the working directory.");
        Ok(ListResourceTemplatesResult::with_all_items(vec![template]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri;
        let path = uri.strip_prefix(FILES).map(|path| percent_decode_str(path).decode_utf8_lossy());
        let files = self.tool.files();
        let file = path.and_then(|path| files.into_iter().find(|file| file.path == path));
        let found = file.and_then(|file| Some((self.tool.read_file(&file.path)?, file)));
        let Some((bytes, file)) = found else {
            return Err(ErrorData::resource_not_found(format!("there is no file {uri:?}"), None));
        };
        if bytes.len() > MOST_RESOURCE {
            let message = format!(
                "{uri:?} has {} bytes, and one message takes {MOST_RESOURCE}; read it in parts \
                 with read_file, or make it smaller",
                bytes.len()
            );
            return Err(ErrorData::invalid_params(message, None));
        }
        // In text, a control character takes six bytes.
        let is_text =
            |text: &&str| !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
        let contents = match std::str::from_utf8(&bytes).ok().filter(is_text) {
            Some(text) => ResourceContents::text(text, uri),
            None => ResourceContents::blob(STANDARD.encode(&bytes), uri),
        };
        Ok(ReadResourceResult::new(vec![contents.with_mime_type(file.media_type)]).into())
    }
}

/// A tool that changes nothing.
fn reader<T: JsonSchema + 'static>(name: &'static str, description: &'static str) -> Tool {
    Tool::new(name, description, JsonObject::new())
        .with_input_schema::<T>()
        .annotate(ToolAnnotations::new().read_only(true).open_world(false))
}
