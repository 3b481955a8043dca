//! What a subscriber sees. Included by path where it is needed.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

pub(crate) type Fields = BTreeMap<String, String>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) parent: Option<String>,
    pub(crate) fields: Fields,
}

/// Everything that any span or event says, at every level.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<(u64, Span)>>>);

struct Visitor<'a>(&'a mut Fields);

impl Visit for Visitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut span = Span::default();
        let this = context.span(id).expect("span");
        span.name = this.name().to_owned();
        span.parent = this.parent().map(|parent| parent.name().to_owned());
        attributes.record(&mut Visitor(&mut span.fields));
        self.0.lock().expect("lock").push((id.into_u64(), span));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.0.lock().expect("lock");
        let span = spans.iter_mut().rev().find(|(known, _)| *known == id.into_u64());
        values.record(&mut Visitor(&mut span.expect("span").1.fields));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut span = Span { name: "event".into(), ..Span::default() };
        event.record(&mut Visitor(&mut span.fields));
        self.0.lock().expect("lock").push((0, span));
    }
}

impl Recorder {
    /// Runs `work`, and returns the spans that it made.
    pub(crate) fn record<T>(work: impl Future<Output = T>) -> (T, Vec<Span>) {
        let recorder = Self::default();
        let subscriber = tracing_subscriber::registry().with(recorder.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let result = tracing::subscriber::with_default(subscriber, || {
            runtime.expect("runtime").block_on(work)
        });
        let spans = recorder.0.lock().expect("lock").iter().map(|(_, span)| span.clone()).collect();
        (result, spans)
    }
}

pub(crate) fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut all = spans.iter().filter(|span| span.name == name);
    let span = all.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
    assert!(all.next().is_none(), "{name} twice");
    span
}
