//! Passwords that a person gives: typed twice, by stdin, or made here. Never an argument: those are seen by everybody.

use std::io::Read as _;

use super::{Cli, CliError, Exit};
use crate::clock::Entropy;

/// Longest password that is read from stdin, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Letters and digits that nobody mistakes for each other.
const ALPHABET: &[u8; 53] = b"23456789ABCDEFGHJKMNPQRSTWXYZabcdefghijkmnpqrstuvwxyz";

/// Characters of a password that is made here: 53 possible ones each, so 114 bits.
const CHARS: usize = 20;

/// One line of stdin, without its end.
pub(super) fn from_stdin() -> Result<String, CliError> {
    let unreadable = |message: String| CliError::new(Exit::Usage, "bad_password", message);
    let mut text = String::new();
    let read = std::io::stdin().take(PASSWORD_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| unreadable(format!("cannot read a password from stdin: {error}")))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    match password.is_empty() || password.contains('\n') {
        true => Err(unreadable("stdin has no password, or more than one line".to_owned())),
        false => Ok(password.to_owned()),
    }
}

/// Asks twice on the terminal, without showing what is typed.
pub(super) fn asked_twice(cli: &Cli, email: &str) -> Result<String, CliError> {
    if !cli.ui.can_ask() {
        return Err(CliError::new(Exit::Usage, "no_terminal", "there is no terminal to ask for a password on")
            .hint("--password-stdin reads it, --generate makes one"));
    }
    let ask = |question: &str| {
        let typed = cli.ui.ask_hidden(question);
        typed.map_err(|error| CliError::new(Exit::Failed, "io", format!("cannot read from the terminal: {error}")))
    };
    let first = ask(&format!("new password of {email}: "))?;
    match ask("the same once more: ")? {
        again if again == first => Ok(first),
        _ => Err(CliError::new(Exit::Usage, "bad_password", "the two are not the same").hint("type it again")),
    }
}

/// A password that nobody can guess, for people to copy.
pub(super) fn made(entropy: &Entropy) -> String {
    let letters = ALPHABET;
    let mut password = String::with_capacity(CHARS);
    while password.len() < CHARS {
        let mut byte = [0];
        entropy.fill(&mut byte);
        // Bytes beyond a multiple of the alphabet are drawn again, so that every character is as likely.
        if usize::from(byte[0]) < 256 / letters.len() * letters.len() {
            password.push(char::from(letters[usize::from(byte[0]) % letters.len()]));
        }
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_password_is_long_plain_and_never_the_same() {
        let (first, second) = (made(&Entropy::System), made(&Entropy::System));
        assert_ne!(first, second);
        assert_eq!(first.len(), CHARS);
        assert!(first.chars().all(|c| c.is_ascii_alphanumeric() && !"01OILUVlo".contains(c)), "{first}");
    }
}
