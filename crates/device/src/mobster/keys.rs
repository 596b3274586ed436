//! The device's key: made here, kept where the app says, used to prove who holds the tokens.
//!
//! *Invariant:* the secret leaves this module only into its [`KeyStore`].

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use omctl_protocol::DeviceId;
use omctl_protocol::api::{Purpose, command_text, proof_text};
use omctl_protocol::frame::Proof;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};

use crate::{Entropy, Trust};

/// Where the device's secret key is kept: a file, or a phone's key chain.
pub trait KeyStore: Send + Sync {
    /// The 32 bytes that were saved, if any.
    ///
    /// # Errors
    /// Where the place cannot be read.
    fn load(&self) -> std::io::Result<Option<[u8; 32]>>;

    /// Saves 32 bytes, readable by this app only.
    ///
    /// # Errors
    /// Where the place cannot be written.
    fn save(&self, secret: &[u8; 32]) -> std::io::Result<()>;

    /// Forgets what was saved, if anything. A store that cannot may keep it: without tokens the key opens nothing.
    ///
    /// # Errors
    /// Where the place cannot be written.
    fn remove(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A file that only its owner can read.
#[derive(Clone, Debug)]
pub struct KeyFile(pub PathBuf);

impl KeyStore for KeyFile {
    fn load(&self) -> std::io::Result<Option<[u8; 32]>> {
        let mut file = match std::fs::File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut secret = [0; 32];
        file.read_exact(&mut secret)?;
        Ok(Some(secret))
    }

    fn save(&self, secret: &[u8; 32]) -> std::io::Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        // Under another name first: a power cut must not leave half a key, which nobody could load and nothing replaces.
        let new = self.new_name();
        let mut file = options.open(&new)?;
        file.write_all(secret)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.0)?;
        sync_folder_of(&self.0)
    }

    fn remove(&self) -> std::io::Result<()> {
        for file in [&self.new_name(), &self.0] {
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl KeyFile {
    fn new_name(&self) -> PathBuf {
        let mut name = self.0.clone().into_os_string();
        name.push(".new");
        name.into()
    }
}

/// The name of a new file is on the disk only when its folder is: else a power cut takes the key of a device that the
/// server knows by it.
fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    // Elsewhere a folder cannot be opened, and its file system sees to it.
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        std::fs::File::open(folder)?.sync_all()?;
    }
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Who signs this device's orders: the server whose key was pinned at the activation. A key that cannot be read trusts
/// nobody.
pub(crate) fn trust(server_key: &str, device: DeviceId) -> Trust {
    let bytes = BASE64.decode(server_key).unwrap_or_default();
    let key = VerifyingKey::from_sec1_bytes(&bytes).ok();
    Box::new(move |command| {
        let signature = BASE64.decode(&command.signature).ok().and_then(|bytes| Signature::from_slice(&bytes).ok());
        let text = command_text(device, command.n, command.kind);
        let (Some(key), Some(signature)) = (&key, signature) else { return false };
        key.verify(text.as_bytes(), &signature).is_ok()
    })
}

/// The key pair in use.
#[derive(Clone)]
pub(crate) struct DeviceKey(SigningKey);

impl DeviceKey {
    /// The saved key, or a new one, saved before it is used.
    pub(crate) fn load_or_make(store: &dyn KeyStore, entropy: &Entropy) -> std::io::Result<Self> {
        if let Some(secret) = store.load()? {
            return SigningKey::from_slice(&secret).map(Self).map_err(std::io::Error::other);
        }
        loop {
            let mut secret = [0; 32];
            entropy.fill(&mut secret);
            // Of 2^256 numbers, about 2^224 are no key of this curve.
            if let Ok(key) = SigningKey::from_slice(&secret) {
                store.save(&secret)?;
                return Ok(Self(key));
            }
        }
    }

    /// 65 bytes (SEC 1, uncompressed), base64url.
    pub(crate) fn public(&self) -> String {
        BASE64.encode(self.0.verifying_key().to_sec1_point(false).as_bytes())
    }

    /// Signs a server's nonce.
    pub(crate) fn prove(&self, purpose: Purpose, nonce: &str, device: DeviceId, token: &str) -> Proof {
        let signature: Signature = self.0.sign(proof_text(purpose, nonce, device, token).as_bytes());
        Proof { nonce: nonce.to_owned(), signature: BASE64.encode(signature.to_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Verifier as _;

    use super::*;

    #[test]
    fn a_key_is_kept_and_its_proof_verifies() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeyFile(folder.path().join("app.key"));
        let first = DeviceKey::load_or_make(&file, &Entropy::System).unwrap();
        let again = DeviceKey::load_or_make(&file, &Entropy::System).unwrap();
        assert_eq!(first.public(), again.public());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&file.0).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.load().unwrap(), None);
        // What a power cut leaves of a key that was never used is in nobody's way.
        std::fs::write(file.new_name(), b"half").unwrap();
        assert_eq!(file.load().unwrap(), None);
        DeviceKey::load_or_make(&file, &Entropy::System).unwrap();
        assert!(file.load().unwrap().is_some());
        let device: DeviceId = "018f6b1e-0000-7000-8000-000000000001".parse().unwrap();
        let proof = first.prove(Purpose::Live, "n", device, "t");
        let bytes = BASE64.decode(proof.signature).unwrap();
        assert_eq!(bytes.len(), 64);
        let public = VerifyingKey::from_sec1_bytes(&BASE64.decode(first.public()).unwrap()).unwrap();
        let text = proof_text(Purpose::Live, "n", device, "t");
        public.verify(text.as_bytes(), &Signature::from_slice(&bytes).unwrap()).unwrap();
    }

    #[test]
    fn only_the_pinned_server_is_obeyed() {
        use omctl_protocol::frame::{Command, CommandKind};
        let device: DeviceId = "018f6b1e-0000-7000-8000-000000000001".parse().unwrap();
        let other: DeviceId = "018f6b1e-0000-7000-8000-000000000002".parse().unwrap();
        let server = SigningKey::from_slice(&[7; 32]).unwrap();
        let public = BASE64.encode(server.verifying_key().to_sec1_point(false).as_bytes());
        let signed = |n, kind| {
            let signature: Signature = server.sign(command_text(device, n, kind).as_bytes());
            Command { n, kind, signature: BASE64.encode(signature.to_bytes()) }
        };
        let wipe = signed(3, CommandKind::Wipe);
        assert!(trust(&public, device)(&wipe));
        assert!(!trust(&public, other)(&wipe), "an order is for one device");
        assert!(!trust("", device)(&wipe), "without a key nobody is believed");
        let mut forged = vec![Command { n: 4, ..wipe.clone() }, Command { signature: String::new(), ..wipe.clone() }];
        forged.push(Command { signature: wipe.signature.clone(), ..signed(3, CommandKind::Lock) });
        assert!(forged.iter().all(|command| !trust(&public, device)(command)));
    }
}
