//! The handler of the queue `LogMessages`: events that the webhook server has received.

use tokio_util::sync::CancellationToken;

use super::{Handler, JobOutcome};
use crate::telemetry::CustomEvent;

/// The handler that reports the event that a message names.
pub struct ReceivedEventHandler;

impl Handler for ReceivedEventHandler {
    async fn handle(&self, body: &str, _stop: CancellationToken) -> anyhow::Result<JobOutcome> {
        // The body is the event's type and number (docs/queue.md).
        let Some((kind, id)) = parse(body) else {
            return Ok(JobOutcome::DeadLetter("the message names no event: expected TYPE ID".to_owned()));
        };
        CustomEvent::ReceivedEvent { kind, id }.emit();
        Ok(JobOutcome::Completed(format!("{kind} {id}")))
    }
}

/// Parses the type and the number.
fn parse(body: &str) -> Option<(&str, &str)> {
    let (kind, id) = body.trim().split_once(' ')?;
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    (is_word(kind) && is_word(id)).then_some((kind, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_a_type_and_a_number() {
        assert_eq!(parse("PushEvent 123\n"), Some(("PushEvent", "123")));
        assert_eq!(parse("push 5a1c-2"), Some(("push", "5a1c-2")));
        for bad in ["", "push", "push 1 2", "push \u{7}", " 1"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
