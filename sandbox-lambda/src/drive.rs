//! One job, from admission to outcome.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sandbox_core::remote::frame::Frame;
use sandbox_core::remote::{Body, Finished};
use sandbox_core::{
    Capture, Enforcement, Error, ErrorKind, Event, EventSender, Execution, Job, Layer, LayerState,
    MemoryEvidence, Outcome, Result, Stop, Termination, TimeEvidence, trace,
};

use tracing::{Instrument as _, Span};

use crate::executor::Shared;
use crate::function::FunctionSpec;
use crate::idempotency::{self, Key};
use crate::invoke::{self, End, Next, Stream};
use crate::platform::Verdict;
use crate::report::{self, Report};
use crate::request::{Prepared, longest_answer, prepare};
use crate::stage::Items;
use crate::{answer, backoff};

/// How far clocks may be apart before an answer's times are not believed.
const CLOCK_SLACK: Duration = Duration::from_secs(2);

/// A job with everything that sending it needs.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) function: FunctionSpec,
    pub(crate) tenant: Option<String>,
    pub(crate) job: Job,
    pub(crate) required: BTreeSet<Layer>,
    pub(crate) not_off: BTreeSet<Layer>,
    pub(crate) items: Items,
    pub(crate) key: Option<Key>,
}

/// What is known of a running invocation.
#[derive(Debug)]
struct Seen {
    since: Instant,
    /// When the first frame said that the program was executed.
    started: Option<Duration>,
    stdout: Capture,
    stderr: Capture,
    answer: Option<Bytes>,
    /// Bytes of the response.
    streamed: u64,
}

impl Seen {
    fn new(job: &Job) -> Self {
        let cap = job.limits.output.as_u64();
        Self {
            since: Instant::now(),
            started: None,
            stdout: Capture::new(cap),
            stderr: Capture::new(cap),
            answer: None,
            streamed: 0,
        }
    }

    /// Notes a frame; returns what of it is to be told.
    fn take(&mut self, frame: Frame) -> Option<Event> {
        match frame {
            Frame::Started => {
                self.started.get_or_insert(self.since.elapsed());
                Some(Event::Started)
            }
            Frame::Stdout(bytes) => {
                self.stdout.push(&bytes);
                Some(Event::Stdout(bytes))
            }
            Frame::Stderr(bytes) => {
                self.stderr.push(&bytes);
                Some(Event::Stderr(bytes))
            }
            Frame::Answer(json) => {
                self.answer = Some(json);
                None
            }
        }
    }
}

impl Call {
    /// Starts the job. The current span is the job's.
    pub(crate) async fn start(self) -> Result<Execution> {
        let patience = self.shared.settings.patience;
        if self.shared.settings.streaming {
            let open = backoff::retry(patience, || self.open());
            let (prepared, stream, seen) = open.instrument(trace::start()).await?;
            let (execution, driver) = Execution::channel();
            let (events, stop, finish) = driver.into_parts();
            let follow = async move {
                let result = self.follow(&prepared, stream, seen, events, stop).await;
                trace::ended(&Span::current(), &result);
                finish.finish(result);
            };
            tokio::spawn(follow.in_current_span());
            return Ok(execution);
        }
        let (execution, driver) = Execution::channel();
        let (events, mut stop, finish) = driver.into_parts();
        let wait = async move {
            let attempts = backoff::retry(patience, || self.attempt());
            let result = tokio::select! {
                result = attempts => result,
                _ = stop.requested() => Ok(self.cancelled(Seen::new(&self.job))),
            };
            if let Ok(outcome) = &result {
                for (bytes, event) in [
                    (Bytes::new(), (|_| Event::Started) as fn(Bytes) -> Event),
                    (outcome.stdout.bytes(), Event::Stdout),
                    (outcome.stderr.bytes(), Event::Stderr),
                ] {
                    events.send(event(bytes)).await;
                }
            }
            drop(events);
            trace::ended(&Span::current(), &result);
            finish.finish(result);
        };
        tokio::spawn(wait.in_current_span());
        Ok(execution)
    }

