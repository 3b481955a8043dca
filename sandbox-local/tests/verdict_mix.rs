//! Every way to end, many at a time: none is taken for another.
//!
//! `SANDBOX_VERDICTS=1000` makes it long.

mod support;

use std::time::Duration;

use futures_util::StreamExt as _;
use sandbox_core::{
    Event, Executor, Job, JobBuilder, LimitKind, Outcome, Result, Size, Termination,
};
use sandbox_local::LocalExecutor;
use support::executor;

/// Jobs at once.
const AT_ONCE: usize = 8;

/// A program and the one end that it can have.
struct Kind {
    name: &'static str,
    job: fn(u64) -> JobBuilder,
    cancel: bool,
    /// Checks reason and evidence; what is wrong.
    check: fn(u64, &Outcome) -> bool,
}

/// Programs that only look like another end are among them: exit 137 and 124, a signal that a
/// limit also sends, a limit that is met and survived.
const KINDS: &[Kind] = &[
    Kind {
        name: "an exit code",
        job: |n| Job::bash(format!("echo out; exit {}", n % 256)),
        cancel: false,
        check: |n, o| o.termination == Termination::Exited((n % 256) as i32),
    },
    Kind {
        name: "exit 137",
        job: |_| Job::bash("exit 137"),
        cancel: false,
        check: |_, o| o.termination == Termination::Exited(137),
    },
    Kind {
        name: "a signal of its own",
        job: |n| Job::bash(format!("kill -{} $$", [9, 15, 6, 24, 25, 7, 11][n as usize % 7])),
        cancel: false,
        check: |n, o| {
            o.termination == Termination::Signaled([9, 15, 6, 24, 25, 7, 11][n as usize % 7])
        },
    },
    Kind {
        name: "the wall clock",
        job: |_| Job::bash("sleep 60").timeout(Duration::from_millis(150)),
        cancel: false,
        check: |_, o| match &o.termination {
            Termination::WallTime(evidence) => {
                evidence.limit == Duration::from_millis(150) && evidence.used >= evidence.limit
            }
            _ => false,
        },
    },
    Kind {
        name: "CPU time",
        job: |_| {
            Job::bash("while :; do :; done").limit(|l| l.cpu = Some(Duration::from_millis(100)))
        },
        cancel: false,
        check: |_, o| match &o.termination {
            Termination::CpuTime(evidence) => {
                evidence.limit == Duration::from_millis(100) && evidence.used >= evidence.limit
            }
            _ => false,
        },
    },
    Kind {
        name: "memory",
        job: |_| Job::bash("exec tail /dev/zero").memory(Size::mib(24)),
        cancel: false,
        check: |_, o| match &o.termination {
            Termination::Memory(evidence) => {
                evidence.limit == Size::mib(24)
                    && evidence.oom_kills >= 1
                    && evidence.peak > Some(Size::mib(16))
            }
            _ => false,
        },
    },
    Kind {
        name: "memory of a child that the program survives",
        job: |_| Job::bash("tail /dev/zero; sleep 60").memory(Size::mib(24)),
        cancel: false,
        check: |_, o| matches!(&o.termination, Termination::Memory(e) if e.oom_kills >= 1),
    },
    Kind {
        name: "output",
        job: |_| {
            Job::bash("yes; sleep 60").limit(|l| l.output = Size::kib(4)).stop_at_output_limit()
        },
        cancel: false,
        check: |_, o| match &o.termination {
            Termination::Output(evidence) => evidence.stream == "stdout" && evidence.total > 4096,
            _ => false,
        },
    },
    Kind {
        name: "output that is only cut",
        job: |_| Job::bash("head -c 100000 /dev/zero").limit(|l| l.output = Size::kib(4)),
        cancel: false,
        check: |_, o| {
            o.is_success() && o.stdout.total == 100_000 && o.limits_hit.contains(&LimitKind::Output)
        },
    },
    Kind {
        name: "a file too large",
        job: |_| {
            Job::command(["dd", "if=/dev/zero", "of=big", "bs=1M", "count=2"])
                .limit(|l| l.file_size = Some(Size::mib(1)))
        },
        cancel: false,
        check: |_, o| match &o.termination {
            Termination::Disk(e) => e.limit_kind == LimitKind::FileSize && e.signal == 25,
            _ => false,
        },
    },
    Kind {
        name: "a full disk that is survived",
        job: |_| {
            Job::bash("head -c 200000 /dev/zero > f; exit 3")
                .limit(|l| l.workspace = Some(Size::kib(64)))
        },
        cancel: false,
        check: |_, o| {
            o.termination == Termination::Exited(3) && o.limits_hit.contains(&LimitKind::Workspace)
        },
    },
    Kind {
        name: "cancelled",
        job: |_| Job::bash("echo ready; sleep 60"),
        cancel: true,
        check: |_, o| o.termination == Termination::Cancelled && o.stdout.text() == "ready\n",
    },
];

async fn run(executor: &LocalExecutor, kind: &Kind, number: u64) -> Result<Outcome> {
    let job = (kind.job)(number).build()?;
    let mut execution = executor.start(job).await?;
    if kind.cancel {
        while let Some(event) = execution.next_event().await {
            if matches!(event, Event::Stdout(_)) {
                execution.cancel_handle().cancel();
                break;
            }
        }
    }
    execution.outcome().await
}

#[tokio::test]
async fn no_end_is_taken_for_another() {
    let count = std::env::var("SANDBOX_VERDICTS").ok().and_then(|n| n.parse().ok()).unwrap_or(120);
    let executor = executor().await;
    let runs = futures_util::stream::iter(0..count).map(|number: u64| {
        let executor = &executor;
        async move {
            // Neighbours differ.
            let kind = &KINDS[(number.wrapping_mul(7) % KINDS.len() as u64) as usize];
            let outcome = run(executor, kind, number).await;
            let right = outcome.as_ref().is_ok_and(|outcome| (kind.check)(number, outcome));
            (!right).then(|| format!("{number}, {}: {outcome:?}", kind.name))
        }
    });
    let wrong: Vec<_> = runs.buffer_unordered(AT_ONCE).filter_map(async |x| x).collect().await;
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

/// A suite that cannot fail shows nothing: each check refuses the ends of all other kinds.
#[tokio::test]
async fn each_check_knows_its_own_end_only() {
    let executor = executor().await;
    for (at, kind) in KINDS.iter().enumerate() {
        let outcome = run(&executor, kind, 77).await.expect("outcome");
        for (other_at, other) in KINDS.iter().enumerate() {
            // Memory is memory, whoever is killed.
            let alike =
                at == other_at || (kind.name.contains("memory") && other.name.contains("memory"));
            assert_eq!(
                (other.check)(77, &outcome),
                alike,
                "{} checked as {}",
                kind.name,
                other.name
            );
        }
    }
}
