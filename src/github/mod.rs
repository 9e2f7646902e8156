//! The client of GitHub's REST API: tokens and their budgets, limits, retries, pages and conditional requests.
//!
//! A caller builds a [`Request`] and gets a [`Fetched`] page, "not modified", or an error that says what was tried:
//! [`GitHub::send`] has waited out and retried by then whatever can be.
//!
//! | file | decides |
//! |---|---|
//! | `request.rs`, `page.rs` | what a request can ask for, and what an answer holds |
//! | `settings.rs`, `token_info.rs` | what a client is built from, and what callers see of its tokens |
//! | `client.rs` | the client's interface; `client/inner.rs` its state |
//! | `client/execute.rs` | one request from first attempt to answer: redirects, retries, which token next |
//! | `client/acquire.rs` | how a request gets its token: waiting, probing, refreshing installations |
//! | `client/record.rs` | what is learned from every response |
//! | `client/installations.rs` | where the App is installed |
//! | `client/circuit_breaker.rs` | when GitHub counts as down |
//! | `transport.rs`, `tls.rs` | one exchange over HTTP, and which certificates are trusted |
//! | `classify.rs` | what a response means |
//! | `tokens.rs` | permits, and who waits for which token |
//! | `tokens/select.rs` | which token serves a request |
//! | `tokens/token.rs`, `tokens/app.rs` | one token; the App's |
//! | `tokens/disabled.rs` | which tokens are disabled, and what can't be known without them |
//! | `tokens/coordination.rs`, `coordinator.rs`, `usage_buffer.rs` | this process's side of [`crate::rate_limit`] |
//! | `access.rs` | which token can read which repository |
//! | `budget.rs`, `throttle.rs` | what is left of a token's window, and how fast it may be used |
//! | `run_quota.rs` | how many requests a run may still send, and until when |
//! | `backoff.rs` | how long a request waits before it is sent again, and a token after a rate limit |
//! | `limits.rs` | timeouts, numbers of attempts, bounds of the backoff |
//! | `app.rs` | how the App signs its requests |
//! | `base.rs`, `url.rs`, `links.rs`, `visited.rs` | the API's address, addresses within it, `Link` headers, cycles of links |
//! | `webhooks.rs`, `webhooks/deliveries.rs` | an organization's webhook: found, created, repaired; the log of its deliveries |
//! | `error.rs`, `event.rs` | what the user reads |

mod access;
pub mod app;
mod backoff;
mod base;
mod budget;
mod classify;
mod client;
mod coordinator;
mod error;
mod event;
mod limits;
mod links;
mod page;
mod request;
mod run_quota;
mod settings;
mod throttle;
mod tls;
mod token_info;
mod tokens;
mod transport;
mod url;
mod usage_buffer;
mod visited;
pub mod webhooks;

pub use client::GitHub;
pub use error::{ApiError, ClientError, ConnectProblem};
pub use event::ClientEvent;
pub use links::Links;
pub use page::{Fetched, Page};
pub use request::{Accept, Request, RequestCounter};
pub use settings::{AppConfig, ClientSettings, TokenConfig};
pub use token_info::{Installation, PoolBudget, TokenRef, TokenState};
pub use url::{ApiUrl, UrlProblem};
pub use visited::VisitedUrls;
