//! msght: an organisation's own copy of everything it has on GitHub.
//!
//! Data run one way: GitHub → [`mirror`] → [`store`]. A room imports only from rooms below it:
//!
//! | room | what it is for |
//! |---|---|
//! | [`commands`] | one thin file a subcommand: wires the rooms together |
//! | [`cli`] | what users type |
//! | [`check`] | a look at all that a run needs: tokens, organisations, stores |
//! | [`config`] | settings: defaults, file, environment, flags, and where each value came from |
//! | [`lists`] | `orgs.txt` and `projects.txt`, the lists that users keep |
//! | [`scheduler`] | a run over all repositories: which are due, in which order, and when it is enough |
//! | [`workers`] | working a queue: jobs side by side, leases, retries, dead letters |
//! | [`mirror`] | what mirroring a repository means: stages, how lists are read, sync state, mapping |
//! | [`github`] | the client: tokens and their budgets, limits, retries, pages, conditional requests |
//! | [`queue`] | work queues and the routing of events: an SQLite file, or RabbitMQ |
//! | [`store`] | raw documents and relational tables: SQLite files, or MongoDB and MySQL |
//! | [`telemetry`] | the log file, and what users read on their terminal |
//! | [`retry`] | how long a server that is away is retried |
//! | [`azure`] | a storage account, as far as it is asked what is there |
//! | [`http`] | what every HTTP client shares: TLS provider, error chains |
//! | [`private_files`] | files and directories for this user alone |
//! | [`process_id`] | which process holds a lease, and whether it has ended |
//! | [`json`] | lenient parsing of GitHub's JSON |
//! | [`rate_limit`] | the contract between the client and the store in which processes share the tokens' limits |
//! | [`validator`] | validators of conditional requests |
//! | [`names`], [`secret`], [`backend_url`] | values parsed once at the edge |
//!
//! `docs/architecture.md` has the drawing, `docs/sync-state.md` how a run knows what is left to do.

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
pub mod lists;
pub mod mirror;
pub mod names;
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
pub mod workers;
