//! One execution environment: the emulator behind the launcher, and its Runtime API's proxy.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::function::{Function, Launcher};
use crate::invocation::Slot;
use crate::proxy::{self, Http};
use crate::tools;

/// Lambda's user; further environments of one process get others, because the kernel counts
/// processes by user across namespaces.
const LAMBDA_UID: u32 = 993;
const MORE_UIDS: u32 = 61_000;

/// How an error of a runtime that never asked for an event ends here.
const DURING_INIT: &str = "Runtime exited during init";

#[derive(Debug)]
pub(crate) struct Environment {
    launcher: Child,
    address: String,
    slot: Arc<Slot>,
    proxy: tokio::task::AbortHandle,
    http: Http,
    log: Arc<Mutex<Vec<u8>>>,
    pub(crate) tenant: Option<String>,
    /// `host:port` of the Runtime API, which in Lambda is the same everywhere.
    pub(crate) runtime_api: String,
}

/// What became of an invocation.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The runtime's answer, when it was not streamed; an error's body.
    pub(crate) body: Bytes,
    /// Error type and message, when the function failed.
    pub(crate) error: Option<(String, String)>,
    /// What was logged meanwhile, with the platform's lines.
    pub(crate) log: String,
    /// The environment cannot be used again.
    pub(crate) dead: bool,
}

