//! Doors for the benches of this crate: inner parts without the machinery around them. Not for use by anything else.

use std::sync::Arc;

use crate::budget::Budget;
use crate::error::Result;
use crate::metrics::{self, MetricsHead};
use crate::model::{MetricBatch, Tenant};
use crate::read::SeriesSelect;
use crate::signal::{Head, HeadOptions, View};
use crate::storage::SeriesSet;

/// A metrics head without log and blocks.
pub struct BareMetricsHead {
    view: Arc<View<MetricsHead>>,
    budget: Arc<Budget>,
    tenant: Tenant,
}

impl Default for BareMetricsHead {
    fn default() -> Self {
        let options = HeadOptions {
            out_of_order_window_ms: None,
            max_exemplars: 0,
        };
        Self {
            view: Arc::new(View {
                active: Arc::new(MetricsHead::new(options, None)),
                frozen: Vec::new(),
                blocks: Vec::new(),
                tombstones: Arc::default(),
            }),
            budget: Budget::new(8 << 30),
            tenant: Tenant::anonymous(),
        }
    }
}

impl BareMetricsHead {
    /// Appends a batch; the number of samples taken.
    pub fn append(&self, batch: &MetricBatch<'_>) -> u64 {
        metrics::append(
            &self.view.active,
            &self.tenant,
            batch,
            metrics::NewSeries::Taken,
        )
        .taken
    }

    /// Selects series.
    ///
    /// # Errors
    /// As [`crate::Storage::select_series`].
    pub async fn select(&self, select: &SeriesSelect) -> Result<SeriesSet> {
        let view = Arc::clone(&self.view);
        metrics::select_series(view, &self.budget, &self.tenant, select).await
    }

    /// Bytes held.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.view.active.held_bytes()
    }
}
