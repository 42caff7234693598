use super::*;

#[test]
fn scrapes_that_are_a_little_late_count_as_in_time() {
    let second = Duration::from_secs(1);
    let mut aligned = None;
    let mut at = |now_ms| align(now_ms, second, &mut aligned);
    assert_eq!(at(1000), 1000);
    assert_eq!(at(2002), 2000);
    assert_eq!(at(3003), 3003);
    assert_eq!(at(4001), 4000);
    // A tick was left out.
    assert_eq!(at(7002), 7000);
    // The clock was set back, and goes on from there.
    assert_eq!(at(500), 500);
    assert_eq!(at(1501), 1500);
    let mut aligned = None;
    let mut short = |now_ms| align(now_ms, Duration::from_millis(50), &mut aligned);
    assert_eq!(short(1000), 1000);
    assert_eq!(short(1051), 1051);
}

#[test]
fn the_content_type_names_the_format_and_the_job_may_help() {
    let format = |text: &str| format_of(text, None);
    assert_eq!(format("text/plain; version=0.0.4"), Ok(Format::Text));
    assert_eq!(format("TEXT/Plain"), Ok(Format::Text));
    assert_eq!(
        format("application/openmetrics-text; version=1.0.0; charset=utf-8"),
        Ok(Format::OpenMetrics)
    );
    assert_eq!(
        format(""),
        Err("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target".to_owned())
    );
    assert_eq!(
        format("text/html"),
        Err("received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target".to_owned())
    );
    let text = Some(ScrapeProtocol::PrometheusText0_0_4);
    assert_eq!(format_of("text/html", text), Ok(Format::Text));
    assert_eq!(format_of("", text), Ok(Format::Text));
    let open = Some(ScrapeProtocol::OpenMetricsText1_0_0);
    assert_eq!(format_of("text/plain", open), Ok(Format::Text));
    assert_eq!(format_of("x", open), Ok(Format::OpenMetrics));
}
