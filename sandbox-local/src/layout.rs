//! What the job's root file system looks like.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sandbox_core::{Limits, Network};

use crate::host::INSIDE_ID;
use crate::interpreter::Interpreter;
use crate::plan::RootStep;
use crate::protocol::RootOp;

/// Folders of the system that every job reads.
const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The few entries of `/etc` that programs need and that say nothing about the host's users.
const ETC: [&str; 13] = [
    "R",
    "alternatives",
    "fonts",
    "ld.so.cache",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust/extracted",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];

/// Settings of installed interpreters, to which links in `/usr` lead: `/etc/python3.11`,
/// `/etc/java-17-openjdk`.
const ETC_OF_INTERPRETERS: [&str; 2] = ["python3", "java-"];

const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Top-level entries of a given root file system that the sandbox makes itself.
const OWN: [&str; 9] = ["dev", "proc", "sys", "run", "tmp", "work", "home", "root", "mnt"];

/// The part of the root that is the same for every job of an executor.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    steps: Vec<RootStep>,
    made: BTreeSet<String>,
}

impl Layout {
    /// A root made of the host's system folders.
    pub(crate) fn of_host() -> Self {
        let mut layout = Self { steps: Vec::new(), made: BTreeSet::new() };
        for name in SYSTEM {
            layout.take(&Path::new("/").join(name), name);
        }
        layout.dir("etc");
        let id = INSIDE_ID;
        for (path, content) in [
            (
                "etc/passwd",
                format!(
                    "root:x:0:0:root:/root:/usr/sbin/nologin\n\
                     sandbox:x:{id}:{id}:sandbox:/tmp:/bin/sh\n\
                     nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
                ),
            ),
            ("etc/group", format!("root:x:0:\nsandbox:x:{id}:\nnogroup:x:65534:\n")),
            ("etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n".into()),
            ("etc/hostname", "sandbox\n".into()),
            (
                "etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n".into(),
            ),
        ] {
            layout.add(RootOp::File, path, content);
        }
        for name in ETC {
            let (source, path) = (Path::new("/etc").join(name), format!("etc/{name}"));
            if !layout.copy_small(&source, &path) {
                layout.take(&source, &path);
            }
        }
        for entry in fs::read_dir("/etc").into_iter().flatten().flatten() {
            if let Some(name) = entry.file_name().to_str()
                && ETC_OF_INTERPRETERS.iter().any(|start| name.starts_with(start))
            {
                layout.take(&entry.path(), &format!("etc/{name}"));
            }
        }
        // Some programs insist on it.
        layout.dir("var");
        layout.add(RootOp::Symlink, "var/tmp", "/tmp".into());
        layout.own_folders();
        layout
    }

