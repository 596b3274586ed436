//! `omctl account import`: many accounts from a CSV file, all of them or none.
//!
//! What a cell means is decided here, what an account may be in the server. Both are said at once, with line numbers.

use std::path::{Path, PathBuf};

use omctl_protocol::admin::{AccountImport, ImportOutcome, ImportReply, ImportRow};
use serde_json::{Map, Value, json};

use super::account::claim;
use super::remote::{Remote, block_on};
use super::{Cli, CliError, Exit, columns};
use crate::catalog::near;
use crate::limits;

/// With what the columns of single claims begin.
const CLAIM: &str = "claims.";

/// Add and change accounts from a CSV file: all of them, or none
///
/// The first line names the columns: `email`, and where wanted `role`, `claims.NAME` for each claim (a text, or
/// `[text,text]`), or `claims` with all of them as one JSON object. An account that is there is changed in what the file
/// has columns for; an empty cell takes away. Passwords never come from a file: use --codes, or `omctl account passwd`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  omctl account import team.csv --dry-run")]
pub(super) struct ImportArgs {
    /// The file; `-` reads stdin
    file: PathBuf,
    /// Show what would be added and changed, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Make an activation code for each account that is added; codes end after ten minutes
    #[arg(long)]
    codes: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What is wrong with the file.
#[derive(Clone, Debug, PartialEq)]
struct Problem {
    line: u64,
    message: String,
}

pub(super) fn run(cli: &Cli, args: &ImportArgs) -> Result<Exit, CliError> {
    let (rows, mut problems) = parse(&read(&args.file)?)?;
    let client = args.remote.connect(cli)?;
    let (lines, dry_run) = (rows.len() + problems.len(), args.dry_run || !problems.is_empty());
    let import = AccountImport { rows, dry_run, codes: args.codes };
    let reply = block_on(async { Ok(client.import_accounts(&import).await?) })?;
    for row in reply.rows.iter().filter(|row| row.outcome == ImportOutcome::Refused) {
        problems.push(Problem { line: row.line, message: row.message.clone().unwrap_or_default() });
    }
    if !problems.is_empty() {
        return Err(refused(cli, args.dry_run, lines, problems, &reply));
    }
    tell(cli, args, &reply);
    Ok(Exit::Ok)
}

fn count(reply: &ImportReply, outcome: ImportOutcome) -> usize {
    reply.rows.iter().filter(|row| row.outcome == outcome).count()
}

/// "2 added, 1 changed, 3 unchanged"
fn summary(reply: &ImportReply) -> String {
    let [added, changed, unchanged] =
        [ImportOutcome::Added, ImportOutcome::Changed, ImportOutcome::Unchanged].map(|outcome| count(reply, outcome));
    format!("{added} added, {changed} changed, {unchanged} unchanged")
}

fn refused(cli: &Cli, dry_run: bool, lines: usize, mut problems: Vec<Problem>, reply: &ImportReply) -> CliError {
    problems.sort_by_key(|problem| problem.line);
    for problem in &problems {
        cli.ui.detail(&format!("line {}: {}", problem.line, problem.message));
    }
    if dry_run {
        cli.ui.detail(&format!("the others: {}", summary(reply)));
    }
    let text = format!("{} of {lines} lines are refused; nothing was changed", problems.len());
    let listed: Vec<Value> =
        problems.iter().map(|problem| json!({ "line": problem.line, "message": problem.message })).collect();
    let error = CliError::new(Exit::Invalid, "bad_import", text)
        .hint("correct these lines and look again with --dry-run")
        .detail("problems", listed);
    if !dry_run {
        return error;
    }
    error
        .detail("added", count(reply, ImportOutcome::Added))
        .detail("changed", count(reply, ImportOutcome::Changed))
        .detail("unchanged", count(reply, ImportOutcome::Unchanged))
}

fn tell(cli: &Cli, args: &ImportArgs, reply: &ImportReply) {
    let word = |outcome: ImportOutcome| match outcome {
        ImportOutcome::Added => "added",
        ImportOutcome::Changed => "changed",
        ImportOutcome::Unchanged => "unchanged",
        ImportOutcome::Refused => "refused",
    };
    let text = if args.dry_run {
        let head = ["LINE", "EMAIL", "WOULD BE"].map(str::to_owned);
        let rows = reply.rows.iter();
        columns(head, rows.map(|row| [row.line.to_string(), row.email.clone(), word(row.outcome).to_owned()]))
    } else if args.codes {
        let head = ["EMAIL", "CODE"].map(str::to_owned);
        let coded = reply.rows.iter().filter_map(|row| Some([row.email.clone(), row.code.clone()?]));
        columns(head, coded)
    } else {
        format!("imported {}: {}", args.file.display(), summary(reply))
    };
    cli.ui.result(text, || {
        json!({
            "type": "result", "schema": "omctl.account.import/1", "dry_run": args.dry_run,
            "added": count(reply, ImportOutcome::Added), "changed": count(reply, ImportOutcome::Changed),
            "unchanged": count(reply, ImportOutcome::Unchanged), "rows": reply.rows,
        })
    });
    if cli.ui.is_json() {
        return;
    }
    if args.dry_run {
        cli.ui.note(format!("{}; nothing was changed", summary(reply)));
        cli.ui.next(format!("omctl account import {}", args.file.display()));
    } else if args.codes {
        cli.ui.note(format!("{}; each code activates one device within ten minutes", summary(reply)));
    } else {
        cli.ui.next("omctl account list");
    }
}

fn read(file: &Path) -> Result<Vec<u8>, CliError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    // One byte more than may be sent, to tell a file that is too large from one that just fits.
    let most = limits::IMPORT_BODY_BYTES_MAX as u64 + 1;
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(most).read_to_end(&mut bytes),
        false => std::fs::File::open(file).and_then(|file| file.take(most).read_to_end(&mut bytes)),
    };
    let (name, too_large) = (file.display(), bytes.len() as u64 == most);
    read.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            CliError::new(Exit::NotFound, "not_found", format!("there is no file `{name}`"))
        }
        _ => CliError::new(Exit::Failed, "io", format!("cannot read `{name}`: {error}")),
    })?;
    match too_large {
        true => Err(bad_file(format!("`{name}` has more than {} MiB", (most - 1) >> 20)).hint("split it")),
        false => Ok(bytes),
    }
}

