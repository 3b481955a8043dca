//! Lambda's public interface.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::environment::Ended;
use crate::faults::Fault;
use crate::function::{Function, Tenancy};
use crate::pool::Pool;
use crate::proxy::no_delay;
use crate::service::{
    EXECUTED_VERSION, FUNCTION_ERROR, LOG_RESULT, LOG_TYPE, OPERATIONS, TENANT_ID, service_error,
};

/// Bytes of a request's payload.
const MAX_REQUEST: usize = 6 << 20;
/// Bytes of a streamed response.
const MAX_STREAM: usize = 200 << 20;
/// Bytes of a log tail.
const LOG_TAIL: usize = 4096;

/// A Lambda service with some functions.
#[derive(Debug)]
pub struct Lambda {
    endpoint: String,
    shared: Arc<Shared>,
    server: tokio::task::AbortHandle,
}

#[derive(Debug)]
struct Shared {
    pools: BTreeMap<String, Pool>,
    faults: Mutex<VecDeque<Fault>>,
    invocations: Mutex<Vec<String>>,
    last_log: Mutex<String>,
}

impl Lambda {
    /// Starts the service on loopback. Environments start when they are needed.
    pub async fn start(functions: impl IntoIterator<Item = Function>) -> Self {
        let pools =
            functions.into_iter().map(|function| (function.name.clone(), Pool::new(function)));
        let shared = Arc::new(Shared {
            pools: pools.collect(),
            faults: Mutex::default(),
            invocations: Mutex::default(),
            last_log: Mutex::default(),
        });
        let [invoke, stream, configuration] = [0, 1, 2].map(|index: usize| OPERATIONS[index].uri);
        let router = Router::new()
            .route(invoke, post(invoke_buffered))
            .route(stream, post(invoke_streaming))
            .route(configuration, get(describe))
            .with_state(Arc::clone(&shared));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        let server = tokio::spawn(async move {
            let _ = axum::serve(listener.tap_io(no_delay), router).await;
        });
        Self { endpoint, shared, server: server.abort_handle() }
    }

    /// Where it listens, as an URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes something go wrong with the next invocation that has no fault yet.
    pub fn fail_next(&self, fault: Fault) {
        self.shared.faults.lock().expect("faults").push_back(fault);
    }

    /// Ids of the invocations so far.
    pub fn invocations(&self) -> Vec<String> {
        self.shared.invocations.lock().expect("invocations").clone()
    }

    /// All that was logged during the invocation that ended last.
    pub fn last_log(&self) -> String {
        self.shared.last_log.lock().expect("log").clone()
    }

    /// `host:port` of the Runtime API of a function's environment that is idle.
    pub async fn runtime_api(&self, function: &str) -> String {
        self.shared.pools[function].runtime_api().await
    }

    /// How many environments a function has had.
    pub async fn environments(&self, function: &str) -> usize {
        self.shared.pools[function].started().await
    }

