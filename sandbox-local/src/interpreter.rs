//! Finds interpreters and what they need from the host.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sandbox_core::{Error, ErrorKind, Runtime};

/// Where programs are looked up in the sandbox.
pub(crate) const PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// Folders that every sandbox has.
const SYSTEM: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];

/// An interpreter as a job uses it.
#[derive(Clone, Debug)]
pub(crate) struct Interpreter {
    pub(crate) runtime: Runtime,
    /// The program, by absolute path.
    pub(crate) program: PathBuf,
    /// Folders outside the system's that are bound read-only.
    pub(crate) prefixes: BTreeSet<PathBuf>,
}

/// Finds a runtime's interpreter on the host: as given when absolute, else along the
/// application's `PATH`. Scripts on the way, such as the shims of version managers, are passed
/// over: they need their manager to run.
pub(crate) fn find(runtime: &Runtime) -> Result<Interpreter, Error> {
    let program = locate(&runtime.interpreter).ok_or_else(|| {
        let message = format!(
            "runtime {}: interpreter {} is not installed (looked in PATH and {}); install it or \
             name another with Runtime::with_interpreter",
            runtime.name,
            runtime.interpreter.display(),
            PATH.join(":"),
        );
        Error::new(ErrorKind::ProgramNotFound, "find interpreter", message)
    })?;
    let prefixes = prefixes(&program)?;
    let mut runtime = runtime.clone();
    // Debian keeps site configuration of a version in /etc under the program's real name, which
    // /usr/lib/python3.11/sitecustomize.py, for one, links to.
    if let Some(name) = fs::canonicalize(&program).ok().as_deref().and_then(Path::file_name) {
        runtime.read_only.push(Path::new("/etc").join(name));
    }
    Ok(Interpreter { runtime, program, prefixes })
}

/// An interpreter that is looked up inside a root file system.
pub(crate) fn in_rootfs(runtime: &Runtime, rootfs: &Path) -> Result<Interpreter, Error> {
    let name = &runtime.interpreter;
    let found = PATH.iter().map(|dir| Path::new(dir).join(name)).find(|path| {
        rootfs.join(path.strip_prefix("/").unwrap_or(path)).symlink_metadata().is_ok()
    });
    let program = found.ok_or_else(|| {
        let message = format!(
            "runtime {}: interpreter {} is not in {} of the root file system {}",
            runtime.name,
            name.display(),
            PATH.join(":"),
            rootfs.display(),
        );
        Error::new(ErrorKind::ProgramNotFound, "find interpreter", message)
    })?;
    Ok(Interpreter { runtime: runtime.clone(), program, prefixes: BTreeSet::new() })
}

fn locate(name: &Path) -> Option<PathBuf> {
    if name.is_absolute() {
        return is_executable(name).then(|| name.to_owned());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(PATH.map(PathBuf::from));
    let candidates = folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
    candidates.into_iter().find(|candidate| is_executable(candidate) && !is_script(candidate))
}

fn is_executable(path: &Path) -> bool {
    let allowed = nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok();
    allowed && fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

fn is_script(path: &Path) -> bool {
    let mut start = [0u8; 2];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start == b"#!"
}

/// The installation folders that the program needs: its own, those of the links it goes through,
/// and the base of a virtual environment.
fn prefixes(program: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut prefixes = BTreeSet::new();
    let mut add = |program: &Path| -> Result<Option<PathBuf>, Error> {
        if is_system(program) {
            return Ok(None);
        }
        let prefix = prefix_of(program)?;
        prefixes.insert(prefix.clone());
        Ok(Some(prefix))
    };
    let mut hop = program.to_owned();
    for _ in 0..16 {
        if let Some(prefix) = add(&hop)?
            && let Ok(config) = fs::read_to_string(prefix.join("pyvenv.cfg"))
        {
            let home = config.lines().find_map(|line| {
                let (key, value) = line.split_once('=')?;
                (key.trim() == "home").then(|| PathBuf::from(value.trim()))
            });
            if let Some(home) = home {
                add(&home.join("python3"))?;
            }
        }
        let Ok(target) = fs::read_link(&hop) else { break };
        hop = hop.parent().unwrap_or(Path::new("/")).join(target);
    }
    if let Ok(real) = fs::canonicalize(program) {
        add(&real)?;
    }
    // A folder inside another is there already.
    let all = prefixes.clone();
    prefixes.retain(|one| !all.iter().any(|other| other != one && one.starts_with(other)));
    Ok(prefixes)
}

fn is_system(path: &Path) -> bool {
    SYSTEM.iter().any(|folder| path.starts_with(folder))
}

/// `/opt/py/bin/python3` belongs to `/opt/py`.
fn prefix_of(program: &Path) -> Result<PathBuf, Error> {
    let folder = program.parent().unwrap_or(Path::new("/"));
    let prefix = match folder.file_name() {
        Some(name) if name == "bin" => folder.parent().unwrap_or(folder),
        _ => folder,
    };
    let home = env::var_os("HOME").map(PathBuf::from);
    let too_wide = prefix.components().count() <= 2
        || home.as_deref() == Some(prefix)
        || prefix.parent() == Some(Path::new("/home"));
    if too_wide {
        let message = format!(
            "interpreter {} would bring all of {} into the sandbox; install it in a folder of \
             its own",
            program.display(),
            prefix.display(),
        );
        return Err(Error::new(ErrorKind::ProgramNotFound, "find interpreter", message));
    }
    Ok(prefix.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_folder_is_never_a_prefix() {
        for wide in ["/home/ann/bin/python3", "/home/ann/python3", "/opt/python3", "/root/x"] {
            assert!(prefix_of(Path::new(wide)).is_err(), "{wide}");
        }
        let narrow = prefix_of(Path::new("/home/ann/.venv/bin/python3")).expect("a venv");
        assert_eq!(narrow, Path::new("/home/ann/.venv"));
    }

    #[test]
    fn a_virtual_environment_brings_its_base() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (base, venv) = (dir.path().join("base"), dir.path().join("venv"));
        for folder in [&base, &venv] {
            fs::create_dir_all(folder.join("bin")).expect("mkdir");
        }
        fs::copy("/bin/true", base.join("bin/python3")).expect("copy");
        std::os::unix::fs::symlink(base.join("bin/python3"), venv.join("bin/python3"))
            .expect("link");
        let found = prefixes(&venv.join("bin/python3")).expect("prefixes");
        assert_eq!(found, BTreeSet::from([base, venv]));
    }
}
