//! The sessions of all clients: so many and no more, and none that its client can stop.

mod known;

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use known::{EventId, Known, Running};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::server_side_http::{ServerSseMessage, SessionId};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::{RestoreOutcome, SessionManager};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Messages that wait for a client that reads slowly.
const WAITING: usize = 32;

/// The SDK's sessions, which are closed for others when nobody uses them.
#[derive(Debug)]
pub(super) struct Sessions {
    inner: LocalSessionManager,
    known: Arc<Known>,
    idle: Duration,
}

type Error = <LocalSessionManager as SessionManager>::Error;

impl Sessions {
    /// Sessions that end after so long without a message or a call that runs.
    pub(super) fn new(idle: Duration) -> Self {
        let mut inner = LocalSessionManager::default();
        // The SDK counts messages, and a program can run for long without one.
        inner.session_config.keep_alive = None;
        Self { inner, known: Arc::default(), idle }
    }

    /// Closes sessions that nobody uses, for ever.
    pub(super) async fn end_idle(&self) {
        loop {
            let next = self.known.next_end(self.idle).unwrap_or_else(|| Instant::now() + self.idle);
            sleep_until(next).await;
            for id in self.known.idle(self.idle) {
                // It may have ended by itself.
                let _ = self.close_session(&id).await;
            }
        }
    }

    /// Closes the sessions for which there is no place: of those that are open, the one that was
    /// used least.
    async fn make_room(&self) -> Result<(), Error> {
        loop {
            let open: Vec<_> = self.inner.sessions.read().await.keys().cloned().collect();
            let Some(id) = self.known.least_used(&open) else { return Ok(()) };
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
        self.known.open(&id);
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
        self.known.close(id);
        self.inner.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        let running = Running::new(&self.known, id);
        Ok(loosen(self.inner.create_stream(id, message).await?, Some(running)))
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), Error> {
        self.known.touch(id, |_| {});
        self.inner.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        self.known.touch(id, |_| {});
        Ok(loosen(self.inner.create_standalone_stream(id).await?, None))
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        let last = EventId(&last_event_id);
        if last.call().is_some()
            && let Some(answer) = self.known.answer(id, last)
        {
            self.known.touch(id, |used| used.asked = true);
            return Ok(stream::iter(answer).left_stream());
        }
        let running = last.call().map(|_| Running::new(&self.known, id));
        self.known.touch(id, |_| {});
        Ok(loosen(self.inner.resume(id, last_event_id).await?, running).right_stream())
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
    mut running: Option<Running>,
) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut messages = std::pin::pin!(messages);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                // Such a stream has no end of its own; that of a call goes on to its answer.
                () = sender.closed(), if running.is_none() => return,
            };
            let Some(message) = message else { return };
            match message.message.as_deref() {
                Some(JsonRpcMessage::Notification(_)) => {
                    // Nobody may hear it.
                    let _ = sender.try_send(message);
                    continue;
                }
                Some(JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)) => {
                    // It runs no longer, also where its client never takes the answer.
                    if let Some(call) = running.take() {
                        call.keep(&message);
                    }
                }
                _ => {}
            }
            let _ = sender.send(message).await;
        }
    });
    stream::poll_fn(move |context| receiver.poll_recv(context))
}
