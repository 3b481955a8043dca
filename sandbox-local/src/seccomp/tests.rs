//! The filter against the table, by an interpreter of its own.

use std::collections::BTreeMap;

use super::*;
use crate::bpf::run;

pub(super) const OPEN: Policy =
    Policy { counted_memory: true, sockets: Sockets::Own, namespaces: true, raises_priority: true };
const EAFNOSUPPORT: Verdict = Verdict::Errno(libc::EAFNOSUPPORT as u16);

/// Every policy that an executor can have.
pub(super) fn policies() -> Vec<Policy> {
    let mut all = Vec::new();
    for sockets in [Sockets::Unix, Sockets::Own, Sockets::Host] {
        for (counted_memory, namespaces) in
            [(true, true), (true, false), (false, true), (false, false)]
        {
            for raises_priority in [true, false] {
                all.push(Policy { counted_memory, sockets, namespaces, raises_priority });
            }
        }
    }
    all
}

/// What the table says about a call, worked out without the assembler.
pub(super) fn expected(rules: &BTreeMap<u32, Rule>, number: u32, args: [u64; 6]) -> Verdict {
    match rules.get(&number) {
        Some(Rule::Allow) => Verdict::Allow,
        Some(Rule::AllowIf(all, _)) if all.iter().all(|when| fulfils(when, args)) => Verdict::Allow,
        Some(Rule::AllowIf(_, answer) | Rule::Answer(answer)) => verdict(*answer),
        None if (FIRST_UNKNOWN..X32).contains(&number) => ENOSYS,
        None => EPERM,
    }
}

fn fulfils(when: &When, args: [u64; 6]) -> bool {
    let arg = |index: u8| args[usize::from(index)] as u32;
    match *when {
        When::OneOf(index, values) => values.contains(&arg(index)),
        When::NoneOf(index, values) => !values.contains(&arg(index)),
        When::WithoutBits(index, bits) => arg(index) & bits == 0,
        When::OnlyBits(index, bits) => arg(index) | bits == bits,
        When::BitsOneOf { value, mask, allowed } => allowed.contains(&(arg(value) & mask)),
        When::OnlyBitsIf { key, is, value, bits } => arg(key) != is || arg(value) | bits == bits,
        When::Keyed { key, value, mask, allowed } => allowed
            .iter()
            .any(|(wanted, values)| *wanted == arg(key) && values.contains(&(arg(value) & mask))),
    }
}

const SINGLE_BITS: [u32; 32] = {
    let mut bits = [0; 32];
    let mut n = 0;
    while n < 32 {
        bits[n] = 1 << n;
        n += 1;
    }
    bits
};

/// Arguments on both sides of a rule's conditions: each listed value alone and with every other,
/// its neighbours, and, for all of them, garbage in the bits that the kernel does not read.
pub(super) fn interesting(rule: Rule) -> Vec<[u64; 6]> {
    let Rule::AllowIf(all, _) = rule else {
        return vec![[0; 6], [u64::MAX; 6]];
    };
    let mut values: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
    for when in all {
        let mut add = |index: u8, listed: &[u32]| {
            let near = listed.iter().flat_map(|v| [*v, v ^ 1, v.wrapping_add(1), v | 0x800]);
            values.entry(index).or_default().extend(near.chain([0, 1, u32::MAX]));
        };
        match *when {
            When::OneOf(index, listed) | When::NoneOf(index, listed) => add(index, listed),
            When::WithoutBits(index, _) | When::OnlyBits(index, _) => add(index, &SINGLE_BITS),
            When::BitsOneOf { value, allowed, .. } => add(value, allowed),
            When::OnlyBitsIf { key, is, value, .. } => {
                add(key, &[is]);
                add(value, &SINGLE_BITS);
            }
            When::Keyed { key, value, allowed, .. } => {
                add(key, &allowed.iter().map(|(wanted, _)| *wanted).collect::<Vec<_>>());
                add(
                    value,
                    &allowed.iter().flat_map(|(_, list)| *list).copied().collect::<Vec<_>>(),
                );
            }
        }
    }
    let mut cases = vec![[0u64; 6]];
    for (index, mut listed) in values {
        listed.sort_unstable();
        listed.dedup();
        let grown = cases.iter().flat_map(|case| {
            listed.iter().map(move |value| {
                let mut case = *case;
                case[usize::from(index)] = u64::from(*value);
                case
            })
        });
        cases = grown.collect();
    }
    let high = cases.iter().map(|case| case.map(|arg| arg | 0xdead_beef_0000_0000));
    let high: Vec<_> = high.collect();
    cases.extend(high);
    cases
}

