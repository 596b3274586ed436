//! `omctl serve --lan`: where to listen, and what a phone on the same network must know.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use omctl_protocol::pin::{Pin, server_url};
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::{Value, json};

use super::{Cli, CliError, Exit};
use crate::config::{Origin, Settings};
use crate::server::tls;

/// Where a server for the network listens, and by which address phones reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lan {
    pub(super) listen: SocketAddr,
    pub(super) shown: IpAddr,
}

impl Lan {
    /// A flag or a variable is taken as it is. The default and the project file mean this machine alone, so only their
    /// port counts: all addresses, the loopback ones too, because the emulator comes by them.
    ///
    /// # Errors
    /// `no_lan` where the machine is in no network.
    pub(super) fn choose(settings: &Settings) -> Result<Self, CliError> {
        let addr = settings.addr.value;
        let said = matches!(settings.addr.origin, Origin::Flag(_) | Origin::Env(_));
        let listen = match addr.ip().is_loopback() && !said {
            true => SocketAddr::from((Ipv4Addr::UNSPECIFIED, addr.port())),
            false => addr,
        };
        if !listen.ip().is_unspecified() {
            return Ok(Self { listen, shown: listen.ip() });
        }
        let shown = tls::lan_address().ok_or_else(|| {
            CliError::new(Exit::Failed, "no_lan", "this machine has no address in a network")
                .hint("connect it, or name the address: omctl serve --lan --addr 192.168.1.20:7400")
        })?;
        Ok(Self { listen, shown })
    }

    /// What the certificate is for.
    pub(super) fn addresses(self) -> Vec<IpAddr> {
        vec![IpAddr::from(Ipv4Addr::LOCALHOST), self.shown, tls::EMULATOR]
    }

    /// The address for phones, with its pin.
    pub(super) fn url(self, port: u16, pin: &Pin) -> String {
        server_url(SocketAddr::new(self.shown, port), Some(pin))
    }

    /// What a phone must know, for people.
    pub(super) fn text(self, port: u16, pin: &Pin) -> String {
        let emulator = server_url(SocketAddr::new(tls::EMULATOR, port), Some(pin));
        format!("phone     {}\nemulator  {emulator}\npin       {pin}", self.url(port, pin))
    }

    /// The same for scripts.
    pub(super) fn json(self, port: u16, pin: &Pin) -> Value {
        let emulator = server_url(SocketAddr::new(tls::EMULATOR, port), Some(pin));
        json!({ "phone_url": self.url(port, pin), "emulator_url": emulator, "pin": pin })
    }
}

/// Shows the address for phones as a QR code, to whoever sits at a terminal.
pub(super) fn show_code(cli: &Cli, url: &str) {
    if cli.ui.is_terminal()
        && let Some(code) = code(url, cli.ui.has_colour())
    {
        cli.ui.detail_as_is(&code);
    }
}

/// Two modules a character. Dark ones are the terminal's ground: with colours it is made black, without them it is taken
/// to be dark.
fn code(text: &str, colour: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let image = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let line = |line: &str| if colour { format!("\x1b[40;97m{line}\x1b[0m") } else { line.to_owned() };
    Some(image.lines().map(line).collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{FromFlags, FromProject};

    #[test]
    fn what_was_said_is_taken_and_else_everybody_is_let_in() {
        let settings = |addr: Option<&str>, flag: Option<&str>| {
            let project = FromProject { addr: addr.map(str::to_owned), ..FromProject::default() };
            let flags = FromFlags { addr: flag.map(str::to_owned), ..FromFlags::default() };
            Settings::resolve(Path::new("/p"), project, &|_| None, flags).unwrap()
        };
        let chosen = Lan::choose(&settings(Some("127.0.0.1:1"), Some("127.0.0.1:2"))).unwrap();
        assert_eq!((chosen.listen.to_string(), chosen.shown.to_string()), ("127.0.0.1:2".into(), "127.0.0.1".into()));
        let chosen = Lan::choose(&settings(Some("192.168.1.20:3"), None)).unwrap();
        assert_eq!(chosen.listen.to_string(), "192.168.1.20:3");
        // In a sandbox without a network there is no address to show.
        match Lan::choose(&settings(Some("127.0.0.1:4"), None)) {
            Ok(chosen) => assert_eq!(chosen.listen.to_string(), "0.0.0.0:4"),
            Err(error) => assert_eq!(error.code, "no_lan"),
        }
    }

    #[test]
    fn the_code_fits_a_terminal() {
        let pin = Pin::of_key(b"key");
        let text = code(&server_url("192.168.100.200:7400", Some(&pin)), false).unwrap();
        let width = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(width <= 79 && text.lines().count() <= 40, "{width} columns");
        assert!(text.lines().next().unwrap().chars().all(|c| c == '█'), "a light margin around it");
    }
}
