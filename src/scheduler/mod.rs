//! A run over all repositories: which are due, in which order, and when it is enough.
//!
//! | file | decides |
//! |---|---|
//! | `plan.rs` | which repositories are due, most stale first |
//! | `estimate.rs` | what that will cost |
//! | `stop_conditions.rs` | when no further one is begun |
//! | `run.rs` | some at a time, each under its lease |
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
