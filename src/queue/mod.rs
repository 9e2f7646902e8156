//! Work queues and the routing of events (data model, §2).
