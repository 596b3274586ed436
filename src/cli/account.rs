//! `omctl account`: who may use apps of this project.

use std::io::Read as _;

use omctl_protocol::admin::{AccountNew, AccountPatch, AccountView};
use serde_json::{Map, Value, json};

use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit};

/// Longest password that is read from stdin, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Make, change and list accounts
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Add(AddArgs),
    Set(SetArgs),
    List(ListArgs),
    Code(CodeArgs),
}

/// Make an account
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account add ana@example.com --role tech --claim 'regions=[north,south]'")]
struct AddArgs {
    /// Its e-mail address
    email: String,
    /// Its role, as `write:` and `scope:` of channels name it
    #[arg(long)]
    role: Option<String>,
    /// A claim for scope rules: `name=text`, or `name=[text,text]`; repeatable
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// Read a password from stdin; without one its devices are activated by codes
    #[arg(long)]
    password_stdin: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Change an account's role and claims; its connected devices see the difference at once
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account set ana@example.com --claim 'regions=[north]' --remove-claim team")]
struct SetArgs {
    /// Its e-mail address
    email: String,
    /// Its role from now on
    #[arg(long, conflicts_with = "no_role")]
    role: Option<String>,
    /// Take its role away
    #[arg(long)]
    no_role: bool,
    /// A claim that it has from now on: `name=text`, or `name=[text,text]`; repeatable
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// A claim that is taken away; repeatable
    #[arg(long = "remove-claim", value_name = "NAME")]
    remove_claims: Vec<String>,
    #[command(flatten)]
    remote: Remote,
}

/// List accounts
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account list --json | jq '.accounts[].email'")]
struct ListArgs {
    #[command(flatten)]
    remote: Remote,
}

/// Make a code that activates one device within ten minutes
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account code ana@example.com")]
struct CodeArgs {
    /// Whom the device will act for
    email: String,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::Add(args) => add(cli, args),
        What::Set(args) => set(cli, &args),
        What::List(args) => list(cli, &args),
        What::Code(args) => code(cli, &args),
    }
}

fn add(cli: &Cli, args: AddArgs) -> Result<Exit, CliError> {
    let claims = claims(&args.claims)?;
    let client = args.remote.connect(cli)?;
    let password = if args.password_stdin { Some(read_password()?) } else { None };
    let new = AccountNew { email: args.email, role: args.role, claims, password };
    let account = block_on(async { Ok(client.create_account(&new).await?) })?;
    let how = if account.has_password { "by password or code" } else { "by code" };
    let text = format!("account {} created; it activates devices {how}", account.email);
    cli.ui.result(text, || json!({ "type": "result", "schema": "omctl.account.add/1", "account": account }));
    cli.ui.next(format!("omctl account code {}", account.email));
    Ok(Exit::Ok)
}

fn set(cli: &Cli, args: &SetArgs) -> Result<Exit, CliError> {
    let given = claims(&args.claims)?;
    let role = match (&args.role, args.no_role) {
        (_, true) => Some(None),
        (role, false) => role.clone().map(Some),
    };
    if role.is_none() && given.is_empty() && args.remove_claims.is_empty() {
        return Err(CliError::new(Exit::Usage, "usage", "nothing to change was said")
            .hint("--role R, --no-role, --claim NAME=VALUE, or --remove-claim NAME"));
    }
    let client = args.remote.connect(cli)?;
    let account = block_on(async {
        let mut claims = client.account(&args.email).await?.claims;
        for name in &args.remove_claims {
            if claims.remove(name).is_none() {
                return Err(CliError::new(
                    Exit::NotFound,
                    "not_found",
                    format!("{} has no claim `{name}`", args.email),
                ));
            }
        }
        claims.extend(given);
        Ok(client
            .change_account(&args.email, &AccountPatch { role, claims: Some(claims), ..AccountPatch::default() })
            .await?)
    })?;
    let (role, claims) = (account.role.as_deref().unwrap_or("none"), Value::from(account.claims.clone()));
    cli.ui.result(
        format!("account {}: role {role}, claims {claims}", account.email),
        || json!({ "type": "result", "schema": "omctl.account.set/1", "account": account }),
    );
    Ok(Exit::Ok)
}

