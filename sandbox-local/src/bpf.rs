//! A small assembler for seccomp filters.
//!
//! Programs are relocatable: jumps are relative and only go forward, so pieces concatenate.

/// Instructions without a fixed place.
pub(crate) type Program = Vec<Instruction>;

/// One instruction of classic BPF (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    value: u32,
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allow,
    Errno(u16),
    Kill,
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_GREATER: u16 = 0x25;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

fn instruction(code: u16, value: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, value }
}

/// Ends with a verdict.
pub(crate) fn ret(verdict: Verdict) -> Program {
    let value = match verdict {
        Verdict::Allow => RET_ALLOW,
        Verdict::Errno(number) => RET_ERRNO | u32::from(number),
        Verdict::Kill => RET_KILL_PROCESS,
    };
    vec![instruction(RETURN, value)]
}

/// `yes` when the test of the accumulator succeeds, else `no`.
fn branch(code: u16, value: u32, yes: Program, no: Program) -> Program {
    let mut program = Vec::with_capacity(yes.len() + no.len() + 2);
    match u8::try_from(no.len()) {
        Ok(distance) => {
            program.push(Instruction { code, jump_true: distance, jump_false: 0, value });
        }
        // Conditional jumps reach 255 instructions; a plain jump reaches all.
        Err(_) => {
            program.push(Instruction { code, jump_true: 0, jump_false: 1, value });
            program.push(instruction(JUMP, no.len() as u32));
        }
    }
    program.extend(no);
    program.extend(yes);
    program
}

/// Loads the low half of an argument: what the kernel reads of an `int`.
fn load_argument(index: u8) -> Program {
    vec![instruction(LOAD, ARGS + 8 * u32::from(index))]
}

/// `yes` when the bits `mask` of the argument are one of the values, of which there are under 256.
pub(crate) fn if_one_of(
    index: u8,
    mask: u32,
    values: &[u32],
    yes: Program,
    no: Program,
) -> Program {
    let mut program = load_argument(index);
    if mask != u32::MAX {
        program.push(instruction(AND, mask));
    }
    program.extend(is_one_of(values));
    program.push(instruction(JUMP, yes.len() as u32));
    program.extend(yes);
    program.extend(no);
    program
}

/// Tests of the accumulator: behind them, the first instruction is skipped when the value is listed.
/// The kernel compiles a filter at each start, so runs of values are tested as one.
fn is_one_of(values: &[u32]) -> Program {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for value in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last == value || last.checked_add(1) == Some(value) => {
                *last = value
            }
            _ => runs.push((value, value)),
        }
    }
    let length = |(first, last): &(u32, u32)| if first == last { 1 } else { 2 };
    let mut left: usize = runs.iter().map(length).sum();
    debug_assert!(left < 256, "a conditional jump reaches 255 instructions");
    let mut program = Vec::with_capacity(left);
    for (first, last) in runs {
        if first == last {
            let jump_true = left as u8;
            program.push(Instruction { code: JUMP_EQUAL, jump_true, jump_false: 0, value: first });
            left -= 1;
        } else {
            let (code, jump_false) = (JUMP_GREATER_EQUAL, 1);
            program.push(Instruction { code, jump_true: 0, jump_false, value: first });
            left -= 1;
            let (code, jump_false) = (JUMP_GREATER, left as u8);
            program.push(Instruction { code, jump_true: 0, jump_false, value: last });
            left -= 1;
        }
    }
    program
}

/// `yes` when the argument `key` is listed and the bits `mask` of the argument `value` are one of
/// those beside it.
pub(crate) fn if_keyed(
    key: u8,
    value: u8,
    mask: u32,
    allowed: &[(u32, &[u32])],
    yes: Program,
    no: Program,
) -> Program {
    // A list of blocks, one for each key, made from its end. A block whose key is another goes on to
    // the next; one whose value is listed goes to `yes`, behind all of them.
    debug_assert!(no.len() == 1, "a listed value skips one instruction");
    let mut blocks = no.clone();
    for (wanted, values) in allowed.iter().rev() {
        let mut block = load_argument(value);
        if mask != u32::MAX {
            block.push(instruction(AND, mask));
        }
        block.extend(is_one_of(values));
        block.extend(no.iter().copied());
        block.push(instruction(JUMP, blocks.len() as u32));
        let jump_false = block.len() as u8;
        block.insert(0, Instruction { code: JUMP_EQUAL, jump_true: 0, jump_false, value: *wanted });
        block.extend(blocks);
        blocks = block;
    }
    let mut program = load_argument(key);
    program.extend(blocks);
    program.extend(yes);
    program
}

/// `yes` when the argument has any of the bits.
pub(crate) fn if_any_bit(index: u8, bits: u32, yes: Program, no: Program) -> Program {
    let mut program = load_argument(index);
    program.extend(branch(JUMP_BITS, bits, yes, no));
    program
}

/// A filter for calls of `arch`: each range of numbers, given by where it starts, has its code;
/// later entries with the same start win. Other architectures are killed.
pub(crate) fn filter(arch: u32, ranges: Vec<(u32, Program)>) -> Vec<u8> {
    let mut merged: Vec<(u32, Program)> = Vec::new();
    for (start, code) in ranges {
        merged.pop_if(|last| last.0 == start);
        if merged.last().is_none_or(|last| last.1 != code) {
            merged.push((start, code));
        }
    }
    let mut search = vec![instruction(LOAD, NUMBER)];
    search.extend(binary_search(&merged));
    let mut program = vec![instruction(LOAD, ARCH)];
    program.extend(branch(JUMP_EQUAL, arch, search, ret(Verdict::Kill)));
    let bytes = program.iter().flat_map(|instruction| {
        let [low, high] = instruction.code.to_ne_bytes();
        let [a, b, c, d] = instruction.value.to_ne_bytes();
        [low, high, instruction.jump_true, instruction.jump_false, a, b, c, d]
    });
    bytes.collect()
}

fn binary_search(ranges: &[(u32, Program)]) -> Program {
    match ranges {
        [] => ret(Verdict::Kill),
        [(_, code)] => code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            branch(JUMP_GREATER_EQUAL, high[0].0, binary_search(high), binary_search(low))
        }
    }
}

/// Runs a filter as the kernel does.
#[cfg(test)]
pub(crate) fn run(filter: &[u8], arch: u32, number: u32, args: [u64; 6]) -> Verdict {
    let word = |offset: u32| match offset {
        NUMBER => number,
        ARCH => arch,
        _ => {
            let index = ((offset - ARGS) / 8) as usize;
            assert_eq!((offset - ARGS) % 8, 0, "only low halves are read");
            args[index] as u32
        }
    };
    let (mut at, mut accumulator) = (0usize, 0u32);
    loop {
        let bytes: [u8; 8] = filter[at * 8..at * 8 + 8].try_into().expect("in range");
        let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
        let value = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let jump = |taken: bool| usize::from(if taken { bytes[2] } else { bytes[3] });
        at += 1;
        match code {
            LOAD => accumulator = word(value),
            AND => accumulator &= value,
            JUMP => at += value as usize,
            JUMP_EQUAL => at += jump(accumulator == value),
            JUMP_GREATER_EQUAL => at += jump(accumulator >= value),
            JUMP_GREATER => at += jump(accumulator > value),
            JUMP_BITS => at += jump(accumulator & value != 0),
            RETURN => {
                return match value & 0xffff_0000 {
                    RET_ALLOW => Verdict::Allow,
                    RET_ERRNO => Verdict::Errno(value as u16),
                    _ => Verdict::Kill,
                };
            }
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}
