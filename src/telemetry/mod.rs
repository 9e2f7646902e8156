//! What msght tells: the log file, and what users read on their terminal.

mod connection;
mod console;
mod event;
mod logfile;
mod logging;

pub use connection::Connection;
pub use console::{Console, Progress};
pub use event::Event;
pub use logfile::LogFile;
pub use logging::start;
