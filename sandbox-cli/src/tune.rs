//! `sandbox tune`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use sandbox::wire::VERSION;
use sandbox::{
    Architecture, Content, Error, ErrorKind, Executor, ExecutorExt as _, FunctionSpec, Job,
    LambdaExecutor, LocalExecutor, Outcome, PriceTable, Size, printable,
};
use serde::Serialize;
use serde_json::json;

use crate::args::{Backend, TuneArgs};
use crate::table::{print, table};
use crate::{chart, job};

/// What is as fast as the fastest.
const AS_FAST: f64 = 1.05;

/// Shows what a program costs in each size; returns the exit status.
pub(crate) async fn tune(args: TuneArgs) -> u8 {
    let json = args.json;
    match measure(args).await {
        Ok(report) => {
            print(if json { report.to_json() } else { report.to_text() });
            u8::from(report.best.is_none())
        }
        Err(error) => {
            crate::run::refuse(&error, json);
            crate::REFUSED
        }
    }
}

/// One size, tried.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AtSize {
    /// The function, in Lambda.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) function: Option<String>,
    /// MB, as Lambda has them.
    pub(crate) memory_mb: u64,
    /// What Lambda gives to it.
    pub(crate) processors: f64,
    /// What was measured, or why nothing was.
    #[serde(flatten)]
    pub(crate) result: Tried,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Tried {
    Measured(Measured),
    Failed { failed: String },
}

/// Medians of all runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Measured {
    /// Milliseconds from the program's start to its end: median, least and most.
    pub(crate) run_ms: [f64; 3],
    /// How many processors the program kept busy.
    pub(crate) busy: f64,
    /// Milliseconds that are billed.
    pub(crate) billed_ms: f64,
    /// Dollars for a million runs.
    pub(crate) usd_per_million: f64,
}

impl AtSize {
    pub(crate) fn measured(&self) -> Option<&Measured> {
        match &self.result {
            Tried::Measured(measured) => Some(measured),
            Tried::Failed { .. } => None,
        }
    }
}

/// Sizes by what somebody may want, as indices.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Best {
    pub(crate) by_cost: usize,
    pub(crate) by_speed: usize,
    pub(crate) balanced: usize,
}

struct Report {
    sizes: Vec<AtSize>,
    best: Option<Best>,
    rounds: u32,
    imitated: bool,
    notes: Vec<String>,
}

async fn measure(mut args: TuneArgs) -> Result<Report, Error> {
    // One for all runs, so that each but the first finds a warm environment.
    args.job.conditions.tenant.get_or_insert_with(|| "sandbox-tune".into());
    let own_memory = args.job.limits.memory.is_some();
    let job = repeatable(job::build(&args.job)?)?;
    // What is wrong with the command line is said before anything runs.
    let mut wanted = args.sizes.clone();
    wanted.sort_unstable();
    wanted.dedup();
    wanted.iter().try_for_each(|mb| check_size(u64::from(*mb)))?;
    if let Some(path) = &args.svg {
        std::fs::write(path, "").map_err(|error| chart::unsaved(path, error))?;
    }
    let fit = |function: &FunctionSpec| fit(&job, function.room(), own_memory);
    let mut notes = Vec::new();
    let mut sizes = Vec::new();
    match args.backend {
        Backend::Local => {
            let here = std::thread::available_parallelism().map_or(1, usize::from);
            let architecture = if args.arm64 { Architecture::Arm64 } else { Architecture::X86_64 };
            for mb in wanted.into_iter().map(u64::from) {
                let size = lambda(mb);
                let processors = size.processors();
                if processors > here as f64 {
                    notes.push(format!(
                        "{mb} MB have {processors:.1} processors, and this machine {here}: not \
                         imitated."
                    ));
                    continue;
                }
                let executor = LocalExecutor::builder().processors(processors).build().await?;
                let price = |outcome: &Outcome| {
                    // What the runner does before and after is billed too.
                    let timing = &outcome.timing;
                    let billed = ceil_ms(timing.startup + timing.run + timing.collect);
                    let time = Duration::from_millis(billed);
                    let cost = PriceTable::default().invocation(architecture, size.memory, time);
                    Some((billed as f64, cost.usd))
                };
                let result = run(&executor, &fit(&size)?, mb, args.rounds, price).await;
                sizes.push(AtSize { function: None, memory_mb: mb, processors, result });
            }
        }
        Backend::Lambda => {
            let all = LambdaExecutor::from_env().await?;
            let mut functions: Vec<FunctionSpec> = all.functions().to_vec();
            functions.sort_by_key(|function| function.memory);
            for function in functions {
                let mb = function.memory.as_u64() >> 20;
                let price = |outcome: &Outcome| {
                    let billed = outcome.facts.get("billed_ms")?.parse().ok()?;
                    Some((billed, outcome.cost.as_ref()?.usd))
                };
                let job = fit(&function)?;
                let result = match all.only(&function).await {
                    Ok(executor) => run(&executor, &job, mb, args.rounds, price).await,
                    Err(error) => Tried::Failed { failed: error.to_string() },
                };
                let processors = function.processors();
                let function = Some(function.name);
                sizes.push(AtSize { function, memory_mb: mb, processors, result });
            }
        }
    }
    if sizes.is_empty() {
        let message = format!("none of them can be imitated here: {}", notes.join(" "));
        return Err(Error::new(ErrorKind::InvalidJob, "--sizes", message));
    }
    let best = best(&sizes);
    if let Some(path) = &args.svg {
        match best {
            Some(best) => chart::write(path, &sizes, best)?,
            None => notes.push(format!("{} is empty: nothing was measured.", path.display())),
        }
    }
    let imitated = matches!(args.backend, Backend::Local);
    Ok(Report { sizes, best, rounds: args.rounds, imitated, notes })
}

