//! Entities of a repository: one file a family, with the stages that mirror it.

pub(super) mod commits;
pub(super) mod counts;
pub(super) mod details;
mod embedded;
pub(super) mod events;
mod fork_commits;
mod heads;
mod history;
pub(super) mod issues;
pub(super) mod labels;
mod missing_items;
pub(super) mod people;
pub(super) mod pulls;
pub(super) mod refs;
pub(super) mod refusals;
pub(super) mod repository;
pub(super) mod stars;
