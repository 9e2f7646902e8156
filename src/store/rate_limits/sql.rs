//! Statements of the shared rate limits. Each decides and writes at once, so that no two processes can be granted the
//! same request; both dialects are rendered from one text.
//!
//! MySQL assigns the columns of an UPDATE in order and sees new values in later ones, SQLite sees the old ones
//! throughout: a column is therefore assigned after those computed from it.

use crate::rate_limit::{LIVENESS_TTL, MAX_BURST, MAX_IN_FLIGHT, REQUEST_INTERVAL};

/// An SQL dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Mysql,
}

/// A statement's parameter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Param<'a> {
    Text(&'a str),
    Number(i64),
}

/// A statement with its `?`s and the index of the caller's parameter for each.
#[derive(Debug)]
pub(super) struct Statement {
    pub sql: String,
    order: Vec<usize>,
}

impl Statement {
    /// Returns the parameters in the order of the `?`s.
    pub(super) fn arrange<'a>(&self, params: &[Param<'a>]) -> Vec<Param<'a>> {
        self.order.iter().filter_map(|&index| params.get(index).copied()).collect()
    }

    /// Translates a text with parameters `$1` to `$9` and MySQL's `GREATEST`, `LEAST` and `DIV`; `NOW` is the time in
    /// microseconds since the epoch.
    fn new(text: &str, dialect: Dialect) -> Self {
        let now = match dialect {
            // All processes are on one machine and share its clock, here in steps of a millisecond.
            Dialect::Sqlite => "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            // Independent of the session's time zone and of hours that occur twice.
            Dialect::Mysql => "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))",
        };
        let mut text = text.replace("NOW", now);
        if dialect == Dialect::Sqlite {
            text = text.replace("GREATEST(", "max(").replace("LEAST(", "min(").replace(" DIV ", " / ");
        }
        let (mut sql, mut order) = (String::with_capacity(text.len()), Vec::new());
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            match c {
                '$' => {
                    let number = rest.next().and_then(|digit| digit.to_digit(10)).unwrap_or(1);
                    order.push(number.saturating_sub(1) as usize);
                    sql.push('?');
                }
                c => sql.push(c),
            }
        }
        Self { sql, order }
    }
}

/// All statements.
#[derive(Debug)]
pub(super) struct Statements {
    /// $1 token, $2 floor.
    pub reserve: Statement,
    /// $1 token. Returns the columns of [`TokenRow`](super::TokenRow).
    pub select: Statement,
    /// $1 token, $2 time of the last reservation that was read.
    pub settle: Statement,
    /// $1 token.
    pub insert_token: Statement,
    /// $1 token, $2 limit, $3 remaining, $4 reset, $5 microseconds until then, $6 requests to refund.
    pub report_window: Statement,
    /// $1 token, $2 explicitly reported (1) or inferred (0).
    pub no_limit: Statement,
    /// $1 token, $2 microseconds, $3 reason, $4 strikes.
    pub pause: Statement,
    /// $1 token, $2 process.
    pub register: Statement,
    /// $1 token, $2 process, $3 requests in flight, $4 maximum.
    pub heartbeat: Statement,
    /// $1 token, $2 process.
    pub share: Statement,
    /// Deletes processes that have not reported for long.
    pub purge_expired: Statement,
    /// $1 process.
    pub deregister: Statement,
}

/// Length of the rate window in µs, which GitHub tells with the next response (GitHub docs: rate limits for the REST
/// API). No pause or window is stored that ends later.
pub(super) const WINDOW_MICROS: i64 = 3_600_000_000;
/// Latest credible end of a window, in µs from now: later ones were written by a clock that was ahead. An hour, plus
/// what a clock may be set back between two statements.
pub(super) const MAX_AHEAD_MICROS: i64 = WINDOW_MICROS + 5_000_000;
/// Latest credible time of the throttle, in µs from now: it is never ahead by more than a burst, a second or two.
pub(super) const MAX_THROTTLE_AHEAD_MICROS: i64 = 60_000_000;

