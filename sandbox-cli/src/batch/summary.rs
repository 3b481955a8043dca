//! How the jobs of a batch ended.

use std::collections::BTreeMap;
use std::time::Duration;

use comfy_table::CellAlignment;
use sandbox::{Error, Outcome, Termination};

use crate::run::say;
use crate::table::table;

/// How a job ended, as far as a summary tells ends apart.
#[derive(Clone, Debug)]
pub(crate) struct End {
    how: How,
    usd: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    /// The program exited with 0.
    Well,
    /// It ended otherwise.
    Ended(String),
    /// There is no outcome.
    NotRun(String),
    /// There is one, and files that belong to it could not be saved.
    Unsaved,
}

impl End {
    pub(crate) fn new(reason: &str, code: Option<i32>) -> Self {
        let how = match code {
            Some(0) => How::Well,
            Some(code) => How::Ended(format!("{reason} {code}")),
            None => How::Ended(reason.to_owned()),
        };
        Self { how, usd: None }
    }

    pub(crate) fn of(outcome: &Outcome) -> Self {
        let code = match outcome.termination {
            Termination::Exited(code) => Some(code),
            _ => None,
        };
        let usd = outcome.cost.as_ref().map(|cost| cost.usd);
        Self::new(outcome.termination.reason(), code).with_cost(usd)
    }

    pub(crate) fn refused(error: &Error) -> Self {
        Self { how: How::NotRun(error.kind().name().to_owned()), usd: None }
    }

    pub(crate) fn unsaved(outcome: &Outcome) -> Self {
        Self { how: How::Unsaved, ..Self::of(outcome) }
    }

    pub(crate) fn with_cost(mut self, usd: Option<f64>) -> Self {
        self.usd = usd;
        self
    }

    pub(crate) fn is_well(&self) -> bool {
        self.how == How::Well
    }
}

/// Counts of ends, and the sum of costs.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    counts: BTreeMap<How, u64>,
    /// Jobs that have a cost.
    priced: u64,
    usd: f64,
}

impl Summary {
    pub(crate) fn add(&mut self, end: &End) {
        *self.counts.entry(end.how.clone()).or_default() += 1;
        if let Some(usd) = end.usd {
            self.priced += 1;
            self.usd += usd;
        }
    }

    fn count(&self, which: impl Fn(&How) -> bool) -> u64 {
        self.counts.iter().filter(|(how, _)| which(how)).map(|(_, count)| count).sum()
    }

    /// Jobs that have no outcome.
    pub(crate) fn refused(&self) -> u64 {
        self.count(|how| matches!(how, How::NotRun(_) | How::Unsaved))
    }

    /// Prints a line for each way to end.
    pub(crate) fn print(&self, total: u64, took: Duration) {
        let mut table = table(["ended", "jobs"]);
        for (how, count) in &self.counts {
            let how = match how {
                How::Well => "exited 0".to_owned(),
                How::Ended(how) => how.clone(),
                How::NotRun(kind) => format!("no outcome: {kind}"),
                How::Unsaved => "files not saved".to_owned(),
            };
            table.add_row([how, count.to_string()]);
        }
        let left = total.saturating_sub(self.count(|_| true));
        if left > 0 {
            table.add_row(["not started, or killed".to_owned(), left.to_string()]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for line in table.to_string().lines() {
            say(line.trim_end());
        }
        let cost = match self.priced {
            0 => String::new(),
            priced => format!(", ${:.6} for {priced} of them", self.usd),
        };
        say(&format!(
            "{total} jobs, {} not finished, in {:.1} s{cost}",
            left + self.refused(),
            took.as_secs_f64()
        ));
    }
}
