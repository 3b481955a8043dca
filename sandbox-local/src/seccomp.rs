//! Which system calls a job may make.
//!
//! An allow-list: what [`table`] does not name fails with `EPERM`, so that a library that probes
//! falls back instead of dying. `clone3`, whose arguments a filter cannot read, and numbers that
//! are newer than the table fail with `ENOSYS`, as on an older kernel. Calls of a foreign ABI kill
//! the process (32-bit entry) or fail (x32 numbers). `docs/system-calls.md` is the table for
//! people.
//!
//! The filter is a binary search over ranges of numbers. The kernel runs a new filter once for
//! every number to find those that are always allowed, so its length is paid at every start: a
//! list of comparisons, one for each call, took 1.1 ms to install here, this takes a tenth.

mod commands;
#[cfg(all(test, target_arch = "x86_64"))]
mod kernel;
#[cfg(all(test, target_arch = "x86_64"))]
mod page;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::bpf::{self, Program, Verdict};
use table::{Answer, EXCEPTIONS, Rule, When};

/// The first number that the table knows nothing about.
const FIRST_UNKNOWN: u32 = 470;

/// Numbers from here on belong to the x32 ABI.
#[cfg(target_arch = "x86_64")]
const X32: u32 = 0x4000_0000;
#[cfg(not(target_arch = "x86_64"))]
const X32: u32 = u32::MAX;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;

/// What a job's sockets may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sockets {
    /// The job's own processes: it is denied the network and has no network namespace.
    Unix,
    /// What is in its own network namespace.
    Own,
    /// The caller's network.
    Host,
}

/// What the filter must make up for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// A memory cgroup counts pages that no process maps, as memfds and System V segments have;
    /// without one nobody could, and they are refused.
    pub(crate) counted_memory: bool,
    pub(crate) sockets: Sockets,
    /// The job has pid and IPC namespaces of its own. Without, it must not reach other processes
    /// of its user by number, nor their IPC objects.
    pub(crate) namespaces: bool,
    /// The supervisor may raise the priority of the job's processes again before it kills them.
    pub(crate) raises_priority: bool,
}

/// Compiles the filter.
pub(crate) fn compile(policy: Policy) -> Vec<u8> {
    // Ranges: each starts at its number and ends where the next one starts.
    let mut ranges = vec![(0, refuse())];
    for (number, rule) in rules(policy) {
        ranges.push((number, code(rule)));
        ranges.push((number + 1, refuse()));
    }
    ranges.push((FIRST_UNKNOWN, bpf::ret(ENOSYS)));
    ranges.push((X32, refuse()));
    bpf::filter(AUDIT_ARCH, ranges)
}

/// The rule of every call in the table.
fn rules(policy: Policy) -> BTreeMap<u32, Rule> {
    let exceptions = EXCEPTIONS.iter().filter(|e| (e.applies)(policy)).map(|e| &e.group);
    let groups = table::groups().chain(exceptions);
    let listed = groups.flat_map(|group| group.calls.iter().map(|call| (call.number, group.rule)));
    listed.collect()
}

const EPERM: Verdict = Verdict::Errno(libc::EPERM as u16);
const ENOSYS: Verdict = Verdict::Errno(libc::ENOSYS as u16);

fn refuse() -> Program {
    bpf::ret(EPERM)
}

/// The code that decides a call.
fn code(rule: Rule) -> Program {
    match rule {
        Rule::Allow => bpf::ret(Verdict::Allow),
        Rule::AllowIf(all, answer) => check_all(all, &bpf::ret(verdict(answer))),
        Rule::Answer(answer) => bpf::ret(verdict(answer)),
    }
}

fn verdict(answer: Answer) -> Verdict {
    Verdict::Errno(match answer {
        Answer::Refused => libc::EPERM,
        Answer::Missing => libc::ENOSYS,
        Answer::NoFamily => libc::EAFNOSUPPORT,
        Answer::NotSupported => libc::EOPNOTSUPP,
        Answer::Invalid => libc::EINVAL,
        Answer::Done => 0,
    } as u16)
}

/// Allows when the arguments fulfil every condition.
fn check_all(all: &[When], refusal: &Program) -> Program {
    all.iter().rfold(bpf::ret(Verdict::Allow), |then, when| check(then, when, refusal.clone()))
}

/// Goes on with `then` when the arguments fulfil the condition.
fn check(then: Program, when: &When, refusal: Program) -> Program {
    match *when {
        When::OneOf(index, values) => bpf::if_one_of(index, u32::MAX, values, then, refusal),
        When::NoneOf(index, values) => bpf::if_one_of(index, u32::MAX, values, refusal, then),
        When::WithoutBits(index, bits) => bpf::if_any_bit(index, bits, refusal, then),
        When::OnlyBits(index, bits) => bpf::if_any_bit(index, !bits, refusal, then),
        When::BitsOneOf { value, mask, allowed } => {
            bpf::if_one_of(value, mask, allowed, then, refusal)
        }
        When::OnlyBitsIf { key, is, value, bits } => {
            let restricted = bpf::if_any_bit(value, !bits, refusal, then.clone());
            bpf::if_one_of(key, u32::MAX, &[is], restricted, then)
        }
        When::Keyed { key, value, mask, allowed } => {
            bpf::if_keyed(key, value, mask, allowed, then, refusal)
        }
    }
}