#[test]
fn the_filter_says_what_the_table_says() {
    for policy in policies() {
        let (filter, rules) = (compile(policy), rules(policy));
        assert!(filter.len() / 8 <= 4096, "more instructions than the kernel takes");
        for call in (0..1024).chain(X32..X32 + 1024).chain([u32::MAX]) {
            let cases = rules.get(&call).map_or_else(|| vec![[0; 6]], |rule| interesting(*rule));
            for args in cases {
                let (is, should) =
                    (run(&filter, AUDIT_ARCH, call, args), expected(&rules, call, args));
                assert_eq!(is, should, "call {call} with {args:x?} under {policy:?}");
            }
        }
        assert_eq!(run(&filter, 0x4000_0003, 20, [0; 6]), Verdict::Kill, "i386 getpid");
    }
}

/// The evaluation above reads the same table as the filter; these are written out.
#[test]
fn arguments_are_compared_in_the_bits_that_the_kernel_reads() {
    let filter = compile(OPEN);
    let high = 0xdead_beef_0000_0000;
    for extra in [0, high] {
        for (call, args, allowed) in [
            (libc::SYS_socket, [1, 1, 0], true),
            (libc::SYS_socket, [1, 5, 0], true),
            (libc::SYS_socket, [10, 2, 0], true),
            (libc::SYS_socket, [2, 0o2_004_001, 6], true),
            (libc::SYS_socket, [2, 3, 1], false),
            (libc::SYS_socket, [2, 5, 0], false),
            (libc::SYS_socket, [2, 1, 132], false),
            (libc::SYS_socket, [16, 3, 0], false),
            (libc::SYS_socket, [17, 3, 0], false),
            (libc::SYS_socket, [40, 1, 0], false),
            (libc::SYS_setsockopt, [0, 1, 2], true),
            (libc::SYS_setsockopt, [0, 1, 13], false),
            (libc::SYS_setsockopt, [0, 1, 26], false),
            (libc::SYS_setsockopt, [0, 41, 26], true),
            (libc::SYS_setsockopt, [0, 1, 50], false),
            (libc::SYS_setsockopt, [0, 6, 14], false),
            (libc::SYS_setsockopt, [0, 41, 20], false),
            (libc::SYS_setsockopt, [0, 1, 29], false),
            (libc::SYS_setsockopt, [0, 1, 35], false),
            (libc::SYS_ioctl, [0, 0x5401, 0], true),
            (libc::SYS_ioctl, [0, 0x5412, 0], false),
            (libc::SYS_ioctl, [0, 0x8906, 0], false),
            (libc::SYS_clone, [17, 0, 0], true),
            (libc::SYS_clone, [0x3d_0f00, 0, 0], true),
            (libc::SYS_clone, [0x1000_0000, 0, 0], false),
            (libc::SYS_clone, [0x8000 | 17, 0, 0], false),
            (libc::SYS_clone, [9, 0, 0], false),
            (libc::SYS_fcntl, [0, 1, 0], true),
            (libc::SYS_fcntl, [0, 6, 0xffff], true),
            (libc::SYS_fcntl, [0, 4, 0x8802], true),
            (libc::SYS_fcntl, [0, 4, 0x4000], false),
            (libc::SYS_fcntl, [0, 4, 0x2000], false),
            (libc::SYS_fcntl, [0, 8, 0], false),
            (libc::SYS_fcntl, [0, 1024, 0], false),
            (libc::SYS_fcntl, [0, 1026, 0], false),
            (libc::SYS_fcntl, [0, 37, 0], false),
            (libc::SYS_prctl, [38, 1, 0], true),
            (libc::SYS_prctl, [22, 2, 0], false),
            (libc::SYS_prctl, [62, 0, 0], false),
            (libc::SYS_prctl, [0x5356_4d41, 0, 0], false),
            (libc::SYS_sched_setscheduler, [0, 0, 0], true),
            (libc::SYS_sched_setscheduler, [0, 5, 0], false),
            (libc::SYS_sched_setscheduler, [1, 0, 0], false),
            (libc::SYS_sched_setaffinity, [1, 8, 0], false),
            (libc::SYS_setpriority, [0, 0, 5], true),
            (libc::SYS_setpriority, [1, 0, 5], false),
            (libc::SYS_setpriority, [0, 1, 5], false),
            (libc::SYS_ioprio_set, [1, 0, 0], false),
            (libc::SYS_memfd_create, [0, 1, 0], true),
            (libc::SYS_memfd_create, [0, 5, 0], false),
            (libc::SYS_personality, [0xffff_ffff, 0, 0], true),
            (libc::SYS_personality, [0x0004_0000, 0, 0], false),
        ] {
            let [a, b, c] = args.map(|arg| arg | extra);
            let refusal = if call == libc::SYS_socket { EAFNOSUPPORT } else { EPERM };
            let expected = if allowed { Verdict::Allow } else { refusal };
            let verdict = run(&filter, AUDIT_ARCH, call as u32, [a, b, c, 0, 0, 0]);
            assert_eq!(verdict, expected, "call {call} with {args:x?}");
        }
    }
}

