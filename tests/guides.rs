//! The guides of `docs/` do what they say: each command in them is run, or says what it needs.
//!
//! A block of commands is ` ```console `: run here, by bash, in this folder. ` ```console account `
//! needs an AWS account or a registry, ` ```console build ` builds what the tests have built.

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};

/// One block of commands.
struct Block {
    line: usize,
    kind: String,
    commands: Vec<String>,
}

fn main() {
    let arguments = Arguments::from_args();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut trials = Vec::new();
    let mut guides: Vec<_> = std::fs::read_dir(docs).expect("docs").flatten().collect();
    guides.sort_by_key(std::fs::DirEntry::file_name);
    for guide in guides {
        let name = guide.file_name().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(guide.path()).expect("guide");
        for block in blocks(&text) {
            let title = format!("{name}:{}", block.line);
            match block.kind.as_str() {
                "" => trials.push(Trial::test(title, move || run(&block))),
                "account" | "build" => {
                    trials.push(Trial::test(title, move || needs(&block)));
                }
                other => panic!("{title}: a block of commands is {other:?}"),
            }
        }
        let links = name.clone();
        trials.push(Trial::test(format!("{name}: links"), move || follow(&links, &text)));
    }
    assert!(trials.len() > 30, "{} blocks and guides", trials.len());
    libtest_mimic::run(&arguments, trials).exit();
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) if info.starts_with("console") => {
                let kind = info["console".len()..].trim().to_owned();
                open = Some(Block { line: index + 1, kind, commands: Vec::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => {
                block.commands.extend(line.strip_prefix("$ ").map(str::to_owned));
            }
            _ => {}
        }
    }
    blocks
}

/// A folder with the programs that `cargo test --workspace` builds.
fn programs() -> PathBuf {
    let own = std::env::current_exe().expect("own path");
    own.ancestors().nth(2).expect("target").to_owned()
}

/// Runs a block; each command must succeed.
fn run(block: &Block) -> Result<(), Failed> {
    let programs = programs();
    for program in ["sandbox", "emulator"] {
        if !programs.join(program).exists() {
            return Err(format!("{program} is not built; run: cargo build --workspace").into());
        }
    }
    if block.commands.is_empty() {
        return Err("the block has no commands".into());
    }
    // The script would build once more what is here.
    let emulator = format!("scripts/emulator() {{ {}/emulator \"$@\"; }}", programs.display());
    let script = format!("set -euo pipefail\n{emulator}\n{}", block.commands.join("\n"));
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATH", format!("{}:{path}", programs.display()))
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}\n{}\n{}",
            block.commands.join("\n"),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}

/// A block that is not run must have a reason that can be seen, and be bash.
fn needs(block: &Block) -> Result<(), Failed> {
    const ACCOUNT: [&str; 9] = [
        "aws ",
        "docker ",
        "SANDBOX_LAMBDA_",
        "--backend lambda",
        "sandbox verify",
        "scripts/build-image",
        "scripts/lock-images",
        "scripts/sbom",
        "scripts/test",
    ];
    let text = block.commands.join("\n");
    let reason = match block.kind.as_str() {
        "account" => ACCOUNT.iter().any(|word| text.contains(word)),
        _ => text.contains("cargo "),
    };
    let parsed = Command::new("bash").args(["-n", "-c", &text]).status()?;
    match reason && parsed.success() {
        true => Ok(()),
        false => Err(format!("it could be run, or is no bash:\n{text}").into()),
    }
}

/// Links within the project lead somewhere.
fn follow(name: &str, text: &str) -> Result<(), Failed> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for target in targets.filter(|target| !target.contains("://")) {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if file.is_empty() { docs.join(name) } else { docs.join(file) };
        let Ok(there) = std::fs::read_to_string(&path) else {
            return Err(format!("{target} leads nowhere").into());
        };
        let heading = |line: &str| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            line.starts_with('#') && title.replace(' ', "-").replace([',', '.', ':'], "") == anchor
        };
        if !anchor.is_empty() && !there.lines().any(heading) {
            return Err(format!("{target}: no such heading").into());
        }
    }
    Ok(())
}
