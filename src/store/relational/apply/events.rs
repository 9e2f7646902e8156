//! Rows of stored events: what is to become of each is decided when it is first stored, and stays.

use super::super::feeds::cut_mark;
use super::super::outbox::{EventPublishing, FIRST_LIVE_START, StoredEvent, unix_now};
use super::super::sql::{Upsert, Value};
use super::{BatchWriter, truncate, truncate_option};

/// Maximum characters of `msght_events.type`.
const MAX_TYPE: usize = 100;
/// Maximum characters of `msght_events.repository`.
const MAX_REPOSITORY: usize = 512;

const EVENTS: Upsert = Upsert {
    table: "msght_events",
    columns: &["event_id", "type", "repository", "repository_id", "mark", "created_at", "stored_at", "publish"],
    key: &["event_id"],
    update: &[],
};

impl BatchWriter<'_> {
    pub(super) async fn events(&mut self, events: &[StoredEvent]) -> Result<(), sqlx::Error> {
        if events.is_empty() {
            return Ok(());
        }
        // Read in this transaction: a process that started before the first live start must not hide live events.
        let sql = "SELECT at FROM msght_moments WHERE name = ?";
        let live_since = self.tx.fetch(sql, vec![FIRST_LIVE_START.into()]).await?;
        let live_since = live_since.first().and_then(|row| row[0].as_i64());
        let now = unix_now();
        let row = |event: &StoredEvent| {
            let created_at = event.created_at.map(|at| at.timestamp());
            let publish = match event.publishing {
                EventPublishing::All => true,
                EventPublishing::None => false,
                EventPublishing::Live => live_since.is_some_and(|since| created_at.is_none_or(|at| at >= since)),
            };
            vec![
                event.id.as_str().into(),
                truncate(&event.kind, MAX_TYPE).into(),
                truncate_option(event.repository.as_ref(), MAX_REPOSITORY),
                event.repository_id.into(),
                event.mark.as_deref().map(cut_mark).into(),
                created_at.map_or(Value::Null, Value::Integer),
                now.into(),
                publish.into(),
            ]
        };
        self.tx.upsert(&EVENTS, events.iter().map(row).collect()).await?;
        Ok(())
    }
}
