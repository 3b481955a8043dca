//! The conformance suite on the local backend, with cgroups and without.

use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use sandbox_core::{Executor as _, conformance};
use sandbox_local::LocalExecutor;

fn main() {
    let args = Arguments::from_args();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("runtime"));
    let mut trials = Vec::new();
    for (name, builder) in [
        ("local", LocalExecutor::builder()),
        ("without_cgroups", LocalExecutor::builder().without_cgroups()),
    ] {
        let executor = Arc::new(runtime.block_on(builder.build()).expect("executor"));
        for case in conformance::cases() {
            let ignored = !case.applies_to(executor.capabilities());
            let (executor, runtime) = (Arc::clone(&executor), Arc::clone(&runtime));
            let check = move || {
                runtime.block_on(case.check(executor.as_ref())).map_err(Failed::from)
            };
            let trial = Trial::test(format!("{name}::{}", case.name), check);
            trials.push(trial.with_ignored_flag(ignored));
        }
    }
    libtest_mimic::run(&args, trials).exit();
}
