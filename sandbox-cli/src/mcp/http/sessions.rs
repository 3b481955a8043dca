//! The sessions of all clients: so many and no more, and none that its client can stop.

use std::collections::{HashMap, VecDeque};
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
/// Answers of a session that are kept for a client that lost its connection.
const KEPT: usize = 4;

/// The SDK's sessions, which are closed for others when nobody uses them.
#[derive(Debug)]
pub(super) struct Sessions {
    inner: LocalSessionManager,
    known: Arc<Known>,
    idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    /// Calls without an answer yet.
    calls: usize,
    /// Whether anything was asked for since it was opened: those who only open are the first to go.
    asked: bool,
    last: Instant,
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

/// How sessions are used.
#[derive(Debug, Default)]
struct Known(Mutex<HashMap<SessionId, Client>>);

#[derive(Debug)]
struct Client {
    used: Use,
    /// The SDK forgets an answer when it has left, also where nobody was there to hear it.
    answers: VecDeque<ServerSseMessage>,
}

impl Client {
    fn new() -> Self {
        let used = Use { calls: 0, asked: false, last: Instant::now() };
        Self { used, answers: VecDeque::new() }
    }

    fn is_idle(&self) -> bool {
        self.used.calls == 0
    }
}

impl Known {
    fn locked(&self) -> MutexGuard<'_, HashMap<SessionId, Client>> {
        // Whoever panicked with the lock left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, id: &SessionId, change: impl FnOnce(&mut Use)) {
        if let Some(client) = self.locked().get_mut(id) {
            client.used.last = Instant::now();
            change(&mut client.used);
        }
    }

    /// The session to close when another is opened.
    fn least_used(&self, open: &[SessionId]) -> Option<SessionId> {
        let mut known = self.locked();
        known.retain(|id, _| open.contains(id));
        let least = known.iter().min_by_key(|(_, client)| client.used);
        least.filter(|_| known.len() >= MOST).map(|(id, _)| id.clone())
    }

    /// Those that nobody has used for so long.
    fn idle(&self, long: Duration) -> Vec<SessionId> {
        let known = self.locked();
        let idle = known
            .iter()
            .filter(|(_, client)| client.is_idle() && client.used.last.elapsed() >= long);
        idle.map(|(id, _)| id.clone()).collect()
    }

    /// When the first of them will be.
    fn next_end(&self, long: Duration) -> Option<Instant> {
        let known = self.locked();
        let idle = known.values().filter(|client| client.is_idle());
        idle.map(|client| client.used.last + long).min()
    }

    fn keep(&self, id: &SessionId, answer: ServerSseMessage) {
        if let Some(client) = self.locked().get_mut(id) {
            client.answers.truncate(KEPT - 1);
            client.answers.push_front(answer);
        }
    }

    /// The answer of that call, unless it is the last that the client has heard.
    fn answer(&self, id: &SessionId, last: EventId<'_>) -> Option<Option<ServerSseMessage>> {
        let known = self.locked();
        let answers = known.get(id)?.answers.iter();
        let mut ids =
            answers.map(|answer| (answer.event_id.as_deref().unwrap_or_default(), answer));
        let (heard, answer) = ids.find(|(event, _)| EventId(event).call() == last.call())?;
        Some((heard != last.0).then(|| answer.clone()))
    }
}

/// What the SDK calls a message: the how manyth, and of which call, if of any: `3/12`.
#[derive(Clone, Copy)]
struct EventId<'a>(&'a str);

impl<'a> EventId<'a> {
    fn call(self) -> Option<&'a str> {
        self.0.split_once('/').map(|(_, call)| call)
    }
}

/// A call that runs, whether or not its client is there.
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

    fn keep(&self, answer: &ServerSseMessage) {
        self.known.keep(&self.id, answer.clone());
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
        self.known.locked().insert(id.clone(), Client::new());
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
        let last = EventId(&last_event_id);
        if last.call().is_some()
            && let Some(answer) = self.known.answer(id, last)
        {
            self.known.touch(id, |used| used.asked = true);
            return Ok(stream::iter(answer).left_stream());
        }
        let waited = last.call().map(|_| Waited::new(&self.known, id));
        self.known.touch(id, |_| {});
        Ok(loosen(self.inner.resume(id, last_event_id).await?, waited).right_stream())
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
        let mut messages = std::pin::pin!(messages);
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                // Such a stream has no end of its own; that of a call goes on to its answer.
                () = sender.closed(), if waited.is_none() => return,
            };
            let Some(message) = message else { return };
            match (message.message.as_deref(), &waited) {
                (Some(JsonRpcMessage::Notification(_)), _) => {
                    // Nobody may hear it.
                    let _ = sender.try_send(message);
                    continue;
                }
                (Some(JsonRpcMessage::Response(_) | JsonRpcMessage::Error(_)), Some(waited)) => {
                    waited.keep(&message);
                }
                _ => {}
            }
            let _ = sender.send(message).await;
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
        known.locked().insert(id.clone(), Client::new());
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

        // Its last answers are kept, each for whoever has not heard it.
        for call in 0..6 {
            let mut event = ServerSseMessage::default();
            event.event_id = Some(format!("1/{call}"));
            known.keep(&id, event);
        }
        let answer = |last| known.answer(&id, EventId(last)).map(|answer| answer.is_some());
        assert_eq!([answer("0/1"), answer("0/5"), answer("1/5")], [None, Some(true), Some(false)]);

        // It can be closed meanwhile.
        let waited = Waited::new(&known, &id);
        known.locked().remove(&id);
        drop(waited);
        assert!(!is_idle(Duration::ZERO));
    }
}
