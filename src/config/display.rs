//! The effective settings as users may see them: secrets redacted.

use serde_json::{Value, json};
use url::Url;

use super::keys::KEYS;
use super::{Origin, Settings, duration_text};
use crate::backend_url::redacted;
use crate::secret::Secret;

/// A key with its effective value, as `msght config` shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingEntry {
    /// The key's full name.
    pub key: &'static str,
    /// Its effective value, redacted if it is a secret; null if there is none.
    pub value: Value,
    /// The source of the value.
    pub origin: Origin,
}

impl Settings {
    /// Returns every key with its effective value and its origin; secrets are redacted.
    pub fn entries(&self) -> Vec<SettingEntry> {
        KEYS.iter()
            .map(|key| SettingEntry {
                key: key.path,
                value: self.display_value(key.path),
                origin: self.origin(key.path).clone(),
            })
            .collect()
    }

    fn display_value(&self, key: &str) -> Value {
        let hint = |secret: &Option<Secret>| json!(secret.as_ref().map(Secret::hint));
        match key {
            "data_dir" => json!(self.data_dir.to_string_lossy()),
            "documents.url" => json!(self.documents.url.to_string()),
            "sql.url" => json!(self.sql.url.to_string()),
            "queue.url" => json!(self.queue.url.to_string()),
            "queue.exchange" => json!(self.queue.exchange),
            "queue.prefetch" => json!(self.queue.prefetch),
            "queue.attempts" => json!(self.queue.attempts),
            "queue.retry_after" => json!(duration_text(self.queue.retry_after)),
            "stores.timeout" => json!(duration_text(self.stores.timeout)),
            "dump.target" => json!(self.dump.target.to_string()),
            "dump.azure_account" => json!(self.dump.azure.as_ref().map(|account| &account.name)),
            "dump.azure_access_key" => json!(self.dump.azure.as_ref().map(|account| account.key.hint())),
            "dump.azure_endpoint" => {
                json!(self.dump.azure.as_ref().map(|account| redacted(account.endpoint.as_str())))
            }
            "github.api_url" => json!(self.github.api_url.as_str()),
            "github.public_url" => json!(self.github.public_url.as_ref().map(Url::as_str)),
            "github.tokens" if self.github.tokens.is_empty() => Value::Null,
            "github.tokens" => json!(self.github.tokens.iter().map(Secret::hint).collect::<Vec<_>>()),
            "github.tokens_file" => json!(self.github.tokens_file.as_ref().map(|path| path.to_string_lossy())),
            "github.hook_token" => hint(&self.hook_token()),
            "github.app_id" => json!(self.github.app_id),
            "github.app_private_key_file" => {
                json!(self.github.app_private_key_file.as_ref().map(|path| path.to_string_lossy()))
            }
            "github.concurrency" => json!(self.concurrency()),
            "github.reserve" => json!(self.github.reserve),
            "github.user_agent" => json!(self.github.user_agent),
            "mirror.fork_commits" => json!(self.mirror.fork_commits.name()),
            "events.publish" => json!(self.events.publish.name()),
            "webhooks.listen" => json!(self.webhooks.listen.to_string()),
            "webhooks.public_url" => {
                json!(self.webhooks.public_url.as_ref().map(|url| redacted(url.as_str())))
            }
            "webhooks.secret" => match self.webhooks.secrets.as_slice() {
                [] => Value::Null,
                [secret] => json!(secret.hint()),
                secrets => json!(secrets.iter().map(Secret::hint).collect::<Vec<_>>()),
            },
            "webhooks.admin_listen" => json!(self.webhooks.admin_listen.to_string()),
            "webhooks.admin_token" => hint(&self.webhooks.admin_token),
            "webhooks.admin_hosts" => json!(self.webhooks.admin_hosts),
            "webhooks.ignore" => json!(self.webhooks.ignore),
            "webhooks.keep_days" => json!(self.webhooks.keep_days),
            "telemetry.connection_string" => {
                json!(self.telemetry.connection.as_ref().map(|connection| connection.key.hint()))
            }
            "telemetry.via_queue" => json!(self.telemetry.via_queue),
            "logging.file" => json!(self.logging.file.to_string_lossy()),
            "logging.level" => json!(self.logging.level.name()),
            "logging.keep_days" => json!(self.logging.keep_days),
            // A test asserts that every key has its line above.
            _ => Value::String("?".to_owned()),
        }
    }
}
