//! Webhooks: what became of their deliveries.

pub mod missed;