    /// Sends the job and waits until its program is executed, or its end.
    async fn open(&self) -> Result<(Prepared, Stream, Seen)> {
        let (prepared, payload) = prepare(self).await?;
        let mut seen = Seen::new(&self.job);
        let tenant = self.tenant.clone();
        let mut stream = Stream::open(&self.shared, &self.function, tenant, payload).await?;
        match stream.next().await? {
            Next::Frame(frame) => {
                seen.take(frame);
            }
            Next::End(end) => return Err(self.ended_early(&end)),
        }
        if let Some(json) = &seen.answer {
            // The program was never executed. The end still says what the platform has to say.
            if let Next::End(End { error: Some(error), log, .. }) = stream.next().await? {
                return Err(error.verdict(&log, None).error(&self.function.name, &error));
            }
            return Err(match self.read(&prepared, json).await? {
                Body::Failed(failed) => failed.into(),
                _ => Error::new(
                    ErrorKind::Untrusted,
                    "read answer",
                    "it tells of a program's end, and none was started",
                )
                .with_may_have_run(),
            });
        }
        if seen.started.is_none() {
            let message = "there is output, and no program was started";
            return Err(
                Error::new(ErrorKind::Untrusted, "read answer", message).with_may_have_run()
            );
        }
        Ok((prepared, stream, seen))
    }

    /// The invocation ended without a frame.
    fn ended_early(&self, end: &End) -> Error {
        match &end.error {
            Some(error) => {
                let report = report::find(&end.log, &end.request_id).ok();
                let verdict = error.verdict(&end.log, report.as_ref());
                verdict.error(&self.function.name, error)
            }
            None => {
                let message = format!("{}: there is none", self.function.name);
                Error::new(ErrorKind::Untrusted, "read answer", message).with_may_have_run()
            }
        }
    }

    /// Passes a live answer on to its end.
    async fn follow(
        &self,
        prepared: &Prepared,
        mut stream: Stream,
        mut seen: Seen,
        events: EventSender,
        mut stop: Stop,
    ) -> Result<Outcome> {
        events.send(Event::Started).await;
        let watch = watch(&mut stream, &mut seen, &events, &mut stop);
        let Some(end) = watch.instrument(trace::run()).await? else {
            return Ok(self.cancelled(seen));
        };
        seen.streamed = stream.bytes;
        drop(events);
        self.settle(prepared, seen, end).instrument(trace::collect()).await
    }

    /// Invokes and waits for the whole answer.
    async fn attempt(&self) -> Result<Outcome> {
        let (prepared, payload) = prepare(self).instrument(trace::start()).await?;
        let mut seen = Seen::new(&self.job);
        let tenant = self.tenant.clone();
        let invoke = invoke::buffered(&self.shared, &self.function, tenant, payload);
        let invoked = invoke.instrument(trace::run()).await?;
        if invoked.end.error.is_none() {
            seen.answer = Some(invoked.body);
        }
        self.settle(&prepared, seen, invoked.end).instrument(trace::collect()).await
    }

    async fn read(&self, prepared: &Prepared, json: &Bytes) -> Result<Body> {
        let most = longest_answer(&self.job.limits);
        answer::read(&self.shared, &prepared.id, &prepared.prefix, json, most).await
    }

