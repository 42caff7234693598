use super::*;
use crate::parser::parse;

#[test]
fn log_selects_carry_what_lines_must_contain() {
    let params = Params {
        instant: false,
        start_ns: 10,
        end_ns: 20,
        ..Params::default()
    };
    let query = r#"{a="b"} |= "x" != "y" | json |= "z" | line_format "q" |= "w""#;
    let plan = Plan::new(parse(query).unwrap(), params).unwrap();
    let selects = plan.selects();
    assert_eq!(selects[0].needles, ["x", "z"]);
    assert_eq!(selects[0].range, NsRange::new(10, 20));
}

#[test]
fn metric_selects_reach_back_by_range_and_offset() {
    let params = Params {
        end_ns: 100_000_000_000,
        ..Params::default()
    };
    let plan = Plan::new(parse(r#"rate({a="b"}[10s] offset 5s)"#).unwrap(), params).unwrap();
    assert_eq!(
        plan.selects()[0].range,
        NsRange::new(85_000_000_001, 95_000_000_001)
    );
}

#[test]
fn log_queries_are_no_instant_queries() {
    let plan = Plan::new(parse(r#"{a="b"}"#).unwrap(), Params::default());
    assert!(matches!(plan, Err(Error::LogInstant)));
}