impl Statements {
    pub(super) fn new(dialect: Dialect) -> Self {
        let statement = |text: &str| Statement::new(text, dialect);
        let interval = REQUEST_INTERVAL.as_micros();
        // The generic cell rate algorithm (GCRA): `due` is the time at which the requests so far would have been sent
        // evenly, and may be ahead of the clock by a burst.
        let ahead = interval * u128::from(MAX_BURST - 1);
        let presence = LIVENESS_TTL.as_micros();
        // Times that no window, throttle or pause can explain count as past.
        let unexplained = format!("reset_at > NOW + {MAX_AHEAD_MICROS}");
        let over = format!("hourly > 0 AND (reset_at <= NOW OR {unexplained})");
        let longer = format!("(NOW + $2 > paused_until OR paused_until > NOW + {MAX_AHEAD_MICROS})");
        let unpaused = format!("(paused_until <= NOW OR paused_until > NOW + {MAX_AHEAD_MICROS})");
        let pace = format!("CASE WHEN due > NOW + {MAX_THROTTLE_AHEAD_MICROS} THEN 0 ELSE due END");
        let reserve = format!(
            "UPDATE msght_tokens SET \
             used = CASE WHEN {over} THEN 1 ELSE used + 1 END, \
             remaining = CASE WHEN {over} THEN hourly ELSE remaining END, \
             assumed = CASE WHEN {over} THEN 1 ELSE assumed END, \
             reset_epoch = CASE WHEN hourly > 0 AND {unexplained} THEN 0 ELSE reset_epoch END, \
             reset_at = CASE WHEN {over} THEN NOW + {WINDOW_MICROS} ELSE reset_at END, \
             due = GREATEST({pace}, NOW) + {interval}, reserved_at = NOW \
             WHERE token = $1 AND {unpaused} AND (hourly IS NULL OR hourly = 0 OR ({pace} - {ahead} <= NOW AND \
             (reset_at <= NOW OR {unexplained} OR hourly - used > LEAST($2, hourly - 1))))"
        );
        // An assumed window ends when that of the next response does, and what was granted in it stays counted.
        let later = "$4 > reset_epoch + 1";
        let same = "assumed = 0 AND $4 >= reset_epoch - 1";
        let hour = format!(
            "UPDATE msght_tokens SET \
             used = CASE WHEN {later} AND assumed = 0 THEN $2 - $3 \
             WHEN {later} THEN GREATEST(used - $6, $2 - $3) \
             WHEN {same} THEN GREATEST(used - $6, $2 - LEAST(remaining, $3)) ELSE used END, \
             remaining = CASE WHEN {later} THEN $3 WHEN {same} THEN LEAST(remaining, $3) ELSE remaining END, \
             hourly = CASE WHEN {later} OR ({same}) THEN $2 ELSE hourly END, \
             reset_at = CASE WHEN {later} THEN NOW + $5 ELSE reset_at END, \
             assumed = CASE WHEN {later} THEN 0 ELSE assumed END, \
             reset_epoch = CASE WHEN {later} THEN $4 ELSE reset_epoch END \
             WHERE token = $1"
        );
        let latest = 2 * presence;
        let others = format!(
            "FROM msght_token_users WHERE token = $1 AND process <> $2 AND expires_at > NOW AND \
             expires_at <= NOW + {latest}"
        );
        let counted =
            format!("SELECT COUNT(*) AS processes, COALESCE(SUM(GREATEST(holding, share)), 0) AS held {others}");
        let share =
            format!("GREATEST(1, LEAST($4, LEAST({MAX_IN_FLIGHT} DIV (processes + 1), {MAX_IN_FLIGHT} - held)))");
        let beat = match dialect {
            Dialect::Sqlite => format!(
                "UPDATE msght_token_users SET holding = $3, share = (SELECT {share} FROM ({counted})), \
                 expires_at = NOW + {presence} WHERE token = $1 AND process = $2"
            ),
            Dialect::Mysql => format!(
                "UPDATE msght_token_users JOIN ({counted}) AS others SET holding = $3, share = {share}, \
                 expires_at = NOW + {presence} WHERE token = $1 AND process = $2"
            ),
        };
        let insert = match dialect {
            Dialect::Sqlite => "INSERT OR IGNORE INTO",
            Dialect::Mysql => "INSERT IGNORE INTO",
        };
        Self {
            reserve: statement(&reserve),
            select: statement(
                "SELECT NOW, hourly, used, remaining, reset_at, due, reserved_at, paused_until, paused_for, strikes \
                 FROM msght_tokens WHERE token = $1",
            ),
            settle: statement(
                "UPDATE msght_tokens SET used = hourly - remaining WHERE token = $1 AND reserved_at = $2 AND hourly > 0",
            ),
            insert_token: statement(&format!("{insert} msght_tokens (token) VALUES ($1)")),
            report_window: statement(&hour),
            no_limit: statement(
                "UPDATE msght_tokens SET hourly = 0, used = 0, assumed = 1, reset_epoch = 0, reset_at = 0 \
                 WHERE token = $1 AND ($2 = 1 OR hourly IS NULL)",
            ),
            pause: statement(
                "UPDATE msght_tokens SET strikes = CASE WHEN LONGER THEN $4 ELSE strikes END, \
                 paused_for = CASE WHEN LONGER THEN $3 ELSE paused_for END, \
                 paused_until = CASE WHEN LONGER THEN NOW + $2 ELSE paused_until END WHERE token = $1"
                    .replace("LONGER", &longer)
                    .as_str(),
            ),
            register: statement(&format!("{insert} msght_token_users (token, process) VALUES ($1, $2)")),
            heartbeat: statement(&beat),
            share: statement("SELECT share FROM msght_token_users WHERE token = $1 AND process = $2"),
            purge_expired: statement(
                "DELETE FROM msght_token_users WHERE expires_at < NOW - 3600000000 AND expires_at > 0",
            ),
            deregister: statement("DELETE FROM msght_token_users WHERE process = $1"),
        }
    }
}