    /// Kills a function's idle environments, so that the next invocation is cold.
    pub async fn cool(&self, function: &str) {
        self.shared.pools[function].clear().await;
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn refuse(name: &str, message: Option<&str>) -> Response<Body> {
    let error = service_error(name);
    let message = message.unwrap_or(error.message);
    Response::builder()
        .status(error.status)
        .header("x-amzn-errortype", error.name)
        .header("x-amzn-requestid", uuid::Uuid::new_v4().to_string())
        .header("content-type", "application/json")
        .body(Body::from(json!({ "Message": message, "Type": "User" }).to_string()))
        .expect("response")
}

/// An invocation that was let in.
struct Admitted {
    id: String,
    /// Pieces of the answer while they are made.
    live: mpsc::Receiver<Bytes>,
    ended: oneshot::Receiver<Ended>,
    fault: Option<Fault>,
    with_log: bool,
}

async fn admit(
    shared: &Arc<Shared>,
    name: &str,
    headers: &HeaderMap,
    body: Body,
    streaming: bool,
) -> Result<Admitted, Response<Body>> {
    let Some(pool) = shared.pools.get(name) else {
        let message =
            format!("Function not found: arn:aws:lambda:us-east-1:000000000000:function:{name}");
        return Err(refuse("ResourceNotFoundException", Some(&message)));
    };
    let Ok(payload) = to_bytes(body, MAX_REQUEST).await else {
        return Err(refuse("RequestTooLargeException", None));
    };
    let tenant = headers.get(TENANT_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    match (pool.function.tenancy, &tenant) {
        (Tenancy::PerTenant, None) => {
            return Err(refuse("InvalidParameterValueException", None));
        }
        (Tenancy::Shared, Some(_)) => {
            let message = "The invoked function is not enabled with tenancy configuration. Remove the tenant ID in your request and try again.";
            return Err(refuse("InvalidParameterValueException", Some(message)));
        }
        _ => {}
    }
    let fault = shared.faults.lock().expect("faults").pop_front();
    if let Some(Fault::Service(name)) = fault {
        return Err(refuse(name, None));
    }
    let Some(mut environment) = pool.take(tenant).await else {
        return Err(refuse("TooManyRequestsException", None));
    };
    let id = uuid::Uuid::new_v4().to_string();
    shared.invocations.lock().expect("invocations").push(id.clone());
    let (live_in, live) = mpsc::channel(16);
    let (end, ended) = oneshot::channel();
    let task = Arc::clone(shared);
    let (run_id, name, run_fault) = (id.clone(), name.to_owned(), fault.clone());
    // A task of its own: a caller that goes away does not stop the function.
    tokio::spawn(async move {
        let kill = match run_fault {
            Some(Fault::Kill(ms)) => Some(Duration::from_millis(ms)),
            _ => None,
        };
        let live = streaming.then_some(live_in);
        let mut result = environment.invoke(&run_id, payload, live, kill).await;
        if let Some(Fault::Platform(kind, message)) = run_fault {
            let message = format!("RequestId: {run_id} Error: {message}");
            result.body = json!({ "errorType": kind, "errorMessage": message }).to_string().into();
            result.error = Some((kind.to_owned(), message));
            result.dead = true;
        }
        task.last_log.lock().expect("log").clone_from(&result.log);
        let pool = &task.pools[&name];
        pool.give_back((!result.dead).then_some(environment)).await;
        let _ = end.send(result);
    });
    let with_log = headers.get(LOG_TYPE).is_some_and(|value| value == "Tail");
    Ok(Admitted { id, live, ended, fault, with_log })
}

/// The log tail as it travels.
fn log_tail(ended: &Ended, fault: Option<&Fault>, with_log: bool) -> Option<String> {
    let log = match fault {
        Some(Fault::NoLog) => return None,
        Some(Fault::LogLine(line)) => match ended.log.rsplit_once("REPORT RequestId:") {
            Some((before, report)) => format!("{before}{line}\nREPORT RequestId:{report}"),
            None => format!("{}{line}\n", ended.log),
        },
        _ => ended.log.clone(),
    };
    let bytes = log.as_bytes();
    with_log.then(|| STANDARD.encode(&bytes[bytes.len().saturating_sub(LOG_TAIL)..]))
}

async fn invoke_buffered(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    request: Request,
) -> Response<Body> {
    let headers = request.headers().clone();
    let admitted = admit(&shared, &name, &headers, request.into_body(), false).await;
    let Admitted { id, ended, fault, with_log, .. } = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal,
    };
    let Ok(ended) = ended.await else { return refuse("ServiceException", None) };
    let log = log_tail(&ended, fault.as_ref(), with_log);
    let mut response = Response::builder()
        .status(200)
        .header(EXECUTED_VERSION, "$LATEST")
        .header("x-amzn-requestid", id);
    if ended.error.is_some() {
        response = response.header(FUNCTION_ERROR, "Unhandled");
    }
    if let Some(log) = log {
        response = response.header(LOG_RESULT, log);
    }
    let body = match fault {
        Some(Fault::Body(bytes)) => Bytes::from(bytes),
        Some(Fault::CutAfter(length)) => {
            // The announced length does not come.
            let announced = ended.body.len();
            let part = ended.body.slice(..length.min(announced));
            let pieces = tokio_stream::iter([Ok(part), Err(std::io::Error::other("cut"))]);
            return response
                .header("content-length", announced)
                .body(Body::from_stream(pieces))
                .expect("response");
        }
        _ => ended.body,
    };
    response.body(Body::from(body)).expect("response")
}

async fn invoke_streaming(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    request: Request,
) -> Response<Body> {
    let headers = request.headers().clone();
    let admitted = admit(&shared, &name, &headers, request.into_body(), true).await;
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal,
    };
    let id = admitted.id.clone();
    let (sender, receiver) = mpsc::channel::<std::io::Result<Bytes>>(16);
    tokio::spawn(stream(admitted, sender));
    Response::builder()
        .status(200)
        .header(EXECUTED_VERSION, "$LATEST")
        .header("x-amzn-requestid", id)
        .header("content-type", "application/vnd.amazon.eventstream")
        .body(Body::from_stream(ReceiverStream::new(receiver)))
        .expect("response")
}

/// Passes the answer on as events.
async fn stream(admitted: Admitted, sender: mpsc::Sender<std::io::Result<Bytes>>) {
    let Admitted { live, ended, fault, with_log, .. } = admitted;
    let mut live = ReceiverStream::new(live);
    let (mut sent, mut last) = (0, Bytes::new());
    if let Some(Fault::Body(bytes)) = &fault {
        while live.next().await.is_some() {}
        let _ = sender.send(Ok(event("PayloadChunk", Bytes::from(bytes.clone())))).await;
    }
    while let Some(mut piece) = live.next().await {
        last = piece.clone();
        if let Some(Fault::CutAfter(most)) = fault
            && sent + piece.len() > most
        {
            let _ = sender.send(Ok(event("PayloadChunk", piece.slice(..most - sent)))).await;
            let _ = sender.send(Err(std::io::Error::other("cut"))).await;
            // The function goes on; nobody hears of it.
            while live.next().await.is_some() {}
            return;
        }
        sent += piece.len();
        if sent > MAX_STREAM {
            break;
        }
        let size = match fault {
            Some(Fault::Pieces(size)) => size,
            _ => 64 << 10,
        };
        while !piece.is_empty() {
            let part = piece.split_to(size.min(piece.len()));
            if sender.send(Ok(event("PayloadChunk", part))).await.is_err() {
                break;
            }
        }
    }
    if fault == Some(Fault::Twice) {
        let _ = sender.send(Ok(event("PayloadChunk", last))).await;
    }
    while live.next().await.is_some() {}
    let Ok(ended) = ended.await else { return };
    let mut complete = json!({});
    if let Some(log) = log_tail(&ended, fault.as_ref(), with_log) {
        complete["LogResult"] = log.into();
    }
    if let Some((kind, message)) = &ended.error {
        complete["ErrorCode"] = kind.clone().into();
        complete["ErrorDetails"] =
            json!({ "errorType": kind, "errorMessage": message }).to_string().into();
    } else if sent > MAX_STREAM {
        complete["ErrorCode"] = "Function.ResponseSizeTooLarge".into();
        complete["ErrorDetails"] = "Response payload size exceeded maximum allowed".into();
    }
    let _ = sender.send(Ok(event("InvokeComplete", complete.to_string().into()))).await;
}

fn event(kind: &'static str, payload: Bytes) -> Bytes {
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    let content_type = match kind {
        "PayloadChunk" => "application/octet-stream",
        _ => "application/json",
    };
    let header = |name: &'static str, value: &'static str| {
        Header::new(name, HeaderValue::String(value.into()))
    };
    let message = Message::new(payload)
        .add_header(header(":message-type", "event"))
        .add_header(header(":event-type", kind))
        .add_header(header(":content-type", content_type));
    let mut bytes = Vec::new();
    aws_smithy_eventstream::frame::write_message_to(&message, &mut bytes).expect("event");
    bytes.into()
}

async fn describe(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response<Body> {
    let Some(pool) = shared.pools.get(&name) else {
        return refuse("ResourceNotFoundException", None);
    };
    let function = &pool.function;
    let mut body = json!({
        "FunctionName": function.name,
        "MemorySize": function.memory,
        "Timeout": function.timeout.as_secs(),
        "Version": "$LATEST",
        "State": "Active",
        "PackageType": "Image",
        "Architectures": [if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" }],
        "EphemeralStorage": { "Size": function.tmp >> 20 },
    });
    if function.tenancy == Tenancy::PerTenant {
        body["TenancyConfig"] = json!({ "TenantIsolationMode": "PER_TENANT" });
    }
    if let Some(vpc) = &function.vpc {
        body["VpcConfig"] =
            json!({ "VpcId": vpc, "SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"] });
    }
    Response::builder()
        .status(200)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .expect("response")
}
