//! Bytes on their way in and out, past Lambda's limits and through stores that fail.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_s3::presigning::PresigningConfig;
use sandbox_core::remote::{Ask, Payload, Request, Run, RunProgram};
use sandbox_core::{
    ErrorKind, Event, Executor as _, ExecutorExt as _, Job, LimitKind, Size, Termination,
};
use sandbox_emulator::{BUCKET, Function, Lambda};
use serde_json::{Value, json};
use support::{Cloud, plain, run, s3_client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test]
async fn inputs_past_the_request_limit_go_through_the_store() {
    let (cloud, executor) = Cloud::with_runner().await;
    let large: Vec<u8> = (0..20u32 << 20).map(|n| (n % 251) as u8).collect();
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("large");
    std::fs::write(&path, &large).expect("write");
    let code = format!("# {}\nwc -c <a; cmp a b && sha256sum <b; cat", "x".repeat(8 << 20));
    let job = Job::bash(code).file("a", path.clone()).file("b", large.clone()).stdin("in");
    let outcome = run(&executor, job).await.expect("outcome");
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&large));
    assert_eq!(outcome.stdout.text(), format!("20971520\n{digest}  -\nin"), "{outcome:?}");
    assert!(outcome.artifacts.is_empty(), "unchanged inputs are no artifacts");
    // Equal content is one object, and is not sent again.
    let inputs = || std::fs::read_dir(cloud.s3.objects().join("sandbox/inputs")).expect("inputs");
    assert_eq!(inputs().count(), 2, "the file once, and the code");
    let job = Job::bash("cmp a b && wc -c <a").file("a", path).file("b", large);
    assert_eq!(run(&executor, job).await.expect("outcome").stdout.text(), "20971520\n");
    assert_eq!(inputs().count(), 2);
}

#[tokio::test]
async fn output_past_the_response_limit_arrives_whole() {
    let (cloud, live) = Cloud::with_runner().await;
    let buffered = cloud.builder("sandbox").streaming(false).build().await.expect("executor");
    for executor in [&live, &buffered] {
        let job = Job::bash("seq 1 2000000; seq 1 3 >&2");
        let job = job.limit(|limits| limits.output = Size::mib(16));
        let outcome = run(executor, job).await.expect("outcome");
        let text = outcome.stdout.text();
        assert_eq!(outcome.stdout.total, 14_888_896);
        assert!(text.starts_with("1\n2\n") && text.ends_with("1999999\n2000000\n"));
        assert_eq!(outcome.stderr.text(), "1\n2\n3\n");
    }
}

#[tokio::test]
async fn output_past_what_a_stream_may_carry_keeps_its_count_and_both_ends() {
    let (_cloud, executor) = Cloud::with_runner().await;
    // Lambda ends a stream at 200 MiB; the runner stops sending before, and goes on counting.
    let job = Job::bash("echo first; head -c 220M /dev/zero; echo last");
    let mut execution = executor.start(job.build().expect("job")).await.expect("execution");
    let mut live = 0;
    while let Some(event) = execution.next_event().await {
        if let Event::Stdout(bytes) = event {
            live += bytes.len();
        }
    }
    let outcome = execution.outcome().await.expect("outcome");
    assert!(outcome.is_success(), "{:?}", outcome.termination);
    assert_eq!(outcome.stdout.total, (220 << 20) + 11);
    assert!(
        outcome.stdout.head.starts_with(b"first\n") && outcome.stdout.tail.ends_with(b"last\n")
    );
    assert!((100 << 20..200 << 20).contains(&live), "{live}");
}

