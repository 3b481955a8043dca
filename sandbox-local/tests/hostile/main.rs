//! Hostile programs, grouped as in `docs/hostile-cases.md`.
//!
//! Each attack leaves a mark that it ran, and has a control: the same program succeeds outside, or
//! in a sandbox in which the limit is higher or the layer left out.

// A: resource exhaustion and lifetime.
mod exhaustion;
mod lifetime;
mod uncounted;
// B: escape surfaces.
mod isolation;
mod kernel;
// C: artifacts and inputs.
mod files;
// D: leaks, protocol, time.
mod leaks;

#[path = "../support/mod.rs"]
mod support;
