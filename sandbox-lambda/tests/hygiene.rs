//! What a hostile job tries inside a function, in the worst case that Lambda may be.
//!
//! An attack that a bare `lambda_runtime` handler can suffer runs there first and works: that is
//! the control. One on parts that only the runner has leaves a mark that it ran. On the runner each
//! fails, or ends as the documents say.

mod support;

use std::time::Duration;

use sandbox_core::{ErrorKind, Job, Layer, LayerState, Size, Termination};
use sandbox_emulator::{Function, Lambda};
use serde_json::{Value, json};
use support::{Cloud, bash, plain, python, run};

/// Finds the runtime's process, its environment and the Runtime API, as an implant would.
const PRELUDE: &str = r#"
import json, os, sys, time, urllib.request, signal, glob

def parent():
    # The nearest ancestor that is not a shell of ours: the runtime.
    for status in glob.glob("/proc/[0-9]*/status"):
        try:
            text = open(status).read()
        except OSError:
            continue
        pid = int(status.split("/")[2])
        name = text.split("\n")[0].split("\t")[1]
        if name in ("runtime", "sandbox-runner", "plain-runtime"):
            return pid
    return os.getppid()

def attempt(what, action):
    try:
        print(what, "WORKED", action())
    except Exception as error:
        print(what, "failed", type(error).__name__, error)

def api(method, path, body=None):
    url = "http://" + API + "/2018-06-01/runtime/invocation/" + path
    request = urllib.request.Request(url, data=body, method=method)
    with urllib.request.urlopen(request, timeout=5) as reply:
        return {k.lower(): v for k, v in reply.headers.items()}, reply.read().decode()
"#;

fn attack(body: &str) -> String {
    format!("{PRELUDE}\n{body}")
}

/// Runs an attack on the bare handler, and with it the address of its Runtime API.
async fn on_plain(lambda: &Lambda, function: &str, body: &str) -> Value {
    let api = "API = os.environ.get('AWS_LAMBDA_RUNTIME_API', '')";
    let code = format!("import os\n{api}\n{}", attack(body));
    plain(lambda, function, json!({ "command": ["/usr/bin/python3", "-c", code] })).await
}

/// What of a job's output begins with `what`.
fn line<'a>(output: &'a str, what: &str) -> &'a str {
    let found = output.lines().find(|line| line.starts_with(what));
    found.unwrap_or_else(|| panic!("the attack {what} did not run: {output}"))
}

fn stdout(reply: &Value) -> String {
    reply["stdout"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
}

const READ_RUNNER: &str = r#"
pid = parent()
print("runtime", pid, os.getuid())
attempt("environ", lambda: "role-secret-canary" in open(f"/proc/{pid}/environ").read())
def memory():
    start = int(open(f"/proc/{pid}/maps").readline().split("-")[0], 16)
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        mem.seek(start)
        return mem.read(4)
attempt("memory", memory)
attempt("descriptors", lambda: os.listdir(f"/proc/{pid}/fd"))
attempt("stdout", lambda: open(f"/proc/{pid}/fd/1", "w").close())
attempt("root", lambda: os.readlink(f"/proc/{pid}/exe"))
attempt("own", lambda: os.environ["AWS_SECRET_ACCESS_KEY"])
"#;

#[tokio::test]
async fn the_runners_environment_memory_and_descriptors_cannot_be_read() {
    let cloud = Cloud::start([Function::runner("sandbox"), Function::plain("plain")]).await;
    let control = stdout(&on_plain(&cloud.lambda, "plain", READ_RUNNER).await);
    for what in ["environ", "memory", "descriptors", "root", "own"] {
        assert!(line(&control, what).contains("WORKED"), "{control}");
    }
    let executor = cloud.executor("sandbox").await;
    let out = python(&executor, &attack(READ_RUNNER)).await;
    assert!(!line(&out, "runtime").is_empty());
    for what in ["environ", "memory", "descriptors", "stdout", "root", "own"] {
        assert!(line(&out, what).contains("failed"), "{what}: {out}");
    }
    assert!(!out.contains("canary"), "{out}");
}

#[tokio::test]
async fn the_supervisor_of_a_job_cannot_be_read_either() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let code = r#"
ppid = os.getppid()
print("parent", open(f"/proc/{ppid}/comm").read().strip())
attempt("environ", lambda: open(f"/proc/{ppid}/environ").read())
attempt("memory", lambda: open(f"/proc/{ppid}/mem", "rb"))
attempt("descriptors", lambda: os.listdir(f"/proc/{ppid}/fd"))
"#;
    let out = python(&executor, &attack(code)).await;
    for what in ["environ", "memory", "descriptors"] {
        assert!(line(&out, what).contains("failed"), "{what}: {out}");
    }
}

