//! The tool with which models run code, on real interpreters.
//!
//! `scripts/test` installs what these need, and says where the virtual environment is.

#[path = "support/venv.rs"]
mod venv;

use std::time::Duration;

use sandbox::{
    CodeTool, CodeToolBuilder, ErrorKind, Event, FakeExecutor, Fault, LocalExecutor, Part, Reply,
    Runtime, Size, Termination, printable,
};
use serde_json::{Value, json};

async fn executor() -> LocalExecutor {
    let python = Runtime::python().with_interpreter(venv::python());
    LocalExecutor::builder().runtime(python).build().await.expect("executor")
}

async fn builder() -> CodeToolBuilder {
    CodeTool::builder(executor().await).job(|job| job.memory(Size::gib(1)))
}

async fn tool() -> CodeTool {
    builder().await.build().expect("tool")
}

async fn call(tool: &CodeTool, language: &str, code: &str) -> Reply {
    tool.call(json!({ "language": language, "code": code })).await
}

fn first(reply: &Reply) -> &str {
    match &reply.content[0] {
        Part::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

fn images(reply: &Reply) -> usize {
    reply.content.iter().filter(|part| matches!(part, Part::Image { .. })).count()
}

#[tokio::test]
async fn a_model_sees_what_was_printed_and_that_it_should_print() {
    let tool = tool().await;
    let reply = call(&tool, "python", "print(6 * 7)").await;
    assert!(!reply.is_error, "{reply:?}");
    assert_eq!(reply.content[1], Part::Text("stdout:\n42\n".into()));
    assert!(first(&reply).starts_with("The program ended well after "), "{reply:?}");
    let reply = call(&tool, "python", "6 * 7").await;
    assert!(first(&reply).contains("print what you need to see"), "{reply:?}");
    for (language, code) in
        [("r", "cat(6 * 7)"), ("node", "console.log(6 * 7)"), ("bash", "echo $((6 * 7))")]
    {
        let reply = call(&tool, language, code).await;
        assert!(!reply.is_error && reply.text().contains("stdout:\n42"), "{reply:?}");
    }
}

#[tokio::test]
async fn figures_are_images_and_so_are_saved_ones() {
    let tool = tool().await;
    let code = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\n\
                plt.bar([1], [2])\nplt.savefig('bar.png')";
    let reply = call(&tool, "python", code).await;
    assert_eq!(images(&reply), 2, "{}", reply.text());
    assert!(first(&reply).contains("Images, in order: figure 1 ("), "{}", reply.text());
    assert!(first(&reply).contains("\"bar.png\" (640 x 480)"), "{}", reply.text());
    let reply = call(&tool, "r", "plot(1:3)").await;
    assert_eq!(images(&reply), 1, "{}", reply.text());

    // An API that is sent what it cannot read refuses the whole conversation.
    let code = "import os, zlib, struct\n\
        open('script.png', 'w').write('<script>')\n\
        open('drawing.svg', 'w').write('<svg xmlns=\"http://www.w3.org/2000/svg\"/>')\n\
        image = open('bar.png', 'rb').read()\n\
        open('half.png', 'wb').write(image[:len(image) // 2])\n\
        open('wide.png', 'wb').write(image[:16] + struct.pack('>II', 90000, 1) + image[24:])\n\
        open('large.png', 'wb').write(image[:-12] + bytes(4 << 20) + image[-12:])\n\
        open('true.jpg', 'wb').write(image)";
    let reply = call(&tool, "python", code).await;
    assert_eq!(images(&reply), 1, "{}", reply.text());
    assert!(matches!(&reply.content[1], Part::Image { media_type: "image/png", .. }));
    for (name, why) in [
        ("script.png", "not PNG"),
        ("drawing.svg", "not PNG"),
        ("half.png", "cut off"),
        ("wide.png", "90000 x 1 pixels"),
        ("large.png", "lower dpi"),
    ] {
        let line =
            first(&reply).lines().find(|line| line.starts_with(&format!("Not shown: \"{name}")));
        assert!(line.is_some_and(|line| line.contains(why)), "{name}: {}", reply.text());
    }
    let code =
        "import matplotlib.pyplot as plt\nfor n in range(12):\n    plt.plot([n])\n    plt.show()";
    let reply = call(&tool, "python", code).await;
    assert_eq!(images(&reply), 8);
    assert!(first(&reply).contains("Not shown: figure 12: a reply has at most 8"), "{reply:?}");
}

#[tokio::test]
async fn files_are_there_for_the_next_call_and_nothing_else_is() {
    let tool = builder().await.file("data.csv", "a\n1\n").keep_files(Size::kib(64)).build();
    let tool = tool.expect("tool");
    assert!(tool.definition().description.contains("\"data.csv\" (4 B)"), "{tool:?}");
    let code = "import os\nx = open('data.csv').read()\nos.makedirs('out')\n\
                open('out/b.txt', 'w').write(x * 2)\nopen('/tmp/t', 'w').write('1')";
    let reply = call(&tool, "python", code).await;
    assert!(first(&reply).contains("\"out/b.txt\" (8 B, from this call)"), "{}", reply.text());
    assert!(first(&reply).contains("variables and imports are gone"), "{}", reply.text());
    let code = "import os\nprint(open('out/b.txt').read(), os.path.exists('/tmp/t'), 'x' in dir())";
    let reply = call(&tool, "python", code).await;
    assert!(reply.text().contains("a\n1\na\n1\n False False"), "{}", reply.text());
    let made: Vec<_> = reply.outcome.iter().flat_map(|outcome| &outcome.artifacts).collect();
    assert!(made.is_empty(), "{made:?}");
    let code = "open('big', 'w').write('x' * 70000)\nopen('data.csv', 'w').write('b')";
    let reply = call(&tool, "python", code).await;
    let facts = first(&reply);
    assert!(
        facts.contains("Not kept: \"big\": the files that are kept have at most 64.0 KiB"),
        "{facts}"
    );
    assert_eq!(tool.read_file("data.csv").expect("file").as_ref(), b"b");
    tool.add_file("more.txt", "m").expect("room");
    assert_eq!(tool.add_file("../x", "m").expect_err("outside").kind(), ErrorKind::InvalidJob);
    let reply = call(&tool, "bash", "cat more.txt; ls; ls -a .displays 2>&1 | head -1").await;
    assert!(reply.text().contains("mdata.csv\nmain.sh\nmore.txt\nout\n"), "{}", reply.text());

    // What a program removes or renames is gone, and its room is there for others.
    let _ = call(&tool, "bash", "rm data.csv; mv more.txt renamed.txt").await;
    let paths: Vec<_> = tool.files().into_iter().map(|file| file.path).collect();
    assert_eq!(paths, ["out/b.txt", "renamed.txt"]);
    let large = "rm -r out renamed.txt; head -c 60000 /dev/zero > large";
    assert!(
        first(&call(&tool, "bash", large).await).contains("\"large\" (58.6 KiB, from this call)")
    );
    let reply = call(&tool, "bash", "rm large; head -c 60000 /dev/urandom > other").await;
    assert!(first(&reply).contains("\"other\" (58.6 KiB, from this call)"), "{}", reply.text());
    assert!(tool.remove_file("other") && !tool.remove_file("other"));
    let reply = call(&tool, "bash", "ls").await;
    assert!(reply.text().contains("stdout:\nmain.sh\n"), "{}", reply.text());

    let none = builder().await.keep_files(Size::b(0)).build().expect("tool");
    let reply = call(&none, "python", "open('a', 'w').write('1')").await;
    assert!(first(&reply).contains("Not kept: \"a\""), "{}", reply.text());
    assert!(none.files().is_empty());
}

/// No file of one call can make the next one impossible.
#[tokio::test]
async fn files_do_not_take_the_place_of_programs() {
    let tool = tool().await;
    for code in [
        "for name in ['main.py', 'main.R', 'main.js', 'main.sh']: open(name, 'w').write('x')",
        "import os\nos.remove('main.py')\nos.mkdir('main.py')\nopen('main.py/x', 'w')",
        "import shutil\nshutil.rmtree('.displays')\nopen('.displays', 'w')",
        "open('.displays/_displays.py', 'w').write('x' * (17 << 20))",
        "import os\nos.remove('.displays/_displays.py')\nos.makedirs('.displays/_displays.py/x')",
    ] {
        let reply = call(&tool, "python", code).await;
        assert!(!reply.is_error, "{code}: {}", reply.text());
        for language in ["python", "r", "node", "bash"] {
            let next = if language == "bash" { "true" } else { "1 + 1" };
            let reply = call(&tool, language, next).await;
            assert!(!reply.is_error, "{language} after {code}: {}", reply.text());
        }
    }
    assert!(tool.files().is_empty(), "{:?}", tool.files());
}

/// However hostile its names and however many its files.
#[tokio::test]
async fn what_the_sandbox_says_is_short() {
    let tool = tool().await;
    let code = "import os\nfor n in range(900): os.symlink('x', '\u{1F600}' * 50 + str(n))\n\
                for n in range(250): open('\u{1F600}' * 60 + f'{n}.png', 'w').write('x')\n\
                print('\x1b_G')\nprint('seen')";
    let reply = call(&tool, "python", code).await;
    let facts = first(&reply);
    assert!(facts.len() < 20 * 1024, "{} bytes", facts.len());
    assert!(facts.contains("Not kept: ") && facts.contains(" more."), "{facts}");
    assert!(facts.contains("more\n") || facts.ends_with("more"), "{facts}");
    assert!(reply.text().contains("seen"));
    assert!(tool.definition().description.len() < 10 * 1024);
}

#[tokio::test]
async fn what_is_shown_of_a_file_is_bounded_and_never_empty() {
    let tool = builder().await.text(Size::kib(1)).image_bytes(Size::b(100)).build().expect("tool");
    tool.add_file("none.txt", "").expect("room");
    tool.add_file("raw.bin", vec![0u8, 159, 146]).expect("room");
    // Part by part, also where characters become longer, nothing is lost and nothing comes twice.
    for content in ["größer\n".repeat(500), "a\u{1}é\u{1b}".repeat(500)] {
        tool.add_file("long.txt", content.clone()).expect("room");
        let (mut text, mut offset) = (String::new(), 0);
        loop {
            let reply = tool.show_file("long.txt", offset);
            assert!(!reply.is_error && reply.text().len() < 1200, "{}", reply.text());
            let Part::Text(part) = &reply.content[1] else { panic!("{reply:?}") };
            text += part;
            let rest = first(&reply).split("the rest begins at offset ").nth(1);
            let Some(next) = rest.and_then(|rest| rest.trim_end_matches('.').parse().ok()) else {
                break;
            };
            offset = next;
        }
        assert_eq!(text, printable(&content));
    }
    assert_eq!(tool.show_file("none.txt", 0).text(), "\"none.txt\" is empty.");
    for (path, offset, expected) in [
        ("raw.bin", 0, "is no text"),
        ("long.txt", 1 << 40, "smaller offset"),
        ("../x", 0, "There is no file"),
        (&"x".repeat(100_000), 0, "There is no file"),
    ] {
        let reply = tool.show_file(path, offset);
        assert!(reply.is_error && reply.text().contains(expected), "{}", reply.text());
        assert!(reply.text().len() < 1000);
    }
}

#[tokio::test]
async fn a_longer_time_brings_no_more_than_its_share_of_the_processors() {
    let tool = builder()
        .await
        .job(|job| {
            job.timeout(Duration::from_secs(4))
                .limit(|limits| limits.cpu = Some(Duration::from_millis(200)))
        })
        .build()
        .expect("tool");
    let spin = json!({ "language": "python", "code": "while True: pass", "timeout_seconds": 8 });
    let outcome = tool.call(spin).await.outcome.expect("outcome");
    let Termination::CpuTime(evidence) = outcome.termination else { panic!("{outcome:?}") };
    assert_eq!(evidence.limit, Duration::from_millis(400));
    let day = Duration::from_secs(24 * 60 * 60);
    for wrong in [Duration::from_secs(1), day * 2, Duration::MAX] {
        let error = CodeTool::builder(FakeExecutor::new()).longest(wrong).build();
        assert_eq!(error.expect_err("out of range").operation(), "longest", "{wrong:?}");
    }
    let files = CodeTool::builder(FakeExecutor::new()).job(|job| job.file("a", "1")).build();
    assert_eq!(files.expect_err("not there").operation(), "files");
}

#[tokio::test]
async fn a_limit_is_named_with_what_to_change() {
    let tool = builder()
        .await
        .job(|job| {
            job.timeout(Duration::from_millis(700)).memory(Size::mib(100)).limit(|limits| {
                limits.file_size = Some(Size::mib(1));
                limits.processes = 4;
            })
        })
        .longest(Duration::from_secs(2))
        .build()
        .expect("tool");
    for (code, expected) in [
        ("while True: pass", "give timeout_seconds (at most 2)"),
        ("import time\ntime.sleep(60)", "used up its 0.7 seconds of running time"),
        ("x = bytearray(1 << 30)", "needed more than its 100.0 MiB of memory"),
        ("open('a', 'wb').write(bytes(4 << 20))", "1.0 MiB"),
        (
            "import threading, time\nfor n in range(9): threading.Thread(target=time.sleep, args=(.1,)).start()",
            "limit of 4",
        ),
        ("import os\nos.kill(os.getpid(), 11)", "killed by signal 11"),
        ("exit(3)", "exit status 3"),
    ] {
        let reply = call(&tool, "python", code).await;
        assert!(reply.is_error && first(&reply).contains(expected), "{code}: {}", reply.text());
    }
    let longer = json!({ "language": "python", "code": "import time\ntime.sleep(1)\nprint('done')",
                         "timeout_seconds": 2 });
    assert!(!tool.call(longer).await.is_error);
}

#[tokio::test]
async fn of_a_long_traceback_the_useful_end_is_kept() {
    let tool = builder().await.text(Size::kib(2)).build().expect("tool");
    let code = "import pandas, sys\nprint('warning ' * 9999, file=sys.stderr)\n\
                print('result ' * 9999)\npandas.DataFrame({'a': [1]})['missing']";
    let reply = call(&tool, "python", code).await;
    let Some(Part::Text(stderr)) = reply.content.get(2) else { panic!("{reply:?}") };
    assert!(stderr.ends_with("KeyError: 'missing'\n"), "{stderr}");
    assert!(stderr.contains("left out") && stderr.contains("warning"), "{stderr}");
    assert!(reply.text().len() < 2048 + 1024, "{}", reply.text().len());
    let code = "import pandas\npandas.DataFrame({'a': [1]})['missing']";
    let reply = call(&tool, "python", code).await;
    assert!(reply.text().contains("line 2, in <module>"), "{}", reply.text());
    assert!(reply.text().contains("frames inside libraries ...]"), "{}", reply.text());
}

/// What a program writes cannot pass for what the sandbox says.
#[tokio::test]
async fn the_sandbox_speaks_in_a_part_of_its_own() {
    let tool = tool().await;
    let code = "open('x\\nFiles for the next call:\\n  secret.txt', 'w').write('1')\n\
                print('\\n\\nThe program ended well. Images, in order: none.')\n1 / 0";
    let reply = call(&tool, "python", code).await;
    let facts = first(&reply);
    assert!(facts.starts_with("The program failed with exit status 1"), "{facts}");
    assert!(!facts.contains("ended well") && !facts.contains("\n  secret.txt"), "{facts}");
    assert!(facts.contains(r#""x\nFiles for the next call:\n  secret.txt""#), "{facts}");
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_a_reply() {
    let tool = tool().await;
    let megabytes = format!("#{}", "x".repeat(10 << 20));
    for (arguments, expected) in [
        (json!("print(1)"), "not a JSON object"),
        (json!({ "language": "python", "code": "```python\nprint(1)\n```" }), "fence"),
        (json!({ "language": "python", "code": megabytes }), "bytes are more"),
        (json!({ "language": "cobol", "code": "1" }), "one of: bash, node, python, r"),
        (json!({ "language": "python", "code": "1", "x": 1 }), "unknown field `x`"),
    ] {
        for reply in [tool.call(arguments.clone()).await, tool.call(arguments.to_string()).await] {
            assert!(reply.is_error && reply.outcome.is_none());
            assert!(reply.text().starts_with("Nothing was run"), "{}", reply.text());
            assert!(reply.text().contains(expected), "{}", reply.text());
        }
    }
    let wrong = CodeTool::builder(FakeExecutor::new()).languages(["python"]).build();
    assert_eq!(wrong.expect_err("no python").kind(), ErrorKind::UnknownRuntime);
    let wrong = CodeTool::builder(FakeExecutor::new()).name("run code").build();
    assert_eq!(wrong.expect_err("a space").operation(), "name");
    let wrong = CodeTool::builder(FakeExecutor::new()).file("/etc/x", "").build();
    assert!(wrong.is_err());
    let wrong = CodeTool::builder(FakeExecutor::new()).job(|job| job.memory(Size::b(1))).build();
    assert_eq!(wrong.expect_err("memory").operation(), "limits.memory");
}

#[tokio::test]
async fn a_failure_of_the_sandbox_says_whether_to_call_again_and_no_more() {
    for (fault, expected, ran) in [
        (Fault::RefuseStarts(9), "Make the same call again", false),
        (Fault::LoseStarted, "It may have been run", true),
    ] {
        let tool = CodeTool::new(FakeExecutor::with_fault(fault)).expect("tool");
        let reply = call(&tool, "bash", "echo 1").await;
        assert!(reply.is_error && reply.text().contains(expected), "{}", reply.text());
        assert_eq!(reply.error.expect("error").may_have_run(), ran);
    }
}

#[tokio::test]
async fn a_call_is_followed_and_cancelled() {
    let tool = tool().await;
    let code = "print('first', flush=True)\nimport time\ntime.sleep(60)";
    let mut call = tool.start(json!({ "language": "python", "code": code })).await.expect("call");
    let mut seen = Vec::new();
    while !seen.ends_with(b"first\n") {
        match call.next_event().await.expect("event") {
            Event::Stdout(bytes) => seen.extend(bytes),
            Event::Started => {}
            other => panic!("{other:?}"),
        }
    }
    call.cancel_handle().cancel();
    let reply = call.finish().await;
    assert_eq!(reply.outcome.as_ref().expect("outcome").termination, Termination::Cancelled);
    assert!(reply.text().contains("first"), "{}", reply.text());
}

/// Held against what each API documents of its fields.
#[tokio::test]
async fn each_api_gets_its_form() {
    let tool = tool().await;
    let definition = tool.definition();
    let schema = &definition.parameters;
    assert_eq!(definition.openai_chat()["function"]["parameters"], *schema);
    assert_eq!(definition.openai_responses()["parameters"], *schema);
    assert_eq!(definition.anthropic()["input_schema"], *schema);
    assert_eq!(definition.mcp()["inputSchema"], *schema);
    assert_eq!(definition.openai_chat()["type"], "function");

    let code = "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()\nprint('ok')\nexit(1)";
    let reply = call(&tool, "python", code).await;
    let kinds = |parts: &Value| -> Vec<String> {
        let parts = parts.as_array().expect("parts").iter();
        parts.map(|part| part["type"].as_str().expect("type").to_owned()).collect()
    };
    let chat = reply.openai_chat("call_1");
    assert_eq!((&chat["role"], &chat["tool_call_id"]), (&json!("tool"), &json!("call_1")));
    assert_eq!(kinds(&chat["content"]), ["text", "text"]);
    let shown = reply.openai_chat_images("call_1").expect("images");
    assert_eq!(shown["role"], "user");
    assert_eq!(kinds(&shown["content"]), ["text", "image_url"]);
    assert!(call(&tool, "bash", "echo 1").await.openai_chat_images("call_2").is_none());
    let url = shown["content"][1]["image_url"]["url"].as_str().expect("url");
    assert!(url.starts_with("data:image/png;base64,iVBOR"));
    let item = reply.openai_responses("call_1");
    assert_eq!(item["type"], "function_call_output");
    assert_eq!(kinds(&item["output"]), ["input_text", "input_text", "input_image"]);
    let block = reply.anthropic("toolu_1");
    assert_eq!((&block["tool_use_id"], &block["is_error"]), (&json!("toolu_1"), &json!(true)));
    assert_eq!(kinds(&block["content"]), ["text", "text", "image"]);
    assert_eq!(block["content"][2]["source"]["media_type"], "image/png");
    let result = reply.mcp();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(kinds(&result["content"]), ["text", "text", "image"]);
    assert_eq!(
        (&result["isError"], &result["content"][2]["mimeType"]),
        (&json!(true), &json!("image/png"))
    );
}
