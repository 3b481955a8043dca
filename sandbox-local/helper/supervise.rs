//! The supervisor: one job from plan to report.

use crate::cgroup::Cgroups;
use crate::init::{self, Init};
use crate::job::{self, FRAME, Job};
use crate::plan::Plan;
use crate::protocol::{GO, MESSAGE_WORDS, Stage, cause, descriptor, flag, kind, report};
use crate::sys::{
    self, AT_FDCWD, Fd, O_CLOEXEC, O_DIRECTORY, O_PATH, O_RDONLY, POLLIN, PollFd, Waited,
};
use crate::tree::{self, OwnUser, Scope};
use crate::{At, CONTROL, Failure, lent, namespaces, priority, root, tell, usage};

const MILLISECOND: u64 = 1_000_000;
/// The main process as its namespace numbers it: the helper makes PID 1 before it, and nobody else.
const SECOND: i32 = 2;
/// Five milliseconds apart; not every event of a v2 cgroup is followed by a kill.
const OOM_LOOKS: u32 = 40;
const SIGPIPE_MASK: u64 = 1 << 12;
const SIGCHLD_MASK: u64 = 1 << 16;
/// How long a killed tree may take to end before it gets a normal priority, and gets it again.
const PATIENCE: u64 = 10 * MILLISECOND;
const PR_SET_CHILD_SUBREAPER: usize = 36;

/// Runs one job. An error means that the program was not executed.
pub fn run() -> Result<(), Failure> {
    sys::set_name(c"sandbox");
    sys::reset_signals();
    // A pipe whose reader died is an error here, and no reason to die too. The end of a child is
    // waited for together with a deadline.
    sys::sigprocmask(SIGPIPE_MASK | SIGCHLD_MASK);
    priority::take_normal();
    let plan = read_plan().at(Stage::Plan)?;
    // Whatever the application leaked is gone.
    let first = descriptor::GROUPS + plan.cgroups.len() as Fd;
    sys::close_range(first, false).at(Stage::Plan)?;
    let program = sys::openat(AT_FDCWD, c"/proc/self/exe", O_PATH | O_CLOEXEC, 0).at(Stage::Init)?;
    sys::setsid().at(Stage::Setsid)?;
    sys::umask(0);

    let mut groups = Cgroups::NONE;
    let (mut init, mut job) = (None, None);
    let result = (|| {
        groups = Cgroups::create(&plan)?;
        let stdio = descriptor::STREAMS;
        if plan.has(flag::NAMESPACES) {
            let owner = if plan.has(flag::LENT_IDS) { Some(lent::enter(&plan)?) } else { None };
            namespaces::enter_outer(&plan)?;
            let root = root::create()?;
            let init = init.insert(init::start(&plan, program, root)?);
            let job = job.insert(job::start(&plan, &groups, stdio, Some(init.ready))?);
            let workspace = root::build(&plan, root)?;
            init.await_proc(&plan)?;
            init.gate.open();
            root::enter(root)?;
            job.root.open();
            sys::close(init.ready);
            hand_over(workspace, init, owner)?;
            Supervisor::new(&plan, &groups, Some(init), job)?.supervise()
        } else {
            if !plan.has(flag::OWN_USER) {
                sys::prctl(PR_SET_CHILD_SUBREAPER, 1).at(Stage::Subreaper)?;
            }
            let job = job.insert(job::start(&plan, &groups, stdio, None)?);
            job.root.open();
            Supervisor::new(&plan, &groups, None, job)?.supervise()
        }
    })();
    if result.is_err() {
        end(scope(&plan), init.as_ref(), job.as_ref(), true);
    }
    match result {
        Ok(mut words) => {
            if groups.keep_caches() {
                // Takes a while, for which nobody need wait.
                let _ = tell(&words, &[]);
                groups.give_back_caches();
                groups.remove();
                return Ok(());
            }
            words[report::CGROUP_LEFT] = u64::from(!groups.remove());
            let _ = tell(&words, &[]);
            Ok(())
        }
        Err(failure) => {
            groups.remove();
            Err(failure)
        }
    }
}

/// Kills the job's processes and waits until none is left. Returns the end of the main process
/// and that of the rest.
fn end(
    scope: Scope,
    init: Option<&Init>,
    job: Option<&Job>,
    kill_main: bool,
) -> (Waited, Waited) {
    let Some(init) = init else {
        let main = job.map_or(0, |job| job.pid);
        return match scope {
            Scope::User(user) => (tree::end_user(user, main, kill_main), Waited::default()),
            _ => tree::end_descendants(main, kill_main),
        };
    };
    let _ = sys::pidfd_kill(init.pidfd);
    reap_all(scope, job.map_or(0, |job| job.pid))
}

