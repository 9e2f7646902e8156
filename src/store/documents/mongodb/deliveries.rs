//! The inbox of deliveries on a MongoDB server: heads in `deliveries`, with the body where it fits, else with its parts in
//! `delivery_parts`, which are written first.
//!
//! Times that change are milliseconds since 1970, as in the embedded store; `received_at` is a date.

use std::collections::HashMap;

use mongodb::IndexModel;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use mongodb::options::IndexOptions;

use super::connection::{COMMAND_TIMEOUT, Connection, ReadFrom, Statements, with_timeout};
use super::error::MongoError;
use super::layout::{ascending, integer, value_at};
use super::{MongoDocuments, STORE};
use crate::store::BackendError;
use crate::store::documents::deliveries::{
    Claim, ClaimedDelivery, CompressedBody, DeliveryCounts, DeliveryKey, DeliveryState, ListeningGap, NewDelivery,
    PurgedDeliveries, Stored, from_millis, headers_from_json, headers_to_json,
};

/// Collection of the heads.
const DELIVERIES: &str = "deliveries";
/// Collection of the parts of large bodies.
const PARTS: &str = "delivery_parts";
/// `_id` of the record of who listened when, beside the store's identity.
const LISTENING: &str = "listening";
/// Maximum bytes of a part; a document has at most 16 MB.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Maximum bytes of heads per command: a message has at most 48 MB.
const COMMAND_BYTES: usize = 12 * 1024 * 1024;
/// Keys per lookup.
const KEYS_PER_COMMAND: usize = 1000;

/// Creates the indexes that the inbox lacks.
pub(super) async fn ensure_indexes(connection: &Connection) -> Result<(), MongoError> {
    let index = |name: &str, keys: &[&str]| {
        let options = IndexOptions::builder().name(name.to_owned()).build();
        IndexModel::builder().keys(ascending(keys)).options(options).build()
    };
    let heads = vec![
        index("msght_available_at", &["available_at"]),
        index("msght_state", &["state", "received_at"]),
        index("msght_lease", &["lease"]),
    ];
    for (collection, indexes) in [(DELIVERIES, heads), (PARTS, vec![index("msght_delivery", &["delivery"])])] {
        let target = connection.database.collection::<RawDocumentBuf>(collection);
        with_timeout(COMMAND_TIMEOUT, target.create_indexes(indexes)).await?;
    }
    Ok(())
}

impl MongoDocuments {
    pub(in super::super) async fn store_deliveries(
        &self,
        deliveries: &[NewDelivery],
    ) -> Result<Vec<Stored>, BackendError> {
        let mut stored = vec![Stored::New; deliveries.len()];
        let mut batch: Vec<usize> = Vec::new();
        let mut bytes = 0;
        for (position, delivery) in deliveries.iter().enumerate() {
            let size = delivery.body.gzip.len();
            if !batch.is_empty() && bytes + size > COMMAND_BYTES {
                self.store_batch(deliveries, &std::mem::take(&mut batch), &mut stored).await?;
                bytes = 0;
            }
            batch.push(position);
            bytes += size.min(PART_BYTES);
        }
        self.store_batch(deliveries, &batch, &mut stored).await?;
        Ok(stored)
    }

    async fn store_batch(
        &self,
        deliveries: &[NewDelivery],
        batch: &[usize],
        stored: &mut [Stored],
    ) -> Result<(), BackendError> {
        let work = || insert(&self.connection, deliveries, batch);
        let outcomes = self.connection.retry("storing deliveries in", work).await?;
        for (position, outcome) in batch.iter().zip(outcomes) {
            stored[*position] = outcome;
        }
        Ok(())
    }

    pub(in super::super) async fn claim_deliveries(&self, claim: &Claim) -> Result<Vec<ClaimedDelivery>, BackendError> {
        self.connection.retry("reading deliveries of", || self.try_claim(claim)).await
    }

