//! The backend that the environment names.

use std::sync::Arc;

use sandbox_core::{Error, ErrorKind, Executor, Result};

/// The backend that the variable `SANDBOX_BACKEND` names: `local`, which is also the default, or
/// `lambda`, which is described by further variables; see `LambdaExecutor::from_env`.
///
/// An application that uses this runs jobs in Lambda where it is deployed, and on the developer's
/// own machine, or in a shared function, while it is written.
///
/// # Errors
///
/// [`ErrorKind::InvalidJob`] for a backend that does not exist or that this build does not have,
/// and whatever making it answers.
pub async fn from_env() -> Result<Arc<dyn Executor>> {
    let name = std::env::var("SANDBOX_BACKEND").unwrap_or_default();
    named(if name.is_empty() { "local" } else { &name }).await
}

async fn named(name: &str) -> Result<Arc<dyn Executor>> {
    match name {
        #[cfg(feature = "local")]
        "local" => Ok(Arc::new(sandbox_local::LocalExecutor::new().await?)),
        #[cfg(feature = "lambda")]
        "lambda" => Ok(Arc::new(sandbox_lambda::LambdaExecutor::from_env().await?)),
        other => {
            let has = [("local", cfg!(feature = "local")), ("lambda", cfg!(feature = "lambda"))];
            let has: Vec<_> = has.iter().filter(|(_, here)| *here).map(|(name, _)| *name).collect();
            let message = format!(
                "{other:?} is no backend of this build, which has: {}; enable the feature",
                has.join(", ")
            );
            Err(Error::new(ErrorKind::InvalidJob, "SANDBOX_BACKEND", message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_backend_that_is_not_there_is_named() {
        let error = named("cloud").await.expect_err("no such backend");
        assert_eq!(error.operation(), "SANDBOX_BACKEND");
        assert!(error.message().contains("cloud"), "{error}");
    }
}
