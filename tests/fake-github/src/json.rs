//! Writing JSON straight into a string: documents are rendered on every request, so no tree is built for them.
use std::fmt::Write;

/// The first half of a surrogate pair alone, which JSON allows and no text of Rust's can hold, stands for itself as this.
pub const HALF_A_PAIR: char = '\u{e000}';

/// Appends `s` as a JSON string, quotes included.
pub fn esc(out: &mut String, s: &str) {
    out.push('"');
    let mut from = 0;
    for (i, b) in s.bytes().enumerate() {
        let plain = match b {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..=0x1f => "",
            _ => continue,
        };
        plain_text(out, &s[from..i]);
        if plain.is_empty() {
            let _ = write!(out, "\\u{b:04x}");
        } else {
            out.push_str(plain);
        }
        from = i + 1;
    }
    plain_text(out, &s[from..]);
    out.push('"');
}

fn plain_text(out: &mut String, s: &str) {
    match s.contains(HALF_A_PAIR) {
        true => out.push_str(&s.replace(HALF_A_PAIR, "\\ud83d")),
        false => out.push_str(s),
    }
}

/// Appends a JSON string or `null`.
pub fn esc_opt(out: &mut String, s: Option<&str>) {
    match s {
        Some(s) => esc(out, s),
        None => out.push_str("null"),
    }
}

/// Appends every piece.
pub fn cat(out: &mut String, pieces: &[&str]) {
    for p in pieces {
        out.push_str(p);
    }
}

/// Appends an unsigned number in decimal; quicker than going through `fmt`.
pub fn num(out: &mut String, n: u64) {
    let mut buf = [0u8; 20];
    let mut at = 20;
    let mut n = n;
    loop {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&buf[at..]).unwrap());
}

/// Appends a moment as GitHub writes it, in quotes: `"2024-01-31T08:00:00Z"`.
pub fn time(out: &mut String, at: i64) {
    out.push('"');
    time_bare(out, at);
    out.push('"');
}

/// The same or `null`.
pub fn time_opt(out: &mut String, at: Option<i64>) {
    match at {
        Some(at) => time(out, at),
        None => out.push_str("null"),
    }
}

/// Appends a moment without quotes.
pub fn time_bare(out: &mut String, at: i64) {
    let days = at.div_euclid(86_400);
    let sec = at.rem_euclid(86_400);
    // Howard Hinnant's civil_from_days.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let d = doy - (153 * mp + 2) / 5 + 1;
    let m = if mp < 10 { mp + 3 } else { mp - 9 };
    let y = yoe + era * 400 + i64::from(m <= 2);
    let two = |v: i64| [b'0' + (v / 10) as u8, b'0' + (v % 10) as u8];
    let (yh, yl) = (two(y / 100), two(y % 100));
    let (m, d, h, mi, s) = (two(m), two(d), two(sec / 3600), two(sec / 60 % 60), two(sec % 60));
    let text = [
        yh[0], yh[1], yl[0], yl[1], b'-', m[0], m[1], b'-', d[0], d[1], b'T', h[0], h[1], b':', mi[0], mi[1], b':',
        s[0], s[1], b'Z',
    ];
    out.push_str(std::str::from_utf8(&text).unwrap());
}

/// A moment as text.
pub fn time_str(at: i64) -> String {
    let mut s = String::new();
    time_bare(&mut s, at);
    s
}

/// Reads a moment in GitHub's form (`2024-01-31T08:00:00Z`) or with an offset.
pub fn parse_time(s: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(s.trim()).ok().map(|t| t.timestamp())
}

/// Appends twenty bytes as forty hexadecimal digits.
pub fn hex(out: &mut String, sha: &[u8; 20]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut buf = [0u8; 40];
    for (i, b) in sha.iter().enumerate() {
        buf[2 * i] = DIGITS[(b >> 4) as usize];
        buf[2 * i + 1] = DIGITS[(b & 15) as usize];
    }
    out.push_str(std::str::from_utf8(&buf).unwrap());
}

/// Reads forty hexadecimal digits.
pub fn unhex(s: &str) -> Option<[u8; 20]> {
    let s = s.as_bytes();
    if s.len() != 40 {
        return None;
    }
    let mut sha = [0u8; 20];
    for (i, pair) in s.chunks(2).enumerate() {
        let digit = |c: u8| (c as char).to_digit(16);
        sha[i] = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(sha)
}

/// Percent-encodes one path segment or query value.
pub fn percent(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for b in s.bytes() {
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') {
            out.push(b as char);
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

/// Undoes percent-encoding.
pub fn unpercent(s: &str) -> String {
    let b = s.as_bytes();
    let mut out = Vec::with_capacity(b.len());
    let mut i = 0;
    while i < b.len() {
        let two = if b[i] == b'%' && i + 2 < b.len() { s.get(i + 1..i + 3) } else { None };
        match two.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(v) => {
                out.push(v);
                i += 3;
            }
            None => {
                out.push(b[i]);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
