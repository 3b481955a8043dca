//! `sandbox mcp`: with the official SDKs as clients, and with clients that are rude.
//!
//! `scripts/test-tools` installs the SDKs and says where they are.

#[path = "mcp/http.rs"]
mod http;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use http::{HttpServer, call};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const SANDBOX: &str = env!("CARGO_BIN_EXE_sandbox");
const TOKEN: &str = "0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);

/// Where scripts/test-tools has put something.
fn tool(variable: &str) -> PathBuf {
    let tool = std::env::var_os(variable).map(PathBuf::from);
    tool.unwrap_or_else(|| panic!("{variable} is not set; run scripts/test, which sets it up"))
}

fn run_client(mut command: Command) {
    let output = command.output().expect("the client");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("done"), "{text}{output:?}");
}

fn python(arguments: &[&str], mode: &str) {
    let mut command = Command::new(tool("SANDBOX_TEST_MCP_PYTHON"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/client.py"));
    run_client({
        command.args(arguments).env("MCP_MODE", mode);
        command
    });
}

fn typescript(arguments: &[&str]) {
    let mut command = Command::new("node");
    command.env("SANDBOX_TEST_MCP_TS", tool("SANDBOX_TEST_MCP_TS"));
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mcp/client.mjs"));
    run_client({
        command.args(arguments);
        command
    });
}

#[test]
fn the_official_python_client_over_standard_input_and_output() {
    python(&["stdio", SANDBOX], "auto");
    python(&["stdio", SANDBOX], "legacy");
}

#[test]
fn the_official_python_client_over_http() {
    let server = HttpServer::start(&["--token", TOKEN]);
    python(&["http", &server.url(), TOKEN], "auto");
    python(&["http", &server.url(), TOKEN], "legacy");
}

#[test]
fn the_official_typescript_client_over_both() {
    typescript(&["stdio", SANDBOX]);
    let server = HttpServer::start(&[]);
    typescript(&["http", &server.url()]);
}

/// A client that writes what it likes.
struct Client {
    server: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Value>,
}

impl Client {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(SANDBOX);
        command.arg("mcp").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().expect("sandbox mcp");
        let output = BufReader::new(server.stdout.take().expect("stdout"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let answer = serde_json::from_str(&line).expect("only JSON on standard output");
                if sender.send(answer).is_err() {
                    break;
                }
            }
        });
        let input = server.stdin.take();
        let mut client = Self { server, input, answers };
        client.send(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": { "name": "rude", "version": "1" },
        }}));
        client.answer(0);
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn write(&mut self, bytes: &[u8]) {
        self.input.as_mut().expect("open").write_all(bytes).expect("the server reads");
    }

    fn send(&mut self, message: &Value) {
        self.write(format!("{message}\n").as_bytes());
    }

    fn run(&mut self, id: u64, code: &str) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {
            "name": "run_code", "arguments": { "language": "python", "code": code },
            "_meta": { "progressToken": id },
        }}));
    }

    fn cancel(&mut self, id: u64) {
        let params = json!({ "requestId": id, "reason": "test" });
        self.send(
            &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params }),
        );
    }

    /// The next message that the test is for.
    fn next(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left).expect("an answer in time");
            if wanted(&answer) {
                return answer;
            }
        }
    }

    fn answer(&self, id: u64) -> Value {
        self.next(|answer| answer["id"] == id)
    }

    fn text(&self, id: u64) -> String {
        self.answer(id)["result"].to_string()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A program that runs for long and can be found among all processes of this machine.
fn sleeper(mark: &str) -> String {
    format!(
        "import os, sys\nprint('up', flush=True)\n\
         os.execv('/bin/sh', ['sh', '-c', 'sleep 600; : {mark}'])"
    )
}

fn is_alive(mark: &str) -> bool {
    std::fs::read_dir("/proc").expect("/proc").flatten().any(|entry| {
        let cmdline = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&cmdline);
        text.starts_with("sh\0") && text.contains(mark)
    })
}

/// How soon the program is dead.
fn dies(mark: &str) -> Duration {
    let since = Instant::now();
    while is_alive(mark) {
        assert!(since.elapsed() < PATIENCE, "{mark} is still alive");
        std::thread::sleep(Duration::from_millis(5));
    }
    since.elapsed()
}

