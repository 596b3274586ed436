//! The room as its callers see it, over a real store in memory.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;
use std::time::Duration;

use omctl_protocol::api::{ActivateReply, ActivateRequest, DeviceInfo, Purpose, TokenRequest, proof_text};
use omctl_protocol::frame::Proof;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Signer as _;

use super::*;
use crate::store::CommitFeed;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct World {
    identity: Identity,
    clock: Clock,
    entropy: Entropy,
    _feed: CommitFeed,
}

struct Phone {
    key: SigningKey,
    reply: ActivateReply,
}

impl World {
    async fn new() -> Self {
        Self::over(Arc::new(Mutex::new(rusqlite::Connection::open_in_memory().unwrap()))).await
    }

    async fn over(connection: Arc<Mutex<rusqlite::Connection>>) -> Self {
        let (clock, entropy) = (Clock::manual(1_700_000_000_000), Entropy::seeded(11));
        let (store, feed) = Store::inline(connection, clock.clone(), entropy.clone(), None).unwrap();
        let identity = Identity::new(store, clock.clone(), entropy.clone()).await.unwrap();
        Self { identity, clock, entropy, _feed: feed }
    }

    async fn with_account(email: &str, password: Option<&str>) -> Self {
        let world = Self::new().await;
        let new = NewAccount { email: email.into(), password: password.map(Into::into), ..NewAccount::default() };
        world.identity.create_account(new).await.unwrap();
        world
    }

    fn request(&self, key: &SigningKey) -> ActivateRequest {
        let public_key = BASE64.encode(key.verifying_key().to_sec1_bytes());
        let device = DeviceInfo { name: "a phone".into(), platform: "simulated".into(), public_key };
        ActivateRequest { code: None, email: None, password: None, device }
    }

    fn key(&self) -> SigningKey {
        SigningKey::from_slice(&self.entropy.secret()).unwrap()
    }

    async fn phone(&self, email: &str) -> Phone {
        let key = self.key();
        let code = self.identity.create_code(email).await.unwrap().0;
        let request = ActivateRequest { code: Some(code), ..self.request(&key) };
        Phone { reply: self.identity.activate(request, HERE).await.unwrap(), key }
    }

    fn proof(&self, purpose: Purpose, device: DeviceId, key: &SigningKey, token: &str) -> Proof {
        let nonce = self.identity.nonce();
        let signature: Signature = key.sign(proof_text(purpose, &nonce, device, token).as_bytes());
        Proof { nonce, signature: BASE64.encode(signature.to_bytes()) }
    }

    async fn refresh(&self, phone: &Phone, key: &SigningKey, token: &str) -> Result<String, &'static str> {
        let device = phone.reply.device;
        let proof = Some(self.proof(Purpose::Token, device, key, token));
        let request = TokenRequest { device, refresh_token: token.into(), proof };
        self.identity.token(request).await.map(|tokens| tokens.refresh_token).map_err(|error| error.code())
    }
}

fn code_of<T>(result: Result<T, IdentityError>) -> &'static str {
    result.err().map_or("ok", |error| error.code())
}

#[tokio::test]
async fn a_code_activates_one_device_and_its_tokens_name_it() {
    let world = World::with_account("Ana@Example.com", None).await;
    let phone = world.phone("ana@example.com").await;
    assert_eq!(phone.reply.email, "ana@example.com");
    let principal = world.identity.authenticate(&phone.reply.tokens.access_token).await.unwrap();
    assert_eq!((principal.device_id, principal.account_id), (phone.reply.device, phone.reply.account));
    world.clock.advance(limits::ACCESS_TOKEN_LIFE);
    assert_eq!(code_of(world.identity.authenticate(&phone.reply.tokens.access_token).await), "token_expired");
    assert_eq!(code_of(world.identity.authenticate("omat_nothing").await), "invalid_token");
}

