//! Opens a bucket by its URL. Credentials, region and endpoint come from the usual environment variables.

use std::sync::Arc;

use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;

use crate::error::{Error, Result};

/// The store of a URL `scheme://bucket/prefix`, and the prefix.
///
/// # Errors
/// `BadInput` when the scheme is not known or the environment lacks something.
pub(super) fn open(url: &str) -> Result<(Arc<dyn ObjectStore>, ObjectPath)> {
    let unknown = || {
        Error::BadInput(format!(
            "--storage.bucket: {url:?} is no bucket URL; s3://bucket/prefix, gs://bucket/prefix and az://container/prefix are"
        ))
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(unknown());
    }
    let prefix = ObjectPath::parse(prefix)
        .map_err(|e| Error::BadInput(format!("--storage.bucket: {url:?}: {e}")))?;
    let store = connect(scheme, bucket)
        .ok_or_else(unknown)?
        .map_err(|e| Error::BadInput(format!("--storage.bucket: {url:?}: {e}")))?;
    Ok((store, prefix))
}

#[cfg(feature = "bucket")]
fn connect(scheme: &str, bucket: &str) -> Option<object_store::Result<Arc<dyn ObjectStore>>> {
    use object_store::aws::AmazonS3Builder;
    use object_store::azure::MicrosoftAzureBuilder;
    use object_store::gcp::GoogleCloudStorageBuilder;

    fn shared<S: ObjectStore>(
        store: object_store::Result<S>,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        store.map(|s| Arc::new(s) as Arc<dyn ObjectStore>)
    }
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Some(match scheme {
        "s3" | "s3a" => {
            // An endpoint of one's own (MinIO, Ceph) is often plain HTTP.
            let builder = AmazonS3Builder::from_env()
                .with_bucket_name(bucket)
                .with_allow_http(true)
                .with_retry(brief_retries());
            shared(builder.build())
        }
        "gs" => shared(
            GoogleCloudStorageBuilder::from_env()
                .with_bucket_name(bucket)
                .with_retry(brief_retries())
                .build(),
        ),
        "az" | "azure" => {
            let builder = MicrosoftAzureBuilder::from_env()
                .with_container_name(bucket)
                .with_allow_http(true)
                .with_retry(brief_retries());
            shared(builder.build())
        }
        _ => return None,
    })
}

/// The client's own retries, of single requests. What takes longer is [`super::retry`]'s, which knows who waits.
#[cfg(feature = "bucket")]
fn brief_retries() -> object_store::RetryConfig {
    use std::time::Duration;

    object_store::RetryConfig {
        backoff: object_store::BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            base: 2.0,
        },
        max_retries: 2,
        retry_timeout: Duration::from_secs(5),
    }
}

#[cfg(not(feature = "bucket"))]
fn connect(_scheme: &str, _bucket: &str) -> Option<object_store::Result<Arc<dyn ObjectStore>>> {
    None
}
