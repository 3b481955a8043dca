//! Scores answers of models with tests, as benchmarks of code generation do.
//!
//! `cargo run --example evaluate` reads `examples/data/answers.jsonl`; another file follows `--`.
//! A line is `{"task", "answer", "test"}` and optionally `"language"`: what the model said, with or
//! without a Markdown fence, and code that fails unless the answer is right. Several answers to a
//! task give pass@k: the chance that one of k answers, drawn at random, is right.
//!
//! An answer passes when its test ran to its end, which a word shows that the program prints
//! last: `exit(0)` in an answer is no pass. Answers that cheat on purpose can still find that word
//! in their own source; for those, read them.

use std::collections::BTreeMap;
use std::error::Error;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use futures_util::StreamExt as _;
use sandbox::{ExecutorExt as _, Job, LimitKind, Outcome, Size, Termination};
use serde::Deserialize;

const ANSWERS: &str = include_str!("data/answers.jsonl");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    task: String,
    #[serde(default = "python")]
    language: String,
    answer: String,
    test: String,
}

fn python() -> String {
    "python".into()
}

#[derive(Default)]
struct Score {
    answers: u64,
    passed: u64,
    failures: BTreeMap<String, u64>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let text = match std::env::args_os().nth(1) {
        Some(path) => std::fs::read_to_string(path)?,
        None => ANSWERS.to_owned(),
    };
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let answers: Vec<Answer> = lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| format!("line {}: {error}", index + 1))
        })
        .collect::<Result<_, _>>()?;
    // Unknown to the model when it answered.
    let word = format!("passed {:016x}", RandomState::new().hash_one("word"));
    let jobs: Vec<Job> =
        answers.iter().map(|answer| job(answer, &word)).collect::<Result<_, _>>()?;

    let executor = sandbox::from_env().await?;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut outcomes = std::pin::pin!(executor.run_all(jobs, at_once));
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let mut cost = 0.0;
    while let Some((index, result)) = outcomes.next().await {
        let score = scores.entry(&answers[index].task).or_default();
        let outcome = result?;
        cost += outcome.cost.as_ref().map_or(0.0, |cost| cost.usd);
        score.answers += 1;
        match failure(&outcome, &word) {
            None => score.passed += 1,
            Some(why) => *score.failures.entry(why).or_default() += 1,
        }
    }
    report(&scores);
    if cost > 0.0 {
        println!("cost: ${cost:.6}");
    }
    Ok(())
}

/// The answer, its test, and the word that shows that the test came to its end.
fn job(answer: &Answer, word: &str) -> sandbox::Result<Job> {
    let print = match answer.language.as_str() {
        "node" => format!("console.log({word:?})"),
        "r" => format!("cat({word:?}, \"\\n\")"),
        "bash" => format!("echo {word:?}"),
        _ => format!("print({word:?})"),
    };
    // In bash a test that fails does not end anything by itself.
    let strict = if answer.language == "bash" { "set -e\n" } else { "" };
    // An empty line, so that an answer cannot take the first line of its test with it.
    let code = format!("{}\n\n{strict}{}\n{print}\n", unfenced(&answer.answer), answer.test);
    Job::source(&answer.language, code)
        .timeout(Duration::from_secs(5))
        .limit(|limits| limits.cpu = Some(Duration::from_secs(5)))
        .memory(Size::mib(256))
        .label("task", &answer.task)
        .build()
}

/// The first fenced block, or all of it where there is none.
fn unfenced(answer: &str) -> &str {
    let Some((_, rest)) = answer.split_once("```") else { return answer };
    let code = rest.split_once('\n').map_or("", |(_, code)| code);
    code.split_once("```").map_or(code, |(code, _)| code)
}

/// Why an answer did not pass.
fn failure(outcome: &Outcome, word: &str) -> Option<String> {
    Some(match &outcome.termination {
        Termination::Exited(0) if outcome.stdout.text().trim_end().ends_with(word) => return None,
        Termination::Exited(0) => "ended before its test".into(),
        _ if outcome.limits_hit.contains(&LimitKind::Memory) => "memory".into(),
        Termination::Exited(_) => {
            let stderr = outcome.stderr.text();
            let error = |line: &&str| line.contains("Error");
            let line = stderr.lines().rfind(error).or(stderr.lines().last()).unwrap_or_default();
            sandbox::printable(line).chars().take(50).collect()
        }
        other => other.reason().into(),
    })
}

fn report(scores: &BTreeMap<&str, Score>) {
    println!("{:<16} {:>8} {:>8}  why not", "task", "pass@1", "answers");
    for (task, score) in scores {
        let why = score.failures.iter().map(|(why, number)| format!("{number} x {why}"));
        let why = why.collect::<Vec<_>>().join("; ");
        println!("{task:<16} {:>8.2} {:>8}  {why}", pass_at(1, score), score.answers);
    }
    let least = scores.values().map(|score| score.answers).min().unwrap_or_default();
    for k in [1, 2, 5, 10, 100].into_iter().filter(|k| *k <= least) {
        let mean = scores.values().map(|score| pass_at(k, score)).sum::<f64>();
        println!("pass@{k}: {:.3}", mean / scores.len() as f64);
    }
}

/// One minus the chance that none of k answers, drawn without putting back, is right.
fn pass_at(k: u64, score: &Score) -> f64 {
    let wrong = score.answers - score.passed;
    let none: f64 =
        (0..k).map(|n| wrong.saturating_sub(n) as f64 / (score.answers - n) as f64).product();
    1.0 - none
}
