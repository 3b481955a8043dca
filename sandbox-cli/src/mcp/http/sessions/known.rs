//! How sessions are used, and what is kept for their clients.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::transport::common::server_side_http::{ServerSseMessage, SessionId};
use tokio::time::Instant;

/// Clients at once; each may keep files in memory.
const MOST: usize = 64;
/// Answers of a session that are kept for a client that lost its connection.
const KEPT: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    /// Calls without an answer yet.
    calls: usize,
    /// Whether anything was asked for since it was opened: those who only open are the first to go.
    pub(super) asked: bool,
    last: Instant,
}

/// How sessions are used.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<SessionId, Client>>);

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

    pub(super) fn open(&self, id: &SessionId) {
        self.locked().insert(id.clone(), Client::new());
    }

    pub(super) fn close(&self, id: &SessionId) {
        self.locked().remove(id);
    }

    pub(super) fn touch(&self, id: &SessionId, change: impl FnOnce(&mut Use)) {
        if let Some(client) = self.locked().get_mut(id) {
            client.used.last = Instant::now();
            change(&mut client.used);
        }
    }

    /// The session to close when another is opened.
    pub(super) fn least_used(&self, open: &[SessionId]) -> Option<SessionId> {
        let mut known = self.locked();
        known.retain(|id, _| open.contains(id));
        let least = known.iter().min_by_key(|(_, client)| client.used);
        least.filter(|_| known.len() >= MOST).map(|(id, _)| id.clone())
    }

    /// Those that nobody has used for so long.
    pub(super) fn idle(&self, long: Duration) -> Vec<SessionId> {
        let known = self.locked();
        let idle = known
            .iter()
            .filter(|(_, client)| client.is_idle() && client.used.last.elapsed() >= long);
        idle.map(|(id, _)| id.clone()).collect()
    }

    /// When the first of them will be.
    pub(super) fn next_end(&self, long: Duration) -> Option<Instant> {
        let known = self.locked();
        let idle = known.values().filter(|client| client.is_idle());
        idle.map(|client| client.used.last + long).min()
    }

    pub(super) fn keep(&self, id: &SessionId, answer: ServerSseMessage) {
        if let Some(client) = self.locked().get_mut(id) {
            client.answers.truncate(KEPT - 1);
            client.answers.push_front(answer);
        }
    }

    /// The answer of that call, if there is one yet; none where the client has heard it.
    pub(super) fn answer(
        &self,
        id: &SessionId,
        last: EventId<'_>,
    ) -> Option<Option<ServerSseMessage>> {
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
pub(super) struct EventId<'a>(pub(super) &'a str);

impl<'a> EventId<'a> {
    pub(super) fn call(self) -> Option<&'a str> {
        self.0.split_once('/').map(|(_, call)| call)
    }
}

/// A call that runs, whether or not its client is there.
pub(super) struct Running {
    known: Arc<Known>,
    id: SessionId,
}

impl Running {
    pub(super) fn new(known: &Arc<Known>, id: &SessionId) -> Self {
        known.touch(id, |used| {
            used.asked = true;
            used.calls += 1;
        });
        Self { known: Arc::clone(known), id: id.clone() }
    }

    pub(super) fn keep(&self, answer: &ServerSseMessage) {
        self.known.keep(&self.id, answer.clone());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.known.touch(&self.id, |used| used.calls -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_idle_unless_its_client_waits_for_an_answer() {
        let known = Arc::new(Known::default());
        let id: SessionId = "a".into();
        known.open(&id);
        let is_idle = |long| known.idle(long).contains(&id);
        assert!(!is_idle(Duration::from_secs(60)));
        assert!(is_idle(Duration::ZERO));

        let (first, second) = (Running::new(&known, &id), Running::new(&known, &id));
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
        let running = Running::new(&known, &id);
        known.close(&id);
        drop(running);
        assert!(!is_idle(Duration::ZERO));
    }
}
