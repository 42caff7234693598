//! Whose data a request is about: the header `X-Scope-OrgID`.

use http::HeaderMap;
use storage::model::Tenant;

use crate::config::Config;

/// The header that names the tenant.
pub const HEADER: &str = "x-scope-orgid";

/// A request without a usable tenant; each API words its answer from the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Multi-tenancy is on and the header is missing.
    #[error("no org id")]
    Missing,
    /// The header's value cannot be a tenant's name.
    #[error("{0}")]
    Bad(String),
}

/// The tenant of a request: `anonymous` unless multi-tenancy is on.
///
/// # Errors
/// See [`TenantError`].
pub fn of(headers: &HeaderMap, config: &Config) -> Result<Tenant, TenantError> {
    if !config.multitenancy {
        return Ok(Tenant::anonymous());
    }
    let value = headers.get(HEADER).ok_or(TenantError::Missing)?;
    let name = value
        .to_str()
        .map_err(|_| TenantError::Bad("tenant ID is not text".to_owned()))?;
    Tenant::new(name).map_err(|e| TenantError::Bad(e.to_string()))
}
