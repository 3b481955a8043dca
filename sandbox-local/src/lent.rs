//! Ids that this host lends to an ordinary user, by `/etc/subuid` and `/etc/subgid`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Fewer would make jobs share ids.
const LEAST: u32 = 4096;
/// As many as hosts lend by default; more are not used.
const MOST: u32 = 65_536;
/// Where the programs are that map lent ids.
const FOLDERS: [&str; 4] = ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"];

/// Ids that the application's user may give to its jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lent {
    users: (u32, u32),
    groups: (u32, u32),
    /// `newuidmap` and `newgidmap`.
    programs: [PathBuf; 2],
}

impl Lent {
    /// What is lent to user `uid`; an error says what is missing.
    pub(crate) fn to(uid: u32) -> Result<Self, String> {
        // Not by the C library, which loads what it asks: a program that is linked statically crashes.
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = name(&users, uid);
        let range = |file: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            range(&text, name, uid).ok_or_else(|| {
                format!("{file} lends fewer than {LEAST} ids to user {}", name.unwrap_or("?"))
            })
        };
        let (users, groups) = (range("/etc/subuid")?, range("/etc/subgid")?);
        let program = |name: &str| {
            let mut places = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
            places.find(|path| path.is_file()).ok_or_else(|| format!("{name} is not installed"))
        };
        Ok(Self { users, groups, programs: [program("newuidmap")?, program("newgidmap")?] })
    }

    /// How many ids a job can get, of which the first is 1.
    pub(crate) fn count(&self) -> u32 {
        self.users.1.min(self.groups.1).min(MOST)
    }

    /// Maps the ids of the user namespace that process `pid` is in: 0 is the application, and the
    /// rest are lent. Blocks.
    pub(crate) fn map(&self, pid: i32, uid: u32, gid: u32) -> Result<(), String> {
        let [users, groups] = &self.programs;
        run(users, pid, uid, self.users.0, self.count())?;
        run(groups, pid, gid, self.groups.0, self.count())
    }
}

fn run(program: &Path, pid: i32, own: u32, first: u32, count: u32) -> Result<(), String> {
    let numbers = [pid.to_string(), "0".into(), own.to_string(), "1".into(), "1".into()];
    let output = Command::new(program)
        .args(numbers)
        .args([first.to_string(), count.to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .output();
    let name = program.file_name().unwrap_or(OsStr::new("newuidmap")).to_string_lossy();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// The name of a user in a file of `name:password:uid:...` lines.
fn name(users: &str, uid: u32) -> Option<&str> {
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut words = line.split(':');
        let name = words.next()?;
        (words.nth(1)? == uid).then_some(name)
    })
}

/// The first range of at least [`LEAST`] ids that a file of `name:first:count` lines lends to a user.
fn range(text: &str, name: Option<&str>, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut words = line.trim().split(':');
        let whose = words.next()?;
        let (first, count) = (words.next()?.parse::<u32>().ok()?, words.next()?.parse().ok()?);
        let fits = count >= LEAST && first > 0 && first.checked_add(count).is_some();
        ((Some(whose) == name || whose == uid) && fits).then_some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000:1001:/home/ann:/bin/sh\n";
        assert_eq!((name(users, 1000), name(users, 1001), name("x", 0)), (Some("ann"), None, None));
    }

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let text =
            "# lent\nann:100000:65536\nbob:1:10\nbob:165536:65536\n1003:231072:70000\nx:y:z\n";
        assert_eq!(range(text, Some("ann"), 1000), Some((100_000, 65_536)));
        assert_eq!(
            range(text, Some("bob"), 1001),
            Some((165_536, 65_536)),
            "the first is too small"
        );
        assert_eq!(range(text, None, 1003), Some((231_072, 70_000)));
        assert_eq!(range(text, Some("eve"), 1004), None);
        assert_eq!(range("ann:4294967290:65536", Some("ann"), 1000), None, "past the last id");
    }
}