impl Environment {
    pub(crate) async fn start(function: &Function, tenant: Option<String>) -> Self {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let uid = function.uid.unwrap_or_else(|| match STARTED.fetch_add(1, Ordering::Relaxed) {
            0 => LAMBDA_UID,
            number => MORE_UIDS + (std::process::id() % 1000) * 4 + number % 4000,
        });
        let (address, behind) = (free_address().await, free_address().await);
        let slot = Arc::new(Slot::default());
        let (runtime_api, proxy) = proxy::serve(Arc::clone(&slot), behind.clone()).await;
        let mut command = Command::new(tools::launcher());
        command
            .arg("vm")
            .args(["--runtime".as_ref(), function.runtime.as_os_str()])
            .args(["--tmp", &function.tmp.to_string(), "--uid", &uid.to_string()])
            .args(["--runtime-api", &runtime_api]);
        if let Some(root) = &function.root {
            command.args(["--root".as_ref(), root.as_os_str()]);
        }
        if function.launcher == Launcher::WorstCase {
            command.arg("--worst-case");
        }
        command
            .args(["--emulator".as_ref(), tools::rie().as_os_str()])
            .args(["--invoke", &address, "--behind", &behind])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("AWS_LAMBDA_FUNCTION_NAME", &function.name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory.to_string())
            .env("AWS_LAMBDA_FUNCTION_TIMEOUT", function.timeout.as_secs().to_string())
            // What the function's role would have: tests look for it.
            .env("AWS_ACCESS_KEY_ID", "ROLEKEY")
            .env("AWS_SECRET_ACCESS_KEY", "role-secret-canary")
            .env("AWS_SESSION_TOKEN", "role-token-canary")
            .envs(function.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("SANDBOX_TEST_VERBOSE").is_some() {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .kill_on_drop(true);
        let mut launcher = command.spawn().expect("launcher");
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut stdout = launcher.stdout.take().expect("stdout");
        let sink = Arc::clone(&log);
        tokio::spawn(async move {
            let mut chunk = vec![0; 16 << 10];
            while let Ok(length @ 1..) = stdout.read(&mut chunk).await {
                let mut log = sink.lock().expect("log");
                log.extend_from_slice(&chunk[..length]);
                // Bounded: a tail is 4 KiB.
                if log.len() > 1 << 20 {
                    let excess = log.len() - (1 << 19);
                    log.drain(..excess);
                }
            }
        });
        let since = Instant::now();
        while TcpStream::connect(&address).await.is_err() {
            let exited = launcher.try_wait().expect("launcher");
            assert!(exited.is_none(), "the emulator ended at once: {exited:?}");
            assert!(since.elapsed() < Duration::from_secs(10), "the emulator does not listen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let http = proxy::client();
        Self { launcher, address, slot, proxy, http, log, tenant, runtime_api }
    }

    /// Hands an event out and waits for the end of the invocation.
    pub(crate) async fn invoke(
        &mut self,
        id: &str,
        payload: Bytes,
        live: Option<mpsc::Sender<Bytes>>,
        kill_after: Option<Duration>,
    ) -> Ended {
        self.slot.begin(id, live);
        self.log.lock().expect("log").clear();
        let since = Instant::now();
        let mut request = Request::post(format!(
            "http://{}/2015-03-31/functions/function/invocations",
            self.address
        ))
        .header("X-Amzn-RequestId", id);
        if let Some(tenant) = &self.tenant {
            request = request.header("X-Amz-Tenant-Id", tenant);
        }
        let request = request.body(Body::from(payload)).expect("request");
        let http = self.http.clone();
        let exchange = async move {
            let response = http.request(request).await.ok()?;
            let status = response.status().as_u16();
            Some((status, response.into_body().collect().await.ok()?.to_bytes()))
        };
        let response = match kill_after {
            None => exchange.await,
            Some(after) => tokio::select! {
                response = exchange => response,
                () = tokio::time::sleep(after) => None,
            },
        };
        let dead = response.is_none();
        if dead {
            let _ = self.launcher.kill().await;
        }
        let said = self.slot.end();
        let error = match &response {
            None => Some((
                "Runtime.ExitError".to_owned(),
                format!("RequestId: {id} Error: the environment is gone"),
            )),
            Some((status, body)) => {
                function_error(id, *status, body, said.answered, said.error.as_deref())
            }
        };
        let body = match (&error, said.error, said.answer) {
            (None, _, Some(answer)) => answer,
            (Some(_), Some(posted), _) => posted,
            (Some((kind, message)), None, _) => {
                json!({ "errorType": kind, "errorMessage": message }).to_string().into()
            }
            (None, None, None) => response.map(|(_, body)| body).unwrap_or_default(),
            (None, Some(posted), None) => posted,
        };
        let log = self.log_of(id, since.elapsed(), error.as_ref()).await;
        Ended { body, error, log, dead }
    }

    /// What was logged, with the platform's last line, which the emulator omits when the runtime
    /// has died.
    async fn log_of(&self, id: &str, took: Duration, error: Option<&(String, String)>) -> String {
        let report = format!("REPORT RequestId: {id}\t");
        let read = || String::from_utf8_lossy(&self.log.lock().expect("log")).into_owned();
        for _ in 0..20 {
            if read().contains(&report) {
                return read();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut log = read();
        if let Some((kind, _)) = error {
            let ms = took.as_secs_f64() * 1000.0;
            if error.is_some_and(|(_, message)| message.ends_with(DURING_INIT)) {
                log += &format!(
                    "INIT_REPORT Init Duration: {ms:.2} ms\tPhase: invoke\tStatus: error\tError \
                     Type: {kind}\t\n"
                );
            }
            log += &format!("END RequestId: {id}\n");
            log += &format!(
                "{report}Duration: {ms:.2} ms\tBilled Duration: {} ms\tMemory Size: 1024 MB\tMax \
                 Memory Used: 64 MB\tStatus: error\tError Type: {kind}\t\n",
                ms.ceil() as u64
            );
        }
        log
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

/// The error that the service would report, from what the emulator says.
fn function_error(
    id: &str,
    status: u16,
    body: &[u8],
    answered: bool,
    posted: Option<&[u8]>,
) -> Option<(String, String)> {
    let parse = |body: &[u8]| {
        let value: Value = serde_json::from_slice(body).ok()?;
        let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        Some((text("errorType")?, text("errorMessage").unwrap_or_default()))
    };
    if let Some(posted) = posted {
        return Some(parse(posted).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(body);
    if text.starts_with("Task timed out after") {
        return Some(("Sandbox.Timedout".into(), format!("RequestId: {id} Error: {text}")));
    }
    match (status, parse(body)) {
        (200, Some(error)) if error.0 == "Function.ResponseSizeTooLarge" => Some(error),
        (200, _) => None,
        // The runtime ended after its answer.
        (_, _) if answered => None,
        (_, Some(error)) => Some(error),
        // The runtime ended before it asked for an event.
        (_, None) => {
            Some(("Runtime.ExitError".into(), format!("RequestId: {id} Error: {DURING_INIT}")))
        }
    }
}

async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    listener.local_addr().expect("address").to_string()
}
