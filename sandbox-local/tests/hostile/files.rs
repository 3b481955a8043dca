//! Inputs, workspace and artifacts.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::support::{executor, run};
use sandbox_core::{ErrorKind, ExecutorExt as _, Job, LimitKind, Size, Termination};

#[tokio::test]
async fn a_large_input_is_streamed_from_its_path() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("big.bin");
    fs::write(&path, vec![7u8; 20 << 20]).expect("write");
    let code = "data = open('in/big.bin', 'rb').read(); print(len(data), set(data))";
    let outcome = run(Job::python(code).file("in/big.bin", path)).await;
    assert_eq!(outcome.stdout.text(), "20971520 {7}\n", "{}", outcome.stderr.text());
    assert!(outcome.artifacts.is_empty(), "an input is no artifact");
}

#[tokio::test]
async fn wrong_inputs_are_errors_before_anything_runs() {
    let executor = executor().await;
    let dir = tempfile::tempdir().expect("tempdir");
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    let big = dir.path().join("big");
    fs::write(&big, vec![0; 2 << 20]).expect("write");
    let small = |job: sandbox_core::JobBuilder| job.limit(|l| l.workspace = Some(Size::mib(1)));
    for (what, job, kind, text) in [
        ("a FIFO", Job::bash("true").file("x", fifo), ErrorKind::Input, "not a regular file"),
        ("a folder", Job::bash("true").file("x", dir.path().to_owned()), ErrorKind::Input, "file"),
        (
            "vanished",
            Job::bash("true").file("x", PathBuf::from("/gone")),
            ErrorKind::Input,
            "/gone",
        ),
        (
            "the entry script's name",
            Job::bash("true").file("main.sh", "x"),
            ErrorKind::InvalidJob,
            "main.sh is the name of the program itself",
        ),
        ("too large", small(Job::bash("true").file("x", big)), ErrorKind::Input, "workspace"),
    ] {
        let error = executor.run(job.build().expect("job")).await.expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
        assert!(error.to_string().contains(text), "{what}: {error}");
        assert!(!error.may_have_run(), "{what}");
    }
}

#[tokio::test]
async fn an_endless_file_that_shrinks_is_noticed() {
    // Longer than what is there: as if it were cut while being read.
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("log");
    fs::write(&path, vec![1; 64 << 20]).expect("write");
    let executor = executor().await;
    let job = Job::bash("true").file("log", path.clone()).build().expect("job");
    let cut = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(3));
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(1)).expect("cut");
    });
    // Either the whole file was read before the cut, or the job is refused; never a part of it.
    match executor.run(job).await {
        Ok(outcome) => assert!(outcome.is_success()),
        Err(error) => assert!(error.to_string().contains("shrank"), "{error}"),
    }
    cut.join().expect("thread");
}

#[tokio::test]
async fn programs_are_taken_byte_for_byte() {
    for (what, code, expected) in [
        ("CRLF", b"print(1)\r\nprint(2)\r\n".as_slice(), "1\n2\n"),
        ("BOM", b"\xef\xbb\xbfprint(1)\n", "1\n"),
        ("no newline", b"print(1)", "1\n"),
        ("shebang", b"#!/bin/false\nprint(1)\n", "1\n"),
    ] {
        let outcome = run(Job::python(code)).await;
        assert_eq!(outcome.stdout.text(), expected, "{what}: {}", outcome.stderr.text());
    }
    let outcome = run(Job::python(b"print('\xff')\n".as_slice())).await;
    assert_eq!(outcome.termination, Termination::Exited(1), "the interpreter says what is wrong");
    assert!(outcome.stderr.text().contains("Non-UTF-8"), "{}", outcome.stderr.text());
}

