//! The suite, on AWS's own emulator in the worst case that Lambda may be: with output while the
//! program runs, without, and with another S3 server.

mod support;

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use sandbox_core::Executor;
use sandbox_core::conformance::cases;
use sandbox_emulator::{Function, Seaweed};
use support::Cloud;

fn main() {
    let arguments = Arguments::from_args();
    let runtime = Arc::new(
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime"),
    );
    let cloud = runtime.block_on(Cloud::start([Function::runner("sandbox")]));
    let seaweed = runtime.block_on(Seaweed::start());
    runtime.block_on(support::make_bucket(seaweed.endpoint()));
    let buffered = cloud.builder("sandbox").streaming(false);
    let over_seaweed = cloud.builder("sandbox").s3_endpoint(seaweed.endpoint());
    let executors: Vec<(&str, Arc<dyn Executor>)> = vec![
        ("live", Arc::new(runtime.block_on(cloud.executor("sandbox")))),
        ("buffered", Arc::new(runtime.block_on(buffered.build()).expect("executor"))),
        ("seaweed", Arc::new(runtime.block_on(over_seaweed.build()).expect("executor"))),
    ];
    let mut trials = Vec::new();
    for (name, executor) in &executors {
        for case in cases() {
            let applies = case.applies_to(executor.capabilities());
            let (runtime, executor) = (Arc::clone(&runtime), Arc::clone(executor));
            let run = move || runtime.block_on(case.check(executor.as_ref())).map_err(Failed::from);
            trials.push(
                Trial::test(format!("{name}::{}", case.name), run).with_ignored_flag(!applies),
            );
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The stand-ins have processes, which exit() would leave.
    drop((executors, cloud, seaweed));
    conclusion.exit();
}
