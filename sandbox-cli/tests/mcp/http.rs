//! Over HTTP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{PATIENCE, SANDBOX, TOKEN, dies, is_alive, lives, sleeper};

/// A server over HTTP on a free port.
pub(super) struct HttpServer {
    server: Child,
    address: String,
}

impl HttpServer {
    pub(super) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(SANDBOX);
        command.args(["mcp", "--http", "127.0.0.1:0"]).args(arguments);
        let mut server = command.stderr(Stdio::piped()).spawn().expect("sandbox mcp");
        let mut line = String::new();
        let mut errors = BufReader::new(server.stderr.take().expect("stderr"));
        errors.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("sandbox: serving MCP at http://");
        let address = address.and_then(|rest| rest.strip_suffix("/mcp"));
        Self { server, address: address.unwrap_or_else(|| panic!("{line}")).to_owned() }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Sends a request.
    fn begin(&self, head: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        let length = body.len();
        let request = format!(
            "{head}\r\nContent-Type: application/json\r\nAccept: application/json, \
             text/event-stream\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    }

    /// Sends a request and returns the whole answer.
    fn request(&self, head: &str, body: &str) -> String {
        until_closed(self.begin(head, body))
    }

    pub(super) fn post(&self, headers: &str, body: &str) -> String {
        self.request(&format!("POST /mcp HTTP/1.1\r\n{headers}"), body)
    }

    /// Opens a session; returns the headers of its requests.
    pub(super) fn open(&self) -> String {
        let host = format!("Host: {}", self.address);
        let answer = self.post(&host, &initialize());
        let session = answer.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        let headers =
            format!("{host}\r\nMcp-Session-Id: {}", session.unwrap_or_else(|| panic!("{answer}")));
        self.post(&headers, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        headers
    }
}

/// What a server sends before it closes the connection.
fn until_closed(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(3 * PATIENCE)).expect("timeout");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn initialize() -> String {
    json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "rude", "version": "1" },
    }})
    .to_string()
}

pub(super) fn call(id: u64, code: &str) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
        "name": "run_code", "arguments": { "language": "python", "code": code },
    }})
    .to_string()
}