#[tokio::test]
async fn only_regular_files_with_one_name_are_collected() {
    let code = r#"
import os, socket
os.mkdir("d")
open("d/good.txt", "w").write("good")
os.symlink("/etc/passwd", "link")
os.symlink("d", "dirlink")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
open("twice", "w").close(); os.link("twice", "twice2")
open("locked", "w").close(); os.chmod("locked", 0)
open(b"bad\xffname", "w").close()
open("new\nline", "w").write("n")
open("-rf", "w").close()
"#;
    let outcome = run(Job::python(code)).await;
    assert!(outcome.is_success(), "{}", outcome.stderr.text());
    let kept: Vec<_> = outcome.artifacts.iter().map(|artifact| artifact.path()).collect();
    let as_root = nix::unistd::geteuid().is_root();
    let expected: &[&str] = if as_root {
        &["-rf", "d/good.txt", "locked", "new\nline"]
    } else {
        &["-rf", "d/good.txt", "new\nline"]
    };
    assert_eq!(kept, expected);
    let reason = |path: &str| {
        let found = outcome.skipped.iter().find(|skipped| skipped.path == path);
        found.map(|skipped| skipped.reason.as_str()).unwrap_or_default().to_owned()
    };
    for (path, why) in [
        ("link", "symbolic link"),
        ("dirlink", "symbolic link"),
        ("fifo", "FIFO"),
        ("socket", "socket"),
        ("twice", "hard links"),
        ("twice2", "hard links"),
        ("bad\\xffname", "not UTF-8"),
    ] {
        assert!(reason(path).contains(why), "{path}: {:?}", outcome.skipped);
    }
}

#[tokio::test]
async fn hostile_trees_are_walked_within_bounds() {
    let deep = "import os\n\
                for _ in range(300):\n    os.mkdir('d' * 60); os.chdir('d' * 60)\n\
                open('bottom', 'w').close()";
    let outcome = run(Job::python(deep)).await;
    assert!(outcome.is_success(), "{}", outcome.stderr.text());
    assert!(outcome.artifacts.is_empty());
    assert!(outcome.skipped.iter().any(|s| s.reason.contains("nested deeper")));

    let many = "for n in range(3000): open(f'f{n}', 'w').close()";
    let outcome = run(Job::python(many)).await;
    assert_eq!(outcome.artifacts.len(), 256);
    assert!(outcome.limits_hit.contains(&LimitKind::Artifacts));
    let last = outcome.skipped.last().expect("skipped");
    assert!(last.reason.contains("more entries"), "{last:?}");
    assert_eq!(outcome.skipped.len(), 1001);
}

#[tokio::test]
async fn a_sparse_file_is_judged_by_its_length() {
    let sparse = "open('s', 'w').truncate(60 << 20)";
    let outcome = run(Job::python(sparse).limit(|l| l.artifacts = Size::mib(10))).await;
    assert!(outcome.artifacts.is_empty());
    assert!(outcome.skipped[0].reason.contains("62914560 bytes"), "{:?}", outcome.skipped);
}

#[tokio::test]
async fn artifacts_outlive_the_job_and_are_saved_safely() {
    let outcome = run(Job::bash("mkdir out; echo data > out/a.txt")).await;
    let dir = tempfile::tempdir().expect("tempdir");
    let saved = outcome.artifacts[0].save_to(dir.path()).await.expect("saved");
    assert_eq!(fs::read(&saved).expect("read"), b"data\n");
    assert_eq!(saved, dir.path().join("out/a.txt"));

    let link = dir.path().join("link");
    symlink(dir.path(), &link).expect("symlink");
    let error = outcome.artifacts[0].save_to(&link).await.expect_err("a link");
    assert_eq!(error.kind(), ErrorKind::Save);
}

#[tokio::test]
async fn standard_input_streams_and_nobody_has_to_read_it() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("in");
    fs::write(&path, vec![b'x'; 8 << 20]).expect("write");
    let outcome = run(Job::bash("wc -c").stdin(path.clone())).await;
    assert_eq!(outcome.stdout.text().trim(), "8388608");
    let outcome = run(Job::command(["true"]).stdin(path)).await;
    assert!(outcome.is_success());
    let outcome = run(Job::bash("wc -c").stdin(vec![b'x'; 4 << 20])).await;
    assert_eq!(outcome.stdout.text().trim(), "4194304");
}

