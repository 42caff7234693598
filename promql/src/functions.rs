//! The table of functions: name, arguments, result. The parser checks calls against it, the evaluator keys its
//! implementations by [`Func`].

pub(crate) mod changes;
pub(crate) mod classic;
pub(crate) mod extended;
pub(crate) mod math;
pub(crate) mod over_time;
pub(crate) mod range;
pub(crate) mod rate;
pub(crate) mod time;
pub(crate) mod trend;
pub(crate) mod window;

use crate::ast::ValueType::{self, Matrix, Scalar, String, Vector};

/// What a function takes and returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The function.
    pub func: Func,
    /// Name as written in a query.
    pub name: &'static str,
    /// Types of the arguments; where `variadic` is not 0, the last stands for the optional ones.
    pub args: &'static [ValueType],
    /// 0: exactly `args.len()` arguments. n > 0: the last of `args` may be left out, or come up to n times.
    /// -1: the last of `args` may come any number of times, or not at all.
    pub variadic: i8,
    /// Type of the result.
    pub returns: ValueType,
    /// Whether it must be enabled.
    pub experimental: bool,
}

impl Signature {
    /// The least number of arguments.
    #[must_use]
    pub const fn min_args(&self) -> usize {
        if self.variadic == 0 {
            self.args.len()
        } else {
            self.args.len() - 1
        }
    }

    /// The largest number of arguments, if there is one.
    #[must_use]
    pub const fn max_args(&self) -> Option<usize> {
        match self.variadic {
            0 => Some(self.args.len()),
            n if n > 0 => Some(self.args.len() - 1 + n as usize),
            _ => None,
        }
    }

    /// Type of the argument number `index`, counted from 0.
    #[must_use]
    pub fn arg(&self, index: usize) -> Option<ValueType> {
        self.args.get(index).or_else(|| self.args.last()).copied()
    }
}

macro_rules! functions {
    ($($variant:ident $name:literal ($($arg:ident),*) $variadic:literal => $returns:ident $($experimental:ident)?;)*) => {
        /// A function of PromQL; [`Func::signature`] tells the rest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum Func { $($variant),* }

        /// All functions of Prometheus 3.14, sorted by name.
        pub static FUNCTIONS: &[Signature] = &[$(Signature {
            func: Func::$variant,
            name: $name,
            args: &[$($arg),*],
            variadic: $variadic,
            returns: $returns,
            experimental: functions!(@flag $($experimental)?),
        }),*];
    };
    (@flag experimental) => { true };
    (@flag) => { false };
}