#[test]
fn an_address_that_others_reach_needs_a_token_and_a_token_must_be_one() {
    for (arguments, expected) in [
        (&["--http", "0.0.0.0:0"][..], "can be reached from other machines"),
        (&["--http", "[::]:0"], "can be reached from other machines"),
        (&["--http", "127.0.0.1:0", "--token", "short"], "can be guessed"),
        (&["--http", "127.0.0.1:0", "--token", ""], "can be guessed"),
        (&["--http", "localhost:0"], "such as 127.0.0.1:8000"),
        (&["--http", "127.0.0.1:0", "--allow-origin", "localhost"], "SCHEME://HOST"),
        (&["--runtime", "cobol"], "cobol"),
        (&["--memory", "1B"], "limits.memory"),
    ] {
        let mut command = Command::new(SANDBOX);
        let output = command.arg("mcp").args(arguments).stdin(Stdio::null()).output().expect("run");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn only_those_are_let_in_who_may() {
    let server = HttpServer::start(&["--token", TOKEN]);
    let host = format!("Host: {}", server.address);
    let with_token = format!("{host}\r\nAuthorization: Bearer {TOKEN}");
    for (headers, status) in [
        (host.clone(), "401"),
        (format!("{host}\r\nAuthorization: Bearer {TOKEN}x"), "401"),
        (format!("{host}\r\nAuthorization: Basic {TOKEN}"), "401"),
        (format!("{host}\r\nAuthorization: {TOKEN}"), "401"),
        (format!("{host}\r\nAuthorization: bearer {TOKEN}"), "200"),
        (with_token.clone(), "200"),
        // What a page in a browser would send, also one whose name leads to this machine.
        (format!("{with_token}\r\nOrigin: http://evil.example"), "403"),
        (format!("Host: evil.example\r\nAuthorization: Bearer {TOKEN}"), "403"),
        // Clients that are no pages send the server's own.
        (format!("{with_token}\r\nOrigin: http://{}", server.address), "200"),
        (format!("{with_token}\r\nOrigin: http://localhost:1"), "403"),
    ] {
        let answer = server.post(&headers, &initialize());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {answer}");
        assert!(!answer.contains(TOKEN));
    }
    let page = "Origin: http://localhost:6274";
    let named = HttpServer::start(&["--allow-origin", "http://localhost:6274"]);
    let host = format!("Host: {}", named.address);
    let answer = named.post(&format!("{host}\r\n{page}"), &initialize());
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: http://localhost:6274"), "{answer}");
    let asked = named.request(&format!("OPTIONS /mcp HTTP/1.1\r\n{host}\r\n{page}"), "");
    assert!(asked.starts_with("HTTP/1.1 204") && asked.contains("mcp-session-id"), "{asked}");
    let answer = named.post(&format!("{host}\r\nOrigin: http://localhost:6275"), &initialize());
    assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("access-control"), "{answer}");
    let open = HttpServer::start(&[]);
    let answer = open.post("Host: evil.example", &initialize());
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn garbage_is_refused_and_the_next_client_is_served() {
    let server = HttpServer::start(&[]);
    let host = format!("Host: {}", server.address);
    for body in ["", "x", "{}", "[]", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}"] {
        let answer = server.post(&host, body);
        assert!(answer.starts_with("HTTP/1.1 4"), "{body}: {answer}");
    }
    let strange = format!("{host}\r\nMcp-Session-Id: no-such-session");
    assert!(server.post(&strange, &call(1, "1")).starts_with("HTTP/1.1 404"));
    let mut stream = TcpStream::connect(&server.address).expect("connected");
    stream.write_all(b"\x16\x03\x01garbage\r\n\r\n").expect("sent");
    drop(stream);
    let session = server.open();
    assert!(server.post(&session, &call(1, "print(6 * 7)")).contains("stdout:\\n42"));
}

#[test]
fn half_a_request_is_not_waited_for_without_end() {
    let server = HttpServer::start(&[]);
    let begin = |request: &str| {
        let mut stream = TcpStream::connect(&server.address).expect("connected");
        stream.write_all(request.as_bytes()).expect("sent");
        stream
    };
    let host = format!("Host: {}", server.address);
    let head = format!(
        "POST /mcp HTTP/1.1\r\n{host}\r\nContent-Type: application/json\r\nAccept: \
                        application/json, text/event-stream\r\nContent-Length: 100\r\n\r\n"
    );
    let silent = begin("");
    let half_head = begin(&head[..40]);
    let half_body = begin(&format!("{head}{{"));
    assert_eq!(until_closed(silent), "");
    until_closed(half_head);
    assert!(until_closed(half_body).starts_with("HTTP/1.1 408"));
    assert!(server.post(&server.open(), &call(1, "print(6 * 7)")).contains("stdout:\\n42"));
}

#[test]
fn files_belong_to_a_session_and_programs_end_with_it() {
    let server = HttpServer::start(&[]);
    let (mine, other) = (server.open(), server.open());
    server.post(&mine, &call(1, "open('secret.txt', 'w').write('mine')"));
    let answer = server.post(&mine, &call(2, "print(open('secret.txt').read())"));
    assert!(answer.contains("stdout:\\nmine"), "{answer}");
    let answer = server.post(&other, &call(1, "print(open('secret.txt').read())"));
    assert!(answer.contains("FileNotFoundError"), "{answer}");

    // The connection ends, the session does not; then the session is ended, too.
    let begun =
        server.begin(&format!("POST /mcp HTTP/1.1\r\n{mine}"), &call(3, &sleeper("session-5504")));
    lives("session-5504");
    drop(begun);
    let answer = server.request(&format!("DELETE /mcp HTTP/1.1\r\n{mine}"), "");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    dies("session-5504");
    assert!(server.post(&mine, &call(4, "1")).starts_with("HTTP/1.1 404"));
}

#[test]
fn a_client_that_comes_back_gets_its_answer() {
    let server = HttpServer::start(&["--jobs", "1"]);
    let session = server.open();
    let code = "import time\ntime.sleep(.5)\nprint('kept for', 'you')";
    let begun = server.begin(&format!("POST /mcp HTTP/1.1\r\n{session}"), &call(1, code));
    let lines = BufReader::new(begun).lines().map_while(Result::ok);
    let first = lines.into_iter().find_map(|line| Some(line.strip_prefix("id: ")?.to_owned()));
    let first = first.expect("an event");
    // The connection is lost. The next call waits for its turn, so that the first has ended.
    assert!(server.post(&session, &call(2, "print(6 * 7)")).contains("stdout:\\n42"));
    let back = |event: &str| {
        server.request(&format!("GET /mcp HTTP/1.1\r\n{session}\r\nLast-Event-ID: {event}"), "")
    };
    let answer = back(&first);
    assert!(answer.contains("stdout:\\nkept for you") && answer.contains("\"id\":1"), "{answer}");
    // Heard, it does not come again.
    let id = answer.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
    assert!(!back(id).contains("kept for"), "{id}");
}

/// A client that asks and then does not read must not keep its own session from hearing it.
#[test]
fn a_client_that_does_not_read_can_cancel() {
    let server = HttpServer::start(&[]);
    let session = server.open();
    let flood = format!(
        "import subprocess\nsubprocess.Popen(['sh', '-c', 'sleep 600; : {}'])\nwhile True: print('x' * 9999, flush=True)",
        "deaf-5505"
    );
    let mut body: Value = serde_json::from_str(&call(1, &flood)).expect("json");
    body["params"]["_meta"] = json!({ "progressToken": 1 });
    let body = body.to_string();
    let mut deaf = TcpStream::connect(&server.address).expect("connected");
    let head = format!(
        "POST /mcp HTTP/1.1\r\n{session}\r\nContent-Type: application/json\r\nAccept: \
         application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    deaf.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    lives("deaf-5505");
    // Long enough for everything between to be full.
    std::thread::sleep(Duration::from_secs(2));
    assert!(is_alive("deaf-5505"));
    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    assert!(server.post(&session, &cancel.to_string()).starts_with("HTTP/1.1 202"));
    let took = dies("deaf-5505");
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(deaf);
}

#[test]
fn a_signal_ends_the_server_whoever_holds_a_connection() {
    let mut server = HttpServer::start(&["--token", TOKEN]);
    let mut half = TcpStream::connect(&server.address).expect("connected");
    half.write_all(b"POST /mcp HTTP/1.1\r\n").expect("sent");
    std::thread::sleep(Duration::from_millis(300));
    kill(Pid::from_raw(server.server.id() as i32), Signal::SIGTERM).expect("kill");
    let since = Instant::now();
    while server.server.try_wait().expect("wait").is_none() {
        assert!(since.elapsed() < Duration::from_secs(8), "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(half);
}

#[test]
fn the_number_of_sessions_is_bounded_and_those_that_nobody_uses_go_first() {
    let server = HttpServer::start(&[]);
    let host = format!("Host: {}", server.address);
    let mine = server.open();
    server.post(&mine, &call(1, "open('mine.txt', 'w').write('still here')"));
    let first = server.open();
    // Others open sessions, and never go on.
    for _ in 0..100 {
        assert!(server.post(&host, &initialize()).starts_with("HTTP/1.1 200"));
    }
    let answer = server.post(&mine, &call(2, "print(open('mine.txt').read())"));
    assert!(answer.contains("still here"), "{answer}");
    assert!(server.post(&first, &call(1, "1")).starts_with("HTTP/1.1 404"));
}
