//! The conformance suite on the reference and on every wrapper, and proof that it can fail.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};
use sandbox_core::{Displays, Executor, FakeExecutor, Fault, LimitConcurrency, Retry, conformance};

fn main() {
    let args = Arguments::from_args();
    let queue = Duration::from_secs(30);
    let executors: [(&str, Arc<dyn Executor>); 5] = [
        ("fake", Arc::new(FakeExecutor::new())),
        ("limit", Arc::new(LimitConcurrency::new(FakeExecutor::new(), 4, queue))),
        ("retry", Arc::new(Retry::new(FakeExecutor::new(), 3, Duration::from_millis(1)))),
        ("displays", Arc::new(Displays::new(FakeExecutor::new()))),
        ("boxed", Arc::new(Box::new(FakeExecutor::new()) as Box<dyn Executor>)),
    ];
    let mut trials = Vec::new();
    for (name, executor) in executors {
        for case in conformance::cases() {
            let ignored = !case.applies_to(executor.capabilities());
            let executor = Arc::clone(&executor);
            let check = move || run(async { case.check(&executor).await.map_err(Failed::from) });
            let trial = Trial::test(format!("{name}::{}", case.name), check);
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    for (fault, rule) in [
        (Fault::IgnoreTimeout, "wall_time_ends_the_job"),
        (Fault::LeakProcess, "nothing_survives_the_job"),
        (Fault::DropLayer, "an_undeclared_layer_is_refused"),
    ] {
        trials.push(Trial::test(format!("broken::{fault:?}"), move || {
            let broken = FakeExecutor::with_fault(fault);
            let failed = run(conformance::failures(&broken));
            match failed.iter().any(|(name, _)| *name == rule) {
                true => Ok(()),
                false => Err(format!("{rule} did not notice; failed: {failed:?}").into()),
            }
        }));
    }
    libtest_mimic::run(&args, trials).exit();
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().expect("runtime").block_on(future)
}
