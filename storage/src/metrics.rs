//! Metrics: the head, its blocks, and what a query sees of both.
//!
//! ```text
//!  append ─▶ head ─ key bytes ─▶ series ─▶ chunks
//!             │ write_block
//!             ▼
//!           block: series.parquet, samples.parquet, histograms.parquet
//!  select ─▶ view of heads and blocks ─▶ one label set once ─▶ read::Series
//! ```

mod append;
mod block;
mod carried;
mod head;
mod late;
mod runs;
mod select;
mod series;
#[cfg(test)]
mod tests;
mod walk;

pub(crate) use append::{NewSeries, append, append_in_order, append_whole, find_ahead, replay};
pub(crate) use block::{block_index, index_bytes, read_index_ahead, samples_page, some_series};
pub(crate) use head::MetricsHead;
pub(crate) use select::{
    exemplars, label_names, label_values, metadata, select_series, series_labels,
};
