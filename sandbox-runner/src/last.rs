//! Ends the process after an answer, so that the platform starts a fresh one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use lambda_runtime::tower::Service;
use lambda_runtime::{Error, LambdaInvocation};

/// Set when the current answer must be the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastAnswer(Arc<AtomicBool>);

impl LastAnswer {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Sits around the service that sends answers: when that has finished, the platform has the whole
/// answer.
#[derive(Debug)]
pub(crate) struct AnswerThenExit<S> {
    inner: S,
    last: LastAnswer,
}

impl<S> AnswerThenExit<S> {
    pub(crate) fn new(inner: S, last: LastAnswer) -> Self {
        Self { inner, last }
    }
}

impl<S> Service<LambdaInvocation> for AnswerThenExit<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: 'static,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let sent = self.inner.call(invocation);
        let last = Arc::clone(&self.last.0);
        Box::pin(async move {
            sent.await?;
            if last.load(Ordering::SeqCst) {
                return Err("what the job left cannot be removed; starting afresh".into());
            }
            Ok(())
        })
    }
}
