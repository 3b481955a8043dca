//! What the caller places where a sandbox must not let anybody look.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use serde_json::json;

use super::Surroundings;
use crate::Limits;

/// A listener, a file and a descriptor of the caller's, all gone when this is dropped.
#[derive(Debug)]
pub(super) struct Canaries {
    token: String,
    port: u16,
    /// Where temporary files can be made.
    file: Option<PathBuf>,
    _listening: (TcpListener, Option<UnixListener>),
    /// Not closed on exec, as a careless library leaves descriptors.
    _descriptor: File,
    around: Surroundings,
}

impl Canaries {
    pub(super) fn place(around: Surroundings) -> io::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let token = format!("verify-{}-{}", std::process::id(), now.as_nanos());
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let path = std::env::temp_dir().join(&token);
        let made = File::options().read(true).write(true).create_new(true).open(&path);
        let (file, descriptor) = match made {
            Ok(file) => (Some(path), file),
            Err(_) => (None, File::open("/dev/null")?),
        };
        let placed = Self {
            _listening: (listener, abstract_listener(&token)?),
            token,
            port,
            file,
            _descriptor: descriptor,
            around,
        };
        fcntl(&placed._descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(placed)
    }

    /// What attacks are told, as JSON.
    pub(super) fn facts(&self, limits: &Limits, told: &str) -> String {
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let variables: Vec<_> =
            std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        json!({
            "token": self.token,
            "port": self.port,
            "file": self.file.as_deref().map(Path::to_string_lossy),
            "hostname": hostname.trim(),
            "variables": variables,
            "places": places(),
            "told": told,
            "around": self.around,
            "memory": limits.memory.as_u64(),
            "processes": limits.processes,
            "open_files": limits.open_files,
            "disk": limits.workspace().as_u64(),
        })
        .to_string()
    }

    /// The process that an attack has left behind, if this kernel runs it.
    pub(super) fn daemon(&self) -> Option<u32> {
        let name = format!("sandbox-{}", self.token);
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let command = fs::read(entry.path().join("cmdline")).ok()?;
            command.starts_with(name.as_bytes()).then_some(pid)
        })
    }
}

impl Drop for Canaries {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            let _ = fs::remove_file(file);
        }
        // Where nothing keeps a job from the caller's folders, an attack has left one there.
        for folder in ["/tmp", "/var/tmp", "/dev/shm", "/run/lock"] {
            let _ = fs::remove_file(Path::new(folder).join(&self.token));
        }
    }
}

/// What is the caller's business, with device and inode.
fn places() -> BTreeMap<&'static str, (u64, u64)> {
    let place = |path: &'static str| {
        let metadata = fs::metadata(path).ok()?;
        Some((path, (metadata.dev(), metadata.ino())))
    };
    let all = [
        "/",
        "/root",
        "/home",
        "/boot",
        "/run",
        "/srv",
        "/sys",
        "/var",
        "/var/log",
        "/mnt",
        "/media",
        "/opt",
        "/etc",
        "/etc/shadow",
        "/etc/passwd",
        "/etc/machine-id",
        "/etc/fstab",
        "/tmp",
    ];
    all.into_iter().filter_map(place).collect()
}

/// A unix socket without a path, which only Linux has.
#[cfg(target_os = "linux")]
fn abstract_listener(name: &str) -> io::Result<Option<UnixListener>> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?).map(Some)
}

#[cfg(not(target_os = "linux"))]
fn abstract_listener(_: &str) -> io::Result<Option<UnixListener>> {
    Ok(None)
}
