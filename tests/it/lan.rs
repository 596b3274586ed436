//! `omctl serve --lan`, by the real binary: a phone that has the pin syncs, everybody else is turned away.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use omctl_device::{Credentials, Mobster, MobsterError};
use omctl_protocol::Value as Stored;
use omctl_protocol::pin::Pin;
use serde_json::Value;

use crate::serve::{Project, Serving, omctl};

fn serve(project: &Project, addr: &str) -> Serving {
    let mut command = omctl(&project.root);
    command.args(["serve", "--lan", "--addr", addr, "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Serving { ready: serde_json::from_str(&line).unwrap(), child }
}

fn text<'a>(ready: &'a Value, member: &str) -> &'a str {
    ready["lan"][member].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_with_the_pin_syncs_and_one_with_another_is_refused() {
    let project = Project::new();
    let serving = serve(&project, "127.0.0.1:0");
    let (url, pin) = (text(&serving.ready, "phone_url"), text(&serving.ready, "pin"));
    assert!(url.starts_with("https://127.0.0.1:") && url.ends_with(pin), "{url}");
    assert!(text(&serving.ready, "emulator_url").starts_with("https://10.0.2.2:"));
    // The command line finds the server and its pin by itself.
    let add = ["account", "add", "ana@example.com", "--role", "tech"];
    assert_eq!(project.json(&add).0, 0);
    let code = || project.json(&["account", "code", "ana@example.com"]).1["code"].as_str().unwrap().to_owned();

    let folder = tempfile::tempdir().unwrap();
    let other = url.replace(pin, &Pin::of_key(b"another key").to_string());
    let stranger = Mobster::builder(&folder.path().join("stranger.db")).background(false).open().unwrap();
    let refused = stranger.activate(&other, Credentials::Code(code())).await.unwrap_err();
    assert!(matches!(&refused, MobsterError::Unreachable { why, .. } if why.contains("pinned")), "{refused}");
    let plain = url.split('#').next().unwrap();
    let unpinned = stranger.activate(plain, Credentials::Code(code())).await.unwrap_err();
    assert!(matches!(unpinned, MobsterError::BadUrl(_)), "nothing is trusted unasked: {unpinned}");

    let phone = Mobster::open(&folder.path().join("phone.db")).unwrap();
    phone.activate(url, Credentials::Code(code())).await.unwrap();
    let sql = "INSERT INTO customers (id, name) VALUES ('0197a1b2-0000-7000-8000-00000000beef', 'By wss')";
    let saved = phone.execute(sql, vec![]).await.unwrap();
    let answers = tokio::time::timeout(Duration::from_secs(30), phone.settled(saved.write)).await.unwrap().unwrap();
    assert_eq!(answers.len(), 1);
    let rows = phone.query("SELECT count(*) FROM customers", vec![]).await.unwrap();
    assert!(matches!(rows.rows[0][0], Stored::Int(count) if count > 1), "the seed came too: {rows:?}");
    // The same device once more with another pin: what it knows of the server does not help an impostor.
    drop(phone);
    let phone = Mobster::builder(&folder.path().join("phone.db")).background(false).open().unwrap();
    phone.sync_now().await.unwrap();
    phone.use_server(&other).await.unwrap();
    assert!(matches!(phone.sync_now().await, Err(MobsterError::Unreachable { .. })));
}

#[test]
fn a_port_with_tls_takes_nothing_plain_and_keeps_its_pin() {
    let project = Project::new();
    let serving = serve(&project, "127.0.0.1:0");
    let addr = serving.ready["addr"].as_str().unwrap().to_owned();
    let mut stream = TcpStream::connect(&addr).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = Vec::new();
    // An alert of TLS, or nothing but the end.
    drop(stream.read_to_end(&mut answer));
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let mut command = omctl(&project.root);
    command.args(["account", "list", "--server", &format!("http://{addr}")]).env("OMCTL_TOKEN", "x");
    assert_eq!(command.output().unwrap().status.code(), Some(5));

    let report = project.json(&["doctor"]).1;
    let server = report["checks"].as_array().unwrap().iter().find(|one| one["name"] == "server").unwrap();
    assert_eq!(server["status"], "ok", "{report}");
    let pin = text(&serving.ready, "pin").to_owned();
    drop(serving);
    let again = serve(&project, "127.0.0.1:0");
    assert_eq!(text(&again.ready, "pin"), pin, "phones know it by this");
    let key = project.root.join(".openmobster/dev/tls.key");
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(key).unwrap().permissions()) & 0o777, 0o600);
}

#[test]
fn an_open_address_without_tls_is_refused_unless_a_proxy_is_declared() {
    let project = Project::new();
    let (code, error) = project.json(&["serve", "--addr", "0.0.0.0:0"]);
    assert_eq!((code, &error["code"]), (4, &"exposed".into()));
    assert!(error["hint"].as_str().unwrap().contains("--lan"), "{error}");
    // What the server may not do does not keep anybody from asking one.
    std::fs::write(project.root.join("openmobster.yaml"), "version: 1\nserver: { addr: 0.0.0.0:7400 }\n").unwrap();
    assert_eq!(project.json(&["account", "list"]).1["code"], "no_server");
    let declared = "version: 1\nserver: { addr: 0.0.0.0:0, trusted_proxies: [10.0.0.0/8] }\n";
    std::fs::write(project.root.join("openmobster.yaml"), declared).unwrap();
    let mut child = omctl(&project.root).args(["serve", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let serving = Serving { ready: serde_json::from_str(&line).unwrap(), child };
    assert!(serving.ready["lan"].is_null());
}

#[test]
fn a_simulated_fleet_goes_through_tls_too() {
    let project = Project::new();
    let _serving = serve(&project, "127.0.0.1:0");
    assert_eq!(project.json(&["account", "add", "ana@example.com"]).0, 0);
    let args = ["device", "simulate", "--account", "ana@example.com", "--devices", "2", "--duration", "1s"];
    let output = project.run(&args);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_server_behind_a_proxy_answers_to_the_names_that_it_declares() {
    use std::io::{Read as _, Write as _};
    let project = Project::new();
    let text = "version: 1\nserver: { addr: 127.0.0.1:0, hosts: [app.example.com] }\n";
    std::fs::write(project.root.join("openmobster.yaml"), text).unwrap();
    let serving = project.serve();
    let status = |host: &str| {
        let mut stream = std::net::TcpStream::connect(serving.ready["addr"].as_str().unwrap()).unwrap();
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(["app.example.com", "APP.example.com:443", "127.0.0.1"].map(status), ["200", "200", "200"]);
    assert_eq!(["other.example.com", "example.com"].map(status), ["421", "421"]);
    std::fs::write(project.root.join("openmobster.yaml"), text.replace("app.example.com", "\"https://x\"")).unwrap();
    assert_eq!(project.json(&["check"]).0, 3);
}