#[tokio::test]
async fn of_many_uses_of_one_code_one_succeeds() {
    let world = World::with_account("ana@example.com", None).await;
    let code = world.identity.create_code("ana@example.com").await.unwrap().0;
    let uses = (0..100).map(|_| {
        let request = ActivateRequest { code: Some(code.to_lowercase()), ..world.request(&world.key()) };
        world.identity.activate(request, HERE)
    });
    let codes: Vec<_> = futures_util::future::join_all(uses).await.into_iter().map(code_of).collect();
    assert_eq!(codes.iter().filter(|code| **code == "ok").count(), 1);
    assert_eq!(codes.iter().filter(|code| **code == "code_used").count(), 99);
}

#[tokio::test]
async fn an_old_code_is_told_apart_from_a_wrong_one() {
    let world = World::with_account("ana@example.com", None).await;
    let code = world.identity.create_code("ana@example.com").await.unwrap().0;
    world.clock.advance(limits::ACTIVATION_CODE_LIFE);
    let with = |code: &str| ActivateRequest { code: Some(code.into()), ..world.request(&world.key()) };
    assert_eq!(code_of(world.identity.activate(with(&code), HERE).await), "code_expired");
    assert_eq!(code_of(world.identity.activate(with("WRONG-WRONG"), HERE).await), "invalid_code");
}

#[tokio::test]
async fn guessing_is_slowed_and_burns_a_targeted_code() {
    let world = World::with_account("ana@example.com", None).await;
    let code = world.identity.create_code("ana@example.com").await.unwrap().0;
    let with = |code: &str| ActivateRequest {
        code: Some(code.into()),
        email: Some("ana@example.com".into()),
        ..world.request(&world.key())
    };
    for _ in 0..limits::ACTIVATION_MISSES_MAX {
        assert_eq!(code_of(world.identity.activate(with("WRONG-WRONG"), HERE).await), "invalid_code");
    }
    assert_eq!(code_of(world.identity.activate(with(&code), HERE).await), "code_expired");
    for _ in limits::ACTIVATION_MISSES_MAX..limits::ACTIVATIONS_PER_MINUTE {
        assert_eq!(code_of(world.identity.activate(with("WRONG-WRONG"), HERE).await), "invalid_code");
    }
    let error = world.identity.activate(with(&code), HERE).await.unwrap_err();
    assert!(matches!(error, IdentityError::RateLimited { retry_after_s: 60 }), "{error:?}");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(code_of(world.identity.activate(with("WRONG-WRONG"), HERE).await), "invalid_code");
}

#[tokio::test]
async fn unknown_and_known_accounts_cost_the_same_hashes_and_get_the_same_answer() {
    let world = World::with_account("ana@example.com", Some("correct horse")).await;
    world.identity.create_account(NewAccount { email: "bo@example.com".into(), ..Default::default() }).await.unwrap();
    let try_it = async |email: &str, password: &str| {
        let before = world.identity.password_hashes();
        let request = ActivateRequest {
            email: Some(email.into()),
            password: Some(password.into()),
            ..world.request(&world.key())
        };
        let code = code_of(world.identity.activate(request, HERE).await);
        (code, world.identity.password_hashes() - before)
    };
    assert_eq!(try_it("ana@example.com", "wrong horse").await, ("invalid_credentials", 1));
    assert_eq!(try_it("nobody@example.com", "wrong horse").await, ("invalid_credentials", 1));
    assert_eq!(try_it("bo@example.com", "wrong horse").await, ("invalid_credentials", 1));
    assert_eq!(try_it("ANA@example.com", "correct horse").await, ("ok", 1));
}

#[tokio::test]
async fn a_rotated_token_brings_the_same_successor_for_a_minute() {
    let world = World::with_account("ana@example.com", None).await;
    let phone = world.phone("ana@example.com").await;
    let first = phone.reply.tokens.refresh_token.clone();
    let second = world.refresh(&phone, &phone.key, &first).await.unwrap();
    world.clock.advance(limits::REFRESH_GRACE);
    assert_eq!(world.refresh(&phone, &phone.key, &first).await.as_deref(), Ok(second.as_str()));
    assert!(world.refresh(&phone, &phone.key, &second).await.is_ok());
}

