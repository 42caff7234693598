//! The syntax tree as plain data. Each node prints itself as canonical text (`printer`), and that
//! text parses to the same tree.

use storage::model::Matcher;

use crate::labels::LabelSet;

/// A query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Log lines.
    Log(LogExpr),
    /// A function over the lines of a range of time.
    Range(Box<RangeExpr>),
    /// An aggregation over series.
    Aggregate(Box<AggregateExpr>),
    /// An operator between two queries.
    Binary(Box<BinaryExpr>),
    /// `label_replace(..)`.
    LabelReplace(Box<LabelReplaceExpr>),
    /// `vector(1)`.
    Vector(f64),
    /// A number.
    Literal(f64),
    /// `variants(a, b) of (range)`.
    Variants(Box<VariantsExpr>),
}

/// A selector and the stages behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    /// At least one does not match the empty value, but for [`crate::parse_matchers`].
    pub matchers: Vec<Matcher>,
    /// In order.
    pub stages: Vec<StageExpr>,
}

/// One stage of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum StageExpr {
    /// A run of line filters.
    LineFilters(Vec<LineFilter>),
    /// `json`, with the labels it is limited to.
    Json(Vec<Extract>),
    /// `logfmt`.
    Logfmt {
        /// `--strict`: a broken pair is an error.
        strict: bool,
        /// `--keep-empty`: empty values make labels.
        keep_empty: bool,
        /// The labels it is limited to.
        extract: Vec<Extract>,
    },
    /// `regexp "..."`.
    Regexp(String),
    /// `pattern "..."`.
    Pattern(String),
    /// `unpack`.
    Unpack,
    /// A condition on labels.
    LabelFilter(LabelFilter),
    /// `line_format "..."`.
    LineFormat(String),
    /// `label_format a=b, c="..."`.
    LabelFormat(Vec<(String, FormatSource)>),
    /// `decolorize`.
    Decolorize,
    /// `drop a, b="c"`.
    Drop(Vec<LabelSelect>),
    /// `keep a, b="c"`.
    Keep(Vec<LabelSelect>),
}

/// `label="expression"` of a parser; `label` alone is `label="label"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extract {
    /// Label that is made.
    pub label: String,
    /// Where its value lies.
    pub expression: String,
}

/// Where a formatted label takes its value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatSource {
    /// Another label, which goes.
    Rename(String),
    /// A template.
    Template(String),
}

/// What `drop` and `keep` name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelSelect {
    /// A label.
    Name(String),
    /// A label of a certain value.
    Matcher(Matcher),
}

/// How a line is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

impl LineOp {
    /// Its text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "|=",
            Self::NotContains => "!=",
            Self::Regex => "|~",
            Self::NotRegex => "!~",
            Self::Pattern => "|>",
            Self::NotPattern => "!>",
        }
    }

    /// Whether what matches is left out.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        matches!(self, Self::NotContains | Self::NotRegex | Self::NotPattern)
    }
}

/// What a line filter looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needle {
    /// Text, pattern, or range of addresses.
    pub text: String,
    /// `ip("...")`.
    pub ip: bool,
}

/// `|= "a" or "b"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    /// The operator.
    pub op: LineOp,
    /// At least one; any of them.
    pub any_of: Vec<Needle>,
}

/// How a label is compared with a number, a duration or a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareOp {
    /// `==` or `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
}

impl CompareOp {
    /// Its text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
        }
    }

    /// Whether `left op right` holds.
    pub fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
        }
    }
}

/// A condition on labels.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// `a="b"`, `a=~"b"`.
    Text(Matcher),
    /// `a>1`.
    Number(String, CompareOp, f64),
    /// `a>1s`, in nanoseconds.
    Duration(String, CompareOp, i64),
    /// `a>1KB`.
    Bytes(String, CompareOp, u64),
    /// `a=ip("10.0.0.0/8")`; true for `=`.
    Ip(String, bool, String),
    /// Both.
    And(Box<Self>, Box<Self>),
    /// Either.
    Or(Box<Self>, Box<Self>),
}

/// How an unwrapped label becomes a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// As a number.
    Number,
    /// `bytes(x)`.
    Bytes,
    /// `duration(x)`, in seconds.
    Duration,
    /// `duration_seconds(x)`, the same.
    DurationSeconds,
}

/// `unwrap x | filters`.
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    /// The label.
    pub label: String,
    /// Its conversion.
    pub conversion: Conversion,
    /// Filters behind it.
    pub filters: Vec<LabelFilter>,
}

/// Lines of a range of time.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRange {
    /// Which lines.
    pub log: LogExpr,
    /// The label that holds each line's value.
    pub unwrap: Option<Unwrap>,
    /// Length in nanoseconds.
    pub range_ns: i64,
    /// How far back, in nanoseconds.
    pub offset_ns: i64,
}

/// `by (..)` or `without (..)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// Whether the labels are those that go.
    pub without: bool,
    /// The labels as written.
    pub labels: Vec<String>,
}

/// Functions over a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeOp {
    /// Lines a second; of unwrapped values their sum a second.
    Rate,
    /// Increase of a counter a second.
    RateCounter,
    /// Number of lines.
    Count,
    /// Bytes of lines a second.
    BytesRate,
    /// Bytes of lines.
    Bytes,
    /// 1 where there is no line.
    Absent,
    /// Sum.
    Sum,
    /// Mean.
    Avg,
    /// Greatest.
    Max,
    /// Least.
    Min,
    /// Standard deviation.
    Stddev,
    /// Variance.
    Stdvar,
    /// Quantile.
    Quantile,
    /// Oldest.
    First,
    /// Newest.
    Last,
}

