//! What passed over the sockets of a recording: the lines of the protocol, each with the moment at which it went or came.
//!
//! It understands what the recorded programs say and no more: HTTP/1.1 with an upgrade, then WebSocket messages (RFC
//! 6455), text as it is, binary packed by zstd.

use std::collections::HashMap;

use super::strace::{Call, Event};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum From {
    Device,
    Server,
}

/// One line of the protocol.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// The line of the recording at which the last of it was about to be sent, or had been received.
    pub(super) at: usize,
    /// The connection, as the recorded process has it.
    pub(super) socket: String,
    pub(super) from: From,
    pub(super) text: String,
}

/// Reads every line that passed over the connections on which the recorded processes were `side`.
///
/// # Errors
/// A message that cannot be read.
pub(super) fn lines(events: &[Event], side: From) -> Result<Vec<Line>, String> {
    let mut streams: HashMap<(&str, From), Stream> = HashMap::new();
    // Who sends first decides who is who: a device asks, a server answers.
    let mut is_side: HashMap<&str, bool> = HashMap::new();
    let mut lines = Vec::new();
    for event in events {
        let (socket, data, is_sent) = match &event.call {
            Call::Send { socket, data } => (socket.as_str(), data, true),
            Call::Receive { socket, data } => (socket.as_str(), data, false),
            _ => continue,
        };
        let asks = data.starts_with(b"GET ") || data.starts_with(b"POST ");
        if let Some(request) = asks.then_some(is_sent) {
            // A new request on known ends begins a new stream: ports are given again.
            is_side.insert(socket, request == (side == From::Device));
            streams.retain(|(known, _), _| *known != socket);
        }
        if is_side.get(socket) != Some(&true) {
            continue;
        }
        let from = if is_sent == (side == From::Device) { From::Device } else { From::Server };
        // What is sent may have left as soon as the call began; what is received is there when it ended.
        let at = if is_sent { event.begin } else { event.end.unwrap_or(event.begin) };
        let stream = streams.entry((socket, from)).or_default();
        for text in stream.take(data, from).map_err(|why| format!("line {}: {why}", at + 1))? {
            for text in text.split('\n').map(str::trim).filter(|text| !text.is_empty()) {
                lines.push(Line { at, socket: socket.to_owned(), from, text: text.to_owned() });
            }
        }
    }
    lines.sort_by_key(|line| line.at);
    Ok(lines)
}

#[derive(Debug, Default)]
struct Stream {
    rest: Vec<u8>,
    is_upgraded: bool,
    message: Vec<u8>,
    is_packed: bool,
}

impl Stream {
    /// The messages that are whole with these bytes.
    fn take(&mut self, data: &[u8], from: From) -> Result<Vec<String>, String> {
        self.rest.extend_from_slice(data);
        if !self.is_upgraded {
            let Some(end) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(Vec::new()) };
            let head = String::from_utf8_lossy(&self.rest[..end]).to_ascii_lowercase();
            let upgrades = match from {
                From::Server => head.starts_with("http/1.1 101"),
                From::Device => head.contains("upgrade: websocket"),
            };
            if !upgrades {
                // An ordinary request or answer: where it ends does not matter, the next one begins with a call.
                self.rest.clear();
                return Ok(Vec::new());
            }
            self.is_upgraded = true;
            self.rest.drain(..end + 4);
        }
        let mut messages = Vec::new();
        while let Some((frame, used)) = Frame::read(&self.rest) {
            self.rest.drain(..used);
            if frame.opcode > 2 {
                continue;
            }
            if frame.opcode > 0 {
                self.is_packed = frame.opcode == 2;
            }
            self.message.extend(frame.payload);
            if frame.is_last {
                let message = std::mem::take(&mut self.message);
                let plain = if self.is_packed {
                    zstd::stream::decode_all(message.as_slice())
                        .map_err(|error| format!("a packed message: {error}"))?
                } else {
                    message
                };
                messages.push(String::from_utf8(plain).map_err(|error| format!("a message: {error}"))?);
            }
        }
        Ok(messages)
    }
}

struct Frame {
    is_last: bool,
    opcode: u8,
    payload: Vec<u8>,
}

impl Frame {
    /// The first frame, where it is there whole, and how many bytes it takes.
    fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (len, mut at) = match second & 0x7F {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let mask: [u8; 4] = if second & 0x80 == 0 {
            [0; 4]
        } else {
            at += 4;
            bytes.get(at - 4..at)?.try_into().ok()?
        };
        let end = at + usize::try_from(len).ok()?;
        let payload = bytes.get(at..end)?.iter().enumerate().map(|(n, byte)| byte ^ mask[n % 4]).collect();
        Some((Self { is_last: first & 0x80 != 0, opcode: first & 0x0F, payload }, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_directions_are_read_wherever_they_are_cut() {
        let packed = zstd::bulk::compress(b"{\"rows\":1}", 1).unwrap();
        let mut down = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x07{\"a\":1}\x89\x00".to_vec();
        down.extend([0x82, packed.len() as u8]);
        down.extend(packed);
        let mut up = b"GET /v1/live HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec();
        up.extend([0x81, 0x80 | 7, 1, 2, 3, 4]);
        up.extend(b"{\"b\":2}".iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let socket = || "here->there".to_owned();
        let mut events = Vec::new();
        for piece in up.chunks(50) {
            let n = events.len();
            let call = Call::Send { socket: socket(), data: piece.to_vec() };
            events.push(Event { begin: 10 + n, end: Some(11 + n), call });
        }
        for (n, piece) in down.chunks(7).enumerate() {
            let call = Call::Receive { socket: socket(), data: piece.to_vec() };
            events.push(Event { begin: 30 + n, end: Some(100 + n), call });
        }
        let found = lines(&events, From::Device).unwrap();
        let texts: Vec<(From, &str)> = found.iter().map(|line| (line.from, line.text.as_str())).collect();
        assert_eq!(texts, [(From::Device, "{\"b\":2}"), (From::Server, "{\"a\":1}"), (From::Server, "{\"rows\":1}")]);
        assert!(found[0].at < 30 && found[1].at >= 100, "a send counts from its beginning, a receipt from its end");
        assert!(lines(&events, From::Server).unwrap().is_empty(), "these are a device's own connections");
    }
}
