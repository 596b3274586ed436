//! Single keys from the terminal, without waiting for Enter. Signals stay what they are: Ctrl-C interrupts.

#[cfg(unix)]
pub(super) use self::unix::Keyboard;

/// There are no single keys here.
#[cfg(not(unix))]
pub(super) struct Keyboard;

#[cfg(not(unix))]
impl Keyboard {
    /// Never one.
    pub(super) fn open() -> Option<Self> {
        None
    }

    /// Never one.
    pub(super) fn next(&self) -> Option<u8> {
        None
    }
}

#[cfg(unix)]
mod unix {
    use std::io::stdin;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

    /// The terminal while single keys are read. It is as before when this is dropped.
    pub(in crate::cli) struct Keyboard {
        before: Termios,
    }

    impl Keyboard {
        /// `None` where there is no terminal to read from.
        pub(in crate::cli) fn open() -> Option<Self> {
            let stdin = stdin();
            let before = tcgetattr(&stdin).ok().filter(|_| isatty(&stdin))?;
            let mut single = before.clone();
            single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(&stdin, OptionalActions::Now, &single).ok()?;
            Some(Self { before })
        }

        /// The next key that was pressed, if any was.
        pub(in crate::cli) fn next(&self) -> Option<u8> {
            let stdin = stdin();
            let mut waits = [PollFd::new(&stdin, PollFlags::IN)];
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            if poll(&mut waits, Some(&at_once)).ok()? == 0 || !waits[0].revents().contains(PollFlags::IN) {
                return None;
            }
            let mut key = [0];
            // Not by the standard library: it would read ahead what the next command is to have.
            (rustix::io::read(&stdin, &mut key).ok()? == 1).then_some(key[0])
        }
    }

    impl Drop for Keyboard {
        fn drop(&mut self) {
            if let Err(error) = tcsetattr(stdin(), OptionalActions::Now, &self.before) {
                tracing::debug!(%error, "the terminal stays as it is");
            }
        }
    }
}
