//! Examples as users run them, with input that is hostile.
//!
//! `scripts/test` installs Chromium and a virtual environment with matplotlib.

#[path = "support/venv.rs"]
mod venv;

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn example(name: &str) -> Command {
    // Tests are in target/PROFILE/deps, examples beside that folder.
    let test = std::env::current_exe().expect("this test");
    let folder = test.parent().and_then(Path::parent).expect("target");
    Command::new(folder.join("examples").join(name))
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Opens a page in a browser, where there is no network.
fn browse(folder: &TempDir, page: &Path, arguments: &[&str]) -> String {
    let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
    let output = Command::new("unshare")
        .args(["--net", "chromium", "--headless", "--no-sandbox", "--disable-gpu"])
        .args(["--disable-quic", "--no-first-run", "--disable-background-networking"])
        .args(["--disable-component-update", "--disable-sync", "--virtual-time-budget=2000"])
        .arg("--allow-file-access-from-files")
        .arg(profile)
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("unshare and chromium; install with apt-get install util-linux chromium");
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What each program tries, in whatever way it reaches a page, is to change the title.
const ATTACK: &str = "document.title='owned'";

#[test]
fn nothing_of_a_job_runs_in_the_page_and_its_pictures_are_seen() {
    let folder = tempfile::tempdir().expect("tempdir");
    let hostile = format!(
        r#"
import base64, sys
import matplotlib.pyplot as plt
attack = {ATTACK:?}
print('</pre><script>' + attack + '</script><img src=x onerror="' + attack + '">')
print('</pre><script>' + attack + '</script>', file=sys.stderr)
svg = '<svg xmlns="http://www.w3.org/2000/svg" onload="parent.' + attack + '"><script>parent.' \
      + attack + '</script><foreignObject><iframe srcdoc="x"/></foreignObject></svg>'
open('a.svg', 'w').write(svg)
open('.displays/b.svg', 'w').write(svg)
open('page.html', 'w').write('<script>parent.' + attack + '</script>')
open('.displays/c.html', 'w').write('<script>parent.' + attack + '</script>')
open('d.png', 'w').write('<script>' + attack + '</script>')
open('"><img src=x onerror=' + attack + '>.png', 'w').write('x')
open('<script>' + attack.replace('/', '') + '<%2fscript>.svg', 'w').write(svg)
figure = plt.figure(facecolor=(1, 0, 0))
plt.axis('off')
plt.show()
"#
    );
    std::fs::write(folder.path().join("hostile.py"), hostile).expect("write");
    let output = example("plots")
        .arg("hostile.py")
        .current_dir(folder.path())
        .env("PYTHON", venv::python())
        .output()
        .expect("the example; run cargo test");
    assert!(output.status.success(), "{}", text(&output));
    let page = folder.path().join("target/plots/index.html");
    let dom = browse(&folder, &page, &["--dump-dom"]);
    assert!(dom.contains("<title>Plots</title>") && dom.contains("d.png"), "{dom}");
    assert!(!dom.contains("<iframe") && !dom.contains("<object"), "{dom}");
    assert_eq!(dom.matches("<script").count(), 0, "{dom}");

    // The control: in a page that is not careful, each way works.
    for control in [
        format!("<pre></pre><script>{ATTACK}</script>"),
        format!("<img src=x onerror=\"{ATTACK}\">"),
        format!("<svg xmlns='http://www.w3.org/2000/svg' onload=\"{ATTACK}\"></svg>"),
        format!("<iframe srcdoc=\"<script>parent.{ATTACK}</script>\"></iframe>"),
    ] {
        let page = folder.path().join("control.html");
        std::fs::write(&page, format!("<title>Plots</title>{control}")).expect("write");
        let dom = browse(&folder, &page, &["--dump-dom"]);
        assert!(dom.contains("<title>owned</title>"), "{control}: {dom}");
    }

    // The figure is seen: much of the screen has its colour.
    let picture = folder.path().join("page.png");
    let screenshot = format!("--screenshot={}", picture.display());
    browse(&folder, &page, &[&screenshot, "--window-size=800,1600"]);
    let count = "import sys\nfrom PIL import Image\nimage = Image.open(sys.argv[1]).convert('RGB')\n\
                 print(sum(1 for pixel in image.getdata() if pixel == (255, 0, 0)))";
    let output =
        Command::new(venv::python()).args(["-c", count]).arg(picture).output().expect("python");
    let pixels: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    assert!(pixels > 50_000, "{pixels} red pixels");
}

#[test]
fn plots_of_both_languages_are_on_one_page() {
    let folder = tempfile::tempdir().expect("tempdir");
    let output = example("plots")
        .current_dir(folder.path())
        .env("PYTHON", venv::python())
        .output()
        .expect("the example; run cargo test");
    assert!(output.status.success(), "{}", text(&output));
    let page = std::fs::read_to_string(folder.path().join("target/plots/index.html"));
    let page = page.expect("the page");
    assert_eq!(page.matches("<img src=\"data:image/png;base64,").count(), 3);
    assert_eq!(page.matches("<img src=\"data:image/svg+xml;base64,").count(), 1);
    // Alone: nothing is fetched.
    assert!(!page.contains("http://") && !page.contains("https://"));
}

#[test]
fn answers_are_scored_and_each_failure_has_its_reason() {
    let output = example("evaluate").env_remove("SANDBOX_BACKEND").output();
    let output = output.expect("the example; run cargo test");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    for line in [
        "wall_time",
        "memory",
        "AssertionError",
        "SyntaxError",
        "ended before its test",
        "Error: wrong",
        "pass@1: 0.400",
        "pass@2: 0.800",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let folder = tempfile::tempdir().expect("tempdir");
    let path = folder.path().join("answers.jsonl");
    std::fs::write(&path, "{\"task\": \"a\"}\n").expect("write");
    let output = example("evaluate").arg(path).output().expect("the example");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("line 1: missing field"));
}