#[tokio::test]
async fn a_missing_interpreter_is_named() {
    let python = sandbox_core::Runtime::python().with_interpreter("/opt/no/python3");
    let builder = sandbox_local::LocalExecutor::builder().runtime(python);
    let executor = builder.build().await.expect("executor");
    let job = Job::python("1").build().expect("job");
    let error = executor.run(job).await.expect_err("missing");
    assert_eq!(error.kind(), ErrorKind::ProgramNotFound);
    assert!(error.to_string().contains("/opt/no/python3"), "{error}");
}

#[tokio::test]
async fn a_given_root_file_system_is_the_jobs() {
    // The smallest root: the host's folders, seen through a folder of our own, and one file more.
    let rootfs = tempfile::tempdir().expect("tempdir");
    for name in ["bin", "lib", "lib64"] {
        let from = fs::canonicalize(format!("/{name}")).expect("merged /usr");
        symlink(from.strip_prefix("/").expect("absolute"), rootfs.path().join(name)).expect("link");
    }
    let copy = |path: &str| {
        let to = rootfs.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("parent")).expect("mkdir");
        fs::copy(path, to).expect("copy");
    };
    copy("/usr/bin/bash");
    for line in String::from_utf8_lossy(
        &std::process::Command::new("ldd").arg("/usr/bin/bash").output().expect("ldd").stdout,
    )
    .lines()
    {
        if let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) {
            let real = fs::canonicalize(path).expect("library");
            copy(real.to_str().expect("text"));
            let merged = format!("/usr{}", path.trim_start_matches("/usr"));
            let to = rootfs.path().join(merged.trim_start_matches('/'));
            if !to.exists() {
                fs::create_dir_all(to.parent().expect("parent")).expect("mkdir");
                fs::copy(&real, to).expect("copy");
            }
        }
    }
    fs::create_dir_all(rootfs.path().join("etc")).expect("mkdir");
    fs::write(rootfs.path().join("etc/image"), "ours\n").expect("write");
    let executor = sandbox_local::LocalExecutor::builder().rootfs(rootfs.path());
    let executor = executor.build().await.expect("executor");
    let script = "read line < /etc/image; echo $line; [ -e /usr/bin/python3 ] || echo small; \
                  echo x > /etc/x || echo refused";
    let outcome = executor.run(Job::bash(script).build().expect("job")).await.expect("outcome");
    assert_eq!(outcome.stdout.text(), "ours\nsmall\nrefused\n", "{}", outcome.stderr.text());

    let link = tempfile::tempdir().expect("tempdir");
    symlink("/", link.path().join("root")).expect("symlink");
    let builder = sandbox_local::LocalExecutor::builder().rootfs(link.path().join("root"));
    let error = builder.build().await.expect_err("a link");
    assert_eq!(error.kind(), ErrorKind::InvalidJob);
}

#[tokio::test]
async fn links_lead_nowhere_in_chains_and_through_folders() {
    let code = r#"
import os
os.symlink("/proc/self/environ", "one"); os.symlink("one", "two"); os.symlink("two", "three")
os.symlink("/", "root"); os.mkdir("d"); os.symlink("..", "d/up"); os.symlink("/proc/self/root/etc", "d/etc")
os.symlink("self", "self")
for target in ("/usr/bin/env", "/etc/passwd", "/dev/null"):
    try: os.link(target, "hard-" + os.path.basename(target)); print("linked", target)
    except OSError as error: print(error.strerror)
print(os.path.exists("root/etc/passwd"), os.path.exists("three"))
"#;
    let outcome = run(Job::python(code)).await;
    let text = outcome.stdout.text();
    assert!(!text.contains("linked") && text.ends_with("True True\n"), "the links work: {text}");
    assert!(outcome.artifacts.is_empty(), "{:?}", outcome.artifacts);
    let links = outcome.skipped.iter().filter(|skipped| skipped.reason.contains("symbolic link"));
    assert_eq!(links.count(), 7, "{:?}", outcome.skipped);
}

