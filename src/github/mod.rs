//! The client of GitHub's REST API: tokens and their budgets, limits, retries, pages and conditional requests.
//!
//! A caller sees one question and one answer: [`GitHub::get`] gives a complete page, "unchanged", or an error that says
//! what was tried. Everything that can be waited out or tried again has been by then.
//!
//! | file | decides |
//! |---|---|
//! | `request.rs` | the types a caller asks with and gets |
//! | `client.rs` | what the client can be asked |
//! | `client/run.rs` | one request from question to answer: redirects, retries, which token next |
//! | `client/permit.rs` | how a request gets its token: waits, probes, the other processes, an App's new tokens |
//! | `client/learn.rs` | what every answer tells beside what was asked for |
//! | `transport.rs` | one exchange over HTTP, and what its failure is called |
//! | `tls.rs` | whom it trusts |
//! | `tokens.rs` | who waits for what; leases; in `tokens/`: `choose.rs` which token serves a request, `token.rs` one token, `app.rs` the App's, `out.rs` those that are out, `shared.rs` what is shared |
//! | `app.rs` | a GitHub App: how it says who it is, where it is installed, the tokens it is given |
//! | `access.rs` | which token can read which repository, and what of it |
//! | `allowance.rs` | what a run may still ask for |
//! | `budget.rs` | what is left of a token's hour |
//! | `pace.rs` | how fast one token may go |
//! | `sharing.rs`, `outbox.rs` | this process's side of it: when it asks, and what it tells |
//! | `classify.rs` | what a response means |
//! | `retry.rs` | how long to wait before trying again |
//! | `base.rs` | the address that the API is reached at, and the one that it writes into its answers |
//! | `links.rs` | the `Link` header |
//! | `visited.rs` | whether a list's links lead in a circle |
//! | `url.rs` | what is inside the API, and how a name becomes part of a path |
//! | `hooks.rs` | the webhook of an organisation: found, made, put right |
//! | `error.rs`, `notice.rs` | what the user reads |

mod access;
pub mod app;
mod base;
mod budget;
mod classify;
mod client;
mod coordinator;
mod error;
mod event;
mod limits;
mod links;
mod request;
mod run_quota;
mod throttle;
mod tls;
mod tokens;
mod transport;
mod url;
mod usage_buffer;
mod visited;
pub mod webhooks;

/// Still returns a pull request's `merge_commit_sha`, which 2026-03-10 dropped; supported until 2028-03-10 (GitHub docs: API
/// versions).
const API_VERSION: &str = "2022-11-28";

pub use client::GitHub;
pub use error::{ApiError, ClientError, ConnectProblem};
pub use event::ClientEvent;
pub use links::Links;
pub use request::{
    Accept, AppConfig, Change, ClientSettings, Fetched, Get, Installation, Page, PoolBudget, RequestCounter,
    TokenConfig, TokenRef, TokenState, Validator,
};
pub use url::{ApiUrl, UrlProblem};
pub use visited::VisitedUrls;
