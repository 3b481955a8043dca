//! `sandbox verify`.

use sandbox::wire::VERSION;
use sandbox::{
    Error, ErrorKind, ExecutorExt as _, LambdaExecutor, LayerState, Mechanism, Verdict,
    Verification, printable,
};
use sandbox_infra::account::{Account, AccountError};
use sandbox_infra::{Finding, Template, check};
use serde::Serialize;
use serde_json::json;

use crate::args::VerifyArgs;
use crate::table::{self, mark, print, table};

/// Shows which promises hold; returns 1 when one is broken, or could not be tried.
pub(crate) async fn verify(args: VerifyArgs) -> u8 {
    let json = args.json;
    match examine(args).await {
        Ok(report) => {
            print(if json { report.to_json() } else { report.to_text() });
            u8::from(!report.holds())
        }
        Err(error) => {
            crate::run::refuse(&error, json);
            crate::REFUSED
        }
    }
}

async fn examine(args: VerifyArgs) -> Result<Report, Error> {
    if !args.template.is_empty() {
        return templates(&args);
    }
    let executor = LambdaExecutor::from_env().await?;
    let mut surroundings = executor.surroundings();
    surroundings.urls.extend(args.url);
    surroundings.runtime_apis.extend(args.runtime_api);
    let mut report = Report::default();
    for function in executor.functions() {
        let verification = executor.only(function).await?.verify_with(&surroundings).await;
        report.attacked(&function.name, verification);
    }
    let endpoint = std::env::var_os("AWS_ENDPOINT_URL").is_some_and(|url| !url.is_empty());
    if args.inside {
        report.note = Some("The account was not read.".into());
    } else if executor.is_emulated() && !endpoint {
        report.note = Some("The account was not read: there is none behind an emulator.".into());
    } else {
        let names: Vec<_> = executor.functions().iter().map(|f| f.name.clone()).collect();
        let failed =
            |error: AccountError| Error::new(ErrorKind::Backend, "read account", error.to_string());
        let account = Account::from_env().await.map_err(failed)?;
        let deployment = account.read(&names, executor.bucket()).await.map_err(failed)?;
        report.extend("account", check(&deployment));
        report.account_read = true;
    }
    Ok(report)
}

fn templates(args: &VerifyArgs) -> Result<Report, Error> {
    let failed = |error: sandbox_infra::TemplateError| {
        Error::new(ErrorKind::InvalidJob, "read template", error.to_string())
    };
    let template = Template::read(&args.template).map_err(failed)?;
    let mut report = Report::default();
    report.extend("template", template.check().map_err(failed)?);
    Ok(report)
}

#[derive(Default)]
struct Report {
    promises: Vec<Promise>,
    mechanisms: Vec<Mechanism>,
    account_read: bool,
    note: Option<String>,
}

#[derive(Serialize)]
struct Promise {
    promise: String,
    /// What says so: `inside`, `account` or `template`.
    from: &'static str,
    verdict: Verdict,
    evidence: String,
    /// Whether it is claimed here.
    claimed: bool,
}

/// How bad it is.
fn severity(promise: &Promise) -> u8 {
    match (promise.verdict, promise.claimed) {
        (Verdict::Held, _) => 0,
        (Verdict::Untried, false) => 1,
        (Verdict::Open, _) => 2,
        (Verdict::Untried, true) => 3,
        (Verdict::Broken, _) => 4,
    }
}

impl Report {
    /// Adds what attacks on a function came to. Of several functions, the one that holds least
    /// stands for all.
    fn attacked(&mut self, function: &str, verification: Verification) {
        for attempt in verification.attacks {
            let found = Promise {
                promise: format!("a job cannot {}", attempt.attack),
                from: "inside",
                verdict: attempt.verdict,
                evidence: attempt.evidence,
                claimed: attempt.claim == LayerState::Enforced,
            };
            let known = self.promises.iter_mut().find(|promise| promise.promise == found.promise);
            match known {
                None => self.promises.push(found),
                Some(known) if severity(&found) > severity(known) => {
                    let evidence = format!("in {function}: {}", found.evidence);
                    *known = Promise { evidence, ..found };
                }
                Some(_) => {}
            }
        }
        if self.mechanisms.is_empty() {
            self.mechanisms = verification.mechanisms;
        }
    }

    fn extend(&mut self, from: &'static str, findings: Vec<Finding>) {
        self.promises.extend(findings.into_iter().map(|finding| Promise {
            promise: finding.promise.to_owned(),
            from,
            claimed: finding.verdict != Verdict::Open,
            verdict: finding.verdict,
            evidence: finding.evidence,
        }));
    }

    fn holds(&self) -> bool {
        self.promises.iter().all(|promise| match promise.verdict {
            Verdict::Held | Verdict::Open => true,
            Verdict::Broken => false,
            Verdict::Untried => !promise.claimed,
        })
    }

    fn to_json(&self) -> String {
        json!({
            "version": VERSION,
            "promises": self.promises,
            "mechanisms": self.mechanisms,
            "account_read": self.account_read,
            "note": self.note,
            "holds": self.holds(),
        })
        .to_string()
    }

    fn to_text(&self) -> String {
        let mut parts = Vec::new();
        if !self.mechanisms.is_empty() {
            let mut mechanisms = table(["mechanism", "for a job"]);
            for mechanism in &self.mechanisms {
                mechanisms.add_row([&mechanism.name, &mechanism.state]);
            }
            parts.push(mechanisms.trim_fmt());
        }
        let mut promises = table(["promise", "from", "verdict", "evidence"]);
        for promise in &self.promises {
            let Promise { promise, from, verdict, evidence, .. } = promise;
            promises.add_row([promise, *from, mark(*verdict), &printable(evidence)]);
        }
        parts.push(promises.trim_fmt());
        let verdicts = self.promises.iter().map(|promise| promise.verdict);
        let mut summary = table::count("promises", verdicts) + ".";
        if let Some(note) = &self.note {
            summary = format!("{summary} {note}");
        }
        if !self.holds() {
            summary += "\nA promise is broken, or could not be tried: do not rely on it.";
        }
        parts.push(summary);
        parts.join("\n\n")
    }
}
