//! `sandbox tune`.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use sandbox::wire::VERSION;
use sandbox::{
    Architecture, Error, ErrorKind, Executor, ExecutorExt as _, FunctionSpec, Job, LambdaExecutor,
    LocalExecutor, Outcome, PriceTable, Size,
};
use serde::Serialize;
use serde_json::json;

use crate::args::{Backend, TuneArgs};
use crate::table::{print, table};
use crate::{chart, job};

/// Lambda gives one processor for so many MB; see
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>.
const MB_OF_A_PROCESSOR: f64 = 1769.0;
/// Memory of a function that is not the job's.
const RESERVED: u64 = 64 << 20;
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

/// One size, measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sized {
    /// MB, as Lambda has them.
    pub(crate) memory_mb: u64,
    /// What Lambda gives to it.
    pub(crate) processors: f64,
    /// Milliseconds from the program's start to its end: median, least and most.
    pub(crate) run_ms: [f64; 3],
    /// How many processors the program kept busy.
    pub(crate) busy: f64,
    /// Milliseconds that are billed, in the median.
    pub(crate) billed_ms: u64,
    /// Dollars for a million runs.
    pub(crate) usd_per_million: f64,
    /// Why it was not measured, or how the program ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

/// Sizes by what somebody may want, as indices.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Best {
    pub(crate) by_cost: usize,
    pub(crate) by_speed: usize,
    pub(crate) balanced: usize,
}

struct Report {
    sizes: Vec<Sized>,
    best: Option<Best>,
    rounds: u32,
    imitated: bool,
    notes: Vec<String>,
}

async fn measure(mut args: TuneArgs) -> Result<Report, Error> {
    // One for all runs, so that each but the first finds a warm environment.
    args.job.tenant.get_or_insert_with(|| "sandbox-tune".into());
    let job = job::build(&args.job)?;
    let mut notes = Vec::new();
    let mut sizes = Vec::new();
    match args.backend {
        Backend::Local => {
            let here = std::thread::available_parallelism().map_or(1, usize::from);
            let architecture = if args.arm64 { Architecture::Arm64 } else { Architecture::X86_64 };
            for mb in &args.sizes {
                let mb = u64::from(*mb);
                check_size(mb)?;
                let processors = mb as f64 / MB_OF_A_PROCESSOR;
                if processors > here as f64 {
                    notes.push(format!(
                        "{mb} MB have {processors:.1} processors, and this machine {here}: not imitated."
                    ));
                    continue;
                }
                let executor = LocalExecutor::builder().processors(processors).build().await?;
                let memory = Size::mib(mb);
                let job = fit(&job, memory)?;
                let price = |outcome: &Outcome| {
                    // What the runner does before and after is billed too.
                    let timing = &outcome.timing;
                    let billed = timing.startup + timing.run + timing.collect;
                    let billed = Duration::from_millis(ceil_ms(billed));
                    let cost = PriceTable::default().invocation(architecture, memory, billed);
                    Some((ceil_ms(billed), cost.usd))
                };
                sizes.push(run(&executor, &job, mb, args.rounds, price).await?);
            }
        }
        Backend::Lambda => {
            let all = LambdaExecutor::from_env().await?;
            let mut functions: Vec<FunctionSpec> = all.functions().to_vec();
            functions.sort_by_key(|function| function.memory);
            for function in functions {
                let mb = function.memory.as_u64() >> 20;
                let executor = all.only(&function).await?;
                let job = fit(&job, function.memory)?;
                let price = |outcome: &Outcome| {
                    let billed = outcome.facts.get("billed_ms")?.parse().ok()?;
                    Some((billed, outcome.cost.as_ref()?.usd))
                };
                sizes.push(run(&executor, &job, mb, args.rounds, price).await?);
            }
        }
    }
    if sizes.is_empty() {
        let message = format!("none of them can be imitated here: {}", notes.join(" "));
        return Err(Error::new(ErrorKind::InvalidJob, "--sizes", message));
    }
    let best = best(&sizes);
    if let (Some(path), Some(best)) = (&args.svg, best) {
        chart::write(path, &sizes, best)?;
    }
    Ok(Report {
        sizes,
        best,
        rounds: args.rounds,
        imitated: matches!(args.backend, Backend::Local),
        notes,
    })
}

fn check_size(mb: u64) -> Result<(), Error> {
    if (128..=10_240).contains(&mb) {
        return Ok(());
    }
    let message = format!("{mb} MB is no size of a function; give 128 to 10240");
    Err(Error::new(ErrorKind::InvalidJob, "--sizes", message))
}

