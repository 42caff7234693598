//! Templates of alerts: labels and annotations with Prometheus's functions and variables, over the engine of Go's text/template
//! that `logql` has.
//!
//! Source: prometheus.io/docs/prometheus/latest/configuration/template_reference.

mod humanize;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;

use logql::template::{Fault, Host, Record, Template, Value};
use promql::VectorSample;
use promql::vector::Sample;
use storage::model::Labels;

/// What upstream puts before each text, for users who do not know Go's templates. It counts in the columns of errors.
const VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Names of the functions.
const FUNCTIONS: [&str; 29] = [
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "args",
    "reReplaceAll",
    "safeHtml",
    "match",
    "title",
    "toUpper",
    "toLower",
    "graphLink",
    "tableLink",
    "sortByLabel",
    "stripPort",
    "stripDomain",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "toDuration",
    "now",
    "pathPrefix",
    "externalURL",
    "parseDuration",
    "urlQueryEscape",
];

/// A label or an annotation of an alert, parsed.
#[derive(Debug)]
pub struct AlertTemplate {
    name: String,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Nothing to compute.
    Plain(String),
    Template(Template),
}

/// What a template is about.
#[derive(Clone, Copy, Debug)]
pub struct AlertData<'a> {
    /// Labels of the series.
    pub labels: &'a Labels,
    /// Labels of this server.
    pub external_labels: &'a [(String, String)],
    /// Where this server is reached.
    pub external_url: &'a str,
    /// The value of the series.
    pub value: &'a Sample,
}

/// What the functions look at.
pub trait Surroundings {
    /// Asks a query at the time of the evaluation.
    ///
    /// # Errors
    /// In the words of the query's error.
    fn query(&self, text: &str) -> Result<Vec<VectorSample>, String>;

    /// The time of the evaluation, milliseconds since the epoch.
    fn now_ms(&self) -> i64;

    /// Where this server is reached; also what `externalURL` gives.
    fn external_url(&self) -> &str;

    /// Told of each template that was run.
    fn count(&self, _failed: bool) {}
}

impl AlertTemplate {
    /// Parses a text of an alert.
    ///
    /// # Errors
    /// In Go's words.
    pub fn parse(alert: &str, text: &str) -> Result<Self, String> {
        let name = format!("__alert_{alert}");
        let content = if text.contains("{{") {
            let text = format!("{VARIABLES}{text}");
            Content::Template(Template::parse(&name, &text, &FUNCTIONS)?)
        } else {
            Content::Plain(text.to_owned())
        };
        Ok(Self { name, content })
    }

    /// The text; where there is none, the text that upstream shows instead.
    #[must_use]
    pub fn expand(&self, data: &AlertData<'_>, surroundings: &dyn Surroundings) -> String {
        let template = match &self.content {
            Content::Plain(text) => {
                surroundings.count(false);
                return text.clone();
            }
            Content::Template(template) => template,
        };
        let expanded = template.run(&Functions { data, surroundings });
        surroundings.count(expanded.is_err());
        expanded.unwrap_or_else(|e| {
            tracing::warn!("expanding an alert's template: {e}");
            let name = &self.name;
            format!("<error expanding template: error executing template {name}: {e}>")
        })
    }
}

struct Functions<'a> {
    data: &'a AlertData<'a>,
    surroundings: &'a dyn Surroundings,
}

impl Host for Functions<'_> {
    fn data(&self) -> Value {
        let data = self.data;
        let external = data.external_labels.iter().cloned().collect();
        let fields = vec![
            ("Labels", labels(data.labels)),
            ("ExternalLabels", Value::Texts(Arc::new(external))),
            ("ExternalURL", Value::Text(data.external_url.to_owned())),
            ("Value", value(data.value)),
        ];
        let name = "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";
        Value::Record(Arc::new(Record::new(name, fields, None)))
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Result<Value, Fault> {
        let a = Arguments(arguments);
        let text = |text: String| Ok(Value::Text(text));
        match name {
            "query" => {
                a.exactly(1)?;
                let samples = self.surroundings.query(a.text(0)?).map_err(Fault::Call)?;
                Ok(Value::List(Arc::new(samples.iter().map(sample).collect())))
            }
            "first" => {
                a.exactly(1)?;
                let first = a.samples(0)?.first().cloned();
                first.ok_or_else(|| {
                    Fault::Call("first() called on vector with no elements".to_owned())
                })
            }
            "label" => {
                a.exactly(2)?;
                text(label(a.sample(1)?, a.text(0)?))
            }
            "value" => {
                a.exactly(1)?;
                Ok(a.sample(0)?.field("Value").unwrap_or(Value::Nil))
            }
            "strvalue" => {
                a.exactly(1)?;
                text(label(a.sample(0)?, "__value__"))
            }
            "args" => {
                let all = arguments.iter().enumerate();
                let map: BTreeMap<String, Value> =
                    all.map(|(i, v)| (format!("arg{i}"), v.clone())).collect();
                Ok(Value::Map(Arc::new(map)))
            }
            "sortByLabel" => {
                a.exactly(2)?;
                let name = a.text(0)?;
                let mut samples = a.samples(1)?.to_vec();
                samples.sort_by_cached_key(|s| match s {
                    Value::Record(record) => label(record, name),
                    _ => String::new(),
                });
                Ok(Value::List(Arc::new(samples)))
            }
            "reReplaceAll" => {
                a.exactly(3)?;
                text::replace_all(a.text(0)?, a.text(1)?, a.text(2)?)
                    .map(Value::Text)
                    .map_err(Fault::Call)
            }
            "match" => {
                a.exactly(2)?;
                let regex = storage::model::compile_search(a.text(0)?).map_err(Fault::Call)?;
                Ok(Value::Bool(regex.is_match(a.text(1)?)))
            }
            "now" => {
                a.exactly(0)?;
                Ok(Value::Float(self.surroundings.now_ms() as f64 / 1000.0))
            }
            "externalURL" => {
                a.exactly(0)?;
                text(self.surroundings.external_url().to_owned())
            }
            "pathPrefix" => {
                a.exactly(0)?;
                text(text::path_of(self.surroundings.external_url()).to_owned())
            }
            "safeHtml" | "title" | "toUpper" | "toLower" | "graphLink" | "tableLink"
            | "stripPort" | "stripDomain" | "urlQueryEscape" => {
                a.exactly(1)?;
                let given = a.text(0)?;
                text(match name {
                    "title" => text::title(given),
                    "toUpper" => given.to_uppercase(),
                    "toLower" => given.to_lowercase(),
                    "graphLink" => graph_link(given),
                    "tableLink" => table_link(given),
                    "stripPort" => text::strip_port(given),
                    "stripDomain" => text::strip_domain(given),
                    "urlQueryEscape" => logql::template::url_encode(given),
                    _ => given.to_owned(),
                })
            }
            "parseDuration" => {
                a.exactly(1)?;
                text::parse_duration(a.text(0)?)
                    .map(Value::Float)
                    .map_err(Fault::Call)
            }
            "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage"
            | "humanizeTimestamp" | "toTime" | "toDuration" => {
                a.exactly(1)?;
                let number = humanize::to_float(&arguments[0]).map_err(Fault::Call)?;
                Ok(match name {
                    "humanize" => Value::Text(humanize::humanize(number)),
                    "humanize1024" => Value::Text(humanize::humanize_1024(number)),
                    "humanizeDuration" => Value::Text(humanize::duration(number)),
                    "humanizePercentage" => Value::Text(humanize::percentage(number)),
                    "humanizeTimestamp" => {
                        Value::Text(humanize::timestamp(number).map_err(Fault::Call)?)
                    }
                    "toTime" => Value::Time(humanize::time(number).map_err(Fault::Call)?),
                    _ => Value::Duration((number * 1e9) as i64),
                })
            }
            _ => Err(Fault::Call("call of non-function".to_owned())),
        }
    }
}

