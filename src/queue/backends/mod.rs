//! The two backends of the queue, which offer the same operations.

pub(super) mod rabbitmq;
pub(super) mod sqlite;
