//! Pattern matching of routing keys, as on a topic exchange of AMQP 0-9-1.

/// Returns whether a binding's pattern matches a routing key. Words are separated by dots; `*` matches exactly one word,
/// `#` any number of words, including none.
pub(super) fn matches(pattern: &str, key: &str) -> bool {
    let key: Vec<&str> = key.split('.').collect();
    // Element n: the pattern so far matches the key's first n words.
    let mut reached = vec![false; key.len() + 1];
    reached[0] = true;
    for word in pattern.split('.') {
        let mut next = vec![false; key.len() + 1];
        for at in 0..=key.len() {
            next[at] = match word {
                "#" => reached[at] || (at > 0 && next[at - 1]),
                "*" => at > 0 && reached[at - 1],
                _ => at > 0 && reached[at - 1] && key[at - 1] == word,
            };
        }
        reached = next;
    }
    reached[key.len()]
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_on_a_topic_exchange() {
        for (pattern, key, expected) in [
            ("evt.PushEvent", "evt.PushEvent", true),
            ("evt.PushEvent", "evt.PushEvents", false),
            ("evt.#", "evt.PushEvent", true),
            ("evt.#", "evt", true),
            ("evt.#", "evt.a.b", true),
            ("evt.*", "evt.a.b", false),
            ("evt.*", "evt.a", true),
            ("evt.*", "evt", false),
            ("#", "projects", true),
            ("#", "", true),
            ("*.#.b", "a.b", true),
            ("*.#.b", "a.x.y.b", true),
            ("*.#.b", "b", false),
            ("#.#", "a.b.c", true),
            ("#.*", "a", true),
            ("evt", "evt.PushEvent", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn many_wildcards_match_in_polynomial_time() {
        assert!(matches(&["#"; 200].join("."), &["a"; 200].join(".")));
    }
}