#[tokio::test]
async fn the_runtime_api_gives_a_job_nothing_but_its_own_event() {
    let cloud = Cloud::start([Function::runner("sandbox"), Function::plain("plain")]).await;
    let next = r#"attempt("next", lambda: api("GET", "next"))"#;
    let control = stdout(&on_plain(&cloud.lambda, "plain", next).await);
    assert!(line(&control, "next").contains("WORKED"), "{control}");
    let executor = cloud.executor("sandbox").await;
    // The address is well known in Lambda; here it is given.
    let address = cloud.lambda.runtime_api("sandbox").await;
    let code = format!("API = {address:?}\n{}", attack(next));
    let out = python(&executor, &code).await;
    let reply = line(&out, "next");
    assert!(reply.contains("WORKED"), "{out}");
    // Its own code, files and signed requests; no credentials, nobody else's event.
    assert!(reply.contains("x-amz-signature") && !reply.contains("canary"), "{out}");
}

#[tokio::test]
async fn a_daemon_never_sees_the_next_callers_event() {
    let functions = [Function::runner("sandbox"), Function::plain("plain")];
    let cloud = Cloud::start(functions.map(|f| Function { concurrency: 1, ..f })).await;
    // Leaves its session and group, and asks for events as fast as it can.
    let daemon = r#"
def steal():
    while True:
        try:
            headers, event = api("GET", "next")
            if "THE-VICTIM" in event and "not me" not in event:
                stolen = json.dumps({"stolen": True}).encode()
                api("POST", headers["lambda-runtime-aws-request-id"] + "/response", stolen)
        except Exception:
            time.sleep(0.01)
if os.fork() == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.close(fd)
    if os.fork() == 0:
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        steal()
    os._exit(0)
os.wait()
print("daemon started; not me")
"#;
    let started = stdout(&on_plain(&cloud.lambda, "plain", daemon).await);
    assert!(started.contains("daemon started"), "{started}");
    let mut stolen = false;
    for _ in 0..3 {
        let event = json!({ "secret": "THE-VICTIM", "command": ["/bin/sleep", "0.3"] });
        let victim = plain(&cloud.lambda, "plain", event).await;
        stolen |= victim["stolen"] == json!(true);
    }
    assert!(stolen, "the control: the daemon answers in the runtime's place");

    let executor = cloud.executor("sandbox").await;
    let address = cloud.lambda.runtime_api("sandbox").await;
    let code = format!("API = {address:?}\n{}", attack(daemon));
    let out = python(&executor, &code).await;
    assert!(out.contains("daemon started"), "{out}");
    for _ in 0..3 {
        let victim = bash(&executor, "sleep 0.3; echo THE-VICTIM is fine").await;
        assert_eq!(victim, "THE-VICTIM is fine\n");
    }
    assert_eq!(cloud.lambda.environments("sandbox").await, 1, "all in one environment");
}

