//! How far a batch is: a bar on a terminal, lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::summary::End;
use crate::run::say;

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(10);
/// How often the bar is drawn.
const TICK: Duration = Duration::from_millis(200);

pub(crate) struct Progress {
    bar: ProgressBar,
    /// Writes lines instead.
    plain: bool,
    total: u64,
    /// Finished before, and so far.
    before: u64,
    done: u64,
    /// Of those so far.
    not_well: u64,
    since: Instant,
    reported: Instant,
}

impl Progress {
    pub(crate) fn new(total: u64, before: u64) -> Self {
        let target = ProgressDrawTarget::stderr();
        // Also on a terminal that can only write lines.
        let plain = target.is_hidden();
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let style = "{bar:30} {pos}/{len}, {per_sec}, {eta} left{msg}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        // The rate is of what is run now.
        bar.set_position(before);
        bar.reset_eta();
        if !plain {
            bar.enable_steady_tick(TICK);
        }
        let now = Instant::now();
        if before > 0 {
            say(&format!("{before} of {total} jobs are finished already"));
        }
        Self { bar, plain, total, before, done: 0, not_well: 0, since: now, reported: now }
    }

    pub(crate) fn step(&mut self, end: &End) {
        self.done += 1;
        self.bar.inc(1);
        if !end.is_well() {
            self.not_well += 1;
            self.bar.set_message(self.failures());
        }
    }

    fn failures(&self) -> String {
        match self.not_well {
            0 => String::new(),
            number => format!(", {number} did not end well"),
        }
    }

    /// Waits until a line is due.
    pub(crate) async fn due(&self) {
        if !self.plain {
            return std::future::pending().await;
        }
        tokio::time::sleep_until((self.reported + EVERY).into()).await;
    }

    /// Writes a line.
    pub(crate) fn report(&mut self) {
        self.reported = Instant::now();
        let finished = self.before + self.done;
        let rate = self.done as f64 / self.since.elapsed().as_secs_f64();
        let left = match rate > 0.0 {
            true => {
                let seconds = self.total.saturating_sub(finished) as f64 / rate;
                format!(", {seconds:.0} s left")
            }
            false => String::new(),
        };
        let failures = self.failures();
        say(&format!("{finished} of {} jobs, {rate:.1} a second{left}{failures}", self.total));
    }

    /// Writes a line without breaking the bar.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}
