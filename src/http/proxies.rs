//! Whose `X-Forwarded-For` is believed: that of the proxies that the project names, and of nobody else (attack C15).

use std::net::IpAddr;

use axum::http::HeaderMap;

/// The networks of trusted proxies.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    networks: Vec<(IpAddr, u8)>,
}

impl Proxies {
    /// Reads networks as `10.0.0.0/8`, or single addresses.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let read = |text: &str| -> Option<(IpAddr, u8)> {
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (address, Some(bits.parse().ok()?)),
                None => (text, None),
            };
            let address: IpAddr = address.trim().parse().ok()?;
            let bits_max = if address.is_ipv4() { 32 } else { 128 };
            let bits: u8 = bits.unwrap_or(bits_max);
            (bits <= bits_max).then_some((address, bits))
        };
        let networks = texts.into_iter().map(|text| read(text).ok_or_else(|| text.to_owned()));
        Ok(Self { networks: networks.collect::<Result<_, _>>()? })
    }

    /// Who is calling: the peer, or where a trusted peer says, the nearest address that is no trusted proxy itself.
    /// What stands further left was written by strangers.
    pub(super) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut caller = peer.to_canonical();
        let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.into_iter().rev() {
            if !self.trust(caller) {
                break;
            }
            match hop.parse::<IpAddr>() {
                Ok(address) => caller = address.to_canonical(),
                Err(_) => break,
            }
        }
        caller
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|(network, bits)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same_prefix(u128::from(network.to_bits()), u128::from(address.to_bits()), 32 - bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => same_prefix(network.to_bits(), address.to_bits(), 128 - bits),
            _ => false,
        })
    }
}

/// Whether both are the same but for so many of their last bits.
fn same_prefix(a: u128, b: u128, rest: u8) -> bool {
    (a ^ b).checked_shr(u32::from(rest)).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed_and_only_for_the_nearest_stranger() {
        let proxies = Proxies::new(["10.0.0.0/8", "::1"]).unwrap();
        let caller = |peer: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            proxies.caller(peer.parse().unwrap(), &headers).to_string()
        };
        assert_eq!(caller("203.0.113.5", "127.0.0.1"), "203.0.113.5", "a stranger is himself");
        assert_eq!(caller("10.1.2.3", "198.51.100.7"), "198.51.100.7");
        assert_eq!(caller("10.1.2.3", "127.0.0.1, 198.51.100.7, 10.9.9.9"), "198.51.100.7");
        assert_eq!(caller("::ffff:10.1.2.3", "2001:db8::1"), "2001:db8::1");
        assert_eq!(caller("::1", "nonsense"), "::1");
        assert_eq!(caller("11.0.0.1", "198.51.100.7"), "11.0.0.1");
        for wrong in ["10.0.0.0/33", "ten", "::/129", "10.0.0.0/-1"] {
            assert_eq!(Proxies::new([wrong]).unwrap_err(), wrong);
        }
        let everybody = Proxies::new(["0.0.0.0/0", "::/0"]).unwrap();
        assert!(everybody.trust("1.2.3.4".parse().unwrap()) && everybody.trust("ff::".parse().unwrap()));
    }
}
