//! Trilobite: one process that stands in for Prometheus, Loki and Jaeger.
fn main() {}
