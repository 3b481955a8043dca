//! What clients can ask for.

use std::borrow::Cow;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    JsonObject, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
    ReadResourceResult, Resource, ResourceContents, ResourceTemplate, ServerCapabilities,
    ServerConfig, Tool,
};
use rmcp::schemars::JsonSchema;
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use sandbox::{CodeTool, KeptFile, Part, Reply};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::http::Place;
use super::live::{self, PATIENCE, Progress};

/// Files are resources under this.
const FILES: &str = "sandbox://files/";
/// What a path keeps as it is in a URI.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// One client's server. The files that its programs leave are its own.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    tool: CodeTool,
    /// Cancelled when the client cannot be reached any more.
    gone: CancellationToken,
    versions: Cow<'static, [ProtocolVersion]>,
    /// Held for as long as the session lasts.
    _place: Option<Arc<Place>>,
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
        Self { tool, gone: CancellationToken::new(), versions, _place: None }
    }

    /// A server among others, until `gone`. It speaks only versions of the protocol that have
    /// sessions: elsewhere it could not be told whose the files are.
    pub(crate) fn for_session(mut self, place: Place, gone: CancellationToken) -> Self {
        let known = ProtocolVersion::KNOWN_VERSIONS.iter();
        let sessions = known.filter(|version| **version < ProtocolVersion::V_2026_07_28);
        self.versions = sessions.cloned().collect();
        self.gone = gone;
        self._place = Some(Arc::new(place));
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
        let mut call = match self.tool.start(arguments).await {
            Ok(call) => call,
            Err(reply) => return result(&reply, Vec::new()),
        };
        let token = context.meta.get_progress_token();
        let progress = token.map(|token| Progress { peer: context.peer.clone(), token });
        let cancelled = async {
            tokio::select! {
                () = context.ct.cancelled() => {}
                () = self.gone.cancelled() => {}
            }
        };
        let is_cancelled = live::follow(&mut call, progress, cancelled).await;
        let reply = call.finish().await;
        let files = self.tool.files();
        let changed = reply.outcome.iter().flat_map(|outcome| &outcome.artifacts);
        let changed: Vec<_> = changed
            .filter_map(|artifact| files.iter().find(|file| file.path == artifact.path()))
            .map(|file| ContentBlock::resource_link(resource(file)))
            .collect();
        if files != before && !is_cancelled {
            // A client that does not listen is no reason to fail.
            let _ = timeout(PATIENCE, context.peer.notify_resource_list_changed()).await;
        }
        result(&reply, changed)
    }

    fn list_files(&self) -> CallToolResult {
        let files = self.tool.files();
        if files.is_empty() {
            return CallToolResult::success(vec![ContentBlock::text("There are no files.")]);
        }
        let line = |file: &KeptFile| format!("{:?} ({} bytes)", file.path, file.size);
        let text = files.iter().map(line).collect::<Vec<_>>().join("\n");
        let links = files.iter().map(|file| ContentBlock::resource_link(resource(file)));
        CallToolResult::success(std::iter::once(ContentBlock::text(text)).chain(links).collect())
    }
}

/// A reply, and links to the files that belong to it.
fn result(reply: &Reply, links: Vec<ContentBlock>) -> Result<CallToolResult, ErrorData> {
    let block = |part: &Part| match part {
        Part::Text(text) => Some(ContentBlock::text(text)),
        Part::Image { media_type, data } => {
            Some(ContentBlock::image(STANDARD.encode(data), *media_type))
        }
        _ => None,
    };
    let content = reply.content.iter().filter_map(block).chain(links).collect();
    Ok(match reply.is_error {
        true => CallToolResult::error(content),
        false => CallToolResult::success(content),
    })
}

fn resource(file: &KeptFile) -> Resource {
    let uri = format!("{FILES}{}", utf8_percent_encode(&file.path, PATH));
    Resource::new(uri, &file.path).with_mime_type(&file.media_type).with_size(file.size)
}

/// The arguments of one of the small tools, or what is wrong with them.
fn parse<T: for<'de> Deserialize<'de>>(arguments: JsonObject) -> Result<T, CallToolResult> {
    serde_json::from_value(Value::Object(arguments)).map_err(|error| {
        let text = format!("The arguments are wrong: {error}.");
        CallToolResult::error(vec![ContentBlock::text(text)])
    })
}

fn schema<T: JsonSchema>() -> JsonObject {
    let mut schema = rmcp::schemars::schema_for!(T).to_value();
    match schema.as_object_mut() {
        Some(schema) => {
            schema.remove("$schema");
            schema.remove("title");
            std::mem::take(schema)
        }
        None => JsonObject::new(),
    }
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
        let run = serde_json::from_value(self.tool.definition().mcp());
        let run: Tool = run.map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let list = "Lists the files that programs have left in the working directory.";
        let read = "Reads a file that a program has left: text from an offset on, or an image.";
        Ok(ListToolsResult::with_all_items(vec![
            run,
            Tool::new("list_files", list, schema::<ListFiles>()).annotate(read_only()),
            Tool::new("read_file", read, schema::<ReadFile>()).annotate(read_only()),
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
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let files = self.tool.files();
        Ok(ListResourcesResult::with_all_items(files.iter().map(resource).collect()))
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
        let contents = match String::from_utf8(bytes.into()) {
            Ok(text) if !text.contains('\0') => ResourceContents::text(text, uri),
            Ok(text) => ResourceContents::blob(STANDARD.encode(text), uri),
            Err(error) => ResourceContents::blob(STANDARD.encode(error.as_bytes()), uri),
        };
        Ok(ReadResourceResult::new(vec![contents.with_mime_type(file.media_type)]).into())
    }
}

fn read_only() -> rmcp::model::ToolAnnotations {
    rmcp::model::ToolAnnotations::new().read_only(true).open_world(false)
}
