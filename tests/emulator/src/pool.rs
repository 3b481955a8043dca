//! A function's environments: reused while warm, made when there is none, never shared between
//! tenants.

use std::sync::Arc;

use tokio::sync::Mutex;

use crate::environment::Environment;
use crate::function::Function;

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) function: Function,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Environment>,
    busy: usize,
    started: usize,
}

impl Pool {
    pub(crate) fn new(function: Function) -> Self {
        Self { function, state: Arc::default() }
    }

    /// An environment, or nothing when all that there may be are busy.
    pub(crate) async fn take(&self, tenant: Option<String>) -> Option<Environment> {
        let mut state = self.state.lock().await;
        let warm = state.idle.iter().rposition(|environment| environment.tenant == tenant);
        if let Some(index) = warm {
            state.busy += 1;
            return Some(state.idle.remove(index));
        }
        if state.busy >= self.function.concurrency {
            return None;
        }
        if state.busy + state.idle.len() >= self.function.concurrency {
            state.idle.remove(0);
        }
        state.busy += 1;
        state.started += 1;
        drop(state);
        Some(Environment::start(&self.function, tenant).await)
    }

    pub(crate) async fn give_back(&self, environment: Option<Environment>) {
        let mut state = self.state.lock().await;
        state.busy -= 1;
        state.idle.extend(environment);
    }

    /// The Runtime API of an idle environment, made if there is none.
    pub(crate) async fn runtime_api(&self) -> String {
        let mut state = self.state.lock().await;
        if state.idle.is_empty() {
            state.started += 1;
            let made = Environment::start(&self.function, None).await;
            state.idle.push(made);
        }
        state.idle.last().expect("one").runtime_api.clone()
    }

    /// Environments made so far.
    pub(crate) async fn started(&self) -> usize {
        self.state.lock().await.started
    }

    /// Kills every idle environment.
    pub(crate) async fn clear(&self) {
        self.state.lock().await.idle.clear();
    }
}