#[tokio::test]
async fn nothing_of_a_job_is_alive_or_on_disk_for_the_next() {
    let functions = [Function::runner("sandbox"), Function::plain("plain")];
    let cloud = Cloud::start(functions.map(|f| Function { concurrency: 1, ..f })).await;
    let leave = "mkdir -p /tmp/a/b/c; echo secret >/tmp/a/b/c/left; echo x >/tmp/.hidden; \
                 chmod 0 /tmp/a; ln -s / /tmp/link; mkfifo /tmp/fifo; \
                 setsid sleep 98765 >/dev/null 2>&1 & exit 0";
    let look = "chmod 700 /tmp/a 2>/dev/null; find /tmp -mindepth 1 | grep -v /tmp/sandbox- | sort; \
                grep -al '9876[5]' /proc/[0-9]*/cmdline; exit 0";
    let shell = |script: &str| json!({ "command": ["/bin/bash", "-c", script] });
    plain(&cloud.lambda, "plain", shell(leave)).await;
    let control = stdout(&plain(&cloud.lambda, "plain", shell(look)).await);
    for left in ["/tmp/a/b/c/left", "/tmp/.hidden", "/tmp/link", "/cmdline"] {
        assert!(control.contains(left), "{control}");
    }
    let executor = cloud.executor("sandbox").await;
    let outcome = run(&executor, Job::bash(leave)).await.expect("outcome");
    assert_eq!(outcome.enforcement.state(Layer::Cleanup), &LayerState::Enforced);
    assert_eq!(bash(&executor, look).await, "");
    assert_eq!(cloud.lambda.environments("sandbox").await, 1, "in one environment");
}

#[tokio::test]
async fn processes_that_hop_from_pid_to_pid_do_not_escape() {
    let (cloud, executor) = Cloud::with_runner().await;
    // Each process lives for a moment, and forks the next before it ends.
    let hop = r#"
if os.fork() == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.close(fd)
    while True:
        if os.fork() != 0:
            os._exit(0)
        open("/tmp/beat", "w").write(str(os.getpid()))
time.sleep(0.2)
print("hopping", os.path.exists("/tmp/beat"))
"#;
    let out = python(&executor, &attack(hop)).await;
    assert!(out.contains("hopping True"), "{out}");
    let look = "sleep 0.2; ls /tmp/beat 2>/dev/null; ls -d /proc/[0-9]* | wc -l";
    let after = bash(&executor, look).await;
    assert!(!after.contains("beat"), "{after}");
    assert_eq!(cloud.lambda.environments("sandbox").await, 1);
}

#[tokio::test]
async fn a_job_can_neither_answer_in_the_runners_place_nor_get_the_next_event() {
    let cloud = Cloud::start([Function::runner("sandbox"), Function::plain("plain")]).await;
    let forge = r#"
def forge():
    headers, _ = api("GET", "next")
    return api("POST", headers["lambda-runtime-aws-request-id"] + "/response", b'{"forged": true}')
attempt("forge", forge)
attempt("once more", forge)
"#;
    let control = on_plain(&cloud.lambda, "plain", forge).await;
    assert_eq!(control, json!({ "forged": true }), "the control: the forgery is the answer");
    // The runner's own answer has begun before the job does, so there is no room for another, and
    // nobody gets an event meanwhile.
    for streaming in [true, false] {
        let executor = cloud.builder("sandbox").streaming(streaming).build().await.expect("made");
        let address = cloud.lambda.runtime_api("sandbox").await;
        let code = format!("API = {address:?}\n{}", attack(forge));
        let outcome = run(&executor, Job::python(code)).await.expect("the runner's answer");
        let out = outcome.stdout.text();
        assert!(outcome.is_success(), "{}", outcome.stderr.text());
        for what in ["forge", "once more"] {
            assert!(line(&out, what).contains("failed"), "{streaming}: {out}");
        }
        assert_eq!(bash(&executor, "echo fine").await, "fine\n");
    }
}

