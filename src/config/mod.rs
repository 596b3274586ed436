//! Settings of one process: defaults < project file < environment < flags. Each value knows where it came from.
//!
//! [`Settings::resolve`] is called once; nobody reads the layers afterwards. Knows neither the shape of the project file
//! (`catalog` does) nor the process's environment (`cli` hands a lookup down).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where a server listens unless told otherwise.
pub const DEFAULT_ADDR: &str = "127.0.0.1:7400";

/// Where a server keeps its data unless told otherwise, relative to the project root.
pub const DEFAULT_DATA_DIR: &str = ".openmobster/dev";

/// What is logged unless told otherwise: lifecycle of ours, trouble of others.
pub const DEFAULT_LOG: &str = "warn,omctl=info";

/// The environment whose overlay is taken unless told otherwise.
pub const DEFAULT_ENV: &str = "dev";

/// One value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Who said so.
    pub origin: Origin,
}

/// Who gave a value, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody: the default.
    Default,
    /// `openmobster.yaml`.
    ProjectFile,
    /// This environment variable.
    Env(&'static str),
    /// This flag.
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::ProjectFile => f.write_str("openmobster.yaml"),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What the project file says, with the chosen overlay on top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromProject {
    /// `server.addr`
    pub addr: Option<String>,
    /// `server.data_dir`
    pub data_dir: Option<PathBuf>,
    /// `server.hosts`
    pub hosts: Vec<String>,
    /// `server.trusted_proxies`
    pub trusted_proxies: Vec<String>,
}

/// What the command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FromFlags {
    /// `--addr`
    pub addr: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--env`
    pub env_name: Option<String>,
    /// `--log`
    pub log: Option<String>,
}

/// Everything that one process is told from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the server listens.
    pub addr: Setting<SocketAddr>,
    /// Where the server keeps its data; absolute if the project root is.
    pub data_dir: Setting<PathBuf>,
    /// Whose overlay is taken.
    pub env_name: Setting<String>,
    /// What is logged, in the syntax of `tracing-subscriber`'s `EnvFilter`.
    pub log: Setting<String>,
    /// Networks whose `Forwarded` headers are believed.
    pub trusted_proxies: Setting<Vec<String>>,
    /// Names beside the loopback ones that the server answers to.
    pub hosts: Setting<Vec<String>>,
}

/// Why the settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an address and a port.
    #[error("`{value}` is not an address with a port ({origin})")]
    BadAddr {
        /// What was given.
        value: String,
        /// Who gave it.
        origin: Origin,
    },
    /// Everybody on the network could read what passes.
    #[error("refusing to listen on {addr} without TLS: neither loopback nor behind a trusted proxy ({origin})")]
    Exposed {
        /// The address.
        addr: SocketAddr,
        /// Who gave it.
        origin: Origin,
    },
}

impl ConfigError {
    /// Stable code, for `--json`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadAddr { .. } => "bad_addr",
            Self::Exposed { .. } => "exposed",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::BadAddr { .. } => "for example --addr 127.0.0.1:7400",
            Self::Exposed { .. } => {
                "for phones on this network: omctl serve --lan; behind a proxy that does TLS, name it: \
                 server: { trusted_proxies: [10.0.0.0/8] }; else listen on 127.0.0.1"
            }
        }
    }
}

/// The overlay to load the project file with: it must be known before [`Settings::resolve`].
pub fn env_name(env: &dyn Fn(&str) -> Option<String>, flag: Option<&str>) -> Setting<String> {
    choose(flag.map(str::to_owned), "--env", env("OMCTL_ENV"), "OMCTL_ENV", None, || DEFAULT_ENV.to_owned())
}

impl Settings {
    /// Lays the four layers on top of each other.
    ///
    /// # Errors
    /// [`ConfigError::BadAddr`] where the chosen address is none.
    pub fn resolve(
        root: &Path,
        project: FromProject,
        env: &dyn Fn(&str) -> Option<String>,
        flags: FromFlags,
    ) -> Result<Self, ConfigError> {
        let addr =
            choose(flags.addr, "--addr", env("OMCTL_ADDR"), "OMCTL_ADDR", project.addr, || DEFAULT_ADDR.to_owned());
        let addr = match addr.value.parse::<SocketAddr>() {
            Ok(value) => Setting { value, origin: addr.origin },
            Err(_) => return Err(ConfigError::BadAddr { value: addr.value, origin: addr.origin }),
        };
        let data_dir = choose(
            flags.data_dir,
            "--data-dir",
            env("OMCTL_DATA_DIR").map(PathBuf::from),
            "OMCTL_DATA_DIR",
            project.data_dir.map(|dir| root.join(dir)),
            || root.join(DEFAULT_DATA_DIR),
        );
        let list = |value: Vec<String>| {
            let origin = if value.is_empty() { Origin::Default } else { Origin::ProjectFile };
            Setting { value, origin }
        };
        let (trusted_proxies, hosts) = (list(project.trusted_proxies), list(project.hosts));
        let log = choose(flags.log, "--log", env("OMCTL_LOG"), "OMCTL_LOG", None, || DEFAULT_LOG.to_owned());
        Ok(Self { addr, data_dir, env_name: env_name(env, flags.env_name.as_deref()), log, trusted_proxies, hosts })
    }

    /// Whether a server without TLS may listen at the address: a client command may be told of any.
    ///
    /// # Errors
    /// [`ConfigError::Exposed`] for what others on the network can reach, where no proxy is declared that does TLS.
    pub fn may_be_plain(&self) -> Result<(), ConfigError> {
        if self.addr.value.ip().is_loopback() || !self.trusted_proxies.value.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Exposed { addr: self.addr.value, origin: self.addr.origin })
    }
}

/// The strongest layer that says anything. An empty variable says nothing.
fn choose<T: Clone + PartialEq + Default>(
    flag: Option<T>,
    flag_name: &'static str,
    env: Option<T>,
    env_name: &'static str,
    project: Option<T>,
    default: impl FnOnce() -> T,
) -> Setting<T> {
    let env = env.filter(|value| *value != T::default());
    flag.map(|value| Setting { value, origin: Origin::Flag(flag_name) })
        .or_else(|| env.map(|value| Setting { value, origin: Origin::Env(env_name) }))
        .or_else(|| project.map(|value| Setting { value, origin: Origin::ProjectFile }))
        .unwrap_or_else(|| Setting { value: default(), origin: Origin::Default })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(project: FromProject, env: &[(&str, &str)], flags: FromFlags) -> Result<Settings, ConfigError> {
        let lookup = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Settings::resolve(Path::new("/p"), project, &lookup, flags)
    }

    #[test]
    fn the_stronger_layer_wins_and_is_named() {
        let project =
            FromProject { addr: Some("127.0.0.1:1".into()), data_dir: Some("d".into()), ..FromProject::default() };
        let settings = resolve(FromProject::default(), &[], FromFlags::default()).unwrap();
        assert_eq!((settings.addr.value.to_string().as_str(), settings.addr.origin), (DEFAULT_ADDR, Origin::Default));
        assert_eq!(settings.data_dir.value, Path::new("/p/.openmobster/dev"));
        let settings = resolve(project.clone(), &[("OMCTL_ADDR", "")], FromFlags::default()).unwrap();
        assert_eq!((settings.addr.value.port(), settings.addr.origin), (1, Origin::ProjectFile));
        assert_eq!(settings.data_dir.value, Path::new("/p/d"));
        let env = [("OMCTL_ADDR", "127.0.0.1:2"), ("OMCTL_DATA_DIR", "/e"), ("OMCTL_ENV", "prod")];
        let settings = resolve(project.clone(), &env, FromFlags::default()).unwrap();
        assert_eq!((settings.addr.value.port(), settings.addr.origin), (2, Origin::Env("OMCTL_ADDR")));
        assert_eq!((settings.data_dir.value.as_path(), settings.env_name.value.as_str()), (Path::new("/e"), "prod"));
        let flags = FromFlags { addr: Some("[::1]:3".into()), ..FromFlags::default() };
        let settings = resolve(project, &env, flags).unwrap();
        assert_eq!((settings.addr.value.port(), settings.addr.origin), (3, Origin::Flag("--addr")));
    }

    #[test]
    fn an_open_address_needs_a_trusted_proxy() {
        let open = FromProject { addr: Some("0.0.0.0:7400".into()), ..FromProject::default() };
        let plain = |project| resolve(project, &[], FromFlags::default()).unwrap().may_be_plain();
        assert_eq!(plain(open.clone()).unwrap_err().code(), "exposed");
        assert!(plain(FromProject { trusted_proxies: vec!["10.0.0.0/8".into()], ..open }).is_ok());
        assert!(plain(FromProject::default()).is_ok());
        let flags = FromFlags { addr: Some("here".into()), ..FromFlags::default() };
        assert_eq!(resolve(FromProject::default(), &[], flags).unwrap_err().code(), "bad_addr");
    }
}
