//! The sessions of all clients: so many and no more, and none that its client can stop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt as _};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::common::server_side_http::{ServerSseMessage, SessionId};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::session::{RestoreOutcome, SessionManager};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Clients at once; each may keep files in memory.
const MOST: usize = 64;
/// Messages that wait for a client that reads slowly.
const WAITING: usize = 32;

/// The SDK's sessions, which are closed for others when nobody uses them.
#[derive(Debug)]
pub(super) struct Sessions {
    inner: LocalSessionManager,
    known: Arc<Known>,
    idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    /// Answers that its client waits for.
    calls: usize,
    /// Whether anything was asked for since it was opened: those who only open are the first to go.
    asked: bool,
    last: Instant,
}

type Error = <LocalSessionManager as SessionManager>::Error;

impl Sessions {
    /// Sessions that end after so long without a message or an answer that is waited for.
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

/// How sessions are used.
#[derive(Debug, Default)]
struct Known(Mutex<HashMap<SessionId, Use>>);

impl Known {
    fn locked(&self) -> MutexGuard<'_, HashMap<SessionId, Use>> {
        // Whoever panicked with the lock left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, id: &SessionId, change: impl FnOnce(&mut Use)) {
        if let Some(used) = self.locked().get_mut(id) {
            used.last = Instant::now();
            change(used);
        }
    }

    /// The session to close when another is opened.
    fn least_used(&self, open: &[SessionId]) -> Option<SessionId> {
        let mut known = self.locked();
        known.retain(|id, _| open.contains(id));
        let least = known.iter().min_by_key(|(_, used)| **used);
        least.filter(|_| known.len() >= MOST).map(|(id, _)| id.clone())
    }

    /// Those that nobody has used for so long.
    fn idle(&self, long: Duration) -> Vec<SessionId> {
        let known = self.locked();
        let idle = known.iter().filter(|(_, used)| used.calls == 0 && used.last.elapsed() >= long);
        idle.map(|(id, _)| id.clone()).collect()
    }

    /// When the first of them will be.
    fn next_end(&self, long: Duration) -> Option<Instant> {
        let known = self.locked();
        known.values().filter(|used| used.calls == 0).map(|used| used.last + long).min()
    }
}

/// An answer that is waited for.
struct Waited {
    known: Arc<Known>,
    id: SessionId,
}

impl Waited {
    fn new(known: &Arc<Known>, id: &SessionId) -> Self {
        known.touch(id, |used| {
            used.asked = true;
            used.calls += 1;
        });
        Self { known: Arc::clone(known), id: id.clone() }
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        self.known.touch(&self.id, |used| used.calls -= 1);
    }
}

impl SessionManager for Sessions {
    type Error = Error;
    type Transport = <LocalSessionManager as SessionManager>::Transport;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), Error> {
        self.make_room().await?;
        let (id, transport) = self.inner.create_session().await?;
        let opened = Use { calls: 0, asked: false, last: Instant::now() };
        self.known.locked().insert(id.clone(), opened);
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
        self.known.locked().remove(id);
        self.inner.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        let waited = Waited::new(&self.known, id);
        Ok(loosen(self.inner.create_stream(id, message).await?, Some(waited)))
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
        let waited = Waited::new(&self.known, id);
        Ok(loosen(self.inner.resume(id, last_event_id).await?, Some(waited)))
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
    waited: Option<Waited>,
) -> impl Stream<Item = ServerSseMessage> + Send + Sync + 'static {
    let (sender, mut receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let _waited = waited;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_idle_unless_its_client_waits_for_an_answer() {
        let known = Arc::new(Known::default());
        let id: SessionId = "a".into();
        let opened = Use { calls: 0, asked: false, last: Instant::now() };
        known.locked().insert(id.clone(), opened);
        let is_idle = |long| known.idle(long).contains(&id);
        assert!(!is_idle(Duration::from_secs(60)));
        assert!(is_idle(Duration::ZERO));

        let (first, second) = (Waited::new(&known, &id), Waited::new(&known, &id));
        drop(first);
        assert!(!is_idle(Duration::ZERO));
        assert_eq!(known.next_end(Duration::ZERO), None);
        drop(second);
        assert!(is_idle(Duration::ZERO));
        assert!(known.next_end(Duration::ZERO).is_some());

        // It can be closed meanwhile.
        let waited = Waited::new(&known, &id);
        known.locked().remove(&id);
        drop(waited);
        assert!(!is_idle(Duration::ZERO));
    }
}