#[tokio::test]
async fn a_slow_reader_slows_the_program_and_loses_nothing() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let job = Job::bash("head -c 120M /dev/zero; echo end").build().expect("job");
    let mut execution = executor.start(job).await.expect("execution");
    // Far less than this is buffered on the way, so the program waits meanwhile.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut live = 0;
    while let Some(event) = execution.next_event().await {
        if let Event::Stdout(bytes) = event {
            live += bytes.len();
        }
    }
    let outcome = execution.outcome().await.expect("outcome");
    assert_eq!((live as u64, outcome.stdout.total), ((120 << 20) + 4, (120 << 20) + 4));
    assert!(outcome.usage.wall >= Duration::from_millis(500), "{:?}", outcome.usage);
}

#[tokio::test]
async fn large_and_small_artifacts_come_back_by_digest() {
    let (cloud, executor) = Cloud::with_runner().await;
    let code = "import os\nfor n, s in (('small', 10), ('large', 40 << 20), ('empty', 0)):\n    \
                open(n, 'wb').write(os.urandom(s))\n";
    let outcome = run(&executor, Job::python(code)).await.expect("outcome");
    let sizes: Vec<_> = outcome.artifacts.iter().map(|a| (a.path(), a.size())).collect();
    let expected = [("empty", 0), ("large", 40 << 20), ("small", 10)];
    assert_eq!(sizes, expected, "{:?}", outcome.skipped);
    let folder = tempfile::tempdir().expect("folder");
    for artifact in &outcome.artifacts {
        let saved = artifact.save_to(folder.path()).await.expect("saved");
        assert_eq!(std::fs::metadata(saved).expect("file").len(), artifact.size());
    }
    // Somebody changes the object afterwards: what is read is compared with what was collected.
    let large = outcome.artifact("large").expect("large");
    let jobs = cloud.s3.objects().join("sandbox/jobs");
    let job = std::fs::read_dir(jobs).expect("jobs").next().expect("one").expect("entry");
    std::fs::write(job.path().join("1"), vec![0; 40 << 20]).expect("tamper");
    let error = large.bytes().await.expect_err("tampered");
    assert_eq!(error.kind(), ErrorKind::Lost, "{error}");
    std::fs::remove_file(job.path().join("1")).expect("remove");
    assert_eq!(large.bytes().await.expect_err("gone").kind(), ErrorKind::Lost);
}

#[tokio::test]
async fn ten_thousand_tiny_artifacts_are_all_there() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let code = "for n in range(10000):\n    open(f'f{n}', 'w').write(str(n))\n";
    let job = Job::python(code).limit(|limits| {
        limits.artifact_files = 10_000;
        limits.files = 20_000;
    });
    let outcome = run(&executor, job).await.expect("outcome");
    assert!(outcome.is_success(), "{}", outcome.stderr.text());
    assert_eq!((outcome.artifacts.len(), outcome.skipped.len()), (10_000, 0));
    for number in [0, 1, 4999, 9999] {
        let artifact = outcome.artifact(&format!("f{number}")).expect("artifact");
        assert_eq!(artifact.bytes().await.expect("bytes"), number.to_string());
    }
}

#[tokio::test]
async fn names_that_fight_with_urls_are_only_names() {
    let (cloud, executor) = Cloud::with_runner().await;
    let code = r#"
names = ["%2e%2e", "a b+c&d=e?f#g", "ü/日本.txt", "-rf", "$(x)`y`", "'\"<>|", ".hidden", "a\nb", "x" * 255]
import os
os.mkdir("ü")
for name in names:
    open(name, "wb").write(os.urandom(70000))
"#;
    let outcome = run(&executor, Job::python(code)).await.expect("outcome");
    let names: BTreeSet<_> = outcome.artifacts.iter().map(|a| a.path().to_owned()).collect();
    assert_eq!(names.len(), 9, "{names:?} {:?}", outcome.skipped);
    assert!(names.contains("%2e%2e") && names.contains("ü/日本.txt") && names.contains("a\nb"));
    for artifact in &outcome.artifacts {
        artifact.bytes().await.expect("the bytes that were collected");
    }
    // None of them got into a key.
    let jobs = cloud.s3.objects().join("sandbox/jobs");
    let job = std::fs::read_dir(jobs).expect("jobs").next().expect("one").expect("entry");
    let keys: BTreeSet<_> =
        std::fs::read_dir(job.path()).expect("keys").map(|e| e.expect("key").file_name()).collect();
    assert_eq!(keys, (1..=9).map(|n: u32| n.to_string().into()).collect());
}

