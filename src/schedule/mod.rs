//! A run over all repositories: which are due, in which order, and when it is enough.
//!
//! | file | decides |
//! |---|---|
//! | `plan.rs` | which repositories are due, most stale first |
//! | `estimate.rs` | what that will cost |
//! | `limits.rs` | when no further one is begun |
//! | `work.rs` | some at a time, each under its lease |
//! | `report.rs` | what the user reads at the end |

mod estimate;
mod limits;
mod plan;
mod report;
mod work;

pub use estimate::{Estimate, estimate};
pub use limits::{Limits, parse_time_of_day};
pub use plan::{Due, Plan};
pub use report::{Report, State, Worked};
pub use work::work;
