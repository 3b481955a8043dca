//! What a backend that runs jobs elsewhere says to its runner, and hears back.
//!
//! A [`Request`] and an [`Answer`] are one JSON value each. A *live* answer is a stream of
//! [frames](frame), so that output is seen while the program runs; its last frame is the answer.
//!
//! Versions: a reader refuses a version that it does not know. A runner refuses a request with a
//! field that it does not know, because the field may ask for a protection; a caller ignores
//! such fields of an answer.
//!
//! **Whatever comes back is job output.** Where a job shares its runner's user it may have
//! written the answer itself, so [`Finished::into_outcome`] checks what it says against the job
//! that was asked for, and nothing in an answer is a fact about billing or about the platform.

mod answer;
mod encoding;
mod end;
pub mod frame;
mod request;

pub use answer::{
    Answer, Body, Described, Failed, File, FileContent, Finished, ObjectRef, Shown, Spent, Stream,
    Used,
};
pub use end::{End, Time};
pub use request::{Ask, Payload, Request, Run, RunLimits, RunProgram, Upload};

/// The version of requests and answers.
pub const VERSION: u32 = 1;
