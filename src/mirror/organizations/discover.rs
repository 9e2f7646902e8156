//! Organizations that the tokens belong to.

use std::sync::Arc;

use super::OrganizationSync;
use crate::github::{Accept, ApiError, ApiUrl, TokenRef};
use crate::mirror::accounts::User;
use crate::mirror::context::read_now;
use crate::mirror::error::MirrorError;
use crate::mirror::lists::PER_PAGE;
use crate::mirror::mapping::item::{JsonItem, parse_items};
use crate::mirror::session::Mirror;
use crate::mirror::stats::StageStats;
use crate::mirror::writer::Writer;
use crate::store::relational::rows::Account;

/// Organizations of the tokens, and what could not be listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Logins, sorted, each once.
    pub logins: Vec<String>,
    /// Failures and their reasons.
    pub problems: Vec<String>,
}

impl Mirror {
    /// Lists the organizations of every token's user, and those with an installation of the App.
    ///
    /// # Errors
    /// A store that can't be used, or the user's wish to stop. What GitHub does not give is in the result.
    pub async fn discover_organizations(&self) -> Result<Discovered, MirrorError> {
        let (writer, tasks) = Writer::start(&self.stores);
        let mut found = Discovered::default();
        let mut asked = Ok(());
        let installations = self.github.installations().iter();
        found.logins.extend(installations.filter(|on| on.organization).map(|on| on.account.clone()));
        for token in self.github.tokens().into_iter().filter(|token| token.installed_on.is_none()) {
            asked = self.organizations_of(&token, &writer, &mut found).await;
            if asked.is_err() {
                break;
            }
        }
        drop(writer);
        tasks.finished().await;
        asked?;
        found.logins.sort_by_key(|login| login.to_lowercase());
        found.logins.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
        Ok(found)
    }

    async fn organizations_of(
        &self,
        token: &TokenRef,
        writer: &Writer,
        found: &mut Discovered,
    ) -> Result<(), MirrorError> {
        let account = Account { login: token.hint.clone(), github_id: None, organization: false, as_of: None };
        let nobody = User { github_id: 0, account, json: serde_json::Value::Null, token: Some(token.clone()) };
        let ctx = OrganizationSync { mirror: self, writer }.context(nobody, &Arc::new(StageStats::default()));
        let url = ApiUrl::path(&["user", "orgs"]).query("per_page", &PER_PAGE.to_string());
        let mut pages = ctx.linked_pages(url);
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                Err(error) if error.is_fatal() => return Err(error),
                Err(MirrorError::Api(ApiError::SsoPartial { token, organizations, .. })) => {
                    let names = self.names_of(&organizations, &ctx).await?;
                    found.problems.push(format!(
                        "{token} does not see all of its organizations: authorize it for the single sign-on of {names}, \
                         on GitHub under Settings, Developer settings"
                    ));
                    return Ok(());
                }
                Err(error) => {
                    found.problems.push(format!("the organizations of {}: {error}", token.hint));
                    return Ok(());
                }
            };
            for raw in parse_items(&page.body)? {
                found.logins.push(JsonItem::new(raw, read_now())?.require_text("login")?);
            }
        }
    }

    /// Resolves the organization ids that GitHub names, `1,2`, to logins; an id stays if GitHub does not give the
    /// login.
    async fn names_of(
        &self,
        numbers: &str,
        ctx: &crate::mirror::context::StageContext<User>,
    ) -> Result<String, MirrorError> {
        let mut names = Vec::new();
        for number in numbers.split(',').map(str::trim).filter(|number| !number.is_empty()) {
            let name = match ctx.get_page(&ApiUrl::path(&["user", number]), Accept::Json).await {
                Ok(page) => JsonItem::single(&page.body, read_now())?.text("login"),
                Err(error) if error.is_fatal() => return Err(error),
                Err(_) => None,
            };
            names.push(name.unwrap_or_else(|| format!("organization {number}")));
        }
        Ok(names.join(", "))
    }
}
