//! Whatever is given to a parser, it answers; what it accepts keeps its promises.

use std::path::{Component, Path};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sandbox_core::remote::frame::{Decoder, Frame};
use sandbox_core::remote::{Answer, Request};
use sandbox_core::{ErrorKind, Job, Pattern, RelPath, Runtime, Size};
use serde_json::Value;

/// Pieces of which hostile paths are made.
fn path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("/".to_owned()),
        Just("\\".to_owned()),
        Just("\0".to_owned()),
        Just("%2e%2e".to_owned()),
        Just("\u{202e}".to_owned()),
        "[a-z]{1,3}",
        any::<String>(),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn glob() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("*"),
            Just("**"),
            Just("?"),
            Just("/"),
            Just("["),
            Just("]"),
            Just("[!"),
            Just("{"),
            Just("}"),
            Just(","),
            Just("\\"),
            Just("a"),
            Just(".."),
            Just("-"),
            Just("\u{e9}")
        ],
        0..24,
    )
    .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn an_accepted_path_stays_inside(text in path()) {
        if let Ok(path) = RelPath::new(text.clone()) {
            prop_assert_eq!(path.as_str(), &text);
            let normal = |c: Component<'_>| matches!(c, Component::Normal(_));
            prop_assert!(Path::new(path.as_str()).components().all(normal), "{:?}", text);
            prop_assert!(Path::new("/work").join(path.as_str()).starts_with("/work"));
            prop_assert_eq!(path.components().collect::<Vec<_>>().join("/"), text);
        }
    }

    #[test]
    fn a_glob_is_an_error_or_answers_at_once(text in glob(), path in path()) {
        let since = Instant::now();
        if let Ok(pattern) = Pattern::new(&text) {
            let again = Pattern::new(&pattern.to_string()).expect("its own text");
            prop_assert_eq!(pattern.matches(&path), again.matches(&path));
        }
        // Not a measurement: a pattern that takes exponential time takes minutes.
        prop_assert!(since.elapsed() < Duration::from_secs(10), "{:?} on {:?}", text, path);
    }

    #[test]
    fn any_job_is_built_or_refused_by_field(
        code in any::<String>(), args in proptest::collection::vec(any::<String>(), 0..3),
        name in any::<String>(), value in any::<String>(), file in path(), glob in glob(),
        wall in any::<u64>(), bytes in any::<u64>(), count in any::<u32>(),
    ) {
        let job = Job::source(name.clone(), code).args(args).env(name.clone(), value).file(file, "x")
            .artifact(&glob).tenant(name.clone()).label(name, glob)
            .limit(|limits| {
                limits.wall = Duration::from_nanos(wall);
                limits.cpu = Some(Duration::from_secs(wall));
                limits.memory = Size::b(bytes);
                limits.file_size = Some(Size::b(bytes));
                limits.workspace = Some(Size::b(bytes));
                limits.output = Size::b(bytes);
                limits.artifacts = Size::b(bytes);
                limits.processes = count;
                limits.open_files = count;
                limits.artifact_files = count;
                limits.files = bytes;
            })
            .build();
        match job {
            Ok(job) => prop_assert!(job.limits.wall <= Duration::from_secs(86_400)),
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::InvalidJob);
                prop_assert!(!error.operation().is_empty() && !error.message().is_empty());
                prop_assert!(!error.may_have_run());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_json_are_no_message(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(serde_json::from_slice::<Request>(&bytes).is_err());
        prop_assert!(serde_json::from_slice::<Answer>(&bytes).is_err());
    }

    /// One part of a real message replaced by something else.
    #[test]
    fn a_message_with_one_part_wrong_is_refused_or_a_checked_job(
        which in any::<prop::sample::Index>(), with in json(),
    ) {
        let mut request: Value = serde_json::from_str(include_str!("golden/request-v1.json")).expect("golden");
        replace(&mut request, which, &with);
        if let Ok(request) = serde_json::from_value::<Request>(request)
            && let sandbox_core::remote::Ask::Run(run) = request.ask
        {
            let files = run.files.keys().map(|path| (path.clone(), "x".into())).collect();
            // Accepted or refused, and never with a limit out of range.
            if let Ok(job) = run.to_job(Some("1".into()), None, files) {
                prop_assert!(job.limits.wall <= Duration::from_secs(86_400));
                prop_assert!(job.files.keys().all(|path| !path.as_str().contains("..")));
            }
        }
        let mut answer: Value = serde_json::from_str(include_str!("golden/answer-v1.json")).expect("golden");
        replace(&mut answer, which, &with);
        if let Ok(Answer { body: sandbox_core::remote::Body::Finished(finished), .. }) = serde_json::from_value(answer) {
            let job = Job::python("1").build().expect("job");
            let object = |_: &_| Err(sandbox_core::Error::new(ErrorKind::Lost, "read", "no store"));
            if let Ok(outcome) = finished.into_outcome(&job, [], object) {
                prop_assert!(outcome.stdout.bytes().len() as u64 <= job.limits.output.as_u64());
            }
        }
    }

    /// However a stream is cut, its frames are the same.
    #[test]
    fn frames_do_not_depend_on_pieces(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
        cut in 1usize..17,
    ) {
        let frames: Vec<_> = parts.into_iter().map(|part| Frame::Stdout(part.into())).collect();
        let mut bytes = sandbox_core::remote::frame::MAGIC.to_vec();
        for frame in &frames {
            let (header, payload) = frame.encode();
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(&payload);
        }
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        for piece in bytes.chunks(cut) {
            decoder.push(piece);
            while let Some(frame) = decoder.next().expect("a runner's") {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn bytes_of_any_kind_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for start in [&b""[..], &sandbox_core::remote::frame::MAGIC] {
            let mut decoder = Decoder::new();
            decoder.push(start);
            decoder.push(&bytes);
            while let Ok(Some(_)) = decoder.next() {}
        }
    }
}

fn json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::from(1e300)),
        Just(Value::from(-0.5)),
        path().prop_map(Value::from),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
        Just(serde_json::json!([[[[]]]])),
    ]
}

/// Replaces one of all the values in a tree, the tree itself among them.
fn replace(tree: &mut Value, which: prop::sample::Index, with: &Value) {
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(list) => list.iter().map(count).sum(),
            Value::Object(map) => map.values().map(count).sum(),
            _ => 0,
        }
    }
    fn put(value: &mut Value, at: &mut usize, with: &Value) {
        if *at == 0 {
            *value = with.clone();
        }
        *at = at.wrapping_sub(1);
        match value {
            Value::Array(list) => list.iter_mut().for_each(|item| put(item, at, with)),
            Value::Object(map) => map.values_mut().for_each(|item| put(item, at, with)),
            _ => {}
        }
    }
    let mut at = which.index(count(tree));
    put(tree, &mut at, with);
}

/// A message nested deeper than any reader's stack.
#[test]
fn deep_nesting_is_an_error() {
    for depth in [200, 100_000] {
        let text = "[".repeat(depth) + &"]".repeat(depth);
        assert!(serde_json::from_str::<Request>(&text).is_err());
        let text = format!("{{\"version\":1,\"id\":\"x\",\"ask\":{text}}}");
        assert!(serde_json::from_str::<Request>(&text).is_err());
    }
}

#[test]
fn runtimes_of_any_name_are_only_names() {
    for name in ["../../bin/sh", "/bin/sh", "", "python\n", "-c"] {
        let runtime = Runtime::new(name, "python3", "main.py");
        assert_eq!(runtime.name, name);
        let job = Job::source(name, "1").build();
        assert!(job.is_ok_and(|job| format!("{:?}", job.program).contains("Source")));
    }
}