#[test]
fn what_nothing_else_holds_is_refused() {
    let policy = Policy {
        counted_memory: false,
        sockets: Sockets::Unix,
        namespaces: false,
        raises_priority: false,
    };
    let filter = compile(policy);
    for (call, first, expected) in [
        (libc::SYS_socket, libc::AF_UNIX, Verdict::Allow),
        (libc::SYS_socket, libc::AF_INET, EAFNOSUPPORT),
        (libc::SYS_socket, libc::AF_NETLINK, EAFNOSUPPORT),
        (libc::SYS_memfd_create, 0, EPERM),
        (libc::SYS_vmsplice, 0, EPERM),
        (libc::SYS_shmget, 0, EPERM),
        (libc::SYS_prlimit64, 0, Verdict::Allow),
        (libc::SYS_prlimit64, 1, EPERM),
        (libc::SYS_setpriority, 0, EPERM),
        (libc::SYS_sync, 0, Verdict::Errno(0)),
        (libc::SYS_fsync, 0, Verdict::Errno(0)),
        (libc::SYS_setxattr, 0, Verdict::Errno(libc::EOPNOTSUPP as u16)),
        (libc::SYS_mbind, 0, ENOSYS),
        (libc::SYS_openat2, 0, ENOSYS),
        (libc::SYS_landlock_restrict_self, 0, ENOSYS),
        (libc::SYS_sched_setattr, 0, ENOSYS),
    ] {
        let args = [first as u64, 0, 0, 0, 0, 0];
        assert_eq!(run(&filter, AUDIT_ARCH, call as u32, args), expected, "call {call}");
    }
    for (flags, expected) in
        [(0x1, Verdict::Allow), (0x22, Verdict::Allow), (0x21, EPERM), (0x23, EPERM)]
    {
        let args = [0, 4096, 3, flags, 0, 0];
        assert_eq!(run(&filter, AUDIT_ARCH, libc::SYS_mmap as u32, args), expected, "{flags:#x}");
        let args = run(&compile(OPEN), AUDIT_ARCH, libc::SYS_mmap as u32, args);
        assert_eq!(args, Verdict::Allow, "where a cgroup counts it: {flags:#x}");
    }
}

