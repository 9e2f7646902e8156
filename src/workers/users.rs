//! Accounts to retrieve, from the queue `msght.users`.

use tokio_util::sync::CancellationToken;

use super::leased::leased;
use super::{Handler, Verdict};
use crate::mirror::{Mirror, account_lease};
use crate::names::is_login;

/// Retrieves the accounts that messages name, one worker at a time each.
pub struct Users {
    /// The way to GitHub and the stores; its `cancel` is not used.
    pub mirror: Mirror,
    /// This process, as others see it.
    pub process: String,
}

impl Handler for Users {
    async fn work(&self, body: &str, stop: CancellationToken) -> anyhow::Result<Verdict> {
        // The body is the login (data model, §2).
        let login = body.trim();
        if !is_login(login) {
            return Ok(Verdict::Hopeless("the message names no account: expected a login".to_owned()));
        }
        let lease = account_lease(login);
        leased(&self.mirror, &lease, &self.process, &stop, |mirror| async move { mirror.user(login, false).await })
            .await
    }
}
