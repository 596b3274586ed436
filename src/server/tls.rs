//! The server's own certificate, for phones on the developer's network (`omctl serve --lan`).
//!
//! The key is made once and kept in the data directory, so that the pin by which devices know the server stays the same.
//! The certificate is made anew with each start: its names are those of today's network, and nobody looks at them but
//! browsers.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use omctl_protocol::pin::Pin;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData as _, SanType};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::data_dir::write_private;

/// The key's file in the data directory.
pub const KEY_FILE: &str = "tls.key";

/// By which name the Android emulator reaches the machine that it runs on.
pub const EMULATOR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2));

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The key's file.
    #[error("the key `{path}` cannot be used: {message}")]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong; never its content.
        message: String,
    },
    /// The certificate.
    #[error("no certificate can be made: {0}")]
    Certificate(String),
}

/// What a server needs to speak TLS, and what its devices need to know it by.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) config: Arc<ServerConfig>,
    pub(super) pin: Pin,
}

/// Makes a certificate for these addresses with the data directory's key, which is made where it is missing. The caller
/// holds the directory's lock.
///
/// # Errors
/// [`TlsError`]
pub(super) fn certify(data_dir: &Path, addresses: &[IpAddr]) -> Result<Certified, TlsError> {
    let key = load_or_make(&data_dir.join(KEY_FILE))?;
    let wrong = |error: &dyn std::error::Error| TlsError::Certificate(error.to_string());
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).map_err(|error| wrong(&error))?;
    params.subject_alt_names.extend(addresses.iter().map(|address| SanType::IpAddress(*address)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "OpenMobster on this network");
    let certificate = params.self_signed(&key).map_err(|error| wrong(&error))?;
    let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .map_err(|error| wrong(&error))?;
    Ok(Certified { config: Arc::new(config), pin: Pin::of_key(&key.subject_public_key_info()) })
}

fn load_or_make(path: &Path) -> Result<KeyPair, TlsError> {
    let wrong = |message: String| TlsError::Key { path: path.to_owned(), message };
    // A pipe would be waited for, for ever.
    match std::fs::metadata(path) {
        Ok(about) if !about.is_file() => return Err(wrong("it is no file".to_owned())),
        Ok(about) => keep_private(path, &about).map_err(|error| wrong(error.to_string()))?,
        Err(_not_there) => {}
    }
    match std::fs::read_to_string(path) {
        Ok(text) => return KeyPair::from_pem(&text).map_err(|error| wrong(error.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error.to_string())),
    }
    let key = KeyPair::generate().map_err(|error| wrong(error.to_string()))?;
    let written = write_private(path, &path.with_extension("new"), key.serialize_pem().as_bytes());
    written.map_err(|error| wrong(error.to_string()))?;
    Ok(key)
}

/// Takes from others what they may with the key: whoever copied it meanwhile can pretend to be this server.
#[cfg(unix)]
fn keep_private(path: &Path, about: &std::fs::Metadata) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if about.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let told = path.display();
    tracing::warn!("others could read `{told}`, now only its owner can; to be safe remove it for a new key and pin");
    Ok(())
}

/// Where files have no mode, the folder has to do.
#[cfg(not(unix))]
fn keep_private(_path: &Path, _about: &std::fs::Metadata) -> std::io::Result<()> {
    Ok(())
}

/// The address that this machine has towards its network. Nothing is sent: the system only says which one it would use.
pub fn lan_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address of documentation (RFC 5737): nobody has it, so the way out is the default one.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pin_stays_and_the_key_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = certify(folder.path(), &[EMULATOR]).unwrap().pin;
        assert_eq!(certify(folder.path(), &[]).unwrap().pin, first, "another network, the same key");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let open = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(folder.path().join(KEY_FILE), open).unwrap();
            certify(folder.path(), &[]).unwrap();
            let mode = std::fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "what was left open is closed");
            let pipe = tempfile::tempdir().unwrap();
            let made = std::process::Command::new("mkfifo").arg(pipe.path().join(KEY_FILE)).status();
            assert!(made.unwrap().success());
            assert!(matches!(certify(pipe.path(), &[]), Err(TlsError::Key { .. })), "a pipe is not waited for");
        }
        let other = tempfile::tempdir().unwrap();
        assert_ne!(certify(other.path(), &[]).unwrap().pin, first);
        std::fs::write(folder.path().join(KEY_FILE), "nonsense").unwrap();
        assert!(
            matches!(certify(folder.path(), &[]), Err(TlsError::Key { .. })),
            "a damaged key is not replaced unasked"
        );
    }
}
