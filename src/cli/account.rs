//! `omctl account`: who may use apps of this project.

use omctl_protocol::admin::{AccountNew, AccountPatch, AccountView, DeviceQuery, DeviceView};
use serde_json::{Map, Value, json};

use super::account_import::{self, ImportArgs};
use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, agree, devices, password};
use crate::catalog::near;
use crate::clock::Entropy;

/// Make, change and list accounts
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Add(AddArgs),
    List(ListArgs),
    Show(ShowArgs),
    Set(SetArgs),
    Disable(DisableArgs),
    Enable(EnableArgs),
    Passwd(PasswdArgs),
    Remove(RemoveArgs),
    Import(ImportArgs),
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
    #[arg(long = "claim", value_name = "NAME=VALUE", num_args = 0..=1, default_missing_value = "")]
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
    #[arg(long = "claim", value_name = "NAME=VALUE", num_args = 0..=1, default_missing_value = "")]
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

/// Show one account with its devices
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account show ana@example.com")]
struct ShowArgs {
    /// Its e-mail address
    email: String,
    #[command(flatten)]
    remote: Remote,
}

/// Let an account do nothing until it is enabled again; its connected devices are out within 5 seconds
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account disable ana@example.com")]
struct DisableArgs {
    /// Its e-mail address
    email: String,
    #[command(flatten)]
    remote: Remote,
}

/// Let a disabled account act again, with the devices it has
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account enable ana@example.com")]
struct EnableArgs {
    /// Its e-mail address
    email: String,
    #[command(flatten)]
    remote: Remote,
}

