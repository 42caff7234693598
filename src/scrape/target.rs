//! A target: where it is asked, which labels its series get, and how it fared last time.
//!
//! ```text
//! discovered labels ─ relabel_configs ─▶ labels: `__…__` say how to scrape, the others go to the series
//! ```

use std::time::Duration;

use parking_lot::Mutex;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use promql::lexer::quote;
use storage::model::{Labels, LabelsBuilder};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::families::Families;
use crate::config::{ScrapeConfig, check_address, format_duration, parse_duration};
use crate::discovery::Group;
use crate::relabel::relabel_builder;

const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAM_PREFIX: &str = "__param_";
const META_PREFIX: &str = "__meta_";
/// Labels that begin so are not for series.
const RESERVED_PREFIX: &str = "__";
/// Labels that hold a truth value, with what a message calls them.
const SWITCHES: [(&str, &str); 3] = [
    (
        "__convert_classic_histograms_to_nhcb__",
        "convert classic histograms to nhcb",
    ),
    (
        "__always_scrape_classic_histograms__",
        "always scrape classic histograms",
    ),
    ("__scrape_native_histograms__", "scrape native histograms"),
];

/// What a path keeps as it is, beside letters and digits.
const IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// What a query keeps as it is is not in here.
const IN_QUERY: &AsciiSet = &percent_encoding::NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A target that is scraped.
#[derive(Debug)]
pub(crate) struct Target {
    /// All labels, those for the scrape included.
    pub(crate) labels: Labels,
    /// Those that series get.
    pub(crate) public: Labels,
    /// Where it is asked.
    pub(crate) url: String,
    /// Time from one scrape to the next.
    pub(crate) interval: Duration,
    /// How long a scrape may take.
    pub(crate) timeout: Duration,
    /// Whether native histograms are taken.
    pub(super) native_histograms: bool,
    /// Whether the classic form of a histogram is taken beside the native one.
    pub(super) classic_histograms: bool,
    discovered: Mutex<Labels>,
    status: Mutex<Status>,
    /// What it said of its families.
    pub(crate) families: Mutex<Families>,
}

/// How the last scrape went.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Status {
    /// When it began; none before the first.
    pub(crate) at_ms: Option<i64>,
    /// How long it took.
    pub(crate) took: Duration,
    /// Why it failed, where it did.
    pub(crate) error: Option<String>,
}

impl Status {
    /// `up`, `down` or `unknown`.
    pub(crate) const fn health(&self) -> &'static str {
        match (self.at_ms, &self.error) {
            (None, _) => "unknown",
            (Some(_), None) => "up",
            (Some(_), Some(_)) => "down",
        }
    }
}

/// A target before relabelling: its labels as the API shows them.
pub(crate) fn discovered_labels(config: &ScrapeConfig, group: &Group, address: &str) -> Labels {
    let mut labels = LabelsBuilder::default();
    for (name, value) in &group.labels {
        labels.set(name, value);
    }
    labels.set(ADDRESS, address);
    let mut set = |name: &str, value: &str| {
        if labels.get(name).is_none() {
            labels.set(name, value);
        }
    };
    set("job", &config.job_name);
    set(INTERVAL, &format_duration(config.scrape_interval));
    set(TIMEOUT, &format_duration(config.scrape_timeout));
    set(PATH, &config.metrics_path);
    set(SCHEME, &config.scheme);
    for ((name, _), on) in SWITCHES.iter().zip(switches_of(config)) {
        set(name, if on { "true" } else { "false" });
    }
    for (name, values) in &config.params {
        if let Some(value) = values.first() {
            set(&format!("{PARAM_PREFIX}{name}"), value);
        }
    }
    labels.finish()
}