/// A link to the graph of an expression, relative to where the server is reached.
#[must_use]
pub fn graph_link(expr: &str) -> String {
    format!(
        "/graph?g0.expr={}&g0.tab=0",
        logql::template::url_encode(expr)
    )
}

/// A link to the table of an expression, relative to where the server is reached.
#[must_use]
pub fn table_link(expr: &str) -> String {
    format!(
        "/graph?g0.expr={}&g0.tab=1",
        logql::template::url_encode(expr)
    )
}

fn labels(labels: &Labels) -> Value {
    let pairs = labels.iter();
    let pairs = pairs.map(|(n, v)| (n.to_owned(), v.to_owned()));
    Value::Texts(Arc::new(pairs.collect()))
}

/// A float, or a histogram with what Go's templates see of one.
fn value(sample: &Sample) -> Value {
    let histogram = match sample {
        Sample::Float(value) => return Value::Float(*value),
        Sample::Histogram(histogram) => histogram,
    };
    let fields = vec![
        ("Schema", Value::Int(i64::from(histogram.schema))),
        ("ZeroThreshold", Value::Float(histogram.zero_threshold)),
        ("ZeroCount", Value::Float(histogram.zero_count)),
        ("Count", Value::Float(histogram.count)),
        ("Sum", Value::Float(histogram.sum)),
        ("String", Value::Text(histogram.to_string())),
    ];
    let shown = Some(histogram.to_string());
    Value::Record(Arc::new(Record::new(
        "*histogram.FloatHistogram",
        fields,
        shown,
    )))
}

/// Upstream's name of the type of a sample.
const SAMPLE: &str = "*template.sample";
/// Upstream's name of the type of a list of samples.
const SAMPLES: &str = "template.queryResult";

fn sample(sample: &VectorSample) -> Value {
    let fields = vec![
        ("Labels", labels(&sample.labels)),
        ("Value", value(&sample.sample)),
    ];
    Value::Record(Arc::new(Record::new(SAMPLE, fields, None)))
}

fn label(sample: &Record, name: &str) -> String {
    match sample.field("Labels") {
        Some(Value::Texts(labels)) => labels.get(name).cloned().unwrap_or_default(),
        _ => String::new(),
    }
}

/// Arguments as the functions want them.
struct Arguments<'a>(&'a [Value]);

impl<'a> Arguments<'a> {
    fn exactly(&self, want: usize) -> Result<(), Fault> {
        if self.0.len() == want {
            return Ok(());
        }
        Err(Fault::Count {
            want,
            at_least: false,
        })
    }

    fn text(&self, at: usize) -> Result<&'a str, Fault> {
        match &self.0[at] {
            Value::Text(text) => Ok(text),
            _ => Err(Fault::Type {
                at,
                expected: "string",
            }),
        }
    }

    fn samples(&self, at: usize) -> Result<&'a [Value], Fault> {
        match &self.0[at] {
            Value::List(samples) => Ok(samples),
            _ => Err(Fault::Type {
                at,
                expected: SAMPLES,
            }),
        }
    }

    fn sample(&self, at: usize) -> Result<&'a Record, Fault> {
        match &self.0[at] {
            Value::Record(record) if record.type_name() == SAMPLE => Ok(record),
            _ => Err(Fault::Type {
                at,
                expected: SAMPLE,
            }),
        }
    }
}

#[cfg(test)]
mod tests;
