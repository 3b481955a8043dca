//! Attacks on a function: what is claimed holds, and what is not claimed is shown as open.
//!
//! In a network of the test's own: what an attack reaches there is the test's.

mod support;

#[path = "../../tests/support/network.rs"]
mod network;

use std::collections::BTreeSet;
use std::net::TcpListener;

use sandbox_core::{
    Attempt, Executor as _, ExecutorExt as _, Layer, LayerState, Verdict, Verification,
};
use sandbox_emulator::{Function, Launcher};
use support::Cloud;

/// One environment, so that each job follows the others.
fn function(launcher: Launcher) -> Function {
    Function { launcher, concurrency: 1, ..Function::runner("sandbox") }
}

fn show(verification: &Verification) -> String {
    verification.attacks.iter().map(|attempt| format!("{attempt:?}\n")).collect()
}

fn verify(launcher: Launcher, check: fn(&Verification, &dyn Fn(Layer) -> LayerState)) {
    network::in_a_network(move || async move {
        let metadata = TcpListener::bind((network::METADATA, 80)).expect("listener");
        let cloud = Cloud::start([function(launcher)]).await;
        let executor = cloud.executor("sandbox").await;
        let verification = executor.verify().await;
        assert!(verification.holds(), "{}", show(&verification));
        let enforcement = &executor.capabilities().enforcement;
        check(&verification, &|layer| enforcement.state(layer).clone());
        drop(metadata);
    });
}

#[test]
fn in_the_worst_case_what_is_claimed_holds() {
    verify(Launcher::WorstCase, |verification, _| {
        let open = verification.layers(Verdict::Open);
        // What the microVM, the network and the role hold in Lambda, an emulator does not.
        let expected: BTreeSet<_> = [
            Layer::User,
            Layer::Mount,
            Layer::Pid,
            Layer::SupervisorHidden,
            Layer::Network,
            Layer::Uts,
            Layer::Capabilities,
            Layer::Seccomp,
            Layer::Landlock,
            Layer::NoNewPrivs,
        ]
        .into();
        assert!(open.is_subset(&expected), "{open:?}\n{}", show(verification));
        let reached = |attempt: &Attempt| attempt.attack == "reach the metadata service";
        let metadata = verification.attacks.iter().find(|attempt| reached(attempt));
        assert_eq!(metadata.map(|attempt| attempt.verdict), Some(Verdict::Open), "it is there");
        for layer in [Layer::Cleanup, Layer::Environment, Layer::Rlimits, Layer::PrivateTmp] {
            let held = verification.attacks.iter().filter(|attempt| attempt.layer == layer);
            assert!(held.clone().count() > 0 && held.clone().all(|a| a.verdict == Verdict::Held));
        }
    });
}

#[test]
fn where_the_kernel_gives_more_more_is_claimed_and_holds() {
    verify(Launcher::Ordinary, |verification, state| {
        for layer in [Layer::Seccomp, Layer::Landlock, Layer::NoNewPrivs, Layer::Capabilities] {
            assert_eq!(state(layer), LayerState::Enforced, "{layer}");
        }
        let held = verification.layers(Verdict::Held);
        assert!(held.contains(&Layer::Seccomp) && held.contains(&Layer::Landlock), "{held:?}");
    });
}
