//! The death of a job's supervisor. A file of its own: it looks at its process's children.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox_core::{ErrorKind, Event, Executor as _, Job};
use support::{alive, children_named, executor, stubborn};

#[tokio::test]
async fn a_killed_supervisor_takes_the_tree_with_it() {
    let job = Job::bash(stubborn("910005") + "sleep 910005").build().expect("job");
    let mut execution = executor().await.start(job).await.expect("started");
    while let Some(event) = execution.next_event().await {
        if matches!(event, Event::Stdout(_)) {
            break;
        }
    }
    let supervisors = children_named("sandbox-supervisor");
    assert_eq!(supervisors.len(), 1, "{supervisors:?}");
    kill(Pid::from_raw(supervisors[0] as i32), Signal::SIGKILL).expect("own child");
    let error = execution.outcome().await.expect_err("lost");
    assert_eq!(error.kind(), ErrorKind::Lost);
    assert!(error.may_have_run());
    assert!(error.to_string().contains("nothing of the job is left"), "{error}");
    assert_eq!(alive("910005"), [0; 0]);
}
