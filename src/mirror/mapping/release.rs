//! Releases.

use super::item::JsonItem;
use super::{ItemMapper, MappedPage};
use crate::mirror::resource::Repository;
use crate::store::documents::Collection;

/// Maps a release.
pub(crate) const RELEASE: &ItemMapper = &|repository: &Repository, item: &JsonItem<'_>, out: &mut MappedPage| {
    let id = item.require_integer("id")?;
    let key = repository.document_key([id.into()]);
    out.documents.push(item.document(Collection::Releases, key, &repository.tags(&[])));
    out.rows.accounts.extend(item.account("author"));
    Ok(())
};