/// Reaps every child until none is left, whoever it is: PID 1 ends only after everybody in its
/// namespace was waited for, also children that somebody inside made for this process. Returns the
/// end of `main` and that of the rest.
fn reap_all(scope: Scope, main: i32) -> (Waited, Waited) {
    let (mut end, mut rest) = (Waited::default(), Waited::default());
    loop {
        match sys::wait_now() {
            Err(_) => return (end, rest),
            Ok(Waited { pid: 0, .. }) => {
                // What the job gave up of its priority would delay its end. Who is killed runs none of
                // the job's code any more, and cannot give it up again.
                if !sys::sigwait(SIGCHLD_MASK, Some(PATIENCE)) {
                    priority::restore(scope);
                }
            }
            Ok(waited) if waited.pid == main => end = waited,
            Ok(waited) => {
                rest.cpu_us += waited.cpu_us;
                rest.max_rss = rest.max_rss.max(waited.max_rss);
            }
        }
    }
}

/// Where the job's processes are found.
fn scope(plan: &Plan) -> Scope {
    if plan.has(flag::NAMESPACES) {
        Scope::Namespace
    } else if plan.has(flag::OWN_USER) {
        Scope::User(OwnUser { uid: plan.helper_uid, caller: sys::getppid() as u64 })
    } else {
        Scope::Descendants
    }
}

fn read_plan() -> sys::Result<Plan> {
    let data = sys::map_file(descriptor::PLAN, sys::length(descriptor::PLAN)?)?;
    sys::close(descriptor::PLAN);
    Plan::read(data)
}

/// Gives the application the workspace, as its own where the job has a lent id.
fn hand_over(workspace: Fd, init: &Init, owner: Option<Fd>) -> Result<(), Failure> {
    let workspace = match owner {
        Some(owner) => lent::workspace(workspace, owner)?,
        None => workspace,
    };
    if tell(&[kind::READY], &[workspace, init.pidfd]) == Err(sys::ETOOMANYREFS) {
        // Jobs of the application's user have put all in flight that may be.
        let _ = tell(&[kind::READY_AT, workspace as u64], &[]);
    }
    Ok(())
}

/// What poll watches, by index.
mod watch {
    pub const CONTROL: usize = 0;
    pub const JOB: usize = 1;
    pub const TIMER: usize = 2;
    pub const START: usize = 3;
    pub const OOM: usize = 4;
    pub const COUNT: usize = 5;
}

struct Supervisor<'a> {
    plan: &'a Plan,
    groups: &'a Cgroups,
    init: Option<&'a Init>,
    job: &'a Job,
    scope: Scope,
    timer: Fd,
    fds: [PollFd; watch::COUNT],
    /// The file systems that the job can fill; their content is memory.
    tmpfs: [Fd; 3],
    /// A file system that nobody else fills, and what was used of it before the job.
    scratch: Option<(Fd, u64)>,
    /// The last step that the job child said is next.
    reached: Stage,
    started_ns: Option<u64>,
    memory_peak: u64,
    /// When memory was last looked at, and what it was.
    memory_seen: (u64, u64),
    /// How long to wait until it is looked at again.
    memory_wait: u64,
    /// When to look for memory that has no size.
    next_maps: u64,
    /// Counts the sockets of the job's network.
    sockstat: Option<usage::Sockstat>,
    /// The highest CPU time seen by looking.
    cpu_seen: u64,
    /// When to look at usage next.
    next_look: Option<u64>,
    /// Looks left for the kill that an out-of-memory event announced.
    oom_looks: u32,
}

