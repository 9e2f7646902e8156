//! msght: an organization's own copy of everything it has on GitHub.
//!
//! Data run one way: GitHub → [`mirror`] → [`store`]. A module imports only from modules below it in this table, which
//! a test checks:
//!
//! | module | contents |
//! |---|---|
//! | [`commands`] | the subcommands, one thin file each; their context, `App`, opens what they share |
//! | [`cli`] | the command line's types and checks |
//! | [`check`] | checks of everything that a run needs: tokens, organizations, stores |
//! | [`config`] | typed settings from defaults, file, environment and flags, each with its origin |
//! | [`scheduler`] | a run over all repositories: due ones, their order, and stop conditions |
//! | [`webhooks`] | deliveries of webhooks: received, verified, kept, worked, and found in GitHub's logs |
//! | [`workers`] | the workers of a queue: concurrent jobs, leases, retries, dead letters |
//! | [`leased`] | work under a lease: one process at a time on each repository and account |
//! | [`mirror`] | the stages of a repository, lists and sync state, the mapping from JSON to rows |
//! | [`github`] | the REST client: tokens, rate limits, retries, pages, conditional requests |
//! | [`queue`] | work queues and the routing of events: an SQLite file, or RabbitMQ |
//! | [`store`] | raw documents and relational tables: SQLite files, or MongoDB and MySQL |
//! | [`telemetry`] | the log file, the terminal, telemetry events |
//! | [`list_files`] | `orgs.txt` and `projects.txt`, the lists that users keep |
//! | [`retry`] | the retry policy for unavailable servers |
//! | [`azure`] | a storage account, as far as a check inspects it |
//! | [`open_files`] | the limit of open files: which errors it causes |
//! | [`http`] | common parts of HTTP clients: TLS provider, error chains |
//! | [`private_files`] | files and directories that only their owner can read |
//! | [`process_id`] | the process that holds a lease, and whether it has ended |
//! | [`json`] | lenient parsing of GitHub's JSON |
//! | [`rate_limit`] | the contract between the client and the store through which processes share rate limits |
//! | [`validator`] | validators of conditional requests |
//! | [`names`], [`secret`], [`backend_url`] | values that are parsed once, at the edge |
//!
//! # A tour
//!
//! 1. [`cli::Cli`] is the command line. [`commands::run`] loads [`config::Settings`] and runs one subcommand.
//! 2. [`mirror::Mirror::sync_repository`] mirrors a repository stage by stage ([`mirror::stage::Stage`]), under a lease
//!    that [`leased`] takes.
//! 3. [`github::GitHub`] sends its requests: it selects a token, keeps within the rate limits, and retries.
//! 4. [`store::Stores`] holds the results: each document as GitHub sent it, and the rows that are made from it.
//! 5. [`scheduler`] selects the repositories that `msght start` retrieves, [`workers`] those that a [`queue`] names.
//!
//! `docs/architecture.md` draws the data's way and answers "Where is it decided?" by file, `docs/sync-state.md` says how
//! a run knows what is left to do, and `docs/data-model.md` describes each collection and table.
//!
//! `cargo doc --open --document-private-items` shows the private modules, whose tables of files say what each one decides.

// The stricter lints are for the program, not for its tests.
#![cfg_attr(test, allow(clippy::pedantic))]

pub mod azure;
pub mod backend_url;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
#[cfg(test)]
mod docs;
pub mod github;
pub mod http;
pub mod json;
#[cfg(test)]
mod layering;
pub mod leased;
pub mod list_files;
pub mod mirror;
pub mod names;
pub mod open_files;
pub mod private_files;
pub mod process_id;
pub mod queue;
pub mod rate_limit;
pub mod retry;
pub mod scheduler;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod validator;
pub mod webhooks;
pub mod workers;
