//! `docs/system-calls.md`: the table for people, made from it.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::seccomp::commands::LISTS;
use crate::seccomp::table::Group;

const HEAD: &str = "\
# System calls

What a job on Linux may ask of the kernel, from the table in
`sandbox-local/src/seccomp/table/`. `SANDBOX_BLESS=1 cargo test -p sandbox-local --lib page` writes this page anew.

Numbers are x86_64's. A number that is not here is refused with `EPERM` below 470 and is missing
(`ENOSYS`) from there on; x32 numbers are refused; the 32-bit entry (`int 0x80`) kills the process. Arguments are
counted from 0 and compared in the 32 bits that the kernel reads.
";

fn page() -> String {
    let mut text = HEAD.to_owned();
    let allowed = |group: &&Group| !matches!(group.rule, Rule::Answer(_));
    section(&mut text, "Allowed", table::groups().filter(allowed));
    section(
        &mut text,
        "Answered without being made",
        table::groups().filter(|group| !allowed(group)),
    );
    section(&mut text, "Where something else is missing", EXCEPTIONS.iter().map(|e| &e.group));
    text.push_str("\n## The values that the rules name\n");
    for (title, entries) in LISTS {
        let _ = write!(text, "\n{title}\n\n| name | value | what for |\n| --- | --- | --- |\n");
        for (name, value, reason) in *entries {
            let _ = writeln!(text, "| `{name}` | {value:#x} | {reason} |");
        }
    }
    text
}

fn section<'a>(text: &mut String, title: &str, groups: impl Iterator<Item = &'a Group>) {
    let _ = write!(text, "\n## {title}\n\n| rule | calls | why |\n| --- | --- | --- |\n");
    for group in groups {
        let call = |call: &table::Call| format!("`{}` {}", call.name(), call.number);
        let calls: Vec<_> = group.calls.iter().map(call).collect();
        let _ =
            writeln!(text, "| {} | {} | {} |", rule(group.rule), calls.join(", "), group.reason);
    }
}

fn rule(rule: Rule) -> String {
    match rule {
        Rule::Allow => "allowed".into(),
        Rule::AllowIf(all, Answer::Refused) => format!("allowed if {}", conditions(all)),
        Rule::AllowIf(all, otherwise) => {
            format!("allowed if {}; else {}", conditions(all), answer(otherwise))
        }
        Rule::Answer(given) => answer(given).into(),
    }
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Refused => "`EPERM`",
        Answer::Missing => "`ENOSYS`",
        Answer::NoFamily => "`EAFNOSUPPORT`",
        Answer::NotSupported => "`EOPNOTSUPP`",
        Answer::Invalid => "`EINVAL`",
        Answer::Done => "0, nothing is done",
    }
}

fn conditions(all: &[When]) -> String {
    all.iter().map(condition).collect::<Vec<_>>().join("; and ")
}

fn condition(when: &When) -> String {
    let list = |values: &[u32]| {
        let small =
            |value: &u32| if *value < 1024 { value.to_string() } else { format!("{value:#x}") };
        values.iter().map(small).collect::<Vec<_>>().join(", ")
    };
    match *when {
        When::OneOf(index, values) => format!("argument {index} is one of {}", list(values)),
        When::NoneOf(index, values) => format!("argument {index} is none of {}", list(values)),
        When::WithoutBits(index, bits) => format!("argument {index} has no bit of {bits:#x}"),
        When::OnlyBits(index, bits) => format!("argument {index} has only bits of {bits:#x}"),
        When::BitsOneOf { value, mask, allowed } => {
            format!("argument {value} (bits {mask:#x}) is one of {}", list(allowed))
        }
        When::OnlyBitsIf { key, is, value, bits } => {
            format!("argument {value} has only bits of {bits:#x} where argument {key} is {is}")
        }
        When::Keyed { key, value, mask, allowed } => {
            let of = if mask == u32::MAX { String::new() } else { format!(" (bits {mask:#x})") };
            let pair = |(wanted, values): &(u32, &[u32])| format!("{wanted}: {}", list(values));
            let pairs: Vec<_> = allowed.iter().map(pair).collect();
            format!("argument {key} allows argument {value}{of}: {}", pairs.join("; "))
        }
    }
}

#[test]
fn the_page_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/system-calls.md");
    let page = page();
    if std::env::var_os("SANDBOX_BLESS").is_some() {
        std::fs::write(&path, &page).expect("write the page");
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "{} is not the table; set SANDBOX_BLESS=1 to write it", path.display());
}