/// What is read is read once, after everybody who could change it is dead.
#[tokio::test]
async fn a_file_that_is_swapped_until_the_end_is_one_or_the_other() {
    let code = r#"
import os
if os.fork() == 0:
    os.setsid()
    while True:
        open("new", "w").write("b" * 70000); os.rename("new", "swapped")
        os.symlink("/etc/passwd", "link"); os.rename("link", "swapped")
        open("grows", "a").write("x")
import time; time.sleep(0.2); print(os.path.lexists("swapped"))
"#;
    for _ in 0..5 {
        let outcome = run(Job::python(code)).await;
        assert_eq!(outcome.stdout.text(), "True\n", "it ran: {}", outcome.stderr.text());
        for artifact in &outcome.artifacts {
            // Checks size and digest.
            let bytes = artifact.bytes().await.expect("what was collected");
            assert!(bytes.iter().all(|byte| *byte == b'b' || *byte == b'x'), "{artifact:?}");
        }
    }
}

#[tokio::test]
async fn names_are_reported_as_they_are_or_escaped() {
    let code = r#"
import os
names = ["new\nline", "\u202egnp.exe", "caf\u00e9", "cafe\u0301", "-rf", "a b", "x" * 255, "\x1b[2J",
         "con\x07trol", "%2e%2e", "..hidden", "back\\slash"]
for name in names: open(name, "w").close()
for raw in (b"bad\xff", b"\xc3(", b"\x80\x80"): open(raw, "w").close()
for raw in ("nul\0", "a/../../b"):
    try: open(raw, "w"); print("made", repr(raw))
    except (OSError, ValueError): pass
print(len(os.listdir(".")) - 1)
"#;
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.stdout.text(), "15\n", "{}", outcome.stderr.text());
    let kept: Vec<_> = outcome.artifacts.iter().map(|artifact| artifact.path()).collect();
    let long = "x".repeat(255);
    for name in [
        "new\nline",
        "\u{202e}gnp.exe",
        "caf\u{e9}",
        "cafe\u{301}",
        "-rf",
        long.as_str(),
        "..hidden",
    ] {
        assert!(kept.contains(&name), "{name:?} in {kept:?}");
    }
    let skipped: Vec<_> = outcome.skipped.iter().map(|skipped| skipped.path.as_str()).collect();
    for name in ["bad\\xff", "\\xc3(", "\\x80\\x80", "back\\slash"] {
        assert!(skipped.contains(&name), "{name:?} in {skipped:?}");
    }
    assert_eq!(kept.len() + skipped.len(), 15, "nothing is lost");
    let dir = tempfile::tempdir().expect("tempdir");
    for artifact in &outcome.artifacts {
        let saved = artifact.save_to(dir.path()).await.expect("saved");
        assert_eq!(saved.parent(), Some(dir.path()), "{saved:?}");
    }
}

/// Paths can be a thousand times as long as usual; what is said about them stays small.
#[tokio::test]
async fn what_is_said_about_skipped_files_is_bounded() {
    let code = r#"
import os
for _ in range(40): os.mkdir("d" * 250); os.chdir("d" * 250)
for n in range(900): os.symlink("x", "l" * 240 + str(n))
print("made")
"#;
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.stdout.text(), "made\n", "{}", outcome.stderr.text());
    let bytes: usize = outcome.skipped.iter().map(|skipped| skipped.path.len()).sum();
    assert!(bytes <= 256 << 10, "{bytes} bytes of paths");
    assert!(outcome.skipped.last().is_some_and(|last| last.reason.contains("more entries")));
}

#[tokio::test]
async fn totals_are_capped_and_empty_files_are_files() {
    let code = "for n in range(6): open(f'f{n}', 'w').write('x' * (n % 2) * (1 << 20))";
    let outcome = run(Job::python(code).limit(|l| l.artifacts = Size::mib(2))).await;
    let kept: Vec<_> = outcome.artifacts.iter().map(|a| (a.path(), a.size())).collect();
    let mib = 1 << 20;
    assert_eq!(kept, [("f0", 0), ("f1", mib), ("f2", 0), ("f3", mib), ("f4", 0)]);
    assert_eq!(outcome.skipped[0].path, "f5");
    assert!(outcome.limits_hit.contains(&LimitKind::Artifacts));
}