/// Waits until the program is seen, so that its absence later means something.
fn lives(mark: &str) {
    let since = Instant::now();
    while !is_alive(mark) {
        assert!(since.elapsed() < PATIENCE, "{mark} was never alive");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn garbage_is_answered_or_passed_over_and_the_next_request_is_served() {
    let mut client = Client::start(&[]);
    for garbage in [
        &b"not json\n"[..],
        b"\n\n",
        b"{}\n[]\nnull\n1\n\"text\"\n",
        b"{\"jsonrpc\": \"1.0\", \"id\": 7, \"method\": \"tools/list\"}\n",
        b"{\"jsonrpc\": \"2.0\", \"id\": {}, \"method\": \"tools/list\"}\n",
        b"{\"jsonrpc\": \"2.0\", \"id\": 8, \"method\": \"no/such\"}\n",
        b"{\"jsonrpc\": \"2.0\", \"id\": 9, \"method\": \"tools/call\", \"params\": 5}\n",
        b"{\"jsonrpc\": \"2.0\", \"method\": \"notifications/cancelled\", \"params\": {}}\n",
        b"{\"jsonrpc\": \"2.0\", \"id\": 99, \"result\": {}}\n",
        b"\xff\xfe\0\0\x1b[2J\n",
        &[&[b'['; 100_000][..], b"\n"].concat(),
        &[&[b'x'; 20_000_000][..], b"\n"].concat(),
    ] {
        client.write(garbage);
    }
    client.run(1, "print(6 * 7)");
    assert!(client.text(1).contains("stdout:\\n42"));
}

/// JavaScript's strings can be cut in the middle of a character.
#[test]
fn half_a_character_is_replaced_and_the_call_is_answered() {
    let code = "print(ord('HALF'), '\\u00e9')";
    let half = |id| call(id, code).replace("HALF", "\\ud83d");
    let mut client = Client::start(&[]);
    client.write(format!("{}\n", half(1)).as_bytes());
    let text = client.text(1);
    assert!(text.contains("stdout:\\n65533 é"), "{text}");
    let server = HttpServer::start(&[]);
    let answer = server.post(&server.open(), &half(1));
    assert!(answer.contains("stdout:\\n65533 é"), "{answer}");
}

#[test]
fn a_call_that_is_cancelled_is_dead_also_when_it_is_cancelled_twice() {
    let mut client = Client::start(&[]);
    // Before there is such a call, and of one that there never is.
    client.cancel(1);
    client.cancel(77);
    client.run(1, &sleeper("cancelled-5501"));
    client.next(|message| message["method"] == "notifications/progress");
    lives("cancelled-5501");
    client.cancel(1);
    client.cancel(1);
    dies("cancelled-5501");
    client.cancel(1);
    client.run(2, "print('next')");
    let next = client.next(|message| message["id"] == 1 || message["id"] == 2);
    assert_eq!(next["id"], 2, "a cancelled call is not answered: {next}");
}

#[test]
fn what_a_client_ran_dies_with_it() {
    let mut client = Client::start(&[]);
    client.run(1, &sleeper("vanished-5502"));
    client.next(|message| message["method"] == "notifications/progress");
    lives("vanished-5502");
    // Both its ends are closed, as when it was killed. The thread that reads ends at a message.
    let Client { server, input, answers } = &mut client;
    drop(input.take());
    let (_, empty) = channel();
    drop(std::mem::replace(answers, empty));
    let took = dies("vanished-5502");
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(server.wait().expect("server").success());
}

#[test]
fn a_call_that_is_cancelled_while_it_waits_for_its_turn_never_runs() {
    let mut client = Client::start(&["--jobs", "1"]);
    client.run(1, &sleeper("holds-5506"));
    client.next(|message| message["method"] == "notifications/progress");
    for id in 2..12 {
        client.run(id, &format!("open('made-{id}', 'w')"));
    }
    std::thread::sleep(Duration::from_millis(200));
    for id in 2..12 {
        client.cancel(id);
    }
    client.cancel(1);
    client.run(12, "open('made-12', 'w')");
    let text = client.text(12);
    assert!(text.contains("made-12") && !text.contains("made-2"), "{text}");
}

/// As some launch their servers: both ends are one socket, of which a read cannot be given up.
#[test]
fn over_a_socket_a_signal_ends_the_server_too() {
    for stdio in ["socket", "pipe"] {
        let (own, theirs) = std::os::unix::net::UnixStream::pair().expect("pair");
        let mut command = Command::new(SANDBOX);
        command.arg("mcp");
        match stdio {
            "socket" => {
                let theirs = std::os::fd::OwnedFd::from(theirs);
                command.stdin(theirs.try_clone().expect("clone")).stdout(theirs);
            }
            _ => drop(command.stdin(Stdio::piped()).stdout(Stdio::piped())),
        }
        let mut server = command.spawn().expect("sandbox mcp");
        std::thread::sleep(Duration::from_millis(500));
        kill(Pid::from_raw(server.id() as i32), Signal::SIGTERM).expect("kill");
        let since = Instant::now();
        while server.try_wait().expect("wait").is_none() {
            assert!(since.elapsed() < Duration::from_secs(8), "over a {stdio} it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(own);
    }
}

#[test]
fn what_programs_leave_makes_no_message_that_clients_refuse() {
    let mut client = Client::start(&[]);
    let code = "import os\nfolder = '/'.join(['\u{1F600}' * 60] * 3)\nos.makedirs(folder)\n\
                for n in range(250): open(f'{folder}/{n}.txt', 'w').write('x')\n\
                open('huge.bin', 'wb').write(bytes(9 << 20))";
    client.run(1, code);
    let text = client.text(1);
    assert!(text.len() < 100_000, "{} bytes", text.len());
    client.send(&json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "list_files" } }));
    let text = client.text(2);
    assert!(text.len() < 100_000 && text.contains("more"), "{} bytes", text.len());
    // All are there, page by page.
    let (mut cursor, mut count) = (Value::Null, 0);
    for id in 3.. {
        let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        client.send(
            &json!({ "jsonrpc": "2.0", "id": id, "method": "resources/list", "params": params }),
        );
        let page = client.answer(id);
        count += page["result"]["resources"].as_array().expect("resources").len();
        cursor = page["result"]["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(count, 251);
    client.send(&json!({ "jsonrpc": "2.0", "id": 99, "method": "resources/read", "params": { "uri": "sandbox://files/huge.bin" } }));
    assert!(
        client.answer(99)["error"]["message"].as_str().is_some_and(|why| why.contains("parts"))
    );
}

#[test]
fn a_client_that_only_closes_its_output_is_answered() {
    let mut client = Client::start(&[]);
    client.run(1, "import time\ntime.sleep(.5)\nprint('late')");
    drop(client.input.take());
    assert!(client.text(1).contains("late"));
    assert!(client.server.wait().expect("server").success());
}

#[test]
fn a_client_that_does_not_read_stops_no_program_and_fills_no_memory() {
    let mut command = Command::new(SANDBOX);
    command.arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().expect("sandbox mcp");
    let mut input = server.stdin.take().expect("stdin");
    let mut send = |message: Value| writeln!(input, "{message}").expect("written");
    send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": { "name": "deaf", "version": "1" },
    }}));
    send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    let code = "for n in range(2000): print('x' * 100_000)\nprint('written', n)";
    send(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "run_code", "arguments": { "language": "python", "code": code },
        "_meta": { "progressToken": 1 },
    }}));
    // 200 MB go by; a reader that only now begins finds what was kept, and the end.
    std::thread::sleep(Duration::from_secs(4));
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 64 * 1024, "{peak} KiB");
    let mut lines = BufReader::new(server.stdout.take().expect("stdout")).lines();
    let last = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("\"id\":1")));
    let last = last.expect("an answer").expect("line");
    assert!(last.contains("written 1999") && last.contains("ended well"), "{last}");
    drop(input);
    assert!(server.wait().expect("server").success());
}

