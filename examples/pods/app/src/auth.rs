//! Who asks: a cookie or an API key, looked up in PostgreSQL and remembered for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt as _;
use serde::Serialize;
use tokio::time::Instant;

use crate::bus::{Bus, BusError};
use crate::db::{Db, DbError};
use crate::http::Refusal;
use crate::log::say;
use crate::serve::Pod;

/// The longest that a revoked credential can be taken for good when the announcement is missed.
const REMEMBERED: Duration = Duration::from_secs(2);

pub(crate) const COOKIE: &str = "session";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Session,
    ApiKey,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::ApiKey => "api-key",
        }
    }
}

/// Who asks, and by what they are known.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) user: i64,
    pub(crate) name: String,
    pub(crate) credential: i64,
    pub(crate) kind: Kind,
}

/// A new credential. The secret is shown this once.
#[derive(Debug, Serialize)]
pub(crate) struct Issued {
    pub(crate) id: i64,
    pub(crate) secret: String,
}

#[derive(Debug)]
pub(crate) struct Auth {
    db: Arc<Db>,
    bus: Arc<Bus>,
    cache: Mutex<HashMap<String, Cached>>,
}

#[derive(Debug)]
struct Cached {
    identity: Identity,
    until: Instant,
}

impl Auth {
    pub(crate) fn new(db: Arc<Db>, bus: Arc<Bus>) -> Self {
        Self { db, bus, cache: Mutex::default() }
    }

    /// Whom `secret` belongs to, if it is good.
    pub(crate) async fn identify(&self, secret: &str, kind: Kind) -> Result<Option<Identity>, DbError> {
        if let Some(identity) = self.remembered(secret, kind) {
            return Ok(Some(identity));
        }
        let row = self
            .db
            .query_opt(
                "SELECT u.id, u.name, c.id FROM credentials c JOIN users u ON u.id = c.user_id
                 WHERE c.digest = sha256(convert_to($1, 'UTF8')) AND c.kind = $2",
                &[&secret, &kind.as_str()],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let identity = Identity { user: row.get(0), name: row.get(1), credential: row.get(2), kind };
        self.remember(secret, identity.clone());
        Ok(Some(identity))
    }

    /// Makes a credential for `user`.
    pub(crate) async fn issue(&self, user: i64, kind: Kind) -> Result<Issued, DbError> {
        let rows = self
            .db
            .query(
                "WITH fresh AS MATERIALIZED (
                     SELECT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '') AS secret
                 )
                 INSERT INTO credentials (user_id, kind, digest)
                 SELECT $1, $2, sha256(convert_to(secret, 'UTF8')) FROM fresh
                 RETURNING id, (SELECT secret FROM fresh)",
                &[&user, &kind.as_str()],
            )
            .await?;
        Ok(Issued { id: rows[0].get(0), secret: rows[0].get(1) })
    }

    /// Ends a credential of `user`, here at once and on every other pod as soon as it hears of it. Says whether
    /// there was one.
    pub(crate) async fn revoke(&self, user: i64, credential: i64, kind: Kind) -> Result<bool, DbError> {
        let gone = self
            .db
            .query_opt(
                "DELETE FROM credentials WHERE id = $1 AND user_id = $2 AND kind = $3 RETURNING id",
                &[&credential, &user, &kind.as_str()],
            )
            .await?
            .is_some();
        self.forget(credential);
        if let Err(error) = self.bus.announce_revoked(credential).await {
            // It is revoked all the same: no pod remembers it for longer than `REMEMBERED`.
            say!("{error}");
        }
        Ok(gone)
    }

    /// Forgets whatever another pod has revoked, for as long as the pod lives.
    pub(crate) async fn hear_revocations(self: Arc<Self>) -> Result<(), BusError> {
        let mut revocations = self.bus.revocations().await?;
        while let Some(message) = revocations.next().await {
            if let Some(credential) =
                std::str::from_utf8(&message.payload).ok().and_then(|id| id.parse().ok())
            {
                self.forget(credential);
            }
        }
        Ok(())
    }

    fn remembered(&self, secret: &str, kind: Kind) -> Option<Identity> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.get(secret)?;
        (found.until > Instant::now() && found.identity.kind == kind).then(|| found.identity.clone())
    }

    fn remember(&self, secret: &str, identity: Identity) {
        let now = Instant::now();
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, cached| cached.until > now);
        cache.insert(secret.to_owned(), Cached { identity, until: now + REMEMBERED });
    }

    fn forget(&self, credential: i64) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|_, cached| cached.identity.credential != credential);
    }
}

/// Taking an [`Identity`] as an argument is what makes a route ask for a credential.
impl FromRequestParts<Arc<Pod>> for Identity {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, pod: &Arc<Pod>) -> Result<Self, Refusal> {
        let (secret, kind) = shown(&parts.headers).ok_or(Refusal::SignInFirst)?;
        pod.auth.identify(secret, kind).await?.ok_or(Refusal::SignInFirst)
    }
}

/// The credential that a request shows. A key, being deliberate, goes before a cookie.
fn shown(headers: &HeaderMap) -> Option<(&str, Kind)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = text(header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer ")) {
        return Some((key, Kind::ApiKey));
    }
    let cookies = text(header::COOKIE)?.split("; ").filter_map(|pair| pair.split_once('='));
    cookies.into_iter().find(|(name, _)| *name == COOKIE).map(|(_, secret)| (secret, Kind::Session))
}