/// The job with the memory that a function of that size has for it.
fn fit(job: &Job, memory: Size) -> Result<Job, Error> {
    let most = Size::b(memory.as_u64().saturating_sub(RESERVED));
    let mut limits = job.limits.clone();
    limits.memory = limits.memory.min(most);
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
    price: impl Fn(&Outcome) -> Option<(u64, f64)>,
) -> Result<Sized, Error> {
    let processors = mb as f64 / MB_OF_A_PROCESSOR;
    if io::stderr().is_terminal() {
        crate::run::say(&format!("{mb} MB, {processors:.2} processors ..."));
    }
    let (mut times, mut bills, mut costs, mut busy) = (vec![], vec![], vec![], vec![]);
    let mut failed = None;
    for round in 0..=rounds {
        let outcome = executor.run(job.clone()).await?;
        if !outcome.is_success() {
            failed = Some(describe(&outcome));
            break;
        }
        if round == 0 {
            continue;
        }
        let run = outcome.timing.run.as_secs_f64();
        times.push(run * 1000.0);
        busy.push(outcome.usage.cpu.as_secs_f64() / run.max(1e-6));
        let Some((billed, usd)) = price(&outcome) else {
            failed = Some("the platform gave no report, so its cost is not known".into());
            break;
        };
        bills.push(billed as f64);
        costs.push(usd);
    }
    let times = spread(times);
    Ok(Sized {
        memory_mb: mb,
        processors,
        run_ms: times,
        busy: spread(busy)[0],
        billed_ms: spread(bills)[0] as u64,
        usd_per_million: spread(costs)[0] * 1e6,
        failed,
    })
}

fn describe(outcome: &Outcome) -> String {
    let error = outcome.stderr.text();
    let last = error.lines().last().unwrap_or_default();
    format!("the program ended with {:?} {last}", outcome.termination).trim().to_owned()
}

/// Median, least and most.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    [at(values.len() / 2), at(0), at(values.len().saturating_sub(1))]
}

/// The best sizes of those that were measured.
fn best(sizes: &[Sized]) -> Option<Best> {
    let measured: Vec<_> = (0..sizes.len()).filter(|i| sizes[*i].failed.is_none()).collect();
    let least = |value: &dyn Fn(usize) -> f64| {
        measured.iter().copied().min_by(|a, b| value(*a).total_cmp(&value(*b)))
    };
    let cost = |i: usize| sizes[i].usd_per_million;
    let time = |i: usize| sizes[i].run_ms[0];
    let by_cost = least(&cost)?;
    let fastest = time(least(&time)?);
    // The cheapest of those between which noise decides.
    let as_fast: Vec<_> =
        measured.iter().copied().filter(|i| time(*i) <= fastest * AS_FAST).collect();
    let by_speed = as_fast.into_iter().min_by(|a, b| cost(*a).total_cmp(&cost(*b)))?;
    // What is twice as fast may cost twice as much.
    let balanced = least(&|i| cost(i) * time(i))?;
    Some(Best { by_cost, by_speed, balanced })
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
        for (index, size) in self.sizes.iter().enumerate() {
            let memory = format!("{} MB", size.memory_mb);
            let processors = format!("{:.2}", size.processors);
            if let Some(why) = &size.failed {
                rows.add_row([memory, processors, why.clone()]);
                continue;
            }
            let [median, least, most] = size.run_ms.map(|ms| format!("{ms:.0} ms"));
            rows.add_row([
                memory,
                processors,
                median,
                least,
                most,
                format!("{:.2}", size.busy),
                format!("{} ms", size.billed_ms),
                format!("{:.2}", size.usd_per_million),
                self.best_for(index).join(", "),
            ]);
        }
        let mut parts = vec![rows.trim_fmt()];
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
        let measured: Vec<_> = self.sizes.iter().filter(|size| size.failed.is_none()).collect();
        let (Some(first), Some(last)) = (measured.first(), measured.last()) else {
            return String::new();
        };
        let (cheap, fast) = (&self.sizes[best.by_cost], &self.sizes[best.by_speed]);
        let most = measured.iter().map(|size| size.busy).fold(0.0, f64::max);
        let mut text = format!(
            "Lambda gives a processor for each 1,769 MB. This program kept {most:.2} busy at most. "
        );
        let same = first.run_ms[0] < last.run_ms[0] * 1.2;
        text += &if same && first.busy > first.processors * 1.2 {
            "Nothing bounds processors here, as Lambda does: the times show nothing.".to_owned()
        } else if same {
            "More memory hardly makes it faster: it waits more than it computes, so the smallest \
             size that holds it is the one."
                .to_owned()
        } else {
            format!(
                "Beyond about {:.0} MB there is nothing left that it could use more of.",
                (most.max(0.1) * MB_OF_A_PROCESSOR / 10.0).round() * 10.0
            )
        };
        if cheap.memory_mb != fast.memory_mb {
            text += &format!(
                " {} MB is {:.1} times as fast as {} MB and costs {:.2} times as much.",
                fast.memory_mb,
                cheap.run_ms[0] / fast.run_ms[0].max(0.001),
                cheap.memory_mb,
                fast.usd_per_million / cheap.usd_per_million.max(1e-9),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(memory_mb: u64, ms: f64, usd: f64) -> Sized {
        Sized {
            memory_mb,
            processors: memory_mb as f64 / MB_OF_A_PROCESSOR,
            run_ms: [ms, ms, ms],
            busy: 1.0,
            billed_ms: ms as u64,
            usd_per_million: usd,
            failed: None,
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
        sizes[2].failed = Some("memory".into());
        let found = best(&sizes).expect("best");
        assert_eq!((found.by_cost, found.by_speed, found.balanced), (0, 3, 1));
        for size in &mut sizes {
            size.failed = Some("memory".into());
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
        assert_eq!(spread(Vec::new()), [0.0; 3]);
    }
}