#[test]
fn a_signal_ends_the_server_and_what_it_runs() {
    let mut client = Client::start(&[]);
    client.run(1, &sleeper("signalled-5503"));
    client.next(|message| message["method"] == "notifications/progress");
    lives("signalled-5503");
    kill(Pid::from_raw(client.server.id() as i32), Signal::SIGTERM).expect("kill");
    dies("signalled-5503");
    assert!(client.server.wait().expect("server").success());
}

#[test]
fn settings_are_the_tools() {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), "given").expect("write");
    let given = format!("{}:in/data.txt", file.path().display());
    let mut client = Client::start(&[
        "--runtime",
        "python",
        "--timeout",
        "300ms",
        "--longest",
        "1s",
        "--memory",
        "64MiB",
        "--file",
        &given,
    ]);
    client.send(&json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }));
    let tools = client.answer(1);
    let schema = &tools["result"]["tools"][0]["inputSchema"]["properties"];
    assert_eq!(schema["language"]["enum"], json!(["python"]));
    assert_eq!(schema["timeout_seconds"]["maximum"], json!(1.0));
    client.run(2, "print(open('in/data.txt').read())\nimport time\ntime.sleep(9)");
    let text = client.text(2);
    assert!(text.contains("given") && text.contains("0.3 seconds"), "{text}");
}
