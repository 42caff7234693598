//! A tenant's name: part of every key in storage.

use std::fmt;
use std::sync::Arc;

/// Name of a tenant. Cheap to clone. Names follow the rules of `X-Scope-OrgID`: 1 to 150 bytes of
/// letters, digits and `!-_.*'()`, and neither `.` nor `..`, so that a name is also a folder name.
///
/// Each tenant has an archive, which storage treats as a tenant of its own whose blocks are kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

/// What the name of an archive ends with. No request can name one: the first character is not allowed in it.
const ARCHIVE: &str = "@archive";

/// A name that cannot be a tenant's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Longer than 150 bytes.
    #[error("tenant ID is too long: max 150 characters")]
    TooLong,
    /// A character outside the allowed set; its position is a byte offset.
    #[error("tenant ID '{name}' contains unsupported character '{character}'")]
    BadCharacter {
        /// The refused name.
        name: String,
        /// The first character at fault.
        character: char,
    },
    /// Empty, `.` or `..`.
    #[error("tenant ID is '{0}', which is not allowed")]
    Reserved(String),
}

impl Tenant {
    /// The tenant of everything when multi-tenancy is off.
    #[must_use]
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }

    /// Checks a name.
    ///
    /// # Errors
    /// See [`TenantError`].
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.len() > 150 {
            return Err(TenantError::TooLong);
        }
        let bad = |c: &char| !(c.is_ascii_alphanumeric() || "!-_.*'()".contains(*c));
        if let Some(character) = name.chars().find(bad) {
            return Err(TenantError::BadCharacter {
                name: name.to_owned(),
                character,
            });
        }
        if name.is_empty() || name == "." || name == ".." {
            return Err(TenantError::Reserved(name.to_owned()));
        }
        Ok(Self(Arc::from(name)))
    }

    /// Checks a name that storage has written, which may be an archive's.
    ///
    /// # Errors
    /// See [`TenantError`].
    pub(crate) fn from_stored(name: &str) -> Result<Self, TenantError> {
        match name.strip_suffix(ARCHIVE) {
            Some(owner) => Ok(Self::new(owner)?.archive()),
            None => Self::new(name),
        }
    }

    /// The tenant's archive: a place beside its data that retention leaves alone. That of an archive is itself.
    #[must_use]
    pub fn archive(&self) -> Self {
        if Self::is_archive(&self.0) {
            return self.clone();
        }
        Self(format!("{self}{ARCHIVE}").into())
    }

    /// Whether a stored name is an archive's.
    pub(crate) fn is_archive(name: &str) -> bool {
        name.ends_with(ARCHIVE)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_folder_are_refused() {
        for name in ["", ".", "..", "a/b", "a\\b", "ä", &"x".repeat(151)] {
            assert!(Tenant::new(name).is_err(), "{name}");
        }
        for name in ["acme", "a.b", "A-1_(x)!*'"] {
            assert_eq!(Tenant::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn an_archive_is_known_to_storage_and_out_of_reach_of_requests() {
        let archive = Tenant::new("acme").unwrap().archive();
        assert_eq!(Tenant::from_stored(archive.as_str()), Ok(archive.clone()));
        assert_eq!(archive.archive(), archive);
        assert!(Tenant::is_archive(archive.as_str()));
        assert!(!Tenant::is_archive("archive"));
        assert!(Tenant::new(archive.as_str()).is_err());
        for name in [
            "@archive",
            "a/b@archive",
            "acme@archive@archive",
            "acme@other",
        ] {
            assert!(Tenant::from_stored(name).is_err(), "{name}");
        }
    }
}