#[tokio::test]
async fn a_process_whose_first_thread_has_ended_is_not_taken_for_dead() {
    let (cloud, executor) = Cloud::with_runner().await;
    // The process looks like a zombie, and its other thread goes on.
    let code = r#"
import threading, ctypes
if os.fork() == 0:
    os.setsid()
    for fd in (0, 1, 2):
        os.close(fd)
    def beat():
        while True:
            try:
                open("/tmp/beat", "w").close()
            except OSError:
                pass
            time.sleep(0.01)
    threading.Thread(target=beat).start()
    ctypes.CDLL(None).syscall(60, 0)
time.sleep(0.3)
states = [open(path).read() for path in glob.glob("/proc/[0-9]*/status")]
print("leader is gone", any("(zombie)" in text and "Threads:\t1" not in text for text in states))
print("beats", os.path.exists("/tmp/beat"))
"#;
    let out = python(&executor, &attack(code)).await;
    assert!(out.contains("leader is gone True") && out.contains("beats True"), "{out}");
    assert_eq!(bash(&executor, "sleep 0.2; ls /tmp | grep beat; echo fine").await, "fine\n");
    assert_eq!(cloud.lambda.environments("sandbox").await, 1, "in one environment");
}

#[tokio::test]
async fn a_job_that_changes_the_runners_limits_costs_only_a_new_runner() {
    let (cloud, executor) = Cloud::with_runner().await;
    let code = r#"
import resource
runner = parent()
def lower():
    resource.prlimit(runner, resource.RLIMIT_NPROC, (1, 1))
    os.sched_setaffinity(runner, {0})
    return resource.prlimit(runner, resource.RLIMIT_NPROC)
attempt("lower", lower)
"#;
    let outcome = run(&executor, Job::python(attack(code))).await.expect("outcome");
    assert!(outcome.stdout.text().contains("lower WORKED"), "{}", outcome.stdout.text());
    let LayerState::Degraded(why) = outcome.enforcement.state(Layer::Cleanup) else {
        panic!("{:?}", outcome.enforcement)
    };
    assert!(why.contains("limits"), "{why}");
    assert_eq!(bash(&executor, "echo fine").await, "fine\n");
    assert_eq!(cloud.lambda.environments("sandbox").await, 1, "a new runner in the same one");
}

#[tokio::test]
async fn shared_memory_does_not_outlive_its_job() {
    let functions = [Function::runner("sandbox"), Function::plain("plain")];
    let cloud = Cloud::start(functions.map(|f| Function { concurrency: 1, ..f })).await;
    let leave = r#"
import ctypes
libc = ctypes.CDLL(None)
print("made", libc.shmget(0x5eed, 4096, 0o1600) >= 0, libc.semget(0x5eed, 1, 0o1600) >= 0, libc.msgget(0x5eed, 0o1600) >= 0)
"#;
    let look = "import ctypes\nlibc = ctypes.CDLL(None)\nprint('found', libc.shmget(0x5eed, 0, 0), \
                libc.semget(0x5eed, 0, 0), libc.msgget(0x5eed, 0))";
    assert!(stdout(&on_plain(&cloud.lambda, "plain", leave).await).contains("made True True True"));
    let control = stdout(&on_plain(&cloud.lambda, "plain", look).await);
    assert!(!control.contains("-1"), "the control: {control}");
    let executor = cloud.executor("sandbox").await;
    assert!(python(&executor, &attack(leave)).await.contains("made True True True"));
    assert!(python(&executor, look).await.contains("found -1 -1 -1"));
}

#[tokio::test]
async fn a_supervisor_that_is_stopped_or_blinded_or_killed_holds_nothing_up() {
    let (_cloud, executor) = Cloud::with_runner().await;
    for (name, code) in [
        ("stopped", "os.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(60)"),
        (
            "blinded",
            "import resource\nresource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (0, 0))\n\
             time.sleep(60)",
        ),
        (
            "killed, and children flood the output",
            "for _ in range(4):\n    if os.fork() == 0:\n        os.execvp('yes', ['yes'])\n\
             time.sleep(0.2)\nos.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)",
        ),
    ] {
        let since = std::time::Instant::now();
        let job = Job::python(attack(code)).timeout(Duration::from_secs(2));
        let error = run(&executor, job).await.expect_err(name);
        assert_eq!(error.kind(), ErrorKind::Lost, "{name}: {error}");
        assert!(error.may_have_run(), "{name}: {error}");
        assert!(since.elapsed() < Duration::from_secs(8), "{name}: {:?}", since.elapsed());
        assert_eq!(bash(&executor, "echo fine").await, "fine\n", "{name}");
    }
}