    async fn try_claim(&self, claim: &Claim) -> Result<Vec<ClaimedDelivery>, MongoError> {
        let connection = &self.connection;
        let waiting = doc! { "available_at": { "$lte": claim.now } };
        let first = Some((doc! { "available_at": 1 }, i64::from(claim.limit)));
        let ids = Some(doc! { "_id": 1 });
        let found = connection.find(DELIVERIES, waiting.clone(), ReadFrom::Primary, ids, first).await?;
        let ids: Vec<&str> = found.iter().filter_map(|head| text(head, "_id")).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // What another process has claimed since no longer matches.
        let mut condition = doc! { "_id": { "$in": ids } };
        condition.extend(waiting);
        let mut set = doc! { "state": "working", "available_at": claim.until, "lease": &claim.lease };
        set.insert("holder", claim.holder.clone());
        update(connection, DELIVERIES, vec![(condition, doc! { "$set": set }, Many::Yes)]).await?;
        let mine = doc! { "lease": &claim.lease };
        let order = Some((doc! { "received_at": 1 }, i64::from(claim.limit)));
        let fields = Some(doc! { "guid": 1, "hook_id": 1, "event": 1, "headers": 1, "received_at": 1, "attempts": 1 });
        let claimed = connection.find(DELIVERIES, mine, ReadFrom::Primary, fields, order).await?;
        let read = |head: &RawDocumentBuf| {
            Some(ClaimedDelivery {
                key: DeliveryKey { guid: text(head, "guid")?.to_owned(), hook_id: number(head, "hook_id")? },
                event: text(head, "event")?.to_owned(),
                headers: headers_from_json(text(head, "headers").unwrap_or("{}")),
                received_at: from_millis(time(head, "received_at")?),
                attempts: number(head, "attempts").and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
                lease: claim.lease.clone(),
            })
        };
        Ok(claimed.iter().filter_map(read).collect())
    }

    pub(in super::super) async fn delivery_body(
        &self,
        key: &DeliveryKey,
    ) -> Result<Option<CompressedBody>, BackendError> {
        self.connection.retry("reading a delivery of", || self.try_body(key)).await
    }

    async fn try_body(&self, key: &DeliveryKey) -> Result<Option<CompressedBody>, MongoError> {
        let id = key.to_string();
        let condition = doc! { "_id": &id };
        let found = self.connection.find(DELIVERIES, condition, ReadFrom::Primary, None, None).await?;
        let Some(head) = found.first() else { return Ok(None) };
        let size = number(head, "size").unwrap_or(0).unsigned_abs();
        if let Some(gzip) = binary(head, "body") {
            return Ok(Some(CompressedBody { gzip: gzip.to_vec(), size }));
        }
        let mut gzip = Vec::new();
        for part in 0..number(head, "parts").unwrap_or(0) {
            let condition = doc! { "_id": part_id(&id, part) };
            let found = self.connection.find(PARTS, condition, ReadFrom::Primary, None, None).await?;
            let Some(data) = found.first().and_then(|part| binary(part, "data")) else { return Ok(None) };
            gzip.extend_from_slice(data);
        }
        Ok(if gzip.is_empty() { None } else { Some(CompressedBody { gzip, size }) })
    }

    pub(in super::super) async fn finish_deliveries(
        &self,
        claimed: &[ClaimedDelivery],
        now: i64,
    ) -> Result<u64, BackendError> {
        let change = doc! {
            "$set": { "state": "done", "finished_at": now },
            "$unset": { "available_at": "", "lease": "", "holder": "", "reason": "" },
        };
        // Those of one claim have one lease.
        let mut by_lease: HashMap<&str, Vec<String>> = HashMap::new();
        for delivery in claimed {
            by_lease.entry(&delivery.lease).or_default().push(delivery.key.to_string());
        }
        let statements: Vec<_> = by_lease
            .into_iter()
            .map(|(lease, ids)| (doc! { "_id": { "$in": ids }, "lease": lease }, change.clone(), Many::Yes))
            .collect();
        let work = || update(&self.connection, DELIVERIES, statements.clone());
        self.connection.retry("marking deliveries as done in", work).await
    }

