//! Query parameters: all values of a key, in order.

use std::time::SystemTime;

use super::error::ApiError;
use super::go;

/// The decoded parameters of a request.
pub(super) struct Params(Vec<(String, String)>);

impl Params {
    pub(super) fn new(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// The first value of a key; empty where there is none.
    pub(super) fn get(&self, key: &str) -> &str {
        let found = self.0.iter().find(|(k, _)| k == key);
        found.map_or("", |(_, v)| v)
    }

    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let of_key = self.0.iter().filter(move |(k, _)| k == key);
        of_key.map(|(_, v)| v.as_str())
    }

    /// The first key that is there, with its value.
    pub(super) fn either<'a>(&'a self, keys: [&'a str; 2]) -> Option<(&'a str, &'a str)> {
        keys.into_iter()
            .find_map(|key| Some((key, self.all(key).next().filter(|v| !v.is_empty())?)))
    }

    pub(super) fn pretty(&self) -> bool {
        self.all("prettyPrint")
            .next()
            .is_some_and(|v| !v.is_empty() && v != "false")
    }

    /// A whole number; `None` where the parameter is absent or empty.
    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, ApiError> {
        self.with(key, |text| go::parse_int(text, 64))
    }

    pub(super) fn duration(&self, key: &str) -> Result<Option<i64>, ApiError> {
        self.with(key, go::parse_duration)
    }

    pub(super) fn bool(&self, key: &str) -> Result<bool, ApiError> {
        Ok(self.with(key, go::parse_bool)?.unwrap_or(false))
    }

    fn with<T>(
        &self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ApiError> {
        match self.get(key) {
            "" => Ok(None),
            text => parse(text)
                .map(Some)
                .map_err(|e| ApiError::bad_request(format!("unable to parse param '{key}': {e}"))),
        }
    }
}

/// Nanoseconds since the epoch.
pub(super) fn now_ns() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
