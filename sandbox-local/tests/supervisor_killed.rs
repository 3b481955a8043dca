//! The death of a job's supervisor, or of its first process. A file of its own: it looks at its
//! process's children.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox_core::{ErrorKind, Event, Executor as _, Job};
use support::{alive, children_named, eventually, executor, stubborn};

/// Both in one test: each looks for the only supervisor.
#[tokio::test]
async fn a_killed_supervisor_takes_the_tree_with_it() {
    for first_process in [false, true] {
        let job = Job::bash(stubborn("910005") + "sleep 910005").build().expect("job");
        let mut execution = executor().await.start(job).await.expect("started");
        while let Some(event) = execution.next_event().await {
            if matches!(event, Event::Stdout(_)) {
                break;
            }
        }
        let supervisors = children_named("sandbox-supervisor");
        assert_eq!(supervisors.len(), 1, "{supervisors:?}");
        let victim = if first_process { init_of(supervisors[0]) } else { supervisors[0] };
        kill(Pid::from_raw(victim as i32), Signal::SIGKILL).expect("own descendant");
        let error = execution.outcome().await.expect_err("lost");
        // Not a signal of the program's own.
        assert_eq!(error.kind(), ErrorKind::Lost);
        assert!(error.may_have_run());
        assert!(error.to_string().contains("nothing of the job is left"), "{error}");
        assert_eq!(alive("910005"), [0; 0]);
        assert!(eventually(|| children_named("sandbox").is_empty()).await);
    }
}

/// PID 1 of the namespace that a supervisor has made.
fn init_of(supervisor: u32) -> u32 {
    let path = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = std::fs::read_to_string(path).expect("children");
    let init = children.split_whitespace().find(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"init\0"))
    });
    init.and_then(|pid| pid.parse().ok()).expect("PID 1")
}