    pub(in super::super) async fn fail_delivery(
        &self,
        claimed: &ClaimedDelivery,
        retry_at: Option<i64>,
        reason: &str,
        now: i64,
    ) -> Result<(), BackendError> {
        let condition = doc! { "_id": claimed.key.to_string(), "lease": &claimed.lease };
        let mut set = doc! { "reason": reason };
        let mut unset = doc! { "lease": "", "holder": "" };
        if let Some(at) = retry_at {
            set.extend(doc! { "state": "failed", "available_at": at });
        } else {
            set.extend(doc! { "state": "dead", "finished_at": now });
            unset.insert("available_at", "");
        }
        let change = doc! { "$set": set, "$inc": { "attempts": 1 }, "$unset": unset };
        let work = || update(&self.connection, DELIVERIES, vec![(condition.clone(), change.clone(), Many::No)]);
        self.connection.retry("recording a failed delivery in", work).await.map(drop)
    }

    pub(in super::super) async fn release_deliveries(
        &self,
        claimed: &[ClaimedDelivery],
        now: i64,
    ) -> Result<(), BackendError> {
        let statements: Vec<_> = claimed
            .iter()
            .map(|delivery| {
                let condition = doc! { "_id": delivery.key.to_string(), "lease": &delivery.lease };
                (condition, release(now, delivery.attempts > 0), Many::No)
            })
            .collect();
        let work = || update(&self.connection, DELIVERIES, statements.clone());
        self.connection.retry("releasing deliveries of", work).await.map(drop)
    }

    pub(in super::super) async fn delivery_holders(&self) -> Result<Vec<String>, BackendError> {
        let work = || async {
            let condition = doc! { "state": "working" };
            let fields = Some(doc! { "holder": 1 });
            let found = self.connection.find(DELIVERIES, condition, ReadFrom::Primary, fields, None).await?;
            let mut holders: Vec<String> =
                found.iter().filter_map(|head| text(head, "holder").map(str::to_owned)).collect();
            holders.sort_unstable();
            holders.dedup();
            Ok(holders)
        };
        self.connection.retry("reading deliveries of", work).await
    }

    pub(in super::super) async fn release_deliveries_of(
        &self,
        holders: &[String],
        now: i64,
    ) -> Result<u64, BackendError> {
        let theirs = doc! { "state": "working", "holder": { "$in": holders } };
        let with = |attempts: Document| {
            let mut condition = theirs.clone();
            condition.insert("attempts", attempts);
            condition
        };
        let statements = vec![
            (with(doc! { "$gt": 0 }), release(now, true), Many::Yes),
            (with(doc! { "$lte": 0 }), release(now, false), Many::Yes),
        ];
        let work = || update(&self.connection, DELIVERIES, statements.clone());
        self.connection.retry("releasing deliveries of", work).await
    }

    pub(in super::super) async fn delivery_counts(&self) -> Result<DeliveryCounts, BackendError> {
        let work = || async {
            let heads = self.connection.database.collection::<RawDocumentBuf>(DELIVERIES);
            let mut counts = DeliveryCounts::default();
            for state in DeliveryState::ALL {
                let condition = doc! { "state": state.name() };
                counts.set(state, with_timeout(COMMAND_TIMEOUT, heads.count_documents(condition)).await?);
                if matches!(state, DeliveryState::Received | DeliveryState::Working | DeliveryState::Failed) {
                    let condition = doc! { "state": state.name() };
                    let first = Some((doc! { "received_at": 1 }, 1));
                    let fields = Some(doc! { "received_at": 1 });
                    let found = self.connection.find(DELIVERIES, condition, ReadFrom::Primary, fields, first).await?;
                    let at = found.first().and_then(|head| time(head, "received_at")).map(from_millis);
                    counts.oldest_pending = [counts.oldest_pending, at].into_iter().flatten().min();
                }
            }
            Ok(counts)
        };
        self.connection.retry("counting deliveries of", work).await
    }

    pub(in super::super) async fn known_deliveries(
        &self,
        keys: &[DeliveryKey],
    ) -> Result<HashMap<DeliveryKey, DeliveryState>, BackendError> {
        let work = || async {
            let mut known = HashMap::new();
            for chunk in keys.chunks(KEYS_PER_COMMAND) {
                let ids: Vec<String> = chunk.iter().map(DeliveryKey::to_string).collect();
                known.extend(states(&self.connection, &ids).await?);
            }
            let state = |key: &DeliveryKey| Some((key.clone(), *known.get(&key.to_string())?));
            Ok(keys.iter().filter_map(state).collect())
        };
        self.connection.retry("reading deliveries of", work).await
    }

