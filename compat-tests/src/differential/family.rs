//! The metrics that the test's dataset holds: the data is made from this table, and expressions name what is in it.

/// How the values of a family run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A counter with resets.
    Counter,
    /// Decimal numbers up and down, some series with `NaN` and infinities among them.
    Gauge,
    /// Always 1; a label changes on the way.
    Info,
    /// One odd value for each series.
    Odd,
    /// A gauge that pauses, goes stale, and is sampled off beat.
    Gappy,
    /// A gauge that begins late or ends early.
    Partial,
    /// Cumulative buckets.
    Buckets,
    /// Buckets that are no histogram: falling counts, missing bounds, a bound that is no number.
    BrokenBuckets,
    /// A native histogram of integers, with resets and changes of schema.
    Native,
    /// A native histogram of floats, a gauge in some series.
    NativeFloat,
    /// A native histogram with custom bounds, which change in some series.
    NativeCustom,
    /// Floats and native histograms in turn.
    Mixed,
}

/// A metric and the values of its labels; an empty value is the label's absence.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The metric's name.
    pub name: &'static str,
    /// How its values run.
    pub shape: Shape,
    /// Each label with its values; there is a series for every combination.
    pub labels: &'static [(&'static str, &'static [&'static str])],
}

const JOB: (&str, &[&str]) = ("job", &["api", "web"]);
const INSTANCE: (&str, &[&str]) = ("instance", &["a:1", "b:1", "c:1"]);
/// The bounds of classic histograms.
pub const LE: (&str, &[&str]) = ("le", &["0.1", "0.25", "0.5", "1", "2.5", "+Inf"]);

const fn family(
    name: &'static str,
    shape: Shape,
    labels: &'static [(&'static str, &'static [&'static str])],
) -> Family {
    Family {
        name,
        shape,
        labels,
    }
}

/// All families, by name.
pub const FAMILIES: &[Family] = &[
    family(
        "broken_bucket",
        Shape::BrokenBuckets,
        &[
            JOB,
            ("kind", &["falling", "gone", "no-inf", "no-number"]),
            LE,
        ],
    ),
    family("build_info", Shape::Info, &[JOB, INSTANCE]),
    family(
        "errors_total",
        Shape::Counter,
        &[JOB, INSTANCE, ("code", &["404", "500"])],
    ),
    family("flapping", Shape::Gappy, &[JOB, INSTANCE]),
    family(
        "latency_seconds_bucket",
        Shape::Buckets,
        &[JOB, INSTANCE, LE],
    ),
    family("latency_seconds_count", Shape::Counter, &[JOB, INSTANCE]),
    family("latency_seconds_sum", Shape::Counter, &[JOB, INSTANCE]),
    family(
        "level",
        Shape::Gauge,
        &[JOB, INSTANCE, ("shard", &["0", "1", "2"])],
    ),
    family("native_custom", Shape::NativeCustom, &[JOB, INSTANCE]),
    family("native_float", Shape::NativeFloat, &[JOB, INSTANCE]),
    family("native_mixed", Shape::Mixed, &[JOB, ("kind", &["a", "b"])]),
    family("native_seconds", Shape::Native, &[JOB, INSTANCE]),
    family(
        "odd",
        Shape::Odd,
        &[(
            "kind",
            &[
                "denormal",
                "huge",
                "inf",
                "large",
                "minus-inf",
                "minus-zero",
                "nan",
                "negative",
                "tiny",
                "zero",
            ],
        )],
    ),
    family("partial", Shape::Partial, &[JOB, INSTANCE]),
    family(
        "requests_total",
        Shape::Counter,
        &[
            JOB,
            INSTANCE,
            ("code", &["200", "404", "500"]),
            ("method", &["GET", "PUT"]),
        ],
    ),
    family(
        "sparse",
        Shape::Gauge,
        &[("a", &["", "x", "y"]), ("b", &["", "p", "q"]), JOB],
    ),
    family(
        "target_info",
        Shape::Info,
        &[JOB, INSTANCE, ("region", &["north"])],
    ),
    family("temperature", Shape::Gauge, &[JOB, INSTANCE]),
    family(
        "température.extérieure",
        Shape::Gauge,
        &[
            JOB,
            ("ville.nom", &["Zürich", "東京"]),
            ("service/name", &["", "météo \"x\""]),
        ],
    ),
];

/// Every label name of the dataset, and some that it has not.
pub const LABEL_NAMES: &[&str] = &[
    "job",
    "job",
    "job",
    "instance",
    "instance",
    "instance",
    "code",
    "method",
    "le",
    "kind",
    "shard",
    "a",
    "b",
    "version",
    "region",
    "ville.nom",
    "service/name",
    "missing",
    "__name__",
];

/// The regular spacing of samples.
pub const STEP_MS: i64 = 15_000;
/// How long the data lasts.
pub const LENGTH_MS: i64 = 45 * 60_000;
/// When it begins: 2024-01-01T00:00:00Z, for every seed, so that expressions with times in them say the same.
pub const BEGIN_MS: i64 = 1_704_067_200_000;

impl Family {
    /// The label sets of its series, without the name, in the order of the table.
    #[must_use]
    pub fn label_sets(&self) -> Vec<Vec<(&'static str, &'static str)>> {
        let mut sets = vec![Vec::new()];
        for (label, values) in self.labels {
            sets = sets
                .iter()
                .flat_map(|set| {
                    values.iter().map(|value| {
                        let mut set: Vec<_> = set.clone();
                        if !value.is_empty() {
                            set.push((*label, *value));
                        }
                        set
                    })
                })
                .collect();
        }
        sets
    }
}
