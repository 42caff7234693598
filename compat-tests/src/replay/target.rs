//! What is asked: a server of our own, or one that runs already.

use anyhow::Result;

use crate::server::{Options, Server, Urls};

/// After so many ends in one group a server is left alone.
const MOST_RESTARTS: usize = 20;

/// A server under test.
pub struct Target {
    /// Where its listeners are.
    pub urls: Urls,
    server: Option<Server>,
    restarts: usize,
}

impl Target {
    /// A server that runs already; it is never started or ended.
    #[must_use]
    pub fn running(urls: Urls) -> Self {
        Self {
            urls,
            server: None,
            restarts: 0,
        }
    }

    /// A fresh server.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(options: &Options) -> Result<Self> {
        let server = Server::start(options).await?;
        Ok(Self {
            urls: server.urls.clone(),
            server: Some(server),
            restarts: 0,
        })
    }

    /// Where our own server has ended: says so and starts it again on its folder.
    pub async fn recover(&mut self) -> Option<String> {
        let server = self.server.as_mut()?;
        let status = server.exited()?;
        let mut note = format!("the server ended with {status}: {}", server.last_words());
        if self.restarts < MOST_RESTARTS {
            self.restarts += 1;
            match server.restart().await {
                Ok(()) => self.urls = server.urls.clone(),
                Err(error) => note = format!("{note}; and not again: {error:#}"),
            }
        }
        Some(note)
    }
}
