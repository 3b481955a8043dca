//! The table: every call that this library knows, once, with what happens to it and why.

/// A system call by name and number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    #[cfg_attr(not(test), expect(dead_code, reason = "for people: docs/system-calls.md"))]
    name: &'static str,
    pub(super) number: u32,
}

#[cfg(test)]
impl Call {
    /// The name, as in its manual page.
    pub(super) fn name(&self) -> &'static str {
        self.name.trim_start_matches("SYS_")
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// The kernel makes it.
    Allow,
    /// The kernel makes it when its arguments fulfil all of these; else it answers like the second.
    AllowIf(&'static [When], Answer),
    /// It is not made.
    Answer(Answer),
}

/// What a call returns that is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// `EPERM`: it is forbidden.
    Refused,
    /// `ENOSYS`, as on a kernel that does not have it: callers fall back to an older call.
    Missing,
    /// `EAFNOSUPPORT`, as on a kernel that was built without that family.
    NoFamily,
    /// `EOPNOTSUPP`, as on a file system or a socket that cannot do it.
    NotSupported,
    /// `EINVAL`, as on a kernel that does not know the value.
    Invalid,
    /// 0, and nothing is done.
    Done,
}

/// A condition on arguments, counted from 0. Arguments are compared in the 32 bits that the kernel
/// reads of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// The argument is one of these.
    OneOf(u8, &'static [u32]),
    /// The argument is none of these.
    NoneOf(u8, &'static [u32]),
    /// The argument has none of these bits.
    WithoutBits(u8, u32),
    /// The argument has no other bit than these.
    OnlyBits(u8, u32),
    /// The bits `mask` of the argument `value` are one of these.
    BitsOneOf { value: u8, mask: u32, allowed: &'static [u32] },
    /// Where the argument `key` is `is`, the argument `value` has no other bit than these.
    OnlyBitsIf { key: u8, is: u32, value: u8, bits: u32 },
    /// The argument `key` is one that is listed, and the bits `mask` of the argument `value` are
    /// one of those listed beside it.
    Keyed { key: u8, value: u8, mask: u32, allowed: &'static [(u32, &'static [u32])] },
}

/// Calls that share a rule and its reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    #[cfg_attr(not(test), expect(dead_code, reason = "for people: docs/system-calls.md"))]
    pub(super) reason: &'static str,
    pub(super) rule: Rule,
    pub(super) calls: &'static [Call],
}

/// Calls whose rule depends on what else holds the job.
pub(super) struct Exception {
    pub(super) group: Group,
    pub(super) applies: fn(super::Policy) -> bool,
}

/// Calls by their names in `libc`. `(449 futex_waitv)` is one that `libc` has no name for on every
/// architecture.
macro_rules! calls {
    (@ $name:ident) => { Call { name: stringify!($name), number: libc::$name as u32 } };
    (@ ($number:literal $name:ident)) => { Call { name: stringify!($name), number: $number } };
    ($($call:tt)*) => { &[$(calls!(@ $call)),*] };
}

mod allowed;
mod exceptions;
mod legacy;
mod refused;

pub(super) use exceptions::EXCEPTIONS;

/// Every group, but for the exceptions.
pub(super) fn groups() -> impl Iterator<Item = &'static Group> {
    allowed::ALLOWED.iter().chain(refused::REFUSED).chain(legacy::LEGACY)
}

const UNIX: u32 = libc::AF_UNIX as u32;
const INET: u32 = libc::AF_INET as u32;
const INET6: u32 = libc::AF_INET6 as u32;
const NETLINK: u32 = libc::AF_NETLINK as u32;

/// TCP and UDP, by default or by name. Others load modules of the kernel that hardly anybody uses.
const TCP_UDP: &[u32] = &[0, libc::IPPROTO_TCP as u32, libc::IPPROTO_UDP as u32];
const STREAM_DATAGRAM: &[u32] = &[libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32];
const ANY_UNIX: &[u32] =
    &[libc::SOCK_STREAM as u32, libc::SOCK_DGRAM as u32, libc::SOCK_SEQPACKET as u32];
/// The type of a socket without its flags `SOCK_NONBLOCK` and `SOCK_CLOEXEC`.
const TYPE: u32 = 0xf;
const WHOLE: u32 = u32::MAX;

/// Numbers below [`FIRST_UNKNOWN`](super::FIRST_UNKNOWN) that no program calls; refused. From 335
/// on the kernel has probes' trampolines, then nothing up to the calls that all architectures
/// number alike.
#[cfg(all(test, target_arch = "x86_64"))]
pub(super) const UNUSED: std::ops::RangeInclusive<u32> = 335..=423;
