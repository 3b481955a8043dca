//! What a test makes go wrong.

/// Something that happens instead of, or to, the next invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The service refuses with an error of that name; see [`ERRORS`](crate::ERRORS).
    Service(&'static str),
    /// The function ran and its environment ended with this error type and message.
    Platform(&'static str, &'static str),
    /// The runtime's answer is replaced by these bytes.
    Body(Vec<u8>),
    /// The connection breaks after that many bytes of the answer.
    CutAfter(usize),
    /// The answer comes in pieces of that many bytes.
    Pieces(usize),
    /// The answer's last bytes come twice.
    Twice,
    /// The log tail has this line too, before the platform's own.
    LogLine(String),
    /// The log tail is absent.
    NoLog,
    /// The environment is killed this many milliseconds after the event was handed out.
    Kill(u64),
}
