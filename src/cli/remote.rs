//! How a command reaches a running server: the one of this project, or any by its URL.

use std::future::Future;
use std::path::PathBuf;

use super::{Cli, CliError, Exit, environment};
use crate::catalog::{self, ServerDecl};
use crate::client::{Client, ClientError};
use crate::config::{self, FromFlags, FromProject, Settings};

/// The variable with the token for `--server`.
const TOKEN: &str = "OMCTL_TOKEN";

/// Which server to speak to.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Remote {
    /// A server elsewhere, an https one with its `#pin=…`; its token is read from OMCTL_TOKEN
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The data directory of the server on this machine
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    data_dir: Option<PathBuf>,
    /// Whose overlay of `env:` names the data directory
    #[arg(long = "env", value_name = "NAME", conflicts_with = "server")]
    env_name: Option<String>,
}

impl Remote {
    /// Finds the server. Nothing is sent yet.
    pub(super) fn connect(&self, cli: &Cli) -> Result<Client, CliError> {
        if let Some(url) = &self.server {
            let token = environment(TOKEN).filter(|token| !token.is_empty()).ok_or_else(|| {
                CliError::new(Exit::NotAllowed, "no_token", format!("{TOKEN} is not set"))
                    .hint(format!("take the token from the server's `server.json`: export {TOKEN}=…"))
            })?;
            return Ok(Client::of_url(url, token.into())?);
        }
        if let Some(dir) = &self.data_dir {
            return Ok(Client::of_data_dir(dir)?);
        }
        let (data_dir, mistakes) = self.dir_of_project(cli)?;
        match Client::of_data_dir(&data_dir) {
            // Then the mistakes are what to tell.
            Err(ClientError::NoServer { .. }) if mistakes => {
                cli.load(&cli.root()?, self.env_name.as_deref())?;
                Err(ClientError::NoServer { data_dir }.into())
            }
            found => Ok(found?),
        }
    }

    /// The data directory, where the server is on this machine.
    pub(super) fn local_dir(&self, cli: &Cli) -> Result<Option<PathBuf>, CliError> {
        match (&self.server, &self.data_dir) {
            (Some(_), _) => Ok(None),
            (None, Some(dir)) => Ok(Some(dir.clone())),
            (None, None) => Ok(Some(self.dir_of_project(cli)?.0)),
        }
    }

    /// Whose overlay of `env:` is meant.
    pub(super) fn env_name(&self) -> Option<&str> {
        self.env_name.as_deref()
    }

    /// The flags that name the data directory again.
    pub(super) fn flags(&self) -> Vec<String> {
        Place { data_dir: self.data_dir.clone(), env_name: self.env_name.clone() }.flags()
    }

    /// The data directory of the project, and whether the project has mistakes.
    fn dir_of_project(&self, cli: &Cli) -> Result<(PathBuf, bool), CliError> {
        let root = cli.root()?;
        let chosen = config::env_name(&environment, self.env_name.as_deref()).value;
        // A project with mistakes may still have a server that runs on its last good definitions.
        let (declared, mistakes) = match catalog::load(&root, &environment, Some(&chosen)) {
            Ok((catalog, _)) => (catalog.server, false),
            Err(_) => (ServerDecl::default(), true),
        };
        let flags = FromFlags { env_name: self.env_name.clone(), ..FromFlags::default() };
        let settings = Settings::resolve(&root, from_project(declared), &environment, flags)?;
        Ok((settings.data_dir.value, mistakes))
    }
}

/// Where a server's data is, for commands that need no server.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Place {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Whose overlay of `env:` names the data directory
    #[arg(long = "env", value_name = "NAME", conflicts_with = "data_dir")]
    env_name: Option<String>,
}

impl Place {
    /// The data directory and the project's name. Without `--data-dir` the project must load: one that does not may
    /// mean another directory than the one that is taken for want of a better.
    pub(super) fn resolve(&self, cli: &Cli) -> Result<(PathBuf, String), CliError> {
        if let Some(dir) = &self.data_dir {
            let name = cli.root().ok().and_then(|root| Some(root.file_name()?.to_string_lossy().into_owned()));
            return Ok((dir.clone(), name.unwrap_or_else(|| "store".to_owned())));
        }
        let root = cli.root()?;
        let catalog = cli.load(&root, self.env_name.as_deref())?;
        let flags = FromFlags { env_name: self.env_name.clone(), ..FromFlags::default() };
        let settings = Settings::resolve(&root, from_project(catalog.server), &environment, flags)?;
        Ok((settings.data_dir.value, catalog.name))
    }

    /// The flags that name it again.
    pub(super) fn flags(&self) -> Vec<String> {
        let dir = self.data_dir.iter().flat_map(|dir| ["--data-dir".to_owned(), dir.display().to_string()]);
        dir.chain(self.env_name.iter().flat_map(|name| ["--env".to_owned(), name.clone()])).collect()
    }
}

/// What the project file says about the server, for [`Settings::resolve`].
pub(super) fn from_project(declared: ServerDecl) -> FromProject {
    let ServerDecl { addr, data_dir, hosts, trusted_proxies } = declared;
    FromProject { addr, data_dir, hosts, trusted_proxies }
}

/// Runs a command's conversation with a server or a backend.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::new(Exit::Failed, "io", format!("no async runtime: {error}")))?;
    runtime.block_on(work)
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::NoServer { .. } => {
                Self::new(Exit::Unreachable, "no_server", text).hint("start one: omctl serve")
            }
            ClientError::Unreachable { message, .. } => {
                Self::new(Exit::Unreachable, "unreachable", format!("{text}: {message}")).hint("start it: omctl serve")
            }
            ClientError::ServerFile { .. } => {
                Self::new(Exit::Unreachable, "server_file", text).hint("start the server again: omctl serve")
            }
            ClientError::TimedOut { .. } => Self::new(Exit::Timeout, "timeout", text),
            ClientError::BadUrl { .. } => {
                Self::new(Exit::Usage, "bad_url", text).hint("for example --server http://127.0.0.1:7400")
            }
            ClientError::BadAnswer { .. } => {
                Self::new(Exit::Failed, "bad_answer", text).hint("is it an omctl server of this version?")
            }
            ClientError::Refused(problem) => {
                let exit = match problem.status {
                    401 | 403 | 421 => Exit::NotAllowed,
                    404 => Exit::NotFound,
                    408 | 504 => Exit::Timeout,
                    409 => Exit::Exists,
                    _ => Exit::Failed,
                };
                let mut refused = Self::new(exit, "refused", text).detail("problem", problem.code.as_str());
                refused.hint = problem.hint.clone();
                for (name, value) in [("field", &problem.field), ("request_id", &problem.request_id)] {
                    if let Some(value) = value {
                        refused = refused.detail(name, value.as_str());
                    }
                }
                // Some sentences name the field themselves.
                if let Some(field) =
                    problem.field.as_ref().filter(|field| !refused.message.contains(&format!("`{field}`")))
                {
                    refused.message = format!("{}: {}", field, refused.message);
                }
                refused
            }
        }
    }
}