/// Nothing of an archive is unpacked by the sandbox; what a program unpacks meets the limits.
#[tokio::test]
async fn archives_are_files_and_bombs_meet_the_disk() {
    let code = r#"
import io, os, tarfile, zipfile
with zipfile.ZipFile("bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
    bomb.writestr("zeros", b"\0" * (48 << 20))
print(os.path.getsize("bomb.zip") < 1 << 20)
try: zipfile.ZipFile("bomb.zip").extractall(); print("unpacked")
except OSError as error: print(error.strerror)
os.unlink("zeros")
with tarfile.open("crafted.tar", "w") as tar:
    for name, kind, target in (("/tmp/absolute", tarfile.REGTYPE, ""), ("../above", tarfile.REGTYPE, ""),
                               ("link", tarfile.SYMTYPE, "/etc/passwd"), ("twice", tarfile.REGTYPE, ""),
                               ("twice", tarfile.REGTYPE, ""), ("Twice", tarfile.REGTYPE, "")):
        entry = tarfile.TarInfo(name); entry.type = kind; entry.linkname = target
        tar.addfile(entry, io.BytesIO())
for member in tarfile.open("crafted.tar"):
    try: tarfile.open("crafted.tar").extract(member)
    except OSError: pass
print(os.path.exists("/tmp/absolute"), os.path.lexists("link"))
"#;
    let job = Job::python(code).file("in.zip", b"PK\x03\x04 not really".as_slice());
    let outcome = run(job.limit(|l| l.workspace = Some(Size::mib(8)))).await;
    assert_eq!(
        outcome.stdout.text(),
        "True\nNo space left on device\nTrue True\n",
        "{}",
        outcome.stderr.text()
    );
    let kept: Vec<_> = outcome.artifacts.iter().map(|artifact| artifact.path()).collect();
    assert_eq!(kept, ["Twice", "bomb.zip", "crafted.tar", "twice"]);
    let roomy = run(Job::python(code).limit(|l| l.file_size = Some(Size::mib(64)))).await;
    assert!(roomy.stdout.text().starts_with("True\nunpacked\n"), "the control");
}

#[tokio::test]
async fn modes_and_attributes_are_dropped_and_hooks_are_plain_files() {
    let code = r##"
import os
os.makedirs(".git/hooks")
for path in (".git/hooks/post-checkout", ".bashrc", "tool"):
    open(path, "w").write("#!/bin/sh\ntouch /tmp/executed\n"); os.chmod(path, 0o6777)
try: os.setxattr("tool", "user.note", b"kept?")
except OSError: pass
print(oct(os.stat("tool").st_mode & 0o7777))
"##;
    let outcome = run(Job::python(code)).await;
    assert_eq!(outcome.stdout.text(), "0o6777\n", "{}", outcome.stderr.text());
    let dir = tempfile::tempdir().expect("tempdir");
    assert_eq!(outcome.artifacts.len(), 3);
    for artifact in &outcome.artifacts {
        let saved = artifact.save_to(dir.path()).await.expect("saved");
        use std::os::unix::fs::MetadataExt as _;
        let mode = fs::metadata(&saved).expect("metadata").mode();
        assert_eq!(mode & 0o7133, 0, "{saved:?} has mode {mode:o}");
        let listed = std::process::Command::new("python3")
            .args(["-c", "import os, sys; print(os.listxattr(sys.argv[1]))"])
            .arg(&saved)
            .output()
            .expect("python3");
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "[]\n");
    }
}

#[tokio::test]
async fn an_empty_program_is_refused_and_an_empty_input_is_not() {
    assert!(Job::python("").build().is_err() && Job::bash(" \n").build().is_err());
    let outcome = run(Job::bash("wc -c < empty").file("empty", "")).await;
    assert_eq!(outcome.stdout.text(), "0\n");
}
