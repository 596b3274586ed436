//! The real router, asked as hyper asks it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use omctl_protocol::api::Problem;

use super::*;
use crate::catalog::Catalog;
use crate::live::{Live, LiveHandle};
use crate::store::{CommitFeed, Store};

struct Edge {
    router: Router,
    state: AppState,
    _feed: CommitFeed,
}

impl Edge {
    async fn new() -> Self {
        let (clock, entropy) = (Clock::manual(1_700_000_000_000), Entropy::seeded(3));
        let connection = Arc::new(Mutex::new(rusqlite::Connection::open_in_memory().unwrap()));
        let (store, feed) = Store::inline(connection, clock.clone(), entropy.clone(), None).unwrap();
        let identity = Identity::new(store.clone(), clock.clone(), entropy.clone()).await.unwrap();
        let live = LiveHandle::new(Live::build(1, &Catalog::default(), Vec::new(), &BTreeMap::new()).unwrap());
        let tasks = Tasks::new();
        let sync = Sync::open(store.clone(), live.clone(), identity.clone(), tasks.clone()).await.unwrap();
        let push = Push::new();
        let state = AppState {
            admin: Admin::new(store, identity.clone(), live.clone(), sync.clone(), push.clone()),
            live,
            sync,
            push,
            identity,
            hosts: Arc::new(Hosts::new([])),
            proxies: Arc::default(),
            tasks,
            clock,
            entropy,
        };
        Self { router: router(state.clone()), state, _feed: feed }
    }

