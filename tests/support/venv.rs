//! A virtual environment with what models import. Included by path where it is needed.

use std::path::PathBuf;

/// Its interpreter.
pub(crate) fn python() -> PathBuf {
    let venv = std::env::var_os("SANDBOX_TEST_VENV").map(PathBuf::from).expect(
        "SANDBOX_TEST_VENV names no virtual environment with numpy, pandas and matplotlib; run \
         scripts/test, which makes one",
    );
    venv.join("bin/python3")
}
