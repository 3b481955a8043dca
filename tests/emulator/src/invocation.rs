//! One invocation in one environment.

use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::mpsc;

/// What the runtime has said about the current invocation.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    id: String,
    /// Where the answer goes while it is made.
    live: Option<mpsc::Sender<Bytes>>,
    answered: bool,
    answer: Option<Bytes>,
    error: Option<Bytes>,
}

/// What became of an invocation, as far as the runtime had a say.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) answered: bool,
    pub(crate) answer: Option<Bytes>,
    pub(crate) error: Option<Bytes>,
}

impl Slot {
    pub(crate) fn begin(&self, id: &str, live: Option<mpsc::Sender<Bytes>>) {
        *self.0.lock().expect("slot") = State { id: id.to_owned(), live, ..State::default() };
    }

    pub(crate) fn end(&self) -> Said {
        let state = std::mem::take(&mut *self.0.lock().expect("slot"));
        Said { answered: state.answer.is_some(), answer: state.answer, error: state.error }
    }

    /// The first answer to an invocation counts; says whether this is it, and where it goes.
    pub(crate) fn answer(&self, id: &str) -> Option<Option<mpsc::Sender<Bytes>>> {
        let mut state = self.0.lock().expect("slot");
        if state.id != id || state.answered {
            return None;
        }
        state.answered = true;
        Some(state.live.clone())
    }

    pub(crate) fn is_answered(&self, id: &str) -> bool {
        let state = self.0.lock().expect("slot");
        state.id == id && state.answered
    }

    pub(crate) fn keep(&self, id: &str, answer: Bytes) {
        let mut state = self.0.lock().expect("slot");
        if state.id == id {
            state.answer = Some(answer);
        }
    }

    pub(crate) fn fail(&self, id: &str, error: Bytes) {
        let mut state = self.0.lock().expect("slot");
        if state.id == id {
            state.error = Some(error);
        }
    }
}