impl RangeOp {
    /// All of them with their names.
    pub const TABLE: [(&'static str, Self); 15] = [
        ("rate", Self::Rate),
        ("rate_counter", Self::RateCounter),
        ("count_over_time", Self::Count),
        ("bytes_rate", Self::BytesRate),
        ("bytes_over_time", Self::Bytes),
        ("absent_over_time", Self::Absent),
        ("sum_over_time", Self::Sum),
        ("avg_over_time", Self::Avg),
        ("max_over_time", Self::Max),
        ("min_over_time", Self::Min),
        ("stddev_over_time", Self::Stddev),
        ("stdvar_over_time", Self::Stdvar),
        ("quantile_over_time", Self::Quantile),
        ("first_over_time", Self::First),
        ("last_over_time", Self::Last),
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::TABLE
            .iter()
            .find(|(_, op)| *op == self)
            .map_or("", |(name, _)| name)
    }
}

/// `rate({..}[5m])`.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeExpr {
    /// The function.
    pub op: RangeOp,
    /// Parameter of `quantile_over_time`.
    pub param: Option<f64>,
    /// Its argument.
    pub range: LogRange,
    /// Grouping, where it is allowed.
    pub grouping: Option<Grouping>,
}

/// Aggregations over series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AggregateOp {
    /// Sum.
    Sum,
    /// Mean.
    Avg,
    /// Least.
    Min,
    /// Greatest.
    Max,
    /// Number of series.
    Count,
    /// Standard deviation.
    Stddev,
    /// Variance.
    Stdvar,
    /// The greatest.
    Topk,
    /// The least.
    Bottomk,
    /// The greatest, roughly.
    ApproxTopk,
    /// Ascending.
    Sort,
    /// Descending.
    SortDesc,
}

impl AggregateOp {
    /// All of them with their names.
    pub const TABLE: [(&'static str, Self); 12] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("min", Self::Min),
        ("max", Self::Max),
        ("count", Self::Count),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("approx_topk", Self::ApproxTopk),
        ("sort", Self::Sort),
        ("sort_desc", Self::SortDesc),
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::TABLE
            .iter()
            .find(|(_, op)| *op == self)
            .map_or("", |(name, _)| name)
    }
}

/// `sum by (a) (..)`.
#[derive(Clone, Debug, PartialEq)]
pub struct AggregateExpr {
    /// The aggregation.
    pub op: AggregateOp,
    /// How many, for `topk`, `bottomk` and `approx_topk`.
    pub param: Option<usize>,
    /// Grouping; `by ()` is none.
    pub grouping: Option<Grouping>,
    /// Its argument.
    pub inner: Expr,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `or`
    Or,
    /// `and`
    And,
    /// `unless`
    Unless,
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// A comparison.
    Compare(CompareOp),
}

impl BinaryOp {
    /// Its text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Or => "or",
            Self::And => "and",
            Self::Unless => "unless",
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Compare(op) => op.as_str(),
        }
    }

    /// Whether it works on sets of series.
    #[must_use]
    pub const fn is_set(self) -> bool {
        matches!(self, Self::Or | Self::And | Self::Unless)
    }

    /// How tightly it binds.
    #[must_use]
    pub const fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Compare(_) => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod => 5,
            Self::Pow => 6,
        }
    }
}

/// Which side may have several series for one of the other's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cardinality {
    /// Neither.
    OneToOne,
    /// `group_left`.
    ManyToOne,
    /// `group_right`.
    OneToMany,
}

/// `on (a) group_left (b)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matching {
    /// `on`, else `ignoring`.
    pub on: bool,
    /// Labels to match by.
    pub labels: Vec<String>,
    /// Grouping.
    pub cardinality: Cardinality,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
}

/// `a + b`.
#[derive(Clone, Debug, PartialEq)]
pub struct BinaryExpr {
    /// The operator.
    pub op: BinaryOp,
    /// `bool`.
    pub return_bool: bool,
    /// Matching, where it is written.
    pub matching: Option<Matching>,
    /// Left side.
    pub left: Expr,
    /// Right side.
    pub right: Expr,
}

/// `label_replace(v, dst, replacement, src, regex)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelReplaceText {
    /// Label that is set.
    pub dst: String,
    /// Its new value.
    pub replacement: String,
    /// Label that is looked at.
    pub src: String,
    /// The pattern, anchored.
    pub regex: String,
}

/// `label_replace(..)`.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplaceExpr {
    /// The series.
    pub inner: Expr,
    /// The texts.
    pub text: LabelReplaceText,
}

/// `variants(..) of (..)`.
#[derive(Clone, Debug, PartialEq)]
pub struct VariantsExpr {
    /// The queries, in order.
    pub variants: Vec<Expr>,
    /// The range that they share.
    pub of: LogRange,
}

impl Expr {
    /// Whether the answer is log lines.
    #[must_use]
    pub const fn is_log(&self) -> bool {
        matches!(self, Self::Log(_))
    }

    /// The longest range plus offset in nanoseconds that the query reads before its start.
    #[must_use]
    pub fn longest_range_ns(&self) -> i64 {
        match self {
            Self::Log(_) | Self::Vector(_) | Self::Literal(_) => 0,
            Self::Range(e) => e.range.range_ns,
            Self::Aggregate(e) => e.inner.longest_range_ns(),
            Self::Binary(e) => e.left.longest_range_ns().max(e.right.longest_range_ns()),
            Self::LabelReplace(e) => e.inner.longest_range_ns(),
            Self::Variants(e) => e.of.range_ns,
        }
    }
}

impl Grouping {
    /// The labels of a group that a series belongs to.
    #[must_use]
    pub fn key(&self, labels: &LabelSet) -> LabelSet {
        labels
            .iter()
            .filter(|(name, value)| {
                !value.is_empty() && self.labels.iter().any(|l| l == name) != self.without
            })
            .collect()
    }
}
