//! The ledger by itself, over each store and through several connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use msght::rate_limit::{
    ConcurrencyClaim, MAX_IN_FLIGHT, RateLimitStore, RateWindow, Reservation, UsageReport, WaitReason,
};
use rstest::rstest;

use super::{Kept, Meeting};

const TOKEN: &str = "0123abcd";

fn hour(remaining: u64, reset: i64, wait_ms: u64) -> RateWindow {
    RateWindow { limit: 5000, remaining, reset, wait: Duration::from_millis(wait_ms) }
}

async fn tell(ledger: &Arc<dyn RateLimitStore>, hour: RateWindow, unspent: u32) {
    ledger.report(TOKEN, UsageReport::Window { window: hour, refunded: unspent }).await.unwrap();
}

async fn ask(ledger: &Arc<dyn RateLimitStore>, floor: u64) -> Reservation {
    ledger.reserve(TOKEN, floor).await.unwrap()
}

fn is_exhausted(grant: Reservation) -> bool {
    matches!(grant, Reservation::Blocked { reason: WaitReason::RateLimit, .. })
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_granted_once_however_many_ask(
    #[values(Kept::Sqlite, Kept::Mariadb, Kept::Innodb)] kept: Kept,
) {
    let meeting = Meeting::new(kept);
    let ledgers = meeting.enter_times(4).await;
    tell(&ledgers[0], hour(50, 100, 60_000), 0).await;
    let tasks = ledgers.iter().cloned().map(|ledger| {
        tokio::spawn(async move {
            let mut granted = 0;
            while ask(&ledger, 10).await == Reservation::Granted {
                granted += 1;
            }
            granted
        })
    });
    let granted: Vec<u32> = futures::future::try_join_all(tasks).await.unwrap();
    assert_eq!(granted.iter().sum::<u32>(), 40, "{granted:?}");
    // All is in flight: some may cost nothing, so that it is not over yet.
    assert!(matches!(ask(&ledgers[1], 10).await, Reservation::Busy(_)));
    tell(&ledgers[2], hour(12, 101, 60_000), 2).await;
    assert_eq!([ask(&ledgers[3], 10).await, ask(&ledgers[0], 10).await], [Reservation::Granted; 2], "two cost nothing");
    tell(&ledgers[1], hour(10, 100, 60_000), 0).await;
    for ledger in &ledgers {
        assert!(is_exhausted(ask(ledger, 10).await));
    }
    assert_eq!(ask(&ledgers[0], 5).await, Reservation::Granted, "a process with a smaller reserve goes on");
}

#[rstest]
#[tokio::test]
async fn exhaustion_is_shared_between_processes(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let meeting = Meeting::new(kept);
    let [one, other] = [meeting.enter().await, meeting.enter().await];
    assert_eq!([ask(&one, 0).await, ask(&other, 0).await], [Reservation::Granted; 2], "nothing is known yet");
    tell(&one, hour(0, 100, 700), 0).await;
    let Reservation::Blocked { wait, reason: WaitReason::RateLimit, .. } = ask(&other, 0).await else {
        panic!("granted")
    };
    assert!(wait <= Duration::from_millis(700), "{wait:?}");
    // An answer that was on its way tells nothing new.
    tell(&other, hour(3, 100, 700), 1).await;
    tell(&other, hour(4000, -3500, 0), 1).await;
    assert!(is_exhausted(ask(&other, 0).await));
    tokio::time::sleep(wait).await;
    assert_eq!(ask(&other, 4999).await, Reservation::Granted, "a full hour is assumed");
    // A late answer of the hour that is over is not taken for the new one.
    tell(&one, hour(0, 100, 0), 0).await;
    assert_eq!(ask(&one, 4990).await, Reservation::Granted);
    // The new one's first answer: what was granted of it since stays counted.
    tell(&one, hour(4999, 3700, 60_000), 0).await;
    assert!(matches!(ask(&one, 4998).await, Reservation::Busy(_)));
    assert_eq!(ask(&one, 4997).await, Reservation::Granted);
}

#[rstest]
#[tokio::test]
async fn longest_pause_applies_to_all(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let meeting = Meeting::new(kept);
    let [one, other] = [meeting.enter().await, meeting.enter().await];
    let started = Instant::now();
    one.pause(TOKEN, Duration::from_millis(800), WaitReason::SecondaryLimit, 2).await.unwrap();
    other.pause(TOKEN, Duration::from_millis(100), WaitReason::RetryAfter, 0).await.unwrap();
    while let Reservation::Blocked { wait, reason, secondary_limit_hits: strikes } = ask(&other, 0).await {
        assert_eq!((reason, strikes), (WaitReason::SecondaryLimit, 2));
        assert!(wait <= Duration::from_millis(800));
        tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
    }
    assert!(started.elapsed() >= Duration::from_millis(790));
    assert_eq!(other.reserve("another", 0).await.unwrap(), Reservation::Granted, "another token does not pause");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn all_together_keep_one_tokens_pace(#[values(Kept::Sqlite, Kept::Mariadb, Kept::Innodb)] kept: Kept) {
    const SECONDS: f64 = 4.0;
    let meeting = Meeting::new(kept);
    let ledgers = meeting.enter_times(4).await;
    tell(&ledgers[0], hour(4000, 100, 60_000), 0).await;
    let started = Instant::now();
    let tasks = ledgers.into_iter().map(|ledger| {
        tokio::spawn(async move {
            let mut granted = 0;
            loop {
                match ask(&ledger, 0).await {
                    Reservation::Granted => granted += 1,
                    Reservation::Busy(wait) if started.elapsed().as_secs_f64() < SECONDS => {
                        tokio::time::sleep(wait).await
                    }
                    Reservation::Busy(_) => return granted,
                    later => panic!("{later:?}"),
                }
            }
        })
    });
    let granted: Vec<u32> = futures::future::try_join_all(tasks).await.unwrap();
    let (sum, most) = (f64::from(granted.iter().sum::<u32>()), 60.0 + 13.5 * started.elapsed().as_secs_f64() + 1.0);
    assert!(sum <= most && sum > 60.0 + 13.5 * SECONDS - 6.0, "{granted:?}, at most {most}");
}

#[rstest]
#[tokio::test]
async fn a_server_without_limits_is_not_paced(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let meeting = Meeting::new(kept);
    let ledger = meeting.enter().await;
    ledger.report(TOKEN, UsageReport::NoLimit { stated: false }).await.unwrap();
    for _ in 0..200 {
        assert_eq!(ask(&ledger, 1000).await, Reservation::Granted);
    }
    // Silence tells nothing of a token that has a limit; a limit of 0 does.
    tell(&ledger, hour(0, 100, 60_000), 0).await;
    ledger.report(TOKEN, UsageReport::NoLimit { stated: false }).await.unwrap();
    assert!(is_exhausted(ask(&ledger, 0).await));
    ledger.report(TOKEN, UsageReport::NoLimit { stated: true }).await.unwrap();
    assert_eq!(ask(&ledger, 0).await, Reservation::Granted);
}

#[rstest]
#[tokio::test]
async fn absurd_numbers_from_a_server_do_no_harm(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let meeting = Meeting::new(kept);
    let ledger = meeting.enter().await;
    for (limit, remaining, reset) in
        [(u64::MAX, 0, i64::MAX), (1, u64::MAX, i64::MIN), (u64::MAX, u64::MAX, 0), (1, 1, i64::MAX)]
    {
        let hour = RateWindow { limit, remaining, reset, wait: Duration::MAX };
        tell(&ledger, hour, u32::MAX).await;
        ledger.reserve(TOKEN, u64::MAX).await.unwrap();
        ledger.pause(TOKEN, Duration::MAX, WaitReason::RetryAfter, u32::MAX).await.unwrap();
        assert!(matches!(ask(&ledger, 0).await, Reservation::Blocked { .. }));
    }
}

#[rstest]
#[tokio::test]
async fn deadlines_of_a_clock_that_was_ahead_are_over(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let meeting = Meeting::new(kept);
    let ledger = meeting.enter().await;
    let hour_ahead = 3_700_000_000_i64;
    // What is spent until an hour ends that is further away than any, a pause, the pace.
    for column in ["reset_at", "paused_until", "due"] {
        tell(&ledger, hour(0, 100, 60_000), 0).await;
        if column != "reset_at" {
            tell(&ledger, hour(100, 1_000_000, 60_000), 0).await;
        }
        meeting.put_ahead(column, hour_ahead).await;
        assert_eq!(ask(&ledger, 0).await, Reservation::Granted, "{column}");
        // What GitHub tells then counts again, also of the same hour.
        tell(&ledger, hour(0, 2_000_000, 60_000), 0).await;
        assert!(is_exhausted(ask(&ledger, 0).await), "{column}");
        meeting.forget().await;
    }
    // No pause is kept for longer than an hour.
    ledger.pause(TOKEN, Duration::from_secs(7200), WaitReason::RetryAfter, 0).await.unwrap();
    let Reservation::Blocked { wait, .. } = ask(&ledger, 0).await else { panic!("it pauses") };
    assert!(wait <= Duration::from_secs(3600), "{wait:?}");
}

#[tokio::test]
async fn damaged_ledger_is_set_aside() {
    let meeting = Meeting::new(Kept::Sqlite);
    meeting.enter().await.close().await;
    let path = meeting.ledger_file();
    assert!(!path.with_extension("db-wal").exists(), "closed, it leaves nothing behind");
    for damage in [vec![0x5a; 9000], b"SQLite format 3\0 and no more".to_vec()] {
        std::fs::write(&path, damage).unwrap();
        let ledger = meeting.enter().await;
        assert_eq!(ask(&ledger, 0).await, Reservation::Granted);
        assert!(path.with_extension("db.damaged").exists());
        ledger.close().await;
    }
}

/// What one process holds in the game below.
struct Player {
    ledger: Arc<dyn RateLimitStore>,
    name: String,
    share: usize,
    in_flight: usize,
}

impl Player {
    async fn beat(&mut self) {
        let current = self.share.max(self.in_flight);
        let claims = [ConcurrencyClaim { token: TOKEN.to_owned(), current, max: 90 }];
        self.share = self.ledger.allocate(&self.name, &claims).await.unwrap()[0];
    }
}

#[rstest]
#[tokio::test]
async fn shares_never_exceed_the_limit(#[values(Kept::Sqlite, Kept::Mariadb)] kept: Kept) {
    let meeting = Meeting::new(kept);
    let mut players: Vec<Player> = Vec::new();
    for round in 0..12 {
        if round < 6 {
            let name = format!("p{round}");
            players.push(Player { ledger: meeting.enter().await, name, share: 0, in_flight: 0 });
        } else if round >= 9 {
            let gone = players.remove(0);
            gone.ledger.deregister(&gone.name).await.unwrap();
        }
        for turn in 0..players.len() {
            players[turn].beat().await;
            // As many as it may, and what it had before ends only slowly.
            let player = &mut players[turn];
            player.in_flight = player.share.max(player.in_flight.saturating_sub(25));
            let sum: usize = players.iter().map(|player| player.in_flight).sum();
            assert!(sum <= MAX_IN_FLIGHT + players.len(), "{sum} in flight in round {round}");
        }
    }
    for _ in 0..3 {
        for player in &mut players {
            player.beat().await;
            player.in_flight = player.share;
        }
    }
    assert!(players.iter().all(|player| player.share == 90 / players.len()), "what is left is divided in the end");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_claims_are_granted_once(#[values(Kept::Sqlite, Kept::Mariadb, Kept::Innodb)] kept: Kept) {
    let meeting = Meeting::new(kept);
    let mut players = Vec::new();
    for number in 0..6 {
        let player = Player { ledger: meeting.enter().await, name: format!("p{number}"), share: 0, in_flight: 0 };
        players.push(player);
    }
    for _ in 0..8 {
        let beats = players.into_iter().map(|mut player| {
            tokio::spawn(async move {
                player.beat().await;
                player
            })
        });
        players = futures::future::try_join_all(beats).await.unwrap();
        let shares: Vec<usize> = players.iter().map(|player| player.share).collect();
        assert!(shares.iter().sum::<usize>() <= MAX_IN_FLIGHT + players.len(), "{shares:?}");
    }
    assert!(players.iter().all(|player| player.share == 15));
}
