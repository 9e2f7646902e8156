//! Entities of a repository: one file a family, with the stages that mirror it.

pub mod commits;
pub mod counts;
pub mod details;
mod embedded;
pub mod events;
mod fork_commits;
mod heads;
mod history;
pub mod issues;
pub mod labels;
mod missing_items;
pub mod people;
pub mod pulls;
pub mod refs;
pub mod refusals;
pub mod repository;
pub mod stars;
