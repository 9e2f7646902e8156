//! Profiles of accounts.

use super::account::account;
use super::item::JsonItem;
use crate::mirror::error::MirrorError;
use crate::store::documents::{Collection, Document};
use crate::store::relational::rows::Profile;
use crate::validator::Validator;

/// Returns the row of a profile, with the validator of its answer.
pub(crate) fn profile_row(item: &JsonItem<'_>, validator: Option<Validator>) -> Option<Profile> {
    Some(Profile {
        account: account(Some(item.value()))?,
        name: item.text("name"),
        company: item.text("company"),
        location: item.text("location"),
        email: item.text("email"),
        created_at: item.date("created_at"),
        read_at: item.read_at(),
        validator,
    })
}

/// Returns the document of a profile.
pub(crate) fn profile_document(item: &JsonItem<'_>) -> Result<Document, MirrorError> {
    Ok(item.full_document(Collection::Users, vec![item.require_text("login")?.into()], &[]))
}
