//! The repository itself, its owner and parent, its topics and languages.

use serde_json::Value;

use crate::github::{Accept, ApiError, ApiUrl, Fetched, Page};
use crate::mirror::accounts::profiles::tombstone_profile;
use crate::mirror::context::{StageContext, read_now};
use crate::mirror::error::MirrorError;
use crate::mirror::lists::find_missing;
use crate::mirror::mapping::item::{JsonItem, get_path};
use crate::mirror::mapping::profile::{profile_document, profile_row};
use crate::mirror::mapping::repository::{project_row, repository_document, unknown_parent};
use crate::mirror::resource::Repository;
use crate::mirror::sync_keys::PROFILE;
use crate::mirror::sync_keys::account_list;
use crate::store::documents::{Collection, Document, Representation, append_members};
use crate::store::relational::rows::{Languages, Parent, Project, Topics};
use crate::store::relational::sync_state::{PageState, fingerprint};
use crate::store::relational::{NO_PROJECT, RowBatch, SyncUpdate};

/// Fetches one entity conditionally; `None` if it has not changed. The caller stores the returned page state with its
/// rows.
async fn fetch_if_changed(
    ctx: &StageContext,
    name: &str,
    url: &ApiUrl,
) -> Result<Option<(Page, SyncUpdate)>, MirrorError> {
    let relational = &ctx.run.stores.relational;
    let state = relational.list(ctx.project(), name).await?;
    let known = relational.pages(state.id).await?.into_iter().next().filter(|page| page.url == url.to_string());
    let validator = known.as_ref().and_then(|page| page.validator.as_ref());
    match ctx.get(url, Accept::Json, validator, false).await? {
        Fetched::NotModified => Ok(None),
        Fetched::Page(page) => {
            let state = PageState::single(&url, page.validator.clone());
            let list = relational.list(ctx.project(), name).await?.id;
            Ok(Some((*page, SyncUpdate::Page { list, page: state })))
        }
    }
}

/// Syncs the owner's profile and, for a fork, its parent. (The repository itself was fetched when it was resolved.)
pub(crate) async fn sync_owner_and_parent(ctx: &StageContext) -> Result<(), MirrorError> {
    owner(ctx).await?;
    let json = &ctx.repository().json;
    let parent = get_path(json, "parent").and_then(|parent| project_row(parent, unknown_parent(parent), true));
    if let Some(parent) = parent
        && ctx.repository().json.get("fork").and_then(Value::as_bool) == Some(true)
    {
        self::parent(ctx, parent).await?;
    }
    Ok(())
}

/// Syncs the owner's profile. If it was fetched by itself, as by `msght get-repos`, its entity tag belongs to the
/// account and serves all of the owner's repositories; otherwise each repository keeps one.
async fn owner(ctx: &StageContext) -> Result<(), MirrorError> {
    let relational = &ctx.run.stores.relational;
    let url = ApiUrl::path(&["users", ctx.repository().name.owner()]);
    let owner_id = get_path(&ctx.repository().json, "owner.id").and_then(Value::as_i64).unwrap_or_default();
    let own = relational.list(NO_PROJECT, &account_list(owner_id, PROFILE)).await?;
    let of_account = relational.pages(own.id).await?.into_iter().find(|page| page.url == url.to_string());
    let (list, known) = if let Some(page) = of_account {
        (own.id, page.validator)
    } else {
        let list = relational.list(ctx.project(), "owner").await?.id;
        let page = relational.pages(list).await?.into_iter().find(|page| page.url == url.to_string());
        (list, page.and_then(|page| page.validator))
    };
    // Any token may read it: the one that the tag was given to comes first.
    let Fetched::Page(page) = ctx.get_for(None, &url, Accept::Json, known.as_ref(), false).await? else {
        return Ok(());
    };
    let item = JsonItem::single(&page.body, read_now())?;
    let (github_id, present) = (item.require_integer("id")?, item.require_text("login")?);
    let known = relational.find_account_by_github_id(github_id).await?;
    if let Some(former) = known.and_then(|known| known.documents_name).filter(|former| *former != present) {
        tombstone_profile(&ctx.run.stores, &former, github_id).await?;
    }
    let tag = page.validator.clone();
    let sync_updates = vec![SyncUpdate::Page { list, page: PageState::single(&url, tag.clone()) }];
    let rows =
        RowBatch { profiles: profile_row(&item, tag).into_iter().collect(), sync_updates, ..RowBatch::default() };
    ctx.write(vec![profile_document(&item)?], rows).await
}

