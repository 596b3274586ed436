//! Reads what `strace -f -yy -xx` wrote: a pure function from text to operations.
//!
//! A call has two moments: the line on which it begins, before the system has done anything, and the line on which it
//! ends, after everything is done. Between the two, other threads run; so a write counts as possibly on the disk from its
//! beginning on, and a sync covers what had ended before it began.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// One system call that somebody's data depend on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    /// The line on which it begins.
    pub(super) begin: usize,
    /// The line on which it ends; none where the recording does before.
    pub(super) end: Option<usize>,
    pub(super) call: Call,
}

/// What was called.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Call {
    /// A file is opened that may not have been there before.
    Create {
        path: PathBuf,
        truncate: bool,
    },
    /// Bytes are written; without a place, behind the last ones.
    Write {
        path: PathBuf,
        at: Option<u64>,
        data: Vec<u8>,
    },
    Truncate {
        path: PathBuf,
        len: u64,
    },
    Sync {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink {
        path: PathBuf,
    },
    MakeDir {
        path: PathBuf,
    },
    Send {
        socket: String,
        data: Vec<u8>,
    },
    Receive {
        socket: String,
        data: Vec<u8>,
    },
    /// A file is mapped so that memory writes go to the disk unseen.
    MapForWriting {
        path: PathBuf,
    },
    /// It changes files in a way that the model of the disk does not have.
    Unknown {
        name: String,
        path: PathBuf,
    },
}

/// Every call that [`parse`] knows, for `strace -e trace=`.
pub(super) const CALLS: &str = "open,openat,creat,pwrite64,pwritev,pwritev2,write,writev,fsync,fdatasync,sync_file_range,\
ftruncate,truncate,fallocate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,\
copy_file_range,sendfile,splice,sendto,sendmsg,recvfrom,recvmsg,mmap";

/// Reads a whole recording. `first_line` numbers its lines, so that recordings can follow each other.
///
/// # Errors
/// A line of a known call that is cut off or unlike anything that strace writes.
pub(super) fn parse(text: &str, first_line: usize) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    for (number, line) in text.lines().enumerate().map(|(n, line)| (first_line + n, line)) {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, tail)) = resumed.split_once(" resumed>") else { continue };
            if let Some((begin, head)) = begun.remove(thread) {
                read(&format!("{head}{tail}"), begin, Some(number), &mut events)?;
            }
        } else if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            begun.insert(thread, (number, head));
        } else if rest.starts_with("+++") {
            end_midway(&mut begun, thread, number, &mut events);
        } else if !rest.starts_with("---") {
            read(rest, number, Some(number), &mut events)?;
        }
    }
    events.sort_by_key(|event| event.begin);
    Ok(events)
}

/// A call in which its process died: it may have been done, and then it was when the process was gone. It counts so,
/// because whoever opened the file next has seen it, or has written over it. What it says of itself may be cut off, too.
fn end_midway<'a>(
    begun: &mut HashMap<&'a str, (usize, &'a str)>,
    thread: &str,
    number: usize,
    events: &mut Vec<Event>,
) {
    if let Some((begin, head)) = begun.remove(thread) {
        let mut found = Vec::new();
        if read(&format!("{head}) = ?"), begin, Some(number), &mut found).is_ok() {
            events.extend(found);
        }
    }
}

