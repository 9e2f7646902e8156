//! Events feeds: pulled, stored, and published.
//!
//! | file | does |
//! |---|---|
//! | `puller.rs` | pulls one feed: which pages, what is new, whether there is a gap |
//! | `publisher.rs` | publishes stored events to the exchange, and requeues those that were lost on the way |
//! | `wishes.rs` | says what both stores must have before an event counts as processed |
//! | `run.rs` | pulls the feeds that are due, and publishes, until it is stopped |
//!
//! An event is stored once: its document first, then its row in the outbox. It is published from there, and noted when the
//! exchange has confirmed it. So a process that is killed anywhere loses none, and publishes one twice only if it dies between
//! the confirm and the note.

mod publisher;
mod puller;
mod run;
mod wishes;

pub use self::publisher::{Published, Publisher};
pub use self::run::{FeedStats, run_feeds, run_publisher};
pub use self::wishes::wishes_of;
pub use super::mapping::marks::announcement;