fn list(cli: &Cli, args: &ListArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let accounts = block_on(async { Ok(client.accounts().await?) })?.accounts;
    cli.ui.result(
        table(&accounts),
        || json!({ "type": "result", "schema": "omctl.account.list/1", "accounts": accounts }),
    );
    if accounts.is_empty() {
        cli.ui.next("omctl account add you@example.com");
    }
    Ok(Exit::Ok)
}

fn code(cli: &Cli, args: &CodeArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let made = block_on(async { Ok(client.create_code(&args.email).await?) })?;
    cli.ui.result(&made.code, || {
        json!({
            "type": "result", "schema": "omctl.account.code/1", "email": made.email, "code": made.code,
            "expires_ms": made.expires_ms,
        })
    });
    if !cli.ui.is_json() {
        cli.ui.note(format!("activates one device of {} within ten minutes", made.email));
    }
    Ok(Exit::Ok)
}

/// One line, without its end.
fn read_password() -> Result<String, CliError> {
    let unreadable = |message: String| CliError::new(Exit::Usage, "bad_password", message);
    let mut text = String::new();
    let read = std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| unreadable(format!("cannot read a password from stdin: {error}")))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password.is_empty() || password.contains('\n') {
        true => Err(unreadable("stdin has no password, or more than one line".to_owned())),
        false => Ok(password.to_owned()),
    }
}

fn claims(given: &[String]) -> Result<Map<String, Value>, CliError> {
    let wrong = |message: String| {
        CliError::new(Exit::Usage, "bad_claim", message)
            .hint("--claim region=north, or --claim 'regions=[north,south]'")
    };
    let mut claims = Map::new();
    for text in given {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(wrong(format!("`{text}` is not name=value")));
        };
        let value = claim(value).ok_or_else(|| wrong(format!("claim `{name}` is neither a text nor a list")))?;
        if claims.insert(name.to_owned(), value).is_some() {
            return Err(wrong(format!("claim `{name}` is given twice")));
        }
    }
    Ok(claims)
}

/// A text, or a list in JSON or as `[a,b]`.
fn claim(text: &str) -> Option<Value> {
    let Some(inside) = text.trim().strip_prefix('[') else { return Some(text.into()) };
    if let Ok(list) = serde_json::from_str::<Vec<Value>>(text) {
        return list.iter().all(|item| !item.is_object() && !item.is_array() && !item.is_null()).then(|| list.into());
    }
    let inside = inside.strip_suffix(']')?;
    let items: Vec<&str> = inside.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
    let plain = |item: &&str| !item.contains(['[', ']', '{', '}', '"']);
    items.iter().all(plain).then(|| items.into())
}

fn table(accounts: &[AccountView]) -> String {
    let head = ["EMAIL", "ROLE", "DEVICES", "STATE", "CLAIMS"].map(str::to_owned);
    let rows = accounts.iter().map(|account| {
        let claims =
            if account.claims.is_empty() { "-".into() } else { Value::from(account.claims.clone()).to_string() };
        let state = if account.disabled { "disabled" } else { "active" };
        let role = account.role.clone().unwrap_or_else(|| "-".to_owned());
        [account.email.clone(), role, account.devices.to_string(), state.to_owned(), claims]
    });
    super::columns(head, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_texts_or_lists() {
        let parse = |text: &str| claims(&[text.to_owned()]).map(|claims| Value::from(claims).to_string());
        assert_eq!(parse("region=north").unwrap(), r#"{"region":"north"}"#);
        assert_eq!(parse("formula=a=b").unwrap(), r#"{"formula":"a=b"}"#);
        assert_eq!(parse("regions=[north, south]").unwrap(), r#"{"regions":["north","south"]}"#);
        assert_eq!(parse(r#"levels=[1,"two",true]"#).unwrap(), r#"{"levels":[1,"two",true]}"#);
        assert_eq!(parse("none=[]").unwrap(), r#"{"none":[]}"#);
        for wrong in ["region", "=x", "r=[a", r#"r=[{"a":1}]"#, "r=[[1]]"] {
            assert_eq!(parse(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        assert_eq!(claims(&["a=1".into(), "a=2".into()]).unwrap_err().code, "bad_claim");
    }
}
