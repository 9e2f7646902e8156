//! Webhooks: what their deliveries name, and what became of those that did not arrive.

pub mod dispatch;
pub mod missed;
pub mod received;
