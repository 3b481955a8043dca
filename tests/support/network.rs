//! A network of a test's own. Included by path where it is needed.

/// Where clouds have the service that hands out credentials.
pub(crate) const METADATA: &str = "169.254.169.254";

/// Runs `test` where nothing but a loopback is, with a metadata service's address on it: on a
/// thread with a network namespace of its own, which everything that it starts shares.
pub(crate) fn in_a_network<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("unshare; run as root");
        for arguments in
            ["link set lo up", "addr add 169.254.169.254 dev lo", "route add default dev lo"]
        {
            let arguments: Vec<_> = arguments.split(' ').collect();
            let status = std::process::Command::new("ip").args(&arguments).status();
            assert!(status.expect("ip; install iproute2").success(), "ip {arguments:?}");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("runtime").block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