#[tokio::test]
async fn reuse_after_the_grace_voids_every_token_of_the_device() {
    let world = World::with_account("ana@example.com", None).await;
    let phone = world.phone("ana@example.com").await;
    let first = phone.reply.tokens.refresh_token.clone();
    let second = world.refresh(&phone, &phone.key, &first).await.unwrap();
    world.clock.advance(limits::REFRESH_GRACE + Duration::from_millis(1));
    assert_eq!(world.refresh(&phone, &phone.key, &first).await, Err("token_reused"));
    assert_eq!(world.refresh(&phone, &phone.key, &second).await, Err("token_reused"));
    assert_eq!(code_of(world.identity.authenticate(&phone.reply.tokens.access_token).await), "invalid_token");
}

#[tokio::test]
async fn another_key_gets_nothing_and_betrays_itself_with_a_rotated_token() {
    let world = World::with_account("ana@example.com", None).await;
    let phone = world.phone("ana@example.com").await;
    let (thief, first) = (world.key(), phone.reply.tokens.refresh_token.clone());
    assert_eq!(world.refresh(&phone, &thief, &first).await, Err("invalid_proof"));
    let second = world.refresh(&phone, &phone.key, &first).await.unwrap();
    assert_eq!(world.refresh(&phone, &thief, &first).await, Err("token_reused"));
    assert_eq!(world.refresh(&phone, &phone.key, &second).await, Err("token_reused"));
}

#[tokio::test]
async fn a_proof_is_for_one_purpose_one_device_one_token_and_one_use() {
    let world = World::with_account("ana@example.com", None).await;
    let (phone, other) = (world.phone("ana@example.com").await, world.phone("ana@example.com").await);
    let token = &phone.reply.tokens.access_token;
    let principal = world.identity.authenticate(token).await.unwrap();
    let verify =
        |purpose, token: &str, proof: &Proof| code_of(world.identity.verify_proof(purpose, &principal, token, proof));
    let proof = world.proof(Purpose::Live, principal.device_id, &phone.key, token);
    assert_eq!(verify(Purpose::Sync, token, &proof), "invalid_proof");
    assert_eq!(verify(Purpose::Live, "omat_other", &proof), "invalid_proof");
    assert_eq!(verify(Purpose::Live, token, &proof), "ok");
    assert_eq!(verify(Purpose::Live, token, &proof), "invalid_proof");
    let stolen = world.proof(Purpose::Live, principal.device_id, &other.key, token);
    assert_eq!(verify(Purpose::Live, token, &stolen), "invalid_proof");
    let late = world.proof(Purpose::Live, principal.device_id, &phone.key, token);
    world.clock.advance(limits::NONCE_LIFE + Duration::from_millis(1));
    assert_eq!(verify(Purpose::Live, token, &late), "invalid_proof");
    let request = TokenRequest { device: phone.reply.device, refresh_token: "omrt_x".into(), proof: None };
    assert!(matches!(world.identity.token(request).await, Err(IdentityError::NonceRequired { .. })));
}