#[tokio::test]
async fn a_killed_runner_is_an_error_of_its_own_and_the_next_job_is_safe() {
    let functions = [Function::runner("sandbox")];
    let cloud = Cloud::start(functions.map(|f| Function { concurrency: 1, ..f })).await;
    let executor = cloud.executor("sandbox").await;
    // Stops the supervisor, which would end the job, kills the runner, and leaves a process.
    let kill = r#"
if os.fork() == 0:
    os.setsid()
    open("/tmp/left", "w").write("left")
    time.sleep(98765)
time.sleep(0.1)
runner = parent()
os.kill(os.getppid(), signal.SIGSTOP)
os.kill(runner, signal.SIGKILL)
time.sleep(5)
"#;
    let error = run(&executor, Job::python(attack(kill))).await.expect_err("killed");
    assert_eq!(error.kind(), ErrorKind::RunnerExited, "{error}");
    assert!(error.may_have_run() && !error.is_retryable(), "{error}");
    let look = "ls /tmp/left 2>/dev/null; grep -al '9876[5]' /proc/[0-9]*/cmdline; echo fine";
    assert_eq!(bash(&executor, look).await, "fine\n");
    assert_eq!(cloud.lambda.environments("sandbox").await, 1, "in the same environment");
}

#[tokio::test]
async fn a_stopped_runner_ends_at_the_functions_timeout() {
    let short = Function { timeout: Duration::from_secs(6), ..Function::runner("short") };
    let cloud = Cloud::start([short]).await;
    let executor = cloud.executor("short").await;
    let stop = r#"
print("stopping", flush=True)
time.sleep(0.2)
os.kill(parent(), signal.SIGSTOP)
time.sleep(60)
"#;
    let job = Job::python(attack(stop)).timeout(Duration::from_secs(2));
    let outcome = run(&executor, job).await.expect("outcome");
    let Termination::WallTime(evidence) = &outcome.termination else {
        panic!("{:?}", outcome.termination)
    };
    assert_eq!(evidence.limit, Duration::from_secs(6), "the platform's limit, not the job's");
    assert_eq!(outcome.stdout.text(), "stopping\n");
    assert!(outcome.facts.contains_key("incomplete"), "{:?}", outcome.facts);
    let job = Job::bash("echo fine").timeout(Duration::from_secs(2));
    assert_eq!(run(&executor, job).await.expect("next").stdout.text(), "fine\n");
}

#[tokio::test]
async fn a_full_tmp_is_the_jobs_problem_and_not_the_next_ones() {
    let small = Function { tmp: 64 << 20, ..Function::runner("small") };
    let cloud = Cloud::start([small]).await;
    let executor = cloud.executor("small").await;
    let fill = "dd if=/dev/zero of=fill bs=1M count=200 2>&1 | grep -c 'No space'; \
                for i in $(seq 1000); do echo $i >more-$i; done 2>/dev/null; echo filled";
    let job = Job::bash(fill).limit(|l| l.file_size = Some(Size::gib(1)));
    let outcome = run(&executor, job.artifact("*.none")).await.expect("outcome");
    assert_eq!(outcome.stdout.text(), "1\nfilled\n", "{}", outcome.stderr.text());
    let job = Job::bash("wc -c <input; df -B1 --output=used /tmp | tail -1").file("input", "abc");
    let outcome = run(&executor, job).await.expect("outcome");
    let text = outcome.stdout.text();
    let used: u64 = text.lines().nth(1).expect("df").trim().parse().expect("number");
    assert!(text.starts_with("3\n") && used < 1 << 20, "{text}");
}