    pub(in super::super) async fn purge_deliveries(
        &self,
        bodies_before: i64,
        heads_before: i64,
        limit: u32,
    ) -> Result<PurgedDeliveries, BackendError> {
        let work = || self.try_purge(bodies_before, heads_before, limit);
        self.connection.retry("removing old deliveries from", work).await
    }

    async fn try_purge(
        &self,
        bodies_before: i64,
        heads_before: i64,
        limit: u32,
    ) -> Result<PurgedDeliveries, MongoError> {
        let mut purged = PurgedDeliveries::default();
        for state in [DeliveryState::Done, DeliveryState::Dead] {
            for (before, is_body) in [(bodies_before, true), (heads_before, false)] {
                let mut condition = doc! {
                    "state": state.name(),
                    "received_at": { "$lt": date(before) },
                    "finished_at": { "$lt": before },
                };
                if is_body {
                    condition.insert("parts", doc! { "$gte": 0 });
                }
                let first = Some((doc! { "received_at": 1 }, i64::from(limit)));
                let fields = Some(doc! { "_id": 1 });
                let found =
                    self.connection.find(DELIVERIES, condition.clone(), ReadFrom::Primary, fields, first).await?;
                let ids: Vec<&str> = found.iter().filter_map(|head| text(head, "_id")).collect();
                if ids.is_empty() {
                    continue;
                }
                condition.insert("_id", doc! { "$in": &ids });
                if is_body {
                    let change = doc! { "$unset": { "body": "", "parts": "" } };
                    purged.bodies += update(&self.connection, DELIVERIES, vec![(condition, change, Many::Yes)]).await?;
                } else {
                    purged.heads += delete(&self.connection, DELIVERIES, condition).await?;
                }
                delete(&self.connection, PARTS, doc! { "delivery": { "$in": &ids } }).await?;
            }
        }
        Ok(purged)
    }

    pub(in super::super) async fn last_listened(&self) -> Result<Option<(i64, bool)>, BackendError> {
        let record = self.listening().await?;
        Ok(record.and_then(|record| {
            let stopped = is_true(&record, "stopped_cleanly");
            Some((number(&record, "last_at")?, stopped))
        }))
    }

    async fn listening(&self) -> Result<Option<RawDocumentBuf>, BackendError> {
        let work = || async {
            let condition = doc! { "_id": LISTENING };
            Ok(self.connection.find(STORE, condition, ReadFrom::Primary, None, None).await?.into_iter().next())
        };
        self.connection.retry("reading", work).await
    }

    pub(in super::super) async fn record_listening(&self, now: i64, stopped: bool) -> Result<(), BackendError> {
        self.set_listening(doc! { "$set": { "stopped_cleanly": stopped, "last_at": now } }).await
    }

    pub(in super::super) async fn record_gap(&self, from: i64, until: i64, clean: bool) -> Result<(), BackendError> {
        let gap = doc! { "gap_from": from, "gap_until": until, "gap_clean": clean };
        let mut record = doc! { "stopped_cleanly": false, "last_at": until };
        record.extend(gap);
        self.set_listening(doc! { "$set": record }).await
    }

    async fn set_listening(&self, change: Document) -> Result<(), BackendError> {
        let work = || {
            let statement = (doc! { "_id": LISTENING }, change.clone(), Many::Upsert);
            update(&self.connection, STORE, vec![statement])
        };
        self.connection.retry("writing to", work).await.map(drop)
    }

    pub(in super::super) async fn last_listening_gap(&self) -> Result<Option<ListeningGap>, BackendError> {
        Ok(self.listening().await?.and_then(|record| {
            Some(ListeningGap {
                from: from_millis(number(&record, "gap_from")?),
                until: from_millis(number(&record, "gap_until")?),
                stopped_cleanly: is_true(&record, "gap_clean"),
            })
        }))
    }
}