#[tokio::test]
async fn a_revoked_device_and_a_disabled_account_are_refused_by_name() {
    let world = World::with_account("ana@example.com", None).await;
    let phone = world.phone("ana@example.com").await;
    let token = &phone.reply.tokens.access_token;
    let number = world.identity.authenticate(token).await.unwrap().device;
    let disable =
        |disabled| world.identity.change_account("ana@example.com", None, None, Some(disabled), PasswordChange::Keep);
    disable(true).await.unwrap();
    assert_eq!(code_of(world.identity.authenticate(token).await), "account_disabled");
    disable(false).await.unwrap();
    assert_eq!(code_of(world.identity.authenticate(token).await), "ok");
    world.identity.inner.store.revoke_device(phone.reply.device).await.unwrap();
    assert_eq!(code_of(world.identity.authenticate(token).await), "device_revoked");
    assert_eq!(world.refresh(&phone, &phone.key, &phone.reply.tokens.refresh_token).await, Err("device_revoked"));
    assert_eq!(world.identity.principal_of(number).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_account_is_refused() {
    let world = World::with_account("ana@example.com", None).await;
    let create = |email: &str, role: Option<&str>, claims: &str| {
        let (email, role) = (email.to_owned(), role.map(str::to_owned));
        let claims = serde_json::from_str(claims).unwrap();
        world.identity.create_account(NewAccount { email, role, claims, password: None })
    };
    assert_eq!(code_of(create("ANA@example.com", None, "{}").await), "exists");
    assert_eq!(code_of(create("no address", None, "{}").await), "bad_value");
    assert_eq!(code_of(create("a@b", Some("any"), "{}").await), "bad_value");
    assert_eq!(code_of(create("a@b", None, r#"{"deep":{"er":1}}"#).await), "bad_value");
    assert_eq!(code_of(create("a@b", Some("tech"), r#"{"regions":["north",1]}"#).await), "ok");
    let changed = world.identity.change_account("A@B", Some(None), None, None, PasswordChange::Keep).await.unwrap();
    assert_eq!((changed.role, changed.claims.len()), (None, 1));
}

#[test]
fn nobody_may_do_what_is_not_named() {
    let open = [Action::ReadHealth, Action::Activate, Action::RefreshTokens];
    for action in Action::ALL {
        assert_eq!(authorize(&Actor::Nobody, action).is_ok(), open.contains(&action), "{action:?}");
    }
    assert!(matches!(authorize(&Actor::Admin, Action::Sync), Err(IdentityError::Forbidden)));
}

#[tokio::test]
async fn a_server_that_was_set_back_knows_the_tokens_that_it_gave_since() {
    let database = Arc::new(Mutex::new(rusqlite::Connection::open_in_memory().unwrap()));
    let world = World::over(database.clone()).await;
    world
        .identity
        .create_account(NewAccount { email: "ana@example.com".into(), ..NewAccount::default() })
        .await
        .unwrap();
    let phone = world.phone("ana@example.com").await;
    let mut snapshot = rusqlite::Connection::open_in_memory().unwrap();
    rusqlite::backup::Backup::new(&database.lock().unwrap(), &mut snapshot).unwrap().step(-1).unwrap();
    let first = phone.reply.tokens.refresh_token.clone();
    let mut token = first.clone();
    for _ in 0..3 {
        token = world.refresh(&phone, &phone.key, &token).await.unwrap();
    }
    let world = World::over(Arc::new(Mutex::new(snapshot))).await;
    // By another key, or made up: no.
    let other = world.key();
    assert_eq!(world.refresh(&phone, &other, &token).await, Err("invalid_proof"));
    let mut forged = BASE64.decode(token.strip_prefix("omrt_").unwrap()).unwrap();
    forged[0] ^= 1;
    let forged = format!("omrt_{}", BASE64.encode(forged));
    assert_eq!(world.refresh(&phone, &phone.key, &forged).await, Err("invalid_token"));
    let next = world.refresh(&phone, &phone.key, &token).await.unwrap();
    assert_eq!(world.refresh(&phone, &phone.key, &token).await.as_ref(), Ok(&next), "the answer was lost");
    let after = world.refresh(&phone, &phone.key, &next).await.unwrap();
    assert_ne!(next, after);
    // What is older than the newest one known is a reuse: never a way back.
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.refresh(&phone, &phone.key, &first).await, Err("token_reused"));
    assert_eq!(world.refresh(&phone, &phone.key, &after).await, Err("token_reused"), "all are void");
}

#[tokio::test]
async fn a_locked_device_may_open_a_session_and_do_nothing_else() {
    use omctl_protocol::frame::CommandKind;
    let world = World::with_account("ana@example.com", None).await;
    let phone = world.phone("ana@example.com").await;
    let token = &phone.reply.tokens.access_token;
    for kind in [CommandKind::Lock, CommandKind::Wipe] {
        world.identity.inner.store.order(phone.reply.device, kind).await.unwrap();
        let actor = world.identity.actor(token).await.unwrap();
        assert!(authorize(&actor, Action::Sync).is_ok());
        for action in Action::ALL.into_iter().filter(|action| *action != Action::Sync) {
            let is_open = matches!(action, Action::ReadHealth | Action::Activate | Action::RefreshTokens);
            assert_eq!(authorize(&actor, action).is_ok(), is_open, "{action:?}");
        }
        let number = world.identity.authenticate(token).await.unwrap().device;
        assert_eq!(world.identity.principal_of(number).await.unwrap(), None);
    }
}
