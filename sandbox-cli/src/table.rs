//! Reports for people.

use std::io::{self, Write as _};

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use sandbox::Verdict;

/// A reader that went away does not change the verdict.
pub(crate) fn print(text: String) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// A table without lines.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

/// What must be seen at a glance is in capitals.
pub(crate) fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Open => "OPEN, not claimed",
        Verdict::Broken => "BROKEN",
        Verdict::Untried => "NOT TRIED",
    }
}

/// How many there are of each verdict, as in `35 attacks: 34 held, 1 BROKEN`.
pub(crate) fn count(what: &str, verdicts: impl Iterator<Item = Verdict>) -> String {
    let all: Vec<_> = verdicts.collect();
    let number = |verdict| all.iter().filter(|one| **one == verdict).count();
    let mut text = format!("{} {what}: {} held", all.len(), number(Verdict::Held));
    for verdict in [Verdict::Open, Verdict::Broken, Verdict::Untried] {
        if number(verdict) > 0 {
            text += &format!(", {} {}", number(verdict), mark(verdict));
        }
    }
    text
}