/// Longest standard input that each run is given again.
const MOST_STDIN: u64 = 64 << 20;

/// The job with its standard input in memory: a pipe can be read once.
fn repeatable(job: Job) -> Result<Job, Error> {
    use std::io::Read as _;
    let path = match &job.stdin {
        Some(Content::Path(path)) => path.clone(),
        _ => return Ok(job),
    };
    let wrong = |why: String| {
        Error::new(ErrorKind::Input, "--stdin", format!("cannot read {}: {why}", path.display()))
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).map_err(|error| wrong(error.to_string()))?;
    file.take(MOST_STDIN + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 > MOST_STDIN {
        return Err(wrong("it has more than 64 MiB; give it as a file with --file".into()));
    }
    job.to_builder().stdin(bytes).build()
}

fn check_size(mb: u64) -> Result<(), Error> {
    if (128..=10_240).contains(&mb) {
        return Ok(());
    }
    let message = format!("{mb} MB is no size of a function; give 128 to 10240");
    Err(Error::new(ErrorKind::InvalidJob, "--sizes", message))
}

/// What Lambda makes of a size, whatever else the function is.
fn lambda(mb: u64) -> FunctionSpec {
    FunctionSpec::new("", Size::mib(mb), Duration::ZERO)
}

/// The job with as much memory as there is for it, or less if that was asked for.
fn fit(job: &Job, most: Size, own: bool) -> Result<Job, Error> {
    let mut limits = job.limits.clone();
    limits.memory = if own { limits.memory.min(most) } else { most };
    job.to_builder().limits(limits).build()
}

fn ceil_ms(time: Duration) -> u64 {
    u64::try_from(time.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Runs the job in one size: once to warm up, then as often as is asked.
async fn run(
    executor: &impl Executor,
    job: &Job,
    mb: u64,
    rounds: u32,
    price: impl Fn(&Outcome) -> Option<(f64, f64)>,
) -> Tried {
    if io::stderr().is_terminal() {
        crate::run::say(&format!("{mb} MB ..."));
    }
    let failed = |failed: String| Tried::Failed { failed };
    let (mut times, mut bills, mut costs, mut busy) = (vec![], vec![], vec![], vec![]);
    for round in 0..=rounds {
        let outcome = match executor.run(job.clone()).await {
            Ok(outcome) if outcome.is_success() => outcome,
            Ok(outcome) => return failed(describe(&outcome)),
            Err(error) => return failed(error.to_string()),
        };
        if round == 0 {
            continue;
        }
        let Some((billed, usd)) = price(&outcome) else {
            return failed("the platform gave no report, so its cost is not known".into());
        };
        let run = outcome.timing.run.as_secs_f64();
        times.push(run * 1000.0);
        busy.push(outcome.usage.cpu.as_secs_f64() / run.max(1e-6));
        bills.push(billed);
        costs.push(usd);
    }
    Tried::Measured(Measured {
        run_ms: spread(times),
        busy: spread(busy)[0],
        billed_ms: spread(bills)[0],
        usd_per_million: spread(costs)[0] * 1e6,
    })
}

/// How a program failed, in few words of which some are its own.
fn describe(outcome: &Outcome) -> String {
    const MOST: usize = 120;
    let error = outcome.stderr.text();
    let last: String = error.lines().last().unwrap_or_default().chars().take(MOST).collect();
    format!("{} {}", outcome.termination, printable(&last)).trim().to_owned()
}

/// Median, least and most.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    let (low, high) = (values.len().saturating_sub(1) / 2, values.len() / 2);
    [(at(low) + at(high)) / 2.0, at(0), at(values.len().saturating_sub(1))]
}

/// The best sizes of those that were measured.
fn best(sizes: &[AtSize]) -> Option<Best> {
    let measured: Vec<_> =
        sizes.iter().enumerate().filter_map(|(i, size)| Some((i, size.measured()?))).collect();
    let cost = |size: &Measured| size.usd_per_million;
    let time = |size: &Measured| size.run_ms[0];
    let least = |value: &dyn Fn(&Measured) -> f64, most: f64| {
        let fitting = measured.iter().filter(|(_, size)| time(size) <= most);
        fitting.min_by(|a, b| value(a.1).total_cmp(&value(b.1))).map(|(index, _)| *index)
    };
    let fastest = measured.iter().map(|(_, size)| time(size)).fold(f64::INFINITY, f64::min);
    Some(Best {
        by_cost: least(&cost, f64::INFINITY)?,
        // The cheapest of those between which noise decides.
        by_speed: least(&cost, fastest * AS_FAST)?,
        // What is twice as fast may cost twice as much.
        balanced: least(&|size| cost(size) * time(size), f64::INFINITY)?,
    })
}

impl Report {
    fn to_json(&self) -> String {
        let memory = |index: usize| self.sizes[index].memory_mb;
        json!({
            "version": VERSION,
            "rounds": self.rounds,
            "imitated": self.imitated,
            "sizes": self.sizes,
            "best": self.best.map(|best| json!({
                "by_cost": memory(best.by_cost),
                "by_speed": memory(best.by_speed),
                "balanced": memory(best.balanced),
            })),
            "notes": self.notes,
            "explanation": self.explanation(),
        })
        .to_string()
    }

    fn to_text(&self) -> String {
        let mut rows = table([
            "memory",
            "CPUs",
            "time",
            "least",
            "most",
            "busy",
            "billed",
            "$ a million runs",
            "best",
        ]);
        let mut failures = Vec::new();
        for (index, size) in self.sizes.iter().enumerate() {
            let memory = format!("{} MB", size.memory_mb);
            let processors = format!("{:.2}", size.processors);
            match &size.result {
                Tried::Failed { failed } => failures.push(format!("{memory}: {failed}.")),
                Tried::Measured(measured) => {
                    let [median, least, most] = measured.run_ms.map(|ms| format!("{ms:.0} ms"));
                    rows.add_row([
                        memory,
                        processors,
                        median,
                        least,
                        most,
                        format!("{:.2}", measured.busy),
                        format!("{:.0} ms", measured.billed_ms),
                        format!("{:.2}", measured.usd_per_million),
                        self.best_for(index).join(", "),
                    ]);
                }
            }
        }
        let mut parts = vec![rows.trim_fmt()];
        parts.extend((!failures.is_empty()).then(|| failures.join("\n")));
        let explanation = self.explanation();
        parts.extend((!explanation.is_empty()).then_some(explanation));
        let mut notes = self.notes.clone();
        if self.imitated {
            notes.push(
                "Imitated here by a share of the processors: Lambda's own are another kind, and \
                 starts cost more."
                    .into(),
            );
        }
        parts.extend((!notes.is_empty()).then(|| notes.join("\n")));
        parts.join("\n\n")
    }

    fn best_for(&self, index: usize) -> Vec<&'static str> {
        let Some(best) = self.best else { return Vec::new() };
        let all = [(best.by_cost, "cost"), (best.by_speed, "speed"), (best.balanced, "balanced")];
        all.iter().filter(|(of, _)| *of == index).map(|(_, what)| *what).collect()
    }

    /// What the figures say about memory and processors.
    fn explanation(&self) -> String {
        let Some(best) = self.best else { return String::new() };
        let measured: Vec<_> =
            self.sizes.iter().filter_map(|size| Some((size, size.measured()?))).collect();
        let (Some((first, slow)), Some((last, fast))) = (measured.first(), measured.last()) else {
            return String::new();
        };
        let most = measured.iter().map(|(_, size)| size.busy).fold(0.0, f64::max);
        let mut text = format!(
            "Lambda gives a processor for each 1,769 MB. This program kept {most:.2} busy at most."
        );
        let gains = slow.run_ms[0] > fast.run_ms[0] * 1.2;
        // More than it is given can only be kept busy where nothing bounds it.
        if !self.imitated && slow.busy > first.processors * 1.3 + 0.1 {
            text += " Nothing bounds processors here, as Lambda does: the times show nothing.";
        } else if last.processors * 0.9 < fast.busy {
            text += " It kept all of the largest size busy: it may gain from a larger one.";
        } else if gains {
            text += &format!(
                " Beyond about {:.0} MB there is nothing left that it could use more of.",
                (most * first.memory_mb as f64 / first.processors / 10.0).round() * 10.0
            );
        } else if measured.len() > 1 && most < 0.7 {
            text += " More memory hardly makes it faster: it waits more than it computes.";
        }
        let size = |index: usize| (self.sizes[index].memory_mb, self.sizes[index].measured());
        if let ((cheap, Some(by_cost)), (quick, Some(by_speed))) =
            (size(best.by_cost), size(best.by_speed))
            && cheap != quick
        {
            text += &format!(
                " {quick} MB is {:.1} times as fast as {cheap} MB and costs {:.2} times as much.",
                by_cost.run_ms[0] / by_speed.run_ms[0].max(0.001),
                by_speed.usd_per_million / by_cost.usd_per_million.max(1e-9),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(memory_mb: u64, ms: f64, usd: f64) -> AtSize {
        let measured =
            Measured { run_ms: [ms, ms, ms], busy: 1.0, billed_ms: ms, usd_per_million: usd };
        AtSize {
            function: None,
            memory_mb,
            processors: lambda(memory_mb).processors(),
            result: Tried::Measured(measured),
        }
    }

    #[test]
    fn the_best_is_what_each_asks_for() {
        // One thread: as fast as one processor, and dearer beyond it.
        let mut sizes = vec![
            size(512, 3450.0, 29.0),
            size(1024, 1730.0, 29.5),
            size(1769, 1000.0, 29.3),
            size(4096, 980.0, 66.0),
        ];
        let found = best(&sizes).expect("best");
        assert_eq!((found.by_cost, found.by_speed, found.balanced), (0, 2, 2));
        // What did not run is not the best.
        sizes[2].result = Tried::Failed { failed: "memory".into() };
        let found = best(&sizes).expect("best");
        assert_eq!((found.by_cost, found.by_speed, found.balanced), (0, 3, 1));
        for size in &mut sizes {
            size.result = Tried::Failed { failed: "memory".into() };
        }
        assert!(best(&sizes).is_none());
    }

    #[test]
    fn time_is_billed_by_the_millisecond_that_has_begun() {
        assert_eq!(ceil_ms(Duration::from_micros(1)), 1);
        assert_eq!(ceil_ms(Duration::from_millis(7)), 7);
        assert_eq!(ceil_ms(Duration::from_micros(7001)), 8);
    }

    #[test]
    fn a_spread_has_its_median_first() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), [2.0, 1.0, 3.0]);
        assert_eq!(spread(vec![4.0, 1.0, 2.0, 3.0]), [2.5, 1.0, 4.0]);
        assert_eq!(spread(vec![7.0]), [7.0; 3]);
        assert_eq!(spread(Vec::new()), [0.0; 3]);
    }
}
