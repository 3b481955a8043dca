//! `docs/hostile-cases.md` has no open row, and what it names exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Groups and how many cases each has.
const GROUPS: [(char, usize); 4] = [('A', 29), ('B', 42), ('C', 14), ('D', 16)];

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| line.starts_with("| ")).map(|line| {
        line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect()
    })
}

#[test]
fn every_case_has_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/hostile-cases.md")).expect("the table");
    let (cases, files) = text.split_once("\n## Files\n").expect("the list of files");
    let files: BTreeMap<_, _> = rows(files)
        .filter(|row| row.len() == 2 && row[1].ends_with(".rs"))
        .map(|row| (row[0], fs::read_to_string(root.join(row[1])).expect(row[1])))
        .collect();
    let mut seen = BTreeSet::new();
    let mut named = BTreeSet::new();
    for row in rows(cases).filter(|row| row[0].len() > 1 && row[0][1..].parse::<u32>().is_ok()) {
        let [case, what, local, _control, lambda] = row.as_slice() else { panic!("{row:?}") };
        assert!(seen.insert(*case), "{case} is there twice");
        assert!(!what.is_empty());
        for cell in [local, lambda] {
            let tests: Vec<_> =
                cell.split('`').skip(1).step_by(2).filter(|t| t.contains("::")).collect();
            let reason = cell.strip_prefix("- ").is_some_and(|why| why.len() >= 5);
            assert!(!tests.is_empty() || reason, "{case} is open: {cell:?}");
            for test in tests {
                let (file, name) = test.split_once("::").expect("file::test");
                let source = files.get(file).unwrap_or_else(|| panic!("{case}: no file {file}"));
                assert!(source.contains(&format!("fn {name}(")), "{case}: no test {test}");
                named.insert(file);
            }
        }
    }
    for (group, count) in GROUPS {
        for number in 1..=count {
            assert!(
                seen.contains(format!("{group}{number}").as_str()),
                "{group}{number} is missing"
            );
        }
    }
    assert_eq!(named.len(), files.len(), "a file that no case names");
}