    /// The outcome, from what the runner answered and what the platform says.
    async fn settle(&self, prepared: &Prepared, seen: Seen, end: End) -> Result<Outcome> {
        let report = report::find(&end.log, &end.request_id);
        let body = match &seen.answer {
            None => None,
            Some(json) => Some(self.read(prepared, json).await),
        };
        if let Some(error) = &end.error {
            let verdict = error.verdict(&end.log, report.as_ref().ok());
            // A runner that could not clean up ends itself after its answer, and says so.
            let announced = verdict == Verdict::Exit
                && match &body {
                    Some(Ok(Body::Finished(finished))) => is_unclean(finished),
                    // It says more than that the runner ended.
                    Some(Ok(Body::Failed(_))) => true,
                    _ => false,
                };
            if !announced {
                let streamed = seen.streamed;
                let started = seen.started.is_some();
                return match self.ended_by(verdict, &seen, report.as_ref().ok()) {
                    Some(end_of_job) => {
                        let mut outcome = self.partial(end_of_job, seen);
                        self.bill(&mut outcome, &end, report, streamed);
                        Ok(outcome)
                    }
                    None if started => {
                        Err(verdict.error(&self.function.name, error).with_may_have_run())
                    }
                    None => Err(verdict.error(&self.function.name, error)),
                };
            }
        }
        let finished = match body.transpose()? {
            Some(Body::Finished(finished)) => *finished,
            Some(Body::Failed(failed)) => {
                let error = Error::from(failed);
                // Whatever it says, a program was started.
                return Err(match seen.started {
                    Some(_) => error.with_may_have_run(),
                    None => error,
                });
            }
            _ => {
                let message = format!("{}: it was cut off", self.function.name);
                let error = Error::new(ErrorKind::Untrusted, "read answer", message);
                return Err(error.with_may_have_run());
            }
        };
        let streamed = seen.streamed;
        let mut outcome = self.outcome(prepared, finished, seen, &end).await?;
        self.bill(&mut outcome, &end, report, streamed);
        Ok(outcome)
    }

    /// How a program that was started ended, when the platform ended it.
    fn ended_by(
        &self,
        verdict: Verdict,
        seen: &Seen,
        report: Option<&Report>,
    ) -> Option<Termination> {
        seen.started?;
        match verdict {
            Verdict::Timeout => Some(Termination::WallTime(TimeEvidence {
                limit: self.function.timeout,
                used: report.map_or(seen.since.elapsed(), |report| report.duration),
            })),
            Verdict::Memory => Some(Termination::Memory(MemoryEvidence {
                limit: report.map_or(self.function.memory, |report| report.memory),
                peak: report.map(|report| report.max_memory),
                oom_kills: 1,
            })),
            _ => None,
        }
    }

    /// Believes an answer, as far as it can be true.
    async fn outcome(
        &self,
        prepared: &Prepared,
        mut finished: Finished,
        seen: Seen,
        end: &End,
    ) -> Result<Outcome> {
        let elapsed = seen.since.elapsed();
        let untrusted = |why: String| {
            Err(Error::new(ErrorKind::Untrusted, "read answer", why).with_may_have_run())
        };
        if finished.usage.wall_us > elapsed + CLOCK_SLACK {
            return untrusted(format!(
                "it tells of {:?} in an invocation of {elapsed:?}",
                finished.usage.wall_us
            ));
        }
        for (name, stream, live) in [
            ("stdout", &finished.stdout, seen.stdout.total()),
            ("stderr", &finished.stderr, seen.stderr.total()),
        ] {
            if stream.total < live {
                let total = stream.total;
                return untrusted(format!("{name} had {total} bytes, and {live} were seen"));
            }
        }
        answer::drop_missing(&self.shared, &prepared.prefix, &mut finished).await?;
        // What is left behind shows only at the end, and is on the outcome.
        let required = self.required.iter().copied();
        let platform = [Layer::MicroVm, Layer::Vpc, Layer::Cleanup];
        let required = required.filter(|layer| !platform.contains(layer));
        let objects = answer::objects(&self.shared, &prepared.prefix);
        let mut outcome = finished.clone().into_outcome(&self.job, required, objects)?;
        let store = &self.shared.store;
        let mut unstored = None;
        if let Some(key) = &self.key {
            let (prefix, function) = (prepared.prefix.clone(), self.function.name.clone());
            let id = end.request_id.clone();
            match key.store(store, finished, prefix, id, function).await {
                Ok(None) => {}
                // Another run of the same job was first, and its result is the result.
                Ok(Some(first)) => {
                    return idempotency::outcome(&self.shared, &self.job, first).await;
                }
                Err(error) if error.kind() == ErrorKind::Conflict => {
                    return Err(error.with_may_have_run());
                }
                Err(error) => unstored = Some(error.to_string()),
            }
        }
        for (layer, state) in self.shared.platform(&self.function) {
            outcome.enforcement = outcome.enforcement.with(layer, state);
        }
        if let Some(started) = seen.started {
            outcome.timing.startup = started;
        }
        if let Some(why) = unstored {
            outcome.facts.insert("idempotency_failed".into(), why);
        }
        Ok(outcome)
    }