/// Inserts deliveries, and takes up those that are there and not done. Idempotent: what a lost attempt inserted is there.
async fn insert(
    connection: &Connection,
    deliveries: &[NewDelivery],
    batch: &[usize],
) -> Result<Vec<Stored>, MongoError> {
    let mut stored = vec![Stored::New; batch.len()];
    let mut heads = RawArrayBuf::new();
    // A key that is repeated within the batch is stored once.
    let mut first: HashMap<&DeliveryKey, usize> = HashMap::new();
    let mut repeated = Vec::new();
    let mut inserted = Vec::with_capacity(batch.len());
    for (place, position) in batch.iter().enumerate() {
        let delivery = &deliveries[*position];
        if let Some(first) = first.get(&delivery.key) {
            repeated.push((place, *first));
            continue;
        }
        first.insert(&delivery.key, place);
        write_parts(connection, delivery).await?;
        heads.push(raw(&head(delivery))?);
        inserted.push(place);
    }
    let outcome = connection.write(Statements::Insert, DELIVERIES, heads).await?;
    let mut known = Vec::new();
    for error in outcome.errors {
        match inserted.get(error.index) {
            Some(place) if error.is_duplicate() => known.push(*place),
            _ => return Err(error.into()),
        }
    }
    if !known.is_empty() {
        take_up(connection, deliveries, batch, known, &mut stored).await?;
    }
    for (place, first) in repeated {
        stored[place] = if stored[first] == Stored::Done { Stored::Done } else { Stored::Pending };
    }
    Ok(stored)
}

/// Takes up deliveries that are there: those that are not done are worked again.
async fn take_up(
    connection: &Connection,
    deliveries: &[NewDelivery],
    batch: &[usize],
    known: Vec<usize>,
    stored: &mut [Stored],
) -> Result<(), MongoError> {
    let ids: Vec<String> = known.iter().map(|place| deliveries[batch[*place]].key.to_string()).collect();
    let states = states(connection, &ids).await?;
    let mut statements = Vec::new();
    for (place, id) in known.into_iter().zip(ids) {
        stored[place] = Stored::Pending;
        let full = head(&deliveries[batch[place]]);
        let kept = |(key, _): &(String, Bson)| matches!(&**key, "state" | "available_at" | "body" | "parts" | "size");
        let mut change: Document = full.into_iter().filter(kept).collect();
        match states.get(&id) {
            Some(DeliveryState::Done) => stored[place] = Stored::Done,
            // Somebody is at it; should that fail, its lease ends.
            Some(DeliveryState::Working) | None => {}
            Some(state) => {
                if *state == DeliveryState::Dead {
                    change.insert("attempts", 0_i64);
                }
                // Had it been claimed or worked since, it would not be as it was found.
                let condition = doc! { "_id": id, "state": state.name() };
                statements.push((condition, doc! { "$set": change, "$unset": { "finished_at": "" } }, Many::No));
            }
        }
    }
    if !statements.is_empty() {
        update(connection, DELIVERIES, statements).await?;
    }
    Ok(())
}

/// Returns a delivery's head, with its body if that is not in parts.
fn head(delivery: &NewDelivery) -> Document {
    let NewDelivery { key, event, action, owner, repo, headers, received_at, body } = delivery;
    let millis = received_at.timestamp_millis();
    let parts = parts_of(body);
    let mut head = doc! {
        "_id": key.to_string(),
        "guid": &key.guid,
        "hook_id": key.hook_id,
        "event": event,
        "action": action.clone(),
        "owner": owner.clone(),
        "repo": repo.clone(),
        "headers": headers_to_json(headers),
        "received_at": date(millis),
        "available_at": millis,
        "state": DeliveryState::Received.name(),
        "attempts": 0_i64,
        "size": i64::try_from(body.size).unwrap_or(i64::MAX),
        "parts": parts,
    };
    if parts == 0 {
        head.insert("body", bytes(&body.gzip));
    }
    head
}

/// Returns the number of parts of a body; 0 if it fits into the head.
fn parts_of(body: &CompressedBody) -> i64 {
    match body.gzip.len() {
        0..=PART_BYTES => 0,
        size => i64::try_from(size.div_ceil(PART_BYTES)).unwrap_or(i64::MAX),
    }
}

