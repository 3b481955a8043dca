//! What a model is told about a call.

use std::fmt::Write as _;

use sandbox_core::{Error, ErrorKind, Limits, Outcome, Output, Size, printable};

use super::arguments::Rules;
use super::files::{KeptFile, Taken};
use super::images::Images;
use super::reply::Reply;
use super::text::Stream;
use super::{advice, python};

/// Files that are listed by name; more are counted.
const MOST_FILES: usize = 50;
/// Characters of a path that are shown.
const MOST_PATH: usize = 200;

/// What there is to say.
pub(crate) struct Report<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) limits: &'a Limits,
    pub(crate) rules: &'a Rules,
    /// All files that are kept.
    pub(crate) files: &'a [KeptFile],
    /// What became of those that this call made or changed.
    pub(crate) taken: &'a Taken,
    pub(crate) images: &'a Images,
    /// Bytes for the program's output.
    pub(crate) text: usize,
}

impl Report<'_> {
    /// The texts: the sandbox's own first, then each stream in one of its own.
    pub(crate) fn parts(&self) -> Vec<String> {
        let (stdout, stderr) = (&self.outcome.stdout, &self.outcome.stderr);
        let mut parts = vec![self.facts()];
        let (for_stdout, for_stderr) = self.shares();
        if stdout.total > 0 {
            parts.push(format!("stdout:\n{}", Stream::new(stdout).fit(for_stdout, 50)));
        }
        if stderr.total > 0 {
            let stderr = Stream::new(stderr).map(python::shorten);
            // What went wrong is at the end.
            parts.push(format!("stderr:\n{}", stderr.fit(for_stderr, 25)));
        }
        parts
    }

    /// How the budget is divided: what one stream does not need is the other's.
    fn shares(&self) -> (usize, usize) {
        let length = |output: &Output| usize::try_from(output.total).unwrap_or(usize::MAX);
        let (stdout, stderr) = (length(&self.outcome.stdout), length(&self.outcome.stderr));
        // Warnings are worth less than results, and errors are worth as much.
        let least = if self.outcome.is_success() { self.text / 4 } else { self.text / 2 };
        let for_stderr = stderr.min(least.max(self.text.saturating_sub(stdout)));
        (self.text - for_stderr.min(self.text), for_stderr)
    }

    fn facts(&self) -> String {
        let mut facts = advice::end(self.outcome, self.limits, self.rules);
        let mut say = |line: &str| {
            facts.push('\n');
            facts.push_str(line);
        };
        for line in advice::hit(self.outcome, self.limits) {
            say(&line);
        }
        let shown = &self.images.shown;
        if self.outcome.stdout.total == 0 && self.outcome.stderr.total == 0 && shown.is_empty() {
            say("It printed nothing: print what you need to see.");
        }
        if !shown.is_empty() {
            let names: Vec<_> = shown
                .iter()
                .map(|image| format!("{} ({} x {})", image.name, image.width, image.height))
                .collect();
            say(&format!("Images, in order: {}.", names.join(", ")));
        }
        for (name, why) in self.images.left_out.iter().take(MOST_FILES) {
            say(&format!("Not shown: {}: {why}.", short(name)));
        }
        for lost in self.taken.lost.iter().take(MOST_FILES) {
            say(&format!("Not kept: {}: {}.", path(&lost.path), lost.why));
        }
        for skipped in self.outcome.skipped.iter().take(MOST_FILES) {
            say(&format!("Not kept: {}: {}.", path(&skipped.path), printable(&skipped.reason)));
        }
        if self.files.is_empty() {
            say("There are no files. Variables and imports are gone.");
        } else {
            let changed: Vec<_> = self.taken.kept.iter().map(|file| file.path.as_str()).collect();
            say("Files for the next call (variables and imports are gone):");
            say(&list(self.files, &changed));
        }
        facts
    }
}

/// A line for each file, those that changed first.
pub(crate) fn list(files: &[KeptFile], changed: &[&str]) -> String {
    let is_changed = |file: &&KeptFile| changed.contains(&file.path.as_str());
    let first = files.iter().filter(is_changed);
    let rest = files.iter().filter(|file| !is_changed(file));
    let mut text = String::new();
    for file in first.chain(rest).take(MOST_FILES) {
        let new = if is_changed(&file) { ", from this call" } else { "" };
        let _ = writeln!(text, "  {} ({}{new})", path(&file.path), Size::b(file.size));
    }
    if files.len() > MOST_FILES {
        let _ = writeln!(text, "  and {} more", files.len() - MOST_FILES);
    }
    text.truncate(text.trim_end().len());
    text
}

/// A path is the job's: it must not look like more lines of a report.
fn path(path: &str) -> String {
    short(&format!("{path:?}"))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MOST_PATH) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The reply when the sandbox failed. The model is told what it can do; how the sandbox is built
/// is for the application's log.
pub(crate) fn not_run(error: Error) -> Reply {
    let what = match error.kind() {
        ErrorKind::InvalidJob | ErrorKind::Input | ErrorKind::UnknownRuntime => {
            format!("The code was not run: {}.", error.message())
        }
        kind => format!("The sandbox failed ({}); the code is not the cause.", kind.name()),
    };
    let ran = if error.may_have_run() { " It may have been run." } else { "" };
    let next = match error.is_retryable() {
        true => "Make the same call again.",
        false => "Do not repeat the call; say that code cannot be run.",
    };
    let next = match error.kind() {
        ErrorKind::InvalidJob | ErrorKind::Input | ErrorKind::UnknownRuntime => "",
        _ => next,
    };
    Reply::refusal(format!("{what}{ran} {next}").trim_end().to_owned(), Some(error))
}
