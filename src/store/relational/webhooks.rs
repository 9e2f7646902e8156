//! What is known of organizations' webhooks: their state, up to when their delivery logs were read, and gaps in these.

use chrono::{DateTime, Utc};

use super::Relational;
use super::sql::{OnConflict, Upsert, Value};
use crate::store::BackendError;
use crate::validator::Validator;

const WEBHOOKS: Upsert = Upsert {
    table: "msght_webhooks",
    columns: &["organization", "url", "hook_id", "problem", "etag", "etag_scope", "scanned_until"],
    key: &["organization"],
    update: &[
        ("url", OnConflict::Overwrite),
        ("hook_id", OnConflict::Overwrite),
        ("problem", OnConflict::Overwrite),
        ("etag", OnConflict::Overwrite),
        ("etag_scope", OnConflict::Overwrite),
        ("scanned_until", OnConflict::Overwrite),
    ],
};

const GAPS: Upsert = Upsert {
    table: "msght_delivery_gaps",
    columns: &["organization", "from_at", "until_at", "reason", "repositories"],
    key: &["organization", "from_at", "until_at"],
    update: &[("reason", OnConflict::Overwrite), ("repositories", OnConflict::OverwriteIfPresent)],
};

/// What is known of an organization's webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookRecord {
    /// The address that it is for.
    pub url: String,
    /// GitHub's number of it; `None` if there is none.
    pub hook_id: Option<i64>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// The validator of the list of webhooks.
    pub validator: Option<Validator>,
    /// Time up to which the log of its deliveries was read.
    pub scanned_until: Option<DateTime<Utc>>,
}

/// A time whose deliveries the log could not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryGap {
    /// Its beginning.
    pub from: DateTime<Utc>,
    /// Its end.
    pub until: DateTime<Utc>,
    /// Why the log could not tell.
    pub reason: String,
    /// The number of repositories that were queued to close it; `None` as long as it is open.
    pub repositories: Option<u64>,
}

impl Relational {
    /// Returns what is known of an organization's webhook.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn webhook(&self, organization: &str) -> Result<Option<WebhookRecord>, BackendError> {
        let sql =
            "SELECT url, hook_id, problem, etag, etag_scope, scanned_until FROM msght_webhooks WHERE organization = ?";
        let rows = self.read(sql, vec![organization.into()]).await?;
        Ok(rows.into_iter().next().and_then(|row| {
            let text = |at: usize| row[at].as_str().map(str::to_owned);
            Some(WebhookRecord {
                url: text(0)?,
                hook_id: row[1].as_i64(),
                problem: text(2),
                validator: text(3).zip(text(4)).map(|(etag, scope)| Validator { etag, scope }),
                scanned_until: row[5].as_i64().and_then(from_seconds),
            })
        }))
    }

    /// Records what is known of an organization's webhook.
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn set_webhook(&self, organization: &str, record: &WebhookRecord) -> Result<(), BackendError> {
        let validator = record.validator.as_ref();
        let row = vec![
            organization.into(),
            record.url.as_str().into(),
            record.hook_id.into(),
            record.problem.as_deref().into(),
            validator.map(|validator| validator.etag.as_str()).into(),
            validator.map(|validator| validator.scope.as_str()).into(),
            record.scanned_until.map(|at| at.timestamp()).into(),
        ];
        self.upsert(&WEBHOOKS, vec![row]).await
    }

    /// Records a gap in the log of an organization's deliveries, or that it was closed.
    ///
    /// # Errors
    /// The store could not be written.
    pub async fn record_delivery_gap(&self, organization: &str, gap: &DeliveryGap) -> Result<(), BackendError> {
        let row = vec![
            organization.into(),
            gap.from.timestamp().into(),
            gap.until.timestamp().into(),
            gap.reason.as_str().into(),
            gap.repositories.map(u64::cast_signed).into(),
        ];
        self.upsert(&GAPS, vec![row]).await
    }

    /// Returns the gaps of an organization that are still open, the oldest first.
    ///
    /// # Errors
    /// The store could not be read.
    pub async fn open_delivery_gaps(&self, organization: &str) -> Result<Vec<DeliveryGap>, BackendError> {
        let sql = "SELECT from_at, until_at, reason FROM msght_delivery_gaps \
                   WHERE organization = ? AND repositories IS NULL ORDER BY from_at";
        let rows = self.read(sql, vec![organization.into()]).await?;
        let gap = |row: Vec<Value>| {
            Some(DeliveryGap {
                from: from_seconds(row[0].as_i64()?)?,
                until: from_seconds(row[1].as_i64()?)?,
                reason: row[2].as_str()?.to_owned(),
                repositories: None,
            })
        };
        Ok(rows.into_iter().filter_map(gap).collect())
    }
}

fn from_seconds(seconds: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(seconds, 0)
}