async fn parent(ctx: &StageContext, mut row: Project) -> Result<(), MirrorError> {
    let url = ApiUrl::path(&["repos", &row.owner.login, &row.name]);
    match fetch_if_changed(ctx, "parent", &url).await {
        Ok(None) => Ok(()),
        Ok(Some((page, update))) => {
            let item = JsonItem::single(&page.body, read_now())?;
            if let Some(fresh) = project_row(item.value(), unknown_parent(item.value()), true) {
                row = fresh;
            }
            let parent = ctx.run.stores.relational.ensure_project(row).await?;
            let mut rows = RowBatch { sync_updates: vec![update], ..RowBatch::default() };
            rows.projects.extend(project_row(&ctx.repository().json, Parent::Project(parent), true));
            ctx.write(vec![repository_document(&item)?], rows).await
        }
        // The parent is private or gone: its row stays what the fork's own answer said of it.
        Err(MirrorError::Api(
            ApiError::NotFound { .. } | ApiError::Forbidden { .. } | ApiError::Legal { .. } | ApiError::NoAccess { .. },
        )) => {
            row.refresh = false;
            let parent = ctx.run.stores.relational.ensure_project(row).await?;
            let mut rows = RowBatch::default();
            rows.projects.extend(project_row(&ctx.repository().json, Parent::Project(parent), true));
            ctx.write_rows(rows).await
        }
        Err(error) => Err(error),
    }
}

/// Syncs the topics: one document each.
pub(crate) async fn sync_topics(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["topics"]).query("per_page", "100");
    let Some((page, update)) = fetch_if_changed(ctx, "topics", &url).await? else { return Ok(()) };
    let item = JsonItem::single(&page.body, read_now())?;
    let names = item.get_path("names").and_then(Value::as_array);
    let names = names.ok_or_else(|| MirrorError::Answer(format!("{url} came without `names`")))?;
    let names: Vec<String> = names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let repository = ctx.repository();
    let said = get_path(&repository.json, "topics").and_then(Value::as_array).map_or(0, Vec::len);
    if names.is_empty() && said > 0 {
        ctx.record_incomplete(format!("the list of topics is empty, though the repository states {said}"));
        return Ok(());
    }
    let documents: Vec<_> = names
        .iter()
        .map(|name| Document {
            collection: Collection::Topics,
            key: repository.document_key([name.as_str().into()]),
            json: append_members("{}", &repository.tags(&[("topic", name.as_str().into())])),
            representation: Representation::Summary,
            fetched_at: item.read_at(),
            source: None,
        })
        .collect();
    let listed = documents.iter().map(|document| fingerprint(&document.id())).collect();
    let topics = Topics { project: repository.project, names, at: item.read_at() };
    ctx.write(documents, RowBatch { topics: vec![topics], ..RowBatch::default() }).await?;
    ctx.flush().await?;
    let gone = find_missing(ctx, Collection::Topics, &listed).await?;
    ctx.tombstone(Collection::Topics, &gone).await?;
    ctx.write_sync_state(vec![update]).await
}

/// Syncs the number of bytes of code in each language.
pub(crate) async fn sync_languages(ctx: &StageContext) -> Result<(), MirrorError> {
    let url = ctx.url(&["languages"]);
    let Some((page, update)) = fetch_if_changed(ctx, "languages", &url).await? else { return Ok(()) };
    let item = JsonItem::single(&page.body, read_now())?;
    let bytes = item.value().as_object().into_iter().flatten();
    let bytes = bytes.filter_map(|(name, bytes)| Some((name.clone(), bytes.as_i64()?))).collect();
    let Repository { project, name, .. } = ctx.repository();
    let key = vec![name.owner().into(), name.name().into()];
    let document = Document {
        collection: Collection::RepoLanguages,
        key,
        json: append_members("{}", &ctx.repository().tags(&[("languages", item.value().clone())])),
        representation: Representation::Summary,
        fetched_at: item.read_at(),
        source: None,
    };
    let languages = Languages { project: *project, bytes, at: item.read_at() };
    let rows = RowBatch { languages: vec![languages], sync_updates: vec![update], ..RowBatch::default() };
    ctx.write(vec![document], rows).await
}
