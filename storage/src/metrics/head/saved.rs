//! The metrics head as frames of a snapshot, and back.
//!
//! ```text
//!  frame   tenant | days | series | series ...        to the end of the frame
//!  series  length and bytes of the label set (see `Labels::as_bytes`), then what `SeriesState::save` writes
//! ```
//!
//! A frame holds whole series of one tenant, so that each can be taken alone.

use std::sync::Arc;

use super::{KEY_BYTES, MetricsHead, SERIES_BYTES, TenantHead};
use crate::codec::ChunkError;
use crate::codec::varint::{put, put_signed, take, take_signed, take_slice};
use crate::error::{Error, Result};
use crate::metrics::series::{Growth, MemSeries, SeriesState};
use crate::model::{Labels, Tenant};
use crate::signal::TimeSpan;

/// A frame is closed when it has become so long.
const FRAME_BYTES: usize = 256 << 10;

impl MetricsHead {
    /// See [`crate::signal::Head::snapshot`]. The catalog is held for one frame at a time.
    pub(super) fn save(&self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let tenants: Vec<_> = {
            let tenants = self.tenants.read();
            tenants
                .iter()
                .map(|(t, h)| (t.clone(), Arc::clone(h)))
                .collect()
        };
        let mut frame = Vec::with_capacity(FRAME_BYTES + FRAME_BYTES / 4);
        for (tenant, head) in tenants {
            let mut next = 0;
            while head.save_frame(&tenant, &mut next, &mut frame) {
                each(&frame)?;
            }
        }
        Ok(())
    }

    /// See [`crate::signal::Head::restore`].
    pub(super) fn load(&self, mut frame: &[u8], wanted: &dyn Fn(&Tenant) -> bool) -> Result<()> {
        let bytes = &mut frame;
        let len = take(bytes).map_err(corrupt)?;
        let tenant = take_slice(bytes, len).map_err(corrupt)?;
        let tenant = std::str::from_utf8(tenant)
            .ok()
            .and_then(|t| Tenant::new(t).ok());
        let tenant = tenant.ok_or_else(|| corrupt(ChunkError::Number))?;
        if !wanted(&tenant) {
            return Ok(());
        }
        let head = self.tenant_or_new(&tenant);
        head.load_series(bytes).map_err(corrupt)
    }
}

fn corrupt(e: ChunkError) -> Error {
    Error::Corrupt {
        file: "a snapshot of the metrics head".to_owned(),
        offset: 0,
        reason: e.to_string(),
    }
}

impl TenantHead {
    /// Fills a frame with the series from `next` on; `false` when there are none left.
    fn save_frame(&self, tenant: &Tenant, next: &mut usize, frame: &mut Vec<u8>) -> bool {
        frame.clear();
        put(frame, tenant.as_str().len() as u64);
        frame.extend_from_slice(tenant.as_str().as_bytes());
        let days = self.days.lock().to_vec();
        put(frame, days.len() as u64);
        for day in days {
            put_signed(frame, day);
        }
        let begin = frame.len();
        let catalog = self.catalog.read();
        while let Some(series) = catalog.series.get(*next)
            && frame.len() < FRAME_BYTES
        {
            *next += 1;
            let labels = catalog.index.labels(series.id);
            put(frame, labels.as_bytes().len() as u64);
            frame.extend_from_slice(labels.as_bytes());
            series.state.lock().save(frame);
        }
        frame.len() > begin
    }

    fn load_series(&self, bytes: &mut &[u8]) -> Result<(), ChunkError> {
        {
            let mut days = self.days.lock();
            for _ in 0..take(bytes)? {
                days.add_day(take_signed(bytes)?);
            }
        }
        let mut growth = Growth::default();
        let mut times = TimeSpan {
            min: i64::MAX,
            max: i64::MIN,
        };
        let (mut samples, mut new) = (0, 0);
        let mut catalog = self.catalog.write();
        while !bytes.is_empty() {
            let len = take(bytes)?;
            let labels = Labels::from_bytes(take_slice(bytes, len)?).ok_or(ChunkError::Number)?;
            let state = SeriesState::load(bytes)?;
            samples += state.sample_count() as u64;
            let (min, max) = state.times();
            times.min = times.min.min(min);
            times.max = times.max.max(max);
            let pairs: smallvec::SmallVec<[(&str, &str); 32]> = labels.iter().collect();
            let (id, is_new) = catalog.index.insert(&pairs);
            if is_new {
                let held = state.held();
                growth.bytes += held.bytes + SERIES_BYTES - KEY_BYTES;
                growth.chunks += held.chunks;
                new += 1;
                catalog
                    .series
                    .push(Arc::new(MemSeries::with_state(id, state)));
            } else if let Some(series) = catalog.series.get(id as usize) {
                let mut known = series.state.lock();
                known
                    .absorb(&state, &mut growth)
                    .map_err(|_| ChunkError::Number)?;
            }
        }
        if new > 0 {
            let held = catalog.index.held_bytes() as i64;
            self.index_held
                .store(held, std::sync::atomic::Ordering::Relaxed);
        }
        drop(catalog);
        self.note(growth, samples, times);
        Ok(())
    }
}
