//! Run over all repositories: which are due, in which order, and when to stop.
//!
//! | file | decides |
//! |---|---|
//! | `plan.rs` | which repositories are due, most stale first |
//! | `estimate.rs` | how many requests that takes |
//! | `stop_conditions.rs` | when no further one is started |
//! | `run.rs` | retrieves some concurrently, each under its lease |
//! | `report.rs` | what the user reads at the end |

mod estimate;
mod plan;
mod report;
mod run;
mod stop_conditions;

pub use estimate::{Estimate, estimate};
pub use plan::{DueRepository, Plan};
pub use report::{RepositoryResult, RetrievalStatus, RunReport};
pub use run::run;
pub use stop_conditions::{StopConditions, parse_time_of_day};
