//! Lengths of time as users write them: `90s`, `5m`, `12h`, `10d`, `0`.

use std::time::Duration;

/// The expected form of a length of time, for error messages.
pub const DURATION_EXPECTED: &str = "a length of time such as 90s, 5m, 12h, 10d or 0";

/// Parses a length of time: a whole number and its unit (s, m, h or d), or 0.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Ten digits of days are beyond any calendar.
    let number: u64 = digits.parse().ok().filter(|number| u32::try_from(*number).is_ok())?;
    Some(Duration::from_secs(number * seconds))
}

/// Formats a length of time as [`parse_duration`] reads it, in the largest unit that divides it.
pub fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => "0".to_owned(),
        _ if seconds.is_multiple_of(24 * 3600) => format!("{}d", seconds / (24 * 3600)),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        for (text, seconds) in [("0", 0), ("90s", 90), ("5m", 300), ("12h", 43_200), ("10d", 864_000)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)));
            assert_eq!(duration_text(Duration::from_secs(seconds)), text);
        }
        for bad in ["", "5", "m", "-5m", "+5m", "1.5h", "5 m", "5min", "99999999999d", "५m"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