    /// An outcome of which only the output that came live is known.
    fn partial(&self, termination: Termination, seen: Seen) -> Outcome {
        let enforcement = self.shared.platform(&self.function).into_iter();
        let enforcement =
            enforcement.fold(Enforcement::none(), |all, (layer, state)| all.with(layer, state));
        let mut outcome = Outcome::new(termination, enforcement);
        outcome.usage.wall = seen.since.elapsed().saturating_sub(seen.started.unwrap_or_default());
        outcome.timing.run = outcome.usage.wall;
        outcome.timing.startup = seen.started.unwrap_or_default();
        outcome.stdout = seen.stdout.finish();
        outcome.stderr = seen.stderr.finish();
        let why = "the runner did not answer; artifacts, usage and layers are not known";
        outcome.facts.insert("incomplete".into(), why.into());
        outcome
    }

    /// Nobody waits any more. The function goes on, and nothing can stop it.
    fn cancelled(&self, seen: Seen) -> Outcome {
        let left = (self.job.limits.wall + seen.started.unwrap_or_default())
            .saturating_sub(seen.since.elapsed());
        let mut outcome = self.partial(Termination::Cancelled, seen);
        let facts = &mut outcome.facts;
        facts.insert("function".into(), self.function.name.clone());
        facts.insert(
            "still_running".into(),
            format!("Lambda cannot stop it: it may run, and cost, for {left:.1?} more"),
        );
        facts.insert("cost_unknown".into(), "the invocation was not waited for".into());
        outcome
    }

    /// Adds what only the platform knows.
    fn bill(
        &self,
        outcome: &mut Outcome,
        end: &End,
        report: std::result::Result<Report, report::Missing>,
        streamed: u64,
    ) {
        let facts = &mut outcome.facts;
        facts.entry("request_id".into()).or_insert_with(|| end.request_id.clone());
        facts.entry("function".into()).or_insert_with(|| self.function.name.clone());
        facts.insert("version".into(), end.version.clone());
        facts.insert("log_group".into(), self.function.log_group.clone());
        match report {
            Ok(report) => {
                facts.insert("billed_ms".into(), report.billed.as_millis().to_string());
                facts.insert("max_memory".into(), report.max_memory.to_string());
                let prices = &self.shared.settings.prices;
                facts.remove("cost_unknown");
                outcome.cost = Some(prices.cost(&self.function, &report, streamed));
            }
            Err(why) => {
                facts.insert("cost_unknown".into(), why.into());
            }
        }
    }
}

/// Passes events on until the invocation ends; `None` when it is not to be waited for.
async fn watch(
    stream: &mut Stream,
    seen: &mut Seen,
    events: &EventSender,
    stop: &mut Stop,
) -> Result<Option<End>> {
    loop {
        let next = tokio::select! {
            next = stream.next() => next?,
            _ = stop.requested() => return Ok(None),
        };
        match next {
            Next::End(end) => return Ok(Some(end)),
            Next::Frame(frame) => {
                let Some(event) = seen.take(frame) else { continue };
                if events.is_closed() || is_heartbeat(&event) {
                    continue;
                }
                tokio::select! {
                    () = events.send(event) => {}
                    _ = stop.requested() => return Ok(None),
                }
            }
        }
    }
}

/// A runner shows that it lives when a job is silent for long.
fn is_heartbeat(event: &Event) -> bool {
    matches!(event, Event::Stdout(bytes) | Event::Stderr(bytes) if bytes.is_empty())
}

/// Whether a runner says that it could not remove what the job left.
fn is_unclean(finished: &Finished) -> bool {
    !matches!(finished.enforcement.get(Layer::Cleanup.name()), Some(LayerState::Enforced))
}