impl Target {
    /// A target from its discovered labels; none where relabelling drops it.
    ///
    /// # Errors
    /// In upstream's words, where it cannot be a target.
    pub(crate) fn new(config: &ScrapeConfig, discovered: Labels) -> Result<Option<Self>, String> {
        let mut builder = discovered.to_builder();
        if !relabel_builder(&config.relabel_configs, &mut builder) {
            return Ok(None);
        }
        let before = builder.finish();
        // Rules that remove every label drop the target too.
        if before.is_empty() {
            return Ok(None);
        }
        let get = |name: &str| before.get(name).unwrap_or("");
        let address = get(ADDRESS);
        if address.is_empty() {
            return Err("no address".to_owned());
        }
        check_address(address)?;
        let interval = period(get(INTERVAL), "interval")?;
        let timeout = period(get(TIMEOUT), "timeout")?;
        if timeout > interval {
            return Err(format!(
                "scrape timeout cannot be greater than scrape interval ({} > {})",
                quote(get(TIMEOUT)),
                quote(get(INTERVAL))
            ));
        }
        let mut switches = switches_of(config);
        for ((name, what), on) in SWITCHES.iter().zip(&mut switches) {
            if let Some(text) = before.get(name) {
                *on = switch(text).map_err(|e| format!("error parsing {what}: {e}"))?;
            }
        }
        for (name, _) in &before {
            if name.starts_with(META_PREFIX) {
                builder.remove(name);
            }
        }
        if get("instance").is_empty() {
            builder.set("instance", address);
        }
        let labels = builder.finish();
        let public = labels
            .iter()
            .filter(|(n, _)| !n.starts_with(RESERVED_PREFIX));
        Ok(Some(Self {
            public: Labels::from_sorted(public),
            url: url(config, &labels),
            interval,
            timeout,
            native_histograms: switches[2],
            classic_histograms: switches[1],
            discovered: Mutex::new(discovered),
            status: Mutex::default(),
            families: Mutex::default(),
            labels,
        }))
    }

    /// Tells targets of a job apart.
    pub(super) fn identity(&self) -> u64 {
        xxh3_64_with_seed(self.url.as_bytes(), xxh3_64(self.labels.as_bytes()))
    }

    /// How long to wait for the first scrape. The place within the interval depends on the target and the seed alone, so
    /// that the load is spread and a restart keeps the rhythm.
    pub(super) fn offset(&self, now_ns: u128, seed: u64) -> Duration {
        let interval = self.interval.as_nanos().max(1);
        let place = u128::from(self.identity() ^ seed) % interval;
        let wait = (interval - now_ns % interval + place) % interval;
        Duration::from_nanos(u64::try_from(wait).unwrap_or(0))
    }

    /// Its labels before relabelling.
    pub(crate) fn discovered(&self) -> Labels {
        self.discovered.lock().clone()
    }

    /// A later discovery may find the same target under other labels.
    pub(super) fn rediscovered(&self, labels: Labels) {
        *self.discovered.lock() = labels;
    }

    /// How the last scrape went.
    pub(crate) fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Notes how a scrape went.
    pub(super) fn report(&self, status: Status) {
        *self.status.lock() = status;
    }

    /// The label that says how often it is scraped, as it is written.
    pub(crate) fn interval_text(&self) -> &str {
        self.labels.get(INTERVAL).unwrap_or("")
    }

    /// The label that says how long a scrape may take, as it is written.
    pub(crate) fn timeout_text(&self) -> &str {
        self.labels.get(TIMEOUT).unwrap_or("")
    }
}

fn period(text: &str, what: &str) -> Result<Duration, String> {
    let period = parse_duration(text).map_err(|e| format!("error parsing scrape {what}: {e}"))?;
    if period.is_zero() {
        return Err(format!("scrape {what} cannot be 0"));
    }
    Ok(period)
}

/// The values of [`SWITCHES`] that a job has.
const fn switches_of(config: &ScrapeConfig) -> [bool; 3] {
    [
        config.convert_classic_histograms,
        config.always_classic_histograms,
        config.native_histograms,
    ]
}

/// A truth value as Go reads it.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing {}: invalid syntax",
            quote(text)
        )),
    }
}

