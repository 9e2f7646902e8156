//! Routes: a routing key, and msght's own queue that is bound to it.

use std::fmt;
use std::str::FromStr;

/// GitHub's longest event type has 29 characters; the bound keeps queue names far below AMQP's 255 bytes.
const MAX_EVENT_TYPE_CHARS: usize = 100;

/// A routing key of the exchange and the queue that is bound to it (`docs/queue.md`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// Repositories to retrieve: key `projects`, queue `msght.projects`, body `owner repo`.
    Projects,
    /// Users to retrieve: key `users`, queue `msght.users`, body a login.
    Users,
    /// Stored events of a type: key `evt.PushEvent`, queue `PushEvents`, body the event's id.
    Event(EventType),
    /// Telemetry of the webhook server: key `log`, queue `LogMessages`, body `<EventType> <id>`.
    Log,
}

/// An event type that can be a word of a routing key. Created by [`Route::for_event_type`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventType(String);

/// The error for a text that names no route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a route; expected projects, users, log or evt.TYPE, for example evt.PushEvent")]
pub struct InvalidRoute {
    given: String,
}

impl Route {
    /// Returns the route of an event type, which msght need not know.
    ///
    /// # Errors
    /// A text that can't be one word of a routing key: empty, over 100 characters, or with other characters than
    /// letters, digits, `_` and `-`.
    pub fn for_event_type(event_type: &str) -> Result<Self, InvalidRoute> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if event_type.is_empty() || event_type.len() > MAX_EVENT_TYPE_CHARS || !event_type.chars().all(allowed) {
            return Err(InvalidRoute { given: format!("evt.{event_type}") });
        }
        Ok(Route::Event(EventType(event_type.to_owned())))
    }

    /// Returns the key that messages are published under.
    pub fn key(&self) -> String {
        match self {
            Route::Projects => "projects".to_owned(),
            Route::Users => "users".to_owned(),
            Route::Event(EventType(event_type)) => format!("evt.{event_type}"),
            Route::Log => "log".to_owned(),
        }
    }

    /// Returns the name of msght's own queue, which is bound to the key.
    pub fn queue(&self) -> String {
        match self {
            Route::Projects => "msght.projects".to_owned(),
            Route::Users => "msght.users".to_owned(),
            Route::Event(EventType(event_type)) => format!("{event_type}s"),
            Route::Log => "LogMessages".to_owned(),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

impl FromStr for Route {
    type Err = InvalidRoute;

    /// Parses a routing key.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "projects" => Ok(Route::Projects),
            "users" => Ok(Route::Users),
            "log" => Ok(Route::Log),
            _ => {
                let invalid = || InvalidRoute { given: text.to_owned() };
                Route::for_event_type(text.strip_prefix("evt.").ok_or_else(invalid)?).map_err(|_| invalid())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_round_trip_through_their_keys() {
        for (key, queue) in [
            ("projects", "msght.projects"),
            ("users", "msght.users"),
            ("log", "LogMessages"),
            ("evt.PushEvent", "PushEvents"),
            ("evt.Never_heard-of", "Never_heard-ofs"),
        ] {
            let route: Route = key.parse().unwrap();
            assert_eq!((route.to_string().as_str(), route.queue().as_str()), (key, queue));
        }
    }

    #[test]
    fn malformed_routing_keys_are_rejected() {
        for bad in
            ["", "evt", "evt.", "evt.*", "evt.#", "evt.a.b", "evt.a b", "PushEvent", &format!("evt.{:a>101}", "")]
        {
            assert!(bad.parse::<Route>().is_err(), "{bad}");
        }
    }
}
