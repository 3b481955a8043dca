//! Attacks on a function: what is claimed holds, and what is not claimed is shown as open.
//!
//! In a network of the test's own: what an attack reaches there is the test's.

mod support;

#[path = "../../tests/support/network.rs"]
mod network;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;

use sandbox_core::{
    Attempt, Executor as _, ExecutorExt as _, Layer, LayerState, Surroundings, Verdict,
    Verification,
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

/// What an attempt came to.
fn verdict(verification: &Verification, attack: &str) -> (Verdict, String) {
    let found = verification.attacks.iter().find(|attempt| attempt.attack == attack);
    let found = found.unwrap_or_else(|| panic!("no attack {attack}"));
    (found.verdict, found.evidence.clone())
}

#[test]
fn what_is_around_is_attacked_too() {
    network::in_a_network(|| async {
        let cloud = Cloud::start([function(Launcher::WorstCase)]).await;
        let executor = cloud.executor("sandbox").await;
        // A stranger's bucket, in which something is that a signed URL gives to everybody.
        let s3 = support::s3_client(cloud.s3.endpoint());
        s3.create_bucket().bucket("stranger").send().await.expect("bucket");
        let put = s3.put_object().bucket("stranger").key("note").body(b"secret".to_vec().into());
        put.send().await.expect("object");
        let life = PresigningConfig::expires_in(Duration::from_secs(300)).expect("life");
        let signed = s3.get_object().bucket("stranger").key("note").presigned(life).await;
        let signed = signed.expect("signed").uri().to_owned();
        let unsigned = signed.split('?').next().expect("path").to_owned();
        let service = TcpListener::bind("127.0.0.1:0").expect("listener");
        let reachable = service.local_addr().expect("address").to_string();
        let unreachable = "192.0.2.1:443".to_owned();
        let host = cloud.s3.endpoint().replace("http://", "");

        // Where everything is let out, each attack succeeds: the control.
        let mut around = Surroundings::default();
        around.addresses = vec![unreachable.clone(), reachable.clone()];
        around.names = vec!["nowhere.invalid".into(), "localhost".into()];
        around.urls = vec![unsigned.clone(), signed.clone()];
        around.runtime_apis = vec![cloud.lambda.runtime_api("sandbox").await];
        let open = executor.verify_with(&around).await;
        for (attack, evidence) in [
            ("connect to the internet", reachable.as_str()),
            ("look up a name", "localhost is"),
            ("read a stranger's object", "it has read"),
        ] {
            let (verdict, said) = verdict(&open, attack);
            assert_eq!(verdict, Verdict::Open, "{attack}: {said}");
            assert!(said.contains(evidence), "{attack}: {said}");
        }
        let (answered, said) = verdict(&open, "answer in the runner's place");
        assert_eq!(answered, Verdict::Held, "{said}");
        assert!(said.contains("refuses another answer: 403"), "{said}");
        let state = |name: &str| {
            let found = open.mechanisms.iter().find(|mechanism| mechanism.name == name);
            found.map(|mechanism| mechanism.state.clone()).unwrap_or_default()
        };
        assert_eq!((state("no_new_privs"), state("landlock")), ("EPERM".into(), "ENOSYS".into()));
        assert_eq!((state("rlimits"), state("shared memory")), ("yes".into(), "ENOENT".into()));

        // Where nothing is, none does; by way of a host that is let through neither.
        let mut around = Surroundings::default();
        around.addresses = vec![unreachable];
        around.names = vec!["nowhere.invalid".into()];
        around.urls = vec![unsigned];
        around.hosts = vec![host];
        let closed = executor.verify_with(&around).await;
        for (attack, evidence) in [
            ("connect to the internet", "1 addresses: "),
            ("look up a name", "1 names: "),
            ("read a stranger's object", "403 AccessDenied"),
        ] {
            let (verdict, said) = verdict(&closed, attack);
            assert_eq!(verdict, Verdict::Held, "{attack}: {said}");
            assert!(said.contains(evidence), "{attack}: {said}");
        }
    });
}

#[test]
fn where_the_network_is_the_jobs_own_what_is_around_is_out_of_reach() {
    network::in_a_network(|| async {
        let cloud = Cloud::start([function(Launcher::Ordinary)]).await;
        let executor = cloud.executor("sandbox").await;
        let service = TcpListener::bind("127.0.0.1:0").expect("listener");
        let mut around = Surroundings::default();
        around.addresses = vec![service.local_addr().expect("address").to_string()];
        around.urls = vec![format!("{}/nothing", cloud.s3.endpoint())];
        let verification = executor.verify_with(&around).await;
        for attack in ["connect to the internet", "read a stranger's object"] {
            let (verdict, said) = verdict(&verification, attack);
            assert_eq!(verdict, Verdict::Held, "{attack}: {said}");
            // It listens, and in the job's network it does not.
            assert!(said.contains("Connection refused"), "{attack}: {said}");
        }
    });
}