/// Flags that are refused in the words of a kernel or a file that does not know them.
#[test]
fn flags_that_programs_do_without_are_unknown() {
    let filter = compile(OPEN);
    let invalid = Verdict::Errno(libc::EINVAL as u16);
    let unsupported = Verdict::Errno(libc::EOPNOTSUPP as u16);
    let o_direct = libc::O_DIRECT as u64;
    for (call, index, flags, expected) in [
        (libc::SYS_openat, 2, o_direct, invalid),
        (libc::SYS_openat, 2, 0o2_102_102, Verdict::Allow),
        (libc::SYS_pipe2, 1, o_direct, invalid),
        (libc::SYS_pipe2, 1, libc::O_CLOEXEC as u64, Verdict::Allow),
        (libc::SYS_splice, 5, 4, invalid),
        (libc::SYS_splice, 5, 3, Verdict::Allow),
        (libc::SYS_vmsplice, 3, 8, invalid),
        (libc::SYS_sendto, 3, 1, unsupported),
        (libc::SYS_sendto, 3, 0x8000, unsupported),
        (libc::SYS_sendmsg, 2, 0x4040, Verdict::Allow),
        (libc::SYS_recvmsg, 2, 1, unsupported),
        (libc::SYS_recvmsg, 2, 2, Verdict::Allow),
        (libc::SYS_preadv2, 5, 8, unsupported),
        (libc::SYS_preadv2, 5, 0x80, unsupported),
        (libc::SYS_madvise, 2, 12, invalid),
        (libc::SYS_madvise, 2, 100, invalid),
        (libc::SYS_madvise, 2, 4, Verdict::Allow),
        (libc::SYS_getsockopt, 1, 132, unsupported),
        (libc::SYS_getsockopt, 2, 71, unsupported),
    ] {
        let mut args = [0; 6];
        args[index] = flags;
        assert_eq!(run(&filter, AUDIT_ARCH, call as u32, args), expected, "{call} {flags:#x}");
    }
}

#[test]
fn netlink_is_for_jobs_with_the_callers_network() {
    let filter = compile(Policy { sockets: Sockets::Host, ..OPEN });
    for (protocol, expected) in [(0, Verdict::Allow), (12, EAFNOSUPPORT)] {
        let args = [16, 3, protocol, 0, 0, 0];
        assert_eq!(run(&filter, AUDIT_ARCH, libc::SYS_socket as u32, args), expected);
    }
}

/// A rule that decides nothing is stale: somebody would read a promise into it.
#[test]
fn no_rule_is_stale() {
    let mut seen = BTreeMap::new();
    for group in table::groups() {
        assert!(!group.reason.is_empty() && !group.calls.is_empty());
        for call in group.calls {
            let name = call.name();
            assert!(seen.insert(call.number, group.rule).is_none(), "{name} is listed twice");
            assert!(call.number < FIRST_UNKNOWN, "{name} is both decided and unknown");
        }
    }
    for exception in EXCEPTIONS {
        let applying = policies().into_iter().find(|policy| (exception.applies)(*policy));
        assert!(applying.is_some(), "applies to nobody: {}", exception.group.reason);
        for call in exception.group.calls {
            let base = seen.get(&call.number);
            assert!(base.is_some(), "{} is an exception to nothing", call.name());
            assert_ne!(base, Some(&exception.group.rule), "{} changes nothing", call.name());
        }
    }
    for policy in policies() {
        let filter = compile(policy);
        for (number, rule) in rules(policy) {
            // With conditions, some arguments must pass and some must not.
            let verdicts: std::collections::BTreeSet<_> = interesting(rule)
                .into_iter()
                .map(|args| format!("{:?}", run(&filter, AUDIT_ARCH, number, args)))
                .collect();
            let conditional = matches!(rule, Rule::AllowIf(..));
            let expected = if conditional { 2 } else { 1 };
            assert_eq!(verdicts.len(), expected, "call {number} under {policy:?}: {verdicts:?}");
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_number_is_decided() {
    let rules = rules(OPEN);
    for number in 0..FIRST_UNKNOWN {
        let unused = table::UNUSED.contains(&number);
        assert_ne!(rules.contains_key(&number), unused, "call {number}");
    }
}