/// Give an account a password, or take it away; its devices stay as they are
///
/// Without a flag it is asked for twice on the terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account passwd ana@example.com --generate")]
struct PasswdArgs {
    /// Its e-mail address
    email: String,
    #[command(flatten)]
    how: PasswdHow,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct PasswdHow {
    /// Read it from stdin
    #[arg(long)]
    password_stdin: bool,
    /// Make one and show it, this once
    #[arg(long)]
    generate: bool,
    /// Take it away: devices are activated by codes alone
    #[arg(long)]
    none: bool,
}

/// Remove an account for good and revoke its devices
///
/// What its devices wrote stays, without its name. Whoever has the address later is another account.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account remove ana@example.com --yes")]
struct RemoveArgs {
    /// Its e-mail address
    email: String,
    #[command(flatten)]
    remote: Remote,
}

pub(super) fn run(cli: &Cli, args: Args) -> Result<Exit, CliError> {
    match args.what {
        What::Add(args) => add(cli, args),
        What::List(args) => list(cli, &args),
        What::Show(args) => show(cli, &args),
        What::Set(args) => set(cli, &args),
        What::Disable(args) => switch(cli, &args.email, &args.remote, true),
        What::Enable(args) => switch(cli, &args.email, &args.remote, false),
        What::Passwd(args) => passwd(cli, &args),
        What::Remove(args) => remove(cli, &args),
        What::Import(args) => account_import::run(cli, &args),
        What::Code(args) => code(cli, &args),
    }
}

fn add(cli: &Cli, args: AddArgs) -> Result<Exit, CliError> {
    let claims = claims(&args.claims)?;
    let client = args.remote.connect(cli)?;
    let password = if args.password_stdin { Some(password::from_stdin()?) } else { None };
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
                let hint = near::hint(name, claims.keys().map(String::as_str));
                let hint = hint.unwrap_or_else(|| format!("see them: omctl account show {}", args.email));
                let text = format!("{} has no claim `{name}`", args.email);
                return Err(CliError::new(Exit::NotFound, "not_found", text).hint(hint));
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

fn show(cli: &Cli, args: &ShowArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    let query = DeviceQuery { account: Some(args.email.clone()) };
    let (account, found) =
        block_on(async { Ok((client.account(&args.email).await?, client.devices_of(&query).await?.devices)) })?;
    cli.ui.result(
        page(&account, &found),
        || json!({ "type": "result", "schema": "omctl.account.show/1", "account": account, "devices": found }),
    );
    if found.is_empty() {
        cli.ui.next(format!("omctl account code {}", account.email));
    }
    Ok(Exit::Ok)
}

fn page(account: &AccountView, found: &[DeviceView]) -> String {
    let claims = Value::from(account.claims.clone());
    let activates = if account.has_password { "by password or code" } else { "by code" };
    let mut text = format!(
        "account    {}\nid         {}\nstate      {}\nrole       {}\nclaims     {claims}\nactivates  {activates}\n\
         created    {}\ndevices    {}",
        account.email,
        account.id,
        state(account),
        account.role.as_deref().unwrap_or("none"),
        super::utc(account.created_ms),
        account.devices,
    );
    if !found.is_empty() {
        text.push('\n');
        text.push_str(&devices::table(found));
    }
    text
}

fn switch(cli: &Cli, email: &str, remote: &Remote, disabled: bool) -> Result<Exit, CliError> {
    let client = remote.connect(cli)?;
    let patch = AccountPatch { disabled: Some(disabled), ..AccountPatch::default() };
    let account = block_on(async { Ok(client.change_account(email, &patch).await?) })?;
    let (verb, undo) = if disabled { ("disabled", "enable") } else { ("enabled", "disable") };
    let text = match disabled {
        true => format!("account {} disabled; {} out within 5 s", account.email, counted(account.devices, "is", "are")),
        false => format!("account {} enabled; {} go on", account.email, counted(account.devices, "may", "may")),
    };
    let schema = if disabled { "omctl.account.disable/1" } else { "omctl.account.enable/1" };
    cli.ui.result(text, || json!({ "type": "result", "schema": schema, "account": account }));
    if !cli.ui.is_json() {
        cli.ui.note(format!("what was {verb} can be undone: omctl account {undo} {}", account.email));
    }
    Ok(Exit::Ok)
}

/// "its 2 devices are"
fn counted(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("its 1 device {one}") } else { format!("its {number} devices {many}") }
}

fn passwd(cli: &Cli, args: &PasswdArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    // Before anybody types a password for an account that is not there.
    let email = block_on(async { Ok(client.account(&args.email).await?) })?.email;
    let new = match &args.how {
        PasswdHow { none: true, .. } => None,
        PasswdHow { generate: true, .. } => Some(password::made(&Entropy::System)),
        PasswdHow { password_stdin: true, .. } => Some(password::from_stdin()?),
        _ => Some(password::asked_twice(cli, &email)?),
    };
    let patch = AccountPatch { password: Some(new.clone()), ..AccountPatch::default() };
    let account = block_on(async { Ok(client.change_account(&email, &patch).await?) })?;
    let generated = new.as_ref().filter(|_| args.how.generate);
    let text = match (&generated, account.has_password) {
        (Some(password), _) => (*password).clone(),
        (None, true) => format!("account {email} has a new password"),
        (None, false) => format!("account {email} has no password; its devices are activated by codes"),
    };
    cli.ui.result(text, || {
        json!({
            "type": "result", "schema": "omctl.account.passwd/1", "account": account, "generated": generated,
        })
    });
    if generated.is_some() && !cli.ui.is_json() {
        cli.ui.note(format!("the new password of {email}; it is not shown again"));
    }
    Ok(Exit::Ok)
}

fn remove(cli: &Cli, args: &RemoveArgs) -> Result<Exit, CliError> {
    let client = args.remote.connect(cli)?;
    block_on(async {
        let account = client.account(&args.email).await?;
        let (email, number) = (&account.email, account.devices);
        let revoked = format!("{number} device{}", if number == 1 { "" } else { "s" });
        let what = format!("remove account {email} for good and revoke its {revoked}; what they wrote stays");
        agree(cli, &what, &format!("say --yes; this can be undone instead: omctl account disable {email}"))?;
        let removed = client.remove_account(email).await?;
        cli.ui.result(format!("account {email} removed; {} revoked", counted(removed.revoked, "is", "are")), || {
            json!({
                "type": "result", "schema": "omctl.account.remove/1", "account": removed.account,
                "revoked": removed.revoked,
            })
        });
        Ok(Exit::Ok)
    })
}

fn claims(given: &[String]) -> Result<Map<String, Value>, CliError> {
    let wrong = |message: String| {
        CliError::new(Exit::Usage, "bad_claim", message)
            .hint("--claim region=north, or --claim 'regions=[north,south]'")
    };
    let mut claims = Map::new();
    for text in given {
        if text.is_empty() {
            return Err(wrong("--claim is given without a claim".to_owned()));
        }
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(wrong(format!("`{text}` is not name=value")));
        };
        if value.trim().is_empty() {
            return Err(wrong(format!("claim `{name}` has no value")));
        }
        let value = claim(value).ok_or_else(|| wrong(format!("claim `{name}` is neither a text nor a list")))?;
        if claims.insert(name.to_owned(), value).is_some() {
            return Err(wrong(format!("claim `{name}` is given twice")));
        }
    }
    Ok(claims)
}

/// A text, or a list in JSON or as `[a,b]`.
pub(super) fn claim(text: &str) -> Option<Value> {
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
        let role = account.role.clone().unwrap_or_else(|| "-".to_owned());
        [account.email.clone(), role, account.devices.to_string(), state(account).to_owned(), claims]
    });
    super::columns(head, rows)
}

fn state(account: &AccountView) -> &'static str {
    if account.disabled { "disabled" } else { "active" }
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
        for wrong in ["", "region", "=x", "region=", "region= ", "r=[a", r#"r=[{"a":1}]"#, "r=[[1]]"] {
            assert_eq!(parse(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
        assert_eq!(claims(&["a=1".into(), "a=2".into()]).unwrap_err().code, "bad_claim");
    }
}