fn read(call: &str, begin: usize, end: Option<usize>, events: &mut Vec<Event>) -> Result<(), String> {
    let bad = |why: &str| format!("line {}: {why}: {:.120}", begin + 1, call);
    let (name, rest) = call.split_once('(').ok_or_else(|| bad("no call"))?;
    let close = rest.rfind(") ").ok_or_else(|| bad("no end"))?;
    let (args, result) = (&rest[..close], rest[close + 2..].trim_start().strip_prefix("= ").unwrap_or("?"));
    let result = result.split([' ', '<']).next().unwrap_or("?");
    // What did not happen is no operation; `?` is a process that died in it.
    let done: Option<u64> = match result {
        "?" => None,
        number if number.starts_with('-') => return Ok(()),
        number if number.starts_with("0x") => Some(0),
        number => Some(number.parse().map_err(|_| bad("a strange result"))?),
    };
    let args = Args { text: args };
    let call = match name {
        "open" | "openat" | "creat" => {
            let Some(path) = args.path(usize::from(name == "openat")) else { return Err(bad("no path")) };
            if !(args.text.contains("O_CREAT") || args.text.contains("O_TRUNC") || name == "creat") {
                return Ok(());
            }
            Call::Create { path, truncate: args.text.contains("O_TRUNC") || name == "creat" }
        }
        "pwrite64" | "write" | "pwritev" | "pwritev2" | "writev" | "sendto" | "sendmsg" => {
            let file = args.first().ok_or_else(|| bad("no file"))?;
            if matches!(file, File::Other) {
                return Ok(());
            }
            let mut data = args.data().ok_or_else(|| bad("its data is cut off"))?;
            if let Some(done) = done {
                data.truncate(done as usize);
            }
            match file {
                File::Socket(socket) => Call::Send { socket, data },
                File::Path(path) => match name {
                    "write" | "writev" => Call::Write { path, at: None, data },
                    "pwrite64" => {
                        let at = args.number(3).ok_or_else(|| bad("no place"))?;
                        Call::Write { path, at: Some(at), data }
                    }
                    _ => Call::Unknown { name: name.to_owned(), path },
                },
                File::Other => return Ok(()),
            }
        }
        "recvfrom" | "recvmsg" => {
            let (Some(File::Socket(socket)), Some(done)) = (args.first(), done) else { return Ok(()) };
            let mut data = args.data().ok_or_else(|| bad("its data is cut off"))?;
            data.truncate(done as usize);
            Call::Receive { socket, data }
        }
        "fsync" | "fdatasync" => match args.first().ok_or_else(|| bad("no file"))? {
            // A sync that did not end has promised nothing.
            File::Path(path) if done.is_some() => Call::Sync { path },
            _ => return Ok(()),
        },
        "ftruncate" => match (args.first(), args.number(1)) {
            (Some(File::Path(path)), Some(len)) => Call::Truncate { path, len },
            (Some(File::Other), _) => return Ok(()),
            _ => return Err(bad("no length")),
        },
        "rename" | "renameat" | "renameat2" => {
            let at = usize::from(name != "rename");
            let (Some(from), Some(to)) = (args.path(at), args.path(1 + 2 * at)) else { return Err(bad("no paths")) };
            Call::Rename { from, to }
        }
        "unlink" | "unlinkat" | "rmdir" => {
            let path = args.path(usize::from(name == "unlinkat")).ok_or_else(|| bad("no path"))?;
            Call::Unlink { path }
        }
        "mkdir" | "mkdirat" => {
            Call::MakeDir { path: args.path(usize::from(name == "mkdirat")).ok_or_else(|| bad("no path"))? }
        }
        "mmap" => match args.file(4) {
            Some(File::Path(path)) if args.text.contains("MAP_SHARED") && args.text.contains("PROT_WRITE") => {
                Call::MapForWriting { path }
            }
            _ => return Ok(()),
        },
        _ => match (args.first(), args.path(0).or_else(|| args.path(1))) {
            (Some(File::Path(path)), _) | (_, Some(path)) => Call::Unknown { name: name.to_owned(), path },
            _ => return Ok(()),
        },
    };
    events.push(Event { begin, end, call });
    Ok(())
}

/// Where a file descriptor leads.
enum File {
    Path(PathBuf),
    /// A TCP connection, as `local->remote`.
    Socket(String),
    Other,
}

/// The arguments of a call. All strings are in hexadecimal escapes, so no comma and no bracket is one of theirs.
struct Args<'a> {
    text: &'a str,
}

impl Args<'_> {
    fn nth(&self, n: usize) -> Option<&str> {
        self.text.split(", ").nth(n).map(str::trim)
    }

    fn number(&self, n: usize) -> Option<u64> {
        self.nth(n)?.trim().parse().ok()
    }

    fn first(&self) -> Option<File> {
        self.file(0)
    }

    /// `3<\x2f…>`, `24<TCP:[127.0.0.1:1->127.0.0.1:2]>`, `-1`.
    fn file(&self, n: usize) -> Option<File> {
        let word = self.nth(n)?;
        let Some((_, target)) = word.split_once('<') else { return Some(File::Other) };
        if let Some(pair) = target.strip_prefix("TCP:[").or_else(|| target.strip_prefix("TCPv6:[")) {
            return Some(File::Socket(pair.trim_end_matches('>').trim_end_matches(']').to_owned()));
        }
        // Pipes, local sockets, files without a name: nothing that a power cut leaves.
        if !target.starts_with("\\x2f") || target.contains("(deleted)") {
            return Some(File::Other);
        }
        let path = unescape(target.trim_end_matches('>'))?;
        Some(if path.starts_with(b"/") && !path.ends_with(b" (deleted)") {
            File::Path(as_path(&path))
        } else {
            File::Other
        })
    }

    /// The path of this argument; a relative one begins at the directory that the argument before it names.
    fn path(&self, n: usize) -> Option<PathBuf> {
        let word = self.nth(n)?.trim();
        let path = as_path(&unescape(word.strip_prefix('"')?.strip_suffix('"')?)?);
        if path.is_absolute() {
            return Some(clean(&path));
        }
        match self.file(n.checked_sub(1)?)? {
            File::Path(from) => Some(clean(&from.join(path))),
            _ => None,
        }
    }

    /// All its data, in one piece; none where strace has cut it off.
    fn data(&self) -> Option<Vec<u8>> {
        if self.text.contains("\"...") {
            return None;
        }
        let is_vector = self.text.contains("iov_base=");
        let mut data = Vec::new();
        for (n, piece) in self.text.split('"').enumerate() {
            // Between the first quote and the second, the third and the fourth, …
            if n % 2 == 1 && (is_vector || data.is_empty()) {
                data.extend(unescape(piece)?);
            }
        }
        Some(data)
    }
}

fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(bytes).into_owned())
}

/// Takes `.` and `..` out.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(out.pop()),
            std::path::Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// `\x2f\x74` → `/t`.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    text.as_bytes()
        .chunks(4)
        .map(|chunk| match chunk {
            [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
    }

    #[test]
    fn calls_of_threads_that_interrupt_each_other_are_put_together() {
        let (a, b) = (hex("/d/a"), hex("/d/b"));
        let text = format!(
            "7 pwrite64(3<{a}>, \"{}\", 2, 4096 <unfinished ...>\n\
             8 fdatasync(4<{b}> <unfinished ...>\n\
             7 <... pwrite64 resumed>)              = 2\n\
             8 <... fdatasync resumed>)             = 0\n\
             9 sendto(5<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"{}\", 5, MSG_NOSIGNAL, NULL, 0) = 3\n",
            hex("hi"),
            hex("hello"),
        );
        let found = parse(&text, 10).unwrap();
        let path = PathBuf::from;
        assert_eq!(
            found,
            [
                Event {
                    begin: 10,
                    end: Some(12),
                    call: Call::Write { path: path("/d/a"), at: Some(4096), data: b"hi".to_vec() }
                },
                Event { begin: 11, end: Some(13), call: Call::Sync { path: path("/d/b") } },
                Event {
                    begin: 14,
                    end: Some(14),
                    call: Call::Send { socket: "127.0.0.1:1->127.0.0.1:2".into(), data: b"hel".to_vec() }
                },
            ]
        );
    }

    #[test]
    fn what_failed_is_no_operation_and_what_a_process_died_in_ends_with_it() {
        let (a, at) = (hex("/d/a"), hex("/d"));
        let text = format!(
            "7 unlink(\"{a}\") = -1 ENOENT (No such file or directory)\n\
             7 openat(AT_FDCWD<{at}>, \"{}\", O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0666) = 9<{}>\n\
             7 mkdir(\"{at}\", 0700) = 0\n\
             7 write(9<{a}>, \"{}\", 1 <unfinished ...>\n\
             8 fsync(9<{a}> <unfinished ...>\n\
             7 +++ killed by SIGKILL +++\n\
             8 +++ killed by SIGKILL +++\n",
            hex("../d/b"),
            hex("/d/b"),
            hex("x"),
        );
        let calls: Vec<(Option<usize>, Call)> = parse(&text, 0).unwrap().into_iter().map(|e| (e.end, e.call)).collect();
        assert_eq!(
            calls,
            [
                (Some(1), Call::Create { path: "/d/b".into(), truncate: true }),
                (Some(2), Call::MakeDir { path: "/d".into() }),
                (Some(5), Call::Write { path: "/d/a".into(), at: None, data: b"x".to_vec() }),
            ]
        );
    }

    #[test]
    fn vectors_are_joined_and_what_is_cut_off_is_an_error() {
        let text = format!(
            "7 writev(9<{}>, [{{iov_base=\"{}\", iov_len=2}}, {{iov_base=\"{}\", iov_len=3}}], 2) = 5\n",
            hex("/d/a"),
            hex("ab"),
            hex("cde"),
        );
        let found = parse(&text, 0).unwrap();
        assert_eq!(found[0].call, Call::Write { path: "/d/a".into(), at: None, data: b"abcde".to_vec() });
        let text = format!("7 write(9<{}>, \"{}\"..., 900) = 900\n", hex("/d/a"), hex("ab"));
        assert!(parse(&text, 0).unwrap_err().contains("cut off"));
        // A mapping that writes is seen; one that reads is nothing.
        let map = |flags: &str| format!("7 mmap(NULL, 32768, {flags}, 14<{}>, 0) = 0x7f05\n", hex("/d/a-shm"));
        assert_eq!(parse(&map("PROT_READ|PROT_WRITE, MAP_SHARED"), 0).unwrap().len(), 1);
        assert!(parse(&map("PROT_READ, MAP_SHARED"), 0).unwrap().is_empty());
    }
}