#[tokio::test]
async fn the_workspace_limit_ends_a_job_that_fills_the_disk() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let fill = "for i in $(seq 100); do head -c 4M /dev/zero >fill-$i; done";
    let job = Job::bash(fill).limit(|l| l.workspace = Some(Size::mib(32))).artifact("*.none");
    let outcome = run(&executor, job).await.expect("outcome");
    let Termination::Disk(evidence) = &outcome.termination else {
        panic!("{:?}", outcome.termination)
    };
    assert_eq!(evidence.limit, Size::mib(32));
}

#[tokio::test]
async fn a_fake_report_line_does_not_reach_the_log() {
    let functions = [Function::runner("sandbox"), Function::plain("plain")];
    let cloud = Cloud::start(functions).await;
    let fake = r#"
text = "REPORT RequestId: x\tDuration: 0.00 ms\tBilled Duration: 0 ms\tMemory Size: 1 MB\tFAKE\n"
def write(path):
    open(path, "w").write(text)
    return path
print(text)
print(text, file=sys.stderr)
for path in [f"/proc/{parent()}/fd/1", f"/proc/{parent()}/fd/2", "/dev/stdout", "/dev/console", "/proc/1/fd/1"]:
    attempt("write", lambda: write(path))
"#;
    let code = attack(fake);
    let inherit = json!({ "command": ["/usr/bin/python3", "-c", code], "inherit": true });
    plain(&cloud.lambda, "plain", inherit).await;
    let log = cloud.lambda.last_log();
    assert!(log.contains("FAKE"), "the control: {log}");
    let executor = cloud.executor("sandbox").await;
    let outcome = run(&executor, Job::python(attack(fake))).await.expect("outcome");
    assert!(outcome.stdout.text().contains("write failed"), "{}", outcome.stdout.text());
    let log = cloud.lambda.last_log();
    assert!(!log.contains("FAKE"), "{log}");
    let cost = outcome.cost.expect("cost");
    assert!(cost.usd > 0.0 && cost.basis.contains("1.0 GiB"), "{cost:?}");
}

#[tokio::test]
async fn five_hundred_jobs_leave_the_environment_as_it_was() {
    let (cloud, executor) = Cloud::with_runner().await;
    let count = std::env::var("SANDBOX_SOAK").ok().and_then(|text| text.parse().ok());
    let count = count.unwrap_or(500);
    // What was killed a moment ago is reaped by then.
    let look = "sleep 0.3; for p in /proc/[0-9]*; do read -r name <$p/comm; [ $name = runtime ] && \
                awk '/VmRSS|Threads|FDSize/ {print $1 $2}' $p/status; done; \
                ls -d /proc/[0-9]* | wc -l; ls -A /tmp | wc -l";
    for _ in 0..20 {
        bash(&executor, "echo warm >file; setsid sleep 1000 >/dev/null 2>&1 &").await;
    }
    let before = bash(&executor, look).await;
    for number in 0..count {
        let out = bash(&executor, &format!("echo {number} >f; cat f; setsid sleep 1000 &")).await;
        assert_eq!(out, format!("{number}\n"));
    }
    let after = bash(&executor, look).await;
    assert_eq!(cloud.lambda.environments("sandbox").await, 1, "in one environment");
    let parse = |text: &str| -> Vec<u64> {
        let digits = |line: &str| line.chars().filter(char::is_ascii_digit).collect::<String>();
        text.lines().map(|line| digits(line).parse().expect("number")).collect()
    };
    let (was, is) = (parse(&before), parse(&after));
    assert_eq!(was.len(), 5, "{before}");
    let names = ["descriptors", "memory", "threads", "processes", "files"];
    for (index, name) in names.iter().enumerate() {
        // Memory in KiB may move by some pages, threads up to the runner's few for blocking work.
        let slack = match *name {
            "memory" => 4096,
            "threads" => 4,
            _ => 0,
        };
        assert!(is[index] <= was[index] + slack, "{name}: {before}\n{after}");
    }
}