/// Returns the statements that create the tables. Their content is short-lived: after a loss each process finds out for
/// itself.
pub(super) fn tables(suffix: &str) -> [String; 2] {
    [
        // hourly: NULL if unknown, 0 if unlimited. used: granted in this window, or spent by others according to
        // GitHub. remaining: the least that GitHub reported. assumed: the window's end has not been reported.
        // reset_epoch: it on GitHub's clock, in seconds; all other times are on this store's clock, in microseconds.
        format!(
            "CREATE TABLE IF NOT EXISTS msght_tokens (token VARCHAR(64) NOT NULL PRIMARY KEY, hourly BIGINT NULL, \
             used BIGINT NOT NULL DEFAULT 0, remaining BIGINT NOT NULL DEFAULT 0, assumed BIGINT NOT NULL DEFAULT 1, \
             reset_epoch BIGINT NOT NULL DEFAULT 0, reset_at BIGINT NOT NULL DEFAULT 0, due BIGINT NOT NULL DEFAULT 0, \
             reserved_at BIGINT NOT NULL DEFAULT 0, paused_until BIGINT NOT NULL DEFAULT 0, \
             paused_for BIGINT NOT NULL DEFAULT 0, strikes BIGINT NOT NULL DEFAULT 0){suffix}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS msght_token_users (token VARCHAR(64) NOT NULL, process VARCHAR(64) NOT NULL, \
             holding BIGINT NOT NULL DEFAULT 0, share BIGINT NOT NULL DEFAULT 0, expires_at BIGINT NOT NULL DEFAULT 0, \
             PRIMARY KEY (token, process)){suffix}"
        ),
    ]
}