fn bad_file(message: String) -> CliError {
    CliError::new(Exit::Invalid, "bad_import", message)
}

/// What a column is for.
#[derive(Clone, Debug, PartialEq)]
enum Column {
    Email,
    Role,
    Claims,
    Claim(String),
}

/// Every row that can be read, and what is wrong with the others.
///
/// # Errors
/// Where the columns themselves are wrong: then no row means anything.
fn parse(bytes: &[u8]) -> Result<(Vec<ImportRow>, Vec<Problem>), CliError> {
    // Spreadsheets begin a file with a mark that is none of its text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(bytes);
    let head = reader.headers().map_err(|error| bad_file(format!("the first line cannot be read: {error}")))?;
    let known = head.iter().map(column).collect::<Result<Vec<_>, _>>()?;
    for (n, column) in known.iter().enumerate() {
        if known[..n].contains(column) {
            return Err(bad_file(format!("the column `{}` stands there twice", &head[n])));
        }
    }
    if !known.contains(&Column::Email) {
        let text = "the first line names no column `email`".to_owned();
        return Err(bad_file(text).hint("for example: email,role,claims.region"));
    }
    if known.contains(&Column::Claims) && known.iter().any(|column| matches!(column, Column::Claim(_))) {
        let text = "`claims` has all claims, so there can be no `claims.NAME` beside it".to_owned();
        return Err(bad_file(text));
    }
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let parsed = match record {
            Ok(record) => row(&known, line_of(bytes, record.position()), &record),
            Err(error) => {
                Err(Problem { line: line_of(bytes, error.position()), message: "it is not UTF-8".to_owned() })
            }
        };
        match parsed {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
    }
    Ok((rows, problems))
}

/// The line that a row begins on. The reader's own position is before the empty lines that it skips.
fn line_of(bytes: &[u8], position: Option<&csv::Position>) -> u64 {
    let Some(position) = position else { return 0 };
    let rest = usize::try_from(position.byte()).ok().and_then(|begin| bytes.get(begin..)).unwrap_or_default();
    let skipped = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).filter(|byte| **byte == b'\n');
    position.line() + skipped.count() as u64
}

