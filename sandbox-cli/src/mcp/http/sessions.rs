//! The sessions of all clients: so many and no more, and none that its client can stop.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream, StreamExt as _};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::server_side_http::{ServerSseMessage, SessionId};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::{RestoreOutcome, SessionManager};
use tokio::sync::mpsc;

/// Clients at once; each may keep files in memory.
const MOST: usize = 64;
/// Messages that wait for a client that reads slowly.
const WAITING: usize = 32;

/// The SDK's sessions, which are closed for others when nobody uses them.
#[derive(Debug)]
pub(super) struct Sessions {
    inner: LocalSessionManager,
    known: Mutex<HashMap<SessionId, Use>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    /// Whether anything was asked for since it was opened: those who only open are the first to go.
    asked: bool,
    last: Instant,
}

type Error = <LocalSessionManager as SessionManager>::Error;

impl Sessions {
    /// Sessions that end after so long without a message.
    pub(super) fn new(idle: Duration) -> Self {
        let mut inner = LocalSessionManager::default();
        inner.session_config.keep_alive = Some(idle);
        Self { inner, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<SessionId, Use>> {
        // Whoever panicked with the lock left whole entries.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, id: &SessionId, asked: bool) {
        if let Some(used) = self.known().get_mut(id) {
            *used = Use { asked: used.asked || asked, last: Instant::now() };
        }
    }

    /// Closes the sessions for which there is no place: of those that are open, the one that was
    /// used least.
    async fn make_room(&self) -> Result<(), Error> {
        loop {
            let open: Vec<_> = self.inner.sessions.read().await.keys().cloned().collect();
            let least = {
                let mut known = self.known();
                known.retain(|id, _| open.contains(id));
                if known.len() < MOST {
                    return Ok(());
                }
                known.iter().min_by_key(|(_, used)| **used).map(|(id, _)| id.clone())
            };
            let Some(id) = least else { return Ok(()) };
            self.close_session(&id).await?;
        }
    }
}

impl SessionManager for Sessions {
    type Error = Error;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Error> {
        self.make_room().await?;
        let (id, transport) = self.inner.create_session().await?;
        self.known().insert(id.clone(), Use { asked: false, last: Instant::now() });
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Error> {
        self.inner.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Error> {
        self.inner.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Error> {
        self.known().remove(id);
        self.inner.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        self.touch(id, true);
        Ok(loosen(self.inner.create_stream(id, message).await?))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Error> {
        self.touch(id, false);
        self.inner.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        self.touch(id, false);
        Ok(loosen(self.inner.create_standalone_stream(id).await?))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        self.touch(id, true);
        Ok(loosen(self.inner.resume(id, last_event_id).await?))
    }

    async fn restore_session(
        &self,
        id: SessionId,
    ) -> Result<RestoreOutcome<Self::Transport>, Error> {
        self.inner.restore_session(id).await
    }
}

/// Takes messages from a session as they come. A session waits for whoever reads them, with all its
/// calls and cancellations; so a client that does not read loses what only says how far a call is.
fn loosen(
    messages: impl Stream<Item = ServerSseMessage> + Send + 'static,
) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut messages = std::pin::pin!(messages);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                // The client has gone; what comes is kept by the session for its return.
                () = sender.closed() => return,
            };
            let Some(message) = message else { return };
            let is_news = message
                .message
                .as_deref()
                .is_some_and(|message| matches!(message, JsonRpcMessage::Notification(_)));
            match is_news {
                true => drop(sender.try_send(message)),
                false => drop(sender.send(message).await),
            }
        }
    });
    stream::poll_fn(move |context| receiver.poll_recv(context))
}
