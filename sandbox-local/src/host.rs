//! Who and where the application is.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use crate::ids::{self, JobIds};
use crate::launch::STARTUP;
use crate::lent::Lent;
use crate::protocol::{KILL, MAPPED, flag};

const NOBODY: u32 = 65_534;

/// Facts about the application's process that do not change.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Root with `CAP_SYS_ADMIN`: namespaces and mounts need no user namespace.
    pub(crate) privileged: bool,
    /// May become another user: root, if not with `CAP_SYS_ADMIN`.
    pub(crate) changes_ids: bool,
    /// Not privileged, but may act on files and processes of other users: its helpers take the job's
    /// id before they make namespaces.
    pub(crate) lends_ids: bool,
    /// May give a process a higher priority than it has.
    pub(crate) raises_priority: bool,
    pub(crate) cpus: u64,
    pub(crate) page_size: u64,
    /// Whether the range of job ids is mapped in the application's user namespace.
    job_ids_mapped: bool,
    /// Ids that an ordinary application may give to its jobs, or why it has none.
    pub(crate) lent: Result<Lent, String>,
    pub(crate) ids: JobIds,
}

/// Who a job is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    /// The job's ids in the namespace around its own, or, without namespaces, on the host.
    pub(crate) job: (u32, u32),
    /// The ids on the host of the helper that makes the namespaces.
    pub(crate) helper: (u32, u32),
    /// To whom the application gives the job's files, where that is somebody else.
    pub(crate) owner: Option<(u32, u32)>,
}

impl Host {
    pub(crate) fn look() -> Self {
        const CAP_SYS_ADMIN: u32 = 21;
        const CAP_CHOWN: u32 = 0;
        const CAP_DAC_OVERRIDE: u32 = 1;
        const CAP_KILL: u32 = 5;
        const CAP_SETGID: u32 = 6;
        const CAP_SETUID: u32 = 7;
        const CAP_SYS_NICE: u32 = 23;
        let uid = nix::unistd::geteuid().as_raw();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective = field(&status, "CapEff:")
            .and_then(|text| u64::from_str_radix(text, 16).ok())
            .unwrap_or(0);
        let has = |capability: u32| effective & (1 << capability) != 0;
        let changes_ids = uid == 0 && has(CAP_SETUID) && has(CAP_SETGID);
        let privileged = changes_ids && has(CAP_SYS_ADMIN);
        let lent = match changes_ids {
            true => {
                Err("it may change ids, but not act on files and processes of others".to_owned())
            }
            false => Lent::to(uid),
        };
        let acts_on_others = has(CAP_CHOWN) && has(CAP_DAC_OVERRIDE) && has(CAP_KILL);
        let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self {
            uid,
            gid: nix::unistd::getegid().as_raw(),
            privileged,
            changes_ids,
            lends_ids: changes_ids && !privileged && acts_on_others,
            raises_priority: has(CAP_SYS_NICE),
            page_size: sysconf(SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as u64,
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            job_ids_mapped: maps(&map, ids::FIRST) && maps(&map, ids::FIRST + ids::COUNT),
            lent,
            ids: JobIds::default(),
        }
    }

    /// Who job number `number` is. An application that may gives each job another user, so that
    /// per-user accounting in the kernel (pipes, watches, keys) is per job too.
    pub(crate) fn identity(&self, number: u64, flags: u64) -> Identity {
        let own = (self.uid, self.gid);
        let inside = (INSIDE_ID, INSIDE_ID);
        let given = self.given(number);
        let (job, helper, gives) = match flags & flag::NAMESPACES != 0 {
            true if flags & flag::LENT_IDS != 0 => (self.lent_id(number), own, false),
            true if self.privileged => (given, own, true),
            true if self.lends_ids => (inside, given, true),
            true => (inside, own, false),
            false if self.changes_ids => (given, own, true),
            false => (own, own, false),
        };
        Identity { job, helper, owner: gives.then_some(given) }
    }

    /// The lent id of job number `number`, inside the user namespace that has them.
    fn lent_id(&self, number: u64) -> (u32, u32) {
        let count = self.lent.as_ref().map_or(1, Lent::count);
        let id = 1 + (self.ids.user(number) - ids::FIRST) % count;
        (id, id)
    }

    /// Maps lent ids for the helper `pid`; returns what to tell it.
    pub(crate) async fn map_lent(&self, pid: i32) -> u8 {
        let Ok(lent) = self.lent.clone() else { return KILL };
        let (uid, gid) = (self.uid, self.gid);
        let mapped = tokio::task::spawn_blocking(move || lent.map(pid, uid, gid));
        // The programs ask name services, which may not answer.
        match tokio::time::timeout(STARTUP, mapped).await {
            Ok(Ok(Ok(()))) => MAPPED,
            Ok(Ok(Err(why))) => {
                tracing::debug!(%why, "cannot map lent ids");
                KILL
            }
            _ => KILL,
        }
    }

    fn given(&self, number: u64) -> (u32, u32) {
        let id = if self.job_ids_mapped { self.ids.user(number) } else { NOBODY };
        (id, id)
    }
}

/// The job's id as the job sees it, and an ordinary application's id inside its own namespace.
pub(crate) const INSIDE_ID: u32 = 1000;

pub(crate) fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Whether a `uid_map` maps `id`.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (words.next(), words.next(), words.next());
        let (first, count) = (first.unwrap_or(0), count.unwrap_or(0));
        (first..first.saturating_add(count)).contains(&u64::from(id))
    })
}

/// What this host's kernel is called.
pub(crate) fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
