//! What this runner is and can do.

use sandbox_core::Executor as _;
use sandbox_core::remote::Described;

use crate::engine::Engine;

pub(crate) fn describe(engine: &Engine) -> Described {
    let capabilities = engine.local.capabilities();
    Described {
        runner: env!("CARGO_PKG_VERSION").to_owned(),
        runtimes: capabilities.runtimes.clone(),
        limits: capabilities.limits.iter().map(|kind| kind.name().to_owned()).collect(),
        enforcement: (&engine.enforcement(&capabilities.enforcement)).into(),
        facts: engine.facts(),
    }
}
