//! Compiles the helper with plain `rustc`: a static program without a C library.
#![allow(clippy::panic, reason = "how a build script fails")]

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=helper");
    println!("cargo::rerun-if-changed=src/protocol.rs");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let architecture = variable("CARGO_CFG_TARGET_ARCH");
    assert!(
        variable("CARGO_CFG_TARGET_OS") == "linux"
            && ["x86_64", "aarch64"].contains(&architecture.as_str()),
        "sandbox-local builds for Linux on x86_64 and aarch64"
    );
    let out = PathBuf::from(variable("OUT_DIR")).join("helper");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc.args(["--edition", "2024", "--crate-type", "bin", "--crate-name", "helper"]);
    rustc.args(["--target", &variable("TARGET"), "-C", "opt-level=s", "-C", "panic=abort"]);
    rustc.args(["-C", "strip=symbols", "-C", "relocation-model=static"]);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.args(["-C", &format!("linker={linker}")]);
    }
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-Wl,--build-id=none"] {
        rustc.args(["-C", &format!("link-arg={argument}")]);
    }
    let status = rustc.arg("helper/main.rs").arg("-o").arg(&out).status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("the helper did not compile: {other:?}"),
    }
}
