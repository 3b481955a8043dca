//! Figures of Python and R programs on one page that stands alone.
//!
//! `cargo run --example plots` runs `examples/data/figures.py` and `figures.R` and writes
//! `target/plots/index.html`; other programs follow `--`. Python needs matplotlib: name an
//! interpreter that has it in `PYTHON`, such as `PYTHON=venv/bin/python3`.
//!
//! Whatever a program prints, draws or calls its files, nothing of it runs where the page is
//! opened: text is escaped by the template, pictures are images and never documents, and the
//! page's own policy forbids scripts, frames and any connection.

use std::error::Error;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, html};
use sandbox::{Displays, ExecutorExt as _, Job, LocalExecutor, Outcome, Runtime, Size};
use sha2::{Digest as _, Sha256};

const FOLDER: &str = "target/plots";
const STYLE: &str = "body { font: 16px sans-serif; margin: 2em } pre { background: #eee; padding: 1em; \
                     overflow: auto } img { max-width: 100%; border: 1px solid #ccc }";
/// What browsers show as an image; in an image no script runs, also in SVG.
const IMAGES: [&str; 5] = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/svg+xml"];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut programs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if programs.is_empty() {
        let data = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data"));
        programs = vec![data.join("figures.py"), data.join("figures.R")];
    }
    let mut builder = LocalExecutor::builder();
    if let Some(python) = std::env::var_os("PYTHON") {
        let python = std::path::absolute(python)?;
        builder = builder.runtime(Runtime::python().with_interpreter(python));
    }
    let executor = Displays::new(builder.build().await?);
    let (mut sections, mut failed) = (Vec::new(), 0);
    for path in &programs {
        let code = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let runtime = if name.ends_with(".R") { "r" } else { "python" };
        let job = Job::source(runtime, code).memory(Size::gib(1)).build()?;
        let outcome = executor.run(job).await?;
        println!("{name}: {:?}, {} figures", outcome.termination, outcome.displays.len());
        if !outcome.is_success() {
            failed += 1;
            eprintln!("{}", sandbox::printable(&outcome.stderr.text()));
        }
        sections.push(section(&name, &outcome).await?);
    }
    std::fs::create_dir_all(FOLDER)?;
    let path = Path::new(FOLDER).join("index.html");
    std::fs::write(&path, page(&sections).into_string())?;
    println!("written: {}", path.display());
    match failed {
        0 => Ok(()),
        _ if std::env::var_os("PYTHON").is_none() => {
            Err(format!("{failed} programs failed; does python3 have matplotlib? See PYTHON")
                .into())
        }
        _ => Err(format!("{failed} programs failed").into()),
    }
}

fn page(sections: &[Markup]) -> Markup {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!("default-src 'none'; img-src data:; style-src 'sha256-{style}'");
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                title { "Plots" }
                style { (STYLE) }
            }
            body {
                h1 { "Plots" }
                @for section in sections { (section) }
            }
        }
    }
}

/// What one program printed, drew and saved.
async fn section(name: &str, outcome: &Outcome) -> sandbox::Result<Markup> {
    let mut figures = Vec::new();
    for (index, display) in outcome.displays.iter().enumerate() {
        figures.push((format!("figure {}", index + 1), url(&display.media_type, &display.data)));
    }
    for artifact in &outcome.artifacts {
        let media_type = artifact.media_type();
        let url = match IMAGES.contains(&media_type) {
            true => url(media_type, &artifact.bytes().await?),
            false => None,
        };
        figures.push((format!("{:?}, {} bytes", artifact.path(), artifact.size()), url));
    }
    Ok(html! {
        h2 { (name) }
        p { (format!("{:?}", outcome.termination)) }
        @for (stream, output) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
            @if output.total > 0 {
                h3 { (stream) }
                pre { (output.text()) }
            }
        }
        @for (name, url) in &figures {
            figure {
                @if let Some(url) = url { img src=(url) alt=(name); }
                figcaption { (name) }
            }
        }
    })
}

/// A picture inside the page; `None` for what is no image.
fn url(media_type: &str, data: &[u8]) -> Option<String> {
    let known = IMAGES.iter().find(|known| **known == media_type)?;
    Some(format!("data:{known};base64,{}", STANDARD.encode(data)))
}