    /// System folders that are links on this host, such as `/bin`.
    pub(crate) fn system_links() -> impl Iterator<Item = String> {
        SYSTEM
            .iter()
            .map(|name| format!("/{name}"))
            .filter(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()))
    }

    /// A root made of an unpacked image.
    pub(crate) fn of_rootfs(rootfs: &Path) -> std::io::Result<Self> {
        let mut layout = Self { steps: Vec::new(), made: BTreeSet::new() };
        for entry in fs::read_dir(rootfs)? {
            let entry = entry?;
            if let Some(name) = entry.file_name().to_str()
                && !OWN.contains(&name)
            {
                layout.take(&entry.path(), name);
            }
        }
        layout.own_folders();
        Ok(layout)
    }

    /// `/dev` and the places for the job's own file systems; PID 1 adds `/proc`.
    fn own_folders(&mut self) {
        self.dir("dev");
        self.add(RootOp::Devices, "dev", String::new());
        for name in DEVICES {
            self.add(RootOp::Device, &format!("dev/{name}"), format!("/dev/{name}"));
        }
        for (name, target) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            self.add(RootOp::Symlink, &format!("dev/{name}"), target.into());
        }
        for name in ["dev/shm", "tmp", "work"] {
            self.dir(name);
        }
    }

    /// The whole root of one job; without limits its disk is as large as memory. The workspace is
    /// the last tmpfs, as the helper expects.
    pub(crate) fn for_job(
        &self,
        interpreter: Option<&Interpreter>,
        network: Network,
        limits: Option<&Limits>,
        owner: (u32, u32),
    ) -> Vec<RootStep> {
        let mut layout = self.clone();
        let (uid, gid) = owner;
        // The folder itself and the entry script have inodes too, and folders that binds need. To
        // the kernel, 0 is no limit.
        let inodes = limits.map_or(0, |limits| limits.files.saturating_add(16));
        let size = limits.map_or(0, |limits| limits.workspace().as_u64());
        for (path, mode) in [("dev/shm", "1777"), ("tmp", "1777"), ("work", "0700")] {
            let options = format!("size={size},nr_inodes={inodes},mode={mode},uid={uid},gid={gid}");
            layout.add(RootOp::Tmpfs, path, options);
        }
        // After the job's own file systems, because an interpreter may be installed beneath a
        // folder of the same name on the host.
        let prefixes = interpreter.iter().flat_map(|i| i.prefixes.iter());
        let read_only = interpreter.iter().flat_map(|i| i.runtime.read_only.iter());
        for path in prefixes.chain(read_only) {
            if let Ok(relative) = path.strip_prefix("/")
                && let Some(relative) = relative.to_str()
            {
                layout.take_once(path, relative);
            }
        }
        if network == Network::Host {
            layout.take_once(Path::new("/etc/resolv.conf"), "etc/resolv.conf");
        }
        layout.steps
    }

    fn add(&mut self, op: RootOp, path: &str, data: String) {
        self.made.insert(path.to_owned());
        self.steps.push(RootStep { op, path: path.to_owned(), data });
    }

    /// Makes a folder and those above it.
    fn dir(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
        for folder in ends.map(|end| &path[..end]) {
            if !self.made.contains(folder) {
                self.add(RootOp::Dir, folder, String::new());
            }
        }
    }

    /// Whether `path` or a folder above it is bound already.
    fn covers(&self, path: &str) -> bool {
        self.steps
            .iter()
            .any(|step| step.op == RootOp::BindReadOnly && Path::new(path).starts_with(&step.path))
    }

    /// Whether a folder above `path` is a link. The helper must never resolve through one: its
    /// target would be looked up on the host.
    fn crosses_link(&self, path: &str) -> bool {
        self.steps
            .iter()
            .any(|step| step.op == RootOp::Symlink && Path::new(path).starts_with(&step.path))
    }

    /// Takes the content of a small file of text: cheaper than a mount, and nobody else has its
    /// inode. False for everything else.
    fn copy_small(&mut self, source: &Path, path: &str) -> bool {
        const SMALL: u64 = 32 * 1024;
        let small = fs::symlink_metadata(source).is_ok_and(|m| m.is_file() && m.len() <= SMALL);
        let content = small.then(|| fs::read_to_string(source).ok()).flatten();
        // A plan's strings end at their first NUL.
        let Some(content) = content.filter(|content| !content.contains('\0')) else { return false };
        if let Some(parent) = Path::new(path).parent().and_then(Path::to_str) {
            self.dir(parent);
        }
        self.add(RootOp::Copy, path, content);
        true
    }

    /// As [`take`](Self::take), unless what is bound already has it.
    fn take_once(&mut self, source: &Path, path: &str) {
        if !self.covers(path) {
            self.take(source, path);
        }
    }

    /// Brings in what is at `source`: a link as a link, a folder or file as a read-only bind.
    /// What does not exist, or is reached through a link that was brought in, is left out.
    fn take(&mut self, source: &Path, path: &str) {
        let Ok(metadata) = fs::symlink_metadata(source) else { return };
        if self.crosses_link(path) {
            return;
        }
        if let Some(parent) = Path::new(path).parent().and_then(Path::to_str)
            && !parent.is_empty()
        {
            self.dir(parent);
        }
        if metadata.is_symlink() {
            let target = fs::read_link(source).unwrap_or_default();
            if let Some(target) = target.to_str() {
                self.add(RootOp::Symlink, path, target.to_owned());
            }
            return;
        }
        let Some(bound) = source.to_str().map(str::to_owned) else { return };
        if metadata.is_dir() {
            self.dir(path);
        } else if metadata.is_file() {
            self.add(RootOp::File, path, String::new());
        } else {
            return;
        }
        self.add(RootOp::BindReadOnly, path, bound);
    }
}

/// The path of a step's source or target, for messages.
pub(crate) fn describe(step: &RootStep) -> String {
    match step.op {
        RootOp::BindReadOnly | RootOp::Device => format!("{} at /{}", step.data, step.path),
        _ => format!("/{}", step.path),
    }
}

/// Checks a root file system folder before any job uses it.
pub(crate) fn check_rootfs(rootfs: &Path) -> Result<PathBuf, String> {
    if fs::symlink_metadata(rootfs).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(format!("{} is a link; give the folder itself", rootfs.display()));
    }
    match fs::canonicalize(rootfs) {
        Ok(path) if path == Path::new("/") => Err("/ is the host's own root".into()),
        Ok(path) if path.is_dir() => Ok(path),
        Ok(path) => Err(format!("{} is not a folder", path.display())),
        Err(error) => Err(format!("{}: {error}", rootfs.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_placed_through_a_link() {
        let mut layout = Layout { steps: Vec::new(), made: BTreeSet::new() };
        layout.add(RootOp::Symlink, "bin", "/usr/bin".into());
        layout.take(Path::new("/etc/hostname"), "bin/hostname");
        layout.take(Path::new("/etc/hostname"), "binary/hostname");
        let paths: Vec<_> = layout.steps.iter().map(|step| step.path.as_str()).collect();
        assert_eq!(paths, ["bin", "binary", "binary/hostname", "binary/hostname"]);
    }

    /// A step beneath what is bound read-only could not be made, and every job would be refused.
    #[test]
    fn the_hosts_name_servers_are_taken_only_where_nothing_is_bound() {
        let rootfs = tempfile::tempdir().expect("tempdir");
        fs::create_dir(rootfs.path().join("etc")).expect("mkdir");
        let taken = |layout: &Layout| {
            let steps = layout.for_job(None, Network::Host, None, (1, 1));
            steps.iter().filter(|step| step.path == "etc/resolv.conf").count()
        };
        assert_eq!(taken(&Layout::of_rootfs(rootfs.path()).expect("layout")), 0);
        let there = usize::from(Path::new("/etc/resolv.conf").exists());
        assert!(taken(&Layout::of_host()) >= there);
    }

    #[test]
    fn the_workspace_is_the_last_file_system() {
        let steps = Layout::of_host().for_job(None, Network::Denied, None, (1, 1));
        let last = steps.iter().rfind(|step| step.op == RootOp::Tmpfs);
        assert_eq!(last.map(|step| step.path.as_str()), Some("work"));
    }
}