impl<'a> Supervisor<'a> {
    fn new(
        plan: &'a Plan,
        groups: &'a Cgroups,
        init: Option<&'a Init>,
        job: &'a Job,
    ) -> Result<Self, Failure> {
        let timer = sys::boottime_timer().at(Stage::Fork)?;
        let (oom, oom_events) = groups.oom_notifier().unwrap_or((-1, 0));
        let fd = |fd, events| PollFd { fd, events, revents: 0 };
        let directory = |path| {
            sys::openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0).unwrap_or(-1)
        };
        if !plan.has(flag::AWAIT_GO) {
            job.gate.open();
        }
        Ok(Self {
            fds: [
                fd(CONTROL, POLLIN),
                fd(job.pidfd, POLLIN),
                fd(timer, POLLIN),
                fd(job.failure, POLLIN),
                fd(oom, oom_events),
            ],
            tmpfs: match init {
                Some(_) => [directory(c"/work"), directory(c"/tmp"), directory(c"/dev/shm")],
                None => [-1; 3],
            },
            scratch: (!plan.scratch.is_empty()).then(|| {
                let fd = directory(plan.scratch);
                (fd, sys::fullness(fd).used)
            }),
            scope: scope(plan),
            plan,
            groups,
            init,
            job,
            timer,
            reached: Stage::Fork,
            started_ns: None,
            memory_peak: 0,
            memory_seen: (0, 0),
            memory_wait: plan.watch_ns,
            next_maps: 0,
            sockstat: None,
            cpu_seen: 0,
            next_look: None,
            oom_looks: 0,
        })
    }

    /// Waits for the end of the job, kills what is left and reports.
    fn supervise(mut self) -> Result<[u64; MESSAGE_WORDS], Failure> {
        let cause = loop {
            if let Some(cause) = self.step()? {
                break cause;
            }
        };
        let ended_ns = sys::boottime_ns();
        // What dies with its namespace is reaped by the kernel, which adds its CPU time to
        // nobody's: where no cgroup counts, look before the kill.
        self.cpu_seen = self.cpu_seen.max(self.cpu_us());
        let (main, rest) = end(self.scope, self.init, Some(self.job), cause != cause::EXIT);
        Ok(self.report(cause, main, rest, ended_ns))
    }

    /// One round of waiting; returns why the job ended, if it did.
    fn step(&mut self) -> Result<Option<u64>, Failure> {
        let now = sys::boottime_ns();
        let timeout = self.next_look.map(|at| at.saturating_sub(now));
        // An interrupted or timed-out poll leaves no bit set, which is what the code below wants.
        for fd in &mut self.fds {
            fd.revents = 0;
        }
        let _ = sys::poll(&mut self.fds, timeout);
        let ready = |index: usize| self.fds[index].revents != 0;
        let (start, job, timer) = (ready(watch::START), ready(watch::JOB), ready(watch::TIMER));
        let (control, oom) = (ready(watch::CONTROL), ready(watch::OOM));

        if start {
            self.note_start()?;
        }
        if oom {
            self.oom_looks = OOM_LOOKS;
            self.next_look = Some(sys::boottime_ns());
            if self.fds[watch::OOM].events == POLLIN {
                let _ = sys::read(self.fds[watch::OOM].fd, &mut [0u8; 8]);
            } else {
                // memory.events re-arms when it is read.
                let _ = self.groups.oom_kills();
            }
        }
        if job {
            // A short program is dead before its start was read.
            while self.started_ns.is_none() {
                self.note_start()?;
            }
            return Ok(Some(self.cause_of_death()));
        }
        if timer {
            return Ok(Some(cause::WALL));
        }
        if control {
            let mut byte = [0u8; 1];
            match sys::read(CONTROL, &mut byte) {
                Ok(1) if byte[0] == GO => self.job.gate.open(),
                Err(sys::EINTR | sys::EAGAIN) => {}
                _ => return Ok(Some(cause::KILLED)),
            }
        }
        if self.next_look.is_some_and(|at| sys::boottime_ns() >= at) {
            return Ok(self.look());
        }
        Ok(None)
    }

    /// The job child executed the program, or says why it could not, or died on the way.
    fn note_start(&mut self) -> Result<(), Failure> {
        let mut frame = [0u8; FRAME];
        let length = sys::read(self.job.failure, &mut frame).at(Stage::Exec)?;
        if length == FRAME {
            let failure = job::decode(&frame);
            if failure.errno != 0 {
                return Err(failure);
            }
            self.reached = failure.stage;
            return Ok(());
        }
        if self.reached != Stage::Exec {
            // A child that died without a word was killed by the step that it had announced, or,
            // before all of those, by whatever ends processes on a host in need.
            let errno = if self.reached == Stage::Fork { sys::EAGAIN } else { sys::EPERM };
            return Err(errno).at(self.reached);
        }
        sys::close(self.job.failure);
        self.fds[watch::START].fd = -1;
        let now = sys::boottime_ns();
        self.started_ns = Some(now);
        if self.plan.has(flag::NET) {
            self.sockstat = usage::Sockstat::open(SECOND);
        }
        sys::arm_timer(self.timer, self.plan.wall_ns.max(1)).at(Stage::Exec)?;
        self.schedule(now, 0);
        let _ = tell(&[kind::STARTED, now], &[]);
        Ok(())
    }

    /// The tree's CPU time so far.
    fn cpu_us(&self) -> u64 {
        self.groups.cpu_us().unwrap_or_else(|| usage::cpu_us(self.scope))
    }

    fn cause_of_death(&self) -> u64 {
        if self.groups.oom_kills() > 0 {
            cause::MEMORY
        } else if self.init.is_some() && tree::is_exiting(1) {
            // Nobody in the namespace can end it, by a signal or by a limit, so it was not the program.
            cause::INIT_DIED
        } else {
            cause::EXIT
        }
    }

    /// Looks at the tree's usage.
    fn look(&mut self) -> Option<u64> {
        if matches!(self.scope, Scope::User(_)) && !tree::can_look() {
            // Blind, it can hold no limit: its death says so, and its caller ends the rest.
            let _ = sys::kill(self.job.pid);
            sys::exit(3);
        }
        if self.oom_looks > 0 {
            self.oom_looks -= 1;
            if self.groups.oom_kills() > 0 {
                return Some(cause::MEMORY);
            }
        }
        if self.plan.has(flag::WATCH_MEMORY) {
            let memory = usage::memory(self.scope, self.plan, &self.tmpfs, self.sockstat);
            self.memory_peak = self.memory_peak.max(memory.used);
            if memory.bound > self.plan.memory_limit {
                return Some(cause::MEMORY);
            }
            self.foresee(memory.bound);
            let now = sys::boottime_ns();
            if now >= self.next_maps {
                if usage::shares_zeros(self.scope) {
                    return Some(cause::MEMORY);
                }
                // A process can have so many mappings that to read of them takes long.
                let then = sys::boottime_ns();
                self.next_maps = then + (50 * (then - now)).max(50 * MILLISECOND);
            }
        } else if let Some(sockstat) = self.sockstat.filter(|_| self.groups.limit_memory()) {
            let sockets = usage::sockets(sockstat, true);
            if sockets > self.plan.memory_limit {
                self.memory_peak = sockets;
                return Some(cause::MEMORY);
            }
        }
        if let Some((fd, before)) = self.scratch
            && sys::fullness(fd).used.saturating_sub(before) > self.plan.scratch_limit
        {
            return Some(cause::DISK);
        }
        let cpu = self.cpu_us();
        self.cpu_seen = self.cpu_seen.max(cpu);
        if cpu >= self.plan.cpu_us {
            return Some(cause::CPU);
        }
        self.schedule(sys::boottime_ns(), cpu);
        None
    }

    /// Looks sooner at memory that grows: when half of the time is over in which it would reach its
    /// limit at the speed that it has.
    fn foresee(&mut self, bytes: u64) {
        let now = sys::boottime_ns();
        let (then, before) = core::mem::replace(&mut self.memory_seen, (now, bytes));
        let left = u128::from(self.plan.memory_limit.saturating_sub(bytes));
        let grown = u128::from(bytes.saturating_sub(before).max(1));
        let half = left * u128::from(now.saturating_sub(then)) / grown / 2;
        let soon = u64::try_from(half).unwrap_or(u64::MAX).max(MILLISECOND / 2);
        self.memory_wait = self.plan.watch_ns.min(soon);
    }

    /// Plans the next look: the tree cannot reach its CPU limit before all processors together
    /// have spent what is left of it.
    fn schedule(&mut self, now: u64, cpu_used: u64) {
        let left_us = self.plan.cpu_us.saturating_sub(cpu_used) / self.plan.cpus;
        let mut wait = left_us.saturating_mul(1000).clamp(10 * MILLISECOND, 1000 * MILLISECOND);
        if self.plan.has(flag::WATCH_MEMORY) {
            wait = wait.min(self.memory_wait);
        }
        if self.sockstat.is_some() {
            wait = wait.min(200 * MILLISECOND);
        }
        if self.oom_looks > 0 {
            wait = wait.min(5 * MILLISECOND);
        }
        self.next_look = Some(now.saturating_add(wait));
    }

    fn report(&self, cause: u64, main: Waited, rest: Waited, ended: u64) -> [u64; MESSAGE_WORDS] {
        let counters = self.groups.counters();
        // A kill by the kernel that raced with another end of the job is still the first cause.
        let cause = match cause {
            cause::EXIT | cause::WALL | cause::CPU | cause::INIT_DIED if counters.oom_kills > 0 => cause::MEMORY,
            other => other,
        };
        let largest_process = main.max_rss.max(rest.max_rss);
        let watched = self.memory_peak.max(largest_process);
        let mut words = [0; MESSAGE_WORDS];
        words[0] = kind::FINISHED;
        words[report::CAUSE] = cause;
        words[report::SI_CODE] = main.code as u64;
        words[report::SI_STATUS] = main.status as u64;
        words[report::CPU_US] = self.cpu_seen.max(main.cpu_us + rest.cpu_us);
        words[report::MEMORY_PEAK] =
            if self.groups.limit_memory() { counters.memory_peak.max(self.memory_peak) } else { watched };
        words[report::OOM_KILLS] = counters.oom_kills;
        words[report::FORKS_REFUSED] = counters.forks_refused;
        words[report::PROCESSES_PEAK] = counters.processes_peak;
        words[report::STARTED_NS] = self.started_ns.unwrap_or(ended);
        words[report::ENDED_NS] = ended;
        words[report::GONE_NS] = sys::boottime_ns();
        for (bit, fullness) in self.tmpfs.iter().map(|fd| sys::fullness(*fd)).enumerate() {
            words[report::NO_SPACE] |= u64::from(fullness.no_space) << bit;
            words[report::NO_INODES] |= u64::from(fullness.no_inodes) << bit;
        }
        words
    }
}
