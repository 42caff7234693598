use super::*;

fn h(schema: i32, zero: (f64, f64), positive: &[(i32, f64)]) -> FloatHistogram {
    let mut h = FloatHistogram::empty(schema, Arc::from([]));
    (h.zero_threshold, h.zero_count) = zero;
    h.positive = positive.to_vec();
    h.count = zero.1 + positive.iter().map(|(_, n)| n).sum::<f64>();
    h.sum = 1.0;
    h
}

#[test]
fn adding_reduces_to_the_coarser_resolution() {
    let mut a = h(1, (0.0, 0.0), &[(1, 1.0), (2, 2.0), (3, 3.0)]);
    a.add(&h(0, (0.0, 0.0), &[(1, 10.0)])).unwrap();
    assert_eq!(a.schema, 0);
    assert_eq!(a.positive, [(1, 13.0), (2, 3.0)]);
    assert_eq!(a.count, 16.0);
}

#[test]
fn a_wider_zero_bucket_swallows_buckets() {
    let mut a = h(0, (0.001, 1.0), &[(-1, 2.0), (0, 4.0), (1, 8.0)]);
    a.add(&h(0, (0.75, 1.0), &[(1, 1.0)])).unwrap();
    assert_eq!((a.zero_threshold, a.zero_count), (1.0, 8.0));
    assert_eq!(a.positive, [(1, 9.0)]);
}

#[test]
fn exponential_and_custom_buckets_do_not_mix() {
    let mut a = h(0, (0.0, 0.0), &[]);
    let b = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, Arc::from([1.0]));
    assert_eq!(a.add(&b), Err(IncompatibleBuckets));
}

#[test]
fn different_custom_bounds_are_cut_to_the_common_ones() {
    let custom = |bounds: &[f64], positive: &[(i32, f64)]| {
        let mut h = FloatHistogram::empty(CUSTOM_BUCKETS_SCHEMA, Arc::from(bounds));
        h.positive = positive.to_vec();
        h
    };
    let mut a = custom(&[1.0, 5.0, 10.0], &[(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]);
    let combined = a.add(&custom(&[5.0, 20.0], &[(0, 1.0), (1, 1.0), (2, 1.0)]));
    assert!(combined.unwrap().bounds_reconciled);
    assert_eq!(&*a.custom_values, [5.0]);
    assert_eq!(a.positive, [(0, 4.0), (1, 9.0)]);
}

#[test]
fn a_shrinking_bucket_is_a_reset() {
    let before = h(0, (0.0, 0.0), &[(0, 1.0), (1, 2.0)]);
    let now = h(0, (0.0, 0.0), &[(0, 0.5), (1, 5.0)]);
    assert!(now.is_reset_after(&before));
    assert!(!before.is_reset_after(&before));
    let merged = h(-1, (0.0, 0.0), &[(0, 1.0), (1, 2.0)]);
    assert!(!merged.is_reset_after(&before));
}

#[test]
fn quantiles_interpolate_within_exponential_buckets() {
    let a = h(0, (0.0, 0.0), &[(1, 4.0)]);
    let (median, note) = a.quantile(0.5);
    assert!((median - 2_f64.sqrt()).abs() < 1e-12);
    assert_eq!(note, None);
    assert_eq!(a.fraction(0.0, 3.0).0, 1.0);
}

#[test]
fn a_sum_loses_nothing_of_finer_histograms_either() {
    let mut sum = HistogramSum::start(&h(0, (0.0, 0.0), &[(1, 1.0)]));
    let finer = h(2, (0.0, 0.0), &[(1, 1e16), (2, 1.0), (3, -1e16)]);
    sum.add(&finer).unwrap();
    assert_eq!(sum.finish().positive, [(1, 2.0)]);
    let mut wide = HistogramSum::start(&h(2, (1.5, 1.0), &[]));
    wide.add(&finer).unwrap();
    assert_eq!(wide.finish().zero_count, 2.0);
}

#[test]
fn text_lists_what_holds_something() {
    let a = h(0, (0.001, 1.0), &[(0, 0.0), (1, 2.0)]);
    assert_eq!(a.to_string(), "{count:3, sum:1, [-0.001,0.001]:1, (1,2]:2}");
}

#[test]
fn bounds_between_powers_of_two_are_those_of_upstreams_table() {
    // As a genuine server shows them: the nearest floats to the powers would end in 03, 45, 12 and 29.
    for (index, schema, bound) in [
        (3, 1, 2.828_427_124_746_19),
        (-1, 2, 0.840_896_415_253_714_4),
        (-1, 3, 0.917_004_043_204_671_1),
        (6, 3, 1.681_792_830_507_428_8),
        (1, 8, 1.002_711_275_050_202_5),
    ] {
        assert_eq!(bounds::exponential_bound(index, schema), bound);
    }
}

#[test]
fn bounds_of_every_schema_meet_at_powers_of_two() {
    for schema in -4..=8 {
        let index = if schema >= 0 { 1 << schema } else { 1 };
        let power: i32 = if schema >= 0 { 1 } else { 1 << -schema };
        assert_eq!(bounds::exponential_bound(index, schema), 2_f64.powi(power));
    }
    assert_eq!(bounds::exponential_bound(1024, 0), f64::MAX);
    assert_eq!(bounds::exponential_bound(2000, 0), f64::INFINITY);
    assert_eq!(bounds::exponential_bound(-1074, 0), 5e-324);
}