/// Writes the parts of a large body.
async fn write_parts(connection: &Connection, delivery: &NewDelivery) -> Result<(), MongoError> {
    if parts_of(&delivery.body) == 0 {
        return Ok(());
    }
    let id = delivery.key.to_string();
    for (part, data) in (0_i64..).zip(delivery.body.gzip.chunks(PART_BYTES)) {
        let change = doc! { "$set": { "delivery": &id, "part": part, "data": bytes(data) } };
        update(connection, PARTS, vec![(doc! { "_id": part_id(&id, part) }, change, Many::Upsert)]).await?;
    }
    Ok(())
}

fn part_id(delivery: &str, part: i64) -> String {
    format!("{delivery}/{part}")
}

/// Returns the states of deliveries by their ids.
async fn states(connection: &Connection, ids: &[String]) -> Result<HashMap<String, DeliveryState>, MongoError> {
    let condition = doc! { "_id": { "$in": ids } };
    let fields = Some(doc! { "state": 1 });
    let found = connection.find(DELIVERIES, condition, ReadFrom::Primary, fields, None).await?;
    let state =
        |head: &RawDocumentBuf| Some((text(head, "_id")?.to_owned(), DeliveryState::parse(text(head, "state")?)?));
    Ok(found.iter().filter_map(state).collect())
}

/// Returns the change that gives a claimed delivery back.
fn release(now: i64, has_failed: bool) -> Document {
    let state = if has_failed { DeliveryState::Failed } else { DeliveryState::Received };
    doc! {
        "$set": { "state": state.name(), "available_at": now },
        "$unset": { "lease": "", "holder": "" },
    }
}

/// How many documents an update changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Many {
    /// The first one.
    No,
    /// All.
    Yes,
    /// The first one, which is made if there is none.
    Upsert,
}

/// Updates documents and returns the number that matched.
async fn update(
    connection: &Connection,
    collection: &str,
    updates: Vec<(Document, Document, Many)>,
) -> Result<u64, MongoError> {
    let mut statements = RawArrayBuf::new();
    for (condition, change, many) in updates {
        let (multi, upsert) = (many == Many::Yes, many == Many::Upsert);
        statements.push(raw(&doc! { "q": condition, "u": change, "multi": multi, "upsert": upsert })?);
    }
    let outcome = connection.write(Statements::Update, collection, statements).await?;
    match outcome.errors.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(outcome.matched.unsigned_abs()),
    }
}

async fn delete(connection: &Connection, collection: &str, condition: Document) -> Result<u64, MongoError> {
    let mut statements = RawArrayBuf::new();
    statements.push(raw(&doc! { "q": condition, "limit": 0 })?);
    let outcome = connection.write(Statements::Delete, collection, statements).await?;
    match outcome.errors.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(outcome.matched.unsigned_abs()),
    }
}

fn raw(document: &Document) -> Result<RawDocumentBuf, MongoError> {
    RawDocumentBuf::try_from(document).map_err(MongoError::from_bson)
}

fn bytes(data: &[u8]) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes: data.to_vec() }
}

fn date(millis: i64) -> DateTime {
    DateTime::from_millis(millis)
}

fn text<'a>(document: &'a RawDocument, key: &str) -> Option<&'a str> {
    value_at(document, key).and_then(RawBsonRef::as_str)
}

fn number(document: &RawDocument, key: &str) -> Option<i64> {
    value_at(document, key).and_then(integer)
}

/// Returns a truth value; some servers return it as a number.
fn is_true(document: &RawDocument, key: &str) -> bool {
    match value_at(document, key) {
        Some(RawBsonRef::Boolean(truth)) => truth,
        value => value.and_then(integer) == Some(1),
    }
}

fn time(document: &RawDocument, key: &str) -> Option<i64> {
    value_at(document, key).and_then(RawBsonRef::as_datetime).map(DateTime::timestamp_millis)
}

fn binary<'a>(document: &'a RawDocument, key: &str) -> Option<&'a [u8]> {
    value_at(document, key).and_then(RawBsonRef::as_binary).map(|binary| binary.bytes)
}
