//! Who listens on a port: by `/proc` on Linux, as far as it may be read; nobody knows elsewhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) pid: u32,
    /// The program's name, as the system has it.
    pub(super) program: String,
}

/// Whoever listens so that nobody else can listen on this address.
pub(super) fn holder_of(addr: SocketAddr) -> Option<Holder> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<String> = tables.iter().flat_map(|table| listening(table, addr)).collect();
    if inodes.is_empty() {
        return None;
    }
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok()).find_map(|pid| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let mut links = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        links.any(|link| wanted.iter().any(|wanted| link.as_os_str() == wanted.as_str())).then(|| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            Holder { pid, program: name.trim().to_owned() }
        })
    })
}

/// The inodes of listening sockets that stand in the way (`proc_net_tcp(5)`).
fn listening(table: &str, addr: SocketAddr) -> Vec<String> {
    const LISTEN: &str = "0A";
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|cells| cells.get(3) == Some(&LISTEN))
        .filter(|cells| cells.get(1).and_then(|cell| parse(cell)).is_some_and(|other| clash(other, addr)))
        .filter_map(|cells| cells.get(9).map(|inode| (*inode).to_owned()))
        .collect()
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// `0100007F:1CE8`: each four bytes of the address are in the machine's order.
fn parse(cell: &str) -> Option<SocketAddr> {
    let (address, port) = cell.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("0100007F:1CE8"), Some("127.0.0.1:7400".parse().unwrap()));
        assert_eq!(parse("00000000000000000000000001000000:1CE8"), Some("[::1]:7400".parse().unwrap()));
        assert_eq!(parse("0100007F"), None);
        let line = |state: &str| {
            format!("head\n 0: 0100007F:1CE8 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 77 1\n")
        };
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(listening(&line("0A"), at("0.0.0.0:7400")), ["77"]);
        assert_eq!(listening(&line("01"), at("0.0.0.0:7400")), Vec::<String>::new());
        assert_eq!(listening(&line("0A"), at("127.0.0.2:7400")), Vec::<String>::new());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn we_find_ourselves() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = holder_of(listener.local_addr().unwrap()).unwrap();
        assert_eq!(found.pid, std::process::id());
        assert!(!found.program.is_empty());
    }
}
