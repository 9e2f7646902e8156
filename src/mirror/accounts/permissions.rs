//! Tokens that see all private repositories of an account: their 404 proves that a repository is deleted.

use serde_json::Value;

use crate::github::{ApiUrl, Fetched, Page, Request, TokenRef};
use crate::json;
use crate::mirror::context::read_now;
use crate::mirror::error::MirrorError;
use crate::mirror::mapping::item::JsonItem;
use crate::mirror::session::Mirror;
use crate::mirror::stats::StageStats;

/// Scope of classic tokens that covers all repositories that their user can read.
const ALL_REPOSITORIES: &str = "repo";

impl Mirror {
    /// Returns whether any token is certain to see every private repository of the account: a classic token with the
    /// scope `repo` of the account itself, or of an owner of the organization that sees other private repositories of
    /// it now. (GitHub does not tell which repositories other tokens cover.)
    ///
    /// # Errors
    /// The user asked to stop, or the run's bounds are reached.
    pub(in crate::mirror) async fn sees_all_private_of(
        &self,
        login: &str,
        stats: &StageStats,
    ) -> Result<bool, MirrorError> {
        for token in self.github.tokens_for(login) {
            let scopes = self.github.token_state(&token).scopes.unwrap_or_default();
            if !scopes.split(',').any(|scope| scope.trim() == ALL_REPOSITORIES) {
                continue;
            }
            let membership = ApiUrl::path(&["user", "memberships", "orgs", login]);
            let own = match self.get_with(&token, membership, stats).await? {
                Some(page) => is_owner(&page) && self.sees_private_of(login, &token, stats).await?,
                None => match self.get_with(&token, ApiUrl::path(&["user"]), stats).await? {
                    Some(page) => JsonItem::single(&page.body, read_now())
                        .is_ok_and(|user| user.text("login").is_some_and(|own| own.eq_ignore_ascii_case(login))),
                    None => false,
                },
            };
            if own {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether the token sees any private repository of the organization: an owner's token without single
    /// sign-on sees none.
    async fn sees_private_of(&self, login: &str, token: &TokenRef, stats: &StageStats) -> Result<bool, MirrorError> {
        let list = ApiUrl::path(&["orgs", login, "repos"]).query("type", "private").query("per_page", "1");
        let Some(page) = self.get_with(token, list, stats).await? else { return Ok(false) };
        let listed: Vec<Value> = json::parse_bytes(&page.body).unwrap_or_default();
        Ok(listed.iter().any(|repository| repository.get("private").and_then(Value::as_bool) == Some(true)))
    }

    /// Fetches a page with one token; `None` if the token is refused or GitHub does not answer.
    async fn get_with(&self, token: &TokenRef, url: ApiUrl, stats: &StageStats) -> Result<Option<Page>, MirrorError> {
        let request = Request::get(url).token(token.clone());
        match self.get(&request, &stats.counter).await {
            Ok(Fetched::Page(page)) => Ok(Some(*page)),
            Ok(Fetched::NotModified) => Ok(None),
            Err(error) if error.is_fatal() => Err(error),
            Err(_) => Ok(None),
        }
    }
}

fn is_owner(membership: &Page) -> bool {
    JsonItem::single(&membership.body, read_now())
        .is_ok_and(|it| it.text("role").as_deref() == Some("admin") && it.text("state").as_deref() == Some("active"))
}