functions! {
    Abs "abs" (Vector) 0 => Vector;
    Absent "absent" (Vector) 0 => Vector;
    AbsentOverTime "absent_over_time" (Matrix) 0 => Vector;
    Acos "acos" (Vector) 0 => Vector;
    Acosh "acosh" (Vector) 0 => Vector;
    Asin "asin" (Vector) 0 => Vector;
    Asinh "asinh" (Vector) 0 => Vector;
    Atan "atan" (Vector) 0 => Vector;
    Atanh "atanh" (Vector) 0 => Vector;
    AvgOverTime "avg_over_time" (Matrix) 0 => Vector;
    Ceil "ceil" (Vector) 0 => Vector;
    Changes "changes" (Matrix) 0 => Vector;
    Clamp "clamp" (Vector, Scalar, Scalar) 0 => Vector;
    ClampMax "clamp_max" (Vector, Scalar) 0 => Vector;
    ClampMin "clamp_min" (Vector, Scalar) 0 => Vector;
    Cos "cos" (Vector) 0 => Vector;
    Cosh "cosh" (Vector) 0 => Vector;
    CountOverTime "count_over_time" (Matrix) 0 => Vector;
    DayOfMonth "day_of_month" (Vector) 1 => Vector;
    DayOfWeek "day_of_week" (Vector) 1 => Vector;
    DayOfYear "day_of_year" (Vector) 1 => Vector;
    DaysInMonth "days_in_month" (Vector) 1 => Vector;
    Deg "deg" (Vector) 0 => Vector;
    Delta "delta" (Matrix) 0 => Vector;
    Deriv "deriv" (Matrix) 0 => Vector;
    DoubleExponentialSmoothing "double_exponential_smoothing" (Matrix, Scalar, Scalar) 0 => Vector experimental;
    End "end" () 0 => Scalar experimental;
    Exp "exp" (Vector) 0 => Vector;
    FirstOverTime "first_over_time" (Matrix) 0 => Vector;
    Floor "floor" (Vector) 0 => Vector;
    HistogramAvg "histogram_avg" (Vector) 0 => Vector;
    HistogramCount "histogram_count" (Vector) 0 => Vector;
    HistogramFraction "histogram_fraction" (Scalar, Scalar, Vector) 0 => Vector;
    HistogramQuantile "histogram_quantile" (Scalar, Vector) 0 => Vector;
    HistogramQuantiles "histogram_quantiles" (Vector, String, Scalar, Scalar) 9 => Vector experimental;
    HistogramStddev "histogram_stddev" (Vector) 0 => Vector;
    HistogramStdvar "histogram_stdvar" (Vector) 0 => Vector;
    HistogramSum "histogram_sum" (Vector) 0 => Vector;
    Hour "hour" (Vector) 1 => Vector;
    Idelta "idelta" (Matrix) 0 => Vector;
    Increase "increase" (Matrix) 0 => Vector;
    Info "info" (Vector, Vector) 1 => Vector experimental;
    Irate "irate" (Matrix) 0 => Vector;
    LabelJoin "label_join" (Vector, String, String, String) -1 => Vector;
    LabelReplace "label_replace" (Vector, String, String, String, String) 0 => Vector;
    LastOverTime "last_over_time" (Matrix) 0 => Vector;
    Ln "ln" (Vector) 0 => Vector;
    Log10 "log10" (Vector) 0 => Vector;
    Log2 "log2" (Vector) 0 => Vector;
    MadOverTime "mad_over_time" (Matrix) 0 => Vector experimental;
    MaxOf "max_of" (Scalar, Scalar) 0 => Scalar experimental;
    MaxOverTime "max_over_time" (Matrix) 0 => Vector;
    MinOf "min_of" (Scalar, Scalar) 0 => Scalar experimental;
    MinOverTime "min_over_time" (Matrix) 0 => Vector;
    Minute "minute" (Vector) 1 => Vector;
    Month "month" (Vector) 1 => Vector;
    Pi "pi" () 0 => Scalar;
    PredictLinear "predict_linear" (Matrix, Scalar) 0 => Vector;
    PresentOverTime "present_over_time" (Matrix) 0 => Vector;
    QuantileOverTime "quantile_over_time" (Scalar, Matrix) 0 => Vector;
    Rad "rad" (Vector) 0 => Vector;
    Range "range" () 0 => Scalar experimental;
    Rate "rate" (Matrix) 0 => Vector;
    Resets "resets" (Matrix) 0 => Vector;
    Round "round" (Vector, Scalar) 1 => Vector;
    ScalarOf "scalar" (Vector) 0 => Scalar;
    Sgn "sgn" (Vector) 0 => Vector;
    Sin "sin" (Vector) 0 => Vector;
    Sinh "sinh" (Vector) 0 => Vector;
    Sort "sort" (Vector) 0 => Vector;
    SortByLabel "sort_by_label" (Vector, String) -1 => Vector experimental;
    SortByLabelDesc "sort_by_label_desc" (Vector, String) -1 => Vector experimental;
    SortDesc "sort_desc" (Vector) 0 => Vector;
    Sqrt "sqrt" (Vector) 0 => Vector;
    Start "start" () 0 => Scalar experimental;
    StartTimestamp "start_timestamp" (Vector) 0 => Vector experimental;
    StddevOverTime "stddev_over_time" (Matrix) 0 => Vector;
    StdvarOverTime "stdvar_over_time" (Matrix) 0 => Vector;
    Step "step" () 0 => Scalar experimental;
    SumOverTime "sum_over_time" (Matrix) 0 => Vector;
    Tan "tan" (Vector) 0 => Vector;
    Tanh "tanh" (Vector) 0 => Vector;
    Time "time" () 0 => Scalar;
    Timestamp "timestamp" (Vector) 0 => Vector;
    TsOfFirstOverTime "ts_of_first_over_time" (Matrix) 0 => Vector experimental;
    TsOfLastOverTime "ts_of_last_over_time" (Matrix) 0 => Vector experimental;
    TsOfMaxOverTime "ts_of_max_over_time" (Matrix) 0 => Vector experimental;
    TsOfMinOverTime "ts_of_min_over_time" (Matrix) 0 => Vector experimental;
    VectorOf "vector" (Scalar) 0 => Vector;
    Year "year" (Vector) 1 => Vector;
}

impl Func {
    /// What it takes and returns.
    #[must_use]
    pub fn signature(self) -> &'static Signature {
        &FUNCTIONS[self as usize]
    }

    /// Name as written in a query.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.signature().name
    }

    /// The function of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let at = FUNCTIONS
            .binary_search_by(|signature| signature.name.cmp(name))
            .ok()?;
        Some(FUNCTIONS[at].func)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_is_found_by_its_name_and_by_its_variant() {
        for signature in FUNCTIONS {
            assert_eq!(Func::from_name(signature.name), Some(signature.func));
            assert_eq!(signature.func.signature().name, signature.name);
        }
        assert_eq!(Func::from_name("holt_winters"), None);
    }

    #[test]
    fn variadic_functions_tell_their_bounds() {
        let bounds = |func: Func| (func.signature().min_args(), func.signature().max_args());
        assert_eq!(bounds(Func::Rate), (1, Some(1)));
        assert_eq!(bounds(Func::Round), (1, Some(2)));
        assert_eq!(bounds(Func::LabelJoin), (3, None));
        assert_eq!(bounds(Func::HistogramQuantiles), (3, Some(12)));
    }
}