fn url(config: &ScrapeConfig, labels: &Labels) -> String {
    let get = |name: &str| labels.get(name).unwrap_or("");
    let mut params = config.params.clone();
    for (name, value) in labels {
        let Some(name) = name.strip_prefix(PARAM_PREFIX) else {
            continue;
        };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    let path = get(PATH);
    let slash = if path.starts_with('/') || path.is_empty() {
        ""
    } else {
        "/"
    };
    let mut out = format!(
        "{}://{}{slash}{}",
        get(SCHEME),
        get(ADDRESS),
        utf8_percent_encode(path, IN_PATH)
    );
    let encode = |text: &str| {
        let encoded = utf8_percent_encode(text, IN_QUERY).to_string();
        encoded.replace("%20", "+")
    };
    let pairs = params.iter().flat_map(|(name, values)| {
        let name = encode(name);
        values
            .iter()
            .map(move |value| format!("{name}={}", encode(value)))
    });
    let query = pairs.collect::<Vec<_>>().join("&");
    if !query.is_empty() {
        out.push('?');
        out.push_str(&query);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PrometheusConfig;

    fn target(job: &str, labels: &[(&str, &str)]) -> Result<Option<Target>, String> {
        let text = format!("scrape_configs: [{{job_name: j, {job}}}]");
        let config = PrometheusConfig::parse(&text).unwrap();
        let config = &config.scrape_configs[0];
        let owned = labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let group = Group {
            labels: owned.collect(),
            ..Group::default()
        };
        Target::new(config, discovered_labels(config, &group, "host:80"))
    }

    #[test]
    fn labels_of_the_group_and_the_job_come_before_relabelling() {
        let target = target(
            "params: {a: [1, 2]}, relabel_configs: [{source_labels: [__meta_x], target_label: x}]",
            &[("__meta_x", "y"), ("env", "prod"), ("job", "other")],
        );
        let target = target.unwrap().unwrap();
        assert_eq!(
            target.public.to_string(),
            r#"{env="prod", instance="host:80", job="other", x="y"}"#
        );
        assert_eq!(target.labels.get("__meta_x"), None);
        assert_eq!(target.discovered().get("__meta_x"), Some("y"));
        assert_eq!(target.discovered().get("__param_a"), Some("1"));
        assert_eq!(target.url, "http://host:80/metrics?a=1&a=2");
        assert_eq!(target.status().health(), "unknown");
    }

    #[test]
    fn relabelling_decides_how_a_target_is_asked() {
        let rules = "[{target_label: __scheme__, replacement: https}, {target_label: __metrics_path__, replacement: 'a b?c'}, {target_label: __param_q, replacement: 'x &y'}, {target_label: __scrape_interval__, replacement: 1m30s}, {target_label: instance, replacement: me}]";
        let target = target(&format!("relabel_configs: {rules}"), &[]);
        let target = target.unwrap().unwrap();
        assert_eq!(target.url, "https://host:80/a%20b%3Fc?q=x+%26y");
        assert_eq!(target.interval, Duration::from_secs(90));
        assert_eq!(target.public.get("instance"), Some("me"));
    }

    #[test]
    fn what_cannot_be_a_target_is_refused_in_upstreams_words() {
        let rule = |name: &str, value: &str| {
            let rule =
                format!("relabel_configs: [{{target_label: {name}, replacement: '{value}'}}]");
            target(&rule, &[]).unwrap_err()
        };
        assert_eq!(rule("__address__", ""), "no address");
        assert_eq!(
            rule("__address__", "a/b"),
            "\"a/b\" is not a valid hostname"
        );
        assert_eq!(
            rule("__scrape_interval__", "0"),
            "scrape interval cannot be 0"
        );
        assert!(rule("__scrape_timeout__", "x").starts_with("error parsing scrape timeout: "));
        assert_eq!(
            rule("__scrape_timeout__", "2m"),
            "scrape timeout cannot be greater than scrape interval (\"2m\" > \"1m\")"
        );
        assert!(rule("__scrape_native_histograms__", "x").contains("strconv.ParseBool"));
        let dropped = target("relabel_configs: [{action: drop}]", &[]);
        assert!(dropped.unwrap().is_none());
    }

    #[test]
    fn the_first_scrape_has_its_place_in_the_interval() {
        let target = target("scrape_interval: 10s", &[]).unwrap().unwrap();
        let place = target.offset(0, 7);
        assert!(place < target.interval);
        let wait = target.offset(123_456_789_012, 7);
        let due = 123_456_789_012 + wait.as_nanos();
        assert_eq!(due % 10_000_000_000, place.as_nanos());
        assert_ne!(target.offset(0, 8), place);
    }
}
