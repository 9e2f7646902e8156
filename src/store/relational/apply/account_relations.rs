//! Relations between accounts: followers, organization members and outside collaborators.

use super::super::batch::RowBatch;
use super::super::rows::{AccountRelation, Person};
use super::super::sql::{Upsert, Value};
use super::BatchWriter;

/// GitHub gives no date: `created_at` keeps what another source may have told.
const FOLLOWERS: Upsert =
    Upsert { table: "followers", columns: &["user_id", "follower_id"], key: &["user_id", "follower_id"], update: &[] };

const ORGANIZATION_MEMBERS: Upsert =
    Upsert { table: "organization_members", columns: &["org_id", "user_id"], key: &["org_id", "user_id"], update: &[] };

const OUTSIDE_COLLABORATORS: Upsert = Upsert {
    table: "outside_collaborators",
    columns: &["org_id", "user_id"],
    key: &["org_id", "user_id"],
    update: &[],
};

impl BatchWriter<'_> {
    pub(super) async fn account_relations(&mut self, rows: &RowBatch) -> Result<(), sqlx::Error> {
        self.upsert_account_relations(&FOLLOWERS, &rows.followers).await?;
        self.upsert_account_relations(&ORGANIZATION_MEMBERS, &rows.organization_members).await?;
        self.upsert_account_relations(&OUTSIDE_COLLABORATORS, &rows.outside_collaborators).await?;
        self.remove_account_relations(&FOLLOWERS, &rows.removed_followers).await?;
        self.remove_account_relations(&ORGANIZATION_MEMBERS, &rows.removed_organization_members).await?;
        self.remove_account_relations(&OUTSIDE_COLLABORATORS, &rows.removed_outside_collaborators).await
    }

    async fn upsert_account_relations(
        &mut self,
        upsert: &Upsert,
        relations: &[AccountRelation],
    ) -> Result<(), sqlx::Error> {
        let id = |account: &super::super::rows::Account| self.person(&Person::Account(account.clone()));
        let rows: Vec<Vec<Value>> = relations.iter().map(|tie| vec![id(&tie.to), id(&tie.from)]).collect();
        self.tx.upsert(upsert, rows).await?;
        Ok(())
    }

    async fn remove_account_relations(
        &mut self,
        upsert: &Upsert,
        gone: &[(String, String)],
    ) -> Result<(), sqlx::Error> {
        let [to, from] = upsert.columns else { return Ok(()) };
        let sql = format!(
            "DELETE FROM {} WHERE {to} = (SELECT id FROM users WHERE login = ?) \
             AND {from} = (SELECT id FROM users WHERE login = ?)",
            upsert.table
        );
        for (to, from) in gone {
            self.tx.execute(&sql, vec![to.as_str().into(), from.as_str().into()]).await?;
        }
        Ok(())
    }
}
