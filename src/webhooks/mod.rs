//! Deliveries of GitHub's webhooks: received, verified, kept, and worked.
//!
//! ```text
//!  delivery ──▶ server, signature, intake ──▶ inbox (document store) ──▶ 202
//!                                               │
//!                     refreshes wanted ◀── dispatch ◀── worker
//! ```
//!
//! | file | contents |
//! |---|---|
//! | `server.rs` | the public listener: connections, time-outs, routes |
//! | `body.rs` | bodies read within their limits |
//! | `signature.rs` | the check that makes a verified delivery |
//! | `payload.rs` | what is read from a payload before it is kept |
//! | `accounts.rs` | the accounts that are mirrored |
//! | `intake.rs` | from a request to its answer |
//! | `inbox.rs` | deliveries stored together, before they are answered |
//! | `dispatch/` | what a delivery names |
//! | `worker.rs` | stored deliveries worked, old ones removed |
//! | `admin.rs` | the admin listener: status page, readiness, metrics |
//! | `metrics.rs` | what is counted |
//! | `received.rs` | the report of each delivery received |
//! | `missed.rs` | deliveries that did not arrive, found in GitHub's logs |

pub mod accounts;
pub mod admin;
mod body;
pub mod dispatch;
pub mod inbox;
pub mod intake;
pub mod metrics;
pub mod missed;
mod payload;
pub mod received;
pub mod server;
pub mod signature;
pub mod worker;
