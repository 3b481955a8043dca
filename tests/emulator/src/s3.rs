//! S3 servers on loopback that check signatures, forms and conditions.

use std::process::Stdio;
use std::time::{Duration, Instant};

use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::tools;

/// The bucket that every server has.
pub const BUCKET: &str = "sandbox-test";
const KEY: &str = "AKIDTEST";
const SECRET: &str = "test-secret";

/// The key and secret of the one who signs.
pub fn credentials() -> (&'static str, &'static str) {
    (KEY, SECRET)
}

/// `s3s` in process, on a temporary folder.
#[derive(Debug)]
pub struct S3 {
    endpoint: String,
    folder: tempfile::TempDir,
    server: tokio::task::AbortHandle,
}

impl S3 {
    /// Starts a server.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("bucket");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("file system");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let endpoint = format!("http://{}", listener.local_addr().expect("address"));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let executor = hyper_util::rt::TokioExecutor::new();
                    let stream = hyper_util::rt::TokioIo::new(stream);
                    let mut server = hyper_util::server::conn::auto::Builder::new(executor);
                    // s3s 0.14 fails an upload when a carriage return ends one piece of the body
                    // and the next has more than 64 KiB.
                    server.http1().max_buf_size(32 << 10);
                    let _ = server.serve_connection(stream, service).await;
                });
            }
        });
        Self { endpoint, folder, server: server.abort_handle() }
    }

    /// Where it listens, as an URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The folder that holds the bucket's objects by key.
    pub fn objects(&self) -> std::path::PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Stops serving, as if the store were down.
    pub fn stop(&self) {
        self.server.abort();
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// SeaweedFS: an implementation that has nothing in common with the other.
#[derive(Debug)]
pub struct Seaweed {
    endpoint: String,
    _server: Child,
    _folder: tempfile::TempDir,
}

impl Seaweed {
    /// Starts a server; the bucket is there when this returns.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let identities = folder.path().join("identities.json");
        let config = serde_json::json!({ "identities": [{
            "name": "signer",
            "credentials": [{ "accessKey": KEY, "secretKey": SECRET }],
            "actions": ["Admin", "Read", "Write", "List"],
        }]});
        std::fs::write(&identities, config.to_string()).expect("identities");
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
            listener.local_addr().expect("address").port()
        };
        let server = Command::new(tools::weed())
            .arg("mini")
            .arg(format!("-dir={}", folder.path().display()))
            .args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false"])
            .arg(format!("-s3.port={port}"))
            .arg(format!("-s3.config={}", identities.display()))
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("weed");
        let address = format!("127.0.0.1:{port}");
        let since = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            assert!(since.elapsed() < Duration::from_secs(30), "SeaweedFS does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { endpoint: format!("http://{address}"), _server: server, _folder: folder }
    }

    /// Where it listens, as an URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}
