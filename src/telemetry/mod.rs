//! Telemetry: the log file, the console and custom events.

mod app_insights;
mod console;
mod custom_event;
mod level;
mod logging;
mod rotating_file;

pub use app_insights::ConnectionString;
pub use console::{Console, Progress};
pub use custom_event::CustomEvent;
pub use level::Level;
pub use logging::{LogConfig, start};
pub use rotating_file::RotatingFile;