fn column(name: &str) -> Result<Column, CliError> {
    let lower = name.to_lowercase();
    match lower.as_str() {
        "email" => Ok(Column::Email),
        "role" => Ok(Column::Role),
        "claims" => Ok(Column::Claims),
        "password" => Err(bad_file("a file of accounts has no passwords".to_owned())
            .hint("take the column out; --codes makes activation codes, `omctl account passwd` sets one password")),
        _ => match name.get(..CLAIM.len()).filter(|prefix| prefix.eq_ignore_ascii_case(CLAIM)) {
            Some(_) if name.len() > CLAIM.len() => Ok(Column::Claim(name[CLAIM.len()..].to_owned())),
            _ => {
                let known = ["email", "role", "claims", "claims.NAME"];
                let unknown = bad_file(format!("there is no column `{name}` for accounts"));
                let hint = match name.contains([';', '\t']) {
                    true => "cells are separated by commas: email,role,claims.region".to_owned(),
                    false => near::hint(name, known).unwrap_or_else(|| known.join(", ")),
                };
                Err(unknown.hint(hint))
            }
        },
    }
}

fn row(known: &[Column], line: u64, record: &csv::StringRecord) -> Result<ImportRow, Problem> {
    let wrong = |message: String| Problem { line, message };
    if record.len() != known.len() {
        return Err(wrong(format!("it has {} cells, the first line has {}", record.len(), known.len())));
    }
    let mut row = ImportRow { line, ..ImportRow::default() };
    let mut problems = Vec::new();
    for (column, cell) in known.iter().zip(record) {
        match column {
            Column::Email => row.email = cell.to_owned(),
            Column::Role => row.role = Some(Some(cell.to_owned()).filter(|role| !role.is_empty())),
            Column::Claims => {
                row.all_claims = true;
                match object(cell) {
                    Some(claims) => row.claims = claims,
                    None => problems.push("`claims` is not a JSON object".to_owned()),
                }
            }
            Column::Claim(name) if cell.is_empty() => drop(row.claims.insert(name.clone(), Value::Null)),
            Column::Claim(name) => match claim(cell) {
                Some(value) => drop(row.claims.insert(name.clone(), value)),
                None => problems.push(format!("claim `{name}` is neither a text nor a list")),
            },
        }
    }
    if problems.is_empty() { Ok(row) } else { Err(wrong(problems.join("; "))) }
}

fn object(cell: &str) -> Option<Map<String, Value>> {
    if cell.is_empty() { Some(Map::new()) } else { serde_json::from_str(cell).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<Value> {
        let (rows, problems) = parse(text.as_bytes()).unwrap();
        assert_eq!(problems, []);
        rows.iter().map(|row| serde_json::to_value(row).unwrap()).collect()
    }

    #[test]
    fn cells_are_roles_and_claims_and_empty_ones_take_away() {
        let text = "\u{feff}Email, role,claims.region,claims.levels\n\nana@x.com,tech,north,\"[1, \"\"two\"\"]\"\nbo@x.com,,,\n";
        let all = rows(text);
        assert_eq!(
            all[0],
            json!({
                "line": 3, "email": "ana@x.com", "role": "tech", "claims": { "region": "north", "levels": [1, "two"] },
                "all_claims": false,
            })
        );
        assert_eq!(
            all[1],
            json!({
                "line": 4, "email": "bo@x.com", "role": null, "claims": { "region": null, "levels": null },
                "all_claims": false,
            })
        );
        assert_eq!(rows("email\r\n\r\na@x.com\r\nb@x.com")[1]["line"], 4);
        let all = rows("email,claims\na@x.com,\"{\"\"team\"\": 7}\"\nb@x.com,");
        assert_eq!((&all[0]["claims"], &all[0]["all_claims"]), (&json!({ "team": 7 }), &json!(true)));
        assert_eq!((&all[1]["all_claims"], &all[1]["role"]), (&json!(true), &Value::Null));
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = b"email,claims.r\na@x.com\nb@x.com,[[1]]\n\"c\nd@x.com\",x\n\xff@x.com,x\ne@x.com,ok\n";
        let (rows, problems) = parse(text).unwrap();
        let lines: Vec<u64> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!((lines, rows.len()), (vec![2, 3, 6], 2));
        assert_eq!(rows[1].line, 7);
    }

    #[test]
    fn wrong_columns_are_refused_with_what_was_meant() {
        let refused = |head: &str| {
            let error = parse(head.as_bytes()).unwrap_err();
            (error.message, error.hint.unwrap_or_default())
        };
        assert!(refused("e-mail,role").1.contains("did you mean `email`"));
        assert!(refused("email,password").1.contains("--codes"));
        assert!(refused("email;role").1.contains("commas"));
        assert!(refused("role").0.contains("no column `email`"));
        assert!(refused("email,email").0.contains("twice"));
        assert!(refused("email,claims,claims.a").0.contains("all claims"));
        assert!(refused("").0.contains("no column `email`"));
    }
}