#[tokio::test]
async fn a_job_cannot_store_outside_its_prefix_or_more_than_its_size() {
    let (cloud, executor) = Cloud::with_runner().await;
    let address = cloud.lambda.runtime_api("sandbox").await;
    // A job can take the signed form out of its event; this is all that the form is good for.
    let code = format!(
        r#"
import json, urllib.request, urllib.error
event = json.load(urllib.request.urlopen("http://{address}/2018-06-01/runtime/invocation/next"))
form = event["ask"]["run"]["upload"]
def post(key, size):
    parts = dict(form["fields"], key=key)
    body = b"".join(f'--B\r\nContent-Disposition: form-data; name="{{k}}"\r\n\r\n{{v}}\r\n'.encode() for k, v in parts.items())
    body += b'--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + b"x" * size + b"\r\n--B--\r\n"
    request = urllib.request.Request(form["url"], body, {{"Content-Type": "multipart/form-data; boundary=B"}})
    try:
        return urllib.request.urlopen(request).status
    except urllib.error.HTTPError as error:
        return error.code
print(post(form["prefix"] + "77", 10))
print(post("sandbox/results/evil", 10), post(form["prefix"] + "78", form["object_limit"] + 1))
"#
    );
    let job = Job::python(code).limit(|limits| {
        limits.artifacts = Size::mib(1);
        limits.output = Size::kib(1);
    });
    let outcome = run(&executor, job).await.expect("outcome");
    assert_eq!(outcome.stdout.text(), "204\n400 400\n", "{}", outcome.stderr.text());
    assert!(outcome.artifacts.is_empty(), "what the answer does not list is no artifact");
    assert!(!cloud.s3.objects().join("sandbox/results").exists());
}

#[tokio::test]
async fn one_key_is_one_result_also_at_once() {
    let (cloud, executor) = Cloud::with_runner().await;
    let executor = Arc::new(executor);
    let script = "cat /proc/sys/kernel/random/uuid; cat /proc/sys/kernel/random/uuid >made";
    let job = Job::bash(script).idempotency_key("order 7").build().expect("job");
    let runs = (0..4).map(|_| {
        let (executor, job) = (Arc::clone(&executor), job.clone());
        tokio::spawn(async move { executor.run(job).await.expect("outcome") })
    });
    let mut results = BTreeSet::new();
    for run in runs.collect::<Vec<_>>() {
        let outcome = run.await.expect("run");
        let made = outcome.artifact("made").expect("made").bytes().await.expect("bytes");
        results.insert((outcome.stdout.text(), made));
    }
    assert_eq!(results.len(), 1, "{results:?}");
    let stored = std::fs::read_dir(cloud.s3.objects().join("sandbox/results")).expect("results");
    assert_eq!(stored.count(), 1);
    let before = cloud.lambda.invocations().len();
    let outcome = executor.run(job.clone()).await.expect("again");
    assert_eq!(outcome.facts["replayed"], "true");
    assert_eq!(outcome.cost, None);
    assert_eq!(cloud.lambda.invocations().len(), before, "nothing ran");
    // The same key of another tenant is another key; another job under it is a conflict.
    let other = job.to_builder().tenant("other").build().expect("job");
    let outcome = executor.run(other).await.expect("another tenant's");
    assert!(!outcome.facts.contains_key("replayed"));
    let error = executor.run(job.to_builder().arg("x").build().expect("job")).await;
    let error = error.expect_err("conflict");
    assert_eq!((error.kind(), error.may_have_run()), (ErrorKind::Conflict, false), "{error}");
}

