//! The trust module of this host, for those who look after it.

use biotrust_certs::Certificate;
use biotrust_driver_api::{Ftm, FtmError};
use biotrust_model::evidence::FtmKind;
use serde_json::{Value, json};

use super::{Fleet, ManageError};

impl Fleet {
    /// Work with the module, on its thread, when nobody waits for a signature.
    ///
    /// # Errors
    /// [`ManageError::Ftm`], or `NoAnswer` where it is gone.
    pub async fn with_ftm<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Ftm) -> Result<T, FtmError> + Send + 'static,
    ) -> Result<T, ManageError> {
        Ok(self.0.ftm.with(work).await.map_err(|_| ManageError::NoAnswer)??)
    }

    /// What it is and how it is: `kind`, `usable`, `provisioned`, `certificate` of its identity, `reset_count`,
    /// `notices`.
    ///
    /// # Errors
    /// [`ManageError::NoAnswer`].
    pub async fn ftm_report(&self) -> Result<Value, ManageError> {
        self.with_ftm(|ftm| {
            let chain = ftm.identity_chain();
            let leaf = chain.as_ref().ok().and_then(|chain| Certificate::parse(chain.first()?).ok());
            let usable = chain.is_ok();
            let mut notices = ftm.notices();
            let why = chain.err().map(|error| error.to_string());
            notices.extend(why.filter(|why| !notices.contains(why)));
            Ok(json!({
                "kind": ftm.kind(),
                "usable": usable,
                "provisioned": leaf.is_some() || (usable && ftm.kind() == FtmKind::Software),
                "certificate": leaf.map(|leaf| json!({
                    "subject": leaf.subject().to_string(),
                    "issuer": leaf.issuer().to_string(),
                    "not_after": leaf.not_after().to_wire(),
                    "sha256": leaf.sha256(),
                })),
                "reset_count": ftm.reset_count().ok().flatten(),
                "notices": notices,
            }))
        })
        .await
    }
}
