//! What a model is told about a call.

use std::fmt::Write as _;

use sandbox_core::{Error, ErrorKind, Limits, Outcome, Output, Size, printable, quoted_name};

use super::arguments::Rules;
use super::files::{KeptFile, Taken};
use super::images::Images;
use super::reply::Reply;
use super::text::{Stream, short};
use super::{advice, python};

/// Files that are listed by name; more are counted.
const MOST_FILES: usize = 50;
/// Lines of one kind, and bytes of them; more are counted.
const MOST_LINES: usize = 20;
const MOST_TEXT: usize = 4096;
/// Bytes of a name or a reason that are shown.
const MOST_NAME: usize = 200;

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
        let mut facts = Facts(advice::end(self.outcome, self.limits, self.rules));
        facts.all("", advice::hit(self.outcome, self.limits).into_iter());
        let shown = &self.images.shown;
        if self.outcome.stdout.total == 0 && self.outcome.stderr.total == 0 && shown.is_empty() {
            facts.say("It printed nothing: print what you need to see.");
        }
        if !shown.is_empty() {
            let names: Vec<_> = shown
                .iter()
                .map(|image| {
                    format!(
                        "{} ({} x {})",
                        short(&image.name, MOST_NAME),
                        image.width,
                        image.height
                    )
                })
                .collect();
            facts.say(&format!("Images, in order: {}.", names.join(", ")));
        }
        let left_out = self.images.left_out.iter();
        facts.all(
            "Not shown: ",
            left_out.map(|(name, why)| format!("{}: {why}.", short(name, MOST_NAME))),
        );
        let lost = self.taken.lost.iter();
        facts.all("Not kept: ", lost.map(|lost| format!("{}: {}.", quoted(&lost.path), lost.why)));
        let skipped = self.outcome.skipped.iter();
        facts.all(
            "Not kept: ",
            skipped.map(|skipped| {
                format!(
                    "{}: {}.",
                    quoted(&skipped.path),
                    short(&printable(&skipped.reason), MOST_NAME)
                )
            }),
        );
        if self.files.is_empty() {
            facts.say("There are no files. Variables and imports are gone.");
        } else {
            let changed: Vec<_> = self.taken.kept().map(|file| file.path.as_str()).collect();
            facts.say("Files for the next call (variables and imports are gone):");
            facts.say(&list(self.files, &changed));
        }
        facts.0
    }
}

/// What the sandbox says, no longer than a model should have to read.
struct Facts(String);

impl Facts {
    fn say(&mut self, line: &str) {
        self.0.push('\n');
        self.0.push_str(line);
    }

    /// Says each as far as there is room, and how many more there are.
    fn all(&mut self, what: &str, lines: impl ExactSizeIterator<Item = String>) {
        let number = lines.len();
        let mut room = MOST_TEXT;
        for (said, line) in lines.enumerate() {
            if said == MOST_LINES || line.len() > room {
                return self.say(&format!("{what}{} more.", number - said));
            }
            room -= line.len();
            self.say(&format!("{what}{line}"));
        }
    }
}

/// A line for each file, those that changed first.
pub(crate) fn list(files: &[KeptFile], changed: &[&str]) -> String {
    let is_changed = |file: &&KeptFile| changed.contains(&file.path.as_str());
    let first = files.iter().filter(is_changed);
    let rest = files.iter().filter(|file| !is_changed(file));
    let mut text = String::new();
    for (listed, file) in first.chain(rest).enumerate() {
        if listed == MOST_FILES || text.len() > MOST_TEXT {
            let _ = writeln!(text, "  and {} more", files.len() - listed);
            break;
        }
        let new = if is_changed(&file) { ", from this call" } else { "" };
        let _ = writeln!(text, "  {} ({}{new})", quoted(&file.path), Size::b(file.size));
    }
    text.truncate(text.trim_end().len());
    text
}

/// A path is the job's: it must not look like more lines of a report.
pub(crate) fn quoted(path: &str) -> String {
    short(&quoted_name(path), MOST_NAME).into_owned()
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