    async fn send(&self, request: Request) -> (StatusCode, Vec<u8>) {
        let response = TowerToHyperService::new(self.router.clone()).call(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    async fn problem(&self, request: Request) -> (u16, String) {
        let (status, body) = self.send(request).await;
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.status, status.as_u16());
        assert!(problem.request_id.is_some());
        (problem.status, problem.code)
    }

    async fn as_admin(&self, method: Method, path: &str, body: &str) -> (StatusCode, serde_json::Value) {
        let token = format!("Bearer {}", self.state.identity.admin_token());
        let request = request(method, path).header("authorization", token).body(Body::from(body.to_owned())).unwrap();
        let (status, body) = self.send(request).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost").header("content-type", "application/json")
}

fn plain(method: Method, path: &str) -> Request {
    request(method, path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn every_route_refuses_nobody_unless_it_is_named_open() {
    let edge = Edge::new().await;
    for route in routes() {
        let path = route.path.replace("{email}", "ana@example.com").replace("{id}", "x").replace("{channel}", "x");
        let (status, body) = edge.send(plain(route.method.clone(), &path)).await;
        let open = authorize(&Actor::Nobody, route.action).is_ok();
        assert_eq!(status == StatusCode::UNAUTHORIZED, !open, "{} {path}", route.method);
        if !open {
            let problem: Problem = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem.code, "unauthenticated");
            let wrong = request(route.method, &path).header("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.");
            assert_eq!(edge.problem(wrong.body(Body::empty()).unwrap()).await, (401, "invalid_token".into()));
        }
    }
}

#[tokio::test]
async fn accounts_are_made_listed_changed_and_given_codes() {
    let edge = Edge::new().await;
    let new = r#"{"email":"Ana@example.com","role":"tech","claims":{"regions":["north"]}}"#;
    let (status, made) = edge.as_admin(Method::POST, "/v1/admin/accounts", new).await;
    assert_eq!((status, &made["email"]), (StatusCode::CREATED, &"ana@example.com".into()));
    assert_eq!(edge.as_admin(Method::POST, "/v1/admin/accounts", new).await.0, StatusCode::CONFLICT);
    let (_, list) = edge.as_admin(Method::GET, "/v1/admin/accounts", "").await;
    assert_eq!(list["accounts"][0]["claims"]["regions"][0], "north");
    let path = "/v1/admin/accounts/ana%40example.com";
    let (_, changed) = edge.as_admin(Method::PATCH, path, r#"{"role":null}"#).await;
    assert_eq!((&changed["role"], &changed["claims"]["regions"][0]), (&serde_json::Value::Null, &"north".into()));
    let (status, code) = edge.as_admin(Method::POST, "/v1/admin/accounts/ana@example.com/codes", "").await;
    assert_eq!((status, code["code"].as_str().map(str::len)), (StatusCode::CREATED, Some(11)));
    let (status, problem) = edge.as_admin(Method::GET, "/v1/admin/accounts/bo@example.com", "").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
    let (status, _) = edge.as_admin(Method::POST, "/v1/admin/devices/nonsense/revoke", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_operators_ask_for_is_named_when_it_is_wrong() {
    let edge = Edge::new().await;
    let made = edge.as_admin(Method::POST, "/v1/admin/accounts", r#"{"email":"ana@example.com"}"#).await;
    assert_eq!(made.0, StatusCode::CREATED);
    for path in ["/v1/admin/accounts/anna@example.com", "/v1/admin/devices?account=anna@example.com"] {
        let (status, problem) = edge.as_admin(Method::GET, path, "").await;
        assert_eq!((status, &problem["hint"]), (StatusCode::NOT_FOUND, &"did you mean `ana@example.com`?".into()));
    }
    for path in ["/v1/admin/logs?level=loud", "/v1/admin/logs?lines=3", "/v1/admin/trace", "/v1/admin/devices?who=x"] {
        let (status, problem) = edge.as_admin(Method::GET, path, "").await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &"bad_value".into()), "{path}");
        assert!(problem["hint"].is_string(), "{path}");
    }
    let (status, _) = edge.as_admin(Method::GET, "/v1/admin/devices/0197a1b2-0000-7000-8000-000000000001", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let seed = r#"{"channels":[{"channel":"tickets","records":[]}]}"#;
    assert_eq!(edge.as_admin(Method::POST, "/v1/admin/seed", seed).await.0, StatusCode::NOT_FOUND);
    let (status, log) = edge.as_admin(Method::GET, "/v1/admin/logs?last=0", "").await;
    assert_eq!((status, log), (StatusCode::OK, serde_json::Value::Null), "a log may be empty");
}

#[tokio::test]
async fn an_import_may_be_larger_than_other_bodies_and_has_its_own_limits() {
    let edge = Edge::new().await;
    let rows = |number: usize| -> String {
        let rows = (0..number).map(|n| format!(r#"{{"line":{n},"email":"u{n}@example.com"}}"#));
        format!(r#"{{"dry_run":true,"rows":[{}]}}"#, rows.collect::<Vec<_>>().join(","))
    };
    let (large, too_many) = (rows(crate::limits::IMPORT_ACCOUNTS_MAX), rows(crate::limits::IMPORT_ACCOUNTS_MAX + 1));
    assert!(large.len() > crate::limits::API_BODY_BYTES_MAX);
    let (status, reply) = edge.as_admin(Method::POST, "/v1/admin/accounts/import", &large).await;
    assert_eq!(
        (status, &reply["done"], &reply["rows"][0]["outcome"]),
        (StatusCode::OK, &false.into(), &"added".into())
    );
    let (status, problem) = edge.as_admin(Method::POST, "/v1/admin/accounts/import", &too_many).await;
    assert_eq!((status, &problem["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &"rows".into()));
    let (_, list) = edge.as_admin(Method::GET, "/v1/admin/accounts", "").await;
    assert_eq!(list["accounts"], serde_json::json!([]), "what is tried is not done");
}

#[tokio::test]
async fn channels_and_schemas_are_those_that_are_live() {
    let edge = Edge::new().await;
    let (_, channels) = edge.as_admin(Method::GET, "/v1/admin/channels", "").await;
    assert_eq!(channels["generation"], 1);
    let (_, schema) = edge.as_admin(Method::GET, "/v1/schema", "").await;
    assert_eq!(schema["generation"], 1);
    let (status, problem) = edge.as_admin(Method::GET, "/v1/admin/channels/none", "").await;
    assert_eq!((status, &problem["code"]), (StatusCode::NOT_FOUND, &"not_found".into()));
}

#[tokio::test]
async fn paths_are_exact() {
    let edge = Edge::new().await;
    for path in ["/v1//activate", "/v1/activate/", "/v1/%61ctivate", "/V1/activate", "/..%2f..%2fetc/passwd", "/%00"] {
        assert_eq!(edge.problem(plain(Method::POST, path)).await, (404, "not_found".into()), "{path}");
    }
    assert_eq!(edge.problem(plain(Method::GET, "/v1/activate")).await.0, 405);
}

#[tokio::test]
async fn other_names_and_other_sites_are_refused() {
    let edge = Edge::new().await;
    let with = |host: &str, origin: Option<&str>| {
        let mut builder = Request::builder().uri("/healthz").header("host", host);
        if let Some(origin) = origin {
            builder = builder.header("origin", origin);
        }
        builder.body(Body::empty()).unwrap()
    };
    assert_eq!(edge.problem(with("evil.example", None)).await, (421, "bad_host".into()));
    assert_eq!(edge.problem(with("[::", None)).await.0, 400);
    assert_eq!(edge.problem(with("localhost", Some("%%"))).await.0, 400);
    assert_eq!(edge.problem(with("localhost", Some("https://evil"))).await, (403, "cross_site".into()));
    assert_eq!(edge.problem(with("localhost", Some("null"))).await, (403, "cross_site".into()));
    assert_eq!(edge.send(with("localhost:7400", Some("http://localhost:7400"))).await.0, StatusCode::OK);
    assert_eq!(edge.problem(Request::builder().uri("/healthz").body(Body::empty()).unwrap()).await.0, 400);
}

#[tokio::test]
async fn bodies_have_a_type_and_an_end() {
    let edge = Edge::new().await;
    let text = Request::builder().method(Method::POST).uri("/v1/activate").header("host", "localhost");
    let text = text.header("content-type", "text/plain").body(Body::from("{}")).unwrap();
    assert_eq!(edge.problem(text).await, (415, "content_type".into()));
    let large = " ".repeat(crate::limits::API_BODY_BYTES_MAX + 1);
    let declared = request(Method::POST, "/v1/activate").header("content-length", large.len());
    let declared = declared.body(Body::from(large)).unwrap();
    assert_eq!(edge.problem(declared).await, (413, "body_too_large".into()));
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1024]));
    let endless = request(Method::POST, "/v1/activate").body(Body::from_stream(endless)).unwrap();
    assert_eq!(edge.problem(endless).await, (413, "body_too_large".into()));
}
