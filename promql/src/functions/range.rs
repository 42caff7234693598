//! The functions over ranges, by their names.

use super::rate::Change;
use super::window::{Remarks, Value, Window, float};
use super::{Func, changes, over_time, rate, trend};

/// Applies a function to a window that holds at least one sample. Functions without a range yield nothing.
///
/// # Errors
/// Where a parameter is out of its bounds.
pub(crate) fn call(
    func: Func,
    params: &[f64],
    w: &Window<'_>,
    remarks: &mut Remarks<'_>,
) -> Result<Value, String> {
    let param = |i: usize| params.get(i).copied().unwrap_or(f64::NAN);
    if let Some(kind) = change_of(func) {
        return Ok(rate::change(kind, w, remarks));
    }
    Ok(match func {
        Func::Irate => rate::instant(true, w, remarks),
        Func::Idelta => rate::instant(false, w, remarks),
        Func::Resets => changes::resets(w),
        Func::Changes => changes::changes(w),
        Func::SumOverTime => over_time::sum(false, w, remarks),
        Func::AvgOverTime => over_time::sum(true, w, remarks),
        Func::CountOverTime => over_time::count(w),
        Func::FirstOverTime => over_time::end(false, w),
        Func::LastOverTime => over_time::end(true, w),
        Func::TsOfFirstOverTime => over_time::time_of_end(false, w),
        Func::TsOfLastOverTime => over_time::time_of_end(true, w),
        Func::MaxOverTime => over_time::extreme(true, false, w, remarks),
        Func::MinOverTime => over_time::extreme(false, false, w, remarks),
        Func::TsOfMaxOverTime => over_time::extreme(true, true, w, remarks),
        Func::TsOfMinOverTime => over_time::extreme(false, true, w, remarks),
        Func::QuantileOverTime => over_time::quantile(param(0), w, remarks),
        Func::MadOverTime => over_time::median_deviation(w, remarks),
        Func::StddevOverTime => over_time::spread(true, w, remarks),
        Func::StdvarOverTime => over_time::spread(false, w, remarks),
        Func::PresentOverTime | Func::AbsentOverTime => float(1.0),
        Func::Deriv => trend::deriv(w, remarks),
        Func::PredictLinear => trend::predict_linear(param(0), w, remarks),
        Func::DoubleExponentialSmoothing => {
            trend::double_exponential_smoothing(param(0), param(1), w, remarks)?
        }
        _ => None,
    })
}

/// What kind of change a function tells.
pub(crate) const fn change_of(func: Func) -> Option<Change> {
    let (counter, per_second) = match func {
        Func::Rate => (true, true),
        Func::Increase => (true, false),
        Func::Delta => (false, false),
        _ => return None,
    };
    Some(Change {
        counter,
        per_second,
    })
}

/// What an `anchored` (or `smoothed`) range may be given to.
///
/// # Errors
/// The upstream's words, for every other function.
pub(crate) fn check_modifier(func: Func, anchored: bool, smoothed: bool) -> Result<(), String> {
    let (word, allowed): (&str, &[Func]) = if anchored {
        let allowed = &[
            Func::Changes,
            Func::Delta,
            Func::Increase,
            Func::Rate,
            Func::Resets,
        ];
        ("anchored", allowed)
    } else if smoothed {
        ("smoothed", &[Func::Delta, Func::Increase, Func::Rate])
    } else {
        return Ok(());
    };
    if allowed.contains(&func) {
        return Ok(());
    }
    let names: Vec<_> = allowed.iter().map(|f| f.name()).collect();
    Err(format!(
        "{word} modifier can only be used with: {} - not with {}",
        names.join(", "),
        func.name()
    ))
}
