//! Who we are to the server: activation, tokens and their renewal with a proof.

use std::collections::HashSet;
use std::sync::Arc;

use omctl_protocol::api::{ActivateReply, ActivateRequest, DeviceInfo, Purpose, SchemaReply, TokenRequest, Tokens};
use omctl_protocol::frame::Proof;
use omctl_protocol::{AccountId, ChannelSchema, DeviceId};

use super::{Ask, Server};
use crate::Entropy;
use crate::mobster::keys::{DeviceKey, KeyStore};
use crate::mobster::owner::Desk;
use crate::mobster::{Credentials, MobsterError, Result};

/// An access token with less life than this is renewed before it is used.
const LIFE_MIN_MS: i64 = 30_000;

const JSON: &str = "application/json";

/// Everything that is needed to call the server as this device.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) server: Server,
    pub(crate) device: DeviceId,
    pub(crate) token: String,
    pub(crate) key: DeviceKey,
}

impl Access {
    pub(crate) fn prove(&self, purpose: Purpose, nonce: &str) -> Proof {
        self.key.prove(purpose, nonce, self.device, &self.token)
    }
}

/// Activates this file for a device and an account, and fetches what tables it will have.
pub(crate) async fn activate(
    desk: &Desk,
    keys: &Arc<dyn KeyStore>,
    url: &str,
    credentials: Credentials,
    info: (String, String),
) -> Result<()> {
    let server = Server::parse(url)?;
    let before = desk.ask(|owner| owned_by(owner.engine_mut()?.store())).await?;
    // Before anything is asked: the server would make a device that nobody can use.
    desk.ask(|owner| Ok(owner.engine_mut()?.store().may_activate()?)).await?;
    let (code, email, password) = match credentials {
        Credentials::Code(code) => (Some(code), None, None),
        Credentials::Password { email, password } => (None, Some(email), Some(password)),
    };
    // Before anything is asked, where that can be told: else a device is made at the server that nobody uses.
    if let (Some((_, known)), Some(email)) = (&before, &email)
        && !is_same_email(known, email)
    {
        return Err(MobsterError::OtherAccount { email: known.clone() });
    }
    let key = DeviceKey::load_or_make(&**keys, &Entropy::System).map_err(MobsterError::Io)?;
    let device = DeviceInfo { name: info.0, platform: info.1, public_key: key.public() };
    let request = ActivateRequest { code, email, password, device };
    let body = serde_json::to_vec(&request).expect("a request always has a JSON form");
    let ask = Ask { path: "/v1/activate", body: Some(body), content_type: JSON, ..Ask::default() };
    let reply: ActivateReply = server.json(ask).await?;
    let (token, url) = (reply.tokens.access_token.clone(), url.to_owned());
    desk.ask(move |owner| {
        // Looked up once more: this file may have been activated meanwhile.
        if let Some((account, email)) = owned_by(owner.engine_mut()?.store())?
            && account != reply.account
            && !is_same_email(&email, &reply.email)
        {
            return Err(MobsterError::OtherAccount { email });
        }
        let until = until_ms(owner.now_ms(), &reply.tokens);
        let notes = [
            ("server_url", url.as_str()),
            ("server_key", &reply.server_key),
            ("email", &reply.email),
            ("refresh_token", &reply.tokens.refresh_token),
            ("access_token", &reply.tokens.access_token),
            ("access_until_ms", &until),
        ];
        owner.activate(reply.device, reply.account, &notes)
    })
    .await?;
    let ask = Ask { path: "/v1/schema", bearer: Some(&token), ..Ask::default() };
    let schemas: SchemaReply = server.json(ask).await?;
    desk.ask(move |owner| {
        let store = owner.engine_mut()?.store_mut();
        // What it has already is told of by the session, which knows which version that is.
        let held: HashSet<_> = store.schemas().map(|schema| schema.channel.clone()).collect();
        let is_new = |schema: &&ChannelSchema| !held.contains(&schema.channel);
        for schema in schemas.earlier.iter().chain(&schemas.channels).filter(is_new) {
            store.install_schema(schema)?;
        }
        Ok(())
    })
    .await
}

/// Whose file it is: the account and its e-mail address.
fn owned_by(store: &crate::Store) -> Result<Option<(AccountId, String)>> {
    let Some(account) = store.account()? else { return Ok(None) };
    Ok(Some((account, store.note("email")?.unwrap_or_default())))
}

/// A server with another data folder gives an account another id; the address is what its owner knows.
fn is_same_email(one: &str, other: &str) -> bool {
    !one.is_empty() && one.trim().to_lowercase() == other.trim().to_lowercase()
}

fn until_ms(now_ms: i64, tokens: &Tokens) -> String {
    let life_ms = i64::try_from(tokens.expires_in_s).unwrap_or(0).saturating_mul(1000);
    now_ms.saturating_add(life_ms).to_string()
}

/// Keeps renewed tokens, unless the file has another device or none by now.
fn keep(store: &mut crate::Store, now_ms: i64, device: DeviceId, tokens: &Tokens) -> Result<()> {
    if store.device()? != Some(device) {
        return Err(MobsterError::NotActivated);
    }
    store.set_note("refresh_token", &tokens.refresh_token)?;
    store.set_note("access_token", &tokens.access_token)?;
    Ok(store.set_note("access_until_ms", &until_ms(now_ms, tokens))?)
}

/// The access in force, renewed where it is about to end or where `renew` says that the server refused it.
pub(crate) async fn access(desk: &Desk, keys: &Arc<dyn KeyStore>, renew: bool) -> Result<Access> {
    let (device, notes) = desk
        .ask(|owner| {
            let store = owner.engine_mut()?.store();
            let mut notes = Vec::new();
            for name in ["server_url", "access_token", "refresh_token", "access_until_ms"] {
                notes.push(store.note(name)?.ok_or(MobsterError::NotActivated)?);
            }
            Ok((store.device()?.ok_or(MobsterError::NotActivated)?, notes))
        })
        .await?;
    let [url, token, refresh, until] = <[String; 4]>::try_from(notes).map_err(|_| MobsterError::NotActivated)?;
    let key = DeviceKey::load_or_make(&**keys, &Entropy::System).map_err(MobsterError::Io)?;
    let access = Access { server: Server::parse(&url)?, device, token, key };
    let fresh = until.parse::<i64>().unwrap_or(0) > desk.now_ms().saturating_add(LIFE_MIN_MS);
    if fresh && !renew {
        return Ok(access);
    }
    let tokens = fetch_tokens(&access, &refresh).await?;
    let token = tokens.access_token.clone();
    desk.ask(move |owner| {
        let now_ms = owner.now_ms();
        keep(owner.engine_mut()?.store_mut(), now_ms, device, &tokens)
    })
    .await?;
    Ok(Access { token, ..access })
}

/// Trades the refresh token: the first answer brings the nonce that the second request signs.
async fn fetch_tokens(access: &Access, refresh: &str) -> Result<Tokens> {
    let mut proof = None;
    for _ in 0..3 {
        let request = TokenRequest { device: access.device, refresh_token: refresh.to_owned(), proof: proof.take() };
        let body = serde_json::to_vec(&request).expect("a request always has a JSON form");
        let ask = Ask { path: "/v1/token", body: Some(body), content_type: JSON, ..Ask::default() };
        match access.server.json(ask).await {
            Err(MobsterError::Refused { nonce: Some(nonce), .. }) => {
                proof = Some(access.key.prove(Purpose::Token, &nonce, access.device, refresh));
            }
            other => return other,
        }
    }
    Err(access.server.unreachable("it kept asking for another proof"))
}