/// Forwards to `behind`, and does to each connection what `harm` says.
async fn bad_proxy(behind: String, harm: Harm) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut near, _)) = listener.accept().await {
            match harm {
                Harm::Silence => kept.push(near),
                Harm::CutAfter(most) => {
                    let behind = behind.trim_start_matches("http://").to_owned();
                    tokio::spawn(async move {
                        let mut far = TcpStream::connect(behind).await.expect("store");
                        let mut sent = 0;
                        let mut chunk = vec![0; 16 << 10];
                        while let Ok(length @ 1..) = near.read(&mut chunk).await {
                            sent += length;
                            if sent > most || far.write_all(&chunk[..length]).await.is_err() {
                                break;
                            }
                        }
                    });
                }
                Harm::Refuse => {
                    let answer = "HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n";
                    let _ = near.write_all(answer.as_bytes()).await;
                }
            }
        }
    });
    format!("http://{address}")
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Silence,
    CutAfter(usize),
    Refuse,
}

#[tokio::test]
async fn a_store_that_fails_costs_files_by_name_and_no_time_without_end() {
    let quick = Function { timeout: Duration::from_secs(8), ..Function::runner("quick") };
    let cloud = Cloud::start([quick]).await;
    for harm in [Harm::CutAfter(100_000), Harm::Refuse, Harm::Silence] {
        let proxy = bad_proxy(cloud.s3.endpoint().to_owned(), harm).await;
        let executor = cloud.builder("quick").s3_endpoint(proxy).build().await.expect("executor");
        let since = Instant::now();
        let job = Job::bash("head -c 1000000 /dev/urandom >large; echo 1 >small; exit 7");
        let outcome = run(&executor, job.timeout(Duration::from_secs(2))).await.expect("outcome");
        assert_eq!(outcome.termination, Termination::Exited(7), "{harm:?}");
        let kept: Vec<_> = outcome.artifacts.iter().map(|a| a.path()).collect();
        assert_eq!(kept, ["small"], "{harm:?}");
        assert_eq!(outcome.skipped[0].path, "large", "{harm:?}");
        assert!(outcome.skipped[0].reason.contains("not stored"), "{:?}", outcome.skipped);
        assert!(since.elapsed() < Duration::from_secs(12), "{harm:?}: {:?}", since.elapsed());
    }
    let jobs = cloud.s3.objects().join("sandbox/jobs");
    let partial = std::fs::read_dir(jobs).map_or(0, Iterator::count);
    assert_eq!(partial, 0, "a store that was cut off shows nothing");
}

#[tokio::test]
async fn an_artifact_cap_is_a_limit_that_was_hit() {
    let (_cloud, executor) = Cloud::with_runner().await;
    let job = Job::bash("head -c 300000 /dev/zero >a; head -c 900000 /dev/zero >b");
    let job = job.limit(|limits| limits.artifacts = Size::kib(500));
    let outcome = run(&executor, job).await.expect("outcome");
    assert_eq!(outcome.artifacts.len(), 1);
    assert!(outcome.limits_hit.contains(&LimitKind::Artifacts));
}

/// A request as an attacker of the runner, or an old caller, could send it.
async fn raw(lambda: &Lambda, payload: Value) -> Value {
    let answer = plain(lambda, "sandbox", payload).await;
    answer["body"].clone()
}

fn request(id: &str, files: Value) -> Value {
    let job = Job::bash("cat input").build().expect("job");
    let code = Payload::Inline("cat input".into());
    let program = RunProgram::Source { runtime: "bash".into(), code };
    let run = Run::new(&job, program, None, Default::default());
    let request = Request::new(id, Ask::Run(Box::new(Run { answer_limit: 1 << 20, ..run })));
    let mut value = serde_json::to_value(request).expect("json");
    value["ask"]["run"]["files"] = files;
    value
}

