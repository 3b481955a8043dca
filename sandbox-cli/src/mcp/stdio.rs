//! One client, over standard input and output.

use std::io;
use std::os::fd::AsFd as _;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rmcp::ServiceExt as _;
use rmcp::service::{QuitReason, ServerInitializeError};
use rmcp::transport::io::stdio_pipes;
use sandbox::{Error, ErrorKind};
use tokio::sync::oneshot;

use super::server::Server;
use super::surrogates;
use crate::run::Signals;

/// Serves until the client closes its end, or a signal comes.
pub(crate) async fn serve(server: Server, mut signals: Signals) -> Result<(), Error> {
    let gone = server.gone();
    let session = async {
        let (input, output) = stdio_pipes();
        let service = match server.serve((surrogates::mended(input), output)).await {
            Ok(service) => service,
            // A client that came and went.
            Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        match service.waiting().await {
            Ok(QuitReason::JoinError(error)) => Err(failed(error)),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    };
    let watched = async {
        tokio::select! {
            () = reader_gone() => {}
            () = signals.any() => {}
        }
        gone.cancel();
        // Jobs are being killed; what is left of the session needs no client.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    };
    tokio::select! {
        ended = session => ended,
        () = watched => Ok(()),
    }
}

fn failed(error: impl std::error::Error) -> Error {
    Error::new(ErrorKind::Backend, "serve MCP", error.to_string())
}

/// Returns when nobody can read standard output any more. A client that only closes its own
/// output may still wait for answers, for which the SDK leaves five seconds; one that died does not.
async fn reader_gone() {
    let (gone, told) = oneshot::channel();
    // Of a pipe without a reader poll says so whatever it is asked; a file never does.
    std::thread::spawn(move || {
        let stdout = io::stdout();
        let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        while poll(&mut watched, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let _ = gone.send(());
    });
    let _ = told.await;
}