#[tokio::test]
async fn the_runner_refuses_what_it_cannot_read_and_serves_a_request_once() {
    let (cloud, _) = Cloud::with_runner().await;
    let inline = json!({ "input": { "inline": "aGk=" } });
    let good = request("1", inline.clone());
    let body = raw(&cloud.lambda, good.clone()).await;
    assert_eq!(body["finished"]["stdout"]["head"], "aGk=", "{body}");
    let body = raw(&cloud.lambda, good.clone()).await;
    assert_eq!(body["failed"]["kind"], "conflict", "the same request again: {body}");

    let mut newer = good.clone();
    newer["version"] = 2.into();
    let mut unknown = good.clone();
    unknown["ask"]["run"]["protect_more"] = true.into();
    let mut layer = good.clone();
    layer["ask"]["run"]["required"] = json!(["shields"]);
    let mut outside = request("2", json!({ "../input": { "inline": "" } }));
    outside["ask"]["run"]["limits"]["processes"] = 4.into();
    let mut no_limit = request("3", inline.clone());
    no_limit["ask"]["run"]["limits"]["memory"] = 0.into();
    for (payload, kind, text) in [
        (newer, "unsupported", "version 2"),
        (unknown, "invalid_job", "protect_more"),
        (layer, "invalid_job", "shields"),
        (outside, "invalid_job", ".."),
        (no_limit, "invalid_job", "limits.memory"),
        (json!({}), "invalid_job", "version"),
        (json!([1, 2]), "invalid_job", ""),
        (json!("text"), "invalid_job", ""),
    ] {
        let body = raw(&cloud.lambda, payload).await;
        assert_eq!(body["failed"]["kind"], kind, "{body}");
        assert_eq!(body["failed"]["may_have_run"], false, "{body}");
        let said = format!("{}{}", body["failed"]["operation"], body["failed"]["message"]);
        assert!(said.contains(text), "{body}");
    }
}

#[tokio::test]
async fn inputs_that_are_not_what_was_announced_never_reach_a_job() {
    let (cloud, _) = Cloud::with_runner().await;
    let s3 = s3_client(cloud.s3.endpoint());
    s3.put_object().bucket(BUCKET).key("k").body(vec![b'x'; 100].into()).send().await.expect("put");
    let presign = async |life: u64| {
        let config = PresigningConfig::expires_in(Duration::from_secs(life)).expect("config");
        let get = s3.get_object().bucket(BUCKET).key("k").presigned(config).await;
        get.expect("presigned").uri().to_owned()
    };
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest([b'x'; 100]));
    let wrong = hex::encode([0; 32]);
    let (url, short) = (presign(60).await, presign(1).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let staged = |url: &str, size: u64, sha256: &str| json!({ "input": { "staged": { "url": url, "size": size, "sha256": sha256 } } });
    let body = raw(&cloud.lambda, request("good", staged(&url, 100, &digest))).await;
    assert_eq!(body["finished"]["stdout"]["total"], 100, "{body}");
    let nobody = "http://127.0.0.1:9/x".to_owned();
    for (number, (url, size, sha256, text)) in [
        (&short, 100, &digest, "403"),
        (&url, 99, &digest, "more than the 99 bytes"),
        (&url, 101, &digest, "100 of 101 bytes"),
        (&url, 100, &wrong, "others than were announced"),
        (&nobody, 100, &digest, "error sending request"),
    ]
    .into_iter()
    .enumerate()
    {
        let payload = request(&format!("bad {number}"), staged(url, size, sha256));
        let body = raw(&cloud.lambda, payload).await;
        assert_eq!(body["failed"]["kind"], "storage", "{body}");
        assert_eq!(body["failed"]["may_have_run"], false, "{body}");
        let message = body["failed"]["message"].as_str().expect("message");
        assert!(message.contains(text), "{message}");
        assert!(!message.contains("X-Amz-Signature"), "a signed URL is a secret: {message}");
    }
}
